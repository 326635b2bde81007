"""The small parts that the use cases stand on: completion, undo, presence, facts."""

import asyncio
from functools import partial

import pytest

from ds01.errors import BackendError, InvalidRequestError
from ds01.service.completion import complete
from ds01.service.fact import FactKind
from ds01.service.presence import Presence
from ds01.service.undo import Undo
from tests.fake_store import MemoryStore


async def test_completed_work_gives_its_result_or_its_error() -> None:
    async def fine() -> int:
        await asyncio.sleep(0)
        return 7

    async def broken() -> int:
        await asyncio.sleep(0)
        raise BackendError("broken")

    assert await complete(fine()) == 7
    with pytest.raises(BackendError):
        await complete(broken())


@pytest.mark.parametrize("cancellations", [1, 2, 5])
async def test_a_cancellation_waits_until_the_work_has_ended(cancellations: int) -> None:
    done: list[str] = []

    async def work() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        done.append("done")
        raise BackendError("nobody hears this")

    task = asyncio.ensure_future(complete(work()))
    for _ in range(cancellations):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert done == ["done"]


async def test_undo_takes_back_the_newest_first_and_goes_on_after_a_failure() -> None:
    taken_back: list[str] = []

    async def take_back(name: str) -> None:
        if name == "second":
            raise BackendError("the engine is gone")
        taken_back.append(name)

    async def fail_half_way() -> None:
        async with Undo() as undo:
            for name in ("first", "second", "third"):
                undo.add(name, partial(take_back, name), only_if_clean=name == "first")
            raise InvalidRequestError("no")

    with pytest.raises(InvalidRequestError) as caught:
        await fail_half_way()
    assert taken_back == ["third"]
    assert caught.value.details["not_undone"] == ["second", "first"]


async def test_undo_of_what_went_well_takes_nothing_back() -> None:
    taken_back: list[str] = []

    async def take_back() -> None:
        taken_back.append("taken back")

    async with Undo() as undo:
        undo.add("something", take_back)
    assert taken_back == []


async def test_undo_knows_why() -> None:
    undo = Undo()
    with pytest.raises(BackendError):
        async with undo:
            raise BackendError("The disk is full.")
    assert undo.reason == "The disk is full."


async def test_a_container_is_worked_on_by_one_at_a_time_and_no_lock_is_kept() -> None:
    presence = Presence()
    inside: list[int] = []

    async def work(number: int) -> None:
        async with presence.working_on(1001, "demo"):
            inside.append(number)
            assert len(inside) == 1
            await asyncio.sleep(0)
            inside.remove(number)

    await asyncio.gather(*(work(number) for number in range(10)))
    assert not presence.is_busy(1001, "demo")
    assert presence._locks == {}
    assert presence._users == {}


async def test_who_stops_waiting_for_a_container_leaves_nothing_behind() -> None:
    presence = Presence()
    async with presence.working_on(1001, "demo"):
        waiting = asyncio.ensure_future(_enter(presence))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert presence.is_busy(1001, "demo")
        assert not presence.is_busy(1002, "demo")
    assert presence._locks == {}


async def _enter(presence: Presence) -> None:
    async with presence.working_on(1001, "demo"):
        raise AssertionError("somebody else is in there")


def test_a_nonce_is_in_flight_for_its_block_only() -> None:
    presence = Presence()
    with presence.in_flight("abc"):
        assert presence.is_in_flight("abc")
    assert not presence.is_in_flight("abc")


async def test_facts_have_a_bounded_number_of_places_and_are_never_mixed_up() -> None:
    store, kind = MemoryStore(), FactKind("colour", places=4)
    for number in range(100):
        await store.write(partial(kind.remember, subject=f"subject {number}", value=f"value {number}\nmore"))
    assert len(store._tables.facts) <= 4
    known = 0
    for number in range(100):
        value = await store.read(partial(kind.recall, subject=f"subject {number}"))
        assert value in {None, f"value {number}\nmore"}
        known += value is not None
    assert 1 <= known <= 4
    assert await store.read(lambda transaction: kind.recall(transaction, "subject 99")) == "value 99\nmore"


async def test_facts_of_different_kinds_do_not_meet() -> None:
    store, one, two = MemoryStore(), FactKind("one", places=1), FactKind("two", places=1)
    await store.write(lambda transaction: one.remember(transaction, "subject", "1"))
    await store.write(lambda transaction: two.remember(transaction, "subject", "2"))
    assert await store.read(lambda transaction: one.recall(transaction, "subject")) == "1"
