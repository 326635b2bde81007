"""Allocations: GPUs granted to one container.

    claimed -> active -> held -> released
       |          |        |
       |          |        +-> active      the container starts again within its hold
       |          +----------> released    removed, or stopped where nothing is held
       +---------------------> released    the creation failed, or its deadline passed

A claim is durable before the engine is asked for anything; a crash in between is repaired by reconcile: an expired
claim without a container is released.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from ds01.domain.request import GpuRequest
from ds01.errors import ConflictError

CLAIM_DEADLINE = timedelta(minutes=2)


class AllocationState(StrEnum):
    """Life of a grant."""

    CLAIMED = "claimed"
    ACTIVE = "active"
    HELD = "held"
    RELEASED = "released"


_ALLOWED: dict[AllocationState, frozenset[AllocationState]] = {
    AllocationState.CLAIMED: frozenset({AllocationState.ACTIVE, AllocationState.RELEASED}),
    AllocationState.ACTIVE: frozenset({AllocationState.HELD, AllocationState.RELEASED}),
    AllocationState.HELD: frozenset({AllocationState.ACTIVE, AllocationState.RELEASED}),
    AllocationState.RELEASED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Allocation:
    """GPUs granted to one container.

    Attributes:
        id: Name of the allocation, 16 hex digits; kept as a label of the container.
        uid: Owner.
        container_name: Name as the owner knows it.
        request: What was asked for.
        gpu_uuids: What was granted; empty for a container without GPUs.
        gpu_equivalents: What it weighs against the quota.
        state: Where in its life it is.
        claimed_at: When it was granted.
        changed_at: When the state last changed.
        deadline_at: A claim is void after this; a hold ends then. None: no deadline.
        group: The owner's group when it was granted.
        time_limit: Running time that was granted; None: without end.
        ends_at: End of the time limit, which counts from the grant and through stops within the hold; None: no end.
        reservation: Id of the reservation that it was granted in; None: outside of any.
        shares: Into how many parts its device is divided; 1: it has the device alone.
        slices: Places of MIG instances that are made for it, `GPU-uuid/profile@start`; empty: it takes what exists.
    """

    id: str
    uid: int
    container_name: str
    request: GpuRequest
    gpu_uuids: tuple[str, ...]
    gpu_equivalents: float
    state: AllocationState
    claimed_at: datetime
    changed_at: datetime
    deadline_at: datetime | None = None
    group: str = ""
    time_limit: timedelta | None = None
    ends_at: datetime | None = None
    reservation: str | None = None
    shares: int = 1
    slices: tuple[str, ...] = ()

    @property
    def is_holding(self) -> bool:
        """Its devices are not free for others."""
        return self.state is not AllocationState.RELEASED

    def is_expired(self, now: datetime) -> bool:
        """Its deadline has passed."""
        return self.is_holding and self.deadline_at is not None and self.deadline_at <= now


def move_allocation(
    allocation: Allocation, state: AllocationState, now: datetime, *, hold: timedelta | None = None
) -> Allocation:
    """Return the allocation in its next state. The same state again changes nothing.

    Args:
        allocation: The present one.
        state: Where it shall go.
        now: The moment of the change.
        hold: How long a held one stays; None means without end.

    Raises:
        ConflictError: There is no such step.
    """
    if allocation.state is state:
        return allocation
    if state not in _ALLOWED[allocation.state]:
        raise ConflictError(
            f"The allocation {allocation.id} of {allocation.container_name} is {allocation.state}: "
            f"it cannot become {state}.",
            hint="`ds01 list` shows the state of your containers.",
        )
    deadline = now + hold if state is AllocationState.HELD and hold is not None else None
    return replace(allocation, state=state, changed_at=now, deadline_at=deadline)
