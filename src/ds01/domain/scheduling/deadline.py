"""What falls due: ends of time limits and of holds, and grants that nobody ever used. Decided here, done elsewhere."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ds01.domain.allocation import Allocation, AllocationState


class DueKind(StrEnum):
    """What is to be done."""

    STOP = "stop"
    RELEASE = "release"
    REPORT = "report"
    LOOK = "look"


@dataclass(frozen=True, slots=True)
class Due:
    """Something that falls due.

    Attributes:
        kind: STOP: stop the container and release at once. RELEASE: give the grant back. REPORT: say that it overran.
            LOOK: release it if its container was never started.
        allocation: The grant.
        reason: Why.
    """

    kind: DueKind
    allocation: Allocation
    reason: str


@dataclass(frozen=True, slots=True)
class Agenda:
    """What falls due now, and when to look again.

    Attributes:
        due: To be done now.
        next_at: Next moment at which something falls due; None: nothing does.
    """

    due: tuple[Due, ...]
    next_at: datetime | None


def plan_deadlines(
    allocations: Iterable[Allocation],
    now: datetime,
    *,
    is_enforcing: bool,
    unused_after: Mapping[str, timedelta],
    settled: frozenset[str] = frozenset(),
) -> Agenda:
    """Return what falls due.

    Args:
        allocations: Grants that are not released.
        now: The moment.
        is_enforcing: Containers are stopped at the end of their time limit; else it is only said.
        unused_after: Grant id to the time after which it goes back if its container was never started.
        settled: Grants that are known to be in use, so that they are not looked at again.
    """
    due: list[Due] = []
    moments: list[datetime] = []
    for grant in allocations:
        found = _limit_due(grant, now, is_enforcing=is_enforcing)
        if found is not None:
            due.append(found)
            continue
        if grant.ends_at is not None and grant.ends_at > now:
            moments.append(grant.ends_at)
        if grant.deadline_at is not None and grant.deadline_at > now:
            moments.append(grant.deadline_at)
        length = unused_after.get(grant.id)
        if length is None or grant.id in settled or grant.state is not AllocationState.ACTIVE:
            continue
        if grant.changed_at + length <= now:
            due.append(Due(DueKind.LOOK, grant, "its container was never started"))
        else:
            moments.append(grant.changed_at + length)
    return Agenda(tuple(due), min(moments, default=None))


def _limit_due(grant: Allocation, now: datetime, *, is_enforcing: bool) -> Due | None:
    if grant.ends_at is None or grant.ends_at > now:
        return None
    reason = "its time limit is over"
    if grant.state is AllocationState.ACTIVE:
        return Due(DueKind.STOP if is_enforcing else DueKind.REPORT, grant, reason)
    if grant.state is AllocationState.HELD:
        return Due(DueKind.RELEASE, grant, reason)
    return None  # a claim has a deadline of its own
