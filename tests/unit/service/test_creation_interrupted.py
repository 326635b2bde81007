"""A creation that fails, is broken off or dies at any of its steps, one after the other."""

import asyncio
from datetime import timedelta

import pytest

from ds01.domain.allocation import CLAIM_DEADLINE
from ds01.errors import BackendError
from tests.unit.service.stage import (
    ALICE_CALLER,
    ProcessDeathError,
    Stage,
    Trap,
    fail_once,
    only_own_errors,
    order,
    run_to_failure,
    until,
)


def new_stage() -> Stage:
    stage = Stage()
    stage.add_image()
    return stage


async def count_steps(*, is_answer_trapped: bool = False) -> list[str]:
    stage = new_stage()
    stage.directories.is_answer_trapped = is_answer_trapped
    stage.trap.arm(0, None)
    await stage.create()
    return list(stage.trap.steps)


async def test_whatever_call_fails_everything_is_as_it_was() -> None:
    steps = await count_steps()
    assert len(steps) > 40
    assert {step.split()[0] for step in steps} == {"engine", "store", "devices", "directories"}
    for number, step in enumerate(steps, start=1):
        stage = new_stage()
        before = await stage.picture()
        stage.trap.arm(number, fail_once)
        failure = await run_to_failure(stage.create())
        assert only_own_errors(failure), (step, failure)
        if failure is None:
            assert "remove_container" in step, f"{step} failed, and nobody noticed"  # a helper that is left behind
            continue
        assert await stage.picture() == before, f"after a failure of step {number}, {step}"


async def test_whenever_it_is_cancelled_everything_is_as_it_was() -> None:
    steps = await count_steps(is_answer_trapped=True)
    for number, step in enumerate(steps, start=1):
        stage = new_stage()
        stage.directories.is_answer_trapped = True
        before = await stage.picture()
        task = asyncio.ensure_future(stage.create())
        stage.trap.arm(number, task.cancel)
        await asyncio.wait({task})
        assert task.cancelled(), f"cancelled at step {number}, {step}, and it went on"
        assert await stage.picture() == before, f"after a cancellation at step {number}, {step}"


async def test_cancelled_twice_it_is_undone_all_the_same() -> None:
    steps = await count_steps()
    at = steps.index("engine put_files")
    for later in range(1, 12):
        stage = new_stage()
        before = await stage.picture()
        task = asyncio.ensure_future(stage.create())

        def cancel_again(task: asyncio.Task[str] = task, trap: Trap = stage.trap, later: int = later) -> None:
            task.cancel()
            trap.arm(later, task.cancel)

        stage.trap.arm(at, cancel_again)
        await asyncio.wait({task})
        assert task.cancelled()
        assert await stage.picture() == before, f"the second cancellation {later} steps after the first"


async def test_a_process_that_dies_anywhere_leaves_nothing_behind_after_a_restart() -> None:
    steps = await count_steps(is_answer_trapped=True)
    for number, step in enumerate(steps, start=1):
        stage = new_stage()
        stage.directories.is_answer_trapped = True
        stage.trap.arm(number, stage.trap.die)
        assert isinstance(await run_to_failure(stage.create()), ProcessDeathError)
        stage.trap.revive()
        await stage.require_sound_books()
        await settle(stage)
        await stage.require_settled()
        rows = [found.details.name for found in stage.engine.containers.values()]
        was_complete = step == "store write done" and bool(rows)
        assert rows == (["demo._.1001"] if was_complete else []), f"after the death at step {number}, {step}"
        assert bool(await stage.held()) is was_complete
        tags = [tag for image in stage.engine.images.values() for tag in image.details.tags]
        assert len(tags) == (2 if was_complete else 1), f"a tag is left after the death at step {number}, {step}"


