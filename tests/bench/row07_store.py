"""Row 7: durable transactions a second, each of claim, activate and release one, against plain commits of SQLite.

The anchor commits as many rows in as many transactions to a write-ahead log with synchronous=FULL, on the same disk and
in the same minute, from one thread without anything else. Both are given as time for one transaction.
"""

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.bench.figure import PAIRS, WARM_UPS, Figure
from tests.bench.store_site import StoreSite, own_folder, remove_folder, store_site

CYCLES = 16
"""Claims of one run, each activated and released: what 16 clients do at the same time, one client does in turn."""
ROWS_OF_STEPS = (4, 4, 6)
"""claim: grant, device, container, event. activate: grant, container, two events. release: grant, device, container,
use, two events."""
TRANSACTIONS = CYCLES * len(ROWS_OF_STEPS)
TEXT = "x" * 120
GATES = {1: (1 / 0.5, 1 / 0.8), 16: (1 / 1.5, 1 / 4)}


def measure() -> list[Figure]:
    """Return the figure for one client, and for sixteen."""
    return [asyncio.run(_measure(clients)) for clients in GATES]


async def _measure(clients: int) -> Figure:
    folder = own_folder()
    try:
        async with store_site(folder) as site:
            await _fill(site)
            anchor = PlainCommits(folder / "anchor.db")
            pairs = [
                (await _timed(lambda: _run(site, clients)), await _timed(anchor.run)) for _ in range(PAIRS + WARM_UPS)
            ]
            anchor.close()
    finally:
        remove_folder(folder)
    ours, theirs = (statistics.median(pair[side] for pair in pairs[WARM_UPS:]) for side in (0, 1))
    gate, stretch = GATES[clients]
    name = f"durable step, {clients} client{'s' if clients > 1 else ''}"
    anchor_name = f"WAL FULL commit of as many rows ({1000 / theirs:.0f}/s; ours {1000 / ours:.0f}/s)"
    return Figure(7, name, ours, "ms", theirs, anchor_name, round(gate, 3), stretch)


async def _fill(site: StoreSite) -> None:
    """A site that has been used for a while: half of the machine is held, and there is a past."""
    for number in range(8):
        claim = await site.services.scheduling.claim(site.order(f"held{number}"), site.observation)
        await site.activate(claim)


async def _timed(act: Callable[[], Awaitable[None]]) -> float:
    """Return the milliseconds for one transaction."""
    began = time.perf_counter()
    await act()
    return (time.perf_counter() - began) * 1000 / TRANSACTIONS


async def _run(site: StoreSite, clients: int) -> None:
    async def be_client(first: int) -> None:
        for number in range(first, CYCLES, clients):
            claim = await site.services.scheduling.claim(site.order(f"c{number}"), site.observation)
            await site.activate(claim)
            await site.release(claim)

    await asyncio.gather(*(be_client(first) for first in range(clients)))


class PlainCommits:
    """Plain SQLite: what any program pays for a durable step on this disk."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)")

    async def run(self) -> None:
        for _ in range(CYCLES):
            for rows in ROWS_OF_STEPS:
                self.commit(rows)

    def commit(self, rows: int) -> None:
        """Make so many rows durable at once."""
        self._connection.execute("BEGIN IMMEDIATE")
        for _row in range(rows):
            self._connection.execute("INSERT INTO rows (text) VALUES (?)", (TEXT,))
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()
