"""Instances that grants make: there before the container, gone after it, whatever fails or crashes on the way."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain.allocation import Allocation
from ds01.domain.containers.container import ContainerState
from ds01.domain.devices.gpu import GpuProcess
from ds01.domain.devices.mig_layout import DYNAMIC, WantedCard
from ds01.errors import BackendError, ConflictError, NoCapacityError
from tests.fake_devices import mig_gpu
from tests.fake_store import MemoryStore
from tests.fakes import DEFAULT_LIMITS
from tests.unit.service.docker_made import docker_made
from tests.unit.service.queueing import QueueStage
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, Stage, fail_once, only_own_errors, order, run_to_failure

LIMITS = replace(DEFAULT_LIMITS, max_gpus=7, max_gpus_per_container=7, max_containers=20)


async def stage_on_demand() -> Stage:
    stage = Stage(limits=LIMITS)
    stage.devices.inventory = replace(stage.devices.inventory, devices=(mig_gpu(0),))
    stage.add_image()
    wanted = WantedCard("0", True, DYNAMIC, (), "layout.yaml:2")
    await stage.services.mig.apply((wanted,), actor_uid=0)
    return stage


def instances(stage: Stage) -> Counter[str]:
    (card,) = stage.devices.inventory.devices
    return Counter(one.profile for one in card.instances)


async def grants(stage: Stage) -> list[Allocation]:
    return await MemoryStore.read(stage.store, lambda transaction: transaction.list_allocations())


async def require_all_in_order(stage: Stage) -> None:
    """Every instance is somebody's, and everybody has theirs."""
    await stage.require_sound_books()
    held = sorted(uuid for grant in await grants(stage) for uuid in grant.gpu_uuids)
    (card,) = stage.devices.inventory.devices
    assert sorted(one.uuid for one in card.instances) == held
    for grant in await grants(stage):
        assert len(grant.gpu_uuids) == len(grant.slices) == grant.request.count


async def test_a_grant_makes_its_instance_and_the_container_has_it() -> None:
    stage = await stage_on_demand()
    container = await stage.create(kind="2g.10gb")
    (grant,) = await grants(stage)
    assert grant.slices == ("GPU-0/2g.10gb@0",)  # it has no time limit: nothing ends that one knows of
    assert grant.gpu_equivalents == pytest.approx(2 / 7)
    requests = stage.engine.containers[container].details.attachment.requests
    assert [uuid for request in requests for uuid in request.device_ids] == list(grant.gpu_uuids)
    assert instances(stage) == {"2g.10gb": 1}
    await require_all_in_order(stage)


async def test_an_instance_goes_with_its_container() -> None:
    stage = await stage_on_demand()
    await stage.create(kind="2g.10gb")
    await stage.remove(force=True)
    await stage.reconcile()
    assert instances(stage) == Counter()


async def test_an_instance_stays_through_the_hold_and_goes_at_its_end() -> None:
    stage = await stage_on_demand()
    await stage.create(kind="2g.10gb")
    await stage.stop()
    await stage.reconcile()
    assert instances(stage) == {"2g.10gb": 1}
    await stage.start()
    await stage.stop()
    stage.clock.advance(timedelta(hours=1))
    await stage.reconcile()
    assert await grants(stage) == []
    assert instances(stage) == Counter()
    with pytest.raises(NoCapacityError, match="gone"):
        await stage.start()


async def test_the_card_is_filled_to_its_last_slice_and_no_further() -> None:
    stage = await stage_on_demand()
    for number in range(7):
        await stage.create(f"c{number}", kind="1g.5gb")
    assert instances(stage) == {"1g.5gb": 7}
    with pytest.raises(NoCapacityError):
        await stage.create("late", kind="1g.5gb", caller=BOB_CALLER)
    await stage.remove("c0", force=True)
    await stage.create("late", kind="1g.5gb", caller=BOB_CALLER)
    await require_all_in_order(stage)


async def test_what_the_last_container_left_is_destroyed_and_never_handed_on() -> None:
    stage = await stage_on_demand()
    await stage.create("one", kind="7g.40gb")
    (before,) = await grants(stage)
    await stage.remove("one", force=True)  # and nothing has reconciled since
    assert instances(stage) == {"7g.40gb": 1}
    await stage.create("two", kind="7g.40gb", caller=BOB_CALLER)
    (after,) = await grants(stage)
    assert set(before.gpu_uuids).isdisjoint(after.gpu_uuids)
    await require_all_in_order(stage)


