"""What AIME's own list has other than the catalogue, and which rows a site takes over from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ds01.domain.images.catalogue import SHIPPED, CatalogueRow, merge_catalogue, row_key
from ds01.domain.images.image import parse_reference

NEW = "new"
CHANGED = "changed"
KEPT = "kept"
GONE = "gone"
_TAKEN_OVER = frozenset({NEW, CHANGED})
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class CatalogueChange:
    """One difference between the catalogue and AIME's list.

    Attributes:
        kind: `new`: the catalogue has no such framework, version and architecture; `changed`: it names another image;
            `kept`: likewise, but by a row that the site wrote itself, which stays; `gone`: AIME's list lacks it now.
        framework: As the list writes it.
        version: Version with its suffix.
        architectures: Generations that differ in this way.
        image: What AIME's list names; of a row that is gone, what the catalogue names.
        before: What the catalogue names instead; empty if nothing.
        origin: Where the catalogue's row is from: `shipped` or `file:line`; empty if there is none.
    """

    kind: str
    framework: str
    version: str
    architectures: tuple[str, ...]
    image: str
    before: str = ""
    origin: str = ""

    @property
    def is_taken_over(self) -> bool:
        """An update writes it."""
        return self.kind in _TAKEN_OVER

    @property
    def row(self) -> CatalogueRow:
        """The row as AIME's list has it."""
        return CatalogueRow(self.framework, self.version, self.architectures, self.image)


def compare_catalogue(
    catalogue: Sequence[CatalogueRow], listed: Sequence[CatalogueRow], dropin: str
) -> tuple[CatalogueChange, ...]:
    """Return how AIME's list differs, in its order; what it no longer has comes last.

    Only rows whose images are in a name space that the list uses can be gone: the catalogue has others that AIME never
    had.

    Args:
        catalogue: The rows without that list.
        listed: The rows of the list.
        dropin: Name of the file in which rows of AIME's list were written before: those are not the site's own.
    """
    before, after = _first_rows(catalogue), _first_rows(listed)
    found: dict[CatalogueChange, list[str]] = {}
    for key, row in after.items():
        known = before.get(key)
        if known is None:
            found.setdefault(_change(NEW, row), []).append(key[2])
        elif known.image != row.image:
            kind = CHANGED if _is_from_aime(known, dropin) else KEPT
            found.setdefault(_change(kind, row, known), []).append(key[2])
    publishers = {_publisher(row) for row in listed} - {""}
    for key, known in before.items():
        if key not in after and _publisher(known) in publishers and _is_from_aime(known, dropin):
            found.setdefault(_change(GONE, known, known), []).append(key[2])
    return tuple(_with_architectures(change, names) for change, names in found.items())


def take_over(previous: Sequence[CatalogueRow], changes: Iterable[CatalogueChange]) -> tuple[CatalogueRow, ...]:
    """Return the rows of the file that an update writes: what it held before, with the new and changed rows over it.

    A row that AIME's list has lost stays, because containers may have been made from its image.
    """
    return merge_catalogue(previous, [change.row for change in changes if change.is_taken_over])


def is_in_force(change: CatalogueChange, catalogue: Sequence[CatalogueRow]) -> bool:
    """Tell whether the catalogue names the change's image for everything that the change is about."""
    first = _first_rows(catalogue)
    rows = [first.get(row_key(change.row, name)) for name in change.architectures]
    return all(row is not None and row.image == change.image for row in rows)


def _first_rows(rows: Iterable[CatalogueRow]) -> dict[Key, CatalogueRow]:
    """Return the row that counts for each framework, version and architecture: the first one."""
    found: dict[Key, CatalogueRow] = {}
    for row in rows:
        for architecture in row.architectures:
            found.setdefault(row_key(row, architecture), row)
    return found


def _change(kind: str, row: CatalogueRow, known: CatalogueRow | None = None) -> CatalogueChange:
    before, origin = (known.image, known.origin) if known is not None else ("", "")
    return CatalogueChange(kind, row.framework, row.version, (), row.image, before, origin)


def _with_architectures(change: CatalogueChange, names: Sequence[str]) -> CatalogueChange:
    return CatalogueChange(
        change.kind, change.framework, change.version, tuple(names), change.image, change.before, change.origin
    )


def _is_from_aime(row: CatalogueRow, dropin: str) -> bool:
    return row.origin == SHIPPED or row.origin.rpartition(":")[0] == dropin


def _publisher(row: CatalogueRow) -> str:
    return parse_reference(row.image).repository.rpartition("/")[0]
