"""Foreign containers are counted however their devices were attached; what is unknown is never none."""

import asyncio
from dataclasses import replace

import pytest

from ds01.domain.containers.container import ContainerState
from ds01.domain.devices.attachment import AttachmentFacts, DeviceRequest
from ds01.errors import BackendError
from ds01.service.observation import KnownRows, Observer
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import BOB_CALLER, Stage, run_to_failure, until

EVERYTHING = {"GPU-0", "GPU-1", "MIG-1-0", "MIG-1-1", "MIG-1-2"}
RUNNING = ContainerState.RUNNING


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.add_image()
    return stage


async def held_by_foreigners(stage: Stage) -> set[str]:
    observation = await Observer(stage.engine, stage.devices).observe(KnownRows())
    return {uuid for container in observation.foreign for uuid in container.gpu_uuids}


@pytest.mark.parametrize(
    ("facts", "held"),
    [
        (AttachmentFacts(requests=(DeviceRequest("", 0, ("GPU-0",), ("gpu",)),)), {"GPU-0"}),
        (AttachmentFacts(requests=(DeviceRequest("", 0, ("0",), ("gpu",)),)), {"GPU-0"}),
        (AttachmentFacts(requests=(DeviceRequest("", 0, ("MIG-1-1",), ("gpu",)),)), {"MIG-1-1"}),
        (AttachmentFacts(requests=(DeviceRequest("", 1, (), ("gpu",)),)), {"GPU-0"}),
        (AttachmentFacts(requests=(DeviceRequest("", -1, (), ("gpu",)),)), EVERYTHING),
        (AttachmentFacts(requests=(DeviceRequest("cdi", 0, ("nvidia.com/gpu=all",)),)), EVERYTHING),
        (AttachmentFacts(runtime="nvidia", visible_devices="GPU-0"), {"GPU-0"}),
        (AttachmentFacts(runtime="nvidia", visible_devices="all"), EVERYTHING),
        (AttachmentFacts(runtime="nvidia", visible_devices="void"), set()),
        (AttachmentFacts(runtime="runc", visible_devices="all"), set()),
        (AttachmentFacts(device_paths=("/dev/nvidia0",)), {"GPU-0"}),
        (AttachmentFacts(), set()),
    ],
)
async def test_every_way_of_attaching_counts(stage: Stage, facts: AttachmentFacts, held: set[str]) -> None:
    stage.engine.add_container(docker_made("stranger", state=RUNNING, facts=facts))
    assert await held_by_foreigners(stage) == held


@pytest.mark.parametrize("state", list(ContainerState))
async def test_only_what_may_run_uses_a_device(stage: Stage, state: ContainerState) -> None:
    stage.engine.add_container(docker_made("stranger", state=state))
    assert await held_by_foreigners(stage) == ({"GPU-0"} if state.has_processes else set())


async def test_what_another_daemon_of_ours_has_just_made_counts_before_it_runs(stage: Stage) -> None:
    container = await stage.create(kind="full")
    assert await held_by_foreigners(stage) == {"GPU-0"}
    stage.engine.containers[container].change(labels={})
    assert await held_by_foreigners(stage) == set()


async def test_what_cannot_be_read_is_an_error_and_not_nothing(stage: Stage) -> None:
    observer = Observer(stage.engine, stage.devices)
    stage.devices.failure = BackendError("NVML hangs.")
    assert isinstance(await run_to_failure(observer.observe(KnownRows())), BackendError)
    stage.devices.failure = None
    stage.engine.fail_next("list_containers", BackendError("The engine hangs."))
    assert isinstance(await run_to_failure(observer.observe(KnownRows())), BackendError)
    stage.engine.add_container(docker_made("stranger", state=RUNNING))
    stage.engine.fail_next("find_container", BackendError("The engine hangs."))
    assert isinstance(await run_to_failure(observer.observe(KnownRows())), BackendError)


async def test_a_container_is_inspected_once(stage: Stage) -> None:
    observer = Observer(stage.engine, stage.devices)
    stage.engine.add_container(docker_made("stranger", state=RUNNING))
    for _ in range(3):
        await observer.observe(KnownRows())
    assert stage.engine.calls["find_container"] == 1


async def test_a_container_that_is_gone_when_it_is_inspected_holds_nothing(stage: Stage) -> None:
    details = docker_made("stranger", state=RUNNING)
    listed = stage.engine.add_container(details)
    gate = stage.engine.hold("find_container")
    observer = Observer(stage.engine, stage.devices)
    looking = asyncio.ensure_future(observer.observe(KnownRows()))
    for _ in range(20):
        await asyncio.sleep(0)
    del stage.engine.containers[listed.details.id]
    gate.set()
    assert (await looking).foreign == ()


async def test_a_device_of_a_foreign_container_is_not_granted_and_its_holder_is_named(stage: Stage) -> None:
    stage.engine.add_container(docker_made("stranger", state=RUNNING))
    failure = await run_to_failure(stage.create(kind="full", caller=BOB_CALLER))
    assert failure is not None
    assert "stranger (foreign)" in str(failure)


async def test_a_card_used_whole_by_a_foreigner_blocks_its_instances(stage: Stage) -> None:
    facts = AttachmentFacts(requests=(DeviceRequest("", 0, ("GPU-1",), ("gpu",)),))
    stage.engine.add_container(docker_made("stranger", state=RUNNING, facts=facts))
    failure = await run_to_failure(stage.create(kind="1g.5gb"))
    assert failure is not None
    assert "stranger" in str(failure)


async def test_a_container_sees_neither_itself_nor_the_younger_that_wait(stage: Stage) -> None:
    container = await stage.create(kind="full")
    own = stage.engine.containers[container].details
    waiting = replace(docker_made("waiting", state=ContainerState.CREATED), labels=own.labels)
    stage.engine.add_container(replace(waiting, created_at=own.created_at, id="0" * 64))
    observation = await Observer(stage.engine, stage.devices).observe(KnownRows())
    assert {found.name for found in observation.foreign} == {"demo._.1001", "waiting"}
    # of the same age: the id decides, the same way for both
    assert {found.name for found in observation.for_start_of(container).foreign} == {"waiting"}
    assert {found.name for found in observation.for_start_of("0" * 64).foreign} == set()
    assert observation.for_start_of("unknown") == observation


async def test_a_copy_under_the_name_of_a_container_of_ours_is_foreign(stage: Stage) -> None:
    """Its labels were copied by `docker commit`; the row belongs to the container that was there before."""
    container = await stage.create(kind="full")
    own = stage.engine.containers.pop(container).details
    copied = replace(docker_made(own.name, state=RUNNING, uuid="MIG-1-0"), labels=own.labels)
    stage.engine.add_container(copied)
    rows = await stage.store.read(lambda transaction: transaction.list_containers())
    observation = await Observer(stage.engine, stage.devices).observe(KnownRows(tuple(rows)))
    assert [found.gpu_uuids for found in observation.foreign] == [{"MIG-1-0"}]


async def test_a_container_that_is_being_made_is_counted_once(stage: Stage) -> None:
    gate = stage.engine.hold("put_files")
    creating = asyncio.ensure_future(stage.create(kind="full"))
    await until(lambda: stage.engine.calls["put_files"])
    _, views = await stage.services.usage.devices()
    assert [holder.state for holder in views[0].holders] == ["claimed"]
    gate.set()
    await creating
