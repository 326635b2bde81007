"""Does what falls due: stops containers at the end of their time limit, takes back what nobody uses, opens windows."""

import asyncio
import logging
from datetime import datetime, timedelta

from ds01.domain.allocation import Allocation
from ds01.domain.containers.container import ContainerDetails, ContainerState
from ds01.domain.event import Event
from ds01.domain.rules.site import ENFORCE
from ds01.domain.scheduling.deadline import Due, DueKind, plan_deadlines
from ds01.domain.scheduling.queue import Purpose, QueueState
from ds01.domain.scheduling.reservation import Reservation, ReservationState
from ds01.domain.scheduling.reservation_life import (
    due_changes,
    merged,
    next_change_at,
    policy_reservations,
    window_of,
)
from ds01.errors import BackendError, Ds01Error
from ds01.service.allocations import AllocationService
from ds01.service.bell import Bell
from ds01.service.completion import complete
from ds01.service.fact import FactKind
from ds01.service.limits import LimitService
from ds01.service.ports import ContainerRow, StoreTransaction, World
from ds01.service.presence import Presence
from ds01.service.stopping import Stopper

log = logging.getLogger(__name__)
OVERDUE = FactKind("overdue", places=1024)
RETRY_AFTER = timedelta(seconds=30)
"""One container that cannot be stopped is tried again after this; the others are not held up."""
_STARTED_EVENTS = {
    ReservationState.ACTIVE: "reservation.started",
    ReservationState.ENDED: "reservation.ended",
    ReservationState.NO_SHOW: "reservation.no_show",
}


