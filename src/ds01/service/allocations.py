"""Grants: claim, activate, hold, release. Every step is one durable transaction that decides and writes together."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ds01.domain.allocation import CLAIM_DEADLINE, Allocation, AllocationState, move_allocation
from ds01.domain.event import Event
from ds01.domain.limit import EffectiveLimits
from ds01.domain.placement import Placement
from ds01.domain.request import GpuRequest
from ds01.errors import ConflictError
from ds01.service.decisions import grant_anew, plan_claim, require_free
from ds01.service.observation import Observation
from ds01.service.ports import Clock, ContainerRow, Store, StoreTransaction


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
        allocation_id: Name of the grant.
        nonce: Nonce of the row.
    """

    uid: int
    name: str
    request: GpuRequest
    limits: EffectiveLimits
    image: str
    spec: str
    allocation_id: str = field(default_factory=lambda: secrets.token_hex(8))
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))


@dataclass(frozen=True, slots=True)
class Claim:
    """A durable grant whose container does not exist yet.

    Attributes:
        allocation: The grant.
        placement: Which devices and why.
        row: The container's row, without the engine's id.
    """

    allocation: Allocation
    placement: Placement
    row: ContainerRow


class AllocationService:
    """Owns every change of an allocation."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def claim(self, order: ClaimOrder, observation: Observation) -> Claim:
        """Grant devices and reserve the name, durably.

        Raises:
            ConflictError: The user has a container of that name.
            QuotaExceededError: A quota is reached.
            NoCapacityError: It would fit later.
            InvalidRequestError: It can never fit.
        """
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> Claim:
            placement = plan_claim(
                transaction,
                uid=order.uid,
                name=order.name,
                request=order.request,
                limits=order.limits,
                observation=observation,
            )
            allocation = Allocation(
                id=order.allocation_id,
                uid=order.uid,
                container_name=order.name,
                request=order.request,
                gpu_uuids=tuple(gpu.uuid for gpu in placement.gpus),
                gpu_equivalents=placement.equivalents,
                state=AllocationState.CLAIMED,
                claimed_at=now,
                changed_at=now,
                deadline_at=now + CLAIM_DEADLINE,
            )
            row = ContainerRow(order.uid, order.name, order.nonce, None, allocation.id, order.image, now, order.spec)
            transaction.save_allocation(allocation)
            transaction.insert_container(row)
            details = {**_facts(allocation), "equivalents": allocation.gpu_equivalents, "reason": placement.reason}
            transaction.append_event(_event("allocation.claimed", allocation, now, details, actor_uid=order.uid))
            return Claim(allocation, placement, row)

        return await self._store.write(decide)

    async def activate(self, claim: Claim, engine_id: str, *, image: str, actor_uid: int | None = None) -> Allocation:
        """The container of a claim exists: complete its row and make the grant active.

        Args:
            claim: The claim.
            engine_id: Id of the container.
            image: Image as its owner knows it, for the event.
            actor_uid: Who asked; None: the daemon itself.

        Raises:
            ConflictError: The claim is not there any more.
        """
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> Allocation:
            current = transaction.find_allocation(claim.allocation.id)
            row = transaction.find_container_by_nonce(claim.row.nonce)
            if current is None or not current.is_holding or row is None:
                raise ConflictError(
                    f"The grant of {claim.row.name} ran out while its container was being made.",
                    hint="Create it again.",
                )
            active = _activated(current, now)
            transaction.save_allocation(active)
            transaction.save_container(replace(row, engine_id=engine_id))
            transaction.append_event(_event("allocation.activated", active, now, _facts(active), actor_uid=actor_uid))
            created = {"image": image, "gpus": list(active.gpu_uuids), "allocation": active.id}
            transaction.append_event(_event("container.created", active, now, created, actor_uid=actor_uid))
            return active

        return await self._store.write(decide)

    async def abandon(self, order: ClaimOrder, reason: str) -> None:
        """A creation failed: release its claim and forget its row, if it came so far."""
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> None:
            row = transaction.find_container_by_nonce(order.nonce)
            if row is not None:
                transaction.delete_container(row.uid, row.name)
            released = release_in(transaction, order.allocation_id, now, reason)
            if released is not None:
                failure = {"step": "create", "reason": reason}
                transaction.append_event(
                    _event("container.failed", released, now, failure, actor_uid=order.uid),
                )

        await self._store.write(decide)

    async def require_startable(
        self, row: ContainerRow, limits: EffectiveLimits, observation: Observation, *, actor_uid: int | None = None
    ) -> Allocation:
        """Make the grant of a container active for a start; exclusivity is checked at every start.

        A held grant is taken up again. A released one is granted anew, the same devices, if they are free.

        Args:
            row: The container.
            limits: The owner's limits.
            observation: The machine as this container sees it, see `Observation.for_start_of`.
            actor_uid: Who starts it; None: somebody past us.

        Raises:
            NoCapacityError: Somebody else has one of its devices now.
            QuotaExceededError: A new grant is over the quota.
            ConflictError: The store has no grant for it.
        """
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> Allocation:
            present, current = _present(transaction, row)
            if present is None or current is None:
                raise ConflictError(
                    f"The grant of {row.name} is not in the store.", hint="Remove the container and create it again."
                )
            others = [other for other in transaction.list_allocations() if other.id != current.id]
            require_free(row.name, current.gpu_uuids, others, observation)
            if current.state is AllocationState.ACTIVE:
                return current
            if current.is_holding:
                active = _activated(current, now)
            else:
                active = grant_anew(current, others, limits, observation, now)
            transaction.save_allocation(active)
            transaction.save_container(replace(present, allocation_id=active.id))
            transaction.append_event(_event("allocation.activated", active, now, _facts(active), actor_uid=actor_uid))
            return active

        return await self._store.write(decide)

    async def settle_stopped(
        self, row: ContainerRow, hold: timedelta | None, exit_code: int | None, *, actor_uid: int | None = None
    ) -> Allocation | None:
        """A container does not run any more: hold its devices as the policy says, or release them.

        Args:
            row: The container.
            hold: How long; None: until it is removed.
            exit_code: Exit status of its main process, if known.
            actor_uid: Who stopped it; None: it ended by itself, or past us.
        """
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> Allocation | None:
            _, current = _present(transaction, row)
            if current is None or current.state is not AllocationState.ACTIVE:
                return current
            stopped = {"exit_code": exit_code}
            transaction.append_event(_event("container.stopped", current, now, stopped, actor_uid=actor_uid))
            if hold is not None and hold <= timedelta(0):
                return release_in(transaction, current.id, now, "stopped, and nothing is held", actor_uid=actor_uid)
            held = move_allocation(current, AllocationState.HELD, now, hold=hold)
            transaction.save_allocation(held)
            until = held.deadline_at.isoformat() if held.deadline_at else None
            facts = {**_facts(held), "until": until}
            transaction.append_event(_event("allocation.held", held, now, facts, actor_uid=actor_uid))
            return held

        return await self._store.write(decide)

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
            return release_in(transaction, allocation_id, now, reason, actor_uid=actor_uid)

        return await self._store.write(decide)

    async def forget(self, row: ContainerRow, reason: str, *, actor_uid: int | None = None) -> Allocation | None:
        """A container is gone: release its grant and delete its row. Returns what was released."""
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> Allocation | None:
            present, current = _present(transaction, row)
            if present is None:
                return None
            transaction.delete_container(present.uid, present.name)
            released = release_in(transaction, current.id, now, reason, actor_uid=actor_uid) if current else None
            removed = Event("container.removed", now, uid=row.uid, actor_uid=actor_uid, container=row.name)
            transaction.append_event(removed)
            return released

        return await self._store.write(decide)


def release_in(
    transaction: StoreTransaction, allocation_id: str, now: datetime, reason: str, *, actor_uid: int | None = None
) -> Allocation | None:
    """Release a grant within a transaction; returns it, or None if there was nothing to release."""
    current = transaction.find_allocation(allocation_id)
    if current is None or not current.is_holding:
        return None
    released = replace(move_allocation(current, AllocationState.RELEASED, now), deadline_at=None)
    transaction.save_allocation(released)
    details = {**_facts(released), "reason": reason}
    transaction.append_event(_event("allocation.released", released, now, details, actor_uid=actor_uid))
    return released


def _present(transaction: StoreTransaction, row: ContainerRow) -> tuple[ContainerRow | None, Allocation | None]:
    """The row as it is now, and its grant: what the caller has read may be of yesterday."""
    present = transaction.find_container_by_nonce(row.nonce)
    return present, transaction.find_allocation(present.allocation_id) if present else None


def _activated(current: Allocation, now: datetime) -> Allocation:
    return replace(move_allocation(current, AllocationState.ACTIVE, now), deadline_at=None)


def _facts(allocation: Allocation) -> dict[str, object]:
    return {"allocation": allocation.id, "gpus": list(allocation.gpu_uuids)}


def _event(
    name: str, allocation: Allocation, now: datetime, details: Mapping[str, object], *, actor_uid: int | None
) -> Event:
    return Event(
        name, now, uid=allocation.uid, actor_uid=actor_uid, container=allocation.container_name, details=details
    )