async def test_a_process_that_dies_anywhere_does_not_block_the_name_of_the_next_try() -> None:
    steps = await count_steps()
    for number, step in enumerate(steps, start=1):
        stage = new_stage()
        stage.trap.arm(number, stage.trap.die)
        assert isinstance(await run_to_failure(stage.create()), ProcessDeathError)
        stage.trap.revive()
        stage.boot()
        failure = await run_to_failure(stage.create())
        is_complete = any(name == "container.created" for name in await stage.events())
        assert is_complete, f"no second try after the death at step {number}, {step}: {failure!r}"
        await stage.require_sound_books()


async def settle(stage: Stage) -> None:
    """Restart, let every deadline pass, and repair until nothing is left to do."""
    stage.boot()
    await stage.reconcile()
    stage.clock.advance(CLAIM_DEADLINE + timedelta(minutes=10))
    await stage.reconcile()
    await stage.reconcile()
    assert await stage.services.reconciler.plan() == []


@pytest.mark.parametrize("method", ["create_container", "tag_image", "put_files"])
async def test_what_the_engine_did_although_its_answer_was_lost_is_undone(method: str) -> None:
    stage = new_stage()
    await stage.create("first", count=0)  # the image has been looked into: the next create is the real one
    before = await stage.picture()
    stage.engine.fail_next(method, BackendError("The engine closed the connection."), is_done=True)
    assert isinstance(await run_to_failure(stage.create()), BackendError)
    assert await stage.picture() == before


async def test_a_container_that_the_engine_makes_after_all_was_undone_is_removed() -> None:
    stage = new_stage()
    container = await stage.create()
    late = stage.engine.containers[container]
    await stage.remove()
    # the engine answers the creation, which we gave up, only now
    stage.engine.containers[container] = late
    await stage.engine.tag_image(late.details.image_id, late.details.image)
    await stage.reconcile()
    assert stage.engine.containers == {}
    assert await stage.held() == {}
    assert len(next(iter(stage.engine.images.values())).details.tags) == 1


async def test_a_container_that_could_not_be_removed_keeps_its_row_until_reconcile_can() -> None:
    stage = new_stage()
    await stage.create("first", count=0)
    stage.engine.fail_next("put_files", BackendError("The engine is full."))
    stage.engine.fail_next("find_container", BackendError("The engine is gone."))

    failure = await run_to_failure(stage.services.creation.create(ALICE_CALLER, order(), stage.notify))

    assert isinstance(failure, BackendError)
    assert failure.details["not_undone"] == ["remove the container", "release the claim"]
    assert await stage.states() == {"first": "active", "demo": "claimed"}
    await stage.reconcile()
    assert await stage.states() == {"first": "active"}
    assert [found.details.name for found in stage.engine.containers.values()] == ["first._.1001"]


async def test_a_bug_in_the_progress_of_the_client_undoes_everything_too() -> None:
    stage = new_stage()
    before = await stage.picture()

    async def left(_message: object) -> None:
        raise ConnectionResetError("the client has left")

    failure = await run_to_failure(stage.services.creation.create(ALICE_CALLER, order(), left))
    assert isinstance(failure, ConnectionResetError)
    assert await stage.picture() == before


@pytest.mark.parametrize("is_known", [True, False], ids=["the container itself", "the look into its image"])
async def test_a_cancelled_creation_is_undone_when_the_engine_has_answered(is_known: bool) -> None:
    """Broken off in the middle, an engine goes on: it would make the container after the undoing had looked for it."""
    stage = Stage()
    stage.add_image()
    if is_known:  # what the image has inside is remembered, so nothing looks into it again
        await stage.create("other", count=0)
        await stage.remove("other")
    before = await stage.picture()
    asked = stage.engine.calls["create_container"]
    gate = stage.engine.hold("create_container")
    creation = asyncio.ensure_future(stage.create())
    await until(lambda: stage.engine.calls["create_container"] > asked)
    creation.cancel()
    for _ in range(50):
        await asyncio.sleep(0)
    assert not creation.done(), "it was undone before the engine had answered"
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await creation
    assert await stage.picture() == before
    assert stage.engine.containers == {}
