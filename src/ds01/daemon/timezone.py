"""The time zone of the machine, as containers get it in `TZ`."""

import os
import re
from pathlib import Path

ZONE_NAME = Path("/etc/timezone")
"""Debian's file with the name. Source: timezone(5) of Debian."""
ZONE_LINK = Path("/etc/localtime")
"""A link into the zone database. Source: localtime(5)."""
_DATABASE = "/zoneinfo/"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")


def read_timezone(*, name: Path = ZONE_NAME, link: Path = ZONE_LINK) -> str:
    """Return the name of the machine's zone, such as `Europe/Berlin`; empty when the machine does not say.

    Args:
        name: File that holds the name.
        link: Link to the zone's file, which wins: it is what the C library reads.
    """
    try:
        target = os.readlink(link)
    except OSError:
        target = ""
    try:
        text = name.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    for candidate in (target.rpartition(_DATABASE)[2] if _DATABASE in target else "", text):
        if _NAME.fullmatch(candidate):
            return candidate
    return ""
