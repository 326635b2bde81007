"""Refusals are recorded: who tried what they may not do, and who ran into a limit."""

import logging
from datetime import datetime, timedelta

from ds01.domain.event import Event
from ds01.errors import BackendError, ForbiddenError, QuotaExceededError
from ds01.service.ports import Clock, Store

log = logging.getLogger(__name__)
SAME_REFUSAL = timedelta(minutes=1)
"""The same refusal of the same user is recorded once in this time: a script that tries for ever fills no disk."""
MAX_REASON = 500


class Audit:
    """Writes refusals into the store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._recorded: dict[tuple[int, str], datetime] = {}

    async def refused(self, uid: int, error: ForbiddenError) -> None:
        """Record a refusal. A store that fails does not change the answer.

        Args:
            uid: Who asked.
            error: What they were told.
        """
        now = self._clock.now()
        self._recorded = {key: at for key, at in self._recorded.items() if now - at < SAME_REFUSAL}
        reason = error.message[:MAX_REASON]
        if (uid, reason) in self._recorded:
            return
        self._recorded[uid, reason] = now
        name, details = "access.denied", {"reason": reason}
        if isinstance(error, QuotaExceededError):
            name, details = "limit.reached", {"reason": reason, "limit": str(error.details.get("limit", ""))}
        event = Event(name, now, uid=uid, actor_uid=uid, details=details)
        try:
            await self._store.write(lambda transaction: transaction.append_event(event))
        except BackendError as failure:
            log.warning("a refusal of uid %d is not recorded: %s", uid, failure)
