"""Which reservations there are now, those of the policy among them, and when each goes on to its next state."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from ds01.domain.request import GpuRequest
from ds01.domain.rules.policy import UID_PREFIX, Policy
from ds01.domain.scheduling.reservation import Reservation, ReservationState
from ds01.errors import NotFoundError

POLICY_PREFIX = "policy-uid"
LONGEST = timedelta(days=366)
"""A window is not longer than this."""


def policy_reservations(policy: Policy) -> list[Reservation]:
    """Return what `user_overrides` reserve; of names that are no accounts nothing is kept."""
    found: list[Reservation] = []
    for text, override in policy.overrides.items():
        number = text.removeprefix(UID_PREFIX)
        uid = int(number) if text.startswith(UID_PREFIX) else policy.uids.get(text)
        wanted = override.reservation
        if uid is None or wanted is None or wanted.gpus < 1 or wanted.end <= wanted.start:
            continue
        found.append(
            Reservation(
                id=f"{POLICY_PREFIX}{uid}",
                name=f"{POLICY_PREFIX}{uid}",
                uid=uid,
                group=None,
                request=GpuRequest(wanted.gpus, wanted.kind),
                start_at=wanted.start,
                end_at=wanted.end,
                reason=wanted.reason,
                created_by_uid=None,
                created_at=wanted.start,
            )
        )
    return found


def is_of_policy(reservation: Reservation) -> bool:
    """It stands in the policy file: only there it can be changed."""
    return reservation.id.startswith(POLICY_PREFIX)


def merged(stored: Iterable[Reservation], of_policy: Iterable[Reservation]) -> list[Reservation]:
    """Return every reservation by its begin: the store's, and the policy's with the state that the store remembers.

    What the store remembers of a window that the policy file does not have any more counts for nothing.
    """
    present = list(stored)
    remembered = {(item.id, item.start_at, item.end_at): item for item in present if is_of_policy(item)}
    found = [item for item in present if not is_of_policy(item)]
    for item in of_policy:
        before = remembered.get((item.id, item.start_at, item.end_at))
        found.append(replace(item, state=before.state, changed_at=before.changed_at) if before is not None else item)
    return sorted(found, key=lambda item: (item.start_at, item.id))


def in_force(reservations: Iterable[Reservation], now: datetime) -> tuple[Reservation, ...]:
    """Return what keeps something at this moment or later, with the state that the clock says."""
    found: list[Reservation] = []
    for item in reservations:
        if item.state.is_over or item.end_at <= now:
            continue
        state = ReservationState.ACTIVE if item.start_at <= now else ReservationState.PLANNED
        found.append(item if item.state is state else replace(item, state=state))
    return tuple(found)


def due_changes(
    reservations: Iterable[Reservation], is_used: Callable[[str], bool], now: datetime, no_show: timedelta
) -> list[Reservation]:
    """Return the reservations that have to go on to another state now, in it.

    Args:
        reservations: Those that are not over, as they are remembered.
        is_used: Tells of an id whether anything was ever granted inside.
        now: The moment.
        no_show: One that nobody has used for so long after its begin is released.
    """
    found: list[Reservation] = []
    for item in reservations:
        state = _state_at(item, is_used, now, no_show)
        if state is not item.state:
            found.append(replace(item, state=state, changed_at=now))
    return found


def _state_at(item: Reservation, is_used: Callable[[str], bool], now: datetime, no_show: timedelta) -> ReservationState:
    if item.state.is_over or now < item.start_at:
        return item.state  # a clock that went back takes nothing back
    if now >= item.end_at:
        return ReservationState.ENDED
    if now >= item.start_at + no_show and not is_used(item.id):
        return ReservationState.NO_SHOW
    return ReservationState.ACTIVE


def next_change_at(reservations: Iterable[Reservation], now: datetime, no_show: timedelta) -> datetime | None:
    """Return when the next of them may have to change; None: never."""
    moments = [
        at
        for item in reservations
        if not item.state.is_over
        for at in (item.start_at, item.start_at + no_show, item.end_at)
        if at > now
    ]
    return min(moments, default=None)


def fits_inside(reservation: Reservation, request: GpuRequest) -> bool:
    """Tell whether a request is one that a reservation was made for: no more devices, of the kind that is kept."""
    kept = reservation.request
    is_kind = request.kind in {kept.kind, "any"} or kept.kind == "any"
    is_memory = (request.memory_bytes or 0) <= (kept.memory_bytes or (request.memory_bytes or 0))
    return 0 < request.count <= kept.count and is_kind and is_memory


def window_of(reservation: Reservation) -> Mapping[str, object]:
    """Return the facts of a reservation for an event."""
    return {
        "reservation": reservation.id,
        "name": reservation.name,
        "gpus": reservation.request.count,
        "kind": reservation.request.kind,
        "start_at": reservation.start_at.isoformat(),
        "end_at": reservation.end_at.isoformat(),
    }


def reservation_not_found(text: str) -> NotFoundError:
    """Return the error for a reservation that does not exist, or that the caller may not use."""
    return NotFoundError(f"There is no reservation {text[:60]!r} for you.", hint="`ds01 reservation list` shows them.")
