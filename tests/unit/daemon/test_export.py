"""The exported file of events holds each event of the store once, in order, whatever happens to it."""

import asyncio
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from ds01.daemon.event_documents import event_document
from ds01.daemon.export import BATCH, FACT, FILE_NAME, EventExport
from ds01.daemon.feed import AnnouncingStore, EventFeed
from ds01.domain.event import Event
from ds01.service.ports import Checkpoint, Store, StoreTransaction
from tests.fake_store import MemoryStore
from tests.fakes import FakeClock
from tests.store_values import ALICE, at

NAMES = {ALICE: "alice"}


class SuddenEnd(BaseException):
    """kill -9 at a step: nothing handles it."""


class Crash:
    """Ends everything at the n-th step."""

    def __init__(self, last: int | None) -> None:
        self.left = last

    def __call__(self, step: str) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                raise SuddenEnd(step)


async def name_everybody(events: Sequence[Event]) -> dict[int, str]:
    assert events
    return NAMES


def go_on(step: str) -> None:
    assert step


def export_to(folder: Path, store: Store, checkpoint: Checkpoint = go_on) -> EventExport:
    return EventExport(folder, store, EventFeed(), name_everybody, clock=FakeClock(), checkpoint=checkpoint)


async def record(store: Store, count: int, *, name: str = "train") -> None:
    def decide(transaction: StoreTransaction) -> None:
        for number in range(count):
            event = Event("container.stopped", at(number), ALICE, 0, name, {"exit_code": number})
            transaction.append_event(event)

    await store.write(decide)


def lines(*paths: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in paths for line in path.read_text(encoding="ascii").splitlines()]


async def documents(store: Store) -> list[dict[str, object]]:
    events = await store.read(lambda transaction: transaction.list_events(limit=100_000))
    return [dict(event_document(event, NAMES)) for event in events]


async def test_every_event_is_one_line_with_stable_fields(tmp_path: Path) -> None:
    store = MemoryStore()
    await record(store, 3)
    export = export_to(tmp_path / "log", store)
    assert not await export.export_batch()
    assert not await export.export_batch()
    found = lines(export.path)
    assert found == await documents(store)
    assert found[2] == {
        "id": 3,
        "at": "2026-03-01T12:02:00.123456+00:00",
        "name": "container.stopped",
        "uid": ALICE,
        "user": "alice",
        "actor_uid": 0,
        "actor": "0",
        "container": "train",
        "details": {"exit_code": 2},
    }


async def test_more_than_a_batch_is_written_in_several(tmp_path: Path) -> None:
    store = MemoryStore()
    await record(store, BATCH + 1)
    export = export_to(tmp_path, store)
    assert await export.export_batch()
    assert not await export.export_batch()
    assert lines(export.path) == await documents(store)


async def test_a_crash_at_any_step_neither_loses_nor_doubles_a_line(tmp_path: Path) -> None:
    for step in range(1, 20):
        folder, store = tmp_path / str(step), MemoryStore()
        crash = Crash(step)
        crashed = False
        for round_ in range(3):
            await record(store, 2, name=f"c{round_}")
            try:
                await export_to(folder, store, crash).export_batch()
            except SuddenEnd:
                crashed, crash.left = True, None
        await export_to(folder, store).export_batch()
        assert lines(folder / FILE_NAME) == await documents(store)
        if not crashed:
            assert step > 6  # two steps for each of three rounds
            return
    raise AssertionError("it never ends")


async def test_a_crash_between_the_line_and_its_number_is_seen_by_the_last_line(tmp_path: Path) -> None:
    store = MemoryStore()
    await record(store, 2)
    await export_to(tmp_path, store).export_batch()
    await store.write(lambda transaction: transaction.set_fact(FACT, "0"))
    await export_to(tmp_path, store).export_batch()
    assert lines(tmp_path / FILE_NAME) == await documents(store)


async def test_a_line_torn_at_any_byte_is_written_again(tmp_path: Path) -> None:
    store = MemoryStore()
    await record(store, 1)
    await export_to(tmp_path, store).export_batch()
    path = tmp_path / FILE_NAME
    first = path.read_bytes()
    await record(store, 1)
    await export_to(tmp_path, store).export_batch()
    whole = path.read_bytes()
    for length in range(len(first), len(whole)):
        path.write_bytes(whole[:length])
        await store.write(lambda transaction: transaction.set_fact(FACT, "1"))
        await export_to(tmp_path, store).export_batch()
        assert path.read_bytes() == whole


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("makes_new", [True, False])
async def test_a_rotation_neither_loses_nor_doubles_a_line(tmp_path: Path, is_running: bool, makes_new: bool) -> None:
    store = MemoryStore()
    export = export_to(tmp_path, store)
    parts = []
    for number in range(4):
        await record(store, 2)
        if not is_running:
            export = export_to(tmp_path, store)
        await export.export_batch()
        parts.append(tmp_path / f"{FILE_NAME}.{number}")
        export.path.rename(parts[-1])
        if makes_new:
            export.path.touch()
    await record(store, 1)
    await export.export_batch()
    assert lines(*parts, export.path) == await documents(store)


