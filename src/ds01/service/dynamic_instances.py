"""Cards whose MIG instances are made by grants: made between claim and container, destroyed once nobody holds them.

A claim names the places (`Allocation.slices`) and is durable before anything is made; the store refuses places that
meet. The UUID of an instance is recorded before a container may have it. So after a crash at any step everything
follows from the store and the driver: an instance that no grant names is destroyed, a claim without one is released.

Never run on hardware by us: the vendor's binding and a simulated driver library are what it is tested with.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from ds01.domain.allocation import Allocation
from ds01.domain.devices.gpu import Inventory, MigInstance, PhysicalGpu, find_card
from ds01.domain.devices.mig import MigTable, Place, dynamic_positions, parse_slice
from ds01.domain.scheduling.board import OnDemand
from ds01.errors import ConflictError, Ds01Error, NoCapacityError, NotFoundError
from ds01.service.observation import Observer, granted_rows
from ds01.service.ports import StoreTransaction, World

log = logging.getLogger(__name__)
Tables = Callable[[PhysicalGpu], MigTable | None]
"""Returns what a card can be cut into; None: nobody can say."""


class OnDemandCards:
    """What the scheduler's board needs of cards whose instances are made by grants. Remembers what never changes."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: dict[tuple[MigTable, int], OnDemand] = {}

    def find(self, dynamic: Collection[str], inventory: Inventory) -> tuple[dict[str, OnDemand], dict[str, MigTable]]:
        """Return the ways to take these cards by UUID, and their tables by key."""
        cards: dict[str, OnDemand] = {}
        tables: dict[str, MigTable] = {}
        for card in inventory.devices:
            table = self._tables(card) if card.uuid in dynamic else None
            if table is not None:
                cards[card.uuid] = self._positions(table, card.memory_bytes)
                tables[table.key] = table
        return cards, tables

    def _positions(self, table: MigTable, memory_bytes: int) -> OnDemand:
        key = (table, memory_bytes)
        if key not in self._known:
            self._known[key] = OnDemand(dynamic_positions(table, memory_bytes), table.key)
        return self._known[key]


