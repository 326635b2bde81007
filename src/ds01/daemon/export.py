"""The audit trail as a file: every event of the store as one line of JSON, each once and in order.

The order that makes it so: the event is in the store; its line is made durable; its number is remembered as a fact.
After a crash between the last two, the file's last line tells that the fact is behind.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

from ds01.daemon.event_documents import event_document
from ds01.daemon.export_file import ExportFile
from ds01.daemon.feed import LONGEST_WAIT, EventFeed
from ds01.domain.event import Event
from ds01.errors import Ds01Error
from ds01.service.ports import Checkpoint, Clock, Store

log = logging.getLogger(__name__)
FILE_NAME = "events.jsonl"
FACT = "events.exported"
BATCH = 500
PAUSE = timedelta(seconds=1)
"""Between two batches: what happens together is made durable together."""
Names = Callable[[Sequence[Event]], Awaitable[dict[int, str]]]


class EventExport:
    """Appends what is new in the store to the file.

    Attributes:
        path: The file.
        problem: Why it cannot be written; None if it can.
    """

    def __init__(
        self, folder: Path, store: Store, feed: EventFeed, names: Names, *, clock: Clock, checkpoint: Checkpoint
    ) -> None:
        """Make it.

        Args:
            folder: Where the file is; made if it is not there.
            store: Read, and the number of the last line remembered in; its writes ring no bell.
            feed: Rings when something may be new.
            names: Names of the users that events are about.
            clock: Time.
            checkpoint: Passed before and after every durable write.
        """
        self.path = folder / FILE_NAME
        self.problem: str | None = None
        self._file = ExportFile(self.path, checkpoint)
        self._store = store
        self._feed = feed
        self._names = names
        self._clock = clock

    async def run(self) -> None:
        """Go on for ever. A file that cannot be written is tried again: nothing is lost, the store has it all."""
        try:
            while True:
                ticket = self._feed.ticket()
                has_more = await self._try_batch()
                await self._clock.sleep(PAUSE)
                if not has_more:
                    await self._feed.wait(ticket, LONGEST_WAIT)
        finally:
            self._file.close()

    async def _try_batch(self) -> bool:
        try:
            has_more = await self.export_batch()
        except OSError as failure:
            self._say(f"{self.path} cannot be written: {failure.strerror or failure}.")
        except Ds01Error as failure:
            self._say(failure.message)
        else:
            self._say(None)
            return has_more
        return False

    def _say(self, problem: str | None) -> None:
        if problem != self.problem:
            if problem is None:
                log.info("export: %s is written again", self.path)
            else:
                log.warning("export: %s Events are kept in the store meanwhile.", problem)
        self.problem = problem

    async def export_batch(self) -> bool:
        """Write what is new, at most BATCH lines; return whether there may be more.

        Raises:
            OSError: The file cannot be written.
            BackendError: The store failed.
        """
        last = int(await self._store.read(lambda transaction: transaction.get_fact(FACT)) or 0)
        line = await asyncio.to_thread(self._file.open_if_moved)
        if line:
            last = max(last, await self._number_of(line))
        events = await self._store.read(lambda transaction: transaction.list_events(after_id=last, limit=BATCH))
        if not events:
            return False
        names = await self._names(events)
        data = b"".join(json.dumps(event_document(event, names)).encode("ascii") + b"\n" for event in events)
        # an append that was begun is finished: were it left to its thread, the next one could meet it in the file
        await _finish(asyncio.to_thread(self._file.append, data))
        number = str(events[-1].id)
        await self._store.write(lambda transaction: transaction.set_fact(FACT, number))
        return len(events) == BATCH

    async def _number_of(self, line: bytes) -> int:
        """Return the number of the file's last line; 0 if it is not one of this store's events."""
        try:
            document = json.loads(line)
            number, at = int(document["id"]), str(document["at"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return 0
        found = await self._store.read(lambda transaction: transaction.list_events(after_id=number - 1, limit=1))
        is_ours = bool(found) and found[0].id == number and event_document(found[0], {})["at"] == at
        return number if is_ours else 0


async def _finish(work: Awaitable[None]) -> None:
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
