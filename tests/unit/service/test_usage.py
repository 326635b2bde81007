"""What is used now: a figure that cannot be had is None, and never nothing."""

import asyncio
from dataclasses import replace

import pytest

from ds01.domain.containers.container import ContainerState
from ds01.domain.devices.gpu import DeviceSample, GpuProcess, Inventory
from ds01.errors import BackendError, ConflictError
from ds01.service.usage import HeldDevice
from tests.fakes import mig_gpu, whole_gpu
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, Stage, run_to_failure, until


@pytest.fixture
async def stage() -> Stage:
    stage = Stage()
    stage.add_image()
    container = await stage.create(kind="full")
    await stage.start()
    stage.cgroups.containers.update({100: container, 101: container, 200: "f" * 64})
    stage.devices.samples = {"GPU-0": DeviceSample("GPU-0", utilization_ratio=0.5, memory_used_bytes=3000)}
    stage.devices.processes = [
        GpuProcess(100, "GPU-0", 1000),
        GpuProcess(101, "GPU-0", 500),
        GpuProcess(200, "GPU-0", 7),
        GpuProcess(300, "GPU-0", 9),
    ]
    return stage


async def test_device_memory_is_that_of_the_containers_own_processes(stage: Stage) -> None:
    reading = await stage.services.usage.read_container(1001, "demo")
    assert reading.gpu_memory_bytes == 1500
    [held] = reading.devices
    assert getattr(held.gpu, "uuid", held.gpu) == "GPU-0"
    assert held.sample == stage.devices.samples["GPU-0"]


async def test_utilisation_is_that_of_the_containers_own_processes(stage: Stage) -> None:
    def processes(*ratios: float | None) -> list[GpuProcess]:
        pids = (100, 101, 200, 300)
        return [GpuProcess(pid, "GPU-0", 1, True, ratio) for pid, ratio in zip(pids, ratios, strict=True)]

    async def own() -> float | None:
        [held] = (await stage.services.usage.read_container(1001, "demo")).devices
        assert held.own is not None
        return held.own.utilization_ratio

    stage.devices.processes = processes(0.25, 0.5, 0.9, 0.9)
    assert await own() == 0.75
    stage.devices.processes = processes(0.75, 0.5, 0.9, 0.9)
    assert await own() == 1.0, "a device is never busier than it can be"
    stage.devices.processes = processes(0.25, None, 0.9, 0.9)
    assert await own() is None, "what is not known of one is not known of all"
    stage.devices.processes = []
    assert await own() == 0.0


async def test_a_paused_container_has_a_reading(stage: Stage) -> None:
    await stage.services.pausing.pause(ALICE_CALLER, 1001, "demo")
    assert (await stage.services.usage.read_container(1001, "demo")).gpu_memory_bytes == 1500


async def test_a_process_whose_memory_the_driver_does_not_say_makes_the_sum_unknown(stage: Stage) -> None:
    stage.devices.processes.append(GpuProcess(101, "GPU-0", None))
    stage.devices.processes.append(GpuProcess(100, "GPU-0", 5))
    assert (await stage.services.usage.read_container(1001, "demo")).gpu_memory_bytes is None


async def test_no_process_is_a_known_zero_and_no_device_is_no_figure(stage: Stage) -> None:
    stage.devices.processes = []
    assert (await stage.services.usage.read_container(1001, "demo")).gpu_memory_bytes == 0
    await stage.create("cpu", count=0)
    await stage.start("cpu")
    reading = await stage.services.usage.read_container(1001, "cpu")
    assert (reading.devices, reading.gpu_memory_bytes) == ((), None)


async def test_an_instance_has_no_utilisation(stage: Stage) -> None:
    await stage.create("mig", kind="1g.5gb")
    await stage.start("mig")
    stage.devices.samples["MIG-1-1"] = DeviceSample("MIG-1-1", utilization_ratio=None, memory_used_bytes=12)
    reading = await stage.services.usage.read_container(1001, "mig")
    [held] = reading.devices
    assert held.sample is not None
    assert (held.sample.utilization_ratio, held.sample.memory_used_bytes) == (None, 12)


async def test_unknown_devices_are_named_by_their_uuid_and_not_left_out(stage: Stage) -> None:
    stage.devices.failure = BackendError("NVML hangs.")
    reading = await stage.services.usage.read_container(1001, "demo")
    assert (reading.devices, reading.gpu_memory_bytes) == ((HeldDevice("GPU-0", None, None),), None)
    assert reading.stats.memory_used_bytes > 0


async def test_readings_of_everybody_or_of_one_user(stage: Stage) -> None:
    await stage.create("bobs", caller=BOB_CALLER, count=0)
    await stage.start("bobs", caller=BOB_CALLER)
    everybody = await stage.services.usage.read_running(None)
    assert {reading.details.name for reading in everybody} == {"demo._.1001", "bobs._.1002"}
    assert [reading.details.name for reading in await stage.services.usage.read_running(1002)] == ["bobs._.1002"]


async def test_a_container_that_ends_while_it_is_read_is_left_out(stage: Stage) -> None:
    container = await stage.create("short", count=0)
    await stage.start("short")
    gate = stage.engine.hold("get_stats")
    reading = asyncio.ensure_future(stage.services.usage.read_running(1001))
    await until(lambda: stage.engine.calls["get_stats"] == 2)
    await stage.engine.end_pid1(container)
    gate.set()
    assert [found.details.name for found in await reading] == ["demo._.1001"]


async def test_a_stopped_container_has_no_reading(stage: Stage) -> None:
    await stage.stop()
    assert isinstance(await run_to_failure(stage.services.usage.read_container(1001, "demo")), ConflictError)
    assert await stage.services.usage.read_running(1001) == []


async def test_an_engine_that_fails_is_an_error_and_not_an_empty_list(stage: Stage) -> None:
    stage.engine.fail_always("get_stats", BackendError("slow"))
    assert isinstance(await run_to_failure(stage.services.usage.read_running(1001)), BackendError)


async def test_every_device_is_shown_with_its_holders(stage: Stage) -> None:
    stage.engine.add_container(docker_made("stranger", state=ContainerState.RUNNING, uuid="MIG-1-0"))
    _, views = await stage.services.usage.devices()
    shown = {view.gpu.uuid: (view.is_free, [holder.container_name for holder in view.holders]) for view in views}
    assert shown == {
        "GPU-0": (False, ["demo"]),
        "MIG-1-0": (False, ["stranger"]),
        "MIG-1-1": (True, []),
        "MIG-1-2": (True, []),
    }


async def test_a_card_that_cannot_be_used_says_why(stage: Stage) -> None:
    await stage.remove(force=True)
    pending = replace(mig_gpu(2, 3), mig_pending=False)
    broken = replace(whole_gpu(3), fault="it fell off the bus")
    stage.devices.inventory = Inventory((mig_gpu(1), pending, broken))
    _, views = await stage.services.usage.devices()
    assert [(view.is_free, view.reason) for view in views] == [
        (False, "MIG is on and there is no instance"),
        (False, "a change of its MIG mode waits for a reset"),
        (False, "it is unhealthy: it fell off the bus"),
    ]


async def test_readings_that_fail_do_not_hide_the_devices(stage: Stage) -> None:
    await stage.services.usage.devices()
    stage.devices.samples = {}
    _, views = await stage.services.usage.devices()
    assert all(view.sample is None for view in views)
    stage.devices.failure = BackendError("NVML hangs.")
    assert isinstance(await run_to_failure(stage.services.usage.devices()), BackendError)
