"""Dockerfiles written from recipes, and changed to other recipes: only what differs is written anew."""

import re
from collections.abc import Sequence

from ds01.domain.images.dockerfile import Block, Dockerfile
from ds01.domain.images.dockerfile_section import (
    SECTION_ORDER,
    SOURCE_PREFIX,
    Section,
    label_pairs,
    write_labels,
    write_section,
)
from ds01.domain.images.dockerfile_text import PieceKind
from ds01.domain.images.recipe import ImageRecipe

HEADING = "# Made by ds01. Edit it as you like: your own lines are kept."
_MAY_INSTALL = "ENV PIP_BREAK_SYSTEM_PACKAGES=1"
PYTHON_IS_OURS = f"# The Python of an image is nobody else's: pip may install into it (PEP 668)\n{_MAY_INSTALL}\n"
"""Without it pip refuses on bases whose Python comes from Debian 12, Ubuntu 24.04 or newer. Older ones pass it over.

Source: PEP 668; pip's documentation of --break-system-packages (23.0.1) and of its environment variables.
"""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
END = 'WORKDIR /workspace\n\nCMD ["/bin/bash"]\n'
_DERIVED = frozenset({Section.JUPYTER_CONFIG, Section.KERNEL})
_AT_THE_END = frozenset(
    {"CMD", "ENTRYPOINT", "WORKDIR", "USER", "EXPOSE", "HEALTHCHECK", "VOLUME", "STOPSIGNAL", "ENV", "SHELL", "LABEL"}
)


def render_dockerfile(recipe: ImageRecipe, *, has_cache: bool = False) -> str:
    """Return the Dockerfile of a recipe.

    Args:
        recipe: The recipe.
        has_cache: Keep what pip fetches in a cache of the builder: BuildKit only, the classic builder refuses it.
    """
    parts = [_header(recipe), f"FROM {recipe.base}\n", write_labels(recipe), PYTHON_IS_OURS]
    parts += [_with_heading(recipe, section, has_cache=has_cache) for section in Section]
    return "\n".join([*(part for part in parts if part), END])


def _header(recipe: ImageRecipe) -> str:
    """Return the comments that say to a reader whose file it is; the labels say it to programs."""
    facts = (
        ("DS01 Custom Image", recipe.name),
        ("Created", recipe.created),
        ("Framework", recipe.framework),
        ("Author", recipe.author),
    )
    return "".join([f"{HEADING}\n", *(f"# {title}: {value}\n" for title, value in facts if value)])


def _with_heading(recipe: ImageRecipe, section: Section, *, has_cache: bool) -> str:
    body = write_section(recipe, section, has_cache=has_cache)
    return f"# {section.value}\n{_source(recipe, section)}{body}" if body else ""


def _source(recipe: ImageRecipe, section: Section) -> str:
    found = recipe.requirements
    is_named = section is Section.REQUIREMENTS and found is not None and bool(found.source)
    return f"{SOURCE_PREFIX}{found.source}\n" if is_named and found is not None else ""


def update_dockerfile(dockerfile: Dockerfile, recipe: ImageRecipe) -> str:
    """Return the Dockerfile with another recipe: sections that say the same, and lines of others, stay as they are."""
    return _Change(dockerfile, recipe).text()


def repair_dockerfile(dockerfile: Dockerfile) -> str:
    """Return the Dockerfile with those sections written anew that a builder or shell would read wrongly."""
    return _Change(dockerfile, dockerfile.recipe, repairs=True).text()


def _with_comments(new: str, old: str) -> str:
    """Return instructions with the comments that stand between the lines of those whose place they take.

    Each stays before the line that names the same thing, such as a package; where that is gone, before all.
    """
    kept: dict[str, list[str]] = {}
    waiting: list[str] = []
    for line in old.split("\n"):
        if line.lstrip().startswith("#"):
            waiting.append(line.rstrip("\r"))
        elif waiting and line.strip():
            kept.setdefault(_named_in(line), []).extend(waiting)
            waiting = []
    lines: list[str] = []
    for line in new.splitlines():
        lines += [*kept.pop(_named_in(line), ()), line]
    homeless = [comment.lstrip() for comments in (*kept.values(), waiting) for comment in comments]
    return "\n".join([*homeless, *lines]) + "\n"


def _named_in(line: str) -> str:
    found = _NAME.search(line)
    return found[0].lower() if found is not None else line.strip()


