"""Machines whose devices an implementation of the `Devices` port reads: the pretended library, and the fake."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

from ds01.adapters.nvml.devices import NvmlDevices
from ds01.domain.devices.gpu import (
    DeviceSample,
    GpuLink,
    GpuProcess,
    Inventory,
    LinkKind,
    MigInstance,
    PhysicalGpu,
    all_gpus,
    find_card,
)
from ds01.domain.devices.gpu_event import DeviceEvent, DeviceEventKind
from ds01.errors import BackendError
from ds01.service.ports import Devices
from tests.contract.nvml_double import CUT, MIG_1G, MIG_3G, OTHER_MIG_1G, WHOLE, FakeMachine
from tests.contract.nvml_session import smi
from tests.fake_devices import A100_PROFILES, FakeDevices

MIB = 1 << 20
GIB = 1 << 30

WHOLE_CARD = PhysicalGpu(
    uuid=WHOLE,
    index=0,
    model="NVIDIA A100-PCIE-40GB",
    memory_bytes=40 * GIB,
    compute_capability=(8, 0),
    bus_id="00000000:3B:00.0",
    minor=0,
    slices_total=7,
    mig_profiles=A100_PROFILES,
    links=(GpuLink(CUT, LinkKind.PIX),),
)
CUT_CARD = PhysicalGpu(
    uuid=CUT,
    index=1,
    model="NVIDIA A100-PCIE-40GB",
    memory_bytes=40 * GIB,
    compute_capability=(8, 0),
    bus_id="00000000:AF:00.0",
    minor=1,
    slices_total=7,
    mig_enabled=True,
    mig_pending=True,
    instances=(
        MigInstance(MIG_3G, "3g.20gb", 20 * GIB, 3, 2, 0, index=0, start=4, memory_slices=4),
        MigInstance(MIG_1G, "1g.5gb", 5 * GIB, 1, 7, 0, index=1, start=0, memory_slices=1),
        MigInstance(OTHER_MIG_1G, "1g.5gb", 5 * GIB, 1, 8, 0, index=2, start=1, memory_slices=1),
    ),
    mig_profiles=A100_PROFILES,
    links=(GpuLink(WHOLE, LinkKind.PIX),),
)
TWO_CARDS = Inventory(devices=(WHOLE_CARD, CUT_CARD), driver_version="570.133.20", cuda_version=(12, 8))


AT_ONCE = timedelta(milliseconds=20)
SOON = timedelta(seconds=5)


class World(Protocol):
    """A machine whose devices an implementation of the port reads."""

    devices: Devices

    def show(self, inventory: Inventory, processes: Sequence[GpuProcess] = ()) -> None:
        """From now on the machine has these devices and processes."""
        ...

    def lose(self, uuid: str) -> None:
        """From now on this card does not answer."""
        ...

    def sicken(self, uuid: str) -> None:
        """From now on this card says that it must be reset."""
        ...

    def break_driver(self) -> None:
        """From now on nothing can be read."""
        ...

    def forbid(self) -> None:
        """From now on nothing may be changed."""
        ...

    def reset(self, uuid: str) -> None:
        """Reset a card."""
        ...

    def report(self, event: DeviceEvent) -> None:
        """Let the driver report something of a card."""
        ...


def describe(inventory: Inventory, processes: Sequence[GpuProcess]) -> str:
    """Return the file by which the pretended library knows these devices."""
    major, minor = inventory.cuda_version
    links: list[str] = []
    lines = [f"system driver={inventory.driver_version} cuda={major * 1000 + minor * 10}"]
    place_of: dict[str, str] = {}
    for card in inventory.devices:
        major, minor = card.compute_capability
        mig = f"mig={card.mig_enabled:d} pending={card.mig_pending:d} slices={card.slices_total}"
        lines.append(
            f'gpu uuid={card.uuid} name="{card.model}" mem={card.memory_bytes // MIB} bus={card.bus_id} '
            f"minor={card.minor} cc={major}.{minor} {mig if card.slices_total else ''}"
        )
        place_of[card.uuid] = f"gpu={card.index}"
        links.extend(_link_line(card, link, inventory) for link in card.links)
        for one in card.instances:
            ids = f"gpu={card.index} gi={one.gpu_instance_id} ci={one.compute_instance_id}"
            lines.append(f"mig slot={one.index} uuid={one.uuid} profile={one.profile} {ids} start={one.start}")
            place_of[one.uuid] = ids
    lines += links
    for process in processes:
        memory, busy = (process.memory_bytes or 0) // MIB, round((process.utilization_ratio or 0) * 100)
        lines.append(f"proc pid={process.pid} mem={memory} sm={busy} {place_of[process.gpu_uuid]}")
    return "\n".join(lines)


def _link_line(card: PhysicalGpu, link: GpuLink, inventory: Inventory) -> str:
    other = find_card(inventory, link.uuid)
    assert other is not None
    kind = "nvlink=2" if link.kind is LinkKind.NVLINK else f"pcie={link.kind}"
    return f"link gpu={card.index} peer={other.index} {kind}"


class NvmlWorld:
    """The adapter over the vendor's binding and the pretended library."""

    def __init__(self, machine: FakeMachine, devices: NvmlDevices) -> None:
        self.machine = machine
        self.devices: Devices = devices
        self.indices: dict[str, int] = {}

    def show(self, inventory: Inventory, processes: Sequence[GpuProcess] = ()) -> None:
        self.machine.write(describe(inventory, processes))
        self.indices = {card.uuid: card.index for card in inventory.devices}

    def lose(self, uuid: str) -> None:
        self._say_of(uuid, "lost=1")

    def sicken(self, uuid: str) -> None:
        self._say_of(uuid, "recovery=1")

    def _say_of(self, uuid: str, word: str) -> None:
        self.machine.write(self.machine.read().replace(f"gpu uuid={uuid}", f"gpu {word} uuid={uuid}"))

    def break_driver(self) -> None:
        self.machine.configuration.unlink()

    def forbid(self) -> None:
        for name in ("nvmlDeviceSetMigMode", "nvmlDeviceCreateGpuInstanceWithPlacement", "nvmlComputeInstanceDestroy"):
            self.machine.append(f"fail func={name} ret=4")

    def reset(self, uuid: str) -> None:
        assert smi(self.machine, "--gpu-reset", "-i", uuid).returncode == 0

    def report(self, event: DeviceEvent) -> None:
        word = {DeviceEventKind.XID: "xid", DeviceEventKind.ECC: "ecc", DeviceEventKind.MIG_CHANGED: "mig"}[event.kind]
        index = self.indices[event.gpu_uuid or ""]
        instance = "" if event.gpu_instance_id is None else f"gi={event.gpu_instance_id}"
        self.machine.append(f"event gpu={index} type={word} data={event.code or 0} {instance}")


