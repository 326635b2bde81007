"""Which devices of grants are not on the machine any more. A card that only fails is not gone."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from ds01.domain.allocation import Allocation
from ds01.domain.devices.gpu import GpuState, all_gpus
from ds01.domain.event import Event
from ds01.errors import BackendError
from ds01.service.fact import FactKind
from ds01.service.ports import ContainerRow, StoreTransaction, World

LOST_AFTER = timedelta(seconds=10)
"""A device that is missing for so long is gone: a driver that is being restarted lists its cards one by one."""
TOLD = FactKind("lost", places=1024)


class LossWatch:
    """Remembers since when a device is missing."""

    def __init__(self, world: World) -> None:
        self._devices = world.devices
        self._store = world.store
        self._clock = world.clock
        self._missing: dict[str, datetime] = {}
        self._told: frozenset[str] | None = None

    async def look(self, grants: Iterable[Allocation]) -> dict[str, tuple[str, ...]] | None:
        """Return the devices that are gone, by the id of the grant; None: that is unknown.

        Unknown is never gone: while a card does not answer, its instances may be what is missing.
        """
        wanted = [grant for grant in grants if grant.gpu_uuids]
        if not wanted:
            self._missing.clear()
            return {}
        try:
            inventory = await self._devices.read_inventory()
        except BackendError:
            return None
        if any(card.state is GpuState.UNHEALTHY for card in inventory.devices):
            return None
        present, now = {gpu.uuid for gpu in all_gpus(inventory)}, self._clock.now()
        missing = {uuid for grant in wanted for uuid in grant.gpu_uuids} - present
        self._missing = {uuid: self._missing.get(uuid, now) for uuid in missing}
        gone = {uuid for uuid, since in self._missing.items() if now - since >= LOST_AFTER}
        told = await self.told(wanted)  # after a restart too, what was gone is gone until it is there
        losses = {
            grant.id: tuple(uuid for uuid in grant.gpu_uuids if uuid in (missing if grant.id in told else gone))
            for grant in wanted
        }
        return {grant_id: lost for grant_id, lost in losses.items() if lost}

    async def told(self, grants: Iterable[Allocation]) -> frozenset[str]:
        """Return the grants of which a loss has been told and not taken back."""
        if self._told is None:
            ids = [grant.id for grant in grants if grant.gpu_uuids]
            self._told = await self._store.read(
                lambda transaction: frozenset(one for one in ids if TOLD.recall(transaction, one))
            )
        return self._told

    async def tell(self, row: ContainerRow, lost: tuple[str, ...], reason: str) -> None:
        """Record once that devices of a container's grant are gone."""
        now = self._clock.now()
        details = {"allocation": row.allocation_id, "gpus": list(lost), "reason": reason}
        event = Event("allocation.lost", now, uid=row.uid, container=row.name, details=details)

        def decide(transaction: StoreTransaction) -> None:
            if not TOLD.recall(transaction, row.allocation_id):
                TOLD.remember(transaction, row.allocation_id, " ".join(lost))
                transaction.append_event(event)

        await self._store.write(decide)
        self._told = (self._told or frozenset()) | {row.allocation_id}

    async def take_back(self, row: ContainerRow, reason: str) -> None:
        """Record that they are there again."""
        now = self._clock.now()
        details = {"allocation": row.allocation_id, "reason": reason}
        event = Event("allocation.repaired", now, uid=row.uid, container=row.name, details=details)

        def decide(transaction: StoreTransaction) -> None:
            if TOLD.recall(transaction, row.allocation_id):
                TOLD.remember(transaction, row.allocation_id, "")
                transaction.append_event(event)

        await self._store.write(decide)
        self._told = (self._told or frozenset()) - {row.allocation_id}