class _Change:
    """The pieces of a file, and what is put in their place, before and behind them."""

    def __init__(self, dockerfile: Dockerfile, recipe: ImageRecipe, *, repairs: bool = False) -> None:
        self._file = dockerfile
        self._recipe = recipe
        self._repairs = repairs
        self._has_cache = any(block.has_cache for block in dockerfile.blocks)
        self._texts = [piece.text for piece in dockerfile.pieces]
        self._before: dict[int, list[str]] = {}
        self._behind: dict[int, list[str]] = {}
        self._removed: set[int] = set()

    def text(self) -> str:
        """Return the changed file, with the line ends it had."""
        self._change_header()
        self._change_base()
        self._change_labels()
        added = [section for section in Section if self._change_section(section)]
        for section in added:  # when it is known what stays: places are found by what stands there
            self._insert(section, f"# {section.value}\n{self._body(self._recipe, section)}")
        return self._assembled()

    def _change_header(self) -> None:
        """Let the comments before the base say the new facts, where they stand as they were written."""
        old, new = _header(self._file.recipe), _header(self._recipe)
        before_base = self._texts[: self._file.base_piece]
        first = next((index for index, text in enumerate(before_base) if text.rstrip() == HEADING), None)
        if old == new or first is None:
            return
        places = range(first, first + old.count("\n"))
        if "".join(self._texts[index] for index in places).replace("\r\n", "\n") == old:
            self._replace(places, new)

    def _change_base(self) -> None:
        old, new, index = self._file.recipe.base, self._recipe.base, self._file.base_piece
        if old != new:
            self._texts[index] = re.sub(rf"(?<=\s){re.escape(old)}(?=\s|$)", lambda _: new, self._texts[index], count=1)

    def _change_labels(self) -> None:
        if label_pairs(self._file.recipe) == label_pairs(self._recipe):
            return
        written, places = write_labels(self._recipe), self._file.label_pieces
        if not places:
            self._behind.setdefault(self._file.base_piece, []).append(f"\n{written}")
        elif written:
            self._replace(places, written)
        else:
            for index in places:
                self._remove(index)
            self._close_gap(places[0])

    def _change_section(self, section: Section) -> bool:
        """Change or remove a section; tell whether it is to be added."""
        blocks = [block for block in self._file.blocks if block.section is section]
        is_defect = self._repairs and any(block.defects for block in blocks)
        old, new = self._body(self._file.recipe, section), self._body(self._recipe, section)
        if old == new and not is_defect:
            return False
        if section in _DERIVED and new and not (blocks and self._is_written(blocks[0], old)) and (blocks or old):
            return False  # somebody changed it, or took it out: it is theirs
        if not new:
            for block in blocks:
                self._remove_block(block)
        elif blocks:
            self._replace(blocks[0].pieces, _with_comments(new, self._instructions(blocks[0])))
            for block in blocks[1:]:
                self._remove_block(block)
        return bool(new) and not blocks

    def _instructions(self, block: Block) -> str:
        pieces = (self._file.pieces[index] for index in block.pieces)
        return "".join(piece.text for piece in pieces if piece.kind is PieceKind.INSTRUCTION)

    def _body(self, recipe: ImageRecipe, section: Section) -> str:
        return _source(recipe, section) + write_section(recipe, section, has_cache=self._has_cache)

    def _is_written(self, block: Block, body: str) -> bool:
        return "".join(self._texts[index] for index in block.pieces).replace("\r\n", "\n").rstrip("\n") == body.rstrip(
            "\n"
        )

    def _replace(self, places: Sequence[int], text: str) -> None:
        self._texts[places[0]] = text
        for index in places[1:]:
            self._remove(index)

    def _remove(self, index: int) -> None:
        self._texts[index] = ""
        self._removed.add(index)

    def _remove_block(self, block: Block) -> None:
        for index in block.pieces:
            self._remove(index)
        first, last = block.heading, max(block.pieces)
        between = range(first + 1, last)
        if all(self._is_gone(index) for index in between):  # a comment of somebody's keeps the heading as its context
            for index in (first, *between):
                self._remove(index)
            self._close_gap(first)

    def _is_gone(self, index: int) -> bool:
        return index in self._removed or self._file.pieces[index].kind is PieceKind.BLANK

    def _close_gap(self, index: int) -> None:
        """Remove the blank line behind what was removed, if one stands before it too."""
        behind = next((at for at in range(index, len(self._texts)) if at not in self._removed), None)
        if behind is None or self._file.pieces[behind].kind is not PieceKind.BLANK:
            return
        before = next((at for at in range(index - 1, -1, -1) if at not in self._removed), None)
        if before is None or self._file.pieces[before].kind is PieceKind.BLANK:
            self._remove(behind)

    def _insert(self, section: Section, text: str) -> None:
        """Put a new section behind the last that is earlier, else before the first that is later, else at the end."""
        order = SECTION_ORDER[section]
        blocks = [block for block in self._file.blocks if not self._removed.issuperset(block.pieces)]
        earlier = [max(block.pieces) for block in blocks if SECTION_ORDER[block.section] < order]
        later = [block.heading for block in blocks if SECTION_ORDER[block.section] > order]
        if earlier:
            self._behind.setdefault(max(earlier), []).append(f"\n{text}")
        elif later:
            self._before.setdefault(min(later), []).append(f"{text}\n")
        else:
            self._behind.setdefault(self._last_step(), []).append(f"\n{text}")

    def _last_step(self) -> int:
        """Return the last instruction of the image that does something, before those that say how it is run."""
        index = len(self._file.pieces) - 1
        while index > self._file.base_piece:
            piece = self._file.pieces[index]
            is_step = piece.keyword not in _AT_THE_END or piece.text.strip() == _MAY_INSTALL
            if piece.kind is PieceKind.INSTRUCTION and is_step and index not in self._removed:
                return index
            index -= 1
        return max({index, *self._file.label_pieces} - self._removed)

    def _assembled(self) -> str:
        written: list[str] = []
        newline = "\r\n" if self._file.pieces and self._file.pieces[0].text.endswith("\r\n") else "\n"
        for index, text in enumerate(self._texts):
            own = text == self._file.pieces[index].text
            written += [part.replace("\n", newline) for part in self._before.get(index, ())]
            written.append(text if own else text.replace("\r\n", "\n").replace("\n", newline))
            if self._behind.get(index) and written[-1] and not written[-1].endswith("\n"):
                written.append(newline)
            written += [part.replace("\n", newline) for part in self._behind.get(index, ())]
        return "".join(written)
