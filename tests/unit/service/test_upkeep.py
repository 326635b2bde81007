"""The upkeep of devices: drain and resume, what is reported, who computes past us, and that grants keep away."""

import asyncio
from dataclasses import replace

import pytest

from ds01.domain.devices.gpu import GpuProcess, GpuState
from ds01.domain.devices.gpu_event import DeviceEvent, DeviceEventKind
from ds01.errors import BackendError, ConflictError, InvalidRequestError, NoCapacityError, NotFoundError
from ds01.service.upkeep import UpkeepService
from ds01.service.upkeep_record import read_upkeep
from tests.unit.service.repairs import stage_with
from tests.unit.service.stage import Stage

FELL_OFF = DeviceEvent(DeviceEventKind.XID, "GPU-0", 79)


@pytest.fixture
def stage() -> Stage:
    return stage_with()


async def reasons(stage: Stage) -> dict[str, str]:
    upkeep, inventory = stage.services.upkeep, stage.devices.inventory
    return await stage.store.read(lambda transaction: upkeep.unusable(transaction, inventory))


async def details_of(stage: Stage, name: str) -> list[dict[str, object]]:
    events = await stage.store.read(lambda transaction: transaction.list_events())
    return [dict(event.details) for event in events if event.name == name]


async def test_a_drained_card_gives_no_new_grants_and_what_runs_there_stays(stage: Stage) -> None:
    await stage.create("mine", kind="full")
    await stage.services.upkeep.drain("0", "fan is loud", actor_uid=0)
    assert await stage.states() == {"mine": "active"}
    await stage.remove("mine", force=True)
    with pytest.raises(NoCapacityError, match="it is drained: fan is loud"):
        await stage.create("other", kind="full")
    await stage.services.upkeep.resume("0", actor_uid=0)
    await stage.create("other", kind="full")
    assert await stage.held() == {"GPU-0": "other"}


async def test_a_drained_instance_is_passed_over(stage: Stage) -> None:
    await stage.services.upkeep.drain("1:1", "", actor_uid=0)
    await stage.create(kind="1g.5gb")
    assert await stage.held() == {"MIG-1-2": "demo"}


async def test_a_drained_machine_refuses_with_every_reason(stage: Stage) -> None:
    drained = await stage.services.upkeep.drain("all", "update", actor_uid=0)
    assert [(one.address, one.has_changed) for one in drained] == [("0", True), ("1", True)]
    with pytest.raises(NoCapacityError, match="it is drained: update"):
        await stage.create()


async def test_a_container_that_starts_again_after_its_hold_does_not_get_a_drained_device(stage: Stage) -> None:
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    await stage.reconcile()
    assert await stage.held() == {}
    await stage.services.upkeep.drain("GPU-0", "update", actor_uid=0)
    with pytest.raises(NoCapacityError, match="gets no new grants now: it is drained: update"):
        await stage.start()
    await stage.services.upkeep.resume("all", actor_uid=0)
    await stage.start()
    assert await stage.held() == {"GPU-0": "demo"}


async def test_drains_outlive_the_daemon_and_are_in_the_trail(stage: Stage) -> None:
    await stage.services.upkeep.drain("0", "fan", actor_uid=0)
    stage.boot()
    assert await reasons(stage) == {"GPU-0": "it is drained: fan"}
    await stage.services.upkeep.resume("0", actor_uid=0)
    assert await reasons(stage) == {}
    assert (await stage.events())[-2:] == ["gpu.drained", "gpu.resumed"]
    assert await details_of(stage, "gpu.drained") == [{"gpu": "GPU-0", "reason": "fan"}]


async def test_a_drain_that_is_said_again_changes_only_the_reason(stage: Stage) -> None:
    upkeep = stage.services.upkeep
    await upkeep.drain("0", "fan", actor_uid=0)
    (same,) = await upkeep.drain("0", "fan", actor_uid=0)
    (other,) = await upkeep.drain("0", "fan and dust", actor_uid=0)
    assert (same.has_changed, other.has_changed) == (False, True)
    assert await reasons(stage) == {"GPU-0": "it is drained: fan and dust"}
    assert len(await details_of(stage, "gpu.drained")) == 2


async def test_bad_words_are_refused_and_change_nothing(stage: Stage) -> None:
    upkeep = stage.services.upkeep
    with pytest.raises(NotFoundError, match="there are: 0, 1, 1:0, 1:1, 1:2"):
        await upkeep.drain("7", "", actor_uid=0)
    for reason in ("two\nlines", "x" * 201):
        with pytest.raises(InvalidRequestError, match="one line"):
            await upkeep.drain("0", reason, actor_uid=0)
    with pytest.raises(ConflictError, match="is not drained"):
        await upkeep.resume("0", actor_uid=0)
    with pytest.raises(NotFoundError):
        await upkeep.resume("GPU-nobody", actor_uid=0)
    assert await upkeep.resume("all", actor_uid=0) == []
    assert await stage.events() == []


async def test_a_card_that_is_gone_can_be_resumed_by_its_name(stage: Stage) -> None:
    await stage.services.upkeep.drain("0", "", actor_uid=0)
    stage.devices.unplug("GPU-0")
    (resumed,) = await stage.services.upkeep.resume("GPU-0", actor_uid=0)
    assert resumed.address == "GPU-0"


