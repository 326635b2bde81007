"""A container that exists and holds nothing gets GPUs again, whichever its request allows, as a newcomer would.

That is for containers whose GPUs are not fixed, or are about to be changed: one that is bound late, one that is moved.
"""

import asyncio
import secrets
from dataclasses import dataclass, replace
from datetime import datetime

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.rules.access import container_not_found
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.scheduling.reservation_choice import choose_reservation
from ds01.domain.scheduling.schedule import plan_grant
from ds01.domain.scheduling.situation import Grant, Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import Ds01Error, InvalidRequestError, NoCapacityError
from ds01.service.allocations import AllocationService, activated, present_grant
from ds01.service.completion import complete
from ds01.service.dynamic_instances import DynamicInstances
from ds01.service.granting import allocation_of, end_waiting_start, event_of, facts_of, record_claimed, with_its_place
from ds01.service.observation import Observation
from ds01.service.order import CreateOrder
from ds01.service.ports import Clock, ContainerRow, StoreTransaction
from ds01.service.scheduling import Scheduling
from ds01.service.situation import View, situation_in


@dataclass(frozen=True, slots=True)
class Judged:
    """What a container would get now.

    Attributes:
        grant: Its grant.
        situation: In what that was decided.
        row: Its row as it is now.
        current: The grant that it has, or had last.
    """

    grant: Grant
    situation: Situation
    row: ContainerRow
    current: Allocation

    def allocation(self) -> Allocation:
        """Return the claim that the grant becomes."""
        return allocation_of(self.grant, self.situation)


def judge_anew(transaction: StoreTransaction, view: View, row: ContainerRow, limits: EffectiveLimits) -> Judged:
    """Judge the request of a container as if it were asked for now; it stands not in its own way.

    Raises:
        NotFoundError: The container is not the one that was looked at, or gone.
        NoCapacityError: Nothing that it may have is free.
        QuotaExceededError: A new grant is over the quota.
    """
    present, current = present_grant(transaction, row)
    if present is None or current is None or present.engine_id != row.engine_id:
        raise container_not_found(row.name)
    situation, _ = situation_in(transaction, view)
    others = tuple(other for other in situation.allocations if other.id != current.id)
    situation = replace(situation, allocations=others)
    situation, newcomer = with_its_place(situation, newcomer_of(present, current, limits, view.now))
    newcomer = replace(newcomer, reservation=choose_reservation(situation, newcomer, None))
    return Judged(plan_grant(situation, newcomer), situation, present, current)


def newcomer_of(row: ContainerRow, current: Allocation, limits: EffectiveLimits, now: datetime) -> Waiting:
    """Return the request of a container that takes whatever satisfies it."""
    lengths = [length for length in (current.time_limit, limits.values.time_limit) if length is not None]
    return Waiting(
        id=secrets.token_hex(8),
        uid=row.uid,
        group=limits.group,
        container_name=row.name,
        request=current.request,
        priority=limits.values.priority,
        time_limit=min(lengths, default=None),
        queued_at=now,
        is_exclusive=_is_exclusive(row),
        has_container=True,
    )


def _is_exclusive(row: ContainerRow) -> bool:
    try:
        return CreateOrder.from_text(row.spec).is_exclusive
    except InvalidRequestError:
        return False  # its row was lost once, and its order with it


class Regranting:
    """Gives GPUs to containers that are bound late, before they start."""

    def __init__(
        self, scheduling: Scheduling, allocations: AllocationService, instances: DynamicInstances, clock: Clock
    ) -> None:
        self._clock = clock
        self._scheduling = scheduling
        self._allocations = allocations
        self._instances = instances

    async def provide(
        self,
        row: ContainerRow,
        observation: Observation,
        *,
        actor_uid: int,
        is_writing: bool = True,
    ) -> Allocation:
        """Let a container that is about to start hold GPUs: those that it holds, else whichever its request allows.

        Args:
            row: The container.
            observation: The machine as this container sees it.
            actor_uid: Who starts it.
            is_writing: False: only say what it would hold.

        Returns:
            Its grant, active, with GPUs that exist.

        Raises:
            NoCapacityError: Nothing that it may have is free; its details say `any_gpu`.
            QuotaExceededError: A new grant is over the quota.
            BackendError: MIG instances could not be made.
        """
        claimed: list[str] = []

        def decide(transaction: StoreTransaction, view: View) -> Allocation:
            _, current = present_grant(transaction, row)
            if current is not None and current.is_holding:
                return current
            judged = judge_anew(transaction, view, row, view.limits[row.uid])
            if not is_writing:
                return judged.allocation()
            allocation = _grant_anew(transaction, judged, actor_uid)
            claimed[:] = [allocation.id]
            return allocation

        try:
            decision = self._scheduling.decide(decide, observation, (row.uid,), is_writing=is_writing)
            allocation = await complete(decision)
            if not is_writing:
                return allocation
            await complete(self._instances.make(allocation))
            return await complete(self._scheduling.require_startable(row, observation, actor_uid=actor_uid))
        except (Ds01Error, asyncio.CancelledError) as failure:
            if claimed:
                reason = failure.message if isinstance(failure, Ds01Error) else "its start was broken off"
                await complete(self._give_up(claimed[0], reason))
            if isinstance(failure, NoCapacityError):
                failure.details["any_gpu"] = True  # whichever had been free would have done
            raise

    async def _give_up(self, allocation_id: str, reason: str) -> None:
        """Release the claim of a start that came to nothing; one that became active is the container's."""

        def decide(transaction: StoreTransaction) -> None:
            current = transaction.find_allocation(allocation_id)
            if current is not None and current.state is AllocationState.CLAIMED:
                self._allocations.release_in(transaction, current.id, self._clock.now(), reason)

        await self._allocations.write_and_ring(decide)


def _grant_anew(transaction: StoreTransaction, judged: Judged, actor_uid: int) -> Allocation:
    """Write the grant: active at once, so that a crash leaves a container that does not run, and that is settled.

    One whose MIG instances have still to be made is claimed until it has them.
    """
    now, allocation = judged.situation.now, judged.allocation()
    record_claimed(transaction, allocation, judged.grant.reason, actor_uid=actor_uid)
    if not allocation.slices:
        allocation = activated(allocation, now)
        end_waiting_start(transaction, judged.row, now)
        facts = facts_of(allocation)
        transaction.append_event(event_of("allocation.activated", allocation, now, facts, actor_uid))
    transaction.save_allocation(allocation)
    transaction.save_container(replace(judged.row, allocation_id=allocation.id))
    return allocation
