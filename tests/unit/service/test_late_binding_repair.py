"""Late binding after crashes, losses and starts past us: the store decides, and the files follow."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ds01.domain.containers.container import ContainerState
from ds01.domain.devices.attachment import DeviceRequest
from ds01.domain.devices.mig_layout import DYNAMIC, WantedCard
from ds01.errors import BackendError, ForbiddenError, NoCapacityError
from tests.fake_cdi import nvidia_spec
from tests.fake_devices import mig_gpu
from tests.unit.service.docker_made import docker_made
from tests.unit.service.late_stage import NO_HOLD, LateStage, two_cards
from tests.unit.service.stage import (
    ALICE_CALLER,
    BOB_CALLER,
    ProcessDeathError,
    fail_once,
    only_own_errors,
    order,
    run_to_failure,
)


@pytest.fixture
def stage() -> LateStage:
    """Two whole cards; what is stopped holds nothing."""
    return two_cards(LateStage(NO_HOLD))


async def test_reconcile_writes_what_is_missing_and_removes_what_no_grant_holds(stage: LateStage) -> None:
    container = await stage.create()
    device = stage.device_of(container)
    stage.files.own = {"0123456789abcdef": stage.files.own[device]}  # as after a reboot, and with an orphan
    stage.boot()
    await stage.reconcile()
    assert list(stage.files.own) == [device]
    await stage.require_files_as_granted()


async def test_reconcile_replaces_a_file_that_gives_other_gpus(stage: LateStage) -> None:
    container = await stage.create()
    await stage.create("other", caller=BOB_CALLER)
    device, other = stage.device_of(container), next(name for name in stage.files.own)
    wrong = {**stage.files.own[other]}
    stage.files.own[device] = wrong if other != device else {"kind": "rubbish"}
    await stage.reconcile()
    await stage.require_files_as_granted()


async def test_what_runs_with_gpus_of_another_is_stopped_by_the_next_daemon() -> None:
    twin = await stopped_beside_another()
    twin.trap.arm(0, None)
    twin.files.lateness = 1
    await twin.start("old")
    step = twin.trap.steps.index("engine start_container done") + 1

    stage = await stopped_beside_another()
    stage.files.lateness = 1
    stage.trap.arm(step, stage.trap.die)
    assert isinstance(await run_to_failure(stage.start("old")), ProcessDeathError)
    stage.trap.revive()
    (old,) = (found for found in stage.engine.containers.values() if found.details.name.startswith("old"))
    assert stage.inside(old.details.id) == ["GPU-0"], "the engine was late, and nobody has looked yet"
    stage.boot()
    await stage.reconcile()
    assert old.details.state is ContainerState.EXITED
    await stage.reconcile()
    assert await stage.held() == {"GPU-0": "other"}


async def test_a_file_whose_gpus_nobody_can_describe_any_more_is_removed(stage: LateStage) -> None:
    container = await stage.create()
    device = stage.device_of(container)
    stage.files.own[device] = {"kind": "rubbish"}
    stage.files.specs = []
    await stage.reconcile()
    assert stage.files.own == {}
    with pytest.raises(BackendError, match="No CDI spec"):
        await stage.start()


async def test_one_file_that_cannot_be_removed_does_not_stop_the_others(stage: LateStage) -> None:
    await stage.create()
    stage.files.failure = BackendError("Read-only file system.")
    stage.files.own["0123456789abcdef"] = {}
    await stage.reconcile()
    stage.files.failure = None
    await stage.reconcile()
    await stage.require_files_as_granted()


async def test_a_start_past_us_within_the_hold_is_taken_up_with_the_gpus_it_runs_with(stage: LateStage) -> None:
    stage.policy = replace(stage.policy, base=replace(NO_HOLD, gpu_hold_after_stop=timedelta(hours=1)))
    container = await stage.create()
    await stage.start()
    await stage.stop()
    await stage.engine.start_container(container)
    await stage.reconcile()
    assert await stage.states() == {"demo": "active"}
    assert await stage.held() == {"GPU-0": "demo"}


async def test_one_that_runs_without_a_grant_holds_what_it_was_bound_to_last(stage: LateStage) -> None:
    container = await stage.create()
    await stage.start()
    await stage.stop()
    stage.engine.containers[container].change(state=ContainerState.RUNNING)  # it raced with the removal of its file
    await stage.create("other", caller=BOB_CALLER)
    assert await stage.held() == {"GPU-1": "other"}, "GPU-0 is in use, and no more than that"


async def test_a_stranger_with_a_name_of_ours_holds_what_that_name_stands_for(stage: LateStage) -> None:
    container = await stage.create()
    name = f"ds01.io/allocation={stage.device_of(container)}"
    stranger = docker_made("stranger", state=ContainerState.RUNNING)
    facts = replace(stranger.attachment, requests=(DeviceRequest("cdi", 0, (name,)),))
    stage.engine.add_container(replace(stranger, attachment=facts))
    await stage.create("other", caller=BOB_CALLER)
    assert await stage.held() == {"GPU-0": "demo", "GPU-1": "other"}
    stage.files.own.clear()
    await stage.remove("other", caller=BOB_CALLER)
    with pytest.raises(NoCapacityError):
        await stage.create("other", caller=BOB_CALLER)  # nobody can say what the stranger has


async def on_demand() -> LateStage:
    """One card whose MIG instances are made by grants, and somebody who writes the site's spec after each change."""
    stage = LateStage(NO_HOLD)
    stage.devices.inventory = replace(stage.devices.inventory, devices=(mig_gpu(0),))
    stage.files.write_anew = lambda: [nvidia_spec(stage.devices.inventory)]
    await stage.services.mig.apply((WantedCard("0", True, DYNAMIC, (), "layout.yaml:2"),), actor_uid=0)
    return stage


