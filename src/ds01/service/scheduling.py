"""The scheduler at work: look outside, then decide and write in one transaction. Nothing is granted anywhere else."""

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.devices.gpu import all_gpus
from ds01.domain.devices.placement import Placement
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.rules.policy import Policy
from ds01.domain.scheduling.queue import KEPT_AFTER_END, QueueEntry, QueueState, end_entry, name_waits
from ds01.domain.scheduling.quota import Usage, count_containers, require_container_quota
from ds01.domain.scheduling.reservation_choice import choose_reservation
from ds01.domain.scheduling.schedule import plan_grant, plan_pass, require_possible
from ds01.domain.scheduling.situation import Grant, Pass, Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import BackendError, ConflictError
from ds01.service.allocations import Claim, ClaimOrder, activated, present_grant
from ds01.service.decisions import grant_anew, name_taken, require_free, require_in_service
from ds01.service.granting import (
    Granted,
    allocation_of,
    end_of,
    end_waiting_start,
    event_of,
    facts_of,
    record_claim,
    record_pass,
    request_event,
    with_its_place,
)
from ds01.service.limits import LimitService
from ds01.service.observation import Observation, Observer, granted_rows
from ds01.service.people import People
from ds01.service.ports import ContainerRow, StoreTransaction, World
from ds01.service.situation import Boards, UnknownPersonError, View, situation_in

Result = TypeVar("Result")
MOST_LOOKS = 8


@dataclass(frozen=True, slots=True)
class Round:
    """What one pass over the queue has done.

    Attributes:
        granted: What got its GPUs, to be made or started now.
        wake_at: When the next pass has to be although nothing happens; None: never.
        outcome: What the pass decided; None: nothing waited.
        situation: In what it decided; None: nothing waited.
    """

    granted: tuple[Granted, ...] = ()
    wake_at: datetime | None = None
    outcome: Pass | None = None
    situation: Situation | None = None


