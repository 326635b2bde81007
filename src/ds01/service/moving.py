"""`start --move`: a stopped container whose devices are somebody else's goes on with others.

The engine fixes the devices of a container when it makes it. So its files are copied into a private image, a container
that is like it is made with a new grant and started under a name of our own, and only when that one runs does it take
the place of the old one, which is removed then. A failure before leaves the old container as it was; a crash is settled
by `MoveRepair`: one transaction changes the row from the old container to the new one.
"""

import logging
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ds01.domain.access import Caller, container_not_found
from ds01.domain.allocation import Allocation
from ds01.domain.container import ContainerDetails, ContainerSpec
from ds01.domain.event import Event
from ds01.domain.image import moved_tag
from ds01.domain.label import REQUEST
from ds01.domain.limit import EffectiveLimits
from ds01.domain.moving import Successor, expected_length, successor_spec
from ds01.domain.name import EngineName
from ds01.domain.reservation_choice import choose_reservation
from ds01.domain.schedule import plan_grant
from ds01.domain.seal import seal
from ds01.domain.situation import Grant, Situation
from ds01.domain.waiting import Waiting
from ds01.errors import ConflictError, InvalidRequestError
from ds01.service.allocations import AllocationService, activated, present_grant
from ds01.service.completion import complete
from ds01.service.drift import DriftService
from ds01.service.dynamic_instances import DynamicInstances
from ds01.service.granting import allocation_of, event_of, facts_of
from ds01.service.limits import LimitService
from ds01.service.move_repair import Move, helper_name, note_move
from ds01.service.observation import Observation, granted_rows
from ds01.service.order import CreateOrder
from ds01.service.ports import ContainerRow, Notify, StoreTransaction, World
from ds01.service.scheduling import Scheduling, require_name_not_waiting
from ds01.service.situation import View, situation_in
from ds01.service.succession import Predecessor, Succession
from ds01.service.undo import Undo
from ds01.units import format_size

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Moved:
    """Outcome of a move, or of its dry run.

    Attributes:
        details: The container; as it was for a dry run.
        size_bytes: What was copied, or would be.
        expected: About how long that takes.
        gpu_uuids: Its devices, or those that it would get; fewer where they are made with the grant.
        reason: Why these.
        warnings: What the user should know.
    """

    details: ContainerDetails
    size_bytes: int
    expected: timedelta
    gpu_uuids: tuple[str, ...]
    reason: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Job:
    """A move that is about to begin: for whom, what, and what was seen."""

    caller: Caller
    details: ContainerDetails
    row: ContainerRow
    limits: EffectiveLimits
    observation: Observation
    size_bytes: int


