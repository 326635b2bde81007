"""Says that something may have been recorded, so that nobody has to ask the store again and again."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from ds01.service.ports import Store, StoreTransaction

Result = TypeVar("Result")
LONGEST_WAIT = timedelta(seconds=5)
"""After this the store is looked at anyway: a caller who left early may have left a write behind that nobody said."""


class EventFeed:
    """One bell for everybody who waits for events.

    Take a ticket first, then read the store, then wait for the ticket: what is recorded in between rings it.

    Attributes:
        is_closed: The daemon leaves.
    """

    def __init__(self) -> None:
        self._bell = asyncio.Event()
        self.is_closed = False

    def ticket(self) -> asyncio.Event:
        """Return what the next ring sets."""
        return self._bell

    def ring(self) -> None:
        """Wake everybody who waits."""
        self._bell.set()
        if not self.is_closed:
            self._bell = asyncio.Event()

    def close(self) -> None:
        """Wake everybody for the last time."""
        self.is_closed = True
        self.ring()

    async def wait(self, ticket: asyncio.Event, longest: timedelta = LONGEST_WAIT) -> None:
        """Wait until the ticket rings, at most `longest`."""
        with suppress(TimeoutError):
            # not wait_for: before Python 3.12 it loses a cancellation that comes together with the ring
            async with asyncio.timeout(longest.total_seconds()):
                await ticket.wait()


class AnnouncingStore:
    """The Store port over another, ringing after every write."""

    def __init__(self, store: Store, feed: EventFeed) -> None:
        self._store = store
        self._feed = feed

    async def write(self, decide: Callable[[StoreTransaction], Result]) -> Result:
        """Run `decide` in a transaction of its own, then ring."""
        try:
            return await self._store.write(decide)
        finally:
            self._feed.ring()

    async def read(self, query: Callable[[StoreTransaction], Result]) -> Result:
        """Run `query` on a read-only connection."""
        return await self._store.read(query)

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()
