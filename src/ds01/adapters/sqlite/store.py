"""The Store port on SQLite."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Self, TypeVar, cast

from ds01.adapters.sqlite.database import open_connections
from ds01.adapters.sqlite.migrations import Migration, read_migrations
from ds01.adapters.sqlite.outcome import Outcome
from ds01.adapters.sqlite.transactions import SqliteTransaction
from ds01.adapters.sqlite.writer import Writer
from ds01.errors import BackendError
from ds01.service.ports import Checkpoint, StoreTransaction

Result = TypeVar("Result")

READERS = 4


class SqliteStore:
    """The durable store: one writer thread with group commit, and a few read-only connections.

    Made by `open`; belongs to the event loop that was running then.
    """

    def __init__(self, path: Path, writer: Writer, readers: Sequence[sqlite3.Connection]) -> None:
        self._path = path
        self._writer = writer
        self._idle_readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        for reader in readers:
            self._idle_readers.put(reader)
        # As many threads as connections, so that none ever waits for a connection.
        self._reader_count = len(readers)
        self._threads = ThreadPoolExecutor(self._reader_count, thread_name_prefix="ds01-store-reader")
        self._is_open = True

    @classmethod
    async def open(cls, path: Path, *, checkpoint: Checkpoint, migrations: Sequence[Migration] | None = None) -> Self:
        """Open the store, making or upgrading its file.

        Args:
            path: The file. Its directory exists, is the daemon's own (0700) and on a local disk.
            checkpoint: Passed before and after every durable write (`commit`, `committed`, `migrate`, ...).
            migrations: Steps to the present version; None: those of the program.

        Raises:
            BackendError: The file is damaged, not ours, newer than the program, or cannot be opened: it is untouched.
        """
        steps = read_migrations() if migrations is None else migrations
        connection, readers = await asyncio.to_thread(
            open_connections, path, steps, checkpoint=checkpoint, readers=READERS
        )
        return cls(path, Writer(connection, path, checkpoint=checkpoint), readers)

    async def write(self, decide: Callable[[StoreTransaction], Result]) -> Result:
        """Run `decide` in a transaction of its own and return its result once it is durable.

        Args:
            decide: Runs in the writer thread; must not block. What it raises undoes its own writes only.

        Raises:
            BackendError: The store failed; nothing of `decide` was kept.
        """
        self._require_open()
        return cast("Result", await self._writer.submit(decide))

    async def read(self, query: Callable[[StoreTransaction], Result]) -> Result:
        """Run `query` on a read-only connection, on one snapshot.

        Args:
            query: Runs in a thread of its own; a write in it is refused.

        Raises:
            BackendError: The store failed, or `query` tried to write.
        """
        self._require_open()
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._threads, self._query, query)
        error = outcome.error_for_caller(self._path)
        if error is not None:
            raise error
        return cast("Result", outcome.result)

    async def close(self) -> None:
        """Finish what waits and close; twice is allowed."""
        if not self._is_open:
            return
        self._is_open = False
        await asyncio.to_thread(self._threads.shutdown)
        for _ in range(self._reader_count):
            self._idle_readers.get().close()
        # The writer last: the last connection to leave empties the log into the file.
        await self._writer.close()

    def _require_open(self) -> None:
        if not self._is_open:
            raise BackendError(f"The store {self._path} is closed.")

    def _query(self, query: Callable[[StoreTransaction], object]) -> Outcome:
        outcome = Outcome()
        connection = self._idle_readers.get()
        try:
            with outcome:
                connection.execute("BEGIN")
                outcome.result = query(SqliteTransaction(connection))
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._idle_readers.put(connection)
        return outcome
