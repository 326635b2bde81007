"""Packages of conda: specifications and channels."""

import re
from dataclasses import dataclass

from ds01.errors import InvalidRequestError

NO_DEFAULTS = "nodefaults"
"""Channel of an environment file that leaves out the channels of the site. Source: conda, environment.yml."""
# Source: conda's MatchSpec: [channel::]name[ version][ build], or name=version[=build]
_SPEC = re.compile(
    r"(?:(?P<channel>[A-Za-z0-9][A-Za-z0-9._/-]*)::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)"
    r"(?P<version>\s*[<>=!~]=?\s*[0-9A-Za-z.*+!_-]+(?:\s*[,|]\s*[<>=!~]{0,2}\s*[0-9A-Za-z.*+!_-]+)*)?"
    r"(?P<build>=[0-9A-Za-z_.*+-]+)?"
)
_SPACED = re.compile(r"([A-Za-z0-9_.:/-]+)\s+([0-9][0-9A-Za-z.*+!_]*)(?:\s+([0-9A-Za-z_.*]+))?")
_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9._-]+)*|https?://[A-Za-z0-9._~:/%-]+")
MAX_LENGTH = 200


@dataclass(frozen=True, slots=True)
class CondaPackages:
    """What conda is asked for.

    Attributes:
        specs: Specifications, such as `numpy>=1.26`.
        channels: Channels, the first first.
    """

    specs: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()


NO_CONDA = CondaPackages()


def parse_conda_spec(text: str) -> str:
    """Return a specification in one spelling.

    Raises:
        InvalidRequestError: It is none.
    """
    cleaned = " ".join(text.split())
    spaced = _SPACED.fullmatch(cleaned)
    if spaced is not None:
        cleaned = "=".join(part for part in spaced.groups() if part)
    match = _SPEC.fullmatch(cleaned) if len(cleaned) <= MAX_LENGTH and cleaned.isascii() else None
    if match is None:
        raise InvalidRequestError(
            f"{text[:60]!r} is not a package of conda.", hint="Write numpy, numpy=1.26, 'numpy>=1.26,<2' or c::numpy."
        )
    return cleaned.replace(" ", "")


def conda_name(spec: str) -> str:
    """Return the name of a specification, in lower case."""
    return re.split(r"[<>=!~ ]", spec.rpartition("::")[2], maxsplit=1)[0].lower()


def parse_channel(text: str) -> str:
    """Return the text if it is a channel.

    Raises:
        InvalidRequestError: It is none.
    """
    cleaned = text.strip()
    if len(cleaned) <= MAX_LENGTH and _CHANNEL.fullmatch(cleaned):
        return cleaned
    raise InvalidRequestError(f"{text[:60]!r} is not a channel of conda.", hint="Write conda-forge or a https URL.")
