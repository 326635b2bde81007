"""Which images a Dockerfile takes from: FROM, COPY --from, RUN --mount=from, and the frontend that reads it.

Builders of different versions cut a hostile file into instructions in different ways (here-documents, for example). So
every line that could begin an instruction is read as one: what any builder could take is found, at the price that a
line of a script that looks like FROM counts too. What cannot be told before the build is refused, never guessed.

Source: Dockerfile reference; moby/buildkit frontend/dockerfile/parser (line continuation, flags, directives).
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ds01.domain.images.dockerfile_text import Piece, PieceKind, heredocs_of, split_pieces, takes_heredoc
from ds01.errors import InvalidRequestError

SCRATCH = "scratch"
FRONTEND = "syntax"
MAX_CONTINUED_LINES = 64
_KEYWORDS = ("FROM", "COPY", "ADD", "RUN", "ONBUILD")
_BLANK = re.compile(r"[\t\v\f\r ]+")
_SYNTAX = re.compile(r"\s*\ufeff?\s*#\s*syntax\s*=\s*(\S+)", re.IGNORECASE)
_VARIABLE = re.compile(
    r"\$(?:\{(?P<braced>[A-Za-z_]\w*)(?:(?P<test>:?[-+])(?P<word>[^${}]*))?\}|(?P<bare>[A-Za-z_]\w*))", re.ASCII
)
_ARGUMENT = re.compile(
    r"""(?P<name>[A-Za-z_]\w*)(?:=(?:"(?P<double>[^"\\]*)"|(?P<plain>[^\s"'\\]*)))?(?:\s+|$)""", re.ASCII
)
_OF_THE_BUILDER = re.compile(r"(?:BUILD|TARGET)[A-Z]+", re.ASCII)
_HEREDOC_WORD = re.compile(r"(?<!\S)\d*<<-?[^<\s]")
_QUOTING = frozenset("\"'\\")


@dataclass(frozen=True, slots=True)
class UsedImage:
    """An image that a build takes from.

    Attributes:
        reference: As the file says it, variables filled in.
        line: Number of the line, from 1; 0: a trigger of a base image.
        instruction: `FROM`, `COPY --from`, `RUN --mount` or `syntax`.
    """

    reference: str
    line: int
    instruction: str


@dataclass
class _Scan:
    """What has been seen so far.

    Attributes:
        known: Values of ARG before the first FROM.
        stage_lines: Lines where a stage begins in every reading of the file.
        stages: Names of the stages so far.
        count: How many stages there are so far.
    """

    known: "Values"
    stage_lines: Collection[int]
    stages: set[str] = field(default_factory=set)
    count: int = 0


def used_images(text: str, *, unknown: Collection[str] = ()) -> tuple[UsedImage, ...]:
    """Return the images that a Dockerfile takes from, in the order of its lines; stages of its own are none.

    Args:
        text: The file.
        unknown: Names of build arguments whose values must not be filled in, because they are secret.

    Raises:
        InvalidRequestError: The file begins with something else than ARG or FROM, an image cannot be told before the
            build, or a step asks for a device, the machine's network or its rights; the message names the line.
    """
    pieces = split_pieces(text, _never)
    _require_plain_heredocs(pieces)
    scan = _Scan(_arguments(pieces, unknown), {piece.number for piece in pieces if _is(piece, "FROM")})
    found = list(_frontends(text))
    lines = text.split("\n")
    for position in range(len(lines)):
        words = _instruction_at(lines, position)
        if words:
            found += _images_of(words, position + 1, scan)
    return tuple(dict.fromkeys(found))


def trigger_images(triggers: Sequence[str]) -> tuple[UsedImage, ...]:
    """Return the images that the triggers of a base image (ONBUILD) take from.

    Raises:
        InvalidRequestError: One cannot be told before the build.
    """
    scan = _Scan({}, ())
    return tuple(
        image for trigger in triggers for image in _images_of(_words_of(trigger.replace("\\\n", " ")), 0, scan)
    )


def require_undeclared(text: str, names: Collection[str]) -> None:
    """Raise if a Dockerfile declares one of these build arguments: an image keeps a declared one in its history.

    Args:
        text: The file, or the triggers of a base image as lines.
        names: Build arguments whose values must not be kept; in capitals or not.

    Raises:
        InvalidRequestError: It does, or it cannot be told; the message names the line and the argument.
    """
    lines = text.split("\n") if names else []
    secret = {name.upper() for name in names}
    for position in range(len(lines)):
        declared = _declared_at(lines, position)
        if declared is None:
            raise InvalidRequestError(
                f"Line {position + 1} of the Dockerfile: its ARG goes on over too many lines.",
                hint="Write it on fewer lines.",
            )
        found = sorted(secret & declared)
        if found:
            raise InvalidRequestError(
                f"Line {position + 1} of the Dockerfile: ARG {found[0]} would keep the site's proxy in the image.",
                hint="Remove the line: builds get the site's proxies without it.",
            )