class MoveService:
    """Moves containers to other devices."""

    def __init__(
        self,
        world: World,
        *,
        succession: Succession,
        allocations: AllocationService,
        scheduling: Scheduling,
        limits: LimitService,
        instances: DynamicInstances,
        drift: DriftService,
        seal_key: bytes,
    ) -> None:
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._succession = succession
        self._allocations = allocations
        self._scheduling = scheduling
        self._limits = limits
        self._instances = instances
        self._drift = drift
        self._seal_key = seal_key

    async def plan(self, caller: Caller, uid: int, name: str) -> Moved:
        """Say what `move` would do: how much is copied, how long that takes, and which devices it would get.

        Raises:
            Ds01Error: As `move`.
        """
        job = await self._look(caller, await self._succession.find(uid, name))

        def decide(transaction: StoreTransaction, view: View) -> Grant:
            return _decide_grant(transaction, view, job)[0]

        grant = await self._scheduling.decide(decide, job.observation, (job.row.uid,), is_writing=False)
        uuids = tuple(taken.position.gpu_uuid for taken in grant.positions if taken.position.gpu_uuid is not None)
        return Moved(job.details, job.size_bytes, expected_length(job.size_bytes), uuids, grant.reason)

    async def move(self, caller: Caller, uid: int, name: str, notify: Notify) -> Moved:
        """Start a stopped container on other devices than those it was made with, whichever its request allows.

        Raises:
            NotFoundError: The user has no such container.
            ConflictError: It runs, has no GPU, waits for its own, or was not made by DS01.
            NoCapacityError: No other device is free either.
            QuotaExceededError: A new grant is over the quota.
            BackendError: It could not be made, or does not run; the old container is as it was.
        """
        async with self._succession.of(uid, name) as found:
            return await self._carry_out(await self._look(caller, found), notify)

    async def _look(self, caller: Caller, found: Predecessor) -> _Job:
        found.require_stopped()
        details, row, name = found.details, found.row, found.row.name
        if not found.allocation.request.count:
            raise ConflictError(f"{name} has no GPU: nothing keeps it from starting.", hint=f"`ds01 start {name}`")
        granted = await self._store.read(granted_rows)
        return _Job(
            caller,
            details,
            row,
            await self._limits.owner_limits(row.uid),
            (await self._scheduling.observer.observe(granted)).for_start_of(details.id),
            await self._engine.measure_container(details.id),
        )

    async def _carry_out(self, job: _Job, notify: Notify) -> Moved:
        row, details = job.row, job.details
        image = moved_tag(row.image, EngineName(row.name, row.uid), secrets.token_hex(4))
        move = Move(row.nonce, details.id, row.image, row.allocation_id, str(helper_name(row.uid)), image)
        async with Undo() as undo:
            undo.add("take the move back", lambda: self._succession.repair.settle(row.nonce, undo.reason))
            allocation, reason = await complete(self._claim(job, move))
            # instances that are made for it and then not needed reconcile destroys: no grant has them
            allocation = await complete(self._instances.make(allocation))
            await notify({"kind": "step", "message": f"Copying {format_size(job.size_bytes)} of {row.name}'s files"})
            await self._drift.remember(details, image)  # of a copy, the engine says that nothing was changed
            await complete(self._engine.commit_container(details.id, image))
            await notify({"kind": "step", "message": f"Starting {row.name} on another GPU"})
            started, warnings = await self._start_successor(job, move, allocation)
            await complete(self._take_over(job, move, started))
        after, more = await complete(self._succession.tidy(row.nonce, started))
        return Moved(
            after,
            job.size_bytes,
            expected_length(job.size_bytes),
            allocation.gpu_uuids,
            reason,
            (*warnings, *more),
        )

    async def _claim(self, job: _Job, move: Move) -> tuple[Allocation, str]:
        """Grant other devices, and write down what the move is about, in one transaction."""

        def decide(transaction: StoreTransaction, view: View) -> tuple[Allocation, str]:
            grant, situation, present, current = _decide_grant(transaction, view, job)
            self._allocations.release_in(transaction, current.id, view.now, "moved", actor_uid=job.caller.uid)
            allocation = allocation_of(grant, situation)
            transaction.save_allocation(allocation)
            transaction.save_container(replace(present, allocation_id=allocation.id))
            note_move(transaction, move)
            details = {**facts_of(allocation), "equivalents": allocation.gpu_equivalents, "reason": grant.reason}
            claimed = event_of("allocation.claimed", allocation, view.now, details, job.caller.uid)
            transaction.append_event(claimed)
            return allocation, grant.reason

        return await self._scheduling.decide(decide, job.observation, (job.row.uid,))

    async def _start_successor(
        self, job: _Job, move: Move, allocation: Allocation
    ) -> tuple[ContainerDetails, list[str]]:
        spec = self._spec(job, move, allocation)
        started, warnings = await self._succession.start(await self._succession.make(spec, job.row.name), job.row.name)
        await self._succession.require_untouched(job.details, job.row.name)
        return started, warnings

    def _spec(self, job: _Job, move: Move, allocation: Allocation) -> ContainerSpec:
        request = job.details.labels.get(REQUEST, "")
        name, _, uid = move.new_name.rpartition("._.")
        return successor_spec(
            job.details,
            Successor(
                engine_name=EngineName(name, int(uid)),
                image=move.new_image,
                gpu_uuids=allocation.gpu_uuids,
                allocation_id=allocation.id,
                seal=seal(self._seal_key, job.row.uid, allocation.id, request),
                created_at=self._clock.now(),
            ),
        )

    async def _take_over(self, job: _Job, move: Move, started: ContainerDetails) -> None:
        """The moment of the move: from here on the new container is the user's."""
        now, actor = self._clock.now(), job.caller.uid

        def decide(transaction: StoreTransaction) -> None:
            present, current = present_grant(transaction, job.row)
            if present is None or current is None or not current.is_holding or present.engine_id != move.old_id:
                raise ConflictError(f"The grant of {job.row.name} ran out while it was moved.", hint="Try again.")
            active = activated(current, now)
            transaction.save_allocation(active)
            transaction.save_container(replace(present, engine_id=started.id, image=move.new_image))
            transaction.append_event(event_of("allocation.activated", active, now, facts_of(active), actor))
            transaction.append_event(_moved_event(active, job, now))
            transaction.append_event(event_of("container.started", active, now, {}, actor))

        await self._store.write(decide)


def _decide_grant(
    transaction: StoreTransaction, view: View, job: _Job
) -> tuple[Grant, Situation, ContainerRow, Allocation]:
    """Judge the request of a container anew, as the scheduler judges a newcomer; it stands not in its own way."""
    present, current = present_grant(transaction, job.row)
    if present is None or current is None or present.engine_id != job.details.id:
        raise container_not_found(job.row.name)
    situation, entries = situation_in(transaction, view)
    require_name_not_waiting(entries.values(), present.uid, present.name)
    person = situation.people[present.uid]
    situation = replace(
        situation,
        allocations=tuple(other for other in situation.allocations if other.id != current.id),
        people={**situation.people, present.uid: replace(person, containers=max(person.containers - 1, 0))},
    )
    newcomer = _newcomer(present, current, job.limits, view.now)
    newcomer = replace(newcomer, reservation=choose_reservation(situation, newcomer, None))
    return plan_grant(situation, newcomer), situation, present, current


def _newcomer(row: ContainerRow, current: Allocation, limits: EffectiveLimits, now: datetime) -> Waiting:
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
    )


def _is_exclusive(row: ContainerRow) -> bool:
    try:
        return CreateOrder.from_text(row.spec).is_exclusive
    except InvalidRequestError:
        return False  # its row was lost once, and its order with it


def _moved_event(active: Allocation, job: _Job, now: datetime) -> Event:
    before = [uuid for request in job.details.attachment.requests for uuid in request.device_ids]
    facts = {"gpus": list(active.gpu_uuids), "old_gpus": before, "size_bytes": job.size_bytes}
    return event_of("container.moved", active, now, facts, job.caller.uid)
