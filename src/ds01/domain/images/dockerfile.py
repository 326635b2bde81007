"""A Dockerfile and the recipe in it: read, written, and changed without touching the lines that are somebody's own."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ds01.domain import label
from ds01.domain.images.conda_package import CondaPackages
from ds01.domain.images.dockerfile_reading import (
    BROKEN_OFF,
    DANGLING,
    EMPTY,
    foreign_packages,
    is_file_install,
    read_conda,
    read_copy,
    read_pairs,
    read_pip,
    read_system,
    read_written_lines,
)
from ds01.domain.images.dockerfile_section import (
    CONSTRAINTS_PATH,
    SECTION_TIERS,
    SOURCE_PREFIX,
    Section,
    find_section,
)
from ds01.domain.images.dockerfile_text import Piece, PieceKind, split_pieces
from ds01.domain.images.recipe import CopiedFile, ImageRecipe, RequirementsFile, Tier, TierPackages
from ds01.errors import InvalidRequestError

_FROM = re.compile(r"(?:--\S+\s+)*(?P<image>\S+)(?:\s+AS\s+\S+)?", re.IGNORECASE)
_LEGACY_LABELS = {
    "maintainer": "author",
    "ds01.image": "name",
    "ds01.framework": "framework",
    "ds01.project": "name",
    "ds01.created": "created",
}
_OUR_LABELS = {
    label.MAINTAINER: "author",
    label.CUSTOM_IMAGE: "name",
    label.FRAMEWORK: "framework",
    label.USE_CASE: "use_case",
    label.CREATED: "created",
}
_DERIVED = frozenset({Section.JUPYTER_CONFIG, Section.KERNEL})
_TOOLS = re.compile(r"\b(?:jupyter|ipykernel)\b")


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions that a section of the recipe owns.

    Attributes:
        section: The section.
        heading: Index of the piece that is its heading.
        pieces: Indexes of its pieces.
        defects: What is wrong with how it is written.
        has_cache: Its pip keeps what it fetches in a cache of the builder.
    """

    section: Section
    heading: int
    pieces: tuple[int, ...]
    defects: tuple[str, ...] = ()
    has_cache: bool = False


@dataclass(frozen=True, slots=True)
class DockerfileNote:
    """Something about a Dockerfile that its owner should know.

    Attributes:
        line: Number of the line, from 1.
        problem: What it is.
    """

    line: int
    problem: str


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A Dockerfile as it was read.

    Attributes:
        recipe: What the lines that we can write say; the others stay as they are.
        pieces: The whole file.
        blocks: What the recipe owns.
        base_piece: Index of the last FROM.
        label_pieces: Indexes of the LABELs that the recipe owns.
        notes: What is wrong with it.
    """

    recipe: ImageRecipe
    pieces: tuple[Piece, ...]
    blocks: tuple[Block, ...]
    base_piece: int
    label_pieces: tuple[int, ...]
    notes: tuple[DockerfileNote, ...]

    @property
    def text(self) -> str:
        """The file, byte by byte."""
        return "".join(piece.text for piece in self.pieces)

    def foreign_packages(self) -> tuple[str, ...]:
        """Return what lines that are not the recipe's most likely install by pip."""
        owned = {index for block in self.blocks for index in block.pieces}
        return foreign_packages([piece for index, piece in enumerate(self.pieces) if index not in owned])


def parse_dockerfile(text: str) -> Dockerfile:
    """Return the recipe of a Dockerfile and the places of its lines.

    Args:
        text: Ours, the predecessors', or anybody's.

    Raises:
        InvalidRequestError: It has no FROM, is too large, or says something that no recipe can.
    """
    pieces = split_pieces(text, lambda comment: find_section(comment) is not None)
    base_piece = max((index for index, piece in enumerate(pieces) if piece.keyword == "FROM"), default=-1)
    match = _FROM.fullmatch(" ".join(pieces[base_piece].body).strip()) if base_piece >= 0 else None
    if match is None:
        raise InvalidRequestError("The Dockerfile has no line FROM with an image.", hint="Begin it with: FROM IMAGE")
    reading = _Reading(pieces)
    reading.read(base_piece + 1)
    return Dockerfile(
        recipe=reading.recipe(match["image"]),
        pieces=pieces,
        blocks=tuple(reading.blocks),
        base_piece=base_piece,
        label_pieces=tuple(reading.label_pieces),
        notes=tuple(
            DockerfileNote(pieces[block.pieces[0]].number, f"{block.section.value}: {defect}.")
            for block in reading.blocks
            for defect in block.defects
        ),
    )