class Scheduling:
    """Decides who gets what, over store and machine."""

    def __init__(
        self, world: World, *, observer: Observer, limits: LimitService, people: People, boards: Boards
    ) -> None:
        self._store = world.store
        self._clock = world.clock
        self._observer = observer
        self._limits = limits
        self._people = people
        self._boards = boards
        self.rounds = 0
        """How often the queue was served in this process: what was worked out before a round is out of date."""

    @property
    def observer(self) -> Observer:
        """Looks at engine and devices."""
        return self._observer

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._limits.policy

    async def claim(self, order: ClaimOrder, observation: Observation) -> Claim:
        """Grant devices to somebody who may not wait, and reserve the name, durably.

        Raises:
            ConflictError: The user has a container, or a waiting request, of that name.
            QuotaExceededError: A quota is reached.
            NoCapacityError: It would fit later.
            InvalidRequestError: It can never fit.
        """

        def decide(transaction: StoreTransaction, view: View) -> Claim:
            grant, situation = _newcomer_grant(transaction, order, view)
            allocation = allocation_of(grant, situation, allocation_id=order.allocation_id)
            row = ContainerRow(
                order.uid, order.name, order.nonce, None, allocation.id, order.image, view.now, order.spec
            )
            record_claim(transaction, allocation, row, grant.reason, actor_uid=order.uid)
            return Claim(allocation, _placement(grant, observation), row)

        return await self._decide(decide, observation, (order.uid,), is_writing=True)

    async def require_startable(
        self,
        row: ContainerRow,
        observation: Observation,
        *,
        actor_uid: int | None = None,
        is_writing: bool = True,
    ) -> Allocation:
        """Make the grant of a container active for a start; exclusivity is checked at every start.

        A held grant is taken up. A released one is granted anew, the same devices, if they are kept for nobody.

        Args:
            row: The container.
            observation: The machine as this container sees it, see `Observation.for_start_of`.
            actor_uid: Who starts it; None: somebody past us.
            is_writing: False: only say what it would be.

        Raises:
            NoCapacityError: Somebody else has one of its devices now, or it is kept for somebody.
            QuotaExceededError: A new grant is over the quota.
            ConflictError: The store has no grant for it.
        """

        def decide(transaction: StoreTransaction, view: View) -> Allocation:
            present, current = present_grant(transaction, row)
            if present is None or current is None:
                raise ConflictError(
                    f"The grant of {row.name} is not in the store.", hint="Remove the container and create it again."
                )
            others = [other for other in transaction.list_allocations() if other.id != current.id]
            require_free(row.name, current.gpu_uuids, _not_sharing(others, current), observation)
            if current.state is AllocationState.ACTIVE:
                return current
            if current.is_holding:
                active = activated(current, view.now)
            else:
                active = _granted_anew(transaction, current, others, view)
            if not is_writing:
                return active
            transaction.save_allocation(active)
            transaction.save_container(replace(present, allocation_id=active.id))
            end_waiting_start(transaction, present, view.now)
            transaction.append_event(event_of("allocation.activated", active, view.now, facts_of(active), actor_uid))
            return active

        return await self._decide(decide, observation, (row.uid,), is_writing=is_writing)

    async def preview(self, order: ClaimOrder, observation: Observation) -> Placement:
        """Return the devices that `claim` would grant. Writes nothing.

        Raises:
            Ds01Error: As `claim`.
        """

        def decide(transaction: StoreTransaction, view: View) -> Placement:
            return _placement(_newcomer_grant(transaction, order, view)[0], observation)

        return await self._decide(decide, observation, (order.uid,), is_writing=False)

    async def enqueue(
        self, entry: QueueEntry, observation: Observation, *, actor_uid: int, check: "Check | None" = None
    ) -> Round:
        """Put a request into the queue and serve the queue at once, in one transaction.

        Args:
            entry: The request.
            observation: What was seen just before.
            actor_uid: Who asks.
            check: Says what else must hold in the transaction, and returns the request as it is kept.

        Raises:
            ConflictError: The user has a container, or a waiting request, of that name.
            QuotaExceededError: The policy can never allow it, or the user has too many containers.
            InvalidRequestError: It can never fit.
        """

        def decide(transaction: StoreTransaction, view: View) -> Round:
            situation, entries = situation_in(transaction, view)
            require_name_not_waiting(entries.values(), entry.uid, entry.waiting.container_name)
            present = check(transaction, situation) if check is not None else entry
            require_may_wait(situation, present.waiting)
            transaction.save_waiting(present)
            transaction.delete_ended(view.now - KEPT_AFTER_END)
            details = {"gpus": present.waiting.request.count, "reason": ""}
            transaction.append_event(request_event("request.queued", present, view.now, details, actor_uid=actor_uid))
            return serve(transaction, view)

        return await self._decide(decide, observation, (entry.uid,), is_writing=True)

    async def run_pass(self) -> Round:
        """Serve the queue: who can start now gets a grant, promises are kept up to date.

        Raises:
            BackendError: Engine, devices or store are unknown: nothing is granted.
        """
        waiting, granted = await self._store.read(
            lambda transaction: (transaction.list_waiting(), granted_rows(transaction))
        )
        if not any(entry.state is QueueState.WAITING for entry in waiting):
            return Round()
        observation = await self._observer.observe(granted)
        return await self._decide(serve, observation, (entry.uid for entry in waiting), is_writing=True)

    async def read_situation(self, uids: Iterable[int] = ()) -> tuple[Situation, dict[str, QueueEntry]]:
        """Return the scheduler's world now, and what waits by id.

        Args:
            uids: Who shall be in it although they may hold nothing.

        Raises:
            BackendError: Engine, devices or store are unknown.
        """
        granted = await self._store.read(granted_rows)
        observation = await self._observer.observe(granted)
        return await self._decide(situation_in, observation, uids, is_writing=False)

    async def decide(
        self, decide: "Decide[Result]", observation: Observation, uids: Iterable[int] = (), *, is_writing: bool = True
    ) -> Result:
        """Run a decision over the whole situation in one transaction, with everybody's limits at hand.

        Args:
            decide: Gets the transaction and what was seen.
            observation: What was seen just before.
            uids: Whose limits are needed for sure.
            is_writing: It writes.
        """
        return await self._decide(decide, observation, uids, is_writing=is_writing)

    async def _decide(
        self, decide: "Decide[Result]", observation: Observation, uids: Iterable[int], *, is_writing: bool
    ) -> Result:
        wanted = set(uids)
        act = self._store.write if is_writing else self._store.read
        for _ in range(MOST_LOOKS):
            limits = await self._people.limits_of(wanted)
            view = View(self._clock.now(), observation, limits, self.policy, self._boards, self._people.admins())

            def run(transaction: StoreTransaction, view: View = view) -> Result:
                return decide(transaction, view)

            try:
                result = await act(run)
                self.rounds += int(is_writing)
                return result
            except UnknownPersonError as unknown:
                wanted |= unknown.uids
        raise BackendError("The people who wait change faster than they can be looked up.", hint="Try again.")


Decide = Callable[[StoreTransaction, View], Result]
Check = Callable[[StoreTransaction, Situation], QueueEntry]


