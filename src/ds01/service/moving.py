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

from ds01.domain.allocation import Allocation
from ds01.domain.containers.container import ContainerDetails, ContainerSpec
from ds01.domain.containers.moving import Successor, expected_length, successor_spec
from ds01.domain.containers.seal import seal
from ds01.domain.event import Event
from ds01.domain.images.image import moved_tag
from ds01.domain.label import REQUEST
from ds01.domain.name import EngineName
from ds01.domain.rules.access import Caller
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.scheduling.queue import QueueState
from ds01.domain.scheduling.situation import Grant
from ds01.errors import ConflictError
from ds01.service.allocations import AllocationService, activated, present_grant
from ds01.service.completion import complete
from ds01.service.drift import DriftService
from ds01.service.granting import event_of, facts_of, record_claimed
from ds01.service.limits import LimitService
from ds01.service.move_repair import Move, helper_name, note_move
from ds01.service.observation import Observation, granted_rows
from ds01.service.ports import ContainerRow, Notify, StoreTransaction, World
from ds01.service.provision import Provision
from ds01.service.regranting import Judged, judge_anew
from ds01.service.scheduling import Scheduling, require_name_not_waiting
from ds01.service.situation import View
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
        provision: Provision,
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
        self._instances = provision.instances
        self._late = provision.late_binding
        self._drift = drift
        self._seal_key = seal_key

    async def plan(self, caller: Caller, uid: int, name: str) -> Moved:
        """Say what `move` would do: how much is copied, how long that takes, and which devices it would get.

        Raises:
            Ds01Error: As `move`.
        """
        job = await self._look(caller, await self._succession.find(uid, name))

        def decide(transaction: StoreTransaction, view: View) -> Grant:
            return _judge(transaction, view, job).grant

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
        if details.attachment.managed_device is not None and await self._late.is_possible():
            raise ConflictError(
                f"{name} need not be moved: its GPUs are chosen at each start.", hint=f"`ds01 start {name}`"
            )
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
            judged = _judge(transaction, view, job)
            actor, reason = job.caller.uid, judged.grant.reason
            self._allocations.release_in(transaction, judged.current.id, view.now, "moved", actor_uid=actor)
            allocation = judged.allocation()
            transaction.save_allocation(allocation)
            transaction.save_container(replace(judged.row, allocation_id=allocation.id))
            note_move(transaction, move)
            record_claimed(transaction, allocation, reason, actor_uid=actor)
            return allocation, reason

        return await self._scheduling.decide(decide, job.observation, (job.row.uid,))

    async def _start_successor(
        self, job: _Job, move: Move, allocation: Allocation
    ) -> tuple[ContainerDetails, list[str]]:
        attachment = await self._late.choose(allocation)
        container = await self._succession.make(self._spec(job, move, allocation, attachment.cdi_device), job.row.name)
        started, warnings = await self._succession.start(container, job.row.name, allocation, attachment.cdi_device)
        warnings += [attachment.warning] if attachment.warning else []
        await self._succession.require_untouched(job.details, job.row.name)
        return started, warnings

    def _spec(self, job: _Job, move: Move, allocation: Allocation, cdi_device: str) -> ContainerSpec:
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
                cdi_device=cdi_device,
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


def _judge(transaction: StoreTransaction, view: View, job: _Job) -> Judged:
    """Judge the request of a container anew; one that waits for its own devices is left to its request."""
    waiting = [entry for entry in transaction.list_waiting() if entry.state is QueueState.WAITING]
    require_name_not_waiting(waiting, job.row.uid, job.row.name)
    return judge_anew(transaction, view, replace(job.row, engine_id=job.details.id), job.limits)


def _moved_event(active: Allocation, job: _Job, now: datetime) -> Event:
    attached = job.details.attachment
    fixed = [uuid for request in attached.requests for uuid in request.device_ids]
    before = fixed if attached.bound is None else sorted(attached.bound)
    facts = {"gpus": list(active.gpu_uuids), "old_gpus": before, "size_bytes": job.size_bytes}
    return event_of("container.moved", active, now, facts, job.caller.uid)
