"""Reservations: GPUs kept for a user or a group in a future window. The devices are chosen late, when it starts."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ds01.domain.request import GpuRequest


class ReservationState(StrEnum):
    """Life of a reservation."""

    PLANNED = "planned"
    ACTIVE = "active"
    ENDED = "ended"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"

    @property
    def is_over(self) -> bool:
        """It keeps nothing any more."""
        return self in {ReservationState.ENDED, ReservationState.CANCELLED, ReservationState.NO_SHOW}


@dataclass(frozen=True, slots=True)
class Reservation:
    """GPUs kept for somebody from one moment to another.

    Attributes:
        id: 16 hex digits; of one that the policy file sets `policy-uid<N>`.
        name: What people type; unique among those that are not over.
        uid: User it is for; None: for a group.
        group: Group it is for; None: for a user.
        request: How many devices, of which kind.
        start_at: Begin of the window.
        end_at: End of the window.
        reason: Why, for people.
        created_by_uid: Who made it; None: the policy file.
        created_at: When it was made.
        state: Where in its life it is.
        changed_at: When the state last changed.
    """

    id: str
    name: str
    uid: int | None
    group: str | None
    request: GpuRequest
    start_at: datetime
    end_at: datetime
    reason: str
    created_by_uid: int | None
    created_at: datetime
    state: ReservationState = ReservationState.PLANNED
    changed_at: datetime | None = None

    def is_for(self, uid: int, group: str) -> bool:
        """Tell whether a user may use it."""
        return self.uid == uid if self.uid is not None else self.group == group
