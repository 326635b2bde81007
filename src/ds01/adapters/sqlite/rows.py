"""Values to rows and back. Times are microseconds since 1970 UTC, because they are exact and sort as numbers."""

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.event import EVENTS, Event
from ds01.domain.request import GpuRequest
from ds01.errors import BackendError
from ds01.service.ports import ContainerRow

Row = tuple[Any, ...]
"""What the binding returns: its columns have no types of their own."""

ALLOCATION_COLUMNS = (
    "id, uid, container_name, request_count, request_kind, request_memory_bytes, gpu_equivalents, state, "
    "changed_at_us, deadline_at_us, claimed_at_us, gpu_uuids"
)
CONTAINER_COLUMNS = "uid, name, nonce, engine_id, allocation_id, image, created_at_us, spec"
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


def _to_optional(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)


def _from_optional(stored: int | None) -> datetime | None:
    return None if stored is None else from_microseconds(stored)


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
        _to_optional(allocation.deadline_at),
        to_microseconds(allocation.claimed_at),
        json.dumps(allocation.gpu_uuids),
    )


# The same grants are read again at every decision.
@lru_cache(maxsize=4096)
def _parse_uuids(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


@lru_cache(maxsize=4096)
def _make_request(count: int, kind: str, memory_bytes: int | None) -> GpuRequest:
    return GpuRequest(count=count, kind=kind, memory_bytes=memory_bytes)


def make_allocation(row: Row) -> Allocation:
    """Return the allocation of a row."""
    return Allocation(
        id=row[0],
        uid=row[1],
        container_name=row[2],
        request=_make_request(row[3], row[4], row[5]),
        gpu_uuids=_parse_uuids(row[11]),
        gpu_equivalents=row[6],
        state=AllocationState(row[7]),
        claimed_at=from_microseconds(row[10]),
        changed_at=from_microseconds(row[8]),
        deadline_at=_from_optional(row[9]),
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


def event_values(event: Event) -> Row:
    """Return the columns of EVENT_COLUMNS but the number, which the store gives."""
    details = json.dumps(dict(event.details), ensure_ascii=False, allow_nan=False, sort_keys=True)
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
