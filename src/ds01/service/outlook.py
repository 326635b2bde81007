"""When everybody who waits will start: worked out once for all who ask about the same state of things."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from ds01.domain.scheduling.schedule import estimate_starts
from ds01.domain.scheduling.situation import Estimate, Situation
from ds01.errors import BackendError
from ds01.service.bell import Bell
from ds01.service.ports import Clock
from ds01.service.scheduling import Scheduling

FRESH = timedelta(seconds=5)
"""So long an estimate is shown again although nothing has changed: time alone moves it on."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What everybody who waits can be told.

    Attributes:
        situation: The scheduler's world.
        estimates: Request id to place and start.
        state: Of the bell and of the scheduler when it was worked out.
    """

    situation: Situation
    estimates: Mapping[str, Estimate]
    state: tuple[int, int]


class Outlooks:
    """The last outlook, renewed when something has changed."""

    def __init__(self, scheduling: Scheduling, bell: Bell, clock: Clock) -> None:
        self._scheduling = scheduling
        self._bell = bell
        self._clock = clock
        self._known: Outlook | None = None
        self._looking = asyncio.Lock()

    async def look(self) -> Outlook | None:
        """Return the present outlook; None: the devices are unknown, and so is every start."""
        async with self._looking:
            known, state = self._known, (self._bell.rings, self._scheduling.rounds)
            if known is not None and known.state == state:
                age = self._clock.now() - known.situation.now
                if timedelta(0) <= age < FRESH:
                    return known
            try:
                situation, _ = await self._scheduling.read_situation()
            except BackendError:
                return None
            estimates = await asyncio.to_thread(estimate_starts, situation)
            self._known = Outlook(situation, estimates, state)
            return self._known
