"""One line of a requirements file, as it goes into an image: an option of pip, or a requirement with its hashes.

Source: pip, "Requirements File Format".
"""

import re
from dataclasses import dataclass

from ds01.domain.images.requirement import PackageRequirement, parse_requirement, require_url
from ds01.errors import InvalidRequestError

_WITH_URL = frozenset({"--index-url", "--extra-index-url", "--find-links"})
_WITH_NAMES = frozenset({"--no-binary", "--only-binary", "--trusted-host"})
_PLAIN = frozenset({"--no-index", "--prefer-binary", "--require-hashes", "--pre"})
_SHORT = {"-i": "--index-url", "-f": "--find-links", "--pypi-url": "--index-url"}
_NAMES = re.compile(r"[A-Za-z0-9:._*,-]+")
_HASH = re.compile(r"\s--hash(?:=|\s+)(\S+)")
_HASH_VALUE = re.compile(r"(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})")
_REST = re.compile(r"\s(--?[A-Za-z][A-Za-z-]*)(?:=|\s|$)")


@dataclass(frozen=True, slots=True)
class RequirementsLine:
    """One line.

    Attributes:
        text: The line in one spelling.
        package: What it asks for; None for an option.
    """

    text: str
    package: PackageRequirement | None


def parse_requirements_line(text: str) -> RequirementsLine:
    """Return what a line says.

    Args:
        text: The line without comment; lines that include other files are not taken here.

    Raises:
        InvalidRequestError: It is neither a requirement nor an option that a build can follow.
    """
    cleaned = text.strip()
    if cleaned.startswith("-"):
        return RequirementsLine(_option(cleaned), None)
    if "--" not in cleaned:
        package = parse_requirement(cleaned)
        return RequirementsLine(package.text, package)
    hashes = _HASH.findall(cleaned)
    bare = _HASH.sub("", cleaned)
    other = _REST.search(bare)
    if other is not None:
        raise InvalidRequestError(
            f"The option {other[1]} of a package cannot be taken into an image.",
            hint="Leave it out, or install by hand.",
        )
    for value in hashes:
        if not _HASH_VALUE.fullmatch(value):
            raise InvalidRequestError(f"{value[:40]!r} is not a hash.", hint="Write --hash=sha256: and 64 hex digits.")
    package = parse_requirement(bare)
    return RequirementsLine(" ".join([package.text, *(f"--hash={value}" for value in hashes)]), package)


def _option(text: str) -> str:
    name, _, value = text.partition("=") if re.match(r"--[a-z-]+=", text) else text.partition(" ")
    if name[:2] in _SHORT and len(name) > 2 and name[1] != "-":  # -ihttps://...
        name, value = name[:2], name[2:]
    name, value = _SHORT.get(name, name), value.strip().strip("'\"")
    if name in _PLAIN and not value:
        return name
    if name in _WITH_NAMES and _NAMES.fullmatch(value):
        return f"{name} {value}"
    if name in _WITH_URL:
        require_url(value, f"the option {name}")
        return f"{name} {value}"
    raise InvalidRequestError(
        f"{text[:60]!r} is not an option that a build can follow.",
        hint=f"These are taken: {', '.join(sorted(_WITH_URL | _WITH_NAMES | _PLAIN))}.",
    )
