"""One Python package that pip is asked for: PEP 508 text, compared by the names of PEP 503."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ds01.errors import InvalidRequestError

MAX_REQUIREMENT = 1000
_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
# what nearly everybody writes, and packaging needs ten times as long for
_BOUND = r"(?:(?:>=|<=|==|!=|<|>)[0-9]+(?:\.[0-9]+)*|~=[0-9]+(?:\.[0-9]+)+)"
_SIMPLE = re.compile(rf"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)({_BOUND}(?:,{_BOUND})*)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SCHEMES = frozenset(
    {"http", "https", "git+https", "git+http", "git+ssh", "git+git", "hg+https", "hg+http", "svn+https"}
)
# RFC 3986 without quotes; `{}` only as in ${NAME}, which pip fills in from the environment of the build
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>(?:[A-Za-z0-9._~:/?#@!$&()*+,;=%\[\]-]|\$\{[A-Z0-9_]+\})+)"
)
_USER_PART = re.compile(r"(?P<user>[^/@]*)@")
_OPEN_USERS = frozenset({"git", "hg"})
_PLACEHOLDERS = re.compile(r"(?:[A-Za-z0-9_-]{0,20}:)?\$\{[A-Z0-9_]+\}")
_EGG = re.compile(r"[#&]egg=([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")
_ARCHIVE = re.compile(r"/([A-Za-z0-9][A-Za-z0-9._]*?)-\d[^/]*\.(?:whl|tar\.gz|zip)(?:[?#]|$)")
_PATH = re.compile(r"(?:\.{1,2}|~)?/|\.{1,2}$|~$|[A-Za-z]:\\|file:|.*\.(?:whl|tar\.gz|zip)$")
# quoted text, extras, a comma before another bound, or anything else, in this order
_LIST_PART = re.compile(r"""'[^']*'|"[^"]*"|\[[^\[\]]*\]|,\s*[<>=!~]|.""", re.DOTALL)
EXAMPLE = "Write a name, such as numpy, 'pandas>=2.0' or 'uvicorn[standard]'."


@dataclass(frozen=True, slots=True)
class PackageRequirement:
    """A package that pip is asked for.

    Attributes:
        name: As it was written, such as `NumPy`.
        text: The whole requirement in one spelling.
        is_pinned: It asks for one version exactly, or for a URL.
        has_marker: It counts on some machines only.
    """

    name: str
    text: str
    is_pinned: bool = False
    has_marker: bool = False

    @property
    def key(self) -> str:
        """The name by which packages are compared (PEP 503), such as `numpy`."""
        return package_key(self.name)


def package_key(name: str) -> str:
    """Return the name by which packages are compared: `NumPy` is `numpy`, `scikit_learn` is `scikit-learn`.

    Source: PEP 503, normalized names.
    """
    return canonicalize_name(name)


@lru_cache(maxsize=16384)
def parse_requirement(text: str) -> PackageRequirement:
    """Return what a text asks pip for.

    Args:
        text: PEP 508, such as `pandas>=2.0; python_version < "3.12"`, or a URL whose package is plain from it.

    Raises:
        InvalidRequestError: It is no requirement; the hint says what to write instead.
    """
    cleaned = text.strip()
    if _PLAIN.fullmatch(cleaned) and len(cleaned) <= MAX_REQUIREMENT and not cleaned.lower().endswith((".whl", ".zip")):
        return PackageRequirement(cleaned, cleaned)
    simple = _SIMPLE.fullmatch(cleaned) if len(cleaned) <= MAX_REQUIREMENT else None
    if simple is not None:
        name, bounds = simple[1], sorted(set(simple[2].split(",")))
        is_pinned = len(bounds) == 1 and bounds[0].startswith("==")
        return PackageRequirement(name, name + ",".join(bounds), is_pinned)
    _require_readable(cleaned)
    head, semicolon, tail = cleaned.partition(";")
    if semicolon and "@" not in cleaned and "://" not in cleaned:
        package, marker = parse_requirement(head), _marker(tail.strip())
        if marker is not None:
            return replace(package, text=f"{package.text}; {marker}", has_marker=True)
        raise _no_requirement(cleaned)
    if _SCHEME.match(cleaned) and not cleaned.startswith("file:"):
        cleaned = _named_url(cleaned)
    try:
        found = Requirement(cleaned)
    except InvalidRequirement as failure:
        raise _no_requirement(cleaned) from failure
    if found.url is not None:
        require_url(found.url, f"the package {found.name}")
    return PackageRequirement(
        found.name,
        _format(found),
        is_pinned=found.url is not None or _is_exact(found),
        has_marker=found.marker is not None,
    )


@lru_cache(maxsize=1024)
def _marker(text: str) -> str | None:
    try:
        return str(Marker(text))
    except InvalidMarker:
        return None


def _format(found: Requirement) -> str:
    """Spell a requirement one way, whatever the version of the library that read it."""
    extras = f"[{','.join(sorted(found.extras))}]" if found.extras else ""
    aim = f" @ {found.url}" if found.url is not None else ",".join(sorted(str(part) for part in found.specifier))
    marker = f"{' ' if found.url is not None else ''}; {found.marker}" if found.marker is not None else ""
    return f"{found.name}{extras}{aim}{marker}"


def _is_exact(found: Requirement) -> bool:
    parts = list(found.specifier)
    return len(parts) == 1 and parts[0].operator in {"==", "==="} and not parts[0].version.endswith(".*")


