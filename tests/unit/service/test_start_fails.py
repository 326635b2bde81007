"""Starts that fail, and what they leave."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain.containers.container import ContainerState
from ds01.errors import BackendError, NoCapacityError
from ds01.service.first_start import QUESTION
from tests.fake_engine import FakeProcess
from tests.fakes import DEFAULT_LIMITS
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import (
    ALICE_CALLER,
    BOB_CALLER,
    ProcessDeathError,
    Stage,
    only_own_errors,
    run_to_failure,
)


def stage_with(hold: timedelta | None) -> Stage:
    stage = Stage(replace(DEFAULT_LIMITS, gpu_hold_after_stop=hold))
    stage.add_image()
    return stage


@pytest.fixture
def stage() -> Stage:
    return stage_with(timedelta(minutes=15))


async def test_of_two_daemons_containers_on_one_device_the_younger_gives_way(stage: Stage) -> None:
    container = await stage.create(kind="full")
    own = stage.engine.containers[container].details
    other = replace(docker_made("rival._.1002", state=ContainerState.CREATED), labels=own.labels, started_at=None)
    stage.engine.add_container(replace(other, created_at=own.created_at + timedelta(milliseconds=1)))
    await stage.start()
    await stage.stop()
    stage.engine.add_container(replace(other, created_at=own.created_at - timedelta(milliseconds=1)))
    assert isinstance(await run_to_failure(stage.start()), NoCapacityError)


async def test_a_start_that_the_engine_refuses_leaves_the_first_grant_and_renews_the_hold() -> None:
    stage = stage_with(timedelta(minutes=15))
    await stage.create(kind="full")
    stage.engine.fail_next("start_container", BackendError("could not select device driver"))
    assert isinstance(await run_to_failure(stage.start()), BackendError)
    assert await stage.states() == {"demo": "active"}, "it was never started: its grant stays"
    await stage.start()
    await stage.stop()
    stage.engine.fail_next("start_container", BackendError("could not select device driver"))
    assert isinstance(await run_to_failure(stage.start()), BackendError)
    assert await stage.states() == {"demo": "held"}


async def test_a_failed_start_releases_the_grant_that_was_made_for_it() -> None:
    stage = stage_with(timedelta(0))
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    stage.engine.fail_next("start_container", BackendError("could not select device driver"))
    assert isinstance(await run_to_failure(stage.start()), BackendError)
    assert await stage.held() == {}


async def test_a_start_whose_answer_was_lost_keeps_its_grant_for_it_runs() -> None:
    stage = stage_with(timedelta(0))
    container = await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    stage.engine.fail_next("start_container", BackendError("closed"), is_done=True)
    assert isinstance(await run_to_failure(stage.start()), BackendError)
    assert stage.engine.containers[container].details.state == "running"
    assert await stage.held() == {"GPU-0": "demo"}


async def test_a_container_that_ends_at_once_is_an_error_with_a_way_to_its_logs(stage: Stage) -> None:
    container = await stage.create(count=0)
    stage.engine.programs["sh"] = _end_at_once
    stage.engine.containers[container].change(entrypoint=("sh", "-x"))
    stage.engine.hold("get_container")

    async def release_later() -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        stage.engine.hold("get_container").set()

    failure, _ = await asyncio.gather(run_to_failure(stage.start()), release_later())
    assert isinstance(failure, BackendError)
    assert "exit status 3" in failure.message
    assert "ds01 logs demo" in (failure.hint or "")
    assert await stage.states() == {"demo": "held"}


async def _end_at_once(_process: FakeProcess) -> int:
    return 3


@pytest.mark.parametrize("hold", [timedelta(0), timedelta(minutes=15), None])
async def test_whenever_a_start_is_broken_off_the_books_are_right_after_a_repair(hold: timedelta | None) -> None:
    number = 0
    while True:
        number += 1
        stage = stage_with(hold)
        await stage.create(kind="full")
        await stage.start()
        await stage.stop()
        task = asyncio.ensure_future(stage.start())
        stage.trap.arm(number, task.cancel)
        await asyncio.wait({task})
        stage.trap.arm(0, None)
        await stage.require_sound_books()
        await stage.reconcile()
        await stage.require_settled()
        assert await stage.services.reconciler.plan() == []
        if not task.cancelled():
            break
    assert number > 10


@pytest.mark.parametrize("verb", ["start", "stop", "remove"])
async def test_a_process_that_dies_anywhere_loses_and_doubles_nothing(verb: str) -> None:
    number = 0
    while True:
        number += 1
        stage = stage_with(timedelta(0))
        await stage.create(kind="full")
        if verb == "stop":
            await stage.start()
        work = {"start": stage.start, "stop": stage.stop, "remove": stage.remove}[verb]
        stage.trap.arm(number, stage.trap.die)
        failure = await run_to_failure(work())
        assert only_own_errors(failure), failure
        stage.trap.revive()
        stage.boot()
        await stage.reconcile()
        await stage.reconcile()
        await stage.require_settled()
        assert await stage.services.reconciler.plan() == []
        running = any(found.details.state == "running" for found in stage.engine.containers.values())
        there = bool(stage.engine.containers)
        assert await stage.held() == ({"GPU-0": "demo"} if running or (there and verb != "stop") else {})
        if not isinstance(failure, ProcessDeathError):
            break
    assert number > 8


async def test_the_first_start_asks_once_for_each_image_and_user(stage: Stage) -> None:
    await stage.create("a", count=0)
    await stage.create("b", count=0)
    await stage.start("a")
    asked = stage.engine.calls["run_exec"]
    assert asked == 1
    await stage.start("b")
    stage.boot()
    await stage.stop("b")
    await stage.start("b")
    assert stage.engine.calls["run_exec"] == asked
    await stage.create("c", caller=BOB_CALLER, count=0)
    await stage.start("c", caller=BOB_CALLER)
    assert stage.engine.calls["run_exec"] == asked + 1


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("0\n1001\nalice\nsudo-ok\n", "uid is '0' instead of '1001'"),
        ("1001\n100\nalice\nsudo-ok\n", "gid is '100' instead of '1001'"),
        ("1001\n1001\nI have no name!\nsudo-ok\n", "name is 'I have no name!' instead of 'alice'"),
        ("1001\n1001\nalice\nsudo: a password is required\n", "sudo does not work: sudo: a password is required"),
        ("", "uid is '' instead of '1001'"),
    ],
)
async def test_a_wrong_user_inside_stops_the_container_and_is_named(stage: Stage, answer: str, wrong: str) -> None:
    async def say(process: FakeProcess) -> int:
        await process.write(answer)
        return 0

    stage.engine.programs[QUESTION] = say
    container = await stage.create(kind="full")
    failure = await run_to_failure(stage.start())
    assert isinstance(failure, BackendError)
    assert wrong in failure.message
    assert stage.engine.containers[container].details.state == "exited"
    assert await stage.states() == {"demo": "held"}
    assert isinstance(await run_to_failure(stage.start()), BackendError), "it is asked again"


async def test_an_image_that_cannot_answer_is_used_as_it_is(stage: Stage) -> None:
    async def cannot(_process: FakeProcess) -> int:
        return 127

    stage.engine.programs[QUESTION] = cannot
    await stage.create(count=0)
    started = await stage.services.power.start(ALICE_CALLER, 1001, "demo")
    assert started.warnings == ()


async def test_a_question_that_fails_is_a_warning(stage: Stage) -> None:
    await stage.create(count=0)
    stage.engine.fail_next("run_exec", BackendError("The engine is slow."))
    started = await stage.services.power.start(ALICE_CALLER, 1001, "demo")
    assert "could not be checked" in started.warnings[0]


async def test_a_container_that_docker_renamed_is_still_checked_at_its_start() -> None:
    stage = stage_with(timedelta(0))
    container = await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    stage.engine.containers[container].change(name="renamed._.1001")
    await stage.create("other", caller=BOB_CALLER, kind="full")
    assert isinstance(await run_to_failure(stage.start("renamed")), NoCapacityError)
    views = await stage.services.containers.list_views()
    assert [view.row.name for view in views if view.row and view.summary.id == container] == ["demo"]


async def test_a_container_of_docker_under_the_name_of_a_row_has_no_grant(stage: Stage) -> None:
    container = await stage.create(kind="full")
    del stage.engine.containers[container]
    stage.engine.add_container(docker_made("demo._.1001"))
    failure = await run_to_failure(stage.start())
    assert isinstance(failure, NoCapacityError), "the row's device is still the row's until reconcile has forgotten it"
    await stage.reconcile()
    await stage.start()
