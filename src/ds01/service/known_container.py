"""What the store knows of a container that somebody is about to change: everything in one read."""

from collections.abc import Iterable
from dataclasses import dataclass

from ds01.domain.allocation import Allocation
from ds01.domain.containers.container import ContainerDetails
from ds01.service.move_repair import list_moves
from ds01.service.observation import KnownRows, known_rows
from ds01.service.ports import ContainerRow, StoreTransaction


@dataclass(frozen=True, slots=True)
class KnownContainer:
    """One container of a user, and all grants.

    Attributes:
        row: Its row by name; None: DS01 made none of that name.
        is_moved: A move of it has not come to its end.
        rows: Every row.
        granted: The rows as `Observer` wants them.
        allocations: Every grant that is not released.
    """

    row: ContainerRow | None
    is_moved: bool
    rows: tuple[ContainerRow, ...]
    granted: KnownRows
    allocations: tuple[Allocation, ...]

    @property
    def is_unfinished(self) -> bool:
        """It is being made or moved, or a daemon that did so has died."""
        return self.row is not None and (self.row.engine_id is None or self.is_moved)

    @property
    def successor_id(self) -> str | None:
        """Engine id of the one that has its place in a move, and perhaps not yet its name."""
        return self.row.engine_id if self.row is not None and self.is_moved else None

    def row_of(self, details: ContainerDetails) -> ContainerRow | None:
        """Return the row of a container of the engine, by its id; None for one that DS01 did not make."""
        return row_of(self.rows, details)


def read_known(transaction: StoreTransaction, uid: int, name: str) -> KnownContainer:
    """Return what is known of a user's container."""
    row, is_moved = _find_row(transaction, uid, name)
    rows, allocations = transaction.list_containers(), transaction.list_allocations()
    return KnownContainer(row, is_moved, tuple(rows), known_rows(rows, allocations), tuple(allocations))


def find_successor(transaction: StoreTransaction, uid: int, name: str) -> str | None:
    """Return `KnownContainer.successor_id` of a user's container, for somebody who need not know more."""
    row, is_moved = _find_row(transaction, uid, name)
    return row.engine_id if row is not None and is_moved else None


def _find_row(transaction: StoreTransaction, uid: int, name: str) -> tuple[ContainerRow | None, bool]:
    row = transaction.find_container(uid, name)
    return row, row is not None and row.nonce in list_moves(transaction)


def row_of(rows: Iterable[ContainerRow], details: ContainerDetails) -> ContainerRow | None:
    """Return the row of a container of the engine, by its id.

    The engine's id decides: plain docker can rename a container, or make another one of the same name.
    """
    return next((row for row in rows if row.engine_id == details.id), None)
