"""What the instructions of a Dockerfile's sections say, where they are of a form that we can write again.

Every reader returns None for an instruction that does more than its section's: such a line belongs to whoever wrote it.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ds01.domain.images.conda_package import NO_DEFAULTS, CondaPackages, parse_channel, parse_conda_spec
from ds01.domain.images.dockerfile_section import CONSTRAINTS_PATH, REQUIREMENTS_PATH
from ds01.domain.images.dockerfile_text import Piece
from ds01.domain.images.recipe import CopiedFile, require_copied
from ds01.domain.images.requirement import parse_package_list, parse_requirement
from ds01.domain.images.shell_word import is_one_line, split_words
from ds01.domain.images.system_package import parse_system_package
from ds01.errors import InvalidRequestError

MISREAD = "the shell reads `<`, `>` or `;` itself, because the quotes are missing"
EMPTY = "the command installs nothing"
DANGLING = "the last line ends with a backslash, so the next command becomes a part of this one"
BROKEN_OFF = "the command is broken off: a backslash is missing"
_PIP = re.compile(
    r"(?P<cache>--mount=type=cache,target=\S+\s+)?(?:python3? -m )?pip3? install(?:\s+--no-cache-dir)*"
    r"(?:\s+(?P<rest>[^-\s].*))?"
)
_PIP_FILE = re.compile(
    rf"(?:--mount=type=cache,target=\S+ )?pip install (?:--no-cache-dir )?-r {re.escape(REQUIREMENTS_PATH)}"
    rf"(?: -c {re.escape(CONSTRAINTS_PATH)})? && rm -f [\w./ -]+"
)
_WRITTEN = re.compile(rf">>? (?P<path>{re.escape(REQUIREMENTS_PATH)}|{re.escape(CONSTRAINTS_PATH)})")
_UNQUOTED = re.compile(r"""'[^']*'|"(?:[^"\\]|\\.)*\"""")
_SYSTEM = re.compile(
    r"apt-get update && (?:DEBIAN_FRONTEND=noninteractive )?apt-get install(?P<options>(?: --?[a-z-]+)+)"
    r"(?P<words>(?: [^&|;\s-][^&|;\s]*)*)(?: && apt-get clean)?(?: && rm -rf /var/lib/apt/lists/\*)?"
)
_SYSTEM_OPTIONS = frozenset({"-y", "--yes", "-q", "-qq", "-yq", "-yqq", "--no-install-recommends"})
_CONDA = re.compile(
    r"conda install(?P<options>(?: (?:-y|--yes|--override-channels|(?:-c|--channel) [^\s&|;]+))+)"
    r"(?P<words>(?: [^&|]+?)?)"
    r"(?: && conda clean (?:-afy|-ay|--all -y|-a -y))?"
)
_VALUE = r"""(?:"(?:[^"\\$]|\\["\\$])*"|'[^'\\]*'|[A-Za-z0-9_@%+=:,./~^{}()*?!-]++)*+"""
_PAIR = re.compile(rf"(?P<key>[A-Za-z0-9_][A-Za-z0-9_./-]*)=(?P<value>{_VALUE})(?:\s+|$)")
_VALUE_PART = re.compile(r""""((?:[^"\\$]|\\["\\$])*)"|'([^'\\]*)'|([^"']+)""")
_ESCAPED = re.compile(r'\\(["\\$])')


@dataclass(frozen=True, slots=True)
class PipWords:
    """What a `pip install` asks for.

    Attributes:
        packages: Requirements, as they were meant.
        defects: What is wrong with how they are written.
        has_cache: What is fetched is kept in a cache of the builder.
    """

    packages: tuple[str, ...]
    defects: tuple[str, ...] = ()
    has_cache: bool = False


def read_pip(piece: Piece) -> PipWords | None:
    """Return what a `pip install` of plain requirements asks for."""
    head = _PIP.fullmatch(piece.body[0].strip()) if piece.keyword == "RUN" else None
    if head is None:
        return None
    packages: list[str] = []
    is_misread = False
    for line in (head["rest"] or "", *piece.body[1:]):
        content = line.strip()
        if not content:
            continue
        found = _words(content)
        if found is None:
            return None
        packages += found[0]
        is_misread = is_misread or found[1]
    problems = ((is_misread, MISREAD), (not packages, EMPTY), (piece.is_dangling, DANGLING))
    return PipWords(tuple(packages), tuple(text for is_so, text in problems if is_so), head["cache"] is not None)


