"""What every implementation of the `Devices` port does."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import pytest

from ds01.adapters.nvml.devices import NvmlDevices
from ds01.domain.gpu import GpuProcess, GpuState, Inventory, MigInstance, PhysicalGpu, schedulable_gpus
from ds01.errors import BackendError
from ds01.service.ports import Devices
from tests.contract.nvml_double import CUT, MIG_1G, MIG_3G, OTHER_MIG_1G, WHOLE, FakeMachine, OpenDevices

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
        MigInstance(MIG_3G, "3g.20gb", 20 * GIB, 3, gpu_instance_id=2, compute_instance_id=0, index=0),
        MigInstance(MIG_1G, "1g.5gb", 5 * GIB, 1, gpu_instance_id=7, compute_instance_id=0, index=1),
        MigInstance(OTHER_MIG_1G, "1g.5gb", 5 * GIB, 1, gpu_instance_id=8, compute_instance_id=0, index=2),
    ),
)
TWO_CARDS = Inventory(devices=(WHOLE_CARD, CUT_CARD), driver_version="570.133.20", cuda_version=(12, 8))


class World(Protocol):
    """A machine whose devices an implementation of the port reads."""

    devices: Devices

    def show(self, inventory: Inventory, processes: Sequence[GpuProcess] = ()) -> None:
        """From now on the machine has these devices and processes."""
        ...

    def lose(self, uuid: str) -> None:
        """From now on this card does not answer."""
        ...

    def break_driver(self) -> None:
        """From now on nothing can be read."""
        ...


def describe(inventory: Inventory, processes: Sequence[GpuProcess]) -> str:
    """Return the file by which the pretended library knows these devices."""
    major, minor = inventory.cuda_version
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
        for one in card.instances:
            ids = f"gpu={card.index} gi={one.gpu_instance_id} ci={one.compute_instance_id}"
            lines.append(f"mig slot={one.index} uuid={one.uuid} profile={one.profile} {ids}")
            place_of[one.uuid] = ids
    lines += [f"proc pid={p.pid} mem={(p.memory_bytes or 0) // MIB} {place_of[p.gpu_uuid]}" for p in processes]
    return "\n".join(lines)


class NvmlWorld:
    """The adapter over the vendor's binding and the pretended library."""

    def __init__(self, machine: FakeMachine, devices: NvmlDevices) -> None:
        self.machine = machine
        self.devices: Devices = devices

    def show(self, inventory: Inventory, processes: Sequence[GpuProcess] = ()) -> None:
        self.machine.write(describe(inventory, processes))

    def lose(self, uuid: str) -> None:
        self.machine.write(self.machine.read().replace(f"gpu uuid={uuid}", f"gpu lost=1 uuid={uuid}"))

    def break_driver(self) -> None:
        self.machine.configuration.unlink()


@pytest.fixture
def world(machine: FakeMachine, open_devices: OpenDevices) -> World:
    return NvmlWorld(machine, open_devices())


async def test_whole_cards_and_mig_instances_are_described(world: World) -> None:
    world.show(TWO_CARDS)
    assert await world.devices.read_inventory() == TWO_CARDS


async def test_a_card_that_knows_no_mig_has_no_slices(world: World) -> None:
    card = replace(WHOLE_CARD, model="NVIDIA RTX 6000 Ada Generation", slices_total=0)
    world.show(replace(TWO_CARDS, devices=(card,)))
    assert (await world.devices.read_inventory()).devices == (card,)


async def test_compute_slices_come_from_the_device(world: World) -> None:
    a30 = replace(
        CUT_CARD,
        index=0,
        model="NVIDIA A30",
        memory_bytes=24 * GIB,
        slices_total=4,
        instances=(MigInstance(MIG_1G, "2g.12gb", 12 * GIB, 2, gpu_instance_id=1, compute_instance_id=0, index=0),),
    )
    world.show(replace(TWO_CARDS, devices=(a30,)))
    inventory = await world.devices.read_inventory()
    assert inventory.devices == (a30,)
    assert [gpu.equivalents for gpu in schedulable_gpus(inventory)] == [0.5]


async def test_a_change_is_seen_at_the_next_reading(world: World) -> None:
    world.show(TWO_CARDS)
    await world.devices.read_inventory()
    changed = replace(TWO_CARDS, devices=(replace(WHOLE_CARD, mig_pending=True), replace(CUT_CARD, instances=())))
    world.show(changed)
    inventory = await world.devices.read_inventory()
    assert inventory == changed
    assert [card.state for card in inventory.devices] == [GpuState.PENDING, GpuState.MIG_EMPTY]


async def test_a_machine_without_devices_is_known_to_have_none(world: World) -> None:
    world.show(replace(TWO_CARDS, devices=()))
    assert (await world.devices.read_inventory()).devices == ()
    assert await world.devices.read_samples() == {}
    assert await world.devices.read_processes() == []


async def test_a_lost_card_stays_listed_as_it_was_with_its_fault(world: World) -> None:
    world.show(TWO_CARDS)
    await world.devices.read_inventory()
    world.lose(CUT)
    whole, lost = (await world.devices.read_inventory()).devices
    assert whole == WHOLE_CARD
    assert lost.fault is not None
    assert replace(lost, fault=None) == CUT_CARD
    assert lost.state is GpuState.UNHEALTHY


async def test_a_lost_card_leaves_samples_and_processes_of_the_others(world: World) -> None:
    job = GpuProcess(pid=4001, gpu_uuid=WHOLE, memory_bytes=500 * MIB)
    world.show(TWO_CARDS, [job, GpuProcess(pid=4002, gpu_uuid=MIG_3G, memory_bytes=GIB)])
    world.lose(CUT)
    assert WHOLE in await world.devices.read_samples()
    assert await world.devices.read_processes() == [job]


async def test_every_device_has_a_sample_and_only_whole_cards_a_utilisation(world: World) -> None:
    world.show(TWO_CARDS)
    samples = await world.devices.read_samples()
    assert set(samples) == {WHOLE, CUT, MIG_3G, MIG_1G, OTHER_MIG_1G}
    assert all(sample.uuid == uuid for uuid, sample in samples.items())
    assert samples[WHOLE].utilization_ratio is not None
    assert samples[CUT].utilization_ratio is None
    assert samples[MIG_1G].utilization_ratio is None
    assert samples[MIG_1G].memory_used_bytes is not None
    assert samples[MIG_1G].power_w is None


async def test_processes_are_on_the_device_they_use(world: World) -> None:
    processes = [
        GpuProcess(pid=4001, gpu_uuid=WHOLE, memory_bytes=500 * MIB),
        GpuProcess(pid=4002, gpu_uuid=MIG_3G, memory_bytes=GIB),
        GpuProcess(pid=4003, gpu_uuid=OTHER_MIG_1G, memory_bytes=2 * GIB),
    ]
    world.show(TWO_CARDS, processes)
    assert sorted(await world.devices.read_processes(), key=lambda process: process.pid) == processes


async def test_a_broken_driver_is_an_error_and_not_an_empty_machine(world: World) -> None:
    world.show(TWO_CARDS)
    await world.devices.read_inventory()
    world.break_driver()
    for read in (world.devices.read_inventory, world.devices.read_samples, world.devices.read_processes):
        with pytest.raises(BackendError):
            await read()
