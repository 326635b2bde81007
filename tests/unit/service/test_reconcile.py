"""Reconcile: every action, what it must leave alone, and that it ends."""

import asyncio
from datetime import timedelta

import pytest

from ds01.domain.allocation import CLAIM_DEADLINE
from ds01.domain.containers.container import ContainerState
from ds01.domain.containers.plan import HELPER_AGE, ActionKind
from ds01.errors import BackendError, ConflictError
from tests.fake_store import MemoryStore
from tests.unit.service.repairs import die_at, kinds, stage_with
from tests.unit.service.stage import BOB_CALLER, IMAGE, Stage, run_to_failure, until


@pytest.fixture
def stage() -> Stage:
    return stage_with()


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
    await asyncio.wait_for(stage.reconcile(), 30)
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
    await asyncio.wait_for(repairing, 30)
    assert await stage.held() == {"GPU-0": "b"}
    assert await kinds(stage) == [], "its grant is active, and it is about to run"
    second.set()
    await starting
