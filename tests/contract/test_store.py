"""What every Store does: the real one and the one in memory."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta, timezone
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from ds01.adapters.sqlite.store import SqliteStore
from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.event import Event, EventFilter, names_matching
from ds01.errors import BackendError, ConflictError
from ds01.service.ports import ContainerRow, Store, StoreTransaction
from tests.fake_store import MemoryStore
from tests.store_values import ALICE, BOB, START, allocation, at, container


def pass_every_checkpoint(step: str) -> None:
    assert step


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store
    if request.param == "sqlite":
        made = await SqliteStore.open(tmp_path / "ds01.db", checkpoint=pass_every_checkpoint)
    else:
        made = MemoryStore()
    yield made
    await made.close()


class DeliberateError(Exception):
    pass


def fail() -> NoReturn:
    raise DeliberateError


def get_fact(transaction: StoreTransaction, key: str) -> str | None:
    return transaction.get_fact(key)


def save_allocation(transaction: StoreTransaction, saved: Allocation) -> None:
    transaction.save_allocation(saved)


def save_container(transaction: StoreTransaction, saved: ContainerRow) -> None:
    transaction.save_container(saved)


def append_event(transaction: StoreTransaction, event: Event) -> int:
    return transaction.append_event(event)


async def test_what_was_written_is_read_back_as_it_was(store: Store) -> None:
    first = allocation("a1", "GPU-1", "GPU-0", deadline=at(5))
    second = replace(allocation("a2", minute=-3), request=replace(first.request, memory_bytes=None))
    row = container("train", "a1")
    event = Event(
        "allocation.claimed", at(0), ALICE, 0, "train", {"allocation": "a1", "gpus": ["GPU-1"], "reason": "ü"}
    )

    def decide(transaction: StoreTransaction) -> int:
        transaction.save_allocation(first)
        transaction.save_allocation(second)
        transaction.insert_container(row)
        transaction.set_fact("key", "value")
        return transaction.append_event(event)

    number = await store.write(decide)

    assert await store.read(lambda t: t.list_allocations()) == [second, first]
    assert await store.read(lambda t: t.find_allocation("a1")) == first
    assert await store.read(lambda t: t.find_container(ALICE, "train")) == row
    assert await store.read(lambda t: t.find_container_by_nonce(row.nonce)) == row
    assert await store.read(lambda t: t.list_events()) == [replace(event, id=number)]
    assert await store.read(lambda t: t.get_fact("key")) == "value"


async def test_what_is_not_there_is_none(store: Store) -> None:
    assert await store.read(lambda t: t.find_allocation("a1")) is None
    assert await store.read(lambda t: t.find_container(ALICE, "train")) is None
    assert await store.read(lambda t: t.find_container_by_nonce("nonce")) is None
    assert await store.read(lambda t: t.get_fact("key")) is None
    assert await store.read(lambda t: t.list_allocations()) == []
    assert await store.read(lambda t: t.list_containers()) == []
    await store.write(lambda t: t.delete_container(ALICE, "train"))


async def test_a_transaction_sees_what_it_has_written(store: Store) -> None:
    def decide(transaction: StoreTransaction) -> list[str]:
        transaction.save_allocation(allocation("a1", "GPU-0"))
        return [found.id for found in transaction.list_allocations()]

    assert await store.write(decide) == ["a1"]


async def test_an_exception_undoes_its_own_transaction_and_reaches_its_caller(store: Store) -> None:
    def decide(transaction: StoreTransaction) -> None:
        transaction.save_allocation(allocation("a1", "GPU-0"))
        transaction.insert_container(container("train", "a1"))
        transaction.append_event(Event("container.started", at(0)))
        transaction.set_fact("key", "value")
        fail()

    with pytest.raises(DeliberateError):
        await store.write(decide)
    await test_what_is_not_there_is_none(store)
    assert await store.read(lambda t: t.list_events()) == []


async def test_an_exception_leaves_the_transactions_around_it_alone(store: Store) -> None:
    def write(number: int) -> None:
        if number % 3 == 0:
            fail()

    def decide(transaction: StoreTransaction, number: int) -> int:
        transaction.set_fact(str(number), "done")
        write(number)
        return number

    tasks = [store.write(partial(decide, number=number)) for number in range(30)]
    results = await asyncio.gather(*tasks, return_exceptions=True)

    for number, result in enumerate(results):
        fact = await store.read(partial(get_fact, key=str(number)))
        assert isinstance(result, DeliberateError) == (number % 3 == 0)
        assert fact == (None if number % 3 == 0 else "done")


async def test_an_empty_iterator_in_a_transaction_is_an_error_and_not_a_hang(store: Store) -> None:
    empty: list[str] = []
    with pytest.raises((RuntimeError, StopIteration)):
        await asyncio.wait_for(store.write(lambda _: next(iter(empty))), 5)
    with pytest.raises((RuntimeError, StopIteration)):
        await asyncio.wait_for(store.read(lambda _: next(iter(empty))), 5)


@pytest.mark.parametrize("state", [AllocationState.CLAIMED, AllocationState.ACTIVE, AllocationState.HELD])
async def test_a_device_that_is_held_cannot_be_granted_again(store: Store, state: AllocationState) -> None:
    await store.write(lambda t: t.save_allocation(allocation("a1", "GPU-0", "GPU-1", state=state)))
    with pytest.raises(ConflictError, match="GPU-1"):
        await store.write(lambda t: t.save_allocation(allocation("a2", "GPU-2", "GPU-1", uid=BOB)))
    assert await store.read(lambda t: t.find_allocation("a2")) is None


async def test_a_caller_that_catches_the_conflict_finds_no_half_of_the_grant(store: Store) -> None:
    await store.write(lambda t: t.save_allocation(allocation("a1", "GPU-0")))

    def decide(transaction: StoreTransaction) -> None:
        with pytest.raises(ConflictError):
            transaction.save_allocation(allocation("a2", "GPU-2", "GPU-0"))
        transaction.save_allocation(allocation("a3", "GPU-2"))

    await store.write(decide)
    assert [found.id for found in await store.read(lambda t: t.list_allocations())] == ["a1", "a3"]


async def test_a_device_cannot_be_in_one_allocation_twice(store: Store) -> None:
    with pytest.raises(ConflictError):
        await store.write(lambda t: t.save_allocation(allocation("a1", "GPU-0", "GPU-0")))


async def test_a_released_device_can_be_granted_again_and_the_old_grant_keeps_its_record(store: Store) -> None:
    old = allocation("a1", "GPU-0")
    await store.write(lambda t: t.save_allocation(old))
    released = replace(old, state=AllocationState.RELEASED, changed_at=at(9))

    def decide(transaction: StoreTransaction) -> None:
        transaction.save_allocation(released)
        transaction.save_allocation(allocation("a2", "GPU-0", uid=BOB))

    await store.write(decide)
    assert await store.read(lambda t: t.find_allocation("a1")) == released
    assert [found.id for found in await store.read(lambda t: t.list_allocations())] == ["a2"]
    with pytest.raises(ConflictError):
        await store.write(lambda t: t.save_allocation(old))


async def test_the_devices_of_an_allocation_can_change(store: Store) -> None:
    await store.write(lambda t: t.save_allocation(allocation("a1", "GPU-0", "GPU-1")))
    await store.write(lambda t: t.save_allocation(allocation("a1", "GPU-2", "GPU-0")))
    await store.write(lambda t: t.save_allocation(allocation("a2", "GPU-1")))
    found = await store.read(lambda t: t.find_allocation("a1"))
    assert found is not None
    assert found.gpu_uuids == ("GPU-2", "GPU-0")


async def test_concurrent_claims_of_one_device_give_it_to_exactly_one(store: Store) -> None:
    claims = [store.write(partial(save_allocation, saved=allocation(f"a{number}", "GPU-0"))) for number in range(16)]
    results = await asyncio.gather(*claims, return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [ConflictError] * 15
    assert len(await store.read(lambda t: t.list_allocations())) == 1


async def test_a_name_is_unique_for_each_user(store: Store) -> None:
    def prepare(transaction: StoreTransaction) -> None:
        transaction.save_allocation(allocation("a1"))
        transaction.insert_container(container("train", "a1"))
        transaction.insert_container(container("train", "a1", uid=BOB))

    await store.write(prepare)
    with pytest.raises(ConflictError, match="train already"):
        await store.write(lambda t: t.insert_container(container("train", "a1", nonce="other")))


async def test_a_row_is_completed_by_its_name(store: Store) -> None:
    row = container("train", "a1")
    await store.write(partial(save_allocation, saved=allocation("a1")))
    await store.write(lambda t: t.save_container(row))
    complete = replace(row, engine_id="f" * 64)
    await store.write(lambda t: t.save_container(complete))
    assert await store.read(lambda t: t.list_containers()) == [complete]
    await store.write(lambda t: t.delete_container(ALICE, "train"))
    assert await store.read(lambda t: t.list_containers()) == []


async def test_a_nonce_is_unique(store: Store) -> None:
    def prepare(transaction: StoreTransaction) -> None:
        transaction.save_allocation(allocation("a1"))
        transaction.insert_container(container("train", "a1", nonce="n1"))
        transaction.insert_container(container("test", "a1", nonce="n2"))

    await store.write(prepare)
    with pytest.raises(ConflictError, match="nonce"):
        await store.write(lambda t: t.insert_container(container("third", "a1", nonce="n1")))
    with pytest.raises(ConflictError, match="nonce"):
        await store.write(lambda t: t.save_container(container("test", "a1", nonce="n1")))


async def test_a_container_needs_its_allocation(store: Store) -> None:
    with pytest.raises(ConflictError, match="a1"):
        await store.write(lambda t: t.insert_container(container("train", "a1")))


async def test_lists_are_oldest_first_whatever_the_order_of_insertion(store: Store) -> None:
    minutes = list(range(12))
    random.Random(4).shuffle(minutes)

    def prepare(transaction: StoreTransaction) -> None:
        for minute in minutes:
            transaction.save_allocation(allocation(f"a{minute}", minute=minute))
            transaction.insert_container(container(f"c{minute}", f"a{minute}", minute=minute))

    await store.write(prepare)
    assert [found.id for found in await store.read(lambda t: t.list_allocations())] == [f"a{n}" for n in range(12)]
    assert [row.name for row in await store.read(lambda t: t.list_containers())] == [f"c{n}" for n in range(12)]


async def test_what_is_equally_old_is_in_the_order_of_its_names(store: Store) -> None:
    for name in ("b", "a", "c"):
        await store.write(partial(save_allocation, saved=allocation(name)))
        await store.write(partial(save_container, saved=container(name, name)))
    assert [found.id for found in await store.read(lambda t: t.list_allocations())] == ["a", "b", "c"]
    assert [row.name for row in await store.read(lambda t: t.list_containers())] == ["a", "b", "c"]


async def test_a_user_sees_own_and_public_events_after_a_number(store: Store) -> None:
    events = [
        Event("container.started", at(0), ALICE),
        Event("container.started", at(1), BOB),
        Event("policy.changed", at(2), None, 0, None, {"source": "policy.yaml"}),
        Event("container.stopped", at(3), ALICE, details={"exit_code": 3}),
        Event("access.denied", at(4), None, BOB, details={"reason": "not an administrator"}),
        Event("gpu.unmanaged", at(5), BOB, details={"gpu": "GPU-0"}),
    ]
    numbers = [await store.write(partial(append_event, event=event)) for event in events]
    assert numbers == sorted(set(numbers))
    assert [event.at for event in await store.read(lambda t: t.list_events())] == [event.at for event in events]
    mine = await store.read(lambda t: t.list_events(EventFilter(viewer_uid=ALICE)))
    assert [event.id for event in mine] == [numbers[0], numbers[2], numbers[3], numbers[5]]
    later = await store.read(lambda t: t.list_events(EventFilter(viewer_uid=ALICE), after_id=numbers[0], limit=2))
    assert [event.id for event in later] == [numbers[2], numbers[3]]
    assert await store.read(lambda t: t.list_events(limit=0)) == []


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (EventFilter(), [1, 2, 3, 4, 5, 6]),
        (EventFilter(viewer_uid=ALICE), [1, 3, 4, 6]),
        (EventFilter(viewer_uid=ALICE, uid=ALICE), [1, 4]),
        (EventFilter(uid=BOB), [2, 5, 6]),
        (EventFilter(viewer_uid=ALICE, uid=BOB), [6]),
        (EventFilter(since=at(1), until=at(4)), [2, 3, 4]),
        (EventFilter(container="train"), [1, 2, 4]),
        (EventFilter(viewer_uid=ALICE, container="train"), [1, 4]),
        (EventFilter(names=names_matching("container.*")), [1, 2, 4]),
        (EventFilter(names=names_matching("policy.changed")), [3]),
        (EventFilter(names=frozenset()), []),
        (EventFilter(viewer_uid=BOB, since=at(2), names=names_matching("*"), container=None), [3, 5, 6]),
    ],
)
async def test_events_are_filtered_and_the_newest_stand_last(
    store: Store, wanted: EventFilter, numbers: list[int]
) -> None:
    events = [
        Event("container.started", at(0), ALICE, container="train"),
        Event("container.started", at(1), BOB, container="train"),
        Event("policy.changed", at(2), None, 0, None, {"source": "policy.yaml"}),
        Event("container.stopped", at(3), ALICE, container="train"),
        Event("access.denied", at(4), BOB, BOB, details={"reason": "not an administrator"}),
        Event("gpu.unmanaged", at(5), BOB, container="other", details={"gpu": "GPU-0"}),
    ]
    for event in events:
        await store.write(partial(append_event, event=event))

    def ids(limit: int = 100, *, after_id: int = 0, from_end: bool = False) -> Callable[[StoreTransaction], list[int]]:
        return lambda t: [
            event.id for event in t.list_events(wanted, after_id=after_id, limit=limit, from_end=from_end)
        ]

    assert await store.read(ids()) == numbers
    assert await store.read(ids(2)) == numbers[:2]
    assert await store.read(ids(2, from_end=True)) == numbers[-2:]
    assert await store.read(ids(after_id=3)) == [number for number in numbers if number > 3]
    assert await store.read(ids(0, from_end=True)) == []


async def test_times_of_other_zones_are_the_same_moments(store: Store) -> None:
    moment = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    await store.write(lambda t: t.append_event(Event("container.started", moment)))
    [event] = await store.read(lambda t: t.list_events())
    assert event.at == START


async def test_a_query_cannot_write(store: Store) -> None:
    with pytest.raises(BackendError):
        await store.read(lambda t: t.set_fact("key", "value"))
    assert await store.read(lambda t: t.get_fact("key")) is None
    await store.write(lambda t: t.set_fact("key", "value"))


async def test_a_cancelled_caller_leaves_a_whole_transaction_or_none(store: Store) -> None:
    def decide(transaction: StoreTransaction, number: int) -> None:
        transaction.set_fact(f"first {number}", "done")
        transaction.set_fact(f"second {number}", "done")

    tasks = [asyncio.create_task(store.write(partial(decide, number=number))) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for number in range(20):
        first = await store.read(partial(get_fact, key=f"first {number}"))
        second = await store.read(partial(get_fact, key=f"second {number}"))
        assert first == second
        assert number % 2 == 0 or first == "done"


async def test_a_closed_store_refuses(store: Store) -> None:
    await store.close()
    await store.close()
    with pytest.raises(BackendError):
        await store.write(lambda t: t.set_fact("key", "value"))
    with pytest.raises(BackendError):
        await store.read(lambda t: t.get_fact("key"))
