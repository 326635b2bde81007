"""What falls due: time limits, grants that nobody uses, windows of reservations."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, strategies as st

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.scheduling.deadline import DueKind, plan_deadlines
from ds01.errors import BackendError
from tests.store_values import allocation, at
from tests.unit.service.queueing import LIMITS, QueueStage
from tests.unit.service.stage import BOB_CALLER, order

LIMITED = replace(LIMITS, time_limit=timedelta(hours=2), gpu_hold_after_stop=timedelta(hours=9))


async def run(stage: QueueStage) -> None:
    await stage.services.deadlines.run()
    await stage.services.deadlines.wait()


async def running(stage: QueueStage, name: str = "demo") -> None:
    await stage.create(name)
    await stage.start(name)


async def reasons(stage: QueueStage) -> list[object]:
    found = await stage.store.read(lambda t: t.list_events())
    return [
        event.details.get("reason") for event in found if event.name in {"container.stopped", "allocation.released"}
    ]


async def test_a_container_is_stopped_at_the_end_of_its_time_and_its_gpus_are_free_at_once() -> None:
    stage = QueueStage.with_gpus(1, LIMITED)
    await running(stage)
    stage.clock.advance(timedelta(hours=2) - timedelta(seconds=1))
    await run(stage)
    assert await stage.states() == {"demo": "active"}
    stage.clock.advance(timedelta(seconds=1))
    await run(stage)
    assert await stage.states() == {}
    [details] = [found.details for found in stage.engine.containers.values()]
    assert not details.state.has_processes
    assert await reasons(stage) == ["its time limit is over", "its time limit is over"]


async def test_the_limit_goes_on_through_a_stop_and_ends_the_hold() -> None:
    stage = QueueStage.with_gpus(1, LIMITED)
    await running(stage)
    stage.clock.advance(timedelta(hours=1))
    await stage.stop()
    assert await stage.states() == {"demo": "held"}
    stage.clock.advance(timedelta(hours=1))
    await run(stage)
    assert await stage.states() == {}


async def test_a_new_grant_has_a_new_limit() -> None:
    stage = QueueStage.with_gpus(1, replace(LIMITED, gpu_hold_after_stop=timedelta(0)))
    await running(stage)
    stage.clock.advance(timedelta(hours=1, minutes=59))
    await stage.stop()
    stage.clock.advance(timedelta(hours=1))
    await stage.start()
    await run(stage)
    [grant] = await stage.store.read(lambda t: t.list_allocations())
    assert grant.ends_at == stage.clock.now() + timedelta(hours=2)
    assert await stage.states() == {"demo": "active"}


async def test_in_observe_mode_nothing_is_stopped_and_it_is_said_once() -> None:
    stage = QueueStage.with_gpus(1, LIMITED, mode="observe")
    await running(stage)
    stage.clock.advance(timedelta(hours=3))
    await run(stage)
    await run(stage)
    assert await stage.states() == {"demo": "active"}
    assert (await stage.events()).count("container.overdue") == 1


async def test_nothing_is_promised_on_a_limit_that_nobody_enforces() -> None:
    stage = QueueStage.with_gpus(1, LIMITED, mode="observe")
    await running(stage)
    assert (await stage.enqueue()).waiting.promised_at is not None
    stage.clock.advance(timedelta(hours=3))
    await stage.serve()
    assert (await stage.entry()).waiting.promised_at is None
    assert "promise.broken" in await stage.events()


async def test_a_container_that_cannot_be_stopped_is_tried_again_and_holds_up_no_other() -> None:
    stage = QueueStage.with_gpus(2, LIMITED)
    await running(stage, "a")
    await running(stage, "b")
    stage.clock.advance(timedelta(hours=2))
    stage.engine.fail_next("stop_container", BackendError("The engine is busy."))
    await run(stage)
    assert len(await stage.states()) == 1
    again_at = await stage.services.deadlines.run()
    assert again_at is not None
    stage.clock.advance(again_at - stage.clock.now())
    await run(stage)
    assert await stage.states() == {}


async def test_a_grant_that_came_while_its_owner_was_away_goes_back_if_nobody_uses_it() -> None:
    stage = QueueStage.with_gpus(1, mode="observe")
    await running(stage, "first")
    await stage.enqueue("away")
    await stage.remove("first", force=True)
    await stage.serve()
    stage.clock.advance(timedelta(minutes=29))
    await run(stage)
    assert await stage.states() == {"away": "active"}
    stage.clock.advance(timedelta(minutes=1))
    await run(stage)
    assert await stage.states() == {}
    assert stage.names() == ["away"], "the container stays"
    await stage.start("away")
    assert await stage.states() == {"away": "active"}


async def test_a_grant_that_is_used_stays() -> None:
    stage = QueueStage.with_gpus(1)
    await running(stage, "demo")
    stage.clock.advance(timedelta(hours=1))
    await run(stage)
    calls = stage.engine.calls["find_container"]
    await run(stage)
    assert stage.engine.calls["find_container"] == calls, "what is known to be used is not looked at again"
    assert await stage.states() == {"demo": "active"}


async def test_a_container_that_was_never_started_gives_its_gpus_back() -> None:
    stage = QueueStage.with_gpus(1)
    await stage.create()
    stage.clock.advance(timedelta(minutes=30))
    await run(stage)
    assert await stage.states() == {}
    assert stage.names() == ["demo"]


async def test_who_stops_it_at_the_same_moment_is_not_disturbed() -> None:
    stage = QueueStage.with_gpus(1, LIMITED)
    await running(stage)
    stage.clock.advance(timedelta(hours=2))
    stopping = asyncio.create_task(stage.stop())
    await run(stage)
    await stopping
    await run(stage)
    assert await stage.states() == {}


async def test_a_running_request_with_a_limit_frees_the_machine_for_the_next() -> None:
    stage = QueueStage.with_gpus(1)
    await stage.services.creation.create(BOB_CALLER, replace(order("one"), time_limit=timedelta(hours=1)), stage.notify)
    await stage.start("one", caller=BOB_CALLER)
    entry = await stage.enqueue("two", hours=1)
    assert entry.waiting.promised_at is not None
    stage.clock.advance(timedelta(hours=1))
    await run(stage)
    await stage.serve()
    assert await stage.held() == {"GPU-0": "two"}
    assert stage.clock.now() <= entry.waiting.promised_at


GRANTS = st.builds(
    lambda state, end, deadline, number: replace(
        allocation(f"a{number}", f"GPU-{number}", state=state, deadline=deadline), ends_at=end
    ),
    st.sampled_from([AllocationState.CLAIMED, AllocationState.ACTIVE, AllocationState.HELD]),
    st.none() | st.integers(-5, 5).map(at),
    st.none() | st.integers(-5, 5).map(at),
    st.integers(0, 9),
)


@given(st.lists(GRANTS, max_size=5, unique_by=lambda grant: grant.id), st.booleans(), st.integers(-5, 5))
def test_what_is_due_is_due_once_and_the_next_moment_is_in_the_future(
    grants: list[Allocation], is_enforcing: bool, minute: int
) -> None:
    now = at(minute)
    agenda = plan_deadlines(grants, now, is_enforcing=is_enforcing, unused_after={})
    assert agenda.next_at is None or agenda.next_at > now
    assert len({item.allocation.id for item in agenda.due}) == len(agenda.due)
    for grant in grants:
        is_over = grant.ends_at is not None and grant.ends_at <= now and grant.state is not AllocationState.CLAIMED
        assert is_over == any(item.allocation.id == grant.id for item in agenda.due)
    assert is_enforcing or all(item.kind is not DueKind.STOP for item in agenda.due)
