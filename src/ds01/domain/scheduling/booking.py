"""Whether a reservation can be kept beside everything else, who may make it, and what stands in its way."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.request import GpuRequest, format_request
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.scheduling.board import holds_of
from ds01.domain.scheduling.commitment import Commitments
from ds01.domain.scheduling.option import grid_of
from ds01.domain.scheduling.quota import TOLERANCE, require_request_allowed
from ds01.domain.scheduling.refusal import possible_options, require_possible
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.reservation_life import LONGEST
from ds01.domain.scheduling.schedule import plan_pass
from ds01.domain.scheduling.situation import Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import ConflictError, InvalidRequestError, QuotaExceededError
from ds01.units import format_number

PAST_TOLERANCE = timedelta(minutes=1)
"""Who says "now" may say it a moment ago."""


@dataclass(frozen=True, slots=True)
class Span:
    """Something that takes devices for a time.

    Attributes:
        what: `grant`, `hold`, `foreign`, `reservation` or `promise`.
        gpu_uuid: The device; None: not chosen yet (a reservation, a promise).
        kind: Kind as it was asked for.
        count: Devices.
        uid: Whose; None: nobody can be named, or a group's.
        group: Group of a reservation, or of the user.
        name: Container, reservation or request.
        start_at: From when on.
        end_at: Until when; None: nobody knows.
        is_certain: The end is certain (a time limit, a window); else it is unknown.
    """

    what: str
    gpu_uuid: str | None
    kind: str
    count: int
    uid: int | None
    group: str
    name: str
    start_at: datetime
    end_at: datetime | None
    is_certain: bool

    def touches(self, start_at: datetime, end_at: datetime) -> bool:
        """Tell whether it takes something in a window."""
        return self.start_at < end_at and (self.end_at is None or start_at < self.end_at)


def require_valid_window(start_at: datetime, end_at: datetime, now: datetime) -> None:
    """Raise if nobody could use a window.

    Raises:
        InvalidRequestError: It is reversed, past, too long, or its times have no zone.
    """
    if start_at.tzinfo is None or end_at.tzinfo is None:
        raise InvalidRequestError("A time without a zone is none.", hint="Write it like 2027-03-01T14:00+01:00.")
    if end_at <= start_at:
        raise InvalidRequestError(
            f"The window ends ({end_at.isoformat()}) before it begins ({start_at.isoformat()}).",
            hint="Give --from the earlier and --to the later time.",
        )
    if start_at < now - PAST_TOLERANCE:
        raise InvalidRequestError(
            f"The window begins in the past ({start_at.isoformat()}).", hint="Use --from now, or a later time."
        )
    if end_at - start_at > LONGEST:
        raise InvalidRequestError(f"A window is at most {LONGEST.days} days long.", hint="Make several reservations.")


def require_reservable(situation: Situation, wanted: Reservation, *, is_admin: bool) -> None:
    """Raise if a reservation can never be, or is more than its owner may have.

    Args:
        situation: The scheduler's world, without it.
        wanted: The reservation.
        is_admin: An administrator makes it: the owner's allowance does not matter.

    Raises:
        InvalidRequestError: The machine has no such devices, or too few.
        QuotaExceededError: It is over the owner's allowance.
    """
    if wanted.request.count < 1:
        raise InvalidRequestError("A reservation is for one GPU at least.", hint="Use --gpus 1.")
    unbounded = replace(
        situation, people={uid: replace(who, limits=_unlimited(who.limits)) for uid, who in situation.people.items()}
    )
    asker = _request_of(wanted, next(iter(situation.people)) if wanted.uid is None else wanted.uid)
    require_possible(unbounded, asker)
    if is_admin or wanted.uid is None:
        return
    limits = situation.people[wanted.uid].limits
    require_request_allowed(limits, replace(wanted.request, count=1))
    _require_allowance(situation, wanted, limits)


def _unlimited(limits: EffectiveLimits) -> EffectiveLimits:
    values = replace(
        limits.values, max_gpus=None, max_gpu_equivalents=None, max_gpus_per_container=None, allow_full_gpu=True
    )
    return replace(limits, values=values)


def _request_of(wanted: Reservation, uid: int) -> Waiting:
    return Waiting(wanted.id, uid, "", wanted.name, wanted.request, 0, None, wanted.created_at, gpu_uuids=())


def _require_allowance(situation: Situation, wanted: Reservation, limits: EffectiveLimits) -> None:
    """What somebody has reserved at the same time is held like grants, against the same quota."""
    others = [
        item
        for item in situation.reservations
        if item.uid == wanted.uid
        and item.id != wanted.id
        and item.start_at < wanted.end_at
        and wanted.start_at < item.end_at
    ]
    gpus = sum(item.request.count for item in [*others, wanted])
    highest, compute = limits.values.max_gpus, limits.values.max_gpu_equivalents
    hint = "`ds01 limits` shows your quota, `ds01 reservation list` what you have reserved."
    if highest is not None and gpus > highest:
        raise QuotaExceededError(
            f"You would have reserved {gpus} GPUs at the same time and may have {highest} "
            f"(max_gpus of group {limits.group}).",
            hint=hint,
            details={"limit": "max_gpus", "requested": gpus, "allowed": highest},
        )
    weight = sum(_least_weight(situation, item.request, wanted) for item in [*others, wanted])
    if compute is not None and weight > compute + TOLERANCE:
        raise QuotaExceededError(
            f"You would have reserved {format_number(weight)} gpu-equivalents at the same time and may have "
            f"{format_number(compute)} (max_gpu_equivalents of group {limits.group}).",
            hint=hint,
            details={"limit": "max_gpu_equivalents", "requested": weight, "allowed": compute},
        )


def _least_weight(situation: Situation, request: GpuRequest, wanted: Reservation) -> float:
    asker = replace(_request_of(wanted, wanted.uid or 0), request=request)
    options = possible_options(situation, asker)
    lightest = min(option.position.equivalents for level in options.levels for option in level.options)
    return lightest * request.count


def shortfalls(situation: Situation) -> dict[str, int]:
    """Return the reservations that cannot be kept whole, id to the number of missing devices."""
    holds = holds_of(situation.board, situation.allocations, situation.foreign)
    kept = Commitments(situation, grid_of(situation.board), holds)
    kept.keep_reservations()
    return dict(kept.short)


def require_keepable(situation: Situation, wanted: Reservation, *, may_break_promises: bool) -> None:
    """Raise if a reservation cannot be kept beside what is held, reserved and promised.

    Args:
        situation: The scheduler's world, without it.
        wanted: The reservation.
        may_break_promises: Promises give way to it: an administrator makes it.

    Raises:
        ConflictError: `details["conflicts"]` lists what stands in the way.
    """
    joined = replace(situation, reservations=(*situation.reservations, wanted))
    before, after = shortfalls(situation), shortfalls(joined)
    is_short = any(missing > before.get(name, 0) for name, missing in after.items())
    broken = plan_pass(joined).broken.keys() - plan_pass(situation).broken.keys()
    if not is_short and (may_break_promises or not broken):
        return
    begin = wanted.start_at - situation.release_margin  # what ends a moment before gives its devices back in the window
    conflicts = [
        span
        for span in spans_of(situation)
        if span.touches(begin, wanted.end_at) and (span.what != "promise" or span.name in broken or is_short)
    ]
    named = ", ".join(dict.fromkeys(f"{span.what} {span.name}{_until(span)}" for span in conflicts))
    raise ConflictError(
        f"{format_request(wanted.request)} cannot be kept from {wanted.start_at.isoformat()} to "
        f"{wanted.end_at.isoformat()}: {named or 'too few devices'}.",
        hint="`ds01 timeline` shows what is taken when; choose another window, or fewer GPUs.",
        details={"conflicts": [conflict_of(span) for span in conflicts]},
    )


def _until(span: Span) -> str:
    return f" (until {span.end_at.isoformat()})" if span.end_at is not None else " (without end)"


def conflict_of(span: Span) -> dict[str, object]:
    """Return a span for the details of an error."""
    return {
        "what": span.what,
        "name": span.name,
        "uid": span.uid,
        "gpus": span.count,
        "gpu": span.gpu_uuid,
        "start_at": span.start_at.isoformat(),
        "end_at": span.end_at.isoformat() if span.end_at is not None else None,
    }


def spans_of(situation: Situation) -> list[Span]:
    """Return everything that takes devices now or later: first what has its devices, then what is kept by kind."""
    found = [*_held(situation.allocations, situation.now), *_foreign(situation)]
    found += [
        Span(
            "reservation",
            None,
            item.request.kind,
            item.request.count,
            item.uid,
            item.group or "",
            item.name,
            item.start_at,
            item.end_at,
            is_certain=True,
        )
        for item in situation.reservations
    ]
    return [*found, *_promised(situation.waiting)]


def _held(allocations: Iterable[Allocation], now: datetime) -> Iterator[Span]:
    for grant in allocations:
        is_held = grant.state is AllocationState.HELD
        ends = [at for at in (grant.ends_at, grant.deadline_at if is_held else None) if at is not None]
        for uuid in grant.gpu_uuids or grant.slices:
            yield Span(
                "hold" if is_held else "grant",
                uuid,
                grant.request.kind,
                1,
                grant.uid,
                grant.group,
                grant.container_name,
                grant.claimed_at,
                max(min(ends), now) if ends else None,
                is_certain=bool(ends),
            )


def _foreign(situation: Situation) -> Iterator[Span]:
    for found in situation.foreign:
        for uuid in sorted(found.gpu_uuids):
            yield Span("foreign", uuid, "any", 1, found.uid, "", found.name, found.created_at, None, is_certain=False)


def _promised(waiting: Iterable[Waiting]) -> Iterator[Span]:
    for item in waiting:
        if item.promised_at is not None:
            end = item.promised_at + item.time_limit if item.time_limit is not None else None
            yield Span(
                "promise",
                None,
                item.request.kind,
                item.request.count,
                item.uid,
                item.group,
                item.id,
                item.promised_at,
                end,
                is_certain=end is not None,
            )
