"""A program that uses the store and dies, or runs into a limit, where its test wants it.

    store_script.py write PATH CRASH_AT CLIENTS     six transactions; prints the number of each that was answered
    store_script.py migrate PATH CRASH_AT           opens with two migrations more than the program has
    store_script.py limited PATH                    writes until the file may not grow, then goes on without the limit

It kills itself with SIGKILL at the CRASH_AT-th durable step; 0 means never.
"""

import asyncio
import os
import resource
import signal
import sys
from functools import partial
from pathlib import Path

from ds01.adapters.sqlite.migrations import Migration, read_migrations
from ds01.adapters.sqlite.store import SqliteStore
from ds01.domain.event import Event
from ds01.errors import BackendError
from ds01.service.ports import StoreTransaction
from tests.store_values import allocation, at, container

TRANSACTIONS = 6
NEWEST = len(read_migrations())
LATER_MIGRATIONS = (
    Migration(NEWEST + 1, "notes", "CREATE TABLE notes (text TEXT); INSERT INTO notes SELECT value FROM facts;"),
    Migration(NEWEST + 2, "colour", "ALTER TABLE facts ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';"),
)


class DeadlyCheckpoint:
    """Counts the steps and dies at one of them."""

    def __init__(self, crash_at: int) -> None:
        self._crash_at = crash_at
        self._passed = 0

    def __call__(self, step: str) -> None:
        self._passed += 1
        if self._passed == self._crash_at:
            os.kill(os.getpid(), signal.SIGKILL)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())  # unbuffered: what was said is out, whatever comes next


def decide(transaction: StoreTransaction, number: int) -> int:
    transaction.save_allocation(allocation(f"a{number}", f"GPU-{number}"))
    transaction.insert_container(container(f"c{number}", f"a{number}"))
    transaction.append_event(Event("container.created", at(number), details={"allocation": f"a{number}"}))
    transaction.set_fact(f"f{number}", "done")
    return number


async def write(path: Path, crash_at: int, clients: int) -> None:
    store = await SqliteStore.open(path, checkpoint=DeadlyCheckpoint(crash_at))

    async def be_client(first: int) -> None:
        for number in range(first, TRANSACTIONS, clients):
            say(str(await store.write(partial(decide, number=number))))

    await asyncio.gather(*(be_client(first) for first in range(clients)))
    await store.close()


async def migrate(path: Path, crash_at: int) -> None:
    steps = (*read_migrations(), *LATER_MIGRATIONS)
    store = await SqliteStore.open(path, checkpoint=DeadlyCheckpoint(crash_at), migrations=steps)
    await store.close()


def grow(transaction: StoreTransaction, key: str) -> None:
    transaction.set_fact(key, "x" * 16384)


async def limited(path: Path) -> None:
    store = await SqliteStore.open(path, checkpoint=DeadlyCheckpoint(0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 * 1024, before[1]))
    number = 0
    try:
        while True:
            await store.write(partial(grow, key=str(number)))
            number += 1
    except BackendError as error:
        say(f"refused {number}: {error} / {error.hint}")
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await store.write(partial(grow, key="after"))
    kept = await store.read(lambda t: [key for key in (*map(str, range(number + 1)), "after") if t.get_fact(key)])
    say(" ".join(kept))
    await store.close()


def main(mode: str, path: Path, crash_at: int = 0, clients: int = 1) -> None:
    if mode == "write":
        asyncio.run(write(path, crash_at, clients))
    elif mode == "migrate":
        asyncio.run(migrate(path, crash_at))
    else:
        asyncio.run(limited(path))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
