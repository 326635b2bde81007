"""Reconcile: every action, what it must leave alone, and that it ends."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain import label
from ds01.domain.allocation import CLAIM_DEADLINE
from ds01.domain.container import ContainerState
from ds01.domain.gpu import Inventory
from ds01.domain.plan import HELPER_AGE, ActionKind
from ds01.errors import BackendError, ConflictError, NotFoundError
from tests.fake_store import MemoryStore
from tests.fakes import DEFAULT_LIMITS, whole_gpu
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, IMAGE, Stage, order, run_to_failure, until


def stage_with(hold: timedelta | None = timedelta(0), *, only_uid: int | None = None) -> Stage:
    stage = Stage(replace(DEFAULT_LIMITS, gpu_hold_after_stop=hold), only_uid=only_uid)
    stage.add_image()
    return stage


@pytest.fixture
def stage() -> Stage:
    return stage_with()


async def kinds(stage: Stage) -> list[ActionKind]:
    return [action.kind for action in await stage.services.reconciler.plan()]


async def die_at(stage: Stage, step: str) -> None:
    """Let the process die at a step of a creation, and start the next one."""
    counted = Stage()
    counted.add_image()
    await counted.create()
    stage.trap.arm(counted.trap.steps.index(step) + 1, stage.trap.die)
    await run_to_failure(stage.create())
    stage.trap.revive()
    stage.boot()


async def test_when_everything_agrees_there_is_nothing_to_do(stage: Stage) -> None:
    await stage.create("a")
    await stage.create("b", count=0)
    await stage.start("b")
    assert await kinds(stage) == []


async def test_a_claim_without_a_container_is_released_after_its_deadline(stage: Stage) -> None:
    await die_at(stage, "engine tag_image")
    assert await kinds(stage) == []
    stage.clock.advance(CLAIM_DEADLINE)
    assert await kinds(stage) == [ActionKind.UNDO_CREATION]
    await stage.reconcile()
    assert await stage.held() == {}
    assert await kinds(stage) == []


async def test_a_container_that_was_never_verified_is_removed_with_its_tag(stage: Stage) -> None:
    await die_at(stage, "engine put_files")
    assert await kinds(stage) == [ActionKind.UNDO_CREATION]
    await stage.reconcile()
    assert stage.engine.containers == {}
    assert [image.details.tags for image in stage.engine.images.values()] == [(f"{IMAGE}:latest",)]
    assert await stage.events() == ["allocation.claimed", "allocation.released", "allocation.repaired"]


async def test_an_unfinished_container_that_was_started_is_completed(stage: Stage) -> None:
    await die_at(stage, "engine put_files")
    (container,) = stage.engine.containers
    await stage.engine.start_container(container)
    assert await kinds(stage) == [ActionKind.COMPLETE_CREATION]
    await stage.reconcile()
    assert await stage.states() == {"demo": "active"}
    assert await kinds(stage) == []


async def test_a_container_that_is_gone_from_the_engine_is_forgotten(stage: Stage) -> None:
    container = await stage.create()
    await stage.engine.remove_container(container)
    assert await kinds(stage) == [ActionKind.FORGET]
    await stage.reconcile()
    assert await stage.held() == {}
    assert await stage.store.read(lambda transaction: transaction.list_containers()) == []
    assert [image.details.tags for image in stage.engine.images.values()] == [(f"{IMAGE}:latest",)]
    assert (await stage.events())[-1] == "container.removed"


async def test_a_tag_that_cannot_go_does_not_keep_the_grant_of_a_gone_container(stage: Stage) -> None:
    container = await stage.create()
    await stage.engine.remove_container(container)
    stage.engine.fail_always("remove_image", ConflictError("a container is using it"))
    await stage.reconcile()
    assert await stage.held() == {}


async def test_a_container_that_ended_by_itself_is_settled_with_its_exit_status(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()
    await stage.engine.end_pid1(container, exit_code=137)
    assert await kinds(stage) == [ActionKind.SETTLE_STOPPED]
    await stage.reconcile()
    assert await stage.held() == {}
    events = await stage.store.read(lambda transaction: transaction.list_events())
    stopped = [event for event in events if event.name == "container.stopped"]
    assert [(event.details, event.actor_uid) for event in stopped] == [({"exit_code": 137}, None)]


@pytest.mark.parametrize("state", list(ContainerState))
async def test_a_container_in_every_state_of_the_engine_is_handled(stage: Stage, state: ContainerState) -> None:
    container = await stage.create(kind="full")
    await stage.start()
    stage.engine.containers[container].change(state=state)
    await stage.reconcile()
    await stage.reconcile()
    assert await kinds(stage) == []
    is_over = state in {ContainerState.EXITED, ContainerState.DEAD}
    assert await stage.held() == ({} if is_over else {"GPU-0": "demo"})


async def test_a_hold_ends_at_its_deadline() -> None:
    stage = stage_with(timedelta(minutes=15))
    await stage.create()
    await stage.start()
    await stage.stop()
    stage.clock.advance(timedelta(minutes=15))
    assert await kinds(stage) == [ActionKind.RELEASE_HOLD]
    await stage.reconcile()
    assert await stage.held() == {}
    assert await kinds(stage) == []


async def test_a_start_past_us_takes_its_grant_up_if_its_device_is_free(stage: Stage) -> None:
    container = await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    await stage.engine.start_container(container)
    assert await kinds(stage) == [ActionKind.TAKE_UP]
    await stage.reconcile()
    assert await stage.held() == {"GPU-0": "demo"}
    assert (await stage.events())[-1] == "allocation.repaired"
    assert await kinds(stage) == []


async def steal(stage: Stage) -> str:
    """Let alice's container run, past us, on the device that was granted to bob."""
    container = await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    await stage.create("bobs", caller=BOB_CALLER, kind="full")
    await stage.engine.start_container(container)
    return container


