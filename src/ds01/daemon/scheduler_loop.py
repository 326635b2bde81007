"""Serves the queue whenever something is freed, added or changed, and at the moments that the scheduler names."""

import logging
from datetime import datetime, timedelta

from ds01.errors import Ds01Error
from ds01.service.bell import Bell
from ds01.service.completion import complete
from ds01.service.ports import Clock
from ds01.service.scheduling import Scheduling
from ds01.service.starting import Starter

log = logging.getLogger(__name__)
RETRY_AFTER = timedelta(seconds=2)
LONGEST_SLEEP = timedelta(seconds=60)
"""The wall clock may be set: what is left until a moment is worked out anew this often. No pass is run for it."""


class SchedulerLoop:
    """Runs a pass when the bell rings, or when a moment has come."""

    def __init__(
        self,
        scheduling: Scheduling,
        starter: Starter,
        bell: Bell,
        clock: Clock,
        *,
        longest_sleep: timedelta = LONGEST_SLEEP,
    ) -> None:
        self._scheduling = scheduling
        self._starter = starter
        self._bell = bell
        self._clock = clock
        self._longest_sleep = longest_sleep
        self.passes = 0
        self._is_somebody_waiting = False

    @property
    def is_needed(self) -> bool:
        """Somebody waits, or something is carried out: the daemon must not leave now."""
        return self._is_somebody_waiting or self._starter.under_way > 0

    async def run(self) -> None:
        """Go on for ever. An engine or devices that do not answer are tried again; a bug ends the daemon."""
        is_recovered = False
        while True:
            ticket = self._bell.ticket()
            try:
                if not is_recovered:
                    await self._starter.recover()
                    is_recovered = True
                wake_at = await complete(self._serve())
            except Ds01Error as failure:
                log.warning("scheduler: %s", failure)
                wake_at = self._clock.now() + RETRY_AFTER
            self._starter.progress.ring_all()
            while not ticket.is_set():
                left = self._until(wake_at)
                if left <= timedelta(0):
                    break
                await self._bell.wait(ticket, left)

    async def _serve(self) -> datetime | None:
        """One pass. Not broken off between the grant and its creation."""
        served = await self._scheduling.run_pass()
        self._starter.launch(served.granted)
        self.passes += 1
        self._is_somebody_waiting = served.outcome is not None and bool(served.outcome.order)
        for found in served.granted:
            log.info("granted: %s of uid %d: %s", found.entry.waiting.container_name, found.entry.uid, found.reason)
        return served.wake_at

    def _until(self, wake_at: datetime | None) -> timedelta:
        if wake_at is None:
            return self._longest_sleep
        return min(wake_at - self._clock.now(), self._longest_sleep)
