"""Wakes whoever waits for something to happen, so that nobody has to look again and again."""

import asyncio
from contextlib import suppress
from datetime import timedelta


class Bell:
    """Rung when something changed. A ring while nobody waits is not lost: the next to wait comes back at once.

    Several may follow it: each takes a ticket first, then looks, then waits for the ticket.
    """

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._is_awaited = False
        self.rings = 0

    def ticket(self) -> asyncio.Event:
        """Return what the next ring sets."""
        self._is_awaited = True
        return self._rung

    def ring(self) -> None:
        """Something changed."""
        self.rings += 1
        if self._is_awaited:  # hundreds may be rung at once, and few are listened to
            self._rung.set()
            self._rung, self._is_awaited = asyncio.Event(), False

    async def wait(self, ticket: asyncio.Event, longest: timedelta | None = None) -> None:
        """Wait until the ticket rings, at most `longest`."""
        with suppress(TimeoutError):
            # not wait_for: before Python 3.12 it loses a cancellation that comes together with the ring
            async with asyncio.timeout(longest.total_seconds() if longest is not None else None):
                await ticket.wait()
