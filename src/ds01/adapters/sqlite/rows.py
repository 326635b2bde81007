"""Values to rows and back. Times are microseconds since 1970 UTC, because they are exact and sort as numbers."""

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.event import EVENTS, Event
from ds01.domain.request import GpuRequest
from ds01.domain.rules.consumption import Consumption
from ds01.domain.scheduling.queue import Purpose, QueueEntry, QueueState
from ds01.domain.scheduling.reservation import Reservation, ReservationState
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import BackendError
from ds01.service.ports import ContainerRow

Row = tuple[Any, ...]
"""What the binding returns: its columns have no types of their own."""

ALLOCATION_COLUMNS = (
    "id, uid, container_name, request_count, request_kind, request_memory_bytes, gpu_equivalents, state, "
    "changed_at_us, deadline_at_us, user_group, time_limit_us, ends_at_us, reservation, claimed_at_us, gpu_uuids, "
    "shares, slices"
)
CONTAINER_COLUMNS = "uid, name, nonce, engine_id, allocation_id, image, created_at_us, spec"
QUEUE_COLUMNS = (
    "id, uid, user_group, container_name, request_count, request_kind, request_memory_bytes, priority, time_limit_us, "
    "queued_at_us, gives_up_at_us, not_before_us, gpu_uuids, reservation, is_exclusive, promised_at_us, moved_to, "
    "purpose, order_text, state, changed_at_us, allocation_id, reason, attempts, image"
)
RESERVATION_COLUMNS = (
    "id, name, uid, user_group, request_count, request_kind, request_memory_bytes, start_at_us, end_at_us, reason, "
    "created_by_uid, created_at_us, state, changed_at_us"
)
CONSUMPTION_COLUMNS = "uid, user_group, used_s, at_us"
EVENT_COLUMNS = "id, name, at_us, uid, actor_uid, container, details"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Return a moment as it is stored.

    Raises:
        ValueError: It is naive: whose clock it means is unknown.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(stored: int) -> datetime:
    """Return a stored moment, aware, UTC."""
    return _EPOCH + stored * _MICROSECOND


def to_optional(moment: datetime | None) -> int | None:
    """Return a moment, or that there is none, as it is stored."""
    return None if moment is None else to_microseconds(moment)


def _from_optional(stored: int | None) -> datetime | None:
    return None if stored is None else from_microseconds(stored)


def _to_length(length: timedelta | None) -> int | None:
    return None if length is None else length // _MICROSECOND


def _from_length(stored: int | None) -> timedelta | None:
    return None if stored is None else stored * _MICROSECOND


def allocation_values(allocation: Allocation) -> Row:
    """Return the columns of ALLOCATION_COLUMNS."""
    return (
        allocation.id,
        allocation.uid,
        allocation.container_name,
        allocation.request.count,
        allocation.request.kind,
        allocation.request.memory_bytes,
        allocation.gpu_equivalents,
        allocation.state.value,
        to_microseconds(allocation.changed_at),
        to_optional(allocation.deadline_at),
        allocation.group,
        _to_length(allocation.time_limit),
        to_optional(allocation.ends_at),
        allocation.reservation,
        to_microseconds(allocation.claimed_at),
        _format_uuids(allocation.gpu_uuids),
        allocation.shares,
        _format_uuids(allocation.slices),
    )


