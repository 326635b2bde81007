"""Starting a container: exclusivity at every start, the first start's question, and what a failure leaves."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain.containers.container import ContainerState
from ds01.domain.devices.gpu import Inventory
from ds01.domain.rules.policy import LimitLayer, UserOverride
from ds01.domain.rules.site import Access, Site
from ds01.errors import BackendError, ConflictError, NoCapacityError, NotFoundError, QuotaExceededError
from tests.fakes import DEFAULT_LIMITS, mig_gpu, whole_gpu
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import (
    ADMIN_CALLER,
    ALICE_CALLER,
    BOB_CALLER,
    Stage,
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
    started = await stage.services.power.start(ALICE_CALLER, 1001, "demo")
    assert not started.was_running
    assert stage.engine.containers[container].details.state == "running"
    assert await stage.states() == {"demo": "active"}
    event = (await stage.store.read(lambda transaction: transaction.list_events()))[-1]
    assert (event.name, event.actor_uid) == ("container.started", 1001)


async def test_a_running_container_is_left_as_it_is(stage: Stage) -> None:
    await stage.create()
    await stage.start()
    started = await stage.services.power.start(ALICE_CALLER, 1001, "demo")
    assert started.was_running
    [said] = started.warnings
    assert said.startswith("already_allocated: demo runs and has GPU "), "the same grant, and which one"
    assert stage.engine.calls["start_container"] == 2  # one of them tried the ulimits


async def test_a_paused_container_says_how_to_go_on(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()
    stage.engine.containers[container].change(state=ContainerState.PAUSED)
    failure = await run_to_failure(stage.start())
    assert isinstance(failure, ConflictError)
    assert "ds01 container unpause demo" in (failure.hint or "")
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


@pytest.mark.parametrize("shown", ["groups", "none"])
async def test_a_site_that_does_not_show_holders_does_not_name_them_in_refusals(shown: str) -> None:
    stage = stage_with(timedelta(0))
    stage.policy = replace(stage.policy, site=Site(access=Access(show_holders=shown)))
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    await stage.create("secret", caller=BOB_CALLER, kind="full")
    for refused in (stage.start(), stage.create("late", kind="full")):
        failure = await run_to_failure(refused)
        assert isinstance(failure, NoCapacityError)
        assert "held by somebody" in failure.message
        assert "secret" not in f"{failure.message} {failure.hint} {failure.details}"
    # their owner and an administrator read the names
    for caller in (BOB_CALLER, ADMIN_CALLER):
        failure = await run_to_failure(stage.create("more", caller=caller, kind="full"))
        assert isinstance(failure, NoCapacityError)
        assert "held by secret" in failure.message


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
    work = stage.services.power.start(ADMIN_CALLER, 1001, "demo")
    assert isinstance(await run_to_failure(work), QuotaExceededError)
    await stage.remove("a")
    await stage.services.power.start(ADMIN_CALLER, 1001, "demo")
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


async def test_a_plan_of_a_start_says_what_would_refuse_it_and_changes_nothing() -> None:
    stage = stage_with(timedelta(0))
    stage.devices.inventory = Inventory((whole_gpu(0),))
    await stage.create()
    await stage.start()
    await stage.stop()
    before = await stage.picture()
    planned = await stage.services.power.plan_start(ALICE_CALLER, 1001, "demo")
    assert (planned.was_running, planned.details.state) == (False, ContainerState.EXITED)
    assert await stage.picture() == before
    await stage.create("theirs", caller=BOB_CALLER)
    taken = await stage.picture()
    refused = await run_to_failure(stage.services.power.plan_start(ALICE_CALLER, 1001, "demo"))
    assert isinstance(refused, NoCapacityError)
    assert await stage.picture() == taken
    await stage.services.power.start(BOB_CALLER, 1002, "theirs")
    assert (await stage.services.power.plan_start(BOB_CALLER, 1002, "theirs")).was_running


async def test_a_restart_keeps_its_gpu_although_a_stop_would_give_it_back() -> None:
    stage = stage_with(timedelta(0))
    stage.devices.inventory = Inventory((whole_gpu(0),))
    await stage.create()
    await stage.start()
    starts, before = stage.engine.calls["start_container"], await stage.events()
    restarted = await stage.services.power.restart(ALICE_CALLER, 1001, "demo")
    assert restarted.was_running
    assert stage.engine.calls["start_container"] == starts + 1
    assert await stage.states() == {"demo": "active"}
    assert (await stage.events())[len(before) :] == ["container.restarted"], "its grant never changed"


async def test_a_restart_of_a_stopped_container_is_a_start(stage: Stage) -> None:
    await stage.create()
    restarted = await stage.services.power.restart(ALICE_CALLER, 1001, "demo")
    assert (restarted.was_running, restarted.details.state) == (False, ContainerState.RUNNING)
    assert await stage.states() == {"demo": "active"}


async def test_a_restart_that_does_not_come_up_again_begins_the_hold(stage: Stage) -> None:
    await stage.create()
    await stage.start()
    stage.engine.fail_next("start_container", BackendError("No."))
    assert isinstance(await run_to_failure(stage.services.power.restart(ALICE_CALLER, 1001, "demo")), BackendError)
    assert await stage.states() == {"demo": "held"}
    await stage.start()


async def test_a_restart_that_cannot_stop_it_leaves_it_as_it_is(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()
    stage.engine.ignored.add("stop_container")
    failure = await run_to_failure(stage.services.power.restart(ALICE_CALLER, 1001, "demo"))
    assert isinstance(failure, BackendError)
    assert "still runs" in failure.message
    assert stage.engine.containers[container].details.state == "running"
    assert await stage.states() == {"demo": "active"}
