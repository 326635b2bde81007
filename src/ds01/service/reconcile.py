"""Reconcile: observe, plan, apply, again: at the start, on engine events that matter, when a deadline passes."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from ds01.domain import label
from ds01.domain.containers.container import ContainerDetails, ContainerState, ContainerSummary
from ds01.domain.containers.plan import Action, ActionKind, Snapshot, WantedContainer, plan_reconcile
from ds01.domain.devices.placement import Placement
from ds01.domain.event import Event
from ds01.domain.images.image import is_private_tag
from ds01.domain.name import EngineName
from ds01.errors import Ds01Error, NoCapacityError, QuotaExceededError
from ds01.service.adoption import Adopter, AdoptionRules
from ds01.service.allocations import AllocationService, Claim
from ds01.service.fact import FactKind
from ds01.service.helper_container import is_helper_name
from ds01.service.images import drop_private_tag
from ds01.service.known_container import KnownContainer, read_known
from ds01.service.late_binding import LateBinding
from ds01.service.limits import LimitService
from ds01.service.loss import LossWatch
from ds01.service.move_repair import MoveRepair, list_moves
from ds01.service.naming import NameTaker
from ds01.service.observation import Observation, Observer, granted_rows
from ds01.service.ports import ContainerRow, StoreTransaction, World
from ds01.service.presence import Presence
from ds01.service.scheduling import Scheduling

log = logging.getLogger(__name__)
NO_PLACEMENT = Placement((), "granted before the daemon ended")
UNMANAGED = FactKind("unmanaged", places=1024)
REFUSED_START_GRACE = timedelta(seconds=10)

RowHandler = Callable[[Action, ContainerRow], Awaitable[None]]
Handler = Callable[[Action], Awaitable[None]]
Keeper = Callable[[], Awaitable[object]]


class Reconciler:
    """Makes rows, grants and containers agree."""

    def __init__(
        self,
        world: World,
        *,
        observer: Observer,
        limits: LimitService,
        allocations: AllocationService,
        scheduling: Scheduling,
        presence: Presence,
        adoption: AdoptionRules,
        late_binding: LateBinding,
    ) -> None:
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._observer = observer
        self._limits = limits
        self._allocations = allocations
        self._scheduling = scheduling
        self._presence = presence
        self._adopter = Adopter(world, limits, adoption, late_binding=late_binding)
        self._losses = LossWatch(world)
        self._moves = MoveRepair(world, allocations)
        self._lost: Mapping[str, tuple[str, ...]] | None = None
        self._stops_refused = adoption.only_uid is None
        self._keepers: tuple[Keeper, ...] = ()
        self._row_handlers: dict[ActionKind, RowHandler] = {
            ActionKind.UNDO_CREATION: self._undo_creation,
            ActionKind.COMPLETE_CREATION: self._complete_creation,
            ActionKind.FORGET: self._forget,
            ActionKind.FOLLOW_NAME: self._follow_name,
            ActionKind.SETTLE_STOPPED: self._settle_stopped,
            ActionKind.TAKE_UP: self._take_up,
            ActionKind.RELEASE_HOLD: self._release_hold,
            ActionKind.TELL_LOST: self._tell_lost,
            ActionKind.TELL_BACK: self._tell_back,
            ActionKind.RELEASE_LOST: self._release_lost,
        }
        self._handlers: dict[ActionKind, Handler] = {
            ActionKind.RELEASE_ORPHAN: self._release_orphan,
            ActionKind.ADOPT: self._adopt,
            ActionKind.REMOVE_HELPER: self._remove_helper,
        }

    def keep(self, *keepers: Keeper) -> None:
        """Let others repair what is theirs after every run."""
        self._keepers += keepers

    async def run(self) -> list[Action]:
        """Do everything that is to be done now and return it. One failing object does not stop the others.

        Raises:
            BackendError: Engine or store do not answer.
        """
        await self._settle_moves()
        actions = await self.plan()
        for action in actions:
            try:
                await self._apply(action)
            except Ds01Error as failure:
                log.warning("reconcile: %s of %s failed: %s", action.kind, action.engine_id or action.nonce, failure)
        for keeper in self._keepers:
            try:
                await keeper()
            except Ds01Error as failure:
                log.warning("reconcile: %s", failure)
        return actions

    async def plan(self) -> list[Action]:
        """Return what `run` would do. Containers that somebody works on just now are left alone."""
        containers = await self._engine.list_containers()
        rows, allocations, moves = await self._store.read(
            lambda transaction: (
                transaction.list_containers(),
                transaction.list_allocations(),
                list_moves(transaction),
            )
        )
        self._lost = await self._losses.look(allocations)
        busy = [row for row in rows if row.nonce in moves or self._presence.is_busy(row.uid, row.name)]
        busy_grants = {row.allocation_id for row in busy}
        snapshot = Snapshot(
            wanted=tuple(_wanted(row) for row in rows if row not in busy),
            allocations={grant.id: grant for grant in allocations if grant.id not in busy_grants},
            containers=self._concerned(containers, rows, busy),
            now=self._clock.now(),
            is_alive=self._presence.is_in_flight,
            is_helper=is_helper_name,
            lost=self._lost,
            told_lost=await self._losses.told(allocations),
        )
        return plan_reconcile(snapshot)

    def _concerned(
        self, containers: list[ContainerSummary], rows: list[ContainerRow], busy: list[ContainerRow]
    ) -> tuple[ContainerSummary, ...]:
        """Leave out what is not ours to repair. Running ones first: when two want one device, they have it."""
        known = {row.engine_id for row in rows} | {row.nonce for row in rows}
        taken = {EngineName(row.name, row.uid) for row in rows}
        left_alone = {row.engine_id for row in busy} | {row.nonce for row in busy}
        found: list[ContainerSummary] = []
        for container in containers:
            marks = {container.id, container.labels.get(label.NONCE)}
            is_stranger = label.is_ours(container.labels) and not marks & known
            if marks & left_alone or (is_stranger and not self._adopter.may_adopt(container, taken)):
                continue
            found.append(container)
        return tuple(sorted(found, key=lambda container: not container.state.has_processes))

    async def _settle_moves(self) -> None:
        """Bring to an end what a dead daemon was moving, before anything else is made of what it has left."""
        for nonce in await self._store.read(list_moves):
            row = await self._find_row(nonce)
            if self._presence.is_in_flight(nonce) or (row is not None and self._presence.is_busy(row.uid, row.name)):
                continue
            try:
                await self._moves.settle(nonce, "its move had not ended", is_repair=True)
            except Ds01Error as failure:
                log.warning("reconcile: a move could not be settled: %s", failure)

    async def look_up(self, uid: int, name: str) -> KnownContainer:
        """Return what is known of one that is about to change; what a dead daemon left of it is repaired first."""
        known = await self._store.read(lambda transaction: read_known(transaction, uid, name))
        if known.is_unfinished:
            await self.clear_dead_creation(uid, name)
            known = await self._store.read(lambda transaction: read_known(transaction, uid, name))
        return known

    async def clear_dead_creation(self, uid: int, name: str) -> None:
        """Undo an unfinished creation of this name whose process is dead, so that the name can be used again.

        A move whose process is dead is settled. The caller keeps the name by `Presence.working_on`.
        """
        row = await self._store.read(lambda transaction: transaction.find_container(uid, name))
        if row is None or self._presence.is_in_flight(row.nonce):
            return
        if row.engine_id is not None:
            await self._moves.settle(row.nonce, "its move had not ended", is_repair=True)
            return
        found = await self._find_container(row)
        if found is None or found.state is ContainerState.CREATED:
            await self._undo(row, found.id if found else None, "its creation had not ended")

    async def _apply(self, action: Action) -> None:
        if action.kind in self._handlers:
            await self._handlers[action.kind](action)
            return
        row = await self._find_row(action.nonce)
        # whoever works on it now leaves it in order; waiting for them would hold up everybody else's repairs
        if row is None or self._presence.is_busy(row.uid, row.name):
            return
        async with self._presence.working_on(row.uid, row.name):
            present = await self._find_row(action.nonce)
            if present is not None and await self._is_due(action, present):
                await self._row_handlers[action.kind](action, present)

    async def _find_row(self, nonce: str) -> ContainerRow | None:
        return await self._store.read(lambda transaction: transaction.find_container_by_nonce(nonce))

    async def _find_container(self, row: ContainerRow) -> ContainerDetails | None:
        """The container of a row: by id, or while that is unknown by name and nonce."""
        if row.engine_id is not None:
            return await self._engine.find_container(row.engine_id)
        found = await self._engine.find_container(str(EngineName(row.name, row.uid)))
        return found if found is not None and found.labels.get(label.NONCE) == row.nonce else None

    async def _is_due(self, action: Action, row: ContainerRow) -> bool:
        """Plan again for this row alone: since the first look, its owner may have started, removed or remade it."""
        details = await self._find_container(row)
        grant = await self._store.read(lambda transaction: transaction.find_allocation(row.allocation_id))
        snapshot = Snapshot(
            wanted=(_wanted(row),),
            allocations={grant.id: grant} if grant is not None and grant.is_holding else {},
            containers=(_summary(details),) if details is not None else (),
            now=self._clock.now(),
            is_alive=self._presence.is_in_flight,
            is_helper=is_helper_name,
            lost=self._lost,
            told_lost=await self._losses.told([grant] if grant is not None else []),
        )
        return action in plan_reconcile(snapshot)

    async def _undo_creation(self, action: Action, row: ContainerRow) -> None:
        await self._undo(row, action.engine_id, action.reason)

    async def _undo(self, row: ContainerRow, engine_id: str | None, reason: str) -> None:
        if engine_id is not None:
            await self._engine.remove_container(engine_id, force=True)
        if is_private_tag(row.image):
            await drop_private_tag(self._engine, row.image)
        await self._allocations.undo_creation(row, reason)

    async def _complete_creation(self, action: Action, row: ContainerRow) -> None:
        grant = await self._store.read(lambda transaction: transaction.find_allocation(row.allocation_id))
        if grant is None or action.engine_id is None:
            return
        await self._allocations.activate(Claim(grant, NO_PLACEMENT, row), action.engine_id, image=row.image)
        await self._record(_repaired(row, f"{action.reason}: completed", self._clock.now()))

    async def _forget(self, action: Action, row: ContainerRow) -> None:
        if is_private_tag(row.image):
            await drop_private_tag(self._engine, row.image)
        await self._allocations.forget(row, action.reason)

    async def _follow_name(self, action: Action, row: ContainerRow) -> None:
        details = await self._find_container(row)
        if details is not None:
            await NameTaker(self._engine, self._store, self._clock).take_up(row, details)

    async def _settle_stopped(self, action: Action, row: ContainerRow) -> None:
        details = await self._find_container(row)
        hold = await self._limits.hold_of(row.uid)
        await self._allocations.settle_stopped(row, hold, details.exit_code if details else None)

    async def _take_up(self, action: Action, row: ContainerRow) -> None:
        """A start that went past us gets its grant if its devices are free; else it is stopped, or both are told."""
        granted, grant = await self._store.read(
            lambda transaction: (granted_rows(transaction), transaction.find_allocation(row.allocation_id))
        )
        observation = Observation()
        if grant is not None and grant.gpu_uuids:
            observation = (await self._observer.observe(granted)).for_start_of(row.engine_id or "")
        try:
            await self._scheduling.require_startable(row, observation)
        except (NoCapacityError, QuotaExceededError) as refusal:
            await self._report_unmanaged(row, refusal.message)
            if self._stops_refused and row.engine_id is not None:
                await self._engine.stop_container(row.engine_id, grace=REFUSED_START_GRACE)
            return
        await self._record_taken_up(row, action.reason)

    async def _record_taken_up(self, row: ContainerRow, reason: str) -> None:
        event = _repaired(row, reason, self._clock.now())

        def decide(transaction: StoreTransaction) -> None:
            transaction.append_event(event)
            if UNMANAGED.recall(transaction, row.nonce):
                UNMANAGED.remember(transaction, row.nonce, "")  # the next time is said again

        await self._store.write(decide)

    async def _report_unmanaged(self, row: ContainerRow, reason: str) -> None:
        """Say once that a container uses devices without a grant."""
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> None:
            if UNMANAGED.recall(transaction, row.nonce) == reason:
                return
            UNMANAGED.remember(transaction, row.nonce, reason)
            grant = transaction.find_allocation(row.allocation_id)
            for uuid in grant.gpu_uuids if grant else ():
                details = {"gpu": uuid, "holder": row.name}
                transaction.append_event(Event("gpu.unmanaged", now, uid=row.uid, container=row.name, details=details))

        await self._store.write(decide)

    async def _release_hold(self, action: Action, row: ContainerRow) -> None:
        await self._allocations.release(row.allocation_id, action.reason)

    async def _tell_lost(self, action: Action, row: ContainerRow) -> None:
        await self._losses.tell(row, (self._lost or {}).get(row.allocation_id, ()), action.reason)

    async def _tell_back(self, action: Action, row: ContainerRow) -> None:
        await self._losses.take_back(row, action.reason)

    async def _release_lost(self, action: Action, row: ContainerRow) -> None:
        """Nothing runs, and a later start could not have the device: what is held of it is not worth keeping."""
        await self._tell_lost(action, row)
        await self._allocations.release(row.allocation_id, action.reason)

    async def _release_orphan(self, action: Action) -> None:
        if action.allocation_id is not None:
            await self._allocations.release(action.allocation_id, action.reason)

    async def _remove_helper(self, action: Action) -> None:
        if action.engine_id is not None:
            await self._engine.remove_container(action.engine_id, force=True)

    async def _adopt(self, action: Action) -> None:
        if action.engine_id is not None:
            await self._adopter.adopt(action.engine_id)

    async def _record(self, event: Event) -> None:
        await self._store.write(lambda transaction: transaction.append_event(event))


def _wanted(row: ContainerRow) -> WantedContainer:
    return WantedContainer(row.uid, row.name, row.nonce, row.engine_id, row.allocation_id, row.created_at)


def _summary(details: ContainerDetails) -> ContainerSummary:
    return ContainerSummary(
        id=details.id,
        name=details.name,
        image=details.image,
        state=details.state,
        status=details.state.value,
        created_at=details.created_at,
        labels=details.labels,
    )


def _repaired(row: ContainerRow, reason: str, now: datetime) -> Event:
    details = {"allocation": row.allocation_id, "reason": reason}
    return Event("allocation.repaired", now, uid=row.uid, container=row.name, details=details)
