"""The scheduler at work: look outside, then decide and write in one transaction. Nothing is granted anywhere else."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from ds01.domain.gpu import Gpu, all_gpus
from ds01.domain.placement import Placement
from ds01.domain.policy import Policy
from ds01.domain.queue import KEPT_AFTER_END, QueueEntry, QueueState, end_entry, name_waits
from ds01.domain.quota import Usage, count_containers, require_container_quota
from ds01.domain.schedule import plan_grant, plan_pass
from ds01.domain.situation import Grant, Pass, Situation
from ds01.domain.waiting import Waiting
from ds01.errors import BackendError
from ds01.service.allocations import Claim, ClaimOrder
from ds01.service.decisions import name_taken
from ds01.service.granting import (
    Granted,
    allocation_of,
    record_claim,
    record_pass,
    request_event,
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
            check: What else must hold in the transaction; it may complete the request.

        Raises:
            ConflictError: The user has a container, or a waiting request, of that name.
            QuotaExceededError: The policy can never allow it, or the user has too many containers.
            InvalidRequestError: It can never fit.
        """

        def decide(transaction: StoreTransaction, view: View) -> Round:
            present = check(transaction, view, entry) if check is not None else entry
            require_possible(situation_in(transaction, view)[0], present.waiting)
            transaction.save_waiting(present)
            details = {"gpus": present.waiting.request.count, "reason": ""}
            transaction.append_event(request_event("request.queued", present, view.now, details, actor_uid=actor_uid))
            return _serve(transaction, view)

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
        return await self._decide(_serve, observation, (entry.uid for entry in waiting), is_writing=True)

    async def read_situation(self) -> tuple[Situation, dict[str, QueueEntry]]:
        """Return the scheduler's world now, and what waits by id.

        Raises:
            BackendError: Engine, devices or store are unknown.
        """
        granted = await self._store.read(granted_rows)
        observation = await self._observer.observe(granted)
        return await self._decide(situation_in, observation, (), is_writing=False)

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
                return await act(run)
            except UnknownPersonError as unknown:
                wanted |= unknown.uids
        raise BackendError("The people who wait change faster than they can be looked up.", hint="Try again.")


Decide = Callable[[StoreTransaction, View], Result]
Check = Callable[[StoreTransaction, View, QueueEntry], QueueEntry]


def _newcomer_grant(transaction: StoreTransaction, order: ClaimOrder, view: View) -> tuple[Grant, Situation]:
    if transaction.find_container(order.uid, order.name) is not None:
        raise name_taken(order.name)
    situation, entries = situation_in(transaction, view)
    require_name_not_waiting(entries.values(), order.uid, order.name)
    newcomer = order.waiting(view.now)
    person = situation.people[order.uid]
    if person.limits is not order.limits:
        # what was asked for one container may be lower than what the policy gives
        situation = replace(situation, people={**situation.people, order.uid: replace(person, limits=order.limits)})
    containers = count_containers(order.uid, (), situation.waiting) + person.containers
    require_container_quota(order.limits, Usage(containers=containers))
    return plan_grant(situation, newcomer), situation


def require_name_not_waiting(entries: Iterable[QueueEntry], uid: int, name: str) -> None:
    """Raise if a request of the user waits for a container of this name.

    Raises:
        ConflictError: It does.
    """
    if any(entry.uid == uid and entry.waiting.container_name == name for entry in entries):
        raise name_waits(name)


def require_possible(situation: Situation, waiting: Waiting) -> None:
    """Raise if a request could not even be granted were the machine its own.

    Raises:
        InvalidRequestError: It can never fit.
        QuotaExceededError: The policy can never allow it.
    """
    empty = replace(situation, allocations=(), foreign=(), waiting=(), reservations=())
    alone = replace(waiting, reservation=None, not_before=None, promised_at=None)
    plan_grant(empty, alone)


def _serve(transaction: StoreTransaction, view: View) -> Round:
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
            transaction.delete_ended(now - KEPT_AFTER_END)


def _placement(grant: Grant, observation: Observation) -> Placement:
    gpus: Mapping[str, Gpu] = {gpu.uuid: gpu for gpu in all_gpus(observation.inventory)}
    uuids = (taken.position.gpu_uuid for taken in grant.positions)
    return Placement(tuple(gpus[uuid] for uuid in uuids if uuid is not None and uuid in gpus), grant.reason)
