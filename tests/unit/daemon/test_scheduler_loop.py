"""The loops that serve the queue and do what falls due: woken by what happens, and by the clock; never by a tick."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.daemon.deadline_loop import DeadlineLoop
from ds01.daemon.loops import ReconcileLoop
from ds01.daemon.scheduler_loop import SchedulerLoop
from ds01.errors import BackendError
from tests.unit.daemon.test_loops import running
from tests.unit.service.queueing import HOURS, LIMITS, QueueStage
from tests.unit.service.stage import BOB_CALLER, order, until

SOON = timedelta(milliseconds=2)


@pytest.fixture
async def stage() -> QueueStage:
    """One GPU, and bob has it."""
    stage = QueueStage.with_gpus(1)
    await stage.create("first", caller=BOB_CALLER)
    await stage.start("first", caller=BOB_CALLER)
    return stage


def scheduler(stage: QueueStage) -> SchedulerLoop:
    services = stage.services
    return SchedulerLoop(services.scheduling, services.starter, services.bell, stage.clock, longest_sleep=SOON)


async def some_time() -> None:
    """Several of the loop's longest sleeps."""
    for _ in range(5):
        await asyncio.wait({asyncio.create_task(asyncio.sleep(SOON.total_seconds()))})


async def test_a_release_starts_the_next_without_a_tick(stage: QueueStage) -> None:
    loop = scheduler(stage)
    async with running(loop.run):
        await stage.enqueue()
        await until(lambda: loop.passes >= 2)
        await some_time()
        passes = loop.passes
        await some_time()
        assert loop.passes == passes, "without a reason it waits"
        await stage.stop("first", caller=BOB_CALLER)
        await until(lambda: stage.names() == ["first", "waiting"])
        await stage.services.starter.wait()
    assert await stage.held() == {"GPU-0": "waiting"}


async def test_a_moment_that_comes_wakes_it_even_when_the_clock_was_set(stage: QueueStage) -> None:
    loop = scheduler(stage)
    await stage.stop("first", caller=BOB_CALLER)
    async with running(loop.run):
        wanted = replace(order("later"), not_before=stage.clock.now() + 8 * HOURS)
        await stage.services.queue.enqueue_creation(BOB_CALLER, wanted)
        await some_time()
        assert await stage.entries() == {"later": "waiting"}
        assert loop.is_needed
        stage.clock.advance(-3 * HOURS)
        await some_time()
        assert await stage.entries() == {"later": "waiting"}
        stage.clock.advance(11 * HOURS)
        await some_time()
        await stage.services.starter.wait()
        assert await stage.entries() == {"later": "done"}


async def test_an_engine_that_does_not_answer_does_not_end_the_loop(stage: QueueStage) -> None:
    loop = scheduler(stage)
    await stage.enqueue()
    stage.engine.unreachable = BackendError("The engine is down.")
    async with running(loop.run) as task:
        await some_time()
        assert not task.done()
        stage.engine.unreachable = None
        await stage.stop("first", caller=BOB_CALLER)
        await until(lambda: stage.names() == ["first", "waiting"])
        await stage.services.starter.wait()


async def test_what_a_dead_daemon_left_is_taken_up_first(stage: QueueStage) -> None:
    await stage.enqueue()
    await stage.stop("first", caller=BOB_CALLER)
    await stage.services.scheduling.run_pass()
    assert await stage.entries() == {"waiting": "granted"}
    stage.boot()
    loop = scheduler(stage)
    async with running(loop.run):
        await until(lambda: stage.names() == ["first", "waiting"])
        await stage.services.starter.wait()
    assert await stage.entries() == {"waiting": "done"}


async def test_a_time_limit_is_kept_by_the_loop_and_the_next_starts(stage: QueueStage) -> None:
    limited = QueueStage.with_gpus(1, replace(LIMITS, time_limit=HOURS))
    await limited.create("first")
    await limited.start("first")
    await limited.enqueue()
    services = limited.services
    reconcile = ReconcileLoop(services.reconciler, services.bell)
    deadlines = DeadlineLoop(
        services.deadlines, services.bell, limited.clock, wake_reconcile=reconcile.wake, longest_sleep=SOON
    )
    loop = scheduler(limited)
    async with running(loop.run), running(deadlines.run), running(reconcile.run):
        await some_time()
        assert deadlines.next_at is not None
        limited.clock.advance(HOURS)
        await some_time()
        await until(lambda: limited.names() == ["first", "waiting"])
        await services.starter.wait()
    assert await limited.held() == {"GPU-0": "waiting"}