async def test_unknown_devices_cannot_be_drained(stage: Stage) -> None:
    stage.devices.failure = BackendError("The GPUs are unknown.")
    with pytest.raises(BackendError):
        await stage.services.upkeep.drain("all", "", actor_uid=0)


async def test_a_reported_fault_keeps_new_grants_away_until_it_is_settled(stage: Stage) -> None:
    upkeep = stage.services.upkeep
    await upkeep.look()
    await upkeep.note(FELL_OFF)
    await upkeep.note(FELL_OFF)
    assert await upkeep.look()
    assert await details_of(stage, "gpu.unhealthy") == [
        {"gpu": "GPU-0", "index": 0, "reason": "it fell off the bus (Xid 79)"}
    ]
    with pytest.raises(NoCapacityError, match=r"it is unhealthy: it fell off the bus \(Xid 79\)"):
        await stage.create(kind="full")
    await upkeep.resume("0", actor_uid=0)
    assert await upkeep.look()
    assert (await stage.events())[-1] == "gpu.healthy"
    await stage.create(kind="full")


async def test_a_fault_ends_with_the_boot_in_which_it_was_reported(stage: Stage) -> None:
    for boot, is_sick in (("boot-1", True), ("boot-2", False)):
        upkeep = UpkeepService(stage.world(), stage.services.bell, boot=boot)
        if is_sick:
            await upkeep.note(FELL_OFF)
        await upkeep.look()
        kept = await stage.store.read(read_upkeep)
        assert bool(kept.faults) is is_sick
    assert await stage.events() == ["gpu.unhealthy", "gpu.healthy"]


async def test_what_a_program_caused_is_not_remembered(stage: Stage) -> None:
    await stage.services.upkeep.note(DeviceEvent(DeviceEventKind.XID, "GPU-0", 31))
    await stage.services.upkeep.note(DeviceEvent(DeviceEventKind.LOST))
    assert await reasons(stage) == {}


async def test_a_process_of_the_host_keeps_grants_away_once_it_was_seen_twice(stage: Stage) -> None:
    upkeep = stage.services.upkeep
    stage.devices.processes = [GpuProcess(77, "GPU-0", 1)]
    await upkeep.look()
    assert upkeep.unmanaged == {}
    assert await upkeep.look()
    assert upkeep.unmanaged == {"GPU-0": (77,)}
    assert await details_of(stage, "gpu.unmanaged") == [{"gpu": "GPU-0", "holder": "process 77 of the host"}]
    with pytest.raises(NoCapacityError, match="process 77 of the host computes on it"):
        await stage.create(kind="full")
    _, views = await stage.services.usage.devices()
    assert views[0].state is GpuState.BUSY_UNMANAGED
    stage.devices.processes = []
    assert await upkeep.look()
    await stage.create(kind="full")


async def test_who_is_in_a_container_or_only_draws_is_no_stranger(stage: Stage) -> None:
    stage.cgroups.containers[77] = "c" * 64
    stage.devices.processes = [GpuProcess(77, "GPU-0", 1), GpuProcess(78, "GPU-0", 1, is_compute=False)]
    for _ in range(3):
        await stage.services.upkeep.look()
    assert stage.services.upkeep.unmanaged == {}


async def test_a_process_that_is_gone_at_the_second_look_was_none(stage: Stage) -> None:
    for pid in (1, 2, 3):
        stage.devices.processes = [GpuProcess(pid, "GPU-0", 1)]
        await stage.services.upkeep.look()
    assert stage.services.upkeep.unmanaged == {}


async def test_cards_that_go_and_come_are_told_over_a_restart(stage: Stage) -> None:
    await stage.services.upkeep.look()
    card = stage.devices.unplug("GPU-0")
    stage.boot()
    assert await stage.services.upkeep.look()
    assert not await stage.services.upkeep.look()
    stage.devices.inventory = replace(stage.devices.inventory, devices=(card, *stage.devices.inventory.devices))
    stage.boot()
    assert await stage.services.upkeep.look()
    assert await stage.events() == ["gpu.lost", "gpu.returned"]


async def test_a_look_at_an_unchanged_machine_writes_nothing(stage: Stage) -> None:
    await stage.services.upkeep.look()
    stage.trap.arm(0, None)
    await stage.services.upkeep.look()
    assert "store write" not in stage.trap.steps


async def test_a_change_wakes_the_scheduler(stage: Stage) -> None:
    await stage.services.upkeep.look()
    ticket = stage.services.bell.ticket()
    await stage.services.upkeep.look()
    assert not ticket.is_set()
    stage.devices.unplug("GPU-0")
    await stage.services.upkeep.look()
    assert ticket.is_set()


async def test_drains_of_two_at_the_same_time_both_count(stage: Stage) -> None:
    await asyncio.gather(
        stage.services.upkeep.drain("0", "a", actor_uid=0), stage.services.upkeep.drain("1:0", "b", actor_uid=0)
    )
    assert set(await reasons(stage)) == {"GPU-0", "MIG-1-0"}
