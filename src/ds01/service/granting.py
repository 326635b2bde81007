"""Grants become durable here, in the transaction that decided them: the claim, the container's row, the request."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ds01.domain.allocation import CLAIM_DEADLINE, Allocation, AllocationState
from ds01.domain.event import Event
from ds01.domain.scheduling.board import format_slice
from ds01.domain.scheduling.queue import MOST_ATTEMPTS, Purpose, QueueEntry, QueueState, end_entry, put_back
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.situation import Grant, Pass, Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import BackendError, Ds01Error, NoCapacityError
from ds01.service.ports import ContainerRow, StoreTransaction


@dataclass(frozen=True, slots=True)
class Granted:
    """A request that got its GPUs: its container is to be made, or started.

    Attributes:
        entry: The request.
        allocation: The grant, claimed.
        row: The container's row; of a creation without the engine's id.
        reason: Why these devices.
    """

    entry: QueueEntry
    allocation: Allocation
    row: ContainerRow
    reason: str


def allocation_of(grant: Grant, situation: Situation, *, allocation_id: str = "") -> Allocation:
    """Return the claim that a grant becomes.

    Args:
        grant: What was decided.
        situation: In what it was decided.
        allocation_id: Its name; empty: one is made.
    """
    waiting, now = grant.waiting, situation.now
    positions = [taken.position for taken in grant.positions]
    return Allocation(
        id=allocation_id or secrets.token_hex(8),
        uid=waiting.uid,
        container_name=waiting.container_name,
        request=waiting.request,
        gpu_uuids=tuple(position.gpu_uuid for position in positions if position.gpu_uuid is not None),
        gpu_equivalents=grant.equivalents,
        state=AllocationState.CLAIMED,
        claimed_at=now,
        changed_at=now,
        deadline_at=now + CLAIM_DEADLINE,
        group=waiting.group,
        time_limit=waiting.time_limit,
        ends_at=end_of(waiting.time_limit, _reservation(situation, waiting.reservation), now),
        reservation=waiting.reservation,
        shares=max((position.shares for position in positions), default=1),
        slices=tuple(
            format_slice(taken.card_uuid, taken.position)
            for taken in grant.positions
            if taken.position.gpu_uuid is None
        ),
    )


def end_of(time_limit: timedelta | None, reservation: Reservation | None, now: datetime) -> datetime | None:
    """Return when a grant ends that is made now; None: without end."""
    ends = [now + time_limit] if time_limit is not None else []
    if reservation is not None:
        ends.append(reservation.end_at)
    return min(ends, default=None)


def _reservation(situation: Situation, reservation_id: str | None) -> Reservation | None:
    return next((item for item in situation.reservations if item.id == reservation_id), None)


def record_claim(
    transaction: StoreTransaction, allocation: Allocation, row: ContainerRow, reason: str, *, actor_uid: int | None
) -> None:
    """Write a claim with the row of the container that is made for it."""
    transaction.save_allocation(allocation)
    transaction.insert_container(row)
    record_claimed(transaction, allocation, reason, actor_uid=actor_uid)


def record_claimed(
    transaction: StoreTransaction, allocation: Allocation, reason: str, *, actor_uid: int | None
) -> None:
    """Write the event of a claim."""
    details = {**facts_of(allocation), "equivalents": allocation.gpu_equivalents, "reason": reason}
    transaction.append_event(event_of("allocation.claimed", allocation, allocation.claimed_at, details, actor_uid))


def record_pass(
    transaction: StoreTransaction, outcome: Pass, situation: Situation, entries: Mapping[str, QueueEntry]
) -> list[Granted]:
    """Write what a pass over the queue decided; return what got its GPUs."""
    record_promises(transaction, outcome, entries, situation.now)
    granted = [
        _grant_entry(transaction, entries[grant.waiting.id], grant, situation)
        for grant in outcome.grants
        if grant.waiting.id in entries
    ]
    return [found for found in granted if found is not None]


def _grant_entry(
    transaction: StoreTransaction, entry: QueueEntry, grant: Grant, situation: Situation
) -> Granted | None:
    allocation, waiting, now = allocation_of(grant, situation), entry.waiting, situation.now
    row = transaction.find_container(entry.uid, waiting.container_name)
    problem = _problem(entry, row)
    if problem:
        failed = end_entry(entry, QueueState.FAILED, problem, now)
        transaction.save_waiting(failed)
        transaction.append_event(request_event("request.failed", failed, now, {"reason": problem}))
        return None
    if row is None:
        row = ContainerRow(
            entry.uid,
            waiting.container_name,
            secrets.token_hex(16),
            None,
            allocation.id,
            entry.image,
            now,
            entry.order,
        )
        record_claim(transaction, allocation, row, grant.reason, actor_uid=None)
    else:
        row = replace(row, allocation_id=allocation.id)
        transaction.save_allocation(allocation)
        transaction.save_container(row)
    changed = replace(entry, state=QueueState.GRANTED, allocation_id=allocation.id, changed_at=now, reason="")
    transaction.save_waiting(changed)
    facts = facts_of(allocation)
    transaction.append_event(request_event("request.granted", changed, now, facts))
    return Granted(changed, allocation, row, grant.reason)


def _problem(entry: QueueEntry, row: ContainerRow | None) -> str:
    """Why a request has become pointless; empty: it has not."""
    if entry.purpose is Purpose.CREATE:
        return "" if row is None else "there is a container of that name now"
    return "" if row is not None and row.engine_id is not None else "its container is gone"


def record_promises(
    transaction: StoreTransaction, outcome: Pass, entries: Mapping[str, QueueEntry], now: datetime
) -> None:
    """Write the promises that are new, earlier or broken. The entries of what is granted are left alone."""
    granted = {grant.waiting.id for grant in outcome.grants}
    for request_id, entry in entries.items():
        before = entry.waiting.promised_at
        after = outcome.promises.get(request_id)
        if request_id in granted or after == before:
            continue
        broken = outcome.broken.get(request_id)
        if after is None and broken is None:
            continue  # the pass said nothing about it: what was promised stays
        transaction.save_waiting(replace(entry, waiting=replace(entry.waiting, promised_at=after)))
        if broken is not None and before is not None:
            lost = {"promised_at": before.isoformat(), "reason": broken}
            transaction.append_event(request_event("promise.broken", entry, now, lost))
        if after is not None:
            details = {"start_at": after.isoformat()}
            transaction.append_event(request_event("request.promised", entry, now, details))


def return_to_queue(transaction: StoreTransaction, allocation_id: str, reason: str, now: datetime) -> None:
    """Let the request of a grant wait again at its old place, if the grant came from the queue.

    Args:
        transaction: The grant is released in the same one.
        allocation_id: The grant.
        reason: Why.
        now: The moment.
    """
    entry = transaction.find_granted(allocation_id)
    if entry is not None:
        _put_back(transaction, entry, reason, now, has_failed=False)


def _put_back(
    transaction: StoreTransaction, entry: QueueEntry, reason: str, now: datetime, *, has_failed: bool
) -> None:
    waiting = put_back(entry, reason, now, is_tried_again_later=has_failed)
    transaction.save_waiting(waiting)
    transaction.append_event(request_event("request.returned", waiting, now, {"reason": reason}))


def with_its_place(situation: Situation, newcomer: Waiting) -> tuple[Situation, Waiting]:
    """Let a start have the place of the request that waits for the same container: it is not in its own way."""
    own = [other for other in situation.waiting if other.is_restart and _is_for_same(other, newcomer)]
    if not own:
        return situation, newcomer
    others = tuple(other for other in situation.waiting if other not in own)
    return replace(situation, waiting=others), own[0]


def _is_for_same(waiting: Waiting, other: Waiting) -> bool:
    return (waiting.uid, waiting.container_name) == (other.uid, other.container_name)


def end_waiting_start(transaction: StoreTransaction, row: ContainerRow, now: datetime) -> None:
    """A container is started: whoever waited for that waits no more."""
    for entry in transaction.list_waiting():
        is_its_own = (entry.uid, entry.waiting.container_name) == (row.uid, row.name)
        if is_its_own and entry.purpose is Purpose.START and entry.state is QueueState.WAITING:
            transaction.save_waiting(end_entry(entry, QueueState.DONE, "", now))


def settle_failure(
    transaction: StoreTransaction, granted: Granted, failure: BaseException | None, now: datetime, *, is_held: bool
) -> None:
    """Decide what becomes of a request whose container could not be made or started.

    Args:
        transaction: The grant is released in the same one.
        granted: What was granted.
        failure: What happened; something that is no error of ours: it was broken off.
        now: The moment.
        is_held: The container keeps the devices: there is nothing left to wait for.
    """
    entry = transaction.find_waiting(granted.entry.id)
    if entry is None or entry.allocation_id != granted.allocation.id:
        return
    if entry.state not in {QueueState.GRANTED, QueueState.DONE}:
        return  # it was cancelled meanwhile
    is_transient = isinstance(failure, BackendError | NoCapacityError) and entry.attempts + 1 < MOST_ATTEMPTS
    if not is_held and not isinstance(failure, Ds01Error):
        _put_back(transaction, entry, "the daemon ended before it was carried out", now, has_failed=False)
    elif not is_held and is_transient and isinstance(failure, Ds01Error):
        _put_back(transaction, entry, failure.message, now, has_failed=True)
    else:
        reason = failure.message if isinstance(failure, Ds01Error) else "it was broken off"
        failed = end_entry(entry, QueueState.FAILED, reason, now)
        transaction.save_waiting(failed)
        transaction.append_event(request_event("request.failed", failed, now, {"reason": reason}))


def facts_of(allocation: Allocation) -> dict[str, object]:
    """Return the facts of a grant that every event about it has."""
    return {"allocation": allocation.id, "gpus": list(allocation.gpu_uuids or allocation.slices)}


def event_of(
    name: str, allocation: Allocation, now: datetime, details: Mapping[str, object], actor_uid: int | None
) -> Event:
    """Return an event about a grant."""
    return Event(
        name, now, uid=allocation.uid, actor_uid=actor_uid, container=allocation.container_name, details=details
    )


def request_event(
    name: str, entry: QueueEntry, now: datetime, details: Mapping[str, object], *, actor_uid: int | None = None
) -> Event:
    """Return an event about a request."""
    return Event(
        name,
        now,
        uid=entry.uid,
        actor_uid=actor_uid,
        container=entry.waiting.container_name,
        details={"request": entry.id, **details},
    )