def _words(line: str) -> tuple[list[str], bool] | None:
    """Return the requirements of one line as they were meant, and whether the shell reads them otherwise."""
    words = split_words(line)
    try:
        if words is not None:
            return [parse_requirement(word).text for word in words], False
        bare = _UNQUOTED.sub("", line)
        if re.search(r"[&|$`()#\\]", bare):
            return None
        return [package.text for package in parse_package_list(line)], re.search(r"[<>;]", bare) is not None
    except InvalidRequestError:
        return None


def read_system(piece: Piece) -> tuple[str, ...] | None:
    """Return the packages that apt-get is asked for."""
    match = _SYSTEM.fullmatch(_joined(piece)) if piece.keyword == "RUN" else None
    if match is None:
        return None
    options = set(match["options"].split())
    if not options <= _SYSTEM_OPTIONS or "--no-install-recommends" not in options or "-y" not in options:
        return None
    return _each(match["words"], parse_system_package)


def read_conda(piece: Piece) -> CondaPackages | None:
    """Return what conda is asked for."""
    match = _CONDA.fullmatch(_joined(piece)) if piece.keyword == "RUN" else None
    if match is None:
        return None
    options = match["options"].split()
    channels = [word.strip("'") for before, word in pairwise(options) if before in {"-c", "--channel"}]
    if "--override-channels" in options:
        channels.append(NO_DEFAULTS)
    specs = _each(match["words"], parse_conda_spec)
    try:
        return None if specs is None else CondaPackages(specs, tuple(map(parse_channel, channels)))
    except InvalidRequestError:
        return None


def _joined(piece: Piece) -> str:
    return " ".join(" ".join(piece.body).split())


def _each(text: str, parse: Callable[[str], str]) -> tuple[str, ...] | None:
    words = split_words(text.strip())
    try:
        return None if words is None else tuple(parse(word) for word in words)
    except InvalidRequestError:
        return None


def read_written_lines(piece: Piece) -> tuple[str, tuple[str, ...]] | None:
    """Return the path of a file that a command writes, and the lines it gets."""
    if piece.keyword != "RUN" or len(piece.body) < 3 or piece.body[0].strip() != "printf '%s\\n'":
        return None
    aim = _WRITTEN.fullmatch(piece.body[-1].strip())
    found = [split_words(line.strip()) for line in piece.body[1:-1]]
    if aim is None or any(words is None or len(words) != 1 for words in found):
        return None
    return aim["path"], tuple(words[0] for words in found if words)


def is_file_install(piece: Piece) -> bool:
    """Tell whether a command installs from the files that were written before."""
    return piece.keyword == "RUN" and _PIP_FILE.fullmatch(_joined(piece)) is not None


def read_pairs(piece: Piece) -> tuple[tuple[str, str], ...] | None:
    """Return the names and values of an ENV or LABEL; None if builders fill something in."""
    text = "".join(piece.body).strip(" \t")
    pairs: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            return None
        value = "".join(
            _ESCAPED.sub(r"\1", double) + single + bare for double, single, bare in _VALUE_PART.findall(match["value"])
        )
        pairs.append((match["key"], value))
        position = match.end()
    return tuple(pairs) if pairs and all(is_one_line(value) for _, value in pairs) else None


def read_copy(piece: Piece) -> CopiedFile | None:
    """Return what a COPY in the JSON form copies."""
    if piece.keyword != "COPY":
        return None
    try:
        words: object = json.loads("".join(piece.body))
        if not isinstance(words, list) or len(words) != 2 or not all(isinstance(word, str) for word in words):
            return None
        copied = CopiedFile(words[0], words[1])
        require_copied(copied)
    except (ValueError, RecursionError, InvalidRequestError):
        return None
    return copied


def foreign_packages(pieces: Sequence[Piece]) -> tuple[str, ...]:
    """Return the requirements that commands of any form most likely install by pip: for finding duplicates only."""
    found: list[str] = []
    for piece in pieces:
        if piece.keyword != "RUN":
            continue
        for part in re.split(r"&&|\|\||;(?=\s*\w+\s)", _joined(piece))[:1000]:
            _, is_pip, rest = part.partition("pip install ")
            for word in rest.split() if is_pip else ():
                try:
                    found.append(parse_requirement(word.strip("'\"")).text)
                except InvalidRequestError:
                    continue
    return tuple(found)