class DynamicInstances:
    """Makes and destroys the instances of grants. One at a time: the driver has one set of slices for each card."""

    def __init__(self, world: World, *, observer: Observer, tables: Tables) -> None:
        self._devices = world.devices
        self._store = world.store
        self._observer = observer
        self._tables = tables
        self.turn = asyncio.Lock()
        """Whoever changes instances holds it."""

    async def make(self, allocation: Allocation) -> Allocation:
        """Make the instances of a claim, record their UUIDs durably, and return the claim with them.

        Nothing to do for a grant of existing devices. What is made already is kept: calling it again is harmless.

        Raises:
            NoCapacityError: What lies at its place is still in use by processes of somebody who gave it back.
            ConflictError: The grant is not there any more, or the card cannot be cut so now.
            BackendError: The driver failed; what it has made is destroyed by `reconcile`.
        """
        if len(allocation.gpu_uuids) >= len(allocation.slices):
            return allocation
        async with self.turn:
            for slice_ in allocation.slices[len(allocation.gpu_uuids) :]:
                instance = await self._make_one(slice_)
                allocation = await self._record(allocation, instance)
        return allocation

    async def unmake(self, allocation: Allocation) -> None:
        """Destroy the instances of a grant whose container is gone. What is not there any more is fine.

        Raises:
            ConflictError: Processes still use one.
            BackendError: The driver failed; `reconcile` tries again.
        """
        if not allocation.slices:
            return
        current = await self._store.read(lambda transaction: transaction.find_allocation(allocation.id))
        async with self.turn:
            for uuid in (current or allocation).gpu_uuids:
                try:
                    await self._devices.destroy_instance(uuid)
                except NotFoundError:
                    continue

    async def reconcile(self) -> list[str]:
        """Destroy the instances on these cards that no grant and no container has; return their UUIDs.

        One that is still in use stays until the next time: nothing is ever killed for it.

        Raises:
            BackendError: Engine, devices or store do not answer.
        """
        cards, granted = await self._store.read(
            lambda transaction: (transaction.list_dynamic_cards(), granted_rows(transaction))
        )
        if not cards:
            return []
        async with self.turn:
            observation = await self._observer.observe(granted)
            held = await self._held()
            attached = {uuid for container in observation.foreign for uuid in container.gpu_uuids}
            found = [
                instance
                for card in observation.inventory.devices
                if card.uuid in cards and card.uuid not in attached
                for instance in card.instances
                if instance.uuid not in held | attached
            ]
            return [instance.uuid for instance in found if await self._destroyed(instance)]

    async def _destroyed(self, instance: MigInstance) -> bool:
        try:
            await self._devices.destroy_instance(instance.uuid)
        except NotFoundError:
            return False
        except Ds01Error as failure:
            log.warning("the MIG instance %s that no grant has stays: %s", instance.uuid, failure)
            return False
        log.info("the MIG instance %s that no grant has was destroyed", instance.uuid)
        return True

    async def _make_one(self, slice_: str) -> MigInstance:
        card, place = self._place(await self._devices.read_inventory(), slice_)
        held = await self._held()
        for instance in _meeting(card, place):
            if instance.uuid in held:
                raise ConflictError(f"The place {slice_} of GPU {card.index} is held by a grant.")
            await self._clear(card, instance)
        return await self._devices.create_instance(card.uuid, place.profile.name, place.start)

    def _place(self, inventory: Inventory, slice_: str) -> tuple[PhysicalGpu, Place]:
        card_uuid, profile, start = parse_slice(slice_)
        card = find_card(inventory, card_uuid)
        table = self._tables(card) if card is not None else None
        place = table.find_place(profile, start) if table is not None else None
        if card is None or place is None:
            raise ConflictError(
                f"The GPU that was granted ({slice_}) is not there any more.", hint="Create it again: `ds01 gpus`."
            )
        return card, place

    async def _clear(self, card: PhysicalGpu, instance: MigInstance) -> None:
        """Destroy what a grant has left that is released: its memory is wiped with it, so it is never handed on."""
        try:
            await self._devices.destroy_instance(instance.uuid)
        except NotFoundError:
            return
        except ConflictError as used:
            raise NoCapacityError(
                f"The part of GPU {card.index} that was granted is still used by processes of its last container "
                f"({instance.profile}, {instance.uuid}).",
                hint="Wait until they have ended: `ds01 gpus` shows them.",
            ) from used

    async def _record(self, allocation: Allocation, instance: MigInstance) -> Allocation:
        def decide(transaction: StoreTransaction) -> Allocation | None:
            current = transaction.find_allocation(allocation.id)
            if current is None or not current.is_holding:
                return None
            changed = replace(current, gpu_uuids=(*current.gpu_uuids, instance.uuid))
            transaction.save_allocation(changed)
            return changed

        recorded = await self._store.write(decide)
        if recorded is None:
            await self._destroyed(instance)
            raise ConflictError(
                f"The grant of {allocation.container_name} ran out while its MIG instance was being made.",
                hint="Create it again.",
            )
        return recorded

    async def _held(self) -> frozenset[str]:
        """Return the recorded instances of grants. One that is not recorded yet nobody has: it may go."""
        grants = await self._store.read(lambda transaction: transaction.list_allocations())
        return frozenset(uuid for grant in grants for uuid in grant.gpu_uuids)


def _meeting(card: PhysicalGpu, place: Place) -> Iterable[MigInstance]:
    """Return the instances on slices that a place needs; of one whose place the driver does not say nobody knows."""
    for instance in card.instances:
        if instance.start is None or ((1 << instance.memory_slices) - 1) << instance.start & place.slices:
            yield instance
