"""The queue's entries: a request that waits, what is made of it when it is granted, and what became of it.

waiting -> granted -> done
   ^          |
   |          +-----> failed      its container could not be made; the reason is kept for a day
   +----------+                   the daemon ended before it was made, or a part of the system failed: its old place
waiting ------------> cancelled | expired | failed
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import ConflictError, NotFoundError

KEPT_AFTER_END = timedelta(days=1)
"""How long people can see what became of a request."""
MOST_ATTEMPTS = 3
"""So often a creation is tried when a part of the system fails."""
RETRY_AFTER = timedelta(seconds=10)


class Purpose(StrEnum):
    """What the GPUs are for."""

    CREATE = "create"
    START = "start"


class QueueState(StrEnum):
    """Where a request is."""

    WAITING = "waiting"
    GRANTED = "granted"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_open(self) -> bool:
        """It waits, or its container is being made or started."""
        return self in {QueueState.WAITING, QueueState.GRANTED}


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A request in the queue.

    Attributes:
        waiting: What is asked for, and the place.
        purpose: A container is made with the GPUs, or one that exists is started.
        order: The whole order as JSON text (`CreateOrder.to_text`), for a creation; empty for a start.
        state: Where it is.
        changed_at: When the state last changed.
        allocation_id: Its grant, once it is granted.
        reason: Why it failed, expired, was cancelled or put back; empty without.
        attempts: So often its creation was begun and put back.
        image: Private tag that its container would be created from; empty for a start.
    """

    waiting: Waiting
    purpose: Purpose
    order: str
    state: QueueState
    changed_at: datetime
    allocation_id: str | None = None
    reason: str = ""
    attempts: int = 0
    image: str = ""

    @property
    def id(self) -> str:
        """Name of the request."""
        return self.waiting.id

    @property
    def uid(self) -> int:
        """Who asks."""
        return self.waiting.uid


def end_entry(entry: QueueEntry, state: QueueState, reason: str, now: datetime) -> QueueEntry:
    """Return an entry that has ended."""
    return replace(entry, state=state, reason=reason, changed_at=now)


def put_back(entry: QueueEntry, reason: str, now: datetime, *, is_tried_again_later: bool = False) -> QueueEntry:
    """Return a granted entry that waits again, at its old place.

    Args:
        entry: The entry.
        reason: Why.
        now: The moment.
        is_tried_again_later: Something failed: it starts after a while, so that it does not fail on and on.
    """
    waiting = entry.waiting
    attempts = entry.attempts
    if is_tried_again_later:
        attempts += 1
        later = now + RETRY_AFTER * attempts
        waiting = replace(waiting, not_before=max(later, waiting.not_before) if waiting.not_before else later)
    return replace(
        entry,
        waiting=waiting,
        state=QueueState.WAITING,
        reason=reason,
        changed_at=now,
        allocation_id=None,
        attempts=attempts,
    )


def name_waits(name: str) -> ConflictError:
    """Return the error for a name for which a request of the user waits already."""
    return ConflictError(
        f"A request of yours for {name!r} waits already.",
        hint=f"See it with `ds01 queue`; take it out with `ds01 queue cancel {name}`.",
    )


def request_not_found(text: str) -> NotFoundError:
    """Return the error for a request that does not exist, or is somebody else's."""
    return NotFoundError(f"You have no request {text[:60]!r}.", hint="`ds01 queue` shows what waits.")
