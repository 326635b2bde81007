"""Grants on devices that are gone: told, never moved, held again when they come back, freed when nothing runs."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain.containers.plan import ActionKind
from ds01.domain.devices.gpu import Inventory
from ds01.errors import BackendError, NoCapacityError
from ds01.service.loss import LOST_AFTER
from tests.fakes import mig_gpu, whole_gpu
from tests.unit.service.repairs import kinds, stage_with
from tests.unit.service.stage import BOB_CALLER, Stage

HOLD = timedelta(hours=1)


@pytest.fixture
def stage() -> Stage:
    return stage_with(HOLD)


async def lose(stage: Stage, inventory: Inventory) -> None:
    """Change the machine, and let it be noticed."""
    stage.devices.inventory = inventory
    await stage.reconcile()
    stage.clock.advance(LOST_AFTER)
    await stage.reconcile()


def without(stage: Stage, uuid: str) -> Inventory:
    inventory = stage.devices.inventory
    return replace(inventory, devices=tuple(card for card in inventory.devices if card.uuid != uuid))


async def test_the_loss_of_a_running_container_is_told_once_and_nothing_is_moved(stage: Stage) -> None:
    await stage.create(kind="full")
    await stage.start()
    await lose(stage, without(stage, "GPU-0"))
    assert await stage.held() == {"GPU-0": "demo"}
    assert await stage.states() == {"demo": "active"}
    stage.boot()
    await lose(stage, stage.devices.inventory)
    assert (await stage.events()).count("allocation.lost") == 1
    assert await kinds(stage) == []


async def test_a_running_container_holds_its_device_again_when_it_returns(stage: Stage) -> None:
    before = stage.devices.inventory
    await stage.create(kind="full")
    await stage.start()
    await lose(stage, without(stage, "GPU-0"))
    stage.devices.inventory = before
    assert await kinds(stage) == [ActionKind.TELL_BACK]
    await stage.reconcile()
    assert (await stage.events())[-1] == "allocation.repaired"
    with pytest.raises(NoCapacityError, match="held by demo"):
        await stage.create("other", caller=BOB_CALLER, kind="full")
    await lose(stage, without(stage, "GPU-0"))
    assert (await stage.events()).count("allocation.lost") == 2


async def test_what_a_stopped_container_holds_of_a_lost_device_is_freed(stage: Stage) -> None:
    before = stage.devices.inventory
    await stage.create(kind="full")
    await stage.start()
    await stage.stop()
    assert await stage.states() == {"demo": "held"}
    await lose(stage, without(stage, "GPU-0"))
    assert await stage.held() == {}
    assert (await stage.events())[-2:] == ["allocation.lost", "allocation.released"]
    with pytest.raises(NoCapacityError, match="gone"):
        await stage.start()
    stage.devices.inventory = before
    await stage.start()
    assert await stage.held() == {"GPU-0": "demo"}


async def test_a_container_that_stops_after_the_loss_holds_nothing(stage: Stage) -> None:
    await stage.create(kind="full")
    await stage.start()
    await lose(stage, without(stage, "GPU-0"))
    await stage.stop()
    await stage.reconcile()
    assert await stage.held() == {}


async def test_an_instance_that_was_made_anew_is_not_taken_for_the_old_one(stage: Stage) -> None:
    await stage.create(kind="1g.5gb")
    await stage.start()
    (held,) = await stage.held()
    card = mig_gpu(1, 3, 1, 1)
    renamed = tuple(replace(one, uuid=f"{one.uuid}-new") for one in card.instances)
    await lose(stage, Inventory((whole_gpu(0), replace(card, instances=renamed)), "560", (12, 6)))
    assert await stage.held() == {held: "demo"}
    assert (await stage.events())[-1] == "allocation.lost"
    await stage.create("other", caller=BOB_CALLER, kind="1g.5gb")


async def test_a_card_that_does_not_answer_is_not_gone(stage: Stage) -> None:
    await stage.create(kind="1g.5gb")
    await stage.start()
    broken = replace(mig_gpu(1), instances=(), fault="GPU is lost")
    await lose(stage, Inventory((whole_gpu(0), broken), "560", (12, 6)))
    assert "allocation.lost" not in await stage.events()


async def test_unknown_devices_are_not_gone_and_not_back(stage: Stage) -> None:
    await stage.create(kind="full")
    await stage.start()
    stage.devices.failure = BackendError("The GPUs are unknown.")
    await lose(stage, stage.devices.inventory)
    assert "allocation.lost" not in await stage.events()
    stage.devices.failure = None
    await lose(stage, without(stage, "GPU-0"))
    stage.devices.failure = BackendError("The GPUs are unknown.")
    await stage.reconcile()
    assert (await stage.events())[-1] == "allocation.lost"


async def test_a_device_that_is_missing_for_a_moment_is_not_gone(stage: Stage) -> None:
    before = stage.devices.inventory
    await stage.create(kind="full")
    await stage.start()
    for _ in range(3):
        stage.devices.inventory = without(stage, "GPU-0")
        await stage.reconcile()
        stage.clock.advance(LOST_AFTER / 2)
        stage.devices.inventory = before
        await stage.reconcile()
        stage.clock.advance(LOST_AFTER / 2)
    assert "allocation.lost" not in await stage.events()


async def test_other_devices_can_be_granted_while_one_is_lost(stage: Stage) -> None:
    await stage.create(kind="full")
    await stage.start()
    await lose(stage, without(stage, "GPU-0"))
    await stage.create("other", caller=BOB_CALLER, kind="3g.15gb")
    assert (await stage.held())["MIG-1-0"] == "other"
