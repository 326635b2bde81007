"""Layouts and instances on demand over the vendor's binding and the pretended driver, and over the fake."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from ds01.config.mig_tables import table_of_card
from ds01.domain.devices.gpu import GpuProcess, PhysicalGpu, find_card
from ds01.domain.devices.mig import MigTable, Place
from ds01.domain.devices.mig_layout import DYNAMIC, STATIC, WantedCard
from ds01.errors import ConflictError, ForbiddenError
from ds01.service.mig_change import read_changes
from tests.contract.device_worlds import CUT_CARD, TWO_CARDS, WHOLE_CARD, FakeWorld, NvmlWorld, World
from tests.contract.nvml_double import CUT, MIG_1G, WHOLE, FakeMachine, OpenDevices
from tests.unit.service.stage import Stage

H100 = replace(WHOLE_CARD, model="NVIDIA H100 PCIe", compute_capability=(9, 0))
EMPTY = replace(CUT_CARD, instances=())


@pytest.fixture(params=["nvml", "fake"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "fake":
        return FakeWorld()
    machine: FakeMachine = request.getfixturevalue("machine")
    open_devices: OpenDevices = request.getfixturevalue("open_devices")
    return NvmlWorld(machine, open_devices())


@pytest.fixture
def stage(world: World) -> Stage:
    """The services on these devices."""
    world.show(TWO_CARDS)
    stage = Stage()
    stage.devices = world.devices  # type: ignore[assignment]  # another implementation of the port
    stage.add_image()
    stage.boot()
    return stage


def wanted(gpu: str, *instances: str, mig: bool = True, layout: str = STATIC) -> WantedCard:
    return WantedCard(gpu, mig, layout, instances, "layout.yaml:2")


async def card(stage: Stage, uuid: str) -> PhysicalGpu:
    found = find_card(await stage.devices.read_inventory(), uuid)
    assert found is not None
    return found


async def instances(stage: Stage, uuid: str) -> Counter[str]:
    return Counter(one.profile for one in (await card(stage, uuid)).instances)


async def test_a_card_is_cut_anew_and_what_may_stay_stays(stage: Stage) -> None:
    await stage.services.mig.apply((wanted("1", "1g.5gb", "2g.10gb", "4g.20gb"),), actor_uid=0)
    assert await instances(stage, CUT) == {"1g.5gb": 1, "2g.10gb": 1, "4g.20gb": 1}
    await stage.services.mig.apply((wanted("1", "1g.5gb", "2g.10gb", "2g.10gb", "2g.10gb"),), actor_uid=0)
    assert await instances(stage, CUT) == {"1g.5gb": 1, "2g.10gb": 3}


async def test_the_mode_of_an_a100_waits_for_the_reset(stage: Stage, world: World) -> None:
    (plan,) = await stage.services.mig.apply((wanted("0", "3g.20gb"),), actor_uid=0)
    assert plan.needs_reset
    pending = await card(stage, WHOLE)
    assert (pending.mig_enabled, pending.mig_pending) == (False, True)
    world.reset(WHOLE)
    await stage.services.mig.apply((wanted("0", "3g.20gb"),), actor_uid=0)
    assert await instances(stage, WHOLE) == {"3g.20gb": 1}


async def test_the_mode_of_an_h100_changes_at_once_and_back(stage: Stage, world: World) -> None:
    world.show(replace(TWO_CARDS, devices=(replace(H100, links=()),)))
    await stage.services.mig.apply((wanted("0", "3g.20gb", "1g.5gb"),), actor_uid=0)
    assert await instances(stage, WHOLE) == {"3g.20gb": 1, "1g.5gb": 1}
    await stage.services.mig.apply((wanted("0", mig=False),), actor_uid=0)
    assert (await card(stage, WHOLE)).mig_enabled is False


async def test_a_process_is_in_the_way_and_nothing_changes(stage: Stage, world: World) -> None:
    world.show(TWO_CARDS, [GpuProcess(4711, MIG_1G, None)])
    before = await stage.devices.read_inventory()
    with pytest.raises(ConflictError, match="the process 4711"):
        await stage.services.mig.apply((wanted("1", "7g.40gb"),), actor_uid=0)
    assert await stage.devices.read_inventory() == before


async def test_a_driver_that_forbids_it_leaves_everything_as_it_was(stage: Stage, world: World) -> None:
    world.forbid()
    before = await stage.devices.read_inventory()
    with pytest.raises(ForbiddenError, match="was not changed"):
        await stage.services.mig.apply((wanted("1", "7g.40gb"),), actor_uid=0)
    assert await stage.devices.read_inventory() == before


async def test_grants_make_and_destroy_their_instances(stage: Stage) -> None:
    await stage.services.mig.apply((wanted("1", layout=DYNAMIC),), actor_uid=0)
    assert await instances(stage, CUT) == {}
    await stage.create("one", kind="2g.10gb")
    assert await instances(stage, CUT) == {"2g.10gb": 1}
    (grant,) = await stage.store.read(lambda transaction: transaction.list_allocations())
    assert {one.uuid for one in (await card(stage, CUT)).instances} == set(grant.gpu_uuids)
    await stage.remove("one", force=True)
    await stage.reconcile()
    assert await instances(stage, CUT) == {}
    assert await stage.store.read(read_changes) == {}


@pytest.mark.parametrize("seed", range(4))
async def test_the_table_allows_exactly_what_the_driver_makes(world: World, seed: int) -> None:
    """Random places one after another: the driver takes one exactly when it meets none that is there."""
    world.show(replace(TWO_CARDS, devices=(replace(EMPTY, index=0, links=()),)))
    (empty,) = (await world.devices.read_inventory()).devices
    table = table_of_card(empty)
    assert table is not None
    await _fill(world, table, random.Random(seed).choice)


async def _fill(world: World, table: MigTable, choose: Callable[[tuple[Place, ...]], Place]) -> None:
    taken = 0
    for _ in range(14):
        place = choose(table.places)
        try:
            await world.devices.create_instance(CUT, place.profile.name, place.start)
        except ConflictError:
            assert place.mask & taken, f"the driver refuses {place} beside {taken:b}"
        else:
            assert not place.mask & taken, f"the driver makes {place} beside {taken:b}"
            taken |= place.mask