async def test_a_start_past_us_on_somebody_elses_device_is_stopped_by_a_server(stage: Stage) -> None:
    container = await steal(stage)
    await stage.reconcile()
    assert stage.engine.containers[container].details.state == "exited"
    assert await stage.held() == {"GPU-0": "bobs"}
    assert "gpu.unmanaged" in await stage.events()
    assert await kinds(stage) == []


async def test_a_personal_daemon_only_says_so_and_only_once() -> None:
    stage = stage_with(only_uid=1001)
    container = await steal(stage)
    await stage.reconcile()
    await stage.reconcile()
    assert stage.engine.containers[container].details.state == "running"
    assert (await stage.events()).count("gpu.unmanaged") == 1
    await stage.remove("bobs", caller=BOB_CALLER)
    await stage.reconcile()
    assert await stage.held() == {"GPU-0": "demo"}, "free at last: it gets its grant"
    await stage.stop()
    await stage.create("bobs", caller=BOB_CALLER, kind="full")
    await stage.engine.start_container(container)
    await stage.reconcile()
    assert (await stage.events()).count("gpu.unmanaged") == 2, "the next time is said again"


async def test_a_device_on_which_somebody_runs_past_us_is_not_granted() -> None:
    stage = stage_with(only_uid=1001)
    container = await steal(stage)
    await stage.remove("bobs", caller=BOB_CALLER)
    # not yet reconciled: nobody holds GPU-0 in the books
    assert await stage.held() == {}
    failure = await run_to_failure(stage.create("bobs", caller=BOB_CALLER, kind="full"))
    assert failure is not None
    assert "demo._.1001 (foreign)" in str(failure)
    assert stage.engine.containers[container].details.state == "running"


async def test_the_end_of_an_account_does_not_stop_the_repair_of_its_containers(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()
    stage.accounts = type(stage.accounts)([])
    stage.boot()
    await stage.engine.end_pid1(container)
    await stage.reconcile()
    assert await stage.held() == {}


async def test_a_grant_without_a_row_is_released(stage: Stage) -> None:
    await stage.create()
    await MemoryStore.write(stage.store, lambda transaction: transaction.delete_container(1001, "demo"))
    stage.engine.containers.clear()
    assert await kinds(stage) == [ActionKind.RELEASE_ORPHAN]
    await stage.reconcile()
    assert await stage.held() == {}


async def test_a_short_lived_container_that_a_crash_left_is_removed_when_it_is_old(stage: Stage) -> None:
    await die_at(stage, "engine read_file")
    assert await kinds(stage) == []
    stage.clock.advance(HELPER_AGE)
    assert await kinds(stage) == [ActionKind.UNDO_CREATION, ActionKind.REMOVE_HELPER]
    await stage.reconcile()
    assert stage.engine.containers == {}
    assert await kinds(stage) == []


async def test_one_object_that_fails_does_not_stop_the_others(stage: Stage) -> None:
    first = await stage.create("a")
    second = await stage.create("b")
    await stage.engine.remove_container(first)
    await stage.engine.remove_container(second)
    stage.engine.fail_next("remove_image", BackendError("busy"))
    await stage.reconcile()
    assert len(await stage.held()) == 1
    await stage.reconcile()
    assert await stage.held() == {}


async def test_an_engine_that_does_not_answer_changes_nothing(stage: Stage) -> None:
    await stage.create()
    stage.engine.unreachable = BackendError("The engine is down.")
    assert isinstance(await run_to_failure(stage.reconcile()), BackendError)
    assert await stage.states() == {"demo": "active"}


async def test_what_its_owner_works_on_is_left_alone_and_not_waited_for(stage: Stage) -> None:
    await stage.create()
    await stage.start()
    gate = stage.engine.hold("stop_container")
    stopping = asyncio.ensure_future(stage.stop())
    await until(lambda: stage.engine.calls["stop_container"])
    await asyncio.wait_for(stage.reconcile(), 1)
    assert await kinds(stage) == []
    gate.set()
    await stopping
    assert await stage.held() == {}


async def test_what_its_owner_begins_to_work_on_after_the_look_is_not_waited_for(stage: Stage) -> None:
    gone = await stage.create("a", kind="1g.5gb")
    ended = await stage.create("b", kind="full")
    await stage.start("b")
    await stage.engine.end_pid1(ended)
    await stage.engine.remove_container(gone)
    assert await kinds(stage) == [ActionKind.FORGET, ActionKind.SETTLE_STOPPED]
    first, second = stage.engine.hold("remove_image"), stage.engine.hold("start_container")
    repairing = asyncio.ensure_future(stage.reconcile())
    await until(lambda: stage.engine.calls["remove_image"])
    begun = stage.engine.calls["start_container"]
    starting = asyncio.ensure_future(stage.start("b"))
    await until(lambda: stage.engine.calls["start_container"] > begun)
    first.set()
    await asyncio.wait_for(repairing, 1)
    assert await stage.held() == {"GPU-0": "b"}
    assert await kinds(stage) == [], "its grant is active, and it is about to run"
    second.set()
    await starting


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
    await stage.services.containers.release(ALICE_CALLER, 1001, "stopped")
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