async def test_a_file_that_is_emptied_in_place_goes_on(tmp_path: Path) -> None:
    store = MemoryStore()
    export = export_to(tmp_path, store)
    await record(store, 3)
    await export.export_batch()
    os.truncate(export.path, 0)
    await record(store, 2)
    await export.export_batch()
    assert [line["id"] for line in lines(export.path)] == [4, 5]


@pytest.mark.parametrize("strange", [b"not json\n", b"\0\0\0\n", b'{"id": 99, "at": "x"}\n', b'{"id": "1"}\n', b"[]\n"])
async def test_a_last_line_of_somebody_else_does_not_count(tmp_path: Path, strange: bytes) -> None:
    store = MemoryStore()
    path = tmp_path / FILE_NAME
    path.write_bytes(strange)
    await record(store, 2)
    await export_to(tmp_path, store).export_batch()
    assert path.read_bytes().startswith(strange)
    assert [json.loads(line)["id"] for line in path.read_bytes()[len(strange) :].splitlines()] == [1, 2]


async def test_a_file_of_a_lost_database_does_not_hide_the_new_one(tmp_path: Path) -> None:
    old, new = MemoryStore(), MemoryStore()
    await record(old, 5)
    await export_to(tmp_path, old).export_batch()
    await store_one_elsewhen(new)
    await export_to(tmp_path, new).export_batch()
    assert [line["id"] for line in lines(tmp_path / FILE_NAME)] == [1, 2, 3, 4, 5, 1]


async def store_one_elsewhen(store: Store) -> None:
    await store.write(lambda transaction: transaction.append_event(Event("container.started", at(500), ALICE)))


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    store = MemoryStore()
    target = tmp_path / "target"
    target.touch()
    (tmp_path / FILE_NAME).symlink_to(target)
    await record(store, 1)
    with pytest.raises(OSError, match="symbolic"):
        await export_to(tmp_path, store).export_batch()
    assert target.read_bytes() == b""


async def test_a_folder_that_cannot_be_written_is_said_and_tried_again(tmp_path: Path) -> None:
    store = MemoryStore()
    folder = tmp_path / "log"
    folder.touch()  # a file where the folder should be
    await record(store, 2)
    feed = EventFeed()
    ended = asyncio.Event()

    class Clock(FakeClock):
        """Lets the loop go round as often as the test rings."""

        async def sleep(self, length: timedelta) -> None:
            ended.set()
            await asyncio.sleep(0)

    export = EventExport(folder, store, feed, name_everybody, clock=Clock(), checkpoint=go_on)
    task = asyncio.create_task(export.run())
    await asyncio.wait_for(ended.wait(), 5)
    assert str(export.path) in (export.problem or "")
    folder.unlink()
    while export.problem:
        ended.clear()
        feed.ring()
        await asyncio.wait_for(ended.wait(), 5)
    assert lines(export.path) == await documents(store)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_write_rings_for_everybody_who_took_a_ticket_before(tmp_path: Path) -> None:
    feed = EventFeed()
    store = AnnouncingStore(MemoryStore(), feed)
    tickets = [feed.ticket(), feed.ticket()]
    await record(store, 1)
    for ticket in tickets:
        await feed.wait(ticket, timedelta(days=1))
    later = feed.ticket()
    assert not later.is_set()
    await store.read(lambda transaction: transaction.list_events())
    assert not later.is_set()
    feed.close()
    assert feed.is_closed
    await feed.wait(later, timedelta(days=1))
    await feed.wait(feed.ticket(), timedelta(days=1))


async def test_a_loop_that_is_cancelled_as_the_bell_rings_ends(tmp_path: Path) -> None:
    feed = EventFeed()
    waiting = asyncio.create_task(feed.wait(feed.ticket(), timedelta(days=1)))
    await asyncio.sleep(0)
    feed.close()
    waiting.cancel()
    await asyncio.wait({waiting}, timeout=5)
    assert waiting.cancelled()
