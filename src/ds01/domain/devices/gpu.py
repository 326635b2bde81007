"""Devices: physical GPUs, their MIG instances, and what of them can be granted.

A *gpu* is a schedulable device: a whole GPU or one MIG instance, named by UUID. People see and may type `0` and `0:1`
(GPU:instance); stored and compared is the UUID, because indices change when a device goes away.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from ds01.errors import InvalidRequestError, NotFoundError


class GpuKind(StrEnum):
    """What a schedulable device is."""

    FULL = "full"
    MIG = "mig"


class LinkKind(StrEnum):
    """What lies between two cards, the nearest first. The words are those of `nvidia-smi topo -m`."""

    NVLINK = "nvlink"
    """NVLink, directly or through a switch of it."""
    PIX = "pix"
    """At most one PCIe bridge."""
    PXB = "pxb"
    """Several PCIe bridges, and not the host bridge."""
    PHB = "phb"
    """A PCIe host bridge."""
    NODE = "node"
    """Host bridges of one NUMA node."""
    SYS = "sys"
    """The connection between NUMA nodes."""


class GpuState(StrEnum):
    """State of a physical device, as it follows from what the driver says.

    `busy_unmanaged` and `drained` are not the driver's: they follow from processes and from an administrator.
    """

    WHOLE = "whole"
    MIG = "mig"
    MIG_EMPTY = "mig_empty"
    PENDING = "pending"
    DRAINED = "drained"
    UNHEALTHY = "unhealthy"
    BUSY_UNMANAGED = "busy_unmanaged"


@dataclass(frozen=True, slots=True)
class MigInstance:
    """One MIG device (a compute instance in a GPU instance).

    Attributes:
        uuid: `MIG-...`, as the driver gives it.
        profile: The driver's name without the model, such as `1g.5gb`.
        memory_bytes: Memory of the instance.
        compute_slices: Compute slices of the GPU instance.
        gpu_instance_id: Ids by which processes are found again.
        compute_instance_id: As above.
        index: Position among the MIG devices of the parent (`0:index`).
        start: First memory slice of the GPU instance; None if the driver does not say.
        memory_slices: Memory slices of the GPU instance; 0 if the driver does not say.
    """

    uuid: str
    profile: str
    memory_bytes: int
    compute_slices: int
    gpu_instance_id: int
    compute_instance_id: int
    index: int
    start: int | None = None
    memory_slices: int = 0


@dataclass(frozen=True, slots=True)
class MigProfile:
    """A kind of GPU instance that a card can be cut into, as the driver tells it.

    Attributes:
        name: `1g.5gb`, as the driver says it.
        id: The driver's number, which `nvidia-smi mig -cgi` takes.
        compute_slices: Compute slices of an instance.
        memory_slices: Memory slices that it covers.
        memory_bytes: Memory of an instance.
        placements: Memory slices at which one can begin.
        max_instances: How many fit on the card at the same time.
    """

    name: str
    id: int
    compute_slices: int
    memory_slices: int
    memory_bytes: int
    placements: tuple[int, ...]
    max_instances: int = 0


@dataclass(frozen=True, slots=True)
class GpuLink:
    """The nearest way from one card to another.

    Attributes:
        uuid: The other card.
        kind: What lies between them.
    """

    uuid: str
    kind: LinkKind


@dataclass(frozen=True, slots=True)
class PhysicalGpu:
    """One card as the driver describes it.

    Attributes:
        uuid: `GPU-...`.
        index: The driver's index; for display only.
        model: Product name, such as `NVIDIA A100-PCIE-40GB`.
        memory_bytes: Whole memory.
        compute_capability: Major and minor, such as (8, 0).
        bus_id: PCI bus id.
        minor: Number of `/dev/nvidia<minor>`; None if the driver does not say.
        slices_total: Compute slices the device can be cut into (7 on A100 and H100, 4 on A30); 0 if it knows no MIG.
        mig_enabled: MIG mode is on now.
        mig_pending: MIG mode after the next reset.
        instances: MIG devices that exist now.
        fault: Why the device cannot be used (fell off the bus, broken memory, a reading failed); None if it can.
        mig_profiles: What it can be cut into; empty if it knows no MIG or its driver does not say.
        links: The other cards, the nearest first; empty if the driver does not say.
    """

    uuid: str
    index: int
    model: str
    memory_bytes: int
    compute_capability: tuple[int, int] = (0, 0)
    bus_id: str = ""
    minor: int | None = None
    slices_total: int = 0
    mig_enabled: bool = False
    mig_pending: bool = False
    instances: tuple[MigInstance, ...] = ()
    fault: str | None = None
    mig_profiles: tuple[MigProfile, ...] = ()
    links: tuple[GpuLink, ...] = ()

    @property
    def state(self) -> GpuState:
        """State that follows from the driver's answers alone."""
        if self.fault is not None:
            return GpuState.UNHEALTHY
        if self.mig_enabled != self.mig_pending:
            return GpuState.PENDING
        if not self.mig_enabled:
            return GpuState.WHOLE
        return GpuState.MIG if self.instances else GpuState.MIG_EMPTY