async def test_what_is_still_in_use_is_not_destroyed_and_the_grant_is_taken_back() -> None:
    stage = await stage_on_demand()
    await stage.create("one", kind="7g.40gb")
    (before,) = await grants(stage)
    await stage.remove("one", force=True)
    stage.devices.processes.append(GpuProcess(4711, before.gpu_uuids[0], None))
    with pytest.raises(NoCapacityError, match="still used by processes"):
        await stage.create("two", kind="7g.40gb", caller=BOB_CALLER)
    await stage.reconcile()
    assert await grants(stage) == []
    assert instances(stage) == {"7g.40gb": 1}
    stage.devices.processes.clear()
    await stage.reconcile()
    assert instances(stage) == Counter()


async def test_two_creations_at_once_have_places_of_their_own() -> None:
    stage = await stage_on_demand()
    await asyncio.gather(*(stage.create(f"c{number}", kind="2g.10gb") for number in range(3)))
    await require_all_in_order(stage)
    assert instances(stage) == {"2g.10gb": 3}


async def test_several_instances_for_one_container_are_made_one_after_the_other() -> None:
    stage = await stage_on_demand()
    await stage.create(kind="1g.5gb", count=3)
    await require_all_in_order(stage)
    assert instances(stage) == {"1g.5gb": 3}


async def test_making_again_what_is_made_changes_nothing() -> None:
    stage = await stage_on_demand()
    await stage.create(kind="1g.5gb")
    (grant,) = await grants(stage)
    assert await stage.services.instances.make(grant) == grant
    assert instances(stage) == {"1g.5gb": 1}


async def test_a_grant_that_ran_out_meanwhile_leaves_no_instance() -> None:
    stage = await stage_on_demand()
    await stage.create(kind="1g.5gb")
    (grant,) = await grants(stage)
    await stage.remove(force=True)
    await stage.reconcile()
    with pytest.raises(ConflictError, match="ran out"):
        await stage.services.instances.make(replace(grant, gpu_uuids=()))
    assert instances(stage) == Counter()


async def test_a_grant_on_a_card_that_is_gone_is_refused() -> None:
    stage = await stage_on_demand()
    await stage.create(kind="1g.5gb")
    (grant,) = await grants(stage)
    stage.devices.unplug("GPU-0")
    with pytest.raises(ConflictError, match="not there any more"):
        await stage.services.instances.make(replace(grant, gpu_uuids=()))


async def test_an_instance_that_nobody_has_goes_and_one_of_a_foreign_container_stays() -> None:
    stage = await stage_on_demand()
    theirs = await stage.devices.create_instance("GPU-0", "1g.5gb", 0)
    nobodys = await stage.devices.create_instance("GPU-0", "1g.5gb", 1)
    stage.engine.add_container(docker_made("theirs", state=ContainerState.RUNNING, uuid=theirs.uuid))
    assert await stage.services.instances.reconcile() == [nobodys.uuid]
    assert await stage.services.instances.reconcile() == []
    for number in range(6):
        await stage.create(f"c{number}", kind="1g.5gb")
    assert "GPU-0/1g.5gb@0" not in {slice_ for grant in await grants(stage) for slice_ in grant.slices}
    with pytest.raises(NoCapacityError):
        await stage.create("late", kind="1g.5gb", caller=BOB_CALLER)


async def test_a_creation_that_fails_takes_its_instance_back_at_once() -> None:
    stage = await stage_on_demand()
    await run_to_failure(stage.create(kind="2g.10gb"))
    await stage.remove(force=True)
    await stage.reconcile()
    stage.trap.arm(0, None)
    stage.trap.steps.clear()
    await stage.create(kind="2g.10gb")
    step = stage.trap.steps.index("engine create_container") + 1
    await stage.remove(force=True)
    await stage.reconcile()
    stage.trap.arm(step, fail_once)
    assert isinstance(await run_to_failure(stage.create(kind="2g.10gb")), BackendError)
    assert instances(stage) == Counter()