class _Reading:
    """Collects what the pieces after the last FROM say."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.blocks: list[Block] = []
        self.label_pieces: list[int] = []
        self._facts: dict[str, str] = {}
        self._legacy: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._packages: list[TierPackages] = []
        self._system: list[str] = []
        self._conda = CondaPackages()
        self._requirements: RequirementsFile | None = None
        self._files: list[CopiedFile] = []
        self._env: dict[str, str] = {}

    def read(self, start: int) -> None:
        """Read from a piece on to the end."""
        index = start
        while index < len(self.pieces):
            piece = self.pieces[index]
            section = find_section(piece.text) if piece.kind is PieceKind.COMMENT else None
            if section is not None:
                index = self._section(section, index)
                continue
            if piece.keyword == "LABEL":
                self._label(index)
            index += 1

    def recipe(self, base: str) -> ImageRecipe:
        """Return what was collected."""
        facts = {**self._legacy, **self._facts}
        return ImageRecipe(
            base=base,
            name=_legal("name", facts),
            author=_legal("author", facts),
            framework=_legal("framework", facts),
            use_case=_legal("use_case", facts),
            created=_legal("created", facts),
            system=tuple(self._system),
            conda=self._conda,
            requirements=self._requirements,
            packages=tuple(self._packages),
            files=tuple(self._files),
            env=tuple(self._env.items()),
            labels=tuple(self._labels.items()),
        )

    def _section(self, section: Section, heading: int) -> int:
        """Read a section whose heading was found; return where to go on."""
        first = heading + 1
        while first < len(self.pieces) and self.pieces[first].kind is not PieceKind.INSTRUCTION:
            if self.pieces[first].kind is PieceKind.COMMENT and find_section(self.pieces[first].text) is not None:
                return first
            first += 1
        if first == len(self.pieces):
            return first
        block = self._block(section, heading, first)
        if block is None:
            return first
        self.blocks.append(block)
        return max(block.pieces) + 1

    def _block(self, section: Section, heading: int, first: int) -> Block | None:
        tier = SECTION_TIERS.get(section)
        if tier is not None:
            return self._tier(tier, section, heading, first)
        match section:
            case Section.SYSTEM:
                return self._system_block(heading, first)
            case Section.CONDA:
                conda = read_conda(self.pieces[first])
                if conda is not None:
                    self._conda = CondaPackages(self._conda.specs + conda.specs, self._conda.channels + conda.channels)
                    return Block(section, heading, (first,), _dangling(self.pieces[first]))
            case Section.REQUIREMENTS:
                return self._requirements_block(heading, first)
            case Section.FILES:
                return self._files_block(heading, first)
            case Section.ENVIRONMENT:
                return self._environment(heading, first)
            case Section.JUPYTER_CONFIG | Section.KERNEL:
                return self._tools(section, heading, first)
            case _:
                pass
        return None

    def _tier(self, tier: Tier, section: Section, heading: int, first: int) -> Block | None:
        words = read_pip(self.pieces[first])
        if words is None:
            return None
        self._packages.append(TierPackages(tier, words.packages))
        return Block(section, heading, (first,), words.defects, words.has_cache)

    def _system_block(self, heading: int, first: int) -> Block | None:
        piece, defects = self.pieces[first], _dangling(self.pieces[first])
        indexes: tuple[int, ...] = (first,)
        follower = self.pieces[first + 1] if first + 1 < len(self.pieces) else None
        if follower is not None and follower.keyword == "&&":  # the predecessor's way to add a package
            piece, indexes = replace(piece, body=(*piece.body, "&&", *follower.body)), (first, first + 1)
            defects = (BROKEN_OFF,)
        found = read_system(piece)
        if found is None:
            return None
        self._system += found
        return Block(Section.SYSTEM, heading, indexes, defects if found else (*defects, EMPTY))

    def _requirements_block(self, heading: int, first: int) -> Block | None:
        source = self._source(heading, first)
        indexes = [index for index in range(heading + 1, first) if self.pieces[index].text.startswith(SOURCE_PREFIX)][
            :1
        ]
        lines: list[str] = []
        constraints: list[str] = []
        index = first
        while index < len(self.pieces) and (written := read_written_lines(self.pieces[index])) is not None:
            (constraints if written[0] == CONSTRAINTS_PATH else lines).extend(written[1])
            indexes.append(index)
            index += 1
        defects: tuple[str, ...] = ()
        has_cache = False
        if lines and index < len(self.pieces) and is_file_install(self.pieces[index]):
            has_cache = "--mount=" in self.pieces[index].text
        elif not lines and (words := read_pip(self.pieces[first])) is not None:
            lines, defects, has_cache = list(words.packages), words.defects, words.has_cache
        else:
            return None
        known = self._requirements or RequirementsFile(())
        self._requirements = RequirementsFile(
            (*known.lines, *lines), (*known.constraints, *constraints), known.source or source
        )
        return Block(Section.REQUIREMENTS, heading, (*indexes, index), defects, has_cache)

    def _source(self, heading: int, first: int) -> str:
        texts = [self.pieces[index].text for index in range(heading + 1, first)]
        return next((text.removeprefix(SOURCE_PREFIX).strip() for text in texts if text.startswith(SOURCE_PREFIX)), "")

    def _files_block(self, heading: int, first: int) -> Block | None:
        indexes: list[int] = []
        for index in range(first, len(self.pieces)):
            copied = read_copy(self.pieces[index])
            if copied is None:
                break
            self._files.append(copied)
            indexes.append(index)
        return Block(Section.FILES, heading, tuple(indexes)) if indexes else None

    def _environment(self, heading: int, first: int) -> Block | None:
        indexes: list[int] = []
        for index in range(first, len(self.pieces)):
            piece = self.pieces[index]
            if piece.keyword != "ENV":
                break
            pairs = read_pairs(piece)
            if pairs is not None and all(re.fullmatch(r"[A-Za-z_]\w*", key, re.ASCII) for key, _ in pairs):
                self._env.update(pairs)
                indexes.append(index)
        return Block(Section.ENVIRONMENT, heading, tuple(indexes)) if indexes else None

    def _tools(self, section: Section, heading: int, first: int) -> Block | None:
        indexes: list[int] = []
        for index in range(first, len(self.pieces)):
            if self.pieces[index].keyword != "RUN" or not _TOOLS.search(self.pieces[index].text):
                break
            indexes.append(index)
        return Block(section, heading, tuple(indexes)) if indexes else None

    def _label(self, index: int) -> None:
        pairs = read_pairs(self.pieces[index])
        if pairs is None or len(pairs) != 1:
            return
        key, value = pairs[0]
        if key in _OUR_LABELS:
            self._facts[_OUR_LABELS[key]] = value
            self.label_pieces.append(index)
        elif key in _LEGACY_LABELS:
            self._legacy.setdefault(_LEGACY_LABELS[key], value)
        elif _is_legal(labels=((key, value),)):
            self._labels[key] = value
            self.label_pieces.append(index)


def _dangling(piece: Piece) -> tuple[str, ...]:
    return (DANGLING,) if piece.is_dangling else ()


def _legal(name: str, facts: dict[str, str]) -> str:
    """Return a fact that a label says, or nothing where it is none that a recipe can hold."""
    value = facts.get(name, "")
    return value if _is_legal(**{name: value}) else ""


@lru_cache(maxsize=1024)
def _is_legal(**values: object) -> bool:
    try:
        replace(ImageRecipe("scratch"), **values)  # type: ignore[arg-type]  # names and values of the recipe's own fields
    except InvalidRequestError:
        return False
    return True