# The same grants are read again at every decision.
@lru_cache(maxsize=4096)
def _parse_uuids(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


@lru_cache(maxsize=4096)
def _format_uuids(uuids: tuple[str, ...]) -> str:
    return json.dumps(uuids)


@lru_cache(maxsize=4096)
def _make_request(count: int, kind: str, memory_bytes: int | None) -> GpuRequest:
    return GpuRequest(count=count, kind=kind, memory_bytes=memory_bytes)


# Nearly all of what is read at a decision was read at the last one too.
@lru_cache(maxsize=8192)
def make_allocation(row: Row) -> Allocation:
    """Return the allocation of a row."""
    return Allocation(
        id=row[0],
        uid=row[1],
        container_name=row[2],
        request=_make_request(row[3], row[4], row[5]),
        gpu_uuids=_parse_uuids(row[15]),
        gpu_equivalents=row[6],
        state=AllocationState(row[7]),
        claimed_at=from_microseconds(row[14]),
        changed_at=from_microseconds(row[8]),
        deadline_at=_from_optional(row[9]),
        group=row[10],
        time_limit=_from_length(row[11]),
        ends_at=_from_optional(row[12]),
        reservation=row[13],
        shares=row[16],
        slices=_parse_uuids(row[17]),
    )


def container_values(row: ContainerRow) -> Row:
    """Return the columns of CONTAINER_COLUMNS."""
    return (
        row.uid,
        row.name,
        row.nonce,
        row.engine_id,
        row.allocation_id,
        row.image,
        to_microseconds(row.created_at),
        row.spec,
    )


@lru_cache(maxsize=8192)
def make_container(row: Row) -> ContainerRow:
    """Return the container of a row."""
    return ContainerRow(
        uid=row[0],
        name=row[1],
        nonce=row[2],
        engine_id=row[3],
        allocation_id=row[4],
        image=row[5],
        created_at=from_microseconds(row[6]),
        spec=row[7],
    )


def queue_values(entry: QueueEntry) -> Row:
    """Return the columns of QUEUE_COLUMNS."""
    waiting = entry.waiting
    return (
        waiting.id,
        waiting.uid,
        waiting.group,
        waiting.container_name,
        waiting.request.count,
        waiting.request.kind,
        waiting.request.memory_bytes,
        waiting.priority,
        _to_length(waiting.time_limit),
        to_microseconds(waiting.queued_at),
        to_optional(waiting.gives_up_at),
        to_optional(waiting.not_before),
        json.dumps(waiting.gpu_uuids),
        waiting.reservation,
        int(waiting.is_exclusive),
        to_optional(waiting.promised_at),
        waiting.moved_to,
        entry.purpose.value,
        entry.order,
        entry.state.value,
        to_microseconds(entry.changed_at),
        entry.allocation_id,
        entry.reason,
        entry.attempts,
        entry.image,
    )


# The same requests are read again at every pass.
@lru_cache(maxsize=8192)
def make_entry(row: Row) -> QueueEntry:
    """Return the queue entry of a row."""
    waiting = Waiting(
        id=row[0],
        uid=row[1],
        group=row[2],
        container_name=row[3],
        request=_make_request(row[4], row[5], row[6]),
        priority=row[7],
        time_limit=_from_length(row[8]),
        queued_at=from_microseconds(row[9]),
        gives_up_at=_from_optional(row[10]),
        not_before=_from_optional(row[11]),
        gpu_uuids=_parse_uuids(row[12]),
        reservation=row[13],
        is_exclusive=bool(row[14]),
        promised_at=_from_optional(row[15]),
        moved_to=row[16],
        has_container=Purpose(row[17]) is Purpose.START,
    )
    return QueueEntry(
        waiting=waiting,
        purpose=Purpose(row[17]),
        order=row[18],
        state=QueueState(row[19]),
        changed_at=from_microseconds(row[20]),
        allocation_id=row[21],
        reason=row[22],
        attempts=row[23],
        image=row[24],
    )


def reservation_values(reservation: Reservation) -> Row:
    """Return the columns of RESERVATION_COLUMNS."""
    return (
        reservation.id,
        reservation.name,
        reservation.uid,
        reservation.group,
        reservation.request.count,
        reservation.request.kind,
        reservation.request.memory_bytes,
        to_microseconds(reservation.start_at),
        to_microseconds(reservation.end_at),
        reservation.reason,
        reservation.created_by_uid,
        to_microseconds(reservation.created_at),
        reservation.state.value,
        to_optional(reservation.changed_at),
    )


def make_reservation(row: Row) -> Reservation:
    """Return the reservation of a row."""
    return Reservation(
        id=row[0],
        name=row[1],
        uid=row[2],
        group=row[3],
        request=_make_request(row[4], row[5], row[6]),
        start_at=from_microseconds(row[7]),
        end_at=from_microseconds(row[8]),
        reason=row[9],
        created_by_uid=row[10],
        created_at=from_microseconds(row[11]),
        state=ReservationState(row[12]),
        changed_at=_from_optional(row[13]),
    )


def consumption_values(consumption: Consumption) -> Row:
    """Return the columns of CONSUMPTION_COLUMNS."""
    return (consumption.uid, consumption.group, consumption.used_s, to_microseconds(consumption.at))


def make_consumption(row: Row) -> Consumption:
    """Return the consumption of a row."""
    return Consumption(row[0], row[1], row[2], from_microseconds(row[3]))


_encode_details = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, check_circular=False).encode


def event_values(event: Event) -> Row:
    """Return the columns of EVENT_COLUMNS but the number, which the store gives."""
    details = _encode_details(dict(event.details))
    return (event.name, to_microseconds(event.at), event.uid, event.actor_uid, event.container, details)


def make_event(row: Row) -> Event:
    """Return the event of a row.

    Raises:
        BackendError: The registry does not know it: a kind was taken out of it without a migration.
    """
    details = json.loads(row[6])
    kind = EVENTS.get(row[1])
    if kind is None or not set(details) <= set(kind.fields):
        raise BackendError(f"Event {row[0]} of the store is a {row[1]!r} that this version of DS01 does not know.")
    return Event(
        id=row[0],
        name=row[1],
        at=from_microseconds(row[2]),
        uid=row[3],
        actor_uid=row[4],
        container=row[5],
        details=details,
    )
