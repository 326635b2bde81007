"""What is used now: devices and who holds them, readings of containers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from ds01.domain.allocation import Allocation
from ds01.domain.containers.container import ContainerDetails, ContainerStats
from ds01.domain.devices.attachment import devices_in
from ds01.domain.devices.gpu import DeviceSample, Gpu, GpuProcess, GpuState, Inventory, PhysicalGpu, all_gpus
from ds01.domain.devices.upkeep import Condition
from ds01.domain.scheduling.occupancy import ForeignContainer, Holder, Occupancy, occupy
from ds01.domain.scheduling.queue import QueueState
from ds01.domain.scheduling.waiting import Waiting
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
class OwnUse:
    """What the processes of one container do on one device.

    Attributes:
        memory_bytes: Memory of all of them; None: of one of them it is not known.
        utilization_ratio: How busy they keep it together, 0 to 1; None: the driver does not say it by process.
    """

    memory_bytes: int | None = 0
    utilization_ratio: float | None = 0.0

    def plus(self, process: GpuProcess) -> "OwnUse":
        """Return the use together with one more process; what is not known of one is not known of all."""
        memory, busy = self.memory_bytes, self.utilization_ratio
        known, ratio = process.memory_bytes, process.utilization_ratio
        return OwnUse(
            None if memory is None or known is None else memory + known,
            None if busy is None or ratio is None else min(busy + ratio, 1.0),
        )


@dataclass(frozen=True, slots=True)
class HeldDevice:
    """A device of a container with its reading.

    Attributes:
        gpu: The device; its UUID alone if the machine does not have or say it.
        sample: Reading of the whole device; None when it failed.
        own: What the container's own processes do on it; None: which they are is not known.
    """

    gpu: Gpu | str
    sample: DeviceSample | None
    own: OwnUse | None


@dataclass(frozen=True, slots=True)
class ContainerReading:
    """One reading of a container.

    Attributes:
        details: The container.
        stats: The engine's figures.
        devices: Its devices with their readings.
        gpu_memory_bytes: Device memory of its processes; None when it has no device or the driver does not say.
    """

    details: ContainerDetails
    stats: ContainerStats
    devices: tuple[HeldDevice, ...]
    gpu_memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class _DeviceReading:
    """What the driver says now; None where it does not. Use is by container, then by device."""

    inventory: Inventory | None
    samples: Mapping[str, DeviceSample]
    use: Mapping[str, Mapping[str, OwnUse]] | None


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
        """Return one reading of a container that runs, or is paused: what it holds is still there.

        Raises:
            ConflictError: It does not run.
        """
        details = await self._containers.get_details(uid, name)
        if not details.state.has_processes:
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
                    details = await self._containers.resolve(await self._engine.get_container(container_id))
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
        return _DeviceReading(inventory, await self._samples(), await self._use_by_container())

    async def _use_by_container(self) -> dict[str, dict[str, OwnUse]] | None:
        """What the processes of each container do on each device; None when all is unknown."""
        try:
            processes = await self._devices.read_processes()
        except BackendError:
            return None
        found: dict[str, dict[str, OwnUse]] = {}
        for process in processes:
            container = self._cgroups.container_of(process.pid)
            if container is not None:
                on_devices = found.setdefault(container, {})
                on_devices[process.gpu_uuid] = on_devices.get(process.gpu_uuid, OwnUse()).plus(process)
        return found


def _reading(details: ContainerDetails, stats: ContainerStats, now: _DeviceReading) -> ContainerReading:
    own = now.use.get(details.id, {}) if now.use is not None else None
    held: list[HeldDevice] = []
    for gpu in devices_in(details.attachment, now.inventory):
        uuid = gpu if isinstance(gpu, str) else gpu.uuid
        held.append(HeldDevice(gpu, now.samples.get(uuid), None if own is None else own.get(uuid, OwnUse())))
    # a process may be on a device that is not its container's: its memory counts all the same
    known = [use.memory_bytes for use in own.values()] if own is not None and held else [None]
    figures = [figure for figure in known if figure is not None]
    return ContainerReading(details, stats, tuple(held), sum(figures) if len(figures) == len(known) else None)


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
