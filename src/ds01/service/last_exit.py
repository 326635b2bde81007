"""Stops a container when its last interactive session has ended and really nothing else runs: `stop_on_last_exit`.

Off unless the policy says so. Only sessions that were opened here and have ended count; any process beside PID 1 keeps
the container up, whoever started it, and so does a session that somebody is opening at that moment.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ds01.domain.containers.container import ContainerDetails, ContainerState
from ds01.errors import ConflictError, Ds01Error, NotFoundError
from ds01.service.allocations import AllocationService
from ds01.service.completion import complete
from ds01.service.limits import LimitService
from ds01.service.ports import ContainerRow, World
from ds01.service.presence import Presence
from ds01.service.stopping import Stopper

log = logging.getLogger(__name__)
UNSTARTED_FOR = timedelta(minutes=1)
"""A session that was prepared and is not begun within this time counts no longer: its client has gone."""
LOOKS = 5
"""What a shell leaves behind may need a moment to end: so often is looked before it counts as running on."""
PAUSE = timedelta(milliseconds=200)
REASON = "its last session ended (stop_on_last_exit)"


@dataclass(frozen=True, slots=True)
class _Known:
    """A session that was prepared and has not ended, as far as is known."""

    container: str
    is_interactive: bool
    prepared_at: datetime
    has_started: bool = False


class LastExit:
    """Knows the sessions of each container, and stops those that nobody and nothing uses any more."""

    def __init__(
        self, world: World, *, allocations: AllocationService, limits: LimitService, presence: Presence
    ) -> None:
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._allocations = allocations
        self._limits = limits
        self._presence = presence
        self._stopper = Stopper(world.engine, world.clock)
        self._known: dict[str, _Known] = {}
        self._opening: Counter[str] = Counter()
        self._stopping: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def wait_for_stop(self, container: str) -> bool:
        """Wait while the container is being stopped from here; tell whether it was."""
        stopping = self._stopping.get(container)
        if stopping is None:
            return False
        await stopping.wait()
        return True

    @contextmanager
    def opening(self, container: str) -> Iterator[None]:
        """Keep the container up for the block: somebody is preparing a session in it."""
        self._opening[container] += 1
        try:
            yield
        finally:
            self._opening[container] -= 1
            if not self._opening[container]:
                del self._opening[container]

    def prepared(self, container: str, exec_id: str, *, is_interactive: bool) -> None:
        """A session was prepared; the caller is still in `opening`."""
        self._known[exec_id] = _Known(container, is_interactive, self._clock.now())

    def started(self, exec_id: str) -> None:
        """Its program runs."""
        known = self._known.get(exec_id)
        if known is not None:
            self._known[exec_id] = replace(known, has_started=True)

    def ended(self, exec_id: str) -> None:
        """A program has ended; if it was an interactive session of ours, its container is looked at, beside this."""
        known = self._known.pop(exec_id, None)
        if known is not None and known.is_interactive:
            task = asyncio.create_task(self._look(known.container), name=f"last exit {known.container[:12]}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def wait(self) -> None:
        """Wait until everything that was begun has ended."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        """Break off what was begun: the container stays up."""
        for task in list(self._tasks):
            task.cancel()
        await self.wait()

    async def _look(self, container: str) -> None:
        try:
            row = await self._row_of(container)
            if row is None or not (await self._limits.owner_limits(row.uid)).values.stop_on_last_exit:
                return
            async with self._presence.working_on(row.uid, row.name):
                await self._stop_if_unused(container, row)
        except Ds01Error as failure:
            log.warning("whether anybody still uses %s is unknown, so it runs on: %s", container[:12], failure)

    async def _row_of(self, container: str) -> ContainerRow | None:
        rows = await self._store.read(lambda transaction: transaction.list_containers())
        return next((row for row in rows if row.engine_id == container), None)

    async def _stop_if_unused(self, container: str, row: ContainerRow) -> None:
        for look in range(LOOKS):
            if look:
                await self._clock.sleep(PAUSE)
            details = await self._engine.find_container(container)
            if details is None or details.state is not ContainerState.RUNNING:
                return
            await self._forget_ended(container)
            is_alone = await self._runs_alone(container)
            # from here to the mark nothing is waited for: who opens a session sees the mark, or was seen
            if self._is_in_use(container):
                return
            if is_alone:
                self._stopping[container] = asyncio.Event()
                try:
                    await complete(self._stop(details, row))
                finally:
                    self._stopping.pop(container).set()
                return

    def _is_in_use(self, container: str) -> bool:
        oldest = self._clock.now() - UNSTARTED_FOR
        return container in self._opening or any(
            known.has_started or known.prepared_at > oldest
            for known in self._known.values()
            if known.container == container
        )

    async def _forget_ended(self, container: str) -> None:
        """An event may have been missed: the engine knows whether a session has ended."""
        for exec_id, known in list(self._known.items()):
            if known.container != container or not known.has_started:
                continue
            try:
                has_ended = (await self._engine.get_exec(exec_id)).exit_code is not None
            except NotFoundError:
                has_ended = True
            if has_ended:
                self._known.pop(exec_id, None)

    async def _runs_alone(self, container: str) -> bool:
        """Nothing runs beside PID 1."""
        try:
            return len(await self._engine.list_processes(container)) <= 1
        except (ConflictError, NotFoundError):
            return False  # it has just ended by itself

    async def _stop(self, details: ContainerDetails, row: ContainerRow) -> None:
        await self._stopper.stop(details, self._limits.stop_grace_of(details.labels, details.name))
        stopped = await self._engine.find_container(details.id)
        if stopped is not None and stopped.state.has_processes:
            log.warning("%s still runs after it was stopped", row.name)
            return
        hold = await self._limits.hold_of(row.uid)
        exit_code = stopped.exit_code if stopped is not None else None
        await self._allocations.settle_stopped(row, hold, exit_code, reason=REASON)
