"""The daemon dies, is cancelled or loses a call at any step of what the queue does: nothing is lost or doubled."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain.allocation import CLAIM_DEADLINE
from ds01.domain.request import GpuRequest
from ds01.service.reservations import ReservationOrder
from tests.unit.service.queueing import HOURS, QueueStage
from tests.unit.service.stage import (
    ALICE_CALLER,
    BOB_CALLER,
    ProcessDeathError,
    fail_once,
    only_own_errors,
    order,
    run_to_failure,
    until,
)

Act = Callable[[QueueStage], Awaitable[object]]


async def new_stage() -> QueueStage:
    stage = QueueStage.with_gpus(1)
    await prepare(stage)
    return stage


async def prepare(stage: QueueStage) -> None:
    """One GPU that bob has, and a stopped container of alice's that was made on it."""
    await stage.create("stopped")
    await stage.start("stopped")
    await stage.stop("stopped")
    await stage.create("first", caller=BOB_CALLER)
    await stage.start("first", caller=BOB_CALLER)


async def live(stage: QueueStage) -> None:
    """A container is made, runs, is held, runs again and goes: claim, activate, hold, release."""
    await stage.stop("first", caller=BOB_CALLER)
    base = replace(stage.policy.base, gpu_hold_after_stop=timedelta(minutes=15))
    stage.policy = replace(stage.policy, base=base)
    await stage.create("life")
    await stage.start("life")
    await stage.stop("life")
    await stage.start("life")
    await stage.stop("life")
    await stage.services.removal.release(ALICE_CALLER, 1001, "life")
    await stage.start("life")
    await stage.remove("life", force=True)


async def wait_and_grant(stage: QueueStage) -> None:
    """A creation waits and is carried out."""
    await stage.enqueue()
    await stage.stop("first", caller=BOB_CALLER)
    await stage.serve()


async def wait_and_start(stage: QueueStage) -> None:
    """A start waits and is carried out."""
    await stage.services.queue.enqueue_start(ALICE_CALLER, 1001, "stopped")
    await stage.stop("first", caller=BOB_CALLER)
    await stage.serve()


async def wait_and_cancel(stage: QueueStage) -> None:
    """A request is cancelled while it waits."""
    entry = await stage.enqueue()
    await stage.services.queue.cancel(ALICE_CALLER, entry.id)
    await stage.stop("first", caller=BOB_CALLER)
    await stage.serve()


async def reserve_and_use(stage: QueueStage) -> None:
    """A reservation is made, begins, is used, and ends."""
    await stage.stop("first", caller=BOB_CALLER)
    now = stage.clock.now()
    window = ReservationOrder(GpuRequest(1, "full"), now + HOURS, now + 3 * HOURS, name="demo")
    await stage.services.reservations.create(ALICE_CALLER, window)
    stage.clock.advance(HOURS)
    await stage.services.deadlines.run()
    wanted = replace(order("inside"), reservation="demo")
    await stage.services.creation.create(ALICE_CALLER, wanted, stage.notify)
    stage.clock.advance(2 * HOURS)
    await stage.services.deadlines.run()
    await stage.services.deadlines.wait()


async def overrun(stage: QueueStage) -> None:
    """A time limit ends, and the next gets the GPU."""
    await stage.stop("first", caller=BOB_CALLER)
    wanted = replace(order("timed"), time_limit=HOURS)
    await stage.services.creation.create(BOB_CALLER, wanted, stage.notify)
    await stage.start("timed", caller=BOB_CALLER)
    await stage.enqueue()
    stage.clock.advance(HOURS)
    await stage.services.deadlines.run()
    await stage.services.deadlines.wait()
    await stage.serve()


ACTS: list[Act] = [live, wait_and_grant, wait_and_start, wait_and_cancel, reserve_and_use, overrun]


async def count_steps(act: Act) -> list[str]:
    stage = await new_stage()
    stage.trap.arm(0, None)
    await act(stage)
    return list(stage.trap.steps)


async def recover(stage: QueueStage) -> None:
    """The next daemon: its loops run until nothing is left to do, and every deadline passes."""
    stage.trap.revive()
    await stage.store.settle()
    stage.boot()
    for _ in range(3):
        await stage.services.starter.recover()
        await stage.reconcile()
        await stage.services.deadlines.run()
        await stage.services.deadlines.wait()
        await stage.serve()
        stage.clock.advance(CLAIM_DEADLINE + timedelta(seconds=1))
    await stage.reconcile()


async def require_nothing_lost_or_doubled(stage: QueueStage, where: str) -> None:
    await stage.require_sound_books()
    entries = await stage.entries()
    grants = await stage.store.read(lambda t: t.list_allocations())
    assert "granted" not in entries.values(), f"a grant hangs {where}"
    for name, state in entries.items():
        holders = [grant for grant in grants if grant.container_name == name]
        if state == "done":
            assert name in stage.names(), f"{name} is done and not there {where}"
        elif state == "waiting":
            assert holders == [], f"{name} waits and holds {where}"
    free = not any(grant.gpu_uuids for grant in grants)
    assert not (free and "waiting" in entries.values()), f"a GPU is free and somebody waits {where}: {entries}"


@pytest.mark.parametrize("act", ACTS)
async def test_wherever_the_process_dies_the_next_one_goes_on(act: Act, capsys: pytest.CaptureFixture[str]) -> None:
    steps = await count_steps(act)
    for number, step in enumerate(steps, start=1):
        stage = await new_stage()
        stage.trap.arm(number, stage.trap.die)
        failure = await run_to_failure(_to_its_end(act, stage))
        assert isinstance(failure, ProcessDeathError) or only_own_errors(failure), repr(failure)
        known_before = set(await stage.entries())
        await recover(stage)
        where = f"after the death at step {number}, {step}, of {act.__name__}"
        assert known_before <= set(await stage.entries()), f"a request is lost {where}"
        await require_nothing_lost_or_doubled(stage, where)
    with capsys.disabled():
        print(f"\npoints of {act.__name__}: {len(steps)}")


@pytest.mark.parametrize("act", ACTS)
async def test_whichever_call_fails_the_queue_goes_on(act: Act) -> None:
    steps = await count_steps(act)
    for number, step in enumerate(steps, start=1):
        stage = await new_stage()
        stage.trap.arm(number, fail_once)
        failure = await run_to_failure(_to_its_end(act, stage))
        assert only_own_errors(failure), (step, failure)
        stage.trap.arm(0, None)
        await recover(stage)
        await require_nothing_lost_or_doubled(stage, f"after the failure of step {number}, {step}, of {act.__name__}")


async def _to_its_end(act: Act, stage: QueueStage) -> None:
    """Also what it began in the background ends, or dies with the process."""
    try:
        await act(stage)
    finally:
        await stage.services.starter.wait()
        await stage.services.deadlines.wait()


async def test_a_daemon_that_ends_while_it_makes_a_container_puts_the_request_back() -> None:
    stage = await new_stage()
    await stage.enqueue()
    await stage.stop("first", caller=BOB_CALLER)
    calls = stage.engine.calls["put_files"]
    gate = stage.engine.hold("put_files")
    serving = asyncio.create_task(stage.serve())
    await until(lambda: stage.engine.calls["put_files"] > calls)
    await stage.services.starter.close()
    gate.set()
    await serving
    assert (await stage.entries())["waiting"] == "waiting"
    before = await stage.entry()
    await recover(stage)
    after = await stage.entry()
    assert after.state.value == "done"
    assert after.waiting.queued_at == before.waiting.queued_at