def _declared_at(lines: Sequence[str], start: int) -> set[str] | None:
    """Return the words in capitals of an ARG that could begin at a line; None where it has no end."""
    first = next(iter(_words_of(lines[start])), "").upper().rstrip("\\")
    if not first or not any(keyword.startswith(first[:3]) for keyword in ("ARG", "ONBUILD")):
        return set()
    whole, goes_on = list(_joined(lines, start))[-1]
    keyword, *rest = _words_of(whole.upper())
    if keyword == "ONBUILD" and rest:
        keyword, *rest = rest
    is_open = keyword in {"ARG", "ONBUILD"} or not rest
    if goes_on and is_open and start + MAX_CONTINUED_LINES < len(lines):
        return None
    return set(re.findall(r"\w+", " ".join(rest))) if keyword == "ARG" else set()


def _frontends(text: str) -> Iterator[UsedImage]:
    for number, line in enumerate(text.split("\n"), 1):
        content = line.lstrip("\ufeff").strip()
        match = _SYNTAX.match(line)
        if match is not None:
            yield UsedImage(match[1], number, FRONTEND)
        if content and not content.startswith("#"):
            return


Values = Mapping[str, str | None]
"""Values of ARG by name; None: it cannot be told."""


def _arguments(pieces: Sequence[Piece], unknown: Collection[str]) -> Values:
    """Return the values of ARG before the first FROM."""
    known: dict[str, str | None] = dict.fromkeys(unknown)
    for piece in pieces:
        if piece.kind is not PieceKind.INSTRUCTION:
            continue
        if _is(piece, "FROM"):
            return known
        if not _is(piece, "ARG"):
            raise InvalidRequestError(
                f"Line {piece.number} of the Dockerfile: {piece.text.strip()[:60]!r} stands before the first FROM.",
                hint="A Dockerfile begins with FROM; only ARG may stand before it.",
            )
        _, _, text = _BLANK.sub(" ", _whole(piece.text.split("\n")).strip()).partition(" ")
        _add_arguments(known, text, unknown)
    return known


def _add_arguments(known: dict[str, str | None], text: str, unknown: Collection[str]) -> None:
    position = 0
    while position < len(text):
        match = _ARGUMENT.match(text, position)
        if match is None:
            known.update(dict.fromkeys(re.findall(r"[A-Za-z_]\w*", text)))
            return
        name, value = match["name"], match["plain"] if match["double"] is None else match["double"]
        if value is not None and name not in unknown:
            known[name] = _filled(value, known)
        elif name in known:
            known[name] = None  # declared twice: builders differ
        position = match.end()


def _is(piece: Piece, keyword: str) -> bool:
    return _BLANK.split(piece.text.lstrip("\ufeff").strip(), maxsplit=1)[0].upper() == keyword


def _require_plain_heredocs(pieces: Sequence[Piece]) -> None:
    """Raise where builders could disagree on what is a here-document: what looks like a stage in it would be none."""
    if sum(_is(piece, "FROM") for piece in pieces) < 2:
        return
    for piece in pieces:
        instruction = "".join((f"{piece.keyword} ", *piece.body))
        if takes_heredoc(instruction) and len(_HEREDOC_WORD.findall(instruction)) != len(heredocs_of(instruction)):
            raise InvalidRequestError(
                f"Line {piece.number} of the Dockerfile: where its here-document (<<) begins is not clear.",
                hint="Name it with letters only and set it apart by blanks, such as `cat <<EOF`.",
            )


def _instruction_at(lines: Sequence[str], start: int) -> list[str]:
    """Return the first words of the instruction that could begin at a line; none if none can."""
    words: list[str] = []
    for joined, goes_on in _joined(lines, start):
        words = _words_of(joined)
        if not words or not _can_become_instruction(words):
            return []
        if not goes_on or _is_told(words):
            return words
    if start + MAX_CONTINUED_LINES < len(lines):
        raise InvalidRequestError(
            f"Line {start + 1} of the Dockerfile: the options of the instruction go on over too many lines.",
            hint="Write them on fewer lines.",
        )
    return words


def _joined(lines: Sequence[str], start: int) -> Iterator[tuple[str, bool]]:
    """Yield the text that begins at a line as it grows by the lines that continue it, and whether it still goes on."""
    joined = ""
    for position in range(start, min(len(lines), start + MAX_CONTINUED_LINES)):
        content = lines[position].rstrip("\r")
        if position > start and (not content.strip() or content.lstrip().startswith("#")):
            continue  # builders drop empty lines and comments here
        stripped = content.rstrip(" \t")
        goes_on = stripped.endswith("\\")
        joined += stripped[:-1] if goes_on else content
        yield joined, goes_on
        if not goes_on:
            return


def _whole(lines: Sequence[str]) -> str:
    return [text for text, _ in _joined(lines, 0)][-1]


