"""Starting a container: exclusivity at every start, the first start's question, and what a failure leaves."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain.container import ContainerState
from ds01.domain.gpu import Inventory
from ds01.domain.policy import LimitLayer, UserOverride
from ds01.errors import BackendError, ConflictError, NoCapacityError, NotFoundError, QuotaExceededError
from ds01.service.first_start import QUESTION
from tests.fake_engine import FakeProcess
from tests.fakes import DEFAULT_LIMITS, mig_gpu, whole_gpu
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import (
    ADMIN_CALLER,
    ALICE_CALLER,
    BOB_CALLER,
    ProcessDeathError,
    Stage,
    only_own_errors,
    run_to_failure,
    until,
)


def stage_with(hold: timedelta | None) -> Stage:
    stage = Stage(replace(DEFAULT_LIMITS, gpu_hold_after_stop=hold))
    stage.add_image()
    return stage


@pytest.fixture
def stage() -> Stage:
    return stage_with(timedelta(minutes=15))


async def test_a_created_container_starts_with_the_grant_it_has(stage: Stage) -> None:
    container = await stage.create()
    started = await stage.services.containers.start(ALICE_CALLER, 1001, "demo")
    assert not started.was_running
    assert stage.engine.containers[container].details.state == "running"
    assert await stage.states() == {"demo": "active"}
    event = (await stage.store.read(lambda transaction: transaction.list_events()))[-1]
    assert (event.name, event.actor_uid) == ("container.started", 1001)


async def test_a_running_container_is_left_as_it_is(stage: Stage) -> None:
    await stage.create()
    await stage.start()
    started = await stage.services.containers.start(ALICE_CALLER, 1001, "demo")
    assert started.was_running
    assert stage.engine.calls["start_container"] == 2  # one of them tried the ulimits


async def test_a_paused_container_says_how_to_go_on(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()
    stage.engine.containers[container].change(state=ContainerState.PAUSED)
    failure = await run_to_failure(stage.start())
    assert isinstance(failure, ConflictError)
    assert "docker unpause demo._.1001" in (failure.hint or "")
    assert await stage.states() == {"demo": "active"}


async def test_a_dead_container_is_refused_by_the_engine_and_its_grant_is_settled(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()
    await stage.stop()
    stage.engine.containers[container].change(state=ContainerState.DEAD)
    stage.engine.fail_next("start_container", ConflictError("The container is marked for removal."))
    assert isinstance(await run_to_failure(stage.start()), ConflictError)
    assert await stage.states() == {"demo": "held"}


async def test_nobody_else_can_start_it(stage: Stage) -> None:
    await stage.create()
    assert isinstance(await run_to_failure(stage.start(caller=BOB_CALLER)), NotFoundError)


async def test_within_its_hold_it_takes_its_grant_up_again() -> None:
    stage = stage_with(timedelta(minutes=15))
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    assert await stage.states() == {"demo": "held"}
    stage.clock.advance(timedelta(minutes=14))
    await stage.reconcile()
    await stage.start()
    assert await stage.states() == {"demo": "active"}
    stage.clock.advance(timedelta(hours=2))
    await stage.reconcile()
    assert await stage.states() == {"demo": "active"}, "the old deadline is forgotten"


async def test_without_a_hold_the_grant_is_released_at_the_stop() -> None:
    stage = stage_with(timedelta(0))
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    assert await stage.held() == {}


async def test_an_endless_hold_lasts_until_the_container_is_removed() -> None:
    stage = stage_with(None)
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    stage.clock.advance(timedelta(days=365))
    await stage.reconcile()
    assert await stage.states() == {"demo": "held"}
    await stage.remove()
    assert await stage.held() == {}


async def test_after_its_hold_it_is_granted_anew_if_its_device_is_free() -> None:
    stage = stage_with(timedelta(0))
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    await stage.start()
    assert await stage.held() == {"GPU-0": "demo"}
    await stage.stop()
    assert await stage.held() == {}, "the new grant is the one that is settled"


async def test_after_its_hold_it_waits_while_somebody_else_has_its_device() -> None:
    stage = stage_with(timedelta(0))
    container = await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    await stage.create("other", caller=BOB_CALLER, kind="full")
    failure = await run_to_failure(stage.start())
    assert isinstance(failure, NoCapacityError)
    assert "held by other" in failure.message
    assert stage.engine.containers[container].details.state == "exited"
    assert await stage.held() == {"GPU-0": "other"}


async def test_a_new_grant_is_weighed_against_the_quota() -> None:
    stage = stage_with(timedelta(0))
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    await stage.create("a", kind="1g.5gb")
    await stage.create("b", kind="1g.5gb")
    assert isinstance(await run_to_failure(stage.start()), QuotaExceededError)


async def test_a_new_grant_follows_the_policy_of_today() -> None:
    stage = stage_with(timedelta(0))
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    stage.policy = replace(stage.policy, base=replace(stage.policy.base, allow_full_gpu=False))
    assert isinstance(await run_to_failure(stage.start()), QuotaExceededError)


async def test_an_administrators_start_is_weighed_by_the_owners_limits() -> None:
    stage = stage_with(timedelta(0))
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    for name in ("a", "b"):
        await stage.create(name, kind="1g.5gb")
    unlimited = UserOverride(layer=LimitLayer({"max_gpus": None, "max_gpu_equivalents": None}))
    stage.policy = replace(stage.policy, overrides={"root": unlimited})
    work = stage.services.containers.start(ADMIN_CALLER, 1001, "demo")
    assert isinstance(await run_to_failure(work), QuotaExceededError)
    await stage.remove("a")
    await stage.services.containers.start(ADMIN_CALLER, 1001, "demo")
    events = await stage.store.read(lambda transaction: transaction.list_events())
    assert [(event.uid, event.actor_uid) for event in events[-2:]] == [(1001, 0), (1001, 0)]


async def test_a_device_that_is_gone_refuses_the_start_by_its_name(stage: Stage) -> None:
    await stage.create(kind="full")
    stage.devices.inventory = Inventory((whole_gpu(7),))
    failure = await run_to_failure(stage.start())
    assert isinstance(failure, NoCapacityError)
    assert "GPU-0" in failure.message


async def test_a_card_that_was_cut_meanwhile_is_not_started_as_a_whole() -> None:
    stage = stage_with(timedelta(0))
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    stage.devices.inventory = Inventory((mig_gpu(0, 3, 3),))
    assert isinstance(await run_to_failure(stage.start()), NoCapacityError)
    assert await stage.held() == {}


async def test_unknown_devices_refuse_a_start_with_gpus_and_no_other(stage: Stage) -> None:
    await stage.create("gpu")
    await stage.create("cpu", count=0)
    stage.devices.failure = BackendError("NVML does not answer.")
    assert isinstance(await run_to_failure(stage.start("gpu")), BackendError)
    await stage.start("cpu")


async def test_a_container_of_plain_docker_that_runs_on_the_device_refuses_the_start(stage: Stage) -> None:
    await stage.create(kind="full")
    stage.engine.add_container(docker_made("stranger", state=ContainerState.RUNNING))
    failure = await run_to_failure(stage.start())
    assert isinstance(failure, NoCapacityError)
    assert "stranger" in failure.message


async def test_a_container_of_plain_docker_is_not_started_onto_a_granted_device(stage: Stage) -> None:
    await stage.create(kind="full")
    stage.engine.add_container(docker_made("old._.1002"))
    assert isinstance(await run_to_failure(stage.start("old", caller=BOB_CALLER)), NoCapacityError)
    await stage.remove()
    await stage.start("old", caller=BOB_CALLER)


async def test_an_instance_is_not_started_while_its_card_is_granted_whole() -> None:
    stage = stage_with(timedelta(0))
    await stage.create(kind="1g.5gb")
    await stage.start()
    await stage.stop()
    cut = stage.devices.inventory
    uncut = replace(cut.devices[1], instances=(), mig_enabled=False, mig_pending=False)
    stage.devices.inventory = Inventory((uncut,))
    await stage.create("whole", caller=BOB_CALLER, kind="full")
    stage.devices.inventory = cut
    failure = await run_to_failure(stage.start())
    assert isinstance(failure, NoCapacityError)
    assert "the whole GPU 1 is held" in failure.message


async def test_a_container_whose_creation_died_is_not_started_half_made(stage: Stage) -> None:
    hold = stage.engine.hold("put_files")
    creating = asyncio.ensure_future(run_to_failure(stage.create()))
    await until(lambda: stage.engine.calls["put_files"])
    stage.trap.is_dead = True
    hold.set()
    await creating
    stage.trap.revive()
    stage.boot()
    assert isinstance(await run_to_failure(stage.start()), NotFoundError)
    assert stage.engine.containers == {}
    assert await stage.held() == {}


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
    started = await stage.services.containers.start(ALICE_CALLER, 1001, "demo")
    assert started.warnings == ()


async def test_a_question_that_fails_is_a_warning(stage: Stage) -> None:
    await stage.create(count=0)
    stage.engine.fail_next("run_exec", BackendError("The engine is slow."))
    started = await stage.services.containers.start(ALICE_CALLER, 1001, "demo")
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
