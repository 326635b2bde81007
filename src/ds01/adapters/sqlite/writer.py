"""The one thread that writes: savepoints and group commit.

    write() --> queue --> BEGIN IMMEDIATE
                            SAVEPOINT, decide, RELEASE      for each that waits; an exception rolls back its own only
                          COMMIT                            one fsync for all of them
                          answer all of them at once        nobody hears anything before it is durable

One slow disk flush is so shared by everybody who waits: more clients, more transactions per second.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from ds01.adapters.sqlite.outcome import Outcome
from ds01.adapters.sqlite.writing import WritingTransaction
from ds01.service.ports import Checkpoint, StoreTransaction


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    decide: Callable[[StoreTransaction], object]
    future: asyncio.Future[object]


class Writer:
    """Owns the only writing connection, from its start to its end.

    Args:
        connection: Opened for this thread; closed by it.
        path: The file, for messages.
        checkpoint: Passed before and after every commit, as `commit` and `committed`.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, *, checkpoint: Checkpoint) -> None:
        self._connection = connection
        self._transaction = WritingTransaction(connection)
        self._path = path
        self._checkpoint = checkpoint
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        # A daemon thread: an interpreter that leaves without close() must not wait for it. What was not committed is
        # then not done, and nobody was told that it was.
        self._thread = threading.Thread(target=self._run, name="ds01-store-writer", daemon=True)
        self._thread.start()

    async def submit(self, decide: Callable[[StoreTransaction], object]) -> object:
        """Run `decide` in a transaction of its own; return its result, or raise its exception, after the commit.

        A caller who is cancelled while it waits in the queue takes it back; later it happens, whole.
        """
        future: asyncio.Future[object] = self._loop.create_future()
        self._queue.put(_Waiting(decide, future))
        return await future

    async def close(self) -> None:
        """Finish what waits and close the connection. Nothing may be submitted after."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._take()
            outcomes = self._commit(batch) if batch else []
            # A loop that has ended has nobody left to answer.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._answer, batch, outcomes)
        self._connection.close()

    def _take(self) -> tuple[list[_Waiting], bool]:
        batch: list[_Waiting] = []
        item = self._queue.get()
        with contextlib.suppress(Empty):
            while item is not None:
                if not item.future.cancelled():
                    batch.append(item)
                item = self._queue.get_nowait()
        return batch, item is not None

    def _commit(self, batch: Sequence[_Waiting]) -> list[Outcome]:
        if len(batch) == 1:
            return [self._commit_alone(batch[0])]
        whole = Outcome()
        outcomes: list[Outcome] = []
        with whole:
            self._connection.execute("BEGIN IMMEDIATE")
            self._transaction.begin()
            outcomes = [self._run_one(waiting) for waiting in batch]
            self._transaction.finish()
            self._checkpoint("commit")
            self._connection.execute("COMMIT")
            self._checkpoint("committed")
        if whole.error is None:
            return outcomes
        self._roll_back()
        self._transaction.forget()
        # Also those that were refused: what they were refused for may have been undone just now.
        return [whole] * len(batch)

    def _commit_alone(self, waiting: _Waiting) -> Outcome:
        outcome = Outcome()
        with outcome:
            self._connection.execute("BEGIN IMMEDIATE")
            self._transaction.begin()
            outcome.result = waiting.decide(self._transaction)
            self._transaction.finish()
            self._checkpoint("commit")
            self._connection.execute("COMMIT")
            self._checkpoint("committed")
        if outcome.error is not None:
            self._roll_back()
            self._transaction.undo_all()
        return outcome

    def _run_one(self, waiting: _Waiting) -> Outcome:
        outcome = Outcome()
        self._connection.execute("SAVEPOINT one")
        self._transaction.begin_one()
        with outcome:
            outcome.result = waiting.decide(self._transaction)
        if outcome.error is not None:
            if not self._connection.in_transaction:
                # A full disk or an I/O error made SQLite undo the whole transaction, the others' parts too.
                # Source: https://www.sqlite.org/lang_transaction.html, "Response To Errors Within A Transaction"
                if isinstance(outcome.error, sqlite3.Error):
                    raise outcome.error
                raise sqlite3.OperationalError("the whole transaction was undone") from outcome.error
            self._connection.execute("ROLLBACK TO one")
            self._transaction.undo_one()
        self._connection.execute("RELEASE one")
        return outcome

    def _roll_back(self) -> None:
        # If this fails too, the next BEGIN says why; the connection stays the same.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _answer(self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.future.done():
                continue  # its caller was cancelled meanwhile
            error = outcome.error_for_caller(self._path)
            if error is None:
                waiting.future.set_result(outcome.result)
            else:
                waiting.future.set_exception(error)