@dataclass(frozen=True, slots=True)
class Gpu:
    """One schedulable device.

    Attributes:
        uuid: Name of the device.
        parent_uuid: The card it is on; its own uuid for a whole GPU.
        address: What people see and type: `0` or `0:1`.
        kind: Whole or MIG.
        profile: `full` or the MIG profile.
        model: Product name of the card.
        memory_bytes: Memory of the device.
        equivalents: Share of the card's compute: 1.0 for a whole GPU.
    """

    uuid: str
    parent_uuid: str
    address: str
    kind: GpuKind
    profile: str
    model: str
    memory_bytes: int
    equivalents: float


@dataclass(frozen=True, slots=True)
class Inventory:
    """All devices of the machine, read at one moment.

    Attributes:
        devices: Cards in the driver's order. An empty tuple means that the machine is known to have none.
        driver_version: Version text of the driver; empty without devices.
        cuda_version: Highest CUDA version the driver runs, (major, minor); (0, 0) without devices.
    """

    devices: tuple[PhysicalGpu, ...] = ()
    driver_version: str = ""
    cuda_version: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class DeviceSample:
    """One reading of a device; None means that this device cannot have the figure, or that it failed to read.

    Attributes:
        uuid: The device, whole or MIG.
        utilization_ratio: Compute, 0 to 1. MIG devices have none.
        memory_used_bytes: Memory in use.
        power_w: Power of the card.
        energy_j: Energy since the driver was loaded.
        temperature_c: Temperature of the card.
        sm_clock_mhz: Clock of the multiprocessors.
        throttle_reasons: Why the clock is lower than it could be, in the driver's words; empty: it is not.
        ecc_uncorrected: Memory errors since the driver was loaded that could not be corrected.
    """

    uuid: str
    utilization_ratio: float | None = None
    memory_used_bytes: int | None = None
    power_w: float | None = None
    energy_j: float | None = None
    temperature_c: int | None = None
    sm_clock_mhz: int | None = None
    throttle_reasons: tuple[str, ...] = ()
    ecc_uncorrected: int | None = None


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that uses a device.

    Attributes:
        pid: Process id on the host.
        gpu_uuid: Whole device or MIG instance it runs on.
        memory_bytes: Device memory it uses; None if the driver does not say.
        is_compute: It computes; False: it only draws.
        utilization_ratio: How busy it keeps the device, 0 to 1; None if the driver does not say (never for MIG).
    """

    pid: int
    gpu_uuid: str
    memory_bytes: int | None
    is_compute: bool = True
    utilization_ratio: float | None = None


def schedulable_gpus(inventory: Inventory) -> tuple[Gpu, ...]:
    """Return every device that could be granted if nobody held anything, in display order.

    A card in MIG mode is represented by its instances only: the whole card and its instances exclude each other, and
    a card with MIG on but no instance is not usable.
    """
    found: list[Gpu] = []
    for card in inventory.devices:
        if card.state is GpuState.WHOLE:
            found.append(_whole(card))
        elif card.state is GpuState.MIG:
            found.extend(_instances(card))
    return tuple(found)


def all_gpus(inventory: Inventory) -> tuple[Gpu, ...]:
    """Return every device that has a UUID, grantable now or not: what a container may have attached."""
    for seen, gpus in _last_seen[:1]:
        if seen is inventory:
            return gpus
    found = _list_gpus(inventory)
    _last_seen[:] = [(inventory, found)]
    return found


_last_seen: list[tuple[Inventory, tuple[Gpu, ...]]] = []
"""One look at the machine is asked about many times."""


def _list_gpus(inventory: Inventory) -> tuple[Gpu, ...]:
    found: list[Gpu] = []
    for card in inventory.devices:
        found.append(_whole(card))
        found.extend(_instances(card))
    return tuple(found)


def find_card(inventory: Inventory, uuid: str) -> PhysicalGpu | None:
    """Return the card with this uuid, or the card that has the MIG instance with this uuid."""
    for card in inventory.devices:
        if card.uuid == uuid or any(instance.uuid == uuid for instance in card.instances):
            return card
    return None


def get_gpu(inventory: Inventory, text: str) -> Gpu:
    """Return the device that a person means by `text`: a UUID, `0` or `0:1`.

    Raises:
        NotFoundError: No such device; the message names those that exist.
        InvalidRequestError: `text` is empty.
    """
    wanted = text.strip()
    if not wanted:
        raise InvalidRequestError("The name of a GPU is empty.", hint="Run `ds01 gpus` to see the devices.")
    for gpu in all_gpus(inventory):
        if wanted in {gpu.uuid, gpu.address}:
            return gpu
    known = ", ".join(gpu.address for gpu in all_gpus(inventory)) or "none"
    raise NotFoundError(f"There is no GPU {wanted!r} on this machine (there are: {known}).", hint="Run `ds01 gpus`.")


def _whole(card: PhysicalGpu) -> Gpu:
    return Gpu(
        uuid=card.uuid,
        parent_uuid=card.uuid,
        address=str(card.index),
        kind=GpuKind.FULL,
        profile="full",
        model=card.model,
        memory_bytes=card.memory_bytes,
        equivalents=1.0,
    )


def _instances(card: PhysicalGpu) -> Iterator[Gpu]:
    for instance in card.instances:
        yield Gpu(
            uuid=instance.uuid,
            parent_uuid=card.uuid,
            address=f"{card.index}:{instance.index}",
            kind=GpuKind.MIG,
            profile=instance.profile,
            model=card.model,
            memory_bytes=instance.memory_bytes,
            equivalents=instance_equivalents(card, instance),
        )


def instance_equivalents(card: PhysicalGpu, instance: MigInstance) -> float:
    """Return the compute share of a MIG instance: its slices of the device's slices.

    A driver that does not tell the device's slices makes the instance count as a whole card: a quota that is too
    strict is noticed, one that is too generous is not.
    """
    if card.slices_total <= 0 or instance.compute_slices <= 0:
        return 1.0
    return instance.compute_slices / card.slices_total


@dataclass(frozen=True, slots=True)
class DeviceWeight:
    """What some devices weigh together.

    Attributes:
        gpus: How many devices.
        equivalents: Their compute; a whole GPU is 1.0.
    """

    gpus: int
    equivalents: float


def weigh_devices(uuids: Collection[str], inventory: Inventory) -> DeviceWeight:
    """Return what devices weigh together; one that this machine does not have weighs nothing.

    Of a card that is cut into instances the instances count: the card itself, which a container with every GPU has
    too, gives it nothing more.
    """
    gpus, equivalents = 0, 0.0
    for card in inventory.devices:
        parts = [instance for instance in card.instances if instance.uuid in uuids]
        if parts:
            gpus += len(parts)
            equivalents += min(sum(instance_equivalents(card, part) for part in parts), 1.0)
        elif card.uuid in uuids:
            gpus += 1
            equivalents += 1.0
    return DeviceWeight(gpus, equivalents)