def _newcomer_grant(transaction: StoreTransaction, order: ClaimOrder, view: View) -> tuple[Grant, Situation]:
    if transaction.find_container(order.uid, order.name) is not None:
        raise name_taken(order.name)
    situation, entries = situation_in(transaction, view, is_for_newcomer=True)
    require_name_not_waiting(entries.values(), order.uid, order.name)
    newcomer = order.waiting(view.now)
    reservation = choose_reservation(situation, newcomer, order.reservation)
    if reservation is not None:
        newcomer = replace(newcomer, reservation=reservation)
    return plan_grant(situation, newcomer), situation


def _not_sharing(others: Iterable[Allocation], current: Allocation) -> list[Allocation]:
    """Leave out those with whom it may share a device: how many may is the store's to say."""
    return [other for other in others if other.shares == 1 or current.shares == 1]


def _granted_anew(
    transaction: StoreTransaction,
    released: Allocation,
    others: Sequence[Allocation],
    view: View,
) -> Allocation:
    limits = view.limits[released.uid]
    fresh = grant_anew(released, others, limits, view.observation, view.now)
    highest = limits.values.time_limit
    lengths = [length for length in (released.time_limit, highest) if length is not None]
    time_limit = min(lengths, default=None)
    fresh = replace(
        fresh,
        group=limits.group,
        time_limit=time_limit,
        ends_at=end_of(time_limit, None, view.now),
        reservation=None,
    )
    if not fresh.gpu_uuids:
        return fresh
    require_in_service(fresh.container_name, fresh.gpu_uuids, view.boards(transaction, view.observation.inventory))
    situation, _ = situation_in(transaction, view)
    situation, newcomer = with_its_place(situation, restart_of(fresh, limits, view.now))
    reservation = choose_reservation(situation, newcomer, None)
    grant = plan_grant(situation, replace(newcomer, reservation=reservation))
    inside = allocation_of(grant, situation)
    return replace(fresh, reservation=reservation, ends_at=inside.ends_at)


def restart_of(released: Allocation, limits: EffectiveLimits, now: datetime) -> Waiting:
    """Return the request of a container that wants the very devices again that it was made with."""
    return Waiting(
        id=secrets.token_hex(8),
        uid=released.uid,
        group=limits.group,
        container_name=released.container_name,
        request=replace(released.request, count=len(released.gpu_uuids)),
        priority=limits.values.priority,
        time_limit=released.time_limit,
        queued_at=now,
        gpu_uuids=released.gpu_uuids,
        has_container=True,
    )


def require_name_not_waiting(entries: Iterable[QueueEntry], uid: int, name: str) -> None:
    """Raise if a request of the user waits for a container of this name.

    Raises:
        ConflictError: It does.
    """
    if any(entry.uid == uid and entry.waiting.container_name == name for entry in entries):
        raise name_waits(name)


def require_may_wait(situation: Situation, waiting: Waiting) -> None:
    """Raise if waiting cannot help, or if the user has as many containers and requests as there may be.

    Raises:
        InvalidRequestError: The machine never has it.
        QuotaExceededError: The quota never allows it, or there are too many containers.
    """
    require_possible(situation, waiting)
    if not waiting.is_restart:
        person = situation.people[waiting.uid]
        containers = person.containers + count_containers(waiting.uid, (), situation.waiting)
        require_container_quota(person.limits, Usage(containers=containers))


def serve(transaction: StoreTransaction, view: View) -> Round:
    """Let those go who waited long enough, then grant what can be granted."""
    _expire(transaction, view.now)
    situation, entries = situation_in(transaction, view)
    if not entries:
        return Round()
    outcome = plan_pass(situation)
    granted = record_pass(transaction, outcome, situation, entries)
    gives_up = [entry.waiting.gives_up_at for entry in entries.values() if entry.waiting.gives_up_at is not None]
    moments = [*gives_up, *([outcome.wake_at] if outcome.wake_at is not None else [])]
    return Round(tuple(granted), min(moments, default=None), outcome, situation)


def _expire(transaction: StoreTransaction, now: datetime) -> None:
    for entry in transaction.list_waiting():
        gives_up_at = entry.waiting.gives_up_at
        if entry.state is QueueState.WAITING and gives_up_at is not None and gives_up_at <= now:
            transaction.save_waiting(end_entry(entry, QueueState.EXPIRED, "it waited as long as it was told to", now))
            transaction.append_event(request_event("request.expired", entry, now, {}))


def _placement(grant: Grant, observation: Observation) -> Placement:
    wanted = {taken.position.gpu_uuid for taken in grant.positions}
    if not wanted:
        return Placement((), grant.reason)
    return Placement(tuple(gpu for gpu in all_gpus(observation.inventory) if gpu.uuid in wanted), grant.reason)
