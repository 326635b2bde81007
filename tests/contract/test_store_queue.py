"""What every Store does with the scheduler's tables: the queue, reservations, use, shared devices."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from ds01.adapters.sqlite.store import SqliteStore
from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.request import GpuRequest
from ds01.domain.rules.consumption import Consumption
from ds01.domain.scheduling.queue import Purpose, QueueEntry, QueueState
from ds01.domain.scheduling.reservation import Reservation, ReservationState
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import BackendError, ConflictError
from ds01.service.ports import Store, StoreTransaction
from tests.fake_store import MemoryStore
from tests.store_values import ALICE, BOB, allocation, at, container


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store
    if request.param == "sqlite":
        made = await SqliteStore.open(tmp_path / "ds01.db", checkpoint=lambda _step: None)
    else:
        made = MemoryStore()
    yield made
    await made.close()


def waiting(name: str, *, uid: int = ALICE, minute: int = 0, container: str = "") -> QueueEntry:
    """A plain request."""
    request = Waiting(name, uid, "lab", container or f"{name}-container", GpuRequest(2, "full"), 5, None, at(minute))
    return QueueEntry(request, Purpose.CREATE, '{"größe": 1}', QueueState.WAITING, at(minute))


def full(name: str) -> QueueEntry:
    """A request with something in every field."""
    entry = waiting(name)
    everything = replace(
        entry.waiting,
        request=GpuRequest(1, "1g.5gb", 5 * 1024**3),
        time_limit=timedelta(hours=8, microseconds=1),
        gives_up_at=at(60),
        not_before=at(5),
        gpu_uuids=("GPU-1", "GPU-0"),
        reservation="r1",
        is_exclusive=True,
        promised_at=at(30),
        moved_to=0,
        has_container=True,
    )
    return replace(entry, waiting=everything, purpose=Purpose.START, reason="ü", attempts=2, image="ds01.invalid/a:b")


def reservation(name: str, *, minute: int = 0, state: ReservationState = ReservationState.PLANNED) -> Reservation:
    return Reservation(
        id=f"id-{name}",
        name=name,
        uid=ALICE,
        group=None,
        request=GpuRequest(1, "full"),
        start_at=at(minute),
        end_at=at(minute + 60),
        reason="a course",
        created_by_uid=0,
        created_at=at(-1),
        state=state,
    )


async def save(store: Store, *entries: QueueEntry) -> None:
    def decide(transaction: StoreTransaction) -> None:
        for entry in entries:
            transaction.save_waiting(entry)

    await store.write(decide)


async def test_a_request_is_read_back_as_it_was(store: Store) -> None:
    entries = [waiting("a", minute=3), full("b"), waiting("c", minute=-1, uid=BOB)]
    await save(store, *entries)
    assert await store.read(lambda t: t.list_waiting()) == [entries[2], entries[1], entries[0]]
    assert await store.read(lambda t: t.find_waiting("b")) == entries[1]
    assert await store.read(lambda t: t.find_waiting("x")) is None
    assert await store.read(lambda t: t.find_granted("a1")) is None
    assert await store.read(lambda t: t.list_ended()) == []


async def test_a_request_goes_through_its_life(store: Store) -> None:
    entry = waiting("a")
    await save(store, entry)
    granted = replace(entry, state=QueueState.GRANTED, allocation_id="a1", changed_at=at(2))

    def grant(transaction: StoreTransaction) -> None:
        transaction.save_allocation(allocation("a1", "GPU-0"))
        transaction.save_waiting(granted)

    await store.write(grant)
    assert await store.read(lambda t: t.find_granted("a1")) == granted
    assert await store.read(lambda t: t.list_waiting()) == [granted]
    done = replace(granted, state=QueueState.DONE, changed_at=at(3))
    await save(store, done)
    assert await store.read(lambda t: t.find_granted("a1")) is None
    assert await store.read(lambda t: t.list_waiting()) == []
    assert await store.read(lambda t: t.list_ended()) == [done]
    assert await store.write(lambda t: t.delete_ended(at(3))) == 0
    assert await store.write(lambda t: t.delete_ended(at(4))) == 1
    assert await store.read(lambda t: t.find_waiting("a")) is None


async def test_a_grant_and_its_request_come_and_go_together(store: Store) -> None:
    entry = waiting("a")
    await store.write(lambda t: t.save_allocation(allocation("a1", "GPU-0")))
    for broken in (
        replace(entry, state=QueueState.GRANTED),
        replace(entry, allocation_id="a1"),
        replace(entry, state=QueueState.GRANTED, allocation_id="nothing"),
    ):
        with pytest.raises(ConflictError):
            await save(store, broken)
    await save(store, replace(entry, state=QueueState.GRANTED, allocation_id="a1"))
    with pytest.raises(ConflictError):
        await save(store, replace(waiting("b"), state=QueueState.GRANTED, allocation_id="a1"))


async def test_one_open_request_for_a_container(store: Store) -> None:
    first = waiting("a", container="train")
    await save(store, first, waiting("b", container="train", uid=BOB))
    with pytest.raises(ConflictError, match="train"):
        await save(store, waiting("c", container="train"))
    await save(store, replace(first, state=QueueState.CANCELLED))
    await save(store, waiting("c", container="train"))
    with pytest.raises(ConflictError):
        await save(store, first)


async def test_reservations_are_read_back_by_their_begin(store: Store) -> None:
    of_group = replace(reservation("b", minute=-5), uid=None, group="lab", changed_at=at(1), created_by_uid=None)
    items = [reservation("a"), of_group, reservation("old", minute=-99, state=ReservationState.ENDED)]

    def decide(transaction: StoreTransaction) -> None:
        for item in items:
            transaction.save_reservation(item)

    await store.write(decide)
    assert await store.read(lambda t: t.list_reservations()) == [items[1], items[0]]
    assert await store.read(lambda t: t.list_reservations(with_over=True)) == [items[2], items[1], items[0]]
    with pytest.raises(ConflictError, match="a already"):
        await store.write(lambda t: t.save_reservation(replace(reservation("a"), id="other")))
    await store.write(lambda t: t.save_reservation(replace(items[0], state=ReservationState.CANCELLED)))
    await store.write(lambda t: t.save_reservation(replace(reservation("a"), id="other")))
    for broken in (replace(items[0], end_at=items[0].start_at), replace(items[0], uid=None)):
        with pytest.raises(ConflictError):
            await store.write(partial(_save_reservation, item=broken))


async def test_what_was_used_is_kept_by_user_and_group(store: Store) -> None:
    first, second = Consumption(ALICE, "lab", 1.5, at(0)), Consumption(ALICE, "", 2.0, at(1))

    def decide(transaction: StoreTransaction) -> None:
        transaction.save_consumption(Consumption(ALICE, "lab", 1.0, at(-1)))
        transaction.save_consumption(first)
        transaction.save_consumption(second)

    await store.write(decide)
    assert await store.read(lambda t: t.list_consumption()) == [second, first]
    assert await store.read(lambda t: t.find_consumption(ALICE, "lab")) == first
    assert await store.read(lambda t: t.find_consumption(BOB, "lab")) is None


async def test_the_new_fields_of_a_grant_are_kept(store: Store) -> None:
    grant = replace(
        allocation("a1", "GPU-0"),
        group="größe",
        time_limit=timedelta(hours=1),
        ends_at=at(60),
        reservation="r1",
        shares=3,
        slices=("GPU-1/1g.5gb@0",),
    )
    await store.write(lambda t: t.save_allocation(grant))
    assert await store.read(lambda t: t.find_allocation("a1")) == grant
    assert await store.read(lambda t: t.has_grant_in("r1"))
    assert not await store.read(lambda t: t.has_grant_in("r2"))
    later = replace(grant, ends_at=at(99), state=AllocationState.RELEASED)
    await store.write(lambda t: t.save_allocation(later))
    assert await store.read(lambda t: t.find_allocation("a1")) == later
    assert await store.read(lambda t: t.has_grant_in("r1")), "also when it is released"


async def hold(store: Store, name: str, *gpus: str, shares: int = 1, slices: tuple[str, ...] = ()) -> bool:
    grant = replace(allocation(name, *gpus), shares=shares, slices=slices)
    try:
        await store.write(lambda t: t.save_allocation(grant))
    except ConflictError:
        return False
    return True


async def test_a_shared_device_has_so_many_holders_and_no_more(store: Store) -> None:
    assert [await hold(store, f"a{number}", "GPU-0", shares=3) for number in range(4)] == [True, True, True, False]
    assert not await hold(store, "alone", "GPU-0")
    await store.write(lambda t: t.save_allocation(_released("a1")))
    assert not await hold(store, "alone", "GPU-0")
    assert await hold(store, "a4", "GPU-0", shares=3)
    assert not await hold(store, "a5", "GPU-0", shares=3)


async def test_nobody_shares_a_device_that_somebody_has_alone(store: Store) -> None:
    assert await hold(store, "alone", "GPU-0")
    assert not await hold(store, "a1", "GPU-0", shares=3)
    assert await hold(store, "a2", "GPU-1", shares=3)
    assert not await hold(store, "a3", "GPU-1", shares=1)


async def test_the_least_number_of_shares_counts(store: Store) -> None:
    """The policy was changed while some shared a device."""
    assert await hold(store, "a1", "GPU-0", shares=4)
    assert await hold(store, "a2", "GPU-0", shares=2)
    assert not await hold(store, "a3", "GPU-0", shares=4)


async def test_a_place_for_an_instance_is_granted_once(store: Store) -> None:
    assert await hold(store, "a1", slices=("GPU-0/1g.5gb@0",))
    assert not await hold(store, "a2", slices=("GPU-0/1g.5gb@0",))
    assert await hold(store, "a2", slices=("GPU-0/1g.5gb@1",))
    made = replace(allocation("a1", "MIG-1"), slices=("GPU-0/1g.5gb@0",))
    await store.write(lambda t: t.save_allocation(made))
    assert not await hold(store, "a3", "MIG-1")
    await store.write(lambda t: t.save_allocation(replace(made, state=AllocationState.RELEASED)))
    assert await hold(store, "a3", "MIG-1", slices=("GPU-0/1g.5gb@0",))


async def test_containers_are_counted_by_user(store: Store) -> None:
    def decide(transaction: StoreTransaction) -> None:
        transaction.save_allocation(allocation("a1"))
        for name, uid in (("a", ALICE), ("b", ALICE), ("a", BOB)):
            transaction.insert_container(container(name, "a1", uid=uid))

    assert dict(await store.read(lambda t: t.count_containers())) == {}
    await store.write(decide)
    assert dict(await store.read(lambda t: t.count_containers())) == {ALICE: 2, BOB: 1}


async def test_a_query_cannot_change_the_queue(store: Store) -> None:
    with pytest.raises(BackendError):
        await store.read(lambda t: t.save_waiting(waiting("a")))
    with pytest.raises(BackendError):
        await store.read(lambda t: t.save_reservation(reservation("a")))
    with pytest.raises(BackendError):
        await store.read(lambda t: t.save_consumption(Consumption(ALICE, "", 1.0, at(0))))
    with pytest.raises(BackendError):
        await store.read(lambda t: t.delete_ended(at(0)))


def _released(name: str) -> Allocation:
    return replace(allocation(name, "GPU-0"), shares=3, state=AllocationState.RELEASED)


def _save_reservation(transaction: StoreTransaction, item: Reservation) -> None:
    transaction.save_reservation(item)