async def test_a_failure_at_any_step_of_a_creation_leaves_no_instance_behind() -> None:
    for step in range(1, 200):
        stage = await stage_on_demand()
        before = await stage.picture()
        stage.trap.arm(step, fail_once)
        failure = await run_to_failure(stage.create(kind="2g.10gb"))
        assert only_own_errors(failure), repr(failure)
        is_reached = len(stage.trap.steps) >= step
        stage.trap.arm(0, None)
        await stage.store.settle()
        await stage.reconcile()
        await require_all_in_order(stage)
        if failure is not None:
            assert (await stage.picture())[2:4] == before[2:4]
        if not is_reached:
            assert any(name == "devices create" for name in stage.trap.steps) or step > 10
            return
    raise AssertionError("more steps than were tried")


@pytest.mark.parametrize("way", ["cancel", "die"])
async def test_an_end_at_any_step_of_a_creation_leaves_no_instance_behind(way: str) -> None:
    for step in range(1, 200):
        stage = await stage_on_demand()
        task = asyncio.ensure_future(stage.create(kind="2g.10gb"))
        stage.trap.arm(step, task.cancel if way == "cancel" else stage.trap.die)
        await asyncio.wait({task})
        is_reached = len(stage.trap.steps) >= step
        if not task.cancelled():
            assert only_own_errors(task.exception()), repr(task.exception())
        stage.trap.revive()
        await stage.store.settle()
        if way == "die":
            stage.boot()
        stage.clock.advance(timedelta(minutes=3))
        await stage.reconcile()
        await stage.reconcile()
        await require_all_in_order(stage)
        if not is_reached:
            return
    raise AssertionError("more steps than were tried")


@pytest.mark.parametrize("way", ["fail", "die"])
async def test_a_failure_at_any_step_of_a_removal_is_put_right(way: str) -> None:
    for step in range(1, 200):
        stage = await stage_on_demand()
        await stage.create(kind="2g.10gb")
        stage.trap.arm(step, fail_once if way == "fail" else stage.trap.die)
        await run_to_failure(remove_and_reconcile(stage))
        is_reached = len(stage.trap.steps) >= step
        stage.trap.revive()
        await stage.store.settle()
        stage.boot()
        await stage.reconcile()
        await require_all_in_order(stage)
        if not is_reached:
            return
    raise AssertionError("more steps than were tried")


async def remove_and_reconcile(stage: Stage) -> None:
    await stage.remove(force=True)
    await stage.reconcile()


async def test_a_card_with_room_is_shown_as_free_and_its_instances_by_their_holders() -> None:
    stage = await stage_on_demand()
    _, (empty,) = await stage.services.usage.devices()
    assert (empty.gpu.uuid, empty.is_free, empty.reason) == ("GPU-0", True, "")
    await stage.create(kind="2g.10gb")
    _, (held,) = await stage.services.usage.devices()
    assert (held.gpu.profile, held.is_free, held.reason) == ("2g.10gb", False, "held by demo")


async def test_instances_that_come_and_go_with_grants_are_no_news_about_the_card() -> None:
    stage = await stage_on_demand()
    await stage.services.upkeep.look()
    await stage.create(kind="2g.10gb")
    await stage.services.upkeep.look()
    assert "gpu.repartitioned" not in await stage.events()


async def test_a_dry_run_says_that_the_instance_would_be_made_and_makes_none() -> None:
    stage = await stage_on_demand()
    outcome = await stage.services.creation.dry_run(BOB_CALLER, order(kind="2g.10gb"))
    assert any("would be made with the grant" in warning for warning in outcome.warnings)
    assert instances(stage) == Counter()
    assert await grants(stage) == []


async def test_who_waits_for_a_place_gets_an_instance_when_it_is_free() -> None:
    stage = QueueStage(limits=LIMITS)
    stage.devices.inventory = replace(stage.devices.inventory, devices=(mig_gpu(0),))
    stage.add_image()
    await stage.services.mig.apply((WantedCard("0", True, DYNAMIC, (), "layout.yaml:2"),), actor_uid=0)
    await stage.create("first", kind="4g.20gb", caller=BOB_CALLER)
    await stage.services.queue.enqueue_creation(ALICE_CALLER, order("second", kind="7g.40gb"))
    await stage.serve()
    assert await stage.entries() == {"second": "waiting"}
    await stage.remove("first", caller=BOB_CALLER, force=True)
    await stage.serve()
    assert await stage.entries() == {"second": "done"}
    assert instances(stage) == {"7g.40gb": 1}
    await require_all_in_order(stage)
