"""A requirements.txt, read as pip reads it, for an image.

Source: pip, "Requirements File Format": lines are joined at a final backslash, a comment begins at a `#` after white
space or at the beginning, options stand alone, other files are included with -r and -c.
"""

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ds01.domain.images.import_text import Import, ImportProblem
from ds01.domain.images.requirement import PackageRequirement
from ds01.domain.images.requirements_line import parse_requirements_line
from ds01.errors import InvalidRequestError

MAX_LINES = 10_000
MAX_DEPTH = 10
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$")
_INCLUDE = re.compile(r"(?P<option>-r|--requirement|-c|--constraint|-e|--editable)(?:\s+|=|(?<=^-[rce]))(?P<value>.+)")
_CONSTRAINTS = frozenset({"-c", "--constraint"})
_EDITABLE = frozenset({"-e", "--editable"})
ReadText = Callable[[str], str | None]
"""Returns the text of a file by its path relative to the first one, or None where there is none."""


@dataclass(slots=True)
class _Found:
    lines: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    packages: list[PackageRequirement] = field(default_factory=list)
    problems: list[ImportProblem] = field(default_factory=list)
    notes: list[ImportProblem] = field(default_factory=list)
    count: int = 0


def import_requirements(text: str, name: str, read: ReadText) -> Import:
    """Return what a requirements file asks for, with the files it includes.

    Args:
        text: Its text.
        name: Its name, for messages; other files are looked for beside it.
        read: Gives the text of an included file.
    """
    return import_numbered(enumerate(split_lines(text), start=1), name, read)


def import_numbered(numbered: Iterable[tuple[int | None, str]], name: str, read: ReadText) -> Import:
    """Return what lines ask for; the numbers are for messages, None where none is known."""
    found = _Found()
    _read_lines(list(numbered), found, _Place(name, read, (posixpath.normpath(name),)))
    return Import(
        lines=tuple(dict.fromkeys(found.lines)),
        constraints=tuple(dict.fromkeys(found.constraints)),
        packages=tuple(found.packages),
        problems=tuple(found.problems),
        notes=tuple(found.notes),
    )


def split_lines(text: str) -> list[str]:
    """Return the lines of a text with any line ends, and without a byte order mark."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where lines come from.

    Attributes:
        name: The file.
        read: Gives included files.
        path: Files that led here, to find circles.
        is_constraint: It says which versions, not what.
    """

    name: str
    read: ReadText
    path: tuple[str, ...]
    is_constraint: bool = False

    def at(self, number: int | None) -> str:
        """Return the place of a line for messages."""
        return self.name if number is None else f"{self.name}:{number}"


def _read_lines(numbered: list[tuple[int | None, str]], found: _Found, place: _Place) -> None:
    for number, line in _logical(numbered):
        found.count += 1
        if found.count > MAX_LINES:
            found.problems.append(
                ImportProblem(place.at(number), f"more than {MAX_LINES} lines.", "Is it the right file?")
            )
            return
        try:
            _read_line(line, number, found, place)
        except InvalidRequestError as problem:
            found.problems.append(ImportProblem(place.at(number), problem.message, problem.hint or ""))


def _logical(numbered: list[tuple[int | None, str]]) -> Iterable[tuple[int | None, str]]:
    """Join continued lines and drop comments."""
    waiting: list[str] = []
    start: int | None = None
    for number, line in numbered:
        is_comment = line.lstrip().startswith("#")
        start = start if waiting else number
        if line.endswith("\\") and not is_comment:
            waiting.append(line[:-1])
            continue
        waiting.append(f" {line}" if is_comment else line)
        content = _COMMENT.sub("", "".join(waiting)).strip()
        waiting = []
        if content:
            yield start, content
    content = _COMMENT.sub("", "".join(waiting)).strip()
    if content:
        yield start, content


def _read_line(line: str, number: int | None, found: _Found, place: _Place) -> None:
    include = _INCLUDE.fullmatch(line)
    if include is not None and include["option"] in _EDITABLE:
        line = _editable(include["value"].strip())
        found.notes.append(
            ImportProblem(place.at(number), "the package is installed as usual: an image has no source to edit.")
        )
    elif include is not None:
        is_constraint = place.is_constraint or include["option"] in _CONSTRAINTS
        _include(include["value"].strip().strip("'\""), number, found, place, is_constraint=is_constraint)
        return
    parsed = parse_requirements_line(line)
    if place.is_constraint:
        if parsed.package is not None:
            found.constraints.append(parsed.text)
        return
    found.lines.append(parsed.text)
    if parsed.package is not None:
        found.packages.append(parsed.package)


def _editable(value: str) -> str:
    if "://" in value:
        return value
    raise InvalidRequestError(
        f"-e {value[:60]!r} is a folder of yours: the build sees none.",
        hint="Leave the line out, and install it in the container: pip install -e /workspace/PATH",
    )


def _include(value: str, number: int | None, found: _Found, place: _Place, *, is_constraint: bool) -> None:
    if "://" in value:
        raise InvalidRequestError(
            f"{value[:60]!r} would be fetched anew at every build.", hint="Fetch the file, and name the copy."
        )
    path = posixpath.normpath(posixpath.join(posixpath.dirname(place.name), value))
    if path in place.path or len(place.path) > MAX_DEPTH:
        raise InvalidRequestError(f"{value[:60]!r} includes itself.", hint="Leave the line out.")
    text = place.read(path)
    if text is None:
        raise InvalidRequestError(f"There is no file {path[:100]!r}.", hint="Put it there, or leave the line out.")
    inner = _Place(path, place.read, (*place.path, path), is_constraint)
    _read_lines(list(enumerate(split_lines(text), start=1)), found, inner)
