"""What is used now: devices and who holds them, readings of containers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from ds01.domain.allocation import Allocation
from ds01.domain.attachment import devices_in
from ds01.domain.container import ContainerDetails, ContainerStats
from ds01.domain.gpu import DeviceSample, Gpu, GpuState, Inventory, PhysicalGpu, all_gpus
from ds01.domain.occupancy import ForeignContainer, Holder, Occupancy, occupy
from ds01.domain.queue import QueueState
from ds01.domain.upkeep import Condition
from ds01.domain.waiting import Waiting
from ds01.errors import BackendError, ConflictError, NotFoundError
from ds01.service.containers import ContainerService
from ds01.service.mig_change import changing_cards
from ds01.service.observation import Observer, granted_rows
from ds01.service.ports import World
from ds01.service.sessions import require_running
from ds01.service.upkeep import UpkeepService

PARALLEL_READINGS = 8


@dataclass(frozen=True, slots=True)
class DeviceView:
    """One device with everything that is shown of it.

    Attributes:
        gpu: The device.
        state: State of its card.
        is_free: It could be granted now.
        reason: Why not; empty when free.
        holders: Who holds it.
        sample: Reading; None when it failed.
    """

    gpu: Gpu
    state: GpuState
    is_free: bool
    reason: str
    holders: tuple[Holder, ...]
    sample: DeviceSample | None


@dataclass(frozen=True, slots=True)
class ContainerReading:
    """One reading of a container.

    Attributes:
        details: The container.
        stats: The engine's figures.
        devices: Its devices with their readings; by UUID alone those that the machine does not have or say.
        gpu_memory_bytes: Device memory of its processes; None when it has no device or the driver does not say.
    """

    details: ContainerDetails
    stats: ContainerStats
    devices: tuple[tuple[Gpu | str, DeviceSample | None], ...]
    gpu_memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class _DeviceReading:
    """What the driver says now; None where it does not."""

    inventory: Inventory | None
    samples: Mapping[str, DeviceSample]
    memory: Mapping[str, int | None] | None


@dataclass(frozen=True, slots=True)
class Held:
    """Everything that quotas count.

    Attributes:
        allocations: Grants that are not released.
        foreign: Containers with devices that no grant counts.
        owners: Owner of every container that exists or is being made.
        waiting: Requests that wait: each will be a container.
    """

    allocations: tuple[Allocation, ...]
    foreign: tuple[ForeignContainer, ...]
    owners: tuple[int, ...]
    waiting: tuple[Waiting, ...] = ()


class UsageService:
    """Reads; changes nothing."""

    def __init__(self, world: World, observer: Observer, containers: ContainerService, upkeep: UpkeepService) -> None:
        self._engine = world.engine
        self._devices = world.devices
        self._store = world.store
        self._cgroups = world.cgroups
        self._observer = observer
        self._containers = containers
        self._upkeep = upkeep

    async def devices(self) -> tuple[Inventory, list[DeviceView]]:
        """Return every device and who holds it, in display order.

        Raises:
            BackendError: The devices or the engine are unknown.
        """
        granted, allocations, dynamic, changing = await self._store.read(
            lambda transaction: (
                granted_rows(transaction),
                transaction.list_allocations(),
                transaction.list_dynamic_cards(),
                changing_cards(transaction),
            )
        )
        observation = await self._observer.observe(granted)
        samples = await self._samples()
        occupancy = occupy(observation.inventory, allocations, observation.foreign)
        conditions = await self._upkeep.conditions(observation.inventory)
        closed = {uuid: Condition(GpuState.DRAINED, reason) for uuid, reason in changing.items()}
        views = [
            _device_view(
                gpu,
                card,
                occupancy,
                samples.get(gpu.uuid),
                conditions.get(gpu.uuid) or closed.get(card.uuid),
                is_on_demand=card.uuid in dynamic,
            )
            for card in observation.inventory.devices
            for gpu in _shown(card, observation.inventory)
        ]
        return observation.inventory, views

    async def held(self) -> Held:
        """Return what everybody holds.

        While engine or devices are unknown it is the grants alone: nothing new is granted then.
        """
        rows, granted, allocations, entries = await self._store.read(
            lambda transaction: (
                transaction.list_containers(),
                granted_rows(transaction),
                transaction.list_allocations(),
                transaction.list_waiting(),
            )
        )
        try:
            foreign = (await self._observer.observe(granted)).foreign
        except BackendError:
            foreign = ()
        waiting = tuple(entry.waiting for entry in entries if entry.state is QueueState.WAITING)
        return Held(tuple(allocations), foreign, tuple(row.uid for row in rows), waiting)

    async def _samples(self) -> dict[str, DeviceSample]:
        try:
            return await self._devices.read_samples()
        except BackendError:
            return {}  # the list of devices is worth showing without its readings

    async def read_container(self, uid: int, name: str) -> ContainerReading:
        """Return one reading of a running container.

        Raises:
            ConflictError: It does not run.
        """
        details = await self._containers.get_details(uid, name)
        require_running(details, name)
        stats = await self._engine.get_stats(details.id)
        return _reading(details, stats, await self._read_devices())

    async def read_running(self, uid: int | None) -> list[ContainerReading]:
        """Return one reading of every running container of a user, or of everybody.

        One that ends meanwhile is left out.

        Raises:
            BackendError: The engine does not answer.
        """
        views = await self._containers.list_views()
        running = [view for view in views if view.summary.state.has_processes and (uid is None or view.uid == uid)]
        devices = await self._read_devices()
        gate = asyncio.Semaphore(PARALLEL_READINGS)

        async def read_one(container_id: str) -> ContainerReading | None:
            async with gate:
                try:
                    details = await self._engine.get_container(container_id)
                    stats = await self._engine.get_stats(container_id)
                except (ConflictError, NotFoundError):
                    return None
            return _reading(details, stats, devices)

        readings = await asyncio.gather(*(read_one(view.summary.id) for view in running))
        return [reading for reading in readings if reading is not None]

    async def _read_devices(self) -> _DeviceReading:
        try:
            inventory = await self._devices.read_inventory()
        except BackendError:
            return _DeviceReading(None, {}, None)
        return _DeviceReading(inventory, await self._samples(), await self._memory_by_container())

    async def _memory_by_container(self) -> dict[str, int | None] | None:
        """Device memory by container id; None for a container of which a part is unknown; None when all is unknown."""
        try:
            processes = await self._devices.read_processes()
        except BackendError:
            return None
        found: dict[str, int | None] = {}
        for process in processes:
            container = self._cgroups.container_of(process.pid)
            if container is not None:
                known = found.get(container, 0)
                both = known is not None and process.memory_bytes is not None
                found[container] = (known or 0) + (process.memory_bytes or 0) if both else None
        return found


def _reading(details: ContainerDetails, stats: ContainerStats, now: _DeviceReading) -> ContainerReading:
    devices = devices_in(details.attachment, now.inventory)
    pairs = tuple((gpu, now.samples.get(gpu if isinstance(gpu, str) else gpu.uuid)) for gpu in devices)
    used = now.memory.get(details.id, 0) if now.memory is not None and devices else None
    return ContainerReading(details, stats, pairs, used)


def _shown(card: PhysicalGpu, inventory: Inventory) -> list[Gpu]:
    """A card with instances is shown by its instances, any other as itself."""
    own = [gpu for gpu in all_gpus(inventory) if gpu.parent_uuid == card.uuid]
    instances = [gpu for gpu in own if gpu.uuid != card.uuid]
    return instances if card.state is GpuState.MIG else own[:1]


def _device_view(
    gpu: Gpu,
    card: PhysicalGpu,
    occupancy: Occupancy,
    sample: DeviceSample | None,
    condition: Condition | None,
    *,
    is_on_demand: bool,
) -> DeviceView:
    """Describe a device; a card whose instances are made by grants is free while it has none."""
    holders = occupancy.holders.get(gpu.uuid, ())
    state, reason = card.state, ""
    if condition is not None:
        state, reason = condition.state, condition.reason
    elif card.state not in {GpuState.WHOLE, GpuState.MIG} and not (is_on_demand and card.state is GpuState.MIG_EMPTY):
        reason = _STATE_REASONS.get(card.state, card.state.value)
    elif holders:
        note = holders[0].note
        reason = f"held by {holders[0].container_name}" + (f" ({note})" if note else "")
    elif gpu.uuid in occupancy.blocked:
        reason = occupancy.blocked[gpu.uuid]
    return DeviceView(gpu, state, not reason, reason, holders, sample)


_STATE_REASONS = {
    GpuState.MIG_EMPTY: "MIG is on and there is no instance",
    GpuState.PENDING: "a change of its MIG mode waits for a reset",
}
