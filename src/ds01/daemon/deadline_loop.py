"""Looks what falls due whenever something changed, and at the moment when the next thing does."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from ds01.errors import Ds01Error
from ds01.service.bell import Bell
from ds01.service.deadlines import DeadlineService
from ds01.service.ports import Clock

log = logging.getLogger(__name__)
RETRY_AFTER = timedelta(seconds=2)
LONGEST_SLEEP = timedelta(seconds=60)
"""The wall clock may be set, and summer time may begin: what is left is worked out anew this often."""


class DeadlineLoop:
    """Runs the deadlines, and wakes reconcile when a claim or a hold ends."""

    def __init__(
        self,
        deadlines: DeadlineService,
        bell: Bell,
        clock: Clock,
        *,
        wake_reconcile: Callable[[], None],
        longest_sleep: timedelta = LONGEST_SLEEP,
    ) -> None:
        self._deadlines = deadlines
        self._bell = bell
        self._clock = clock
        self._wake_reconcile = wake_reconcile
        self._longest_sleep = longest_sleep
        self.next_at: datetime | None = None

    async def run(self) -> None:
        """Go on for ever. A store that does not answer is tried again; a bug ends the daemon."""
        while True:
            ticket = self._bell.ticket()
            try:
                self.next_at = await self._deadlines.run()
            except Ds01Error as failure:
                log.warning("deadlines: %s", failure)
                self.next_at = self._clock.now() + RETRY_AFTER
            while not ticket.is_set():
                left = self._left()
                if left <= timedelta(0):
                    self._wake_reconcile()
                    break
                await self._bell.wait(ticket, left)

    def _left(self) -> timedelta:
        if self.next_at is None:
            return self._longest_sleep
        return min(self.next_at - self._clock.now(), self._longest_sleep)
