"""Cutting cards anew, with a failure, a cancellation or a crash at every step."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from ds01.domain.devices.gpu import GpuProcess, PhysicalGpu, find_card
from ds01.domain.devices.mig_layout import DYNAMIC, STATIC, WantedCard, describe
from ds01.errors import BackendError, ConflictError, Ds01Error, NoCapacityError
from ds01.service.mig_change import read_changes
from tests.fake_devices import mig_gpu, whole_gpu
from tests.unit.service.stage import ADMIN_CALLER, Stage, fail_once, run_to_failure, until

CUT = WantedCard("0", True, STATIC, ("3g.20gb", "2g.10gb"), "layout.yaml:2")
OFF = WantedCard("0", False, STATIC, (), "layout.yaml:2")
ON_DEMAND = WantedCard("0", True, DYNAMIC, (), "layout.yaml:2")


def stage_with(card: PhysicalGpu, *others: PhysicalGpu) -> Stage:
    stage = Stage()
    stage.devices.inventory = replace(stage.devices.inventory, devices=(card, *others))
    stage.add_image()
    return stage


def h100(*slices: int) -> PhysicalGpu:
    return replace(mig_gpu(0, *slices) if slices else whole_gpu(0), compute_capability=(9, 0), model="NVIDIA H100")


async def cut() -> Stage:
    """A card with two 1g instances at 0 and 1."""
    return stage_with(mig_gpu(0, 1, 1))


def card(stage: Stage) -> PhysicalGpu:
    found = find_card(stage.devices.inventory, "GPU-0")
    assert found is not None
    return found


def layout(stage: Stage) -> tuple[bool, Counter[str]]:
    return card(stage).mig_enabled, Counter(one.profile for one in card(stage).instances)


async def apply(stage: Stage, *wanted: WantedCard) -> None:
    await stage.services.mig.apply(wanted, actor_uid=0)


async def changes(stage: Stage) -> list[str]:
    return list(await stage.store.read(read_changes))


async def test_a_layout_is_applied_and_recorded() -> None:
    stage = await cut()
    before = layout(stage)
    planned = await stage.services.mig.plan((CUT,))
    assert layout(stage) == before
    done = await stage.services.mig.apply((CUT,), actor_uid=0)
    assert done == planned
    assert layout(stage) == (True, {"3g.20gb": 1, "2g.10gb": 1})
    assert await stage.events() == ["mig.changed"]
    assert await changes(stage) == []
    assert (await stage.services.mig.apply((CUT,), actor_uid=0))[0].steps == ()
    assert await stage.events() == ["mig.changed"]


async def test_the_mode_of_an_a100_is_pending_and_that_of_an_h100_changed() -> None:
    old = stage_with(whole_gpu(0))
    await apply(old, CUT)
    assert (card(old).mig_enabled, card(old).mig_pending) == (False, True)
    old.devices.reset("GPU-0")
    await apply(old, CUT)
    new = stage_with(h100())
    await apply(new, CUT)
    assert layout(old) == layout(new) == (True, {"3g.20gb": 1, "2g.10gb": 1})


async def test_whoever_is_in_the_way_is_named_and_nothing_changes() -> None:
    stage = await cut()
    await stage.create("job")
    stage.devices.processes.append(GpuProcess(4711, "MIG-0-1", None))
    before = stage.devices.inventory
    with pytest.raises(ConflictError) as refused:
        await apply(stage, CUT)
    assert "job of alice (active)" in refused.value.message
    assert "the process 4711" in refused.value.message
    assert stage.devices.inventory == before
    assert await changes(stage) == []
    assert "mig.changed" not in await stage.events()


async def test_a_card_that_is_being_changed_is_granted_to_nobody() -> None:
    stage = await cut()
    entered, go_on = asyncio.Event(), asyncio.Event()
    create = stage.devices.create_instance

    async def wait_then_create(card_uuid: str, profile: str, start: int) -> object:
        entered.set()
        await go_on.wait()
        return await create(card_uuid, profile, start)

    stage.devices.create_instance = wait_then_create  # type: ignore[assignment,method-assign] # holds it up
    change = asyncio.ensure_future(apply(stage, replace(CUT, instances=("1g.5gb", "3g.20gb"))))
    await entered.wait()
    assert layout(stage) == (True, {"1g.5gb": 1})
    with pytest.raises(Ds01Error) as refused:
        await stage.create("job", kind="mig")
    assert "being changed" in refused.value.message
    go_on.set()
    await change
    await stage.create("job", kind="1g.5gb")


async def test_a_claim_that_comes_first_stops_the_change() -> None:
    stage = await cut()
    await stage.create("job")
    with pytest.raises(ConflictError):
        await apply(stage, OFF)
    await stage.remove("job", force=True)
    await stage.reconcile()
    await apply(stage, OFF)
    assert card(stage).mig_pending is False


@pytest.mark.parametrize("wanted", [CUT, OFF, ON_DEMAND])
@pytest.mark.parametrize("start", [(), (1, 1), (2, 1)])
async def test_a_failure_at_any_step_leaves_the_layout_before_or_the_new_one(
    wanted: WantedCard, start: tuple[int, ...]
) -> None:
    for step in range(1, 80):
        stage = stage_with(h100(*start))
        before = layout(stage)
        stage.trap.arm(step, fail_once)
        failure = await run_to_failure(apply(stage, wanted))
        is_reached = len(stage.trap.steps) >= step
        stage.trap.arm(0, None)
        await stage.services.reconciler.run()
        assert await changes(stage) == []
        if failure is None:
            assert layout(stage) == await result_of(wanted, start)
        else:
            assert isinstance(failure, Ds01Error)
            assert layout(stage) in (before, await result_of(wanted, start))
        if not is_reached:
            return
    raise AssertionError("more steps than were tried")


@pytest.mark.parametrize("wanted", [CUT, OFF])
async def test_a_crash_at_any_step_is_put_right_by_the_next_process(wanted: WantedCard) -> None:
    for step in range(1, 80):
        stage = stage_with(h100(1, 1))
        before = layout(stage)
        stage.trap.arm(step, stage.trap.die)
        await run_to_failure(apply(stage, wanted))
        is_reached = stage.trap.is_dead
        stage.trap.revive()
        await stage.store.settle()
        stage.boot()
        await stage.reconcile()
        assert layout(stage) in (before, await result_of(wanted, (1, 1)))
        assert await changes(stage) == []
        if not is_reached:
            assert step > 15
            return
    raise AssertionError("more steps than were tried")


async def result_of(wanted: WantedCard, start: tuple[int, ...]) -> tuple[bool, Counter[str]]:
    stage = stage_with(h100(*start))
    await apply(stage, wanted)
    return layout(stage)


async def test_a_change_that_is_cancelled_goes_on_to_its_end() -> None:
    stage = await cut()
    change = asyncio.ensure_future(apply(stage, CUT))
    await until(lambda: "devices destroy" in stage.trap.steps)
    change.cancel()
    with pytest.raises(asyncio.CancelledError):
        await change
    assert layout(stage) == (True, {"3g.20gb": 1, "2g.10gb": 1})
    assert await changes(stage) == []


async def test_a_way_back_that_fails_too_keeps_the_card_closed_and_is_tried_again() -> None:
    stage = await cut()
    before = layout(stage)
    real = stage.devices.create_instance
    is_broken = True

    async def break_down(card_uuid: str, profile: str, start: int) -> object:
        if is_broken:
            raise BackendError("The driver failed.")
        return await real(card_uuid, profile, start)

    stage.devices.create_instance = break_down  # type: ignore[assignment,method-assign] # a driver that fails for long
    with pytest.raises(BackendError, match="The driver failed"):
        await apply(stage, CUT)
    await stage.reconcile()
    await stage.reconcile()
    assert await changes(stage) == ["GPU-0"]
    assert (await stage.events()).count("mig.failed") == 1
    with pytest.raises(Ds01Error):
        await stage.create("job", kind="mig")
    is_broken = False
    await stage.reconcile()
    assert layout(stage) == before
    assert await changes(stage) == []
    assert (await stage.events()).count("mig.failed") == 2
    await stage.create("job", kind="mig")


async def test_cards_before_the_one_that_fails_stay_as_they_are_wanted() -> None:
    stage = stage_with(mig_gpu(0, 1), mig_gpu(1, 1))
    second = replace(CUT, gpu="1")
    real = stage.devices.create_instance

    async def fail_on_the_second(card_uuid: str, profile: str, start: int) -> object:
        if card_uuid == "GPU-1" and profile == "3g.20gb":
            raise BackendError("The driver failed.")
        return await real(card_uuid, profile, start)

    stage.devices.create_instance = fail_on_the_second  # type: ignore[assignment,method-assign] # only there
    with pytest.raises(BackendError, match="GPU 1 was not changed"):
        await apply(stage, CUT, second)
    assert layout(stage)[1] == {"3g.20gb": 1, "2g.10gb": 1}
    other = find_card(stage.devices.inventory, "GPU-1")
    assert other is not None
    assert [one.profile for one in other.instances] == ["1g.5gb"]


async def test_a_dynamic_layout_goes_back_to_a_static_one_when_nobody_has_an_instance() -> None:
    stage = await cut()
    await apply(stage, ON_DEMAND)
    assert layout(stage) == (True, Counter())
    await stage.create("job", kind="2g.10gb")
    assert layout(stage)[1] == {"2g.10gb": 1}
    await apply(stage, ON_DEMAND)
    assert layout(stage)[1] == {"2g.10gb": 1}
    with pytest.raises(ConflictError, match="job of alice"):
        await apply(stage, CUT)
    await stage.remove("job", force=True)
    await stage.reconcile()
    await apply(stage, CUT)
    assert await stage.store.read(lambda transaction: transaction.list_dynamic_cards()) == []
    await stage.create("job", kind="3g.20gb", caller=ADMIN_CALLER)
    with pytest.raises(NoCapacityError):
        await stage.create("other", kind="3g.20gb", caller=ADMIN_CALLER)
    assert [describe(step) for step in (await stage.services.mig.plan((CUT,)))[0].steps] == []


async def test_what_nobody_can_make_again_does_not_keep_the_card_closed() -> None:
    stage = stage_with(mig_gpu(0, 1, 3))  # the fake driver names the larger one so that it has no such profile
    real = stage.devices.create_instance

    async def fail_once_more(card_uuid: str, profile: str, start: int) -> object:
        if profile == "2g.10gb":
            raise BackendError("The driver failed.")
        return await real(card_uuid, profile, start)

    stage.devices.create_instance = fail_once_more  # type: ignore[assignment,method-assign] # only for this one
    with pytest.raises(BackendError):
        await apply(stage, replace(CUT, instances=("4g.20gb", "2g.10gb")))
    assert await changes(stage) == []
    assert layout(stage)[1] == {"1g.5gb": 1}
    (failed,) = await stage.store.read(lambda transaction: transaction.list_events())
    assert failed.name == "mig.failed"
    assert failed.details["undone"] is True
    assert "3g.15gb" in str(failed.details["problem"])
