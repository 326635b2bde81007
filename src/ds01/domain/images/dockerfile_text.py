"""A Dockerfile as a sequence of pieces that lose nothing: joined, they are the file again, byte by byte.

Source: Dockerfile reference (format, line continuation, escape directive, here-documents) and the parser of BuildKit,
which drops empty lines and comments inside a continued instruction.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from ds01.errors import InvalidRequestError

MAX_CHARACTERS = 1024 * 1024
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_ESCAPE = re.compile(r"#[ \t]*escape[ \t]*=[ \t]*(\S+)", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#[ \t]*[A-Za-z][A-Za-z0-9]*[ \t]*=")
_HEREDOC = re.compile(r"""(?<![<\w])\d*<<(-?)(["']?)([A-Za-z_][\w.]*)\2(?=[\s>|;&]|$)""")
_QUOTED = re.compile(r"""(?<!<<)(?<!<<-)(?:'[^']*'|"(?:[^"\\]|\\.)*")""")
_BLANK = re.compile(r"[\t\v\f\r ]+")
_TAKES_HEREDOC = frozenset({"RUN", "COPY", "ADD"})


class PieceKind(Enum):
    """What a piece is."""

    BLANK = "blank"
    COMMENT = "comment"
    INSTRUCTION = "instruction"


@dataclass(frozen=True, slots=True)
class Piece:
    """A blank line, a comment, or an instruction with all its lines.

    Attributes:
        kind: What it is.
        text: Its text with line ends.
        number: Number of its first line, from 1.
        keyword: Instruction in capitals, such as `RUN`; empty for the others.
        body: Lines of an instruction without keyword, comments, backslashes and line ends.
        is_dangling: Its last line ends with a backslash, so that builders read on.
    """

    kind: PieceKind
    text: str
    number: int
    keyword: str = ""
    body: tuple[str, ...] = ()
    is_dangling: bool = False


def split_pieces(text: str, is_heading: Callable[[str], bool]) -> tuple[Piece, ...]:
    """Return the pieces of a Dockerfile.

    Args:
        text: The file.
        is_heading: Tells the headings of sections: an instruction ends before one although its last line ends with a
            backslash. Builders would go on; tools that cut lines out of blocks left such files behind.

    Raises:
        InvalidRequestError: The file is too large, or continues its lines with something else than a backslash.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequestError("The Dockerfile is larger than 1 MiB.", hint="Copy files into the image instead.")
    lines = _LINE.findall(text)
    _require_backslash(lines)
    pieces: list[Piece] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        content = line.strip()
        if not content or content[0] == "#":
            kind = PieceKind.COMMENT if content else PieceKind.BLANK
            pieces.append(Piece(kind, line, position + 1))
            position += 1
        elif content[-1] != "\\" and "<<" not in content:  # most of them take one line
            keyword, rest = _split_keyword(content)
            pieces.append(Piece(PieceKind.INSTRUCTION, line, position + 1, keyword=keyword, body=(rest,)))
            position += 1
        else:
            piece, position = _instruction(lines, position, is_heading)
            pieces.append(piece)
    return tuple(pieces)


def _require_backslash(lines: list[str]) -> None:
    for line in lines:
        match = _ESCAPE.match(line.lstrip("\ufeff"))
        if match is not None and match[1] != "\\":
            raise InvalidRequestError(
                f"The Dockerfile continues its lines with {match[1][:10]!r} (escape=).",
                hint="Images of Linux use the backslash: remove the line `# escape=`.",
            )
        if not _DIRECTIVE.match(line.lstrip("\ufeff")):
            return  # directives stand before everything else


def _instruction(lines: list[str], start: int, is_heading: Callable[[str], bool]) -> tuple[Piece, int]:
    body: list[str] = []
    end = last = start
    goes_on = True
    while goes_on and end < len(lines):
        content = lines[end].rstrip("\r\n")
        bare = content.strip()
        if end > start and bare.startswith("#"):
            if is_heading(content):
                break
        elif bare:
            trimmed = content.rstrip(" \t")
            goes_on = trimmed.endswith("\\")
            body.append(trimmed[:-1] if goes_on else content)
            last = end
        end += 1
    if goes_on:
        end = last + 1  # blank lines and comments behind a dangling backslash are not its own
    joined = "".join(body)  # as builders do: keywords and marks may be cut in two
    end = _after_heredocs(lines, end, heredocs_of(joined))
    keyword, (_, rest) = _split_keyword(joined)[0], _split_keyword(body[0])
    first = rest if body[1:] else rest.rstrip()
    piece = Piece(
        PieceKind.INSTRUCTION,
        "".join(lines[start:end]),
        start + 1,
        keyword=keyword,
        body=(first, *body[1:]),
        is_dangling=goes_on,
    )
    return piece, end


def _split_keyword(content: str) -> tuple[str, str]:
    """Return the keyword of an instruction in capitals, and the rest of its first line."""
    keyword, *rest = _BLANK.split(content.removeprefix("\ufeff").strip(), maxsplit=1)
    return keyword.upper(), "".join(rest)


def heredocs_of(instruction: str) -> list[tuple[str, str]]:
    """Return the here-documents that an instruction begins: `-` if tabs before their lines do not count, and the mark.

    Args:
        instruction: With its keyword; lines that continue it joined without anything between.
    """
    if "<<" not in instruction or not takes_heredoc(instruction):
        return []
    return [(match[1], match[3]) for match in _HEREDOC.finditer(_QUOTED.sub("''", instruction))]


def takes_heredoc(instruction: str) -> bool:
    """Tell whether builders look for here-documents in an instruction."""
    keyword, rest = _split_keyword(instruction)
    return (_split_keyword(rest)[0] if keyword == "ONBUILD" else keyword) in _TAKES_HEREDOC


def _after_heredocs(lines: list[str], end: int, heredocs: Sequence[tuple[str, str]]) -> int:
    """Return where an instruction ends that brings its own text; without the text's end it brings none."""
    for strips_tabs, mark in heredocs:
        for position in range(end, len(lines)):
            content = lines[position].rstrip("\r\n")
            if (content.lstrip("\t") if strips_tabs else content) == mark:
                end = position + 1
                break
    return end
