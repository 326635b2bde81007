"""Containers that exist: list, inspect, start, stop, remove. Every change is verified afterwards."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from ds01.domain.access import Caller, container_not_found
from ds01.domain.allocation import Allocation
from ds01.domain.attachment import AttachmentFacts, attached_gpus, needed_gpus
from ds01.domain.container import ContainerDetails, ContainerState, ContainerSummary
from ds01.domain.event import Event
from ds01.domain.gpu import Gpu, Inventory, all_gpus
from ds01.domain.image import is_private_tag
from ds01.domain.name import EngineName, parse_container_name
from ds01.domain.origin import Ownership, private_image_of, shown_name
from ds01.errors import BackendError, ConflictError, Ds01Error
from ds01.service.allocations import AllocationService
from ds01.service.completion import complete
from ds01.service.decisions import require_free, require_usable
from ds01.service.first_start import FirstStartCheck
from ds01.service.foreign import SHORTEST_ID, Ownerships, find_by_bare_name
from ds01.service.helper_container import is_helper_name
from ds01.service.images import drop_private_tag
from ds01.service.known_container import KnownContainer, find_successor, read_known, row_of
from ds01.service.limits import LimitService
from ds01.service.observation import Observation, Observer
from ds01.service.ports import ContainerRow, StoreTransaction, World
from ds01.service.presence import Presence
from ds01.service.reconcile import Reconciler
from ds01.service.scheduling import Scheduling
from ds01.service.stopping import Stopper

log = logging.getLogger(__name__)
MAX_GRACE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One row of a list.

    Attributes:
        summary: What the engine says.
        uid: Owner; None if its name says none.
        allocation: Its grant, if it has one.
        row: Its row, if DS01 made or adopted it.
        name: Name by which its owner finds it.
        doubt: What contradicts about its owner, in words; empty without.
    """

    summary: ContainerSummary
    uid: int | None
    allocation: Allocation | None
    row: ContainerRow | None
    name: str
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """Outcome of a start."""

    details: ContainerDetails
    was_running: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """Outcome of a stop."""

    details: ContainerDetails
    was_running: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """Outcome of a removal."""

    details: ContainerDetails
    released: tuple[str, ...]


