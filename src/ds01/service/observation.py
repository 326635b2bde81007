"""What there is now: devices, containers, and which devices are held by containers without a grant of ours."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ds01.domain import label
from ds01.domain.allocation import Allocation
from ds01.domain.containers.container import ContainerState, ContainerSummary
from ds01.domain.devices.attachment import UNKNOWN_DEVICE, AttachmentFacts, attached_gpus, may_reach_gpus
from ds01.domain.devices.gpu import GpuState, Inventory, all_gpus, weigh_devices
from ds01.domain.name import EngineName
from ds01.domain.scheduling.occupancy import ForeignContainer
from ds01.errors import BackendError
from ds01.service.helper_container import is_helper_name
from ds01.service.ports import ContainerRow, Devices, Engine, StoreTransaction

CACHE_SIZE = 4096

FindBound = Callable[[str, str], Awaitable[frozenset[str] | None]]
"""Engine id and CDI device of ours to the GPUs that the device stands for; None: nobody knows."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at the machine.

    Attributes:
        inventory: Devices.
        containers: Every container on the engine.
        foreign: Those with devices that no grant of ours counts.
        reader: To whom refusals must not name the containers of others; None: whoever reads them may know.
    """

    inventory: Inventory = field(default_factory=Inventory)
    containers: tuple[ContainerSummary, ...] = ()
    foreign: tuple[ForeignContainer, ...] = ()
    reader: int | None = None

    def for_start_of(self, container_id: str) -> "Observation":
        """Return the machine as a container sees it that is about to start.

        It does not stand in its own way. Nor does one that another daemon has made and not started yet, if that one is
        younger: of two that were made at the same time the younger gives way, so one of them can always start.
        """
        own = next((container for container in self.containers if container.id == container_id), None)
        if own is None:
            return self
        passed = {own.name} | {
            other.name
            for other in self.containers
            if other.state is ContainerState.CREATED and (other.created_at, other.id) > (own.created_at, own.id)
        }
        return replace(self, foreign=tuple(found for found in self.foreign if found.name not in passed))


@dataclass(frozen=True, slots=True)
class KnownRows:
    """Containers that the store knows.

    Attributes:
        granted: Their grant holds their devices. One that runs without a grant is seen as any foreign container.
        idle: Engine ids of the others: one that does not run holds nothing, whatever is attached to it.
    """

    granted: tuple[ContainerRow, ...] = ()
    idle: frozenset[str] = frozenset()


class Observer:
    """Looks at engine and devices. What an engine never changes about a container is asked once."""

    def __init__(self, engine: Engine, devices: Devices, *, find_bound: FindBound | None = None) -> None:
        """Prepare; nothing is asked.

        Args:
            engine: Containers.
            devices: GPUs.
            find_bound: Returns what a name of ours stands for; None: nobody can say, so it may be anything.
        """
        self._engine = engine
        self._devices = devices
        self._find_bound = find_bound
        self._attachments: dict[str, AttachmentFacts] = {}

    async def observe(self, known: KnownRows) -> Observation:
        """Return what there is now.

        Args:
            known: Containers of the store, see `granted_rows`.

        Raises:
            BackendError: Engine or devices are unknown.
        """
        inventory, containers = await asyncio.gather(self._devices.read_inventory(), self._engine.list_containers())
        return Observation(inventory, tuple(containers), await self._foreign(inventory, containers, known))

    async def observe_containers(self) -> Observation:
        """Return the containers alone, for somebody to whom the devices do not matter.

        Raises:
            BackendError: The engine does not answer.
        """
        return Observation(containers=tuple(await self._engine.list_containers()))

    async def attached(self, containers: Iterable[ContainerSummary]) -> dict[str, tuple[str, ...]]:
        """Return the devices of running containers as the engine attached them, by container id.

        This is for those without a grant: what their labels say of devices proves nothing. Where the devices are
        unknown, one that may have some has `UNKNOWN_DEVICE`.

        Raises:
            BackendError: The engine does not answer.
        """
        facts = {found.id: await self._resolved(found.id) for found in containers if _may_hold(found)}
        reaching = {key: found for key, found in facts.items() if found is not None and may_reach_gpus(found)}
        if not reaching:
            return {}
        try:
            inventory = await self._devices.read_inventory()
        except BackendError:
            return dict.fromkeys(reaching, (UNKNOWN_DEVICE,))
        # a card in MIG mode is used by its instances
        cut = {card.uuid for card in inventory.devices if card.state is GpuState.MIG and card.instances}
        order = [gpu.uuid for gpu in all_gpus(inventory) if gpu.uuid not in cut]
        found = {key: attached_gpus(value, inventory) for key, value in reaching.items()}
        return {key: tuple(uuid for uuid in order if uuid in uuids) for key, uuids in found.items() if uuids}

    async def _foreign(
        self, inventory: Inventory, containers: list[ContainerSummary], known: KnownRows
    ) -> tuple[ForeignContainer, ...]:
        if not inventory.devices:
            return ()
        # a nonce is a label, and labels are copied by `docker commit`: it counts only until the id is known
        rows = known.granted
        ids = {row.engine_id for row in rows if row.engine_id is not None}
        nonces = {row.nonce for row in rows}
        unfinished = {(row.nonce, str(EngineName(row.name, row.uid))) for row in rows if row.engine_id is None}
        found: list[ForeignContainer] = []
        for container in containers:
            is_counted = container.id in ids or (container.labels.get(label.NONCE), container.name) in unfinished
            # the one that takes its place while a container is moved: the row's grant counts it
            is_counted |= is_helper_name(container.name) and container.labels.get(label.NONCE) in nonces
            is_idle = container.id in known.idle and not container.state.has_processes
            if is_counted or is_idle or not _may_hold(container):
                continue
            facts = await self._resolved(container.id)
            uuids = attached_gpus(facts, inventory) if facts else frozenset()
            if facts and uuids:
                parsed = container.parsed_name
                uid = parsed.uid if parsed else None
                note = _note(facts, uuids, inventory)
                weight = weigh_devices(uuids, inventory)
                found.append(ForeignContainer(container.name, uid, uuids, container.created_at, note, weight))
        return tuple(found)

    async def _resolved(self, container_id: str) -> AttachmentFacts | None:
        facts = await self.find_attachment(container_id)
        if facts is None or facts.managed_device is None or self._find_bound is None:
            return facts
        return replace(facts, bound=await self._find_bound(container_id, facts.managed_device))

    async def find_attachment(self, container_id: str) -> AttachmentFacts | None:
        """Return what is attached to a container, or None if it is gone; asked once, because it never changes.

        Raises:
            BackendError: The engine does not answer.
        """
        known = self._attachments.get(container_id)
        if known is not None:
            return known
        details = await self._engine.find_container(container_id)
        if details is None:
            return None  # gone since the list was read
        if len(self._attachments) >= CACHE_SIZE:
            self._attachments.clear()
        self._attachments[container_id] = details.attachment
        return details.attachment


def granted_rows(transaction: StoreTransaction) -> KnownRows:
    """Return the containers that the store knows, those whose grant holds their devices apart from the others."""
    return known_rows(transaction.list_containers(), transaction.list_allocations())


def known_rows(rows: Sequence[ContainerRow], allocations: Iterable[Allocation]) -> KnownRows:
    """Return the same of rows and grants that were read already."""
    holding = {allocation.id for allocation in allocations}
    return KnownRows(
        tuple(row for row in rows if row.allocation_id in holding),
        frozenset(row.engine_id for row in rows if row.allocation_id not in holding and row.engine_id is not None),
    )


def _note(facts: AttachmentFacts | None, uuids: frozenset[str], inventory: Inventory) -> str:
    """People should see why one container has the whole machine."""
    if facts is None or not uuids >= {gpu.uuid for gpu in all_gpus(inventory)}:
        return ""
    return "privileged, with every GPU" if facts.is_privileged else "made with every GPU"


def _may_hold(container: ContainerSummary) -> bool:
    """A stopped container uses no device; one that another daemon of ours has just made is about to."""
    if container.state.has_processes:
        return True
    return container.state is ContainerState.CREATED and label.is_ours(container.labels)
