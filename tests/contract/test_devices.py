"""What every implementation of the `Devices` port does: the adapter over NVML, and the fake of the other tests."""

from dataclasses import replace

import pytest

from ds01.domain.devices.gpu import GpuLink, GpuProcess, GpuState, LinkKind, MigInstance, MigProfile, schedulable_gpus
from ds01.domain.devices.gpu_event import DeviceEvent, DeviceEventKind
from ds01.errors import BackendError, ConflictError, Ds01Error, ForbiddenError, InvalidRequestError, NotFoundError
from tests.contract.device_worlds import (
    AT_ONCE,
    CUT_CARD,
    GIB,
    MIB,
    SOON,
    TWO_CARDS,
    WHOLE_CARD,
    FakeWorld,
    NvmlWorld,
    World,
)
from tests.contract.nvml_double import CUT, MIG_1G, MIG_3G, OTHER_MIG_1G, WHOLE, FakeMachine, OpenDevices

A30_PROFILES = (
    MigProfile("1g.6gb", 14, 1, 1, 6 * GIB, (0, 1, 2, 3), 4),
    MigProfile("2g.12gb", 5, 2, 2, 12 * GIB, (0, 2), 2),
    MigProfile("4g.24gb", 0, 4, 4, 24 * GIB, (0,), 1),
    MigProfile("1g.6gb+me", 21, 1, 1, 6 * GIB, (0, 1, 2, 3), 1),
)
H100 = replace(WHOLE_CARD, model="NVIDIA H100 PCIe", compute_capability=(9, 0))