class FakeWorld:
    """The fake in memory."""

    def __init__(self) -> None:
        self.fake = FakeDevices()
        self.devices: Devices = self.fake

    def show(self, inventory: Inventory, processes: Sequence[GpuProcess] = ()) -> None:
        self.fake.inventory = inventory
        self.fake.processes = list(processes)
        self.fake.samples = {gpu.uuid: _sample(gpu.uuid, inventory) for gpu in all_gpus(inventory)}

    def lose(self, uuid: str) -> None:
        self.sicken(uuid)
        card = find_card(self.fake.inventory, uuid)
        assert card is not None
        gone = {card.uuid, *(one.uuid for one in card.instances)}
        self.fake.processes = [process for process in self.fake.processes if process.gpu_uuid not in gone]

    def sicken(self, uuid: str) -> None:
        self.fake.change(uuid, lambda card: replace(card, fault="it says so"))

    def break_driver(self) -> None:
        self.fake.failure = BackendError("The GPUs are unknown.")

    def forbid(self) -> None:
        self.fake.may_change = False

    def reset(self, uuid: str) -> None:
        self.fake.reset(uuid)

    def report(self, event: DeviceEvent) -> None:
        self.fake.report(event)


def _sample(uuid: str, inventory: Inventory) -> DeviceSample:
    card = find_card(inventory, uuid)
    assert card is not None
    if uuid != card.uuid:
        return DeviceSample(uuid, memory_used_bytes=12 * MIB)
    return DeviceSample(uuid, None if card.mig_enabled else 0.0, 0, 50.0, 0.0, 35, 210)
