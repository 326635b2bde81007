"""Packages of the system (apt): names as Debian and Ubuntu allow them."""

import re
from difflib import get_close_matches

from ds01.errors import InvalidRequestError

# Source: Debian Policy 5.6.1 (names), 5.6.12 (versions); apt-get(8): pkg=version, pkg/release, pkg:architecture
_NAME = r"[a-z0-9][a-z0-9+.-]+"
_PACKAGE = re.compile(
    rf"(?P<name>{_NAME})(?::(?P<architecture>[a-z0-9][a-z0-9-]*))?"
    r"(?:=(?P<version>[0-9][A-Za-z0-9.+:~-]*)|/(?P<release>[a-z][a-z0-9.-]*))?"
)
MAX_LENGTH = 200
_PYTHON_ONLY = frozenset(
    {"numpy", "pandas", "scipy", "torch", "scikit-learn", "matplotlib", "jupyterlab", "transformers"}
)
_OTHER_NAMES = {
    "g++-": "g++",
    "gcc-c++": "g++",
    "libgl1-mesa-glx": "libgl1",
    "python3-devel": "python3-dev",
    "python-pip": "python3-pip",
    "build-essentials": "build-essential",
    "openssl-devel": "libssl-dev",
    "vim-enhanced": "vim",
}
"""Names that people type from other systems or from memory."""


def parse_system_package(text: str) -> str:
    """Return the text if apt can be asked for it: a name, with `=version`, `/release` or `:architecture`.

    Raises:
        InvalidRequestError: It cannot; the hint says what to write instead.
    """
    cleaned = text.strip()
    match = _PACKAGE.fullmatch(cleaned) if len(cleaned) <= MAX_LENGTH else None
    # apt-get reads a trailing minus as "remove it", and a trailing plus is a part of some names
    if match is not None and not match["name"].endswith("-") and not cleaned.endswith("-"):
        return cleaned
    raise InvalidRequestError(f"{text[:60]!r} is not a package of the system (apt).", hint=_hint(cleaned))


def _hint(text: str) -> str:
    pip_like = re.match(r"([A-Za-z0-9._-]+)\s*(==|>=|<=|~=|!=|<|>)", text)
    if pip_like is not None:
        return f"Versions are written {pip_like[1].lower()}=VERSION; packages of Python go with -p/--packages."
    if re.fullmatch(r"[A-Za-z0-9+.-]{2,}", text) and text.lower() != text:
        return f"Names are in lower case: {text.lower()}"
    return "Write names such as git, libgl1 or ffmpeg=7:4.4.2-0ubuntu0.22.04.1."


def system_package_name(text: str) -> str:
    """Return the name of a package without version, release and architecture."""
    return re.split(r"[=/:]", text, maxsplit=1)[0]


def advise_system_package(text: str) -> str | None:
    """Return the better name for one that is likely wrong though it could be one; None if nothing speaks against it."""
    name = system_package_name(text)
    if name in _PYTHON_ONLY:
        return f"{name} is a package of Python: -p {name}"
    return f"apt calls it {_OTHER_NAMES[name]}" if name in _OTHER_NAMES else None


def parse_system_list(text: str) -> tuple[str, ...]:
    """Return the packages of one line that a person typed, separated by spaces or commas, each once.

    Raises:
        InvalidRequestError: One of them is no name.
    """
    words = [word.strip("'\"") for word in re.split(r"[\s,]+", text) if word]
    return tuple(dict.fromkeys(parse_system_package(word) for word in words))


def nearest_system_package(name: str, known: list[str]) -> str | None:
    """Return the known package that a mistyped name most likely means."""
    found = get_close_matches(system_package_name(name), known, n=1, cutoff=0.75)
    return found[0] if found else None
