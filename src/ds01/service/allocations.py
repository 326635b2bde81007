"""Grants: activate, hold, release. Every step is one durable transaction that decides and writes together.

Who gets what is decided in `scheduling`; everything that happens to a grant later is here.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from ds01.domain.allocation import Allocation, AllocationState, move_allocation
from ds01.domain.devices.placement import Placement
from ds01.domain.event import Event
from ds01.domain.request import GpuRequest
from ds01.domain.rules.consumption import Consumption, add_use
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.scheduling.queue import Purpose, QueueState, end_entry
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import ConflictError, Ds01Error
from ds01.service.bell import Bell
from ds01.service.granting import Granted, event_of, facts_of, return_to_queue, settle_failure
from ds01.service.ports import Clock, ContainerRow, Store, StoreTransaction

Result = TypeVar("Result")
HALF_LIFE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ClaimOrder:
    """What is to be granted. Its marks are known before it is durable, so that it can be taken back in any case.

    Attributes:
        uid: Owner.
        name: Name of the container.
        request: GPUs asked for.
        limits: The owner's limits.
        image: Private tag the container will be created from.
        spec: The order as JSON text, kept with the row.
        time_limit: Running time of the grant; None: without end.
        not_before: It does not start before; None: at any time.
        reservation: Name or id of a reservation as it was typed; None: the one that fits, or outside of any.
        is_exclusive: It shares no device.
        allocation_id: Name of the grant.
        nonce: Nonce of the row.
    """

    uid: int
    name: str
    request: GpuRequest
    limits: EffectiveLimits
    image: str
    spec: str
    time_limit: timedelta | None = None
    not_before: datetime | None = None
    reservation: str | None = None
    is_exclusive: bool = False
    allocation_id: str = field(default_factory=lambda: secrets.token_hex(8))
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))

    def waiting(self, now: datetime) -> Waiting:
        """Return the order as the scheduler sees one who asks right now."""
        return Waiting(
            id=self.allocation_id,
            uid=self.uid,
            group=self.limits.group,
            container_name=self.name,
            request=self.request,
            priority=self.limits.values.priority,
            time_limit=self.time_limit,
            queued_at=now,
            not_before=self.not_before,
            is_exclusive=self.is_exclusive,
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """A durable grant whose container does not exist yet.

    Attributes:
        allocation: The grant.
        placement: Which devices and why.
        row: The container's row, without the engine's id.
        request_id: The request that waited for it; None: nobody waited.
    """

    allocation: Allocation
    placement: Placement
    row: ContainerRow
    request_id: str | None = None


class AllocationService:
    """Owns every change of an allocation."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        bell: Bell | None = None,
        half_life: Callable[[], timedelta] = lambda: HALF_LIFE,
    ) -> None:
        self._store = store
        self._clock = clock
        self._bell = bell or Bell()
        self._half_life = half_life

    async def activate(
        self, claim: Claim, engine_id: str, *, image: str, digest: str = "", actor_uid: int | None = None
    ) -> Allocation:
        """The container of a claim exists: complete its row and make the grant active.

        Args:
            claim: The claim.
            engine_id: Id of the container.
            image: Image as its owner knows it, for the event.
            digest: Which image that was; empty: unknown.
            actor_uid: Who asked; None: the daemon itself.

        Raises:
            ConflictError: The claim is not there any more.
        """
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> Allocation:
            current = transaction.find_allocation(claim.allocation.id)
            row = transaction.find_container_by_nonce(claim.row.nonce)
            entry = transaction.find_granted(claim.allocation.id)
            is_cancelled = claim.request_id is not None and entry is None
            if current is None or not current.is_holding or row is None or is_cancelled:
                raise ConflictError(
                    f"The grant of {claim.row.name} ran out while its container was being made.",
                    hint="Create it again.",
                )
            active = activated(current, now)
            transaction.save_allocation(active)
            transaction.save_container(replace(row, engine_id=engine_id))
            transaction.append_event(event_of("allocation.activated", active, now, facts_of(active), actor_uid))
            created = {"image": image, "digest": digest, "gpus": list(active.gpu_uuids), "allocation": active.id}
            transaction.append_event(event_of("container.created", active, now, created, actor_uid))
            if entry is not None:
                transaction.save_waiting(end_entry(entry, QueueState.DONE, "", now))
            return active

        return await self._store.write(decide)

    async def abandon(self, order: ClaimOrder, reason: str) -> None:
        """A creation failed: release its claim and forget its row, if it came so far."""
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> None:
            row = transaction.find_container_by_nonce(order.nonce)
            if row is not None:
                transaction.delete_container(row.uid, row.name)
            released = self.release_in(transaction, order.allocation_id, now, reason)
            if released is not None:
                failure = {"step": "create", "reason": reason}
                transaction.append_event(event_of("container.failed", released, now, failure, order.uid))

        await self.write_and_ring(decide)

    async def give_up(self, granted: Granted, failure: BaseException | None) -> None:
        """The creation or start of a request that got its GPUs failed: release the claim.

        Where a part of the system failed, or the daemon ends, the request waits again at its old place; else it has
        failed, for good and with the reason. A request that was cancelled meanwhile stays so.
        """
        now = self._clock.now()
        reason = failure.message if isinstance(failure, Ds01Error) else "it was broken off"

        def decide(transaction: StoreTransaction) -> None:
            current = transaction.find_allocation(granted.allocation.id)
            is_creation = granted.entry.purpose is Purpose.CREATE
            row = transaction.find_container_by_nonce(granted.row.nonce)
            if is_creation and row is not None:
                transaction.delete_container(row.uid, row.name)
            # a start that failed may have begun a hold, which is its owner's
            is_lost = current is not None and (is_creation or current.state is AllocationState.CLAIMED)
            if current is not None and is_lost:
                self.release_in(transaction, current.id, now, reason)
            if isinstance(failure, Ds01Error):
                step = {"step": granted.entry.purpose.value, "reason": reason}
                transaction.append_event(event_of("container.failed", granted.allocation, now, step, None))
            settle_failure(transaction, granted, failure, now, is_held=current is not None and not is_lost)

        await self.write_and_ring(decide)

    async def set_image(self, row: ContainerRow, image: str) -> ContainerRow:
        """Note that the container of a claim is created from another image than was thought; return its row."""

        def decide(transaction: StoreTransaction) -> ContainerRow:
            present = transaction.find_container_by_nonce(row.nonce)
            if present is None:
                raise ConflictError(f"The request for {row.name} was taken back.")
            changed = replace(present, image=image)
            transaction.save_container(changed)
            return changed

        return await self._store.write(decide)

    async def finish_request(self, request_id: str) -> None:
        """The container of a request that got its GPUs runs."""
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> None:
            entry = transaction.find_waiting(request_id)
            if entry is not None and entry.state is QueueState.GRANTED:
                transaction.save_waiting(end_entry(entry, QueueState.DONE, "", now))

        await self.write_and_ring(decide)

    async def undo_creation(self, row: ContainerRow, reason: str) -> None:
        """A creation ended half-way and what it left on the engine is gone: the request, if one waited, waits again."""
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> None:
            transaction.delete_container(row.uid, row.name)
            self.release_in(transaction, row.allocation_id, now, reason)
            details = {"allocation": row.allocation_id, "reason": f"{reason}: undone"}
            transaction.append_event(
                Event("allocation.repaired", now, uid=row.uid, container=row.name, details=details)
            )
            return_to_queue(transaction, row.allocation_id, reason, now)

        await self.write_and_ring(decide)

    async def settle_stopped(
        self,
        row: ContainerRow,
        hold: timedelta | None,
        exit_code: int | None,
        *,
        actor_uid: int | None = None,
        reason: str = "",
    ) -> Allocation | None:
        """A container does not run any more: hold its devices as the policy says, or release them.

        Args:
            row: The container.
            hold: How long; None: until it is removed.
            exit_code: Exit status of its main process, if known.
            actor_uid: Who stopped it; None: it ended by itself, or past us.
            reason: Why it was stopped, where that is not plain.
        """
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> Allocation | None:
            _, current = present_grant(transaction, row)
            if current is None or current.state is not AllocationState.ACTIVE:
                return current
            stopped: dict[str, object] = {"exit_code": exit_code, **({"reason": reason} if reason else {})}
            transaction.append_event(event_of("container.stopped", current, now, stopped, actor_uid))
            if hold is not None and hold <= timedelta(0):
                why = reason or "stopped, and nothing is held"
                return self.release_in(transaction, current.id, now, why, actor_uid=actor_uid)
            held = move_allocation(current, AllocationState.HELD, now, hold=hold)
            transaction.save_allocation(held)
            until = held.deadline_at.isoformat() if held.deadline_at else None
            transaction.append_event(
                event_of("allocation.held", held, now, {**facts_of(held), "until": until}, actor_uid)
            )
            return held

        return await self.write_and_ring(decide)

    async def release(
        self, allocation_id: str, reason: str, *, only_held: bool = False, actor_uid: int | None = None
    ) -> Allocation | None:
        """Release a grant; one that is released already is fine.

        Raises:
            ConflictError: `only_held`, and its container runs or was never started.
        """
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> Allocation | None:
            current = transaction.find_allocation(allocation_id)
            if current is not None and only_held and current.state in {AllocationState.ACTIVE, AllocationState.CLAIMED}:
                raise ConflictError(
                    f"The GPUs of {current.container_name} are in use: the container is not stopped.",
                    hint=f"Stop it first: `ds01 stop {current.container_name}`.",
                )
            return self.release_in(transaction, allocation_id, now, reason, actor_uid=actor_uid)

        return await self.write_and_ring(decide)

    async def forget(self, row: ContainerRow, reason: str, *, actor_uid: int | None = None) -> Allocation | None:
        """A container is gone: release its grant and delete its row. Returns what was released."""
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> Allocation | None:
            present, current = present_grant(transaction, row)
            if present is None:
                return None
            transaction.delete_container(present.uid, present.name)
            released = self.release_in(transaction, current.id, now, reason, actor_uid=actor_uid) if current else None
            removed = Event("container.removed", now, uid=row.uid, actor_uid=actor_uid, container=row.name)
            transaction.append_event(removed)
            return released

        return await self.write_and_ring(decide)

    def release_in(
        self,
        transaction: StoreTransaction,
        allocation_id: str,
        now: datetime,
        reason: str,
        *,
        actor_uid: int | None = None,
    ) -> Allocation | None:
        """Release a grant within a transaction; returns it, or None if there was nothing to release.

        What it used is counted here and nowhere else, so each grant counts once.
        """
        current = transaction.find_allocation(allocation_id)
        if current is None or not current.is_holding:
            return None
        released = move_allocation(current, AllocationState.RELEASED, now)
        transaction.save_allocation(released)
        if released.gpu_equivalents:
            before = transaction.find_consumption(released.uid, released.group)
            before = before or Consumption(released.uid, released.group, 0.0, released.claimed_at)
            used = add_use(before, released.gpu_equivalents, released.claimed_at, now, self._half_life())
            transaction.save_consumption(used)
        details = {**facts_of(released), "reason": reason}
        transaction.append_event(event_of("allocation.released", released, now, details, actor_uid))
        return released

    async def write_and_ring(self, decide: Callable[[StoreTransaction], Result]) -> Result:
        """Something may be free now: whoever waits for it hears it, also when the caller has gone meanwhile."""
        writing = asyncio.ensure_future(self._store.write(decide))
        writing.add_done_callback(lambda _: self._bell.ring())
        return await asyncio.shield(writing)


def present_grant(transaction: StoreTransaction, row: ContainerRow) -> tuple[ContainerRow | None, Allocation | None]:
    """Return the row as it is now, and its grant: what the caller has read may be of yesterday."""
    present = transaction.find_container_by_nonce(row.nonce)
    return present, transaction.find_allocation(present.allocation_id) if present else None


def activated(current: Allocation, now: datetime) -> Allocation:
    """Return a grant whose container exists, and runs or is about to."""
    moved = move_allocation(current, AllocationState.ACTIVE, now)
    return moved if moved.deadline_at is None else replace(moved, deadline_at=None)