def _words_of(text: str) -> list[str]:
    return [word for word in _BLANK.split(text.lstrip("\ufeff").strip()) if word]


def _can_become_instruction(words: Sequence[str]) -> bool:
    first = words[0].upper()
    return first in _KEYWORDS or (len(words) == 1 and any(keyword.startswith(first) for keyword in _KEYWORDS))


def _is_told(words: Sequence[str]) -> bool:
    """Tell whether the words that follow cannot change which image is meant; the last one may be cut off."""
    keyword, rest = words[0].upper(), list(words[1:-1])
    if keyword == "ONBUILD" and rest:
        keyword, rest = rest[0].upper(), rest[1:]
    plain = [word for word in rest if not word.startswith("--")]
    return len(plain) >= (4 if keyword == "FROM" else 1)


def _images_of(words: Sequence[str], line: int, scan: _Scan) -> Iterator[UsedImage]:
    keyword, rest = words[0].upper(), list(words[1:])
    if keyword == "ONBUILD" and rest:
        keyword, rest = rest[0].upper(), rest[1:]
    if keyword == "FROM":
        yield from _base(rest, line, scan)
    elif keyword in {"COPY", "ADD", "RUN"}:
        for option in _options(rest, line):
            yield from _source(keyword, option, line, scan)


def _base(words: Sequence[str], line: int, scan: _Scan) -> Iterator[UsedImage]:
    plain = list(words)
    while plain and plain[0].startswith("--"):
        plain.pop(0)
    has_name = len(plain) == 3 and plain[1].upper() == "AS"
    if len(plain) != 1 and not has_name:
        return  # no builder takes it
    reference = _reference(plain[0], line, scan)
    if reference != SCRATCH and reference.lower() not in scan.stages:
        yield UsedImage(reference, line, "FROM")
    if line in scan.stage_lines:
        scan.count += 1
        if has_name:
            scan.stages.add(plain[2].lower())


def _options(words: Sequence[str], line: int) -> Iterator[str]:
    for word in words:
        if not word.startswith("--"):
            return
        if _QUOTING & set(word):
            raise InvalidRequestError(
                f"Line {line} of the Dockerfile: the option {word[:60]!r} has quotes or a backslash in it.",
                hint="Write the options of COPY, ADD and RUN without quotes.",
            )
        yield word


def _source(keyword: str, option: str, line: int, scan: _Scan) -> Iterator[UsedImage]:
    name, _, value = option.partition("=")
    if keyword == "RUN":
        _require_plain_step(name.lower(), value.lower(), line)
        pairs = [part.partition("=") for part in value.split(",")] if name.lower() == "--mount" else []
        values = [text for key, _, text in pairs if key.strip().lower() == "from"]
        instruction = "RUN --mount"
    else:
        values = [value] if name.lower() == "--from" else []
        instruction = f"{keyword} --from"
    for found in values:
        if not found or (found.isascii() and found.isdigit() and int(found[:9]) < scan.count):
            continue
        if found.lower() not in scan.stages and found != SCRATCH:
            yield UsedImage(_literal(found, line), line, instruction)


def _require_plain_step(name: str, value: str, line: int) -> None:
    """Raise where BuildKit would give a step what only a grant gives, or the machine's own network or rights."""
    if name == "--device" or (name, value) in {("--network", "host"), ("--security", "insecure")}:
        raise InvalidRequestError(
            f"Line {line} of the Dockerfile: a step of a build gets no {name}{f'={value}' if value else ''}.",
            hint="Leave the option out; GPUs are for containers: ds01 create NAME --gpus 1",
        )


def _literal(text: str, line: int) -> str:
    if "$" in text:
        raise _cannot_be_told(text, line)
    return text


def _reference(text: str, line: int, scan: _Scan) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    filled = _filled(text, scan.known)
    if not filled:
        raise _cannot_be_told(text, line)
    return filled


def _filled(text: str, known: Values) -> str | None:
    """Return a text with its variables filled in; None where it cannot be told."""
    is_told = not _QUOTING & set(text)

    def value_of(match: re.Match[str]) -> str:
        nonlocal is_told
        name = match["braced"] or match["bare"]
        value = known.get(name)
        is_told = is_told and (value is not None or name not in known) and not _OF_THE_BUILDER.fullmatch(name)
        test, word = match["test"] or "", match["word"] or ""
        is_set = bool(value) if test.startswith(":") else value is not None
        if test.endswith("+"):
            return word if is_set else ""
        return (value or "") if is_set or not test else word

    filled = _VARIABLE.sub(value_of, text)
    return filled if is_told and "$" not in filled else None


def _cannot_be_told(text: str, line: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"Line {line} of the Dockerfile: which image {text[:100]!r} is cannot be told before the build.",
        hint="Write the name of the image out, or give its ARG a value before the first FROM.",
    )


def _never(_line: str) -> bool:
    return False
