"""What the devices over NVML do besides the contract of the port: failures, deadlines, and an end without traces."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ds01.adapters.nvml.devices import NvmlDevices, Patience
from ds01.domain.devices.gpu import GpuProcess, GpuState, Inventory
from ds01.errors import BackendError, BackendTimeoutError
from tests.contract.nvml_double import CUT, WHOLE, FakeMachine, HandClock, OpenDevices, plug

MIB = 1 << 20

SOON = Patience(answer_s=0.4, first_answer_s=10.0, retry_s=2.0, longest_retry_s=6.0)


def children() -> set[int]:
    """Return the processes that this one has started and not reaped."""
    own = os.getpid()
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == own:
            found.add(int(stat.parent.name))
    return found


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


async def test_a_card_that_never_told_its_name_is_still_listed(machine: FakeMachine, open_devices: OpenDevices) -> None:
    machine.append("fail func=nvmlDeviceGetHandleByIndex_v2 gpu=0 ret=15")
    first, second = (await open_devices().read_inventory()).devices
    assert (first.index, first.state) == (0, GpuState.UNHEALTHY)
    assert first.fault == "GPU is lost (nvmlDeviceGetHandleByIndex, NVML error 15)"
    assert second.uuid == CUT


async def test_a_lost_card_is_not_mistaken_for_one_that_moved_to_its_index(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    machine.write("gpu uuid=GPU-a\ngpu uuid=GPU-b")
    devices = open_devices()
    await devices.read_inventory()
    machine.write("gpu uuid=GPU-b\ngpu uuid=GPU-c lost=1")
    first, second = (await devices.read_inventory()).devices
    assert (first.uuid, first.fault) == ("GPU-b", None)
    assert second.uuid != "GPU-b"
    assert second.fault is not None


async def test_a_reading_that_fails_half_way_is_the_fault_of_its_card_only(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    devices = open_devices()
    before = (await devices.read_inventory()).devices
    machine.append("fail func=nvmlDeviceGetAttributes_v2 gpu=1 ret=999")
    whole, cut = (await devices.read_inventory()).devices
    assert whole == before[0]
    assert cut == replace(before[1], fault="Unknown Error (nvmlDeviceGetAttributes, NVML error 999)")


async def test_a_driver_that_tells_no_slices_leaves_them_unknown(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    machine.append("fail func=nvmlDeviceGetGpuInstanceProfileInfoV ret=3")
    _, cut = (await open_devices().read_inventory()).devices
    assert (cut.slices_total, cut.fault, len(cut.instances)) == (0, None, 3)


async def test_an_older_driver_tells_slices_by_the_older_call(machine: FakeMachine, open_devices: OpenDevices) -> None:
    machine.append("fail func=nvmlDeviceGetGpuInstanceProfileInfoV ret=13")
    _, cut = (await open_devices().read_inventory()).devices
    assert cut.slices_total == 7


async def test_figures_are_in_the_units_of_their_names(machine: FakeMachine, open_devices: OpenDevices) -> None:
    machine.write("gpu uuid=GPU-a mem=1000 used=250 util=87 power=300 temp=61 energy=5000000")
    sample = (await open_devices().read_samples())["GPU-a"]
    assert sample.utilization_ratio == pytest.approx(0.87)
    assert sample.memory_used_bytes == 250 * MIB
    assert sample.power_w == pytest.approx(300.0)
    assert sample.temperature_c == 61
    assert sample.energy_j is not None
    assert 5000 <= sample.energy_j < 5000 + 300 * 60


async def test_one_figure_that_fails_does_not_take_the_others_along(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    machine.append("fail func=nvmlDeviceGetTemperature gpu=0 ret=999")
    sample = (await open_devices().read_samples())[WHOLE]
    assert sample.temperature_c is None
    assert sample.power_w == pytest.approx(36.0)


async def test_unreadable_processes_of_a_present_card_are_an_error_for_this_reading_only(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    machine.append("fail func=nvmlDeviceGetComputeRunningProcesses_v3 gpu=0 ret=999")
    devices = open_devices()
    with pytest.raises(BackendError, match="processes on the GPUs are unknown"):
        await devices.read_processes()
    assert len((await devices.read_inventory()).devices) == 2


async def test_graphics_processes_and_those_of_vanished_instances_count_too(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    machine.append("proc gpu=0 pid=4001 mem=5 type=G")
    machine.append("proc gpu=1 gi=5 ci=0 pid=4002 mem=7")
    assert sorted(await open_devices().read_processes(), key=lambda process: process.pid) == [
        GpuProcess(pid=4001, gpu_uuid=WHOLE, memory_bytes=5 * MIB, is_compute=False, utilization_ratio=0.0),
        GpuProcess(pid=4002, gpu_uuid=CUT, memory_bytes=7 * MIB),
    ]


async def test_how_busy_a_process_keeps_a_whole_card_is_said_and_of_an_instance_it_is_not_known(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    machine.append("proc gpu=0 pid=4001 mem=5 sm=37")
    machine.append("proc gpu=1 gi=5 ci=0 pid=4002 mem=7 sm=50")
    busy = {process.pid: process.utilization_ratio for process in await open_devices().read_processes()}
    assert busy == {4001: 0.37, 4002: None}


@pytest.mark.parametrize(("code", "ratio"), [(3, None), (4, None), (6, 0.0), (999, None)])
async def test_a_driver_that_does_not_say_it_by_process_is_not_a_process_that_rests(
    code: int, ratio: float | None, machine: FakeMachine, open_devices: OpenDevices
) -> None:
    machine.append("proc gpu=0 pid=4001 mem=5 sm=37")
    machine.append(f"fail func=nvmlDeviceGetProcessUtilization gpu=0 ret={code}")
    [process] = await open_devices().read_processes()
    assert (process.memory_bytes, process.utilization_ratio) == (5 * MIB, ratio)


async def test_a_call_that_hangs_ends_at_its_deadline_and_a_new_child_recovers(
    machine: FakeMachine, open_devices: OpenDevices, clock: HandClock
) -> None:
    devices = open_devices(SOON)
    healthy = await devices.read_inventory()
    first_child = children()
    good = machine.read()
    machine.append("delay func=nvmlDeviceGetCount_v2 ms=60000")
    before = time.monotonic()
    with pytest.raises(BackendTimeoutError, match=r"did not answer within 0\.4 s"):
        await devices.read_inventory()
    assert time.monotonic() - before < 30
    assert not first_child & children()

    machine.write(good)
    with pytest.raises(BackendTimeoutError, match=r"did not answer.*Next try in 2 s"):
        await devices.read_inventory()
    clock.now_s += 2.0
    assert await devices.read_inventory() == healthy


@pytest.fixture
def freezer() -> Iterator[Path]:
    """A cgroup whose processes can be frozen so that not even SIGKILL ends them, as in a driver that hangs."""
    folder = Path(f"/sys/fs/cgroup/freezer/ds01-test-{os.getpid()}")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("needs root and the freezer of cgroup v1; that of v2 lets SIGKILL through")
    yield folder
    (folder / "freezer.state").write_text("THAWED")
    while (folder / "cgroup.procs").read_text():
        time.sleep(0.01)
    folder.rmdir()


async def test_a_child_that_cannot_be_killed_is_left_behind_and_reaped_later(
    open_devices: OpenDevices, clock: HandClock, freezer: Path
) -> None:
    earlier = children()
    devices = open_devices(SOON)
    healthy = await devices.read_inventory()
    (stuck,) = children() - earlier
    (freezer / "cgroup.procs").write_text(str(stuck))
    (freezer / "freezer.state").write_text("FROZEN")
    with pytest.raises(BackendTimeoutError):
        await devices.read_inventory()
    assert stuck in children()
    clock.now_s += SOON.retry_s
    assert await devices.read_inventory() == healthy

    (freezer / "freezer.state").write_text("THAWED")
    await asyncio.to_thread(os.waitid, os.P_PID, stuck, os.WEXITED | os.WNOWAIT)
    await devices.release()
    assert stuck not in children()


async def test_tries_become_rarer_while_failures_go_on(
    machine: FakeMachine, open_devices: OpenDevices, clock: HandClock
) -> None:
    good = machine.read()
    machine.write("system init=18")
    devices = open_devices(SOON)
    for wait_s in (2.0, 4.0, 6.0, 6.0):
        with pytest.raises(BackendError, match=r"version mismatch \(nvmlInit, NVML error 18\)\.$") as failure:
            await devices.read_inventory()
        assert failure.value.hint is not None
        assert "reboot" in failure.value.hint
        clock.now_s += wait_s - 0.5
        with pytest.raises(BackendError, match="Next try"):
            await devices.read_inventory()
        clock.now_s += 0.5
    machine.write(good)
    assert len((await devices.read_inventory()).devices) == 2


async def test_no_library_and_no_card_on_the_bus_is_a_known_empty_inventory(
    open_devices: OpenDevices, tmp_path: Path
) -> None:
    devices = open_devices(LD_LIBRARY_PATH=str(tmp_path))
    assert await devices.read_inventory() == Inventory()
    assert await devices.read_samples() == {}
    assert await devices.read_processes() == []


@pytest.mark.parametrize("device_class", ["0x030000", "0x030200"])
async def test_no_library_with_a_card_on_the_bus_is_unknown(
    open_devices: OpenDevices, tmp_path: Path, pci: Path, device_class: str
) -> None:
    plug(pci, "0000:3b:00.0", vendor="0x10de", device_class=device_class)
    devices = open_devices(LD_LIBRARY_PATH=str(tmp_path))
    with pytest.raises(BackendError, match="NVML Shared Library Not Found") as failure:
        await devices.read_inventory()
    assert "libnvidia-ml" in str(failure.value.hint)


@pytest.mark.parametrize(("vendor", "device_class"), [("0x10de", "0x040300"), ("0x1002", "0x030000")])
async def test_the_sound_of_a_card_and_the_cards_of_others_are_no_nvidia_gpu(
    open_devices: OpenDevices, tmp_path: Path, pci: Path, vendor: str, device_class: str
) -> None:
    plug(pci, "0000:3b:00.1", vendor=vendor, device_class=device_class)
    assert await open_devices(LD_LIBRARY_PATH=str(tmp_path)).read_inventory() == Inventory()


async def test_an_unreadable_bus_leaves_the_devices_unknown(machine: FakeMachine, tmp_path: Path) -> None:
    environment = {**machine.environment(), "LD_LIBRARY_PATH": str(tmp_path)}
    devices = NvmlDevices(environment=environment, pci_devices=tmp_path / "nowhere" / "bus" / "pci" / "devices")
    try:
        with pytest.raises(BackendError, match="PCI bus cannot be read"):
            await devices.read_inventory()
    finally:
        await devices.close()


async def test_a_machine_without_a_pci_bus_has_no_gpus(machine: FakeMachine, tmp_path: Path) -> None:
    bus = tmp_path / "sysfs" / "bus"
    bus.mkdir(parents=True)
    environment = {**machine.environment(), "LD_LIBRARY_PATH": str(tmp_path)}
    devices = NvmlDevices(environment=environment, pci_devices=bus / "pci" / "devices")
    try:
        assert await devices.read_inventory() == Inventory()
    finally:
        await devices.close()


async def test_a_child_killed_from_outside_is_an_error_once_and_then_replaced(
    open_devices: OpenDevices, clock: HandClock
) -> None:
    earlier = children()
    devices = open_devices(SOON)
    healthy = await devices.read_inventory()
    (child,) = children() - earlier
    os.kill(child, signal.SIGKILL)
    with pytest.raises(BackendError, match="process that reads the GPUs failed"):
        await devices.read_inventory()
    assert children() == earlier
    clock.now_s += SOON.retry_s
    assert await devices.read_inventory() == healthy


async def test_questions_at_the_same_time_are_all_answered(open_devices: OpenDevices) -> None:
    devices = open_devices()
    earlier = children()
    inventories = await asyncio.gather(*(devices.read_inventory() for _ in range(8)))
    assert len(children() - earlier) == 1
    assert all(inventory == inventories[0] for inventory in inventories)


async def test_a_question_nobody_waits_for_any_more_does_not_disturb_the_next(
    machine: FakeMachine, open_devices: OpenDevices
) -> None:
    devices = open_devices()
    await devices.read_inventory()
    machine.append("delay func=nvmlDeviceGetCount_v2 ms=300")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await devices.read_samples()
    assert [card.uuid for card in (await devices.read_inventory()).devices] == [WHOLE, CUT]


async def test_close_leaves_no_process_and_no_descriptor(machine: FakeMachine, pci: Path) -> None:
    earlier, open_before = children(), descriptors()
    devices = NvmlDevices(environment=machine.environment(), pci_devices=pci)
    await devices.read_inventory()
    assert len(children() - earlier) == 1
    await devices.close()
    assert children() == earlier
    assert descriptors() == open_before
    await devices.close()
    with pytest.raises(BackendError, match="closing"):
        await devices.read_inventory()
    assert children() == earlier


async def test_close_does_not_wait_for_a_call_that_hangs(machine: FakeMachine, pci: Path) -> None:
    earlier, open_before = children(), descriptors()
    devices = NvmlDevices(environment=machine.environment(), pci_devices=pci)
    await devices.read_inventory()
    machine.append("delay func=nvmlDeviceGetCount_v2 ms=60000")
    question = asyncio.create_task(devices.read_inventory())
    await asyncio.sleep(0.1)
    before = time.monotonic()
    await devices.close()
    assert time.monotonic() - before < 30
    with pytest.raises(BackendError):
        await question
    assert children() == earlier
    assert descriptors() == open_before


async def test_release_gives_the_devices_free_until_the_next_reading(open_devices: OpenDevices) -> None:
    earlier = children()
    devices = open_devices()
    healthy = await devices.read_inventory()
    await devices.release()
    assert children() == earlier
    assert await devices.read_inventory() == healthy


async def test_nothing_is_started_before_the_first_question(open_devices: OpenDevices) -> None:
    earlier = children()
    open_devices()
    assert children() == earlier


DAEMON = """
import asyncio, os
from ds01.adapters.nvml.devices import NvmlDevices

async def main():
    await NvmlDevices().read_inventory()
    print(open(f"/proc/self/task/{os.getpid()}/children").read(), flush=True)
    os._exit(1)

asyncio.run(main())
"""


def test_the_child_of_a_daemon_that_dies_ends_by_itself(machine: FakeMachine) -> None:
    died = subprocess.run(
        [sys.executable, "-c", DAEMON], env=machine.environment(), capture_output=True, text=True, check=False
    )
    child = int(died.stdout)
    deadline = time.monotonic() + 30
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Return whether the process lives; one that nobody reaps does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