class DeadlineService:
    """Looks what falls due and does it; each in a task of its own, so that a long grace holds up nothing."""

    def __init__(
        self,
        world: World,
        *,
        allocations: AllocationService,
        limits: LimitService,
        presence: Presence,
        bell: Bell,
    ) -> None:
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._allocations = allocations
        self._limits = limits
        self._presence = presence
        self._bell = bell
        self._stopper = Stopper(world.engine, world.clock)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again_at: dict[str, datetime] = {}
        self._used: frozenset[str] = frozenset()

    async def run(self) -> datetime | None:
        """Begin everything that is due now; return when the next thing falls due, None: nothing does.

        Raises:
            BackendError: The store does not answer.
        """
        window_at = await self._open_and_close_windows()
        allocations, queued = await self._store.read(
            lambda transaction: (transaction.list_allocations(), _granted_by_queue(transaction))
        )
        now = self._clock.now()
        present = {grant.id for grant in allocations}
        self._used &= present
        self._again_at = {key: at for key, at in self._again_at.items() if key in present and at > now}
        agenda = plan_deadlines(
            allocations,
            now,
            is_enforcing=self._is_enforcing,
            unused_after={grant.id: length for grant in allocations if (length := self._patience(grant, queued))},
            settled=self._used,
        )
        for item in agenda.due:
            self._begin(item)
        moments = [agenda.next_at, window_at, *self._again_at.values()]
        return min((at for at in moments if at is not None), default=None)

    async def wait(self) -> None:
        """Wait until everything that was begun has ended."""
        while self._tasks:
            await asyncio.wait(set(self._tasks.values()))

    async def close(self) -> None:
        """Break off what was begun: the next daemon finds it due again."""
        for task in list(self._tasks.values()):
            task.cancel()
        await self.wait()

    @property
    def _is_enforcing(self) -> bool:
        return self._limits.policy.site.lifecycle.mode == ENFORCE

    def _patience(self, grant: Allocation, queued: frozenset[str]) -> timedelta | None:
        """How long a grant may be unused: what came while its owner was away does not wait for long."""
        site = self._limits.policy.site
        lengths = [site.scheduling.no_show] if grant.id in queued else []
        if self._is_enforcing and site.lifecycle.created_timeout is not None:
            lengths.append(site.lifecycle.created_timeout)
        return min(lengths, default=None) if grant.gpu_uuids or grant.slices else None

    def _begin(self, item: Due) -> None:
        key = item.allocation.id
        if key in self._tasks or key in self._again_at:
            return
        task = asyncio.create_task(self._do(item), name=f"due {key}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def _do(self, item: Due) -> None:
        try:
            await self._act(item)
        except Ds01Error as failure:
            log.warning("due: %s of %s: %s", item.kind, item.allocation.container_name, failure)
            self._again_at[item.allocation.id] = self._clock.now() + RETRY_AFTER
            self._bell.ring()

    async def _act(self, item: Due) -> None:
        grant = item.allocation
        if item.kind is DueKind.REPORT:
            await self._report(grant)
            return
        async with self._presence.working_on(grant.uid, grant.container_name):
            present, row = await self._store.read(lambda transaction: _present(transaction, grant))
            if present is None or present.state is not grant.state or present.ends_at != grant.ends_at:
                return  # somebody was faster
            if item.kind is DueKind.RELEASE or row is None or row.engine_id is None:
                await complete(self._allocations.release(grant.id, item.reason))
                return
            details = await self._engine.find_container(row.engine_id)
            if item.kind is DueKind.STOP:
                await self._stop(row, details, item.reason)
            elif details is not None and details.started_at is None and details.state is ContainerState.CREATED:
                await complete(self._allocations.release(grant.id, item.reason))
            else:
                self._used |= {grant.id}

    async def _stop(self, row: ContainerRow, details: ContainerDetails | None, reason: str) -> None:
        if details is not None and details.state.has_processes:
            await self._stopper.stop(details, self._limits.stop_grace_of(details.labels, details.name))
            details = await self._engine.find_container(details.id)
            if details is not None and details.state.has_processes:
                raise BackendError(f"{row.name} still runs after it was stopped.")
        exit_code = details.exit_code if details is not None else None
        await complete(self._allocations.settle_stopped(row, timedelta(0), exit_code, reason=reason))

    async def _report(self, grant: Allocation) -> None:
        """Say once that a container overran its limit and goes on."""
        now = self._clock.now()
        ends_at = grant.ends_at.isoformat() if grant.ends_at is not None else ""

        def decide(transaction: StoreTransaction) -> None:
            if OVERDUE.recall(transaction, grant.id) == ends_at:
                return
            OVERDUE.remember(transaction, grant.id, ends_at)
            details = {"allocation": grant.id, "ends_at": ends_at}
            transaction.append_event(
                Event("container.overdue", now, uid=grant.uid, container=grant.container_name, details=details)
            )

        await self._store.write(decide)

    async def _open_and_close_windows(self) -> datetime | None:
        """Bring reservations to the state that the clock says; return when the next one changes."""
        policy, now = self._limits.policy, self._clock.now()
        no_show = policy.site.scheduling.no_show

        def decide(transaction: StoreTransaction) -> list[Reservation]:
            known = merged(transaction.list_reservations(with_over=True), policy_reservations(policy))
            changed = due_changes(known, transaction.has_grant_in, now, no_show)
            for item in changed:
                transaction.save_reservation(item)
                name = _STARTED_EVENTS[item.state]
                transaction.append_event(Event(name, now, uid=item.uid, details=window_of(item)))
            return changed

        def look(transaction: StoreTransaction) -> tuple[list[Reservation], bool]:
            known = merged(transaction.list_reservations(with_over=True), policy_reservations(policy))
            return known, bool(due_changes(known, transaction.has_grant_in, now, no_show))

        known, is_due = await self._store.read(look)
        if is_due:
            await self._store.write(decide)
            self._bell.ring()
            known, _ = await self._store.read(look)
        return next_change_at(known, now, no_show)


def _present(transaction: StoreTransaction, grant: Allocation) -> tuple[Allocation | None, ContainerRow | None]:
    row = transaction.find_container(grant.uid, grant.container_name)
    present = transaction.find_allocation(grant.id)
    return present, row if row is not None and row.allocation_id == grant.id else None


def _granted_by_queue(transaction: StoreTransaction) -> frozenset[str]:
    """Grants that came while their owner may have been away."""
    ended = transaction.list_ended()
    return frozenset(
        entry.allocation_id
        for entry in ended
        if entry.allocation_id is not None and entry.state is QueueState.DONE and entry.purpose is Purpose.CREATE
    )
