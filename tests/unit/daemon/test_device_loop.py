"""The loop that follows the devices."""

from datetime import timedelta
from pathlib import Path

import pytest

from ds01.daemon.boot import read_boot
from ds01.daemon.device_loop import DeviceLoop
from ds01.domain.devices.gpu_event import DeviceEvent, DeviceEventKind
from ds01.errors import BackendError
from tests.unit.daemon.test_loops import PatientClock, running
from tests.unit.service.repairs import stage_with
from tests.unit.service.stage import Stage, until


@pytest.fixture
def stage() -> Stage:
    return stage_with()


def loop_on(stage: Stage, woken: list[str], *, period_s: float = 3600.0) -> DeviceLoop:
    return DeviceLoop(
        stage.devices,
        stage.services.upkeep,
        stage.clock,
        lambda: woken.append("reconcile"),
        period=timedelta(seconds=period_s),
    )


async def events_of(stage: Stage) -> list[str]:
    return await stage.events()


async def test_a_report_is_looked_at_without_waiting_for_the_period(stage: Stage) -> None:
    woken: list[str] = []
    ticket = stage.services.bell.ticket()
    async with running(loop_on(stage, woken).run):
        stage.devices.report(DeviceEvent(DeviceEventKind.XID, "GPU-0", 13))
        stage.devices.report(DeviceEvent(DeviceEventKind.XID, "GPU-0", 79))
        await until(lambda: woken)
    assert await events_of(stage) == ["gpu.unhealthy"]
    assert ticket.is_set()


async def test_a_change_that_nobody_reported_is_found_after_the_period(stage: Stage) -> None:
    woken: list[str] = []
    async with running(loop_on(stage, woken, period_s=0.01).run):
        await until(lambda: stage.trap.steps.count("devices inventory") > 1)
        stage.devices.unplug("GPU-0")
        await until(lambda: woken)
    assert await events_of(stage) == ["gpu.lost"]


async def test_devices_that_are_unknown_are_asked_again(stage: Stage) -> None:
    clock = PatientClock()
    stage.clock = clock
    stage.boot()
    stage.devices.failure = BackendError("The GPUs are unknown.")
    woken: list[str] = []
    async with running(loop_on(stage, woken).run):
        await until(lambda: clock.slept == 1)
        stage.devices.failure = None
        clock.turns.release()
        stage.devices.report(DeviceEvent(DeviceEventKind.XID, "GPU-0", 79))
        await until(lambda: woken)
    assert await events_of(stage) == ["gpu.unhealthy"]


async def test_a_flood_of_reports_does_not_keep_it_from_looking(stage: Stage) -> None:
    for _ in range(1000):
        stage.devices.report(DeviceEvent(DeviceEventKind.XID, "GPU-0", 79))
    woken: list[str] = []
    async with running(loop_on(stage, woken).run):
        await until(lambda: woken)


def test_this_boot_has_a_name() -> None:
    assert len(read_boot()) == 36


def test_a_kernel_that_does_not_say_leaves_it_unknown(tmp_path: Path) -> None:
    assert read_boot(tmp_path / "missing") == ""
