"""What the devices over NVML do besides the contract of the port: crashes in a change, health, what is reported."""

import asyncio
from datetime import timedelta

import pytest

from ds01.adapters.nvml.devices import Patience
from ds01.domain.devices.gpu_event import DeviceEvent, DeviceEventKind
from ds01.errors import BackendError, BackendTimeoutError, ConflictError, ForbiddenError
from tests.contract.nvml_double import CUT, MIG_1G, WHOLE, FakeMachine, HandClock, OpenDevices
from tests.contract.test_nvml_devices import children

AT_ONCE = timedelta(milliseconds=20)
SOON = timedelta(seconds=5)


def gpu_instances(machine: FakeMachine) -> list[str]:
    return [line for line in machine.read().splitlines() if line.startswith("gi ")]


async def test_a_creation_that_fails_half_way_leaves_nothing_behind(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    devices = open_devices()
    machine.append("fail func=nvmlGpuInstanceCreateComputeInstance ret=999")
    with pytest.raises(BackendError, match="not changed, or only in part"):
        await devices.create_instance(CUT, "2g.10gb", 2)
    assert gpu_instances(machine) == []


async def test_what_a_creation_that_was_broken_off_left_is_taken_up(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    machine.append("gi gpu=1 gi=3 profile=2g.10gb start=2")
    made = await open_devices().create_instance(CUT, "2g.10gb", 2)
    assert (made.gpu_instance_id, made.start) == (3, 2)
    assert len(gpu_instances(machine)) == 1


async def test_a_part_of_a_gpu_instance_is_destroyed_without_its_sibling(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    machine.write(
        "gpu uuid=GPU-a mig=1\n"
        "mig slot=0 gi=1 ci=0 uuid=MIG-a profile=1c.3g.20gb\n"
        "mig slot=1 gi=1 ci=1 uuid=MIG-b profile=2c.3g.20gb\n"
    )
    devices = open_devices()
    await devices.destroy_instance("MIG-a")
    (card,) = (await devices.read_inventory()).devices
    assert [one.uuid for one in card.instances] == ["MIG-b"]
    await devices.destroy_instance("MIG-b")
    assert gpu_instances(machine) == []


async def test_a_refusal_names_who_is_in_the_way_and_how_to_look(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    machine.append("proc gpu=1 gi=7 ci=0 pid=4001\nproc gpu=0 pid=4003\nproc gpu=0 pid=4002 type=G")
    devices = open_devices()
    with pytest.raises(ConflictError, match=r"in use by the process 4001\.") as refusal:
        await devices.destroy_instance(MIG_1G)
    assert "-p 4001" in (refusal.value.hint or "")
    with pytest.raises(ConflictError, match=r"GPU 0 is in use by the processes 4002, 4003\."):
        await devices.set_mig_mode(WHOLE, enabled=True)


async def test_a_card_that_only_the_driver_knows_to_be_in_use_keeps_both_its_modes(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    machine.write("gpu uuid=GPU-a mig=1 cc=9.0\ngi gpu=0 gi=1 profile=1g.5gb start=0")
    devices = open_devices()
    with pytest.raises(ConflictError, match="in use"):
        await devices.set_mig_mode("GPU-a", enabled=False)
    (card,) = (await devices.read_inventory()).devices
    assert (card.mig_enabled, card.mig_pending) == (True, True)


async def test_a_user_without_rights_reads_on_but_where_instances_lie_is_unknown(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    for name in ("nvmlDeviceGetGpuInstanceById", "nvmlDeviceSetMigMode"):
        machine.append(f"fail func={name} ret=4")
    devices = open_devices()
    _, cut = (await devices.read_inventory()).devices
    assert cut.fault is None
    assert [(one.start, one.memory_slices) for one in cut.instances] == [(None, 0)] * 3
    with pytest.raises(ForbiddenError, match="does not let this daemon"):
        await devices.set_mig_mode(WHOLE, enabled=True)
    assert len((await devices.read_inventory()).devices) == 2


async def test_the_process_that_listened_is_gone_before_something_is_changed(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    devices = open_devices()
    earlier = children()
    await devices.wait_for_event(AT_ONCE)
    (before,) = children() - earlier
    await devices.create_instance(CUT, "1g.5gb", 2)
    (after,) = children() - earlier
    assert before != after


async def test_a_change_that_hangs_ends_at_its_deadline(
    machine: FakeMachine, open_devices: OpenDevices, clock: HandClock
) -> None:
    patience = Patience(answer_s=0.2, first_answer_s=1.0, change_s=0.5, retry_s=2.0)
    devices = open_devices(patience)
    machine.append("delay func=nvmlDeviceSetMigMode ms=60000")
    with pytest.raises(BackendTimeoutError, match=r"did not answer within 1\.5 s"):
        await devices.set_mig_mode(WHOLE, enabled=True)
    clock.now_s += patience.retry_s
    assert len((await devices.read_inventory()).devices) == 2


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("recovery=1", "the driver asks for a reset of it"),
        ("recovery=2", "the driver asks for a reboot"),
        ("recovery=9", "the driver asks for the recovery action 9"),
        ("remap_failed=1 remap_pending=1", "a broken row of its memory could not be replaced"),
        ("remap_pending=1", "a broken row of its memory waits for a reset to be replaced"),
        ("cc=7.0 retired_pending=1", "a broken page of its memory waits for a reset to be retired"),
        ("recovery=0 remap_corrected=4 remap_uncorrected=1 ecc_uncorrected=3", None),
    ],
)
async def test_a_card_says_itself_what_is_wrong(
    machine: FakeMachine, open_devices: OpenDevices, words: str, fault: str | None
) -> None:
    machine.write(f"gpu {words}")
    (card,) = (await open_devices().read_inventory()).devices
    assert card.fault == fault


@pytest.mark.parametrize("missing", ["", "fail func=nvmlDeviceGetCurrentClocksEventReasons ret=13"])
async def test_clocks_errors_and_reasons_are_measured(
    machine: FakeMachine, open_devices: OpenDevices, missing: str
) -> None:
    machine.write(f"gpu uuid=GPU-a util=50 throttle=0x65 ecc_uncorrected=2\ngpu uuid=GPU-b ecc=-1\n{missing}")
    samples = await open_devices().read_samples()
    assert samples["GPU-a"].throttle_reasons == ("power cap", "temperature", "temperature, hardware")
    assert (samples["GPU-a"].sm_clock_mhz, samples["GPU-a"].ecc_uncorrected) == (1410, 2)
    assert (samples["GPU-b"].throttle_reasons, samples["GPU-b"].ecc_uncorrected) == ((), None)


async def test_a_card_that_came_later_is_heard_too(machine: FakeMachine, open_devices: OpenDevices) -> None:
    machine.write("gpu uuid=GPU-a")
    devices = open_devices()
    assert await devices.wait_for_event(AT_ONCE) is None
    machine.write("gpu uuid=GPU-a\ngpu uuid=GPU-b")
    assert await devices.wait_for_event(AT_ONCE) is None
    machine.append("event gpu=1 type=xid data=79")
    assert await devices.wait_for_event(SOON) == DeviceEvent(DeviceEventKind.XID, "GPU-b", 79)


async def test_a_lost_card_is_reported_and_the_others_are_heard_on(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    devices = open_devices()
    assert await devices.wait_for_event(AT_ONCE) is None
    machine.write(machine.read().replace(f"gpu uuid={WHOLE}", f"gpu lost=1 uuid={WHOLE}"))
    assert await devices.wait_for_event(SOON) == DeviceEvent(DeviceEventKind.LOST)
    assert await devices.wait_for_event(AT_ONCE) is None
    machine.append("event gpu=1 type=xid data=31")
    assert await devices.wait_for_event(SOON) == DeviceEvent(DeviceEventKind.XID, CUT, 31)


async def test_cards_that_report_nothing_are_no_error(machine: FakeMachine, open_devices: OpenDevices) -> None:
    machine.write("gpu events=0")
    assert await open_devices().wait_for_event(AT_ONCE) is None


async def test_a_wait_for_reports_does_not_hold_up_the_questions(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    devices = open_devices()
    assert await devices.wait_for_event(AT_ONCE) is None
    waiting = asyncio.create_task(devices.wait_for_event(SOON))
    assert len((await devices.read_inventory()).devices) == 2
    assert not waiting.done()
    machine.append("event gpu=0 type=xid data=48")
    assert await waiting == DeviceEvent(DeviceEventKind.XID, WHOLE, 48)


async def test_a_wait_ends_with_the_adapter(open_devices: OpenDevices) -> None:
    devices = open_devices()
    waiting = asyncio.create_task(devices.wait_for_event(SOON))
    await devices.read_inventory()
    await devices.close()
    with pytest.raises(BackendError):
        await waiting


async def test_a_wait_ends_without_a_report_when_mig_is_changed(open_devices: OpenDevices) -> None:
    devices = open_devices()
    assert await devices.wait_for_event(AT_ONCE) is None
    waiting = asyncio.create_task(devices.wait_for_event(timedelta(minutes=1)))
    await devices.read_inventory()
    await devices.create_instance(CUT, "1g.5gb", 2)
    assert await waiting is None
