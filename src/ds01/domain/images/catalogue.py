"""The catalogue of framework images: its rows, the files they are read from, and what a site lays over them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ds01.domain.images.image import parse_reference
from ds01.errors import InvalidRequestError

SHIPPED = "shipped"
"""Origin of the rows that come with the package."""
COLUMNS = ("framework", "version", "architecture", "image")
HIDDEN_FRAMEWORKS = frozenset({"mxnet", "rocm"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_ARCHITECTURE = re.compile(r"[A-Z][A-Z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One framework image.

    Attributes:
        framework: As people know it, such as `Pytorch`.
        version: Version with its suffix, such as `2.8.0-aime`.
        architectures: CUDA or ROCm generations it was made for.
        image: Reference.
        origin: `shipped`, or `file:line`.
    """

    framework: str
    version: str
    architectures: tuple[str, ...]
    image: str
    origin: str = SHIPPED


def parse_catalogue(text: str, source: str | None = None) -> tuple[CatalogueRow, ...]:
    """Return the rows of a catalogue in our form or AIME's.

    Args:
        text: Lines with four columns: framework, version, architectures joined by `;` (with or without brackets) and
            image. A heading, empty lines and lines that begin with `#` are passed over.
            Source: AIME's ml_images.repo: `Pytorch, 2.8.0, [CUDA_ADA;CUDA_AMPERE], aimehub/...`, no heading.
        source: Name of the file, for origins and messages; None: what comes with the package.

    Raises:
        InvalidRequestError: A row cannot be read; the message names file and line.
    """
    rows, problems = parse_catalogue_tolerantly(text, source)
    if problems:
        raise problems[0]
    return rows


def parse_catalogue_tolerantly(
    text: str, source: str | None = None
) -> tuple[tuple[CatalogueRow, ...], tuple[InvalidRequestError, ...]]:
    """Return the rows that can be read, and what is wrong with the others; see `parse_catalogue`."""
    rows: list[CatalogueRow] = []
    problems: list[InvalidRequestError] = []
    for number, line in enumerate(text.split("\n"), start=1):
        cells = [cell.strip() for cell in line.split(",")]
        is_heading = tuple(cell.lower() for cell in cells) == COLUMNS
        if not line.strip() or line.lstrip().startswith("#") or is_heading:
            continue
        place = f"{source or 'catalogue.csv'}:{number}"
        try:
            rows.append(_parse_row(cells, place, SHIPPED if source is None else place))
        except InvalidRequestError as problem:
            problems.append(problem)
    return tuple(rows), tuple(problems)


def _parse_row(cells: Sequence[str], place: str, origin: str) -> CatalogueRow:
    hint = f"A row is: {', '.join(COLUMNS)}."
    if len(cells) != len(COLUMNS):
        raise InvalidRequestError(f"{place}: the row has {len(cells)} columns, not {len(COLUMNS)}.", hint=hint)
    framework, version, bracketed, image = cells
    for column, cell in (("framework", framework), ("version", version)):
        if not _NAME.fullmatch(cell):
            raise InvalidRequestError(f"{place}: {cell[:40]!r} is not a {column}.", hint=hint)
    inner = bracketed.removeprefix("[").removesuffix("]")
    architectures = tuple(dict.fromkeys(name.strip().upper() for name in inner.split(";")))
    for name in architectures:
        if not _ARCHITECTURE.fullmatch(name):
            raise InvalidRequestError(
                f"{place}: {name[:40]!r} is not an architecture.", hint="Write them as CUDA_ADA;CUDA_AMPERE."
            )
    try:
        parse_reference(image)
    except InvalidRequestError as problem:
        raise InvalidRequestError(f"{place}: {problem.message}", hint=problem.hint) from problem
    return CatalogueRow(framework, version, architectures, image, origin)


def format_aime_row(row: CatalogueRow) -> str:
    """Return a row as AIME's list writes it."""
    return f"{row.framework}, {row.version}, [{';'.join(row.architectures)}], {row.image}"


def merge_catalogue(rows: Sequence[CatalogueRow], layer: Sequence[CatalogueRow]) -> tuple[CatalogueRow, ...]:
    """Lay further rows over a catalogue.

    A row of the layer takes the place of those with its framework, version and architecture. The others come before
    the framework's first one, because the first row that fits is the newest. A row that says the same changes nothing.
    """
    overrides: dict[tuple[str, str, str], CatalogueRow] = {}
    known = {row.framework.lower(): row.framework for row in reversed((*rows, *layer))}
    named = [replace(row, framework=known[row.framework.lower()]) for row in layer]
    for row in named:
        for architecture in row.architectures:
            overrides.setdefault(row_key(row, architecture), row)
    present = {row_key(row, architecture) for row in rows for architecture in row.architectures}
    fresh: dict[str, list[CatalogueRow]] = {}
    for row in named:
        left = tuple(name for name in row.architectures if row_key(row, name) not in present)
        if left:
            fresh.setdefault(row.framework.lower(), []).append(replace(row, architectures=left))
    found: list[CatalogueRow] = []
    for row in _overridden(rows, overrides):
        found += fresh.pop(row.framework.lower(), [])
        found.append(row)
    return (*found, *(row for group in fresh.values() for row in group))


def row_key(row: CatalogueRow, architecture: str) -> tuple[str, str, str]:
    """Return what two rows have in common when one takes the place of the other, for one architecture."""
    return row.framework.lower(), row.version.lower(), architecture


def _overridden(
    rows: Sequence[CatalogueRow], overrides: dict[tuple[str, str, str], CatalogueRow]
) -> Iterable[CatalogueRow]:
    done: set[tuple[str, str, str]] = set()
    for row in rows:
        left: list[str] = []
        taken: dict[CatalogueRow, list[str]] = {}
        for architecture in row.architectures:
            key = row_key(row, architecture)
            override = overrides.get(key)
            if override is None or override.image == row.image:
                left.append(architecture)
            elif key not in done:  # the catalogue may have the same key twice: all of them are overridden once
                taken.setdefault(override, []).append(architecture)
            done.add(key)
        for override, names in taken.items():
            yield replace(override, architectures=tuple(names))
        if left:
            yield replace(row, architectures=tuple(left))


def is_offered(row: CatalogueRow) -> bool:
    """Tell whether a row is shown without `--all`: not the discontinued frameworks."""
    return row.framework.lower() not in HIDDEN_FRAMEWORKS


def frameworks(rows: Iterable[CatalogueRow]) -> tuple[str, ...]:
    """Return the names of the offered frameworks in the catalogue's order."""
    return tuple(dict.fromkeys(row.framework for row in rows if is_offered(row)))


def find_framework(rows: Sequence[CatalogueRow], name: str) -> str | None:
    """Return the framework's name as the catalogue writes it, whatever the case typed; None if it has none such."""
    for known in dict.fromkeys(row.framework for row in rows):
        if known.lower() == name.lower():
            return known
    return None
