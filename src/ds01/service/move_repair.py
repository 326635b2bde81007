"""What a move of a container to other devices leaves behind when it ends half-way, and how it comes to an end.

A move is one row that changes its container. Until the transaction that does so the old container is the user's, from
then on the new one is: the row's engine id says which. What the move is about is written down before anything is done
on the engine, so a daemon that died in between takes back or completes it, whichever the row says.
"""

import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from ds01.domain import label
from ds01.domain.containers.container import ContainerDetails
from ds01.domain.event import Event
from ds01.domain.images.image import is_private_tag
from ds01.domain.name import EngineName
from ds01.errors import Ds01Error
from ds01.service.allocations import AllocationService
from ds01.service.helper_container import NAME_PREFIX
from ds01.service.images import drop_private_tag
from ds01.service.ports import ContainerRow, StoreTransaction, World

log = logging.getLogger(__name__)
MOVES = "container.moves"


@dataclass(frozen=True, slots=True)
class Move:
    """A move that is under way, or that a dead daemon has left.

    Attributes:
        nonce: Nonce of the row.
        old_id: Engine id of the container that is moved.
        old_image: Image of its row.
        old_allocation_id: Grant of its row.
        new_name: Name of the new container until it takes over.
        new_image: Copy of the old one's files.
    """

    nonce: str
    old_id: str
    old_image: str
    old_allocation_id: str
    new_name: str
    new_image: str


def helper_name(uid: int) -> EngineName:
    """Return a name of our own for a container that stands beside its user's."""
    return EngineName(NAME_PREFIX + secrets.token_hex(8), uid)


def list_moves(transaction: StoreTransaction) -> dict[str, Move]:
    """Return the moves that have not come to an end, by the nonce of the row."""
    found: Mapping[str, dict[str, str]] = json.loads(transaction.get_fact(MOVES) or "{}")
    return {nonce: Move(**facts) for nonce, facts in found.items()}


def note_move(transaction: StoreTransaction, move: Move) -> None:
    """Write down that a move begins."""
    _save(transaction, {**list_moves(transaction), move.nonce: move})


def _forget_move(transaction: StoreTransaction, nonce: str) -> None:
    _save(transaction, {key: move for key, move in list_moves(transaction).items() if key != nonce})


def _save(transaction: StoreTransaction, moves: Mapping[str, Move]) -> None:
    transaction.set_fact(MOVES, json.dumps({nonce: asdict(move) for nonce, move in moves.items()}))


class MoveRepair:
    """Brings moves to their end. Everything here may be done again."""

    def __init__(self, world: World, allocations: AllocationService) -> None:
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._allocations = allocations

    async def settle(self, nonce: str, reason: str, *, is_repair: bool = False) -> None:
        """Take a move back, or complete it when the row has its new container already. None of that nonce is fine.

        Args:
            nonce: Nonce of the row.
            reason: Why the move goes no further.
            is_repair: Nobody is there who would hear of it: it becomes an event.

        Raises:
            BackendError: Engine or store do not answer; it is tried again later.
        """
        move, row = await self._store.read(
            lambda transaction: (list_moves(transaction).get(nonce), transaction.find_container_by_nonce(nonce))
        )
        if move is None:
            return
        new = await self._find_new(move, row)
        if new is not None and row is not None:
            await self._complete(move, row, new)
        else:
            await self._take_back(move, row, reason)
        if is_repair and row is not None:
            await self._record(row, f"{reason}: the {'old' if new is None else 'new'} container stays")

    async def _find_new(self, move: Move, row: ContainerRow | None) -> ContainerDetails | None:
        """The new container, if the row has it already and nobody has removed it since."""
        if row is None or row.engine_id is None or row.engine_id == move.old_id:
            return None
        return await self._engine.find_container(row.engine_id)

    async def _complete(self, move: Move, row: ContainerRow, new: ContainerDetails) -> None:
        """The row has the new container: it gets the name, and the old one goes."""
        name = str(EngineName(row.name, row.uid))
        old = await self._engine.find_container(move.old_id)
        if old is not None and old.name == name:
            await self._engine.rename_container(old.id, str(helper_name(row.uid)))
        if new.name != name:
            await self._engine.rename_container(new.id, name)
        if old is not None:
            await self._engine.remove_container(old.id)
        if is_private_tag(move.old_image):
            await drop_private_tag(self._engine, move.old_image)
        await self._store.write(lambda transaction: _forget_move(transaction, move.nonce))

    async def _take_back(self, move: Move, row: ContainerRow | None, reason: str) -> None:
        """The old container stays, with its name and its files; of the new one nothing stays."""
        new = await self._engine.find_container(move.new_name)
        if new is not None and _is_successor(new, move):
            await self._engine.remove_container(new.id, force=True)
        await drop_private_tag(self._engine, move.new_image)
        old = await self._engine.find_container(move.old_id)
        if row is not None and old is not None and old.name != str(EngineName(row.name, row.uid)):
            await self._give_name_back(old, row)
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> None:
            present = transaction.find_container_by_nonce(move.nonce)
            _forget_move(transaction, move.nonce)
            if present is None:
                return
            if present.allocation_id != move.old_allocation_id:
                self._allocations.release_in(transaction, present.allocation_id, now, reason)
            transaction.save_container(
                replace(present, engine_id=move.old_id, image=move.old_image, allocation_id=move.old_allocation_id)
            )

        await self._allocations.write_and_ring(decide)

    async def _give_name_back(self, old: ContainerDetails, row: ContainerRow) -> None:
        if old.name.startswith(NAME_PREFIX):
            await self._engine.rename_container(old.id, str(EngineName(row.name, row.uid)))

    async def _record(self, row: ContainerRow, reason: str) -> None:
        details = {"allocation": row.allocation_id, "reason": reason}
        event = Event("allocation.repaired", self._clock.now(), uid=row.uid, container=row.name, details=details)
        try:
            await self._store.write(lambda transaction: transaction.append_event(event))
        except Ds01Error as failure:
            log.warning("the end of the move of %s is not recorded: %s", row.name, failure)


def _is_successor(container: ContainerDetails, move: Move) -> bool:
    is_named = container.name == move.new_name
    return is_named and container.id != move.old_id and container.labels.get(label.NONCE) == move.nonce
