"""Reconcile after a death of the daemon, and against what others do meanwhile."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain import label
from ds01.domain.allocation import CLAIM_DEADLINE
from ds01.domain.containers.container import ContainerState
from ds01.domain.containers.plan import HELPER_AGE, ActionKind
from ds01.domain.devices.gpu import Inventory
from ds01.errors import BackendError, NotFoundError
from tests.fakes import whole_gpu
from tests.unit.service.docker_made import docker_made
from tests.unit.service.repairs import die_at, kinds, stage_with
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, IMAGE, Stage, order, run_to_failure, until


@pytest.fixture
def stage() -> Stage:
    return stage_with()


async def test_a_plan_that_is_out_of_date_is_not_carried_out(stage: Stage) -> None:
    """Between its look and its deed the owner removes the container and makes another one of the same name."""
    container = await stage.create()
    await stage.engine.remove_container(container)
    gate = stage.engine.hold("find_container")
    repairing = asyncio.ensure_future(stage.reconcile())
    await until(lambda: stage.engine.calls["find_container"])
    made = asyncio.ensure_future(stage.create())
    gate.set()
    await repairing
    failure = await run_to_failure(_wait(made))
    # either the old row was still there, or the new container is whole
    if failure is None:
        assert await stage.states() == {"demo": "active"}
        assert len(stage.engine.containers) == 1
    await stage.require_sound_books()
    await stage.reconcile()
    await stage.require_settled()


async def _wait(task: "asyncio.Future[str]") -> None:
    await task


async def test_a_creation_that_ends_between_look_and_plan_is_not_undone(stage: Stage) -> None:
    """The list of containers is older than the rows: the new container is complete before the plan is carried out."""
    gate = stage.engine.hold("list_containers")
    gate.set()
    container = await stage.create("first")
    for steps in range(1, 60):
        creating = asyncio.ensure_future(stage.create("second", count=0))
        for _ in range(steps):
            await asyncio.sleep(0)
        await stage.reconcile()
        await creating
        await stage.reconcile()
        assert {found.details.name for found in stage.engine.containers.values()} == {"first._.1001", "second._.1001"}
        await stage.remove("second")
    assert container in stage.engine.containers


async def test_a_container_without_a_row_is_adopted_when_its_seal_is_genuine(stage: Stage) -> None:
    container = await stage.create(kind="full")
    await lose_the_store(stage)
    assert await kinds(stage) == [ActionKind.ADOPT]
    await stage.reconcile()
    assert await stage.held() == {"GPU-0": "demo"}
    assert await kinds(stage) == []
    row = (await stage.store.read(lambda transaction: transaction.list_containers()))[0]
    assert (row.engine_id, row.image) == (container, f"{IMAGE}:demo._.1001")
    assert await stage.events() == ["container.adopted"]


async def lose_the_store(stage: Stage) -> None:
    """A lost database: the labels are all there is."""
    stage.store._tables = type(stage.store._tables)()
    stage.boot()


async def test_forged_labels_are_not_adopted_and_not_planned_for_ever(stage: Stage) -> None:
    container = await stage.create(kind="full")
    labels = dict(stage.engine.containers[container].details.labels)
    await lose_the_store(stage)
    stage.engine.containers[container].change(labels={**labels, label.REQUEST: "0"})
    assert await kinds(stage) == []
    stage.engine.containers[container].change(labels=labels, name="demo._.1002")
    assert await kinds(stage) == []


async def test_a_copied_label_makes_no_second_container_of_ours(stage: Stage) -> None:
    """`docker commit` copies labels: a container of the new image has our seal and our nonce."""
    container = await stage.create(kind="full")
    labels = stage.engine.containers[container].details.labels
    copy = replace(docker_made("copy._.1001", state=ContainerState.RUNNING, uuid="MIG-1-0"), labels=labels)
    stage.engine.add_container(copy)
    assert await kinds(stage) == []
    failure = await run_to_failure(stage.create("other", caller=BOB_CALLER, kind="3g.15gb"))
    assert failure is not None
    assert "copy._.1001 (foreign)" in str(failure), "its device is taken although its nonce is that of a row"


async def test_a_personal_daemon_adopts_only_its_own_users_containers() -> None:
    stage = stage_with(only_uid=1001)
    await stage.create("mine", count=0)
    await stage.create("theirs", caller=BOB_CALLER, count=0)
    await lose_the_store(stage)
    await stage.reconcile()
    rows = await stage.store.read(lambda transaction: transaction.list_containers())
    assert [row.name for row in rows] == ["mine"]
    assert await kinds(stage) == []


async def test_of_two_lost_containers_on_one_device_the_running_one_has_it(stage: Stage) -> None:
    stage.policy = replace(stage.policy, base=replace(stage.policy.base, gpu_hold_after_stop=None))
    await stage.create("stopped", kind="full")
    await stage.start("stopped")
    await stage.stop("stopped")
    await stage.services.removal.release(ALICE_CALLER, 1001, "stopped")
    await stage.create("running", kind="full")
    await stage.start("running")
    await lose_the_store(stage)
    await stage.reconcile()
    assert await stage.held() == {"GPU-0": "running"}
    assert await kinds(stage) == []
    failure = await run_to_failure(stage.start("stopped"))
    assert failure is not None
    assert "held by running" in str(failure)


@pytest.mark.parametrize(
    ("hold", "passed", "is_held"),
    [
        (None, timedelta(days=9), True),
        (timedelta(0), timedelta(0), False),
        (timedelta(hours=1), timedelta(minutes=59), True),
        (timedelta(hours=1), timedelta(minutes=61), False),
    ],
)
async def test_an_adopted_stopped_container_is_held_from_its_end_on(
    hold: timedelta | None, passed: timedelta, is_held: bool
) -> None:
    stage = stage_with(hold)
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    await lose_the_store(stage)
    stage.clock.advance(passed)
    await stage.reconcile()
    await stage.reconcile()
    assert bool(await stage.held()) is is_held
    assert await kinds(stage) == []


async def test_a_lost_container_whose_name_was_given_again_is_left_to_its_owner(stage: Stage) -> None:
    container = await stage.create(count=0)
    await lose_the_store(stage)
    lost = stage.engine.containers.pop(container)
    await stage.create(count=0)
    stage.engine.containers[container] = lost
    assert await kinds(stage) == []


async def test_a_lost_container_whose_device_is_gone_is_adopted_all_the_same(stage: Stage) -> None:
    await stage.create(kind="full")
    await lose_the_store(stage)
    stage.devices.inventory = Inventory((whole_gpu(7),))
    await stage.reconcile()
    assert await stage.held() == {"GPU-0": "demo"}
    assert await kinds(stage) == []


async def test_an_old_container_whose_grant_was_released_is_adopted_and_not_removed(stage: Stage) -> None:
    """Its row was forgotten when the engine did not show it for a while; it is no remnant of a creation."""
    container = await stage.create(count=0)
    hidden = stage.engine.containers.pop(container)
    stage.clock.advance(timedelta(hours=1))
    await stage.reconcile()
    stage.engine.containers[container] = hidden
    await stage.reconcile()
    assert container in stage.engine.containers
    assert [row.name for row in await stage.store.read(lambda transaction: transaction.list_containers())] == ["demo"]


async def test_an_unknown_container_of_docker_is_nobodys_business(stage: Stage) -> None:
    stage.engine.add_container(docker_made("stranger", state=ContainerState.RUNNING))
    assert await kinds(stage) == []


async def test_two_unfinished_creations_of_one_dead_process_are_both_undone(stage: Stage) -> None:
    hold = stage.engine.hold("put_files")
    creations = [
        asyncio.ensure_future(run_to_failure(stage.create(name, caller=caller)))
        for name, caller in (("a", ALICE_CALLER), ("b", BOB_CALLER))
    ]
    await until(lambda: stage.engine.calls["put_files"] == 2)
    stage.trap.is_dead = True
    hold.set()
    await asyncio.gather(*creations)
    stage.trap.revive()
    stage.boot()
    assert len(stage.engine.containers) == 2
    stage.clock.advance(CLAIM_DEADLINE + HELPER_AGE)
    await stage.reconcile()
    assert await stage.held() == {}
    assert stage.engine.containers == {}
    await stage.require_settled()


async def test_the_engine_that_vanishes_between_look_and_deed_is_tried_again(stage: Stage) -> None:
    container = await stage.create()
    await stage.engine.remove_container(container)
    stage.engine.fail_next("find_container", BackendError("The engine is down."))
    await stage.reconcile()
    assert len(await stage.held()) == 1, "unknown is not gone"
    await stage.reconcile()
    assert await stage.held() == {}


async def test_a_dead_creation_is_cleared_for_the_next_one_of_its_name_at_once(stage: Stage) -> None:
    await die_at(stage, "engine put_files")
    await stage.services.creation.create(ALICE_CALLER, order(), stage.notify)
    assert len(stage.engine.containers) == 1
    assert await stage.states() == {"demo": "active"}


async def test_an_unfinished_creation_that_runs_is_not_cleared(stage: Stage) -> None:
    await die_at(stage, "engine put_files")
    (container,) = stage.engine.containers
    await stage.engine.start_container(container)
    failure = await run_to_failure(stage.create())
    assert failure is not None
    assert not isinstance(failure, NotFoundError)
    assert container in stage.engine.containers
