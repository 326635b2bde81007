"""Places on cards whose instances are made by grants: no store lets two grants have places that meet."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ds01.adapters.sqlite.store import SqliteStore
from ds01.config.mig_tables import read_shipped_tables
from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.devices.mig import format_slice
from ds01.errors import ConflictError
from ds01.service.ports import Store
from tests.fake_store import MemoryStore
from tests.store_values import allocation

TABLE = read_shipped_tables()["A100-40GB"]
PLACES = {format_slice("GPU-1", place): place.bits for place in TABLE.places}


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore()
    if request.param == "sqlite":
        made = await SqliteStore.open(tmp_path / "ds01.db", checkpoint=lambda step: None)
    await made.write(lambda transaction: transaction.save_dynamic_card("GPU-1", PLACES))
    yield made
    await made.close()


def grant(name: str, *slices: str, gpus: tuple[str, ...] = ()) -> Allocation:
    return replace(allocation(name, *gpus), slices=slices)


async def save(store: Store, saved: Allocation) -> None:
    await store.write(lambda transaction: transaction.save_allocation(saved))


async def test_every_two_places_can_be_held_together_exactly_when_their_bits_do_not_meet(store: Store) -> None:
    for number, one in enumerate(TABLE.places):
        first = grant(f"first-{number}", format_slice("GPU-1", one))
        await save(store, first)
        for other in TABLE.places:
            second = grant(f"second-{number}-{other.mask}", format_slice("GPU-1", other))
            if one.bits & other.bits:
                with pytest.raises(ConflictError):
                    await save(store, second)
            else:
                await save(store, second)
                await save(store, replace(second, state=AllocationState.RELEASED))
        await save(store, replace(first, state=AllocationState.RELEASED))


async def test_a_place_is_free_for_the_next_grant_once_it_is_released(store: Store) -> None:
    await save(store, grant("one", "GPU-1/3g.20gb@0"))
    await save(store, grant("two", "GPU-1/3g.20gb@4"))
    with pytest.raises(ConflictError):
        await save(store, grant("three", "GPU-1/1g.5gb@6"))
    await save(store, replace(grant("two", "GPU-1/3g.20gb@4"), state=AllocationState.RELEASED))
    await save(store, grant("three", "GPU-1/1g.5gb@6"))


async def test_an_instance_that_was_made_is_recorded_beside_its_place(store: Store) -> None:
    await save(store, grant("one", "GPU-1/1g.5gb@6"))
    await save(store, grant("one", "GPU-1/1g.5gb@6", gpus=("MIG-1",)))
    with pytest.raises(ConflictError):
        await save(store, grant("two", gpus=("MIG-1",)))


async def test_the_whole_card_and_a_place_on_it_exclude_each_other(store: Store) -> None:
    await save(store, grant("one", gpus=("GPU-1",)))
    with pytest.raises(ConflictError):
        await save(store, grant("two", "GPU-1/1g.5gb@0"))
    await save(store, replace(grant("one", gpus=("GPU-1",)), state=AllocationState.RELEASED))
    await save(store, grant("two", "GPU-1/1g.5gb@0"))
    with pytest.raises(ConflictError):
        await save(store, grant("three", gpus=("GPU-1",)))


async def test_a_place_that_the_card_does_not_have_is_refused(store: Store) -> None:
    with pytest.raises(ConflictError):
        await save(store, grant("one", "GPU-1/1g.5gb@7"))


async def test_two_places_of_one_grant_that_meet_are_refused(store: Store) -> None:
    with pytest.raises(ConflictError):
        await save(store, grant("one", "GPU-1/3g.20gb@0", "GPU-1/1g.5gb@3"))
    await save(store, grant("one", "GPU-1/3g.20gb@0", "GPU-1/1g.5gb@4"))


async def test_a_card_is_dynamic_until_it_has_no_places_any_more(store: Store) -> None:
    assert await store.read(lambda transaction: transaction.list_dynamic_cards()) == ["GPU-1"]
    await store.write(lambda transaction: transaction.save_dynamic_card("GPU-0", {"GPU-0/1g.5gb@0": 1}))
    assert await store.read(lambda transaction: transaction.list_dynamic_cards()) == ["GPU-0", "GPU-1"]
    await store.write(lambda transaction: transaction.save_dynamic_card("GPU-1", {}))
    assert await store.read(lambda transaction: transaction.list_dynamic_cards()) == ["GPU-0"]
