"""What package tools have written down whose packages no section of a Dockerfile of ours has: said in words.

apk's list is text and is read. rpm's is a database in a form of its own, which only rpm reads; nothing of a container's
is run, so of rpm it is only known that something changed.

Source: apk-tools, the database of installed packages (`P:` and `V:` of each paragraph) and apk-world(5); rpm's macro
`_dbpath` and its forms sqlite, ndb and bdb.
"""

import re
from collections.abc import Collection, Mapping

APK_LISTS = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
APK_WORLD = "/etc/apk/world"
"""What apk was asked for by name, one on a line."""
RPM_LISTS = tuple(
    f"{folder}/{name}"
    for folder in ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
    for name in ("rpmdb.sqlite", "Packages.db", "Packages")
)
MAX_NAMED = 40
_RPM_UNREAD = (
    "packages changed, and which is not known: their list can be read by rpm alone. In the container, "
    "`rpm -qa --last` lists them, the newest first"
)
_APK_UNREAD = "packages changed, and which is not known: its list cannot be read"
_APK_SAME = "packages of the image have other versions; only pip, apt and conda are saved"
_PACKAGE = re.compile(r"^P:(?P<name>\S+)$", re.MULTILINE)
_WORLD_NAME = re.compile(r"[^\s<>=~@!]+")


def other_records(paths: Collection[str]) -> tuple[str, ...]:
    """Return those of some changed paths that are lists of packages, one for each tool."""
    found = [next((path for path in lists if path in paths), None) for lists in (APK_LISTS, RPM_LISTS)]
    return tuple(path for path in found if path is not None)


def is_other_record(path: str) -> bool:
    """Tell whether a path says something about such packages."""
    return path in {*APK_LISTS, APK_WORLD, *RPM_LISTS}


def paths_of(record: str) -> tuple[str, ...]:
    """Return the files that say what a list of packages means, of the image and of the container."""
    return (record, APK_WORLD) if record in APK_LISTS else ()


def describe_change(record: str, image: Mapping[str, str] | None, container: Mapping[str, str]) -> tuple[str, str]:
    """Return a tool, and what is known of the packages that came and went with it, in words.

    Args:
        record: The list that changed.
        image: The image's files by path; None: it is gone.
        container: The container's.
    """
    if record not in APK_LISTS:
        return "dnf", _RPM_UNREAD
    if image is None or record not in container:
        return "apk", _APK_UNREAD
    before, after = _names(image.get(record, "")), _names(container[record])
    asked = _world(image), _world(container)
    came = sorted(name for name in after - before if asked[1] is None or name in asked[1])
    went = sorted(name for name in before - after if asked[0] is None or name in asked[0])
    if not came and not went:
        return "apk", _APK_SAME
    lines = [f"RUN apk add --no-cache {_listed(came)}"] if came else []
    lines += [f"RUN apk del {_listed(went)}"] if went else []
    return "apk", f"only pip, apt and conda are saved. Write into the Dockerfile: {'; '.join(lines)}"


def _names(text: str) -> frozenset[str]:
    return frozenset(match["name"] for match in _PACKAGE.finditer(text))


def _world(files: Mapping[str, str]) -> frozenset[str] | None:
    """None where it is not known: each package may have been asked for then."""
    text = files.get(APK_WORLD)
    if text is None:
        return None
    return frozenset(match[0] for line in text.split() if (match := _WORLD_NAME.match(line)))


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return " ".join(names[:MAX_NAMED]) + (f" (and {more} more)" if more > 0 else "")