def _require_readable(text: str) -> None:
    if not text:
        raise InvalidRequestError("The package name is empty.", hint=EXAMPLE)
    if len(text) > MAX_REQUIREMENT:
        raise InvalidRequestError(
            f"The package {text[:40]!r}... has {len(text)} characters.", hint=f"At most {MAX_REQUIREMENT} are taken."
        )
    if not text.isascii() or not text.isprintable():
        raise InvalidRequestError(f"{text[:60]!r} holds characters that no package has.", hint=EXAMPLE)
    if text.startswith("-"):
        raise InvalidRequestError(
            f"{text[:60]!r} is an option of pip, not a package.",
            hint="Options belong into a requirements.txt: ds01 image create NAME -r requirements.txt",
        )
    if _PATH.match(text) and (text.startswith("file:") or "://" not in text):
        raise InvalidRequestError(
            f"{text[:60]!r} is a file: the build sees none of yours.",
            hint="Install it from the workspace in the container, or give a URL: 'name @ git+https://HOST/PATH'.",
        )


def _named_url(url: str) -> str:
    """Return the requirement for a bare URL, whose package has to be plain from it."""
    head, _, marker = url.partition(" ;")
    egg = _EGG.search(head) or _ARCHIVE.search(head)
    if egg is None:
        raise InvalidRequestError(f"{url[:80]!r} does not say which package it is.", hint=f"Write: 'NAME @ {url[:80]}'")
    address, _, fragment = head.partition("#")
    kept = "&".join(part for part in fragment.split("&") if part and not part.startswith("egg="))
    return f"{egg[1]} @ {address}" + (f"#{kept}" if kept else "") + (f" ;{marker}" if marker else "")


def require_url(url: str, what: str) -> None:
    """Raise if a URL cannot be given to pip in a build, or would leave a secret in the image.

    Args:
        url: The URL; `${NAME}` is filled in by pip from the environment.
        what: What it is for, for the message.

    Raises:
        InvalidRequestError: It cannot.
    """
    match = _URL.fullmatch(url)
    if match is None or match["scheme"] not in _SCHEMES:
        raise InvalidRequestError(
            f"The URL of {what} cannot be used in a build: {url[:80]}",
            hint="Write one that begins with https:// or git+https://; a file of yours is not seen by the build.",
        )
    user = _USER_PART.match(match["rest"])
    if user is not None and user["user"] not in _OPEN_USERS and not _PLACEHOLDERS.fullmatch(user["user"]):
        raise InvalidRequestError(
            f"The URL of {what} holds a user name or password, which everybody with the image could read.",
            hint="Leave it out, or write ${NAME} for it and give it to the build as an argument.",
        )


def _no_requirement(text: str) -> InvalidRequestError:
    shown = repr(text[:80])
    single = re.fullmatch(r"([A-Za-z0-9._-]+)(\[[^\]]*\])?\s*=\s*([A-Za-z0-9.*+!_-]+)", text)
    if single is not None:
        right = f"{single[1]}{single[2] or ''}=={single[3]}"
        return InvalidRequestError(f"{shown} is not a package for pip: one `=`.", hint=f"Write: {right}")
    spaced = re.fullmatch(r"([A-Za-z0-9._-]+)\s+v?(\d[A-Za-z0-9.*+!]*)", text)
    if spaced is not None:
        return InvalidRequestError(f"{shown} is not a package for pip.", hint=f"Write: {spaced[1]}=={spaced[2]}")
    return InvalidRequestError(f"{shown} is not a package for pip.", hint=EXAMPLE)


def parse_package_list(text: str) -> tuple[PackageRequirement, ...]:
    """Return the packages of one line that a person typed, separated by spaces or commas.

    A specifier may be spaced (`pandas >= 2.0, < 3`). Where a marker follows, only commas separate packages.

    Raises:
        InvalidRequestError: One of them is no requirement.
    """
    found: list[PackageRequirement] = []
    for piece in _pieces(text):
        try:
            found.append(parse_requirement(piece))
        except InvalidRequestError:
            words = piece.split()
            if len(words) < 2 or ";" in piece:
                raise
            found += [parse_requirement(word) for word in _joined_operators(words)]
    return tuple(found)


def _pieces(text: str) -> list[str]:
    """Split at the commas that separate packages: not those in brackets or quotes, or before another bound."""
    pieces = [""]
    for part in _LIST_PART.findall(text):
        if part == ",":
            pieces.append("")
        else:
            pieces[-1] += part
    return [_unquoted(piece.strip()) for piece in pieces if piece.strip()]


def _unquoted(text: str) -> str:
    is_whole = len(text) > 1 and text[0] in "'\"" and text.find(text[0], 1) == len(text) - 1
    return text[1:-1] if is_whole else text


def _joined_operators(words: Sequence[str]) -> list[str]:
    """Join `pandas >= 2.0` again, which was typed with spaces."""
    joined: list[str] = []
    for word in words:
        bare = word.strip("'\"")
        follows = bool(joined) and bool(re.search(r"[<>=!~,]$", joined[-1]))
        if joined and (follows or re.match(r"[<>=!~,]", bare)):
            joined[-1] += bare
        else:
            joined.append(bare)
    return joined


def nearest_package(name: str, known: Iterable[str]) -> str | None:
    """Return the known package that a mistyped name most likely means."""
    by_key = {package_key(other): other for other in known}
    found = get_close_matches(package_key(name), by_key, n=1, cutoff=0.75)
    return by_key[found[0]] if found else None
