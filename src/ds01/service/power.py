"""Containers are started and stopped: their devices are checked or granted anew, and the state is verified after it."""

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import timedelta

from ds01.domain.allocation import Allocation
from ds01.domain.containers.container import ContainerDetails, ContainerState
from ds01.domain.devices.attachment import attached_gpus, may_reach_gpus, needed_gpus
from ds01.domain.rules.access import Caller
from ds01.errors import BackendError, ConflictError, Ds01Error
from ds01.service.allocations import AllocationService
from ds01.service.completion import complete
from ds01.service.containers import ContainerService
from ds01.service.decisions import require_free, require_usable
from ds01.service.first_start import FirstStartCheck
from ds01.service.known_container import KnownContainer, read_known
from ds01.service.limits import LimitService
from ds01.service.observation import Observation, Observer
from ds01.service.ports import ContainerRow, World
from ds01.service.presence import Presence
from ds01.service.provision import Provision
from ds01.service.reconcile import Reconciler
from ds01.service.regranting import Regranting
from ds01.service.scheduling import Scheduling
from ds01.service.stopping import Stopper

log = logging.getLogger(__name__)
MAX_GRACE = timedelta(hours=1)


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


class PowerService:
    """Starts and stops containers that exist."""

    def __init__(
        self,
        world: World,
        containers: ContainerService,
        *,
        observer: Observer,
        limits: LimitService,
        allocations: AllocationService,
        scheduling: Scheduling,
        reconciler: Reconciler,
        provision: Provision,
        presence: Presence,
    ) -> None:
        self._engine = world.engine
        self._store = world.store
        self._containers = containers
        self._observer = observer
        self._limits = limits
        self._allocations = allocations
        self._scheduling = scheduling
        self._presence = presence
        self._reconciler = reconciler
        self._late = provision.late_binding
        self._regranting = Regranting(scheduling, allocations, provision.instances, world.clock)
        self._stopper = Stopper(world.engine, world.clock)
        self._first_start = FirstStartCheck(world.engine, world.store)

    async def start(self, caller: Caller, uid: int, name: str) -> Started:
        """Start a container; its devices are checked, or granted anew.

        Raises:
            NoCapacityError: Somebody else has one of its devices now.
            ConflictError: The engine refuses; the reason is said.
            BackendError: It does not run afterwards.
        """
        async with self._presence.working_on(uid, name):
            known = await self._reconciler.look_up(uid, name)
            details = await self._containers.find_details(uid, name, known.successor_id)
            if details.state is ContainerState.RUNNING:
                return Started(details, was_running=True, warnings=await self._same_grant(name, details))
            started = await self._start(caller, details, known, name)
            await self._containers.record("container.started", caller, uid, name)
            return started

    async def plan_start(self, caller: Caller, uid: int, name: str, *, is_restart: bool = False) -> Started:
        """Return what a start or restart would find, or raise what it would raise. Changes nothing."""
        details = await self._containers.get_details(uid, name)
        if (details.state.has_processes and is_restart) or details.state is ContainerState.RUNNING:
            return Started(details, was_running=True, warnings=())
        _require_not_paused(details, name)
        known = await self._store.read(lambda transaction: read_known(transaction, uid, name))
        await self._require_startable(caller, details, known, is_writing=False)
        return Started(details, was_running=False, warnings=())

    async def restart(self, caller: Caller, uid: int, name: str, grace: timedelta | None = None) -> Started:
        """Stop a container if it runs, and start it. It keeps its grant all the while: nobody gets in between.

        Args:
            caller: Who asks.
            uid: Owner of the container.
            name: Its name.
            grace: None: what the policy says for this kind of container.

        Raises:
            BackendError: It still runs after the stop, or does not run afterwards; then its hold begins.
            Ds01Error: As `start`.
        """
        async with self._presence.working_on(uid, name):
            known = await self._reconciler.look_up(uid, name)
            details = await self._containers.find_details(uid, name, known.successor_id)
            was_running = details.state.has_processes
            if was_running:
                await self._stop_on_engine(details, name, grace)
                known = await self._reconciler.look_up(uid, name)  # a stop takes its time: others went on
                details = await self._containers.find_details(uid, name, known.successor_id)
            started = await self._start(caller, details, known, name)
            await self._containers.record("container.restarted", caller, uid, name)
            return replace(started, was_running=was_running)

    async def _start(self, caller: Caller, details: ContainerDetails, known: KnownContainer, name: str) -> Started:
        _require_not_paused(details, name)
        row = known.row_of(details)
        try:
            allocation = await self._require_startable(caller, details, known)
            started = await self._start_on_engine(details, name, allocation)
            warnings = await self._first_start.check(started)
        except (Ds01Error, asyncio.CancelledError):
            await complete(self._settle_failed_start(caller, details, row))
            raise
        return Started(started, was_running=False, warnings=tuple(warnings))

    async def _same_grant(self, name: str, details: ContainerDetails) -> tuple[str, ...]:
        """The same request again gets the same grant again, and is told which."""
        devices = await self._containers.devices_of(details)
        shown = ", ".join(gpu if isinstance(gpu, str) else gpu.address for gpu in devices)
        return (f"already_allocated: {name} runs and has GPU {shown}.",) if devices else ()

    async def _require_startable(
        self, caller: Caller, details: ContainerDetails, known: KnownContainer, *, is_writing: bool = True
    ) -> Allocation | None:
        """Exclusivity is checked at every start, also of a container that DS01 did not make: that one has no grant."""
        row = known.row_of(details)
        is_late = row is not None and details.attachment.managed_device is not None
        observation, uuids = Observation(), frozenset[str]()
        if may_reach_gpus(details.attachment):
            observation = (await self._observer.observe(known.granted)).for_start_of(details.id)
            observation = replace(observation, reader=self._limits.reader(caller))
            uuids = attached_gpus(details.attachment, observation.inventory)
            needed = needed_gpus(details.attachment, observation.inventory)
            if not is_late:
                require_usable(details.name, needed, observation.inventory)
        if row is None:
            require_free(details.name, uuids, known.allocations, observation)
            return None
        if is_late:
            return await self._regranting.provide(row, observation, actor_uid=caller.uid, is_writing=is_writing)
        check = self._scheduling.require_startable
        return await complete(check(row, observation, actor_uid=caller.uid, is_writing=is_writing))

    async def _start_on_engine(
        self, details: ContainerDetails, name: str, allocation: Allocation | None
    ) -> ContainerDetails:
        device = details.attachment.managed_device
        if device is not None and allocation is not None:
            await complete(self._late.start(details.id, device, allocation))
        else:
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
            details = await self._containers.get_details(uid, name)
            row = await self._containers.find_row(details)
            was_running = details.state.has_processes
            if was_running:
                # one that plain docker made with --rm is gone now
                details = await self._stop_on_engine(details, name, grace) or details
                if row is None:
                    await self._containers.record("container.stopped", caller, uid, name, exit_code=details.exit_code)
            if row is not None and details.started_at is not None:
                await self._settle(row, details, actor_uid=caller.uid)
            return Stopped(details, was_running=was_running)

    async def _stop_on_engine(
        self, details: ContainerDetails, name: str, grace: timedelta | None
    ) -> ContainerDetails | None:
        usual = self._limits.stop_grace_of(details.labels, details.name)
        await self._stopper.stop(details, min(grace if grace is not None else usual, MAX_GRACE))
        stopped = await self._engine.find_container(details.id)
        if stopped is not None and stopped.state.has_processes:
            raise BackendError(f"{name} still runs after it was stopped.", hint="Try again with --force.")
        return stopped


def _require_not_paused(details: ContainerDetails, name: str) -> None:
    if details.state is ContainerState.PAUSED:
        raise ConflictError(f"{name} is paused.", hint=f"Go on with it: `ds01 container unpause {name}`.")