@pytest.fixture(params=["nvml", "fake"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "fake":
        return FakeWorld()
    machine: FakeMachine = request.getfixturevalue("machine")
    open_devices: OpenDevices = request.getfixturevalue("open_devices")
    return NvmlWorld(machine, open_devices())


async def test_whole_cards_and_mig_instances_are_described(world: World) -> None:
    world.show(TWO_CARDS)
    assert await world.devices.read_inventory() == TWO_CARDS


async def test_a_card_that_knows_no_mig_has_no_slices(world: World) -> None:
    card = replace(WHOLE_CARD, model="NVIDIA RTX 6000 Ada Generation", slices_total=0, mig_profiles=(), links=())
    world.show(replace(TWO_CARDS, devices=(card,)))
    assert (await world.devices.read_inventory()).devices == (card,)


async def test_compute_slices_come_from_the_device(world: World) -> None:
    a30 = replace(
        CUT_CARD,
        index=0,
        model="NVIDIA A30",
        memory_bytes=24 * GIB,
        slices_total=4,
        instances=(MigInstance(MIG_1G, "2g.12gb", 12 * GIB, 2, 1, 0, index=0, start=2, memory_slices=2),),
        mig_profiles=A30_PROFILES,
        links=(),
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
    job = GpuProcess(pid=4001, gpu_uuid=WHOLE, memory_bytes=500 * MIB, utilization_ratio=0.25)
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
        GpuProcess(pid=4001, gpu_uuid=WHOLE, memory_bytes=500 * MIB, utilization_ratio=0.25),
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


async def test_the_nearest_card_comes_first(world: World) -> None:
    far = "GPU-0d1f6b7c-95e3-4a70-b7f6-0fb1e4f2a9c8"
    linked = replace(WHOLE_CARD, links=(GpuLink(far, LinkKind.NVLINK), GpuLink(CUT, LinkKind.SYS)))
    third = replace(
        WHOLE_CARD, uuid=far, index=2, minor=2, bus_id="00000000:D8:00.0", links=(GpuLink(WHOLE, LinkKind.NVLINK),)
    )
    world.show(replace(TWO_CARDS, devices=(linked, replace(CUT_CARD, links=()), third)))
    first, _, last = (await world.devices.read_inventory()).devices
    assert first.links == linked.links
    assert last.links[0] == GpuLink(WHOLE, LinkKind.NVLINK)


async def test_a_card_that_says_it_is_broken_is_unhealthy_and_described(world: World) -> None:
    world.show(TWO_CARDS)
    world.sicken(WHOLE)
    sick, other = (await world.devices.read_inventory()).devices
    assert sick.state is GpuState.UNHEALTHY
    assert replace(sick, fault=None) == WHOLE_CARD
    assert other == CUT_CARD


# --- the mode ---------------------------------------------------------------------------------------------------------


async def test_an_a100_waits_for_a_reset_to_change_its_mode(world: World) -> None:
    world.show(replace(TWO_CARDS, devices=(replace(WHOLE_CARD, links=()),)))
    await world.devices.set_mig_mode(WHOLE, enabled=True)
    (card,) = (await world.devices.read_inventory()).devices
    assert card.state is GpuState.PENDING
    world.reset(WHOLE)
    (card,) = (await world.devices.read_inventory()).devices
    assert card.state is GpuState.MIG_EMPTY


async def test_a_pending_change_can_be_taken_back(world: World) -> None:
    world.show(TWO_CARDS)
    await world.devices.set_mig_mode(WHOLE, enabled=True)
    await world.devices.set_mig_mode(WHOLE, enabled=False)
    assert (await world.devices.read_inventory()) == TWO_CARDS


async def test_an_h100_changes_its_mode_at_once_and_back(world: World) -> None:
    world.show(replace(TWO_CARDS, devices=(replace(H100, links=()),)))
    await world.devices.set_mig_mode(WHOLE, enabled=True)
    (card,) = (await world.devices.read_inventory()).devices
    assert card.state is GpuState.MIG_EMPTY
    await world.devices.set_mig_mode(WHOLE, enabled=False)
    (card,) = (await world.devices.read_inventory()).devices
    assert card.state is GpuState.WHOLE


async def test_the_mode_that_is_on_is_set_again_without_a_change_even_in_use(world: World) -> None:
    world.show(TWO_CARDS, [GpuProcess(4001, WHOLE, MIB)])
    await world.devices.set_mig_mode(WHOLE, enabled=False)
    await world.devices.set_mig_mode(CUT, enabled=True)
    assert await world.devices.read_inventory() == TWO_CARDS


async def test_a_card_in_use_or_with_instances_keeps_its_mode(world: World) -> None:
    world.show(TWO_CARDS, [GpuProcess(4001, WHOLE, MIB)])
    with pytest.raises(ConflictError):
        await world.devices.set_mig_mode(WHOLE, enabled=True)
    with pytest.raises(ConflictError):
        await world.devices.set_mig_mode(CUT, enabled=False)
    assert await world.devices.read_inventory() == TWO_CARDS


async def test_a_card_without_mig_and_one_that_is_not_there_have_no_mode(world: World) -> None:
    card = replace(WHOLE_CARD, slices_total=0, mig_profiles=(), links=())
    world.show(replace(TWO_CARDS, devices=(card,)))
    with pytest.raises(ConflictError):
        await world.devices.set_mig_mode(WHOLE, enabled=True)
    with pytest.raises(NotFoundError):
        await world.devices.set_mig_mode(CUT, enabled=True)


# --- instances --------------------------------------------------------------------------------------------------------


async def test_an_instance_is_made_where_it_was_asked_for_and_listed_from_then_on(world: World) -> None:
    world.show(TWO_CARDS)
    made = await world.devices.create_instance(CUT, "2g.10gb", 2)
    assert (made.profile, made.start, made.memory_slices, made.compute_slices) == ("2g.10gb", 2, 2, 2)
    assert made.memory_bytes == 10 * GIB
    _, card = (await world.devices.read_inventory()).devices
    assert card.instances == (*CUT_CARD.instances, made)


async def test_an_instance_that_is_made_again_has_a_new_name(world: World) -> None:
    world.show(TWO_CARDS)
    names = set()
    for _ in range(3):
        made = await world.devices.create_instance(CUT, "1g.5gb", 3)
        names.add(made.uuid)
        await world.devices.destroy_instance(made.uuid)
    assert len(names) == 3
    assert await world.devices.read_inventory() == TWO_CARDS


async def test_an_instance_of_before_can_be_destroyed(world: World) -> None:
    world.show(TWO_CARDS)
    await world.devices.destroy_instance(MIG_3G)
    _, card = (await world.devices.read_inventory()).devices
    assert card.instances == CUT_CARD.instances[1:]
    with pytest.raises(NotFoundError):
        await world.devices.destroy_instance(MIG_3G)


@pytest.mark.parametrize(
    ("card", "profile", "start", "error"),
    [
        (CUT, "2g.10gb", 4, ConflictError),
        (CUT, "2g.10gb", 0, ConflictError),
        (CUT, "3g.20gb", 4, ConflictError),
        (CUT, "2g.10gb", 1, InvalidRequestError),
        (CUT, "2g.10gb", -1, InvalidRequestError),
        (CUT, "5g.25gb", 0, InvalidRequestError),
        (WHOLE, "1g.5gb", 0, ConflictError),
        ("GPU-nobody", "1g.5gb", 0, NotFoundError),
    ],
)
async def test_an_instance_that_cannot_be_is_refused_and_nothing_changes(
    world: World, card: str, profile: str, start: int, error: type[Ds01Error]
) -> None:
    world.show(TWO_CARDS)
    with pytest.raises(error):
        await world.devices.create_instance(card, profile, start)
    assert await world.devices.read_inventory() == TWO_CARDS


async def test_only_one_instance_has_the_media_engines(world: World) -> None:
    world.show(replace(TWO_CARDS, devices=(replace(CUT_CARD, index=0, instances=(), links=()),)))
    await world.devices.create_instance(CUT, "1g.5gb+me", 0)
    with pytest.raises(ConflictError):
        await world.devices.create_instance(CUT, "1g.5gb+me", 1)


async def test_an_instance_in_use_stays(world: World) -> None:
    world.show(TWO_CARDS, [GpuProcess(4001, MIG_1G, MIB)])
    with pytest.raises(ConflictError):
        await world.devices.destroy_instance(MIG_1G)
    assert await world.devices.read_inventory() == TWO_CARDS
    await world.devices.destroy_instance(OTHER_MIG_1G)


async def test_who_may_not_change_mig_changes_nothing(world: World) -> None:
    world.show(TWO_CARDS)
    world.forbid()
    with pytest.raises(ForbiddenError):
        await world.devices.set_mig_mode(WHOLE, enabled=True)
    with pytest.raises(ForbiddenError):
        await world.devices.create_instance(CUT, "1g.5gb", 2)
    with pytest.raises(ForbiddenError):
        await world.devices.destroy_instance(MIG_1G)
    assert await world.devices.read_inventory() == TWO_CARDS


async def test_a_broken_driver_leaves_a_change_unknown(world: World) -> None:
    world.show(TWO_CARDS)
    world.break_driver()
    with pytest.raises(BackendError):
        await world.devices.set_mig_mode(WHOLE, enabled=True)


# --- reports ----------------------------------------------------------------------------------------------------------


async def test_nothing_reported_is_no_error(world: World) -> None:
    world.show(TWO_CARDS)
    assert await world.devices.wait_for_event(AT_ONCE) is None


@pytest.mark.parametrize(
    "event",
    [
        DeviceEvent(DeviceEventKind.XID, WHOLE, 79),
        DeviceEvent(DeviceEventKind.XID, CUT, 31, gpu_instance_id=7),
        DeviceEvent(DeviceEventKind.ECC, CUT),
        DeviceEvent(DeviceEventKind.MIG_CHANGED, CUT),
    ],
)
async def test_what_the_driver_reports_is_told_with_its_card(world: World, event: DeviceEvent) -> None:
    world.show(TWO_CARDS)
    assert await world.devices.wait_for_event(AT_ONCE) is None
    world.report(event)
    assert await world.devices.wait_for_event(SOON) == event


async def test_reports_between_two_looks_are_kept_in_their_order(world: World) -> None:
    world.show(TWO_CARDS)
    assert await world.devices.wait_for_event(AT_ONCE) is None
    events = [DeviceEvent(DeviceEventKind.XID, WHOLE, code) for code in (13, 48, 79)]
    for event in events:
        world.report(event)
    assert [await world.devices.wait_for_event(SOON) for _ in events] == events
    assert await world.devices.wait_for_event(AT_ONCE) is None


async def test_reports_go_on_after_a_change_of_mig(world: World) -> None:
    world.show(TWO_CARDS)
    assert await world.devices.wait_for_event(AT_ONCE) is None
    await world.devices.create_instance(CUT, "1g.5gb", 2)
    assert await world.devices.wait_for_event(AT_ONCE) is None
    event = DeviceEvent(DeviceEventKind.XID, WHOLE, 74)
    world.report(event)
    assert await world.devices.wait_for_event(SOON) == event


async def test_a_machine_without_devices_reports_nothing(world: World) -> None:
    world.show(replace(TWO_CARDS, devices=()))
    assert await world.devices.wait_for_event(AT_ONCE) is None


async def test_a_broken_driver_reports_an_error(world: World) -> None:
    world.show(TWO_CARDS)
    world.break_driver()
    with pytest.raises(BackendError):
        await world.devices.wait_for_event(SOON)