class ContainerService:
    """Acts on containers that exist."""

    def __init__(
        self,
        world: World,
        *,
        observer: Observer,
        limits: LimitService,
        allocations: AllocationService,
        scheduling: Scheduling,
        presence: Presence,
        reconciler: Reconciler,
    ) -> None:
        self._engine = world.engine
        self._devices = world.devices
        self._store = world.store
        self._clock = world.clock
        self._observer = observer
        self._limits = limits
        self._allocations = allocations
        self._scheduling = scheduling
        self._presence = presence
        self._reconciler = reconciler
        self._stopper = Stopper(world.engine, world.clock)
        self._first_start = FirstStartCheck(world.engine, world.store)
        self._ownerships = Ownerships(world.accounts)

    async def list_views(self) -> list[ContainerView]:
        """Return every container of the engine with its grant, newest first. One request to the engine."""
        containers, (rows, allocations) = await asyncio.gather(
            self._engine.list_containers(),
            self._store.read(lambda transaction: (transaction.list_containers(), transaction.list_allocations())),
        )
        by_id = {row.engine_id: row for row in rows if row.engine_id}
        grants = {allocation.id: allocation for allocation in allocations}
        shown = _shown(containers, by_id)
        owners = await self._ownerships.of_list(container for container in shown if container.id not in by_id)
        full_names = {container.name for container in shown}
        views: list[ContainerView] = []
        for container in shown:
            row = by_id.get(container.id)
            owner = owners.get(container.id, Ownership(row.uid if row else None))
            name = row.name if row else shown_name(container.name)
            is_bare = container.parsed_name is None
            if is_bare and owner.uid is not None and str(EngineName(name, owner.uid)) in full_names:
                name = container.id[:SHORTEST_ID]  # the name alone means the other one, as with AIME's tool
            grant = grants.get(row.allocation_id) if row else None
            views.append(ContainerView(container, owner.uid, grant, row, name, owner.doubt))
        return sorted(views, key=lambda view: view.summary.created_at, reverse=True)

    async def get_details(self, uid: int, name: str) -> ContainerDetails:
        """Return one container of a user: `<name>._.<uid>`, else one of this very name or id that is the user's.

        Raises:
            NotFoundError: The user has none of that name.
        """
        return await self._details_of(
            uid, name, await self._store.read(lambda transaction: find_successor(transaction, uid, name))
        )

    async def _details_of(self, uid: int, name: str, successor_id: str | None) -> ContainerDetails:
        if not _is_typed_name(name):
            raise container_not_found(name)
        if successor_id is not None:
            # what has the name is about to be removed
            moved = await self._engine.find_container(successor_id)
            if moved is not None and is_helper_name(moved.name):
                return moved
        engine_name = str(EngineName(name, uid))
        details = await self._engine.find_container(engine_name)
        if details is not None and details.name == engine_name:
            return details
        details = await find_by_bare_name(self._engine, name)
        if details is None or await self._owner_of(details) not in ({uid, None} if uid == 0 else {uid}):
            raise container_not_found(name)
        return details

    async def _look_up(self, uid: int, name: str) -> KnownContainer:
        """What is known of one that is about to change; what a dead daemon left of it is repaired first."""
        known = await self._store.read(lambda transaction: read_known(transaction, uid, name))
        if known.is_unfinished:
            await self._reconciler.clear_dead_creation(uid, name)
            known = await self._store.read(lambda transaction: read_known(transaction, uid, name))
        return known

    async def _owner_of(self, details: ContainerDetails) -> int | None:
        row = await self.find_row(details)
        return row.uid if row else (await self._ownerships.of(details.name, details.labels)).uid

    async def find_doubt(self, details: ContainerDetails) -> str:
        """Return what contradicts about the owner of a container without a row; empty without."""
        return (await self._ownerships.of(details.name, details.labels)).doubt

    async def find_row(self, details: ContainerDetails) -> ContainerRow | None:
        """Return the row of a container; None for one that DS01 did not make."""
        return row_of(await self._store.read(lambda transaction: transaction.list_containers()), details)

    async def find_grant(self, details: ContainerDetails) -> tuple[ContainerRow | None, Allocation | None]:
        """Return the row of a container and its grant, in whatever state."""

        def query(transaction: StoreTransaction) -> tuple[ContainerRow | None, Allocation | None]:
            row = row_of(transaction.list_containers(), details)
            return row, transaction.find_allocation(row.allocation_id) if row is not None else None

        return await self._store.read(query)

    async def find_allocation(self, row: ContainerRow | None) -> Allocation | None:
        """Return the grant of a row."""
        if row is None:
            return None
        return await self._store.read(lambda transaction: transaction.find_allocation(row.allocation_id))

    async def devices_of(self, details: ContainerDetails) -> tuple[Gpu | str, ...]:
        """Return the devices of a container; the bare UUID of one that the machine does not have any more."""
        if not may_reach_devices(details.attachment):
            return ()
        try:
            return devices_in(details, await self._devices.read_inventory())
        except BackendError:
            return devices_in(details, None)

    async def start(self, caller: Caller, uid: int, name: str) -> Started:
        """Start a container; its devices are checked, or granted anew.

        Raises:
            NoCapacityError: Somebody else has one of its devices now.
            ConflictError: The engine refuses; the reason is said.
            BackendError: It does not run afterwards.
        """
        async with self._presence.working_on(uid, name):
            known = await self._look_up(uid, name)
            details = await self._details_of(uid, name, known.successor_id)
            if details.state is ContainerState.RUNNING:
                return Started(details, was_running=True, warnings=await self._same_grant(name, details))
            if details.state is ContainerState.PAUSED:
                raise ConflictError(f"{name} is paused.", hint=f"Go on with it: `ds01 container unpause {name}`.")
            row = known.row_of(details)
            try:
                await self._require_startable(caller, details, known)
                started = await self._start_on_engine(details, name)
                warnings = await self._first_start.check(started)
            except (Ds01Error, asyncio.CancelledError):
                await complete(self._settle_failed_start(caller, details, row))
                raise
            await self._record("container.started", caller, uid, name)
            return Started(started, was_running=False, warnings=tuple(warnings))

    async def _same_grant(self, name: str, details: ContainerDetails) -> tuple[str, ...]:
        """The same request again gets the same grant again, and is told which."""
        devices = await self.devices_of(details)
        shown = ", ".join(gpu if isinstance(gpu, str) else gpu.address for gpu in devices)
        return (f"already_allocated: {name} runs and has GPU {shown}.",) if devices else ()

    async def _require_startable(self, caller: Caller, details: ContainerDetails, known: KnownContainer) -> None:
        """Exclusivity is checked at every start, also of a container that DS01 did not make."""
        observation, uuids = Observation(), frozenset[str]()
        if may_reach_devices(details.attachment):
            observation = (await self._observer.observe(known.granted)).for_start_of(details.id)
            observation = replace(observation, reader=self._limits.reader(caller))
            uuids = attached_gpus(details.attachment, observation.inventory)
            needed = needed_gpus(details.attachment, observation.inventory)
            require_usable(details.name, needed, observation.inventory)
        row = known.row_of(details)
        if row is None:
            require_free(details.name, uuids, known.allocations, observation)
            return
        await complete(self._scheduling.require_startable(row, observation, actor_uid=caller.uid))

    async def _start_on_engine(self, details: ContainerDetails, name: str) -> ContainerDetails:
        await self._engine.start_container(details.id)
        started = await self._engine.get_container(details.id)
        if started.state is not ContainerState.RUNNING:
            raise BackendError(
                f"{name} ended at once (exit status {started.exit_code}). {started.error}".strip(),
                hint=f"Read why: `ds01 logs {name}`.",
            )
        return started

    async def _settle_failed_start(self, caller: Caller, details: ContainerDetails, row: ContainerRow | None) -> None:
        """Never started: its grant stays as it was; stopped: its hold begins anew; unknown: reconcile finds out."""
        if row is None:
            return
        try:
            present = await self._engine.find_container(details.id)
        except Ds01Error as failure:
            log.warning("whether %s runs is unknown: %s", details.name, failure)
            return
        if present is not None and not present.state.has_processes and present.started_at is not None:
            await self._settle(row, present, actor_uid=caller.uid)

    async def _settle(self, row: ContainerRow, stopped: ContainerDetails, *, actor_uid: int) -> None:
        hold = await self._limits.hold_of(row.uid)
        await complete(self._allocations.settle_stopped(row, hold, stopped.exit_code, actor_uid=actor_uid))

    async def stop(self, caller: Caller, uid: int, name: str, grace: timedelta | None = None) -> Stopped:
        """Stop a container: every process gets SIGTERM, and SIGKILL after the grace.

        Args:
            caller: Who asks.
            uid: Owner of the container.
            name: Its name.
            grace: None: what the policy says for this kind of container.

        Raises:
            BackendError: It still runs afterwards.
        """
        async with self._presence.working_on(uid, name):
            details = await self.get_details(uid, name)
            row = await self.find_row(details)
            was_running = details.state.has_processes
            if was_running:
                usual = self._limits.stop_grace_of(details.labels, details.name)
                await self._stopper.stop(details, min(grace if grace is not None else usual, MAX_GRACE))
                stopped = await self._engine.find_container(details.id)
                if stopped is not None and stopped.state.has_processes:
                    raise BackendError(f"{name} still runs after it was stopped.", hint="Try again with --force.")
                details = stopped or details  # one that plain docker made with --rm is gone now
                if row is None:
                    await self._record("container.stopped", caller, uid, name, exit_code=details.exit_code)
            if row is not None and details.started_at is not None:
                await self._settle(row, details, actor_uid=caller.uid)
            return Stopped(details, was_running=was_running)

    async def remove(self, caller: Caller, uid: int, name: str, *, force: bool) -> Removed:
        """Remove a container and its private tag. The workspace stays.

        Raises:
            ConflictError: It runs and `force` is not given.
            BackendError: It is still there afterwards.
        """
        async with self._presence.working_on(uid, name):
            known = await self._look_up(uid, name)
            details = await self._details_of(uid, name, known.successor_id)
            if details.state.has_processes:
                if not force:
                    raise ConflictError(
                        f"{name} is {details.state}.", hint=f"Stop it first: `ds01 stop {name}`, or use --force."
                    )
                await self._stopper.end_for_removal(details, timedelta(seconds=10))
            row = await self.find_row(details)
            await self._engine.remove_container(details.id, force=force)
            if await self._engine.find_container(details.id) is not None:
                raise BackendError(f"{name} is still there after it was removed.", hint="Try again.")
            tag = row.image if row and is_private_tag(row.image) else None
            tag = tag or private_image_of(details.name, details.image, details.labels)
            if tag is not None:
                await drop_private_tag(self._engine, tag)
            released = None
            if row is not None:
                reason = f"removed by {caller.user.name}"
                released = await complete(self._allocations.forget(row, reason, actor_uid=caller.uid))
            else:
                await self._record("container.removed", caller, uid, name)
            return Removed(details, released.gpu_uuids if released else ())

    async def release(self, caller: Caller, uid: int, name: str) -> tuple[str, ...]:
        """Give back the devices of a stopped container.

        Raises:
            ConflictError: It runs, or was never started.
            NotFoundError: The user has no such container.
        """
        async with self._presence.working_on(uid, name):
            row = await self.find_row(await self.get_details(uid, name))
            if row is None:
                raise ConflictError(f"{name} was not made by DS01: it holds nothing that could be given back.")
            released = await self._allocations.release(
                row.allocation_id, f"given back by {caller.user.name}", only_held=True, actor_uid=caller.uid
            )
            return released.gpu_uuids if released else ()

    async def _record(self, event: str, caller: Caller, uid: int, name: str, **details: object) -> None:
        record = Event(event, self._clock.now(), uid=uid, actor_uid=caller.uid, container=name, details=details)
        await self._store.write(lambda transaction: transaction.append_event(record))