def instances(stage: LateStage) -> list[str]:
    return [instance.uuid for card in stage.devices.inventory.devices for instance in card.instances]


async def test_an_instance_that_is_made_for_a_start_is_what_the_container_gets() -> None:
    stage = await on_demand()
    container = await stage.create(kind="1g.5gb")
    await stage.start()
    first = stage.inside(container)
    await stage.stop()
    await stage.reconcile()
    assert instances(stage) == []
    await stage.start()
    assert stage.inside(container) == instances(stage) != first
    await stage.reconcile()
    await stage.require_files_as_granted()


async def test_a_start_whose_instance_cannot_be_made_gives_its_claim_back_at_once() -> None:
    stage = await on_demand()
    await stage.create(kind="1g.5gb")
    await stage.start()
    await stage.stop()
    await stage.reconcile()
    stage.devices.may_change = False
    assert isinstance(await run_to_failure(stage.start()), ForbiddenError)
    assert await stage.states() == {}


async def test_where_nobody_writes_the_spec_anew_a_made_instance_is_fixed() -> None:
    stage = await on_demand()
    stage.files.write_anew = None
    made = await stage.services.creation.create(ALICE_CALLER, order(kind="1g.5gb"), stage.notify)
    assert made.details is not None
    assert made.details.attachment.managed_device is None
    assert "No CDI spec" in made.warnings[0]


async def test_a_container_whose_row_is_lost_is_taken_in_again_with_its_gpus(stage: LateStage) -> None:
    container = await stage.create()
    await stage.start()
    await stage.store.write(lambda transaction: transaction.delete_container(1001, "demo"))
    grants = await stage.store.read(lambda transaction: transaction.list_allocations())
    await stage.services.allocations.release(grants[0].id, "lost")
    await stage.reconcile()
    assert await stage.held() == {"GPU-0": "demo"}
    assert stage.inside(container) == ["GPU-0"]
    await stage.reconcile()
    await stage.require_files_as_granted()


async def stopped_beside_another() -> LateStage:
    """Alice's `old` was stopped, and bob has the card that it had; the other one is free."""
    stage = two_cards(LateStage(NO_HOLD))
    await stage.create("old")
    await stage.start("old")
    await stage.stop("old")
    await stage.create("other", caller=BOB_CALLER)
    return stage


Deed = Callable[[LateStage], Coroutine[Any, Any, object]]
DEEDS: dict[str, Deed] = {
    "create": lambda stage: stage.create("new"),
    "start": lambda stage: stage.start("old"),
    "remove": lambda stage: stage.remove("other", caller=BOB_CALLER, force=True),
    "reconcile": lambda stage: stage.reconcile(),
}


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("way", ["fails", "dies"])
async def test_whatever_step_fails_or_dies_grants_and_files_agree_afterwards(deed: str, way: str) -> None:
    for step in range(1, 400):
        stage = await stopped_beside_another()
        stage.trap.arm(step, fail_once if way == "fails" else stage.trap.die)
        failure = await run_to_failure(DEEDS[deed](stage))
        assert only_own_errors(failure)
        is_over = len(stage.trap.steps) < step
        stage.trap.revive()
        await stage.store.settle()
        if way == "dies":
            stage.boot()
        stage.clock.advance(timedelta(minutes=3))  # claims of the dead run out
        for _ in range(3):
            await stage.reconcile()
        await stage.require_settled()
        await stage.require_files_as_granted()
        for found in stage.engine.containers.values():
            if found.details.state is ContainerState.RUNNING:
                assert set(stage.inside(found.details.id)) <= set(await stage.held())
        if is_over:
            return
    raise AssertionError(f"{deed} never ended")