def _shown(containers: list[ContainerSummary], by_id: Mapping[str, ContainerRow]) -> list[ContainerSummary]:
    """Leave out our short-lived containers, and one whose place another has that has not its name yet."""
    waits = [row for found in containers if is_helper_name(found.name) and (row := by_id.get(found.id)) is not None]
    left = {str(EngineName(row.name, row.uid)) for row in waits}
    return [
        found for found in containers if found.id in by_id or not (is_helper_name(found.name) or found.name in left)
    ]


def may_reach_devices(facts: AttachmentFacts) -> bool:
    """Something is attached that could be a GPU."""
    is_listed = facts.visible_devices not in {None, "", "void", "none"}
    return bool(facts.requests or facts.device_paths or is_listed)


def _is_typed_name(name: str) -> bool:
    """Old tools allowed other names: such containers are found too, as long as the name is one path segment."""
    try:
        parse_container_name(name)
    except Ds01Error:
        return bool(name) and "/" not in name and name.isprintable() and len(name) <= 200 and name not in {".", ".."}
    return True


def devices_in(details: ContainerDetails, inventory: Inventory | None) -> tuple[Gpu | str, ...]:
    """Return the devices of a container in display order.

    Args:
        details: The container.
        inventory: Devices of the machine; None: unknown. A device that is not in it is named by its UUID alone.
    """
    if inventory is None:
        return tuple(uuid for request in details.attachment.requests for uuid in request.device_ids)
    uuids = attached_gpus(details.attachment, inventory)
    known = [gpu for gpu in all_gpus(inventory) if gpu.uuid in uuids]
    missing = sorted(uuids - {gpu.uuid for gpu in known})
    return (*known, *missing)
