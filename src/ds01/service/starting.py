"""Carries out what the scheduler granted: makes or starts the containers of requests, as their owners, without them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from ds01.domain.rules.access import Caller
from ds01.domain.scheduling.queue import Purpose, QueueEntry, QueueState
from ds01.domain.user import User
from ds01.errors import Ds01Error
from ds01.service.allocations import AllocationService
from ds01.service.completion import complete
from ds01.service.creation import CreationService
from ds01.service.granting import Granted
from ds01.service.limits import LimitService
from ds01.service.ports import StoreTransaction, World
from ds01.service.power import PowerService
from ds01.service.presence import Presence
from ds01.service.progress import Progress
from ds01.service.reconcile import Reconciler

log = logging.getLogger(__name__)
PARALLEL = 8
"""So many containers are made at a time; the engine serves people beside that."""


class Starter:
    """Runs one background task for each granted request."""

    def __init__(
        self,
        world: World,
        *,
        creation: CreationService,
        power: PowerService,
        allocations: AllocationService,
        limits: LimitService,
        presence: Presence,
        reconciler: Reconciler,
    ) -> None:
        self._store = world.store
        self._creation = creation
        self._power = power
        self._allocations = allocations
        self._limits = limits
        self._presence = presence
        self._reconciler = reconciler
        self._gate = asyncio.Semaphore(PARALLEL)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.progress = Progress()

    @property
    def under_way(self) -> int:
        """How many are carried out now."""
        return len(self._tasks)

    def is_under_way(self, request_id: str) -> bool:
        """Tell whether a request is carried out now."""
        return request_id in self._tasks

    def launch(self, granted: Iterable[Granted]) -> None:
        """Carry out what was granted, in the background."""
        for found in granted:
            request_id = found.entry.id
            if request_id not in self._tasks:
                task = asyncio.create_task(self._carry_out(found), name=f"request {request_id}")
                self._tasks[request_id] = task
                task.add_done_callback(partial(self._forget, request_id))

    def _forget(self, request_id: str, ended: "asyncio.Task[None]") -> None:
        if self._tasks.get(request_id) is ended:
            del self._tasks[request_id]
        self.progress.of(request_id).bell.ring()
        if not ended.cancelled() and ended.exception() is not None:
            log.error("request %s: a bug", request_id, exc_info=ended.exception())

    async def cancel(self, request_id: str) -> None:
        """Break off what is carried out for a request, and wait until it is undone."""
        task = self._tasks.get(request_id)
        if task is not None:
            task.cancel()
            await complete(_ended(task))

    async def wait(self) -> None:
        """Wait until nothing is carried out."""
        while self._tasks:
            await asyncio.wait(set(self._tasks.values()))

    async def close(self) -> None:
        """The daemon ends: break off everything; what was granted waits again at its old place."""
        for task in list(self._tasks.values()):
            task.cancel()
        await self.wait()

    async def recover(self) -> None:
        """After a start of the daemon: what was granted and not carried out goes on, or waits again. Repeatable.

        A creation whose process died is undone, and its request waits again at its old place; a start goes on.

        Raises:
            BackendError: Engine or store do not answer.
        """
        entries = await self._store.read(lambda transaction: transaction.list_waiting())
        for entry in entries:
            if entry.state is QueueState.GRANTED and entry.id not in self._tasks:
                await self._recover(entry)

    async def _recover(self, entry: QueueEntry) -> None:
        name = entry.waiting.container_name
        if entry.purpose is Purpose.CREATE:
            async with self._presence.working_on(entry.uid, name):
                await self._reconciler.clear_dead_creation(entry.uid, name)
            return
        found = await self._store.read(lambda transaction: _granted_start(transaction, entry))
        if found is not None:
            self.launch([found])

    async def _carry_out(self, granted: Granted) -> None:
        """Whatever happens, the grant is used or given back, unless the process dies: `recover` is for that."""
        entry = granted.entry
        with self._presence.in_flight(granted.row.nonce):
            try:
                async with self._admitted(granted) as caller:
                    result = await self._act(caller, granted)
            except Ds01Error as failure:
                log.warning("request %s of %s: %s", entry.id, entry.waiting.container_name, failure)
                self.progress.conclude(entry.id, failure=failure)
            else:
                self.progress.conclude(entry.id, result=result)

    @asynccontextmanager
    async def _admitted(self, granted: Granted) -> AsyncIterator[Caller]:
        """Wait for a turn and find out who it is for; from then on the deed itself gives the grant back if it fails."""
        entry = granted.entry
        is_waiting = True
        try:
            async with self._gate:
                gpus = list(granted.allocation.gpu_uuids)
                await self.progress.tell(entry.id, {"kind": "granted", "request": entry.id, "gpus": gpus})
                caller = await self._caller_of(entry)
                is_waiting = False
                yield caller
        except (Ds01Error, asyncio.CancelledError) as failure:
            if is_waiting:
                await complete(self._allocations.give_up(granted, failure))
            raise

    async def _caller_of(self, entry: QueueEntry) -> Caller:
        """The owner. A start needs no account, so it does not wait for the account database."""
        if entry.purpose is Purpose.START:
            return Caller(User(uid=entry.uid, gid=entry.uid, name=""))
        return self._limits.caller(await self._limits.existing(entry.uid))

    async def _act(self, caller: Caller, granted: Granted) -> object:
        entry = granted.entry
        if entry.purpose is Purpose.CREATE:

            async def tell(message: Mapping[str, object]) -> None:
                await self.progress.tell(entry.id, message)

            return await self._creation.create_granted(caller, granted, tell)
        try:
            started = await self._power.start(caller, entry.uid, entry.waiting.container_name)
        except (Ds01Error, asyncio.CancelledError) as failure:
            await complete(self._allocations.give_up(granted, failure))
            raise
        await complete(self._allocations.finish_request(entry.id))
        return started


async def _ended(task: "asyncio.Task[None]") -> None:
    await asyncio.wait({task})


def _granted_start(transaction: StoreTransaction, entry: QueueEntry) -> Granted | None:
    allocation = transaction.find_allocation(entry.allocation_id or "")
    row = transaction.find_container(entry.uid, entry.waiting.container_name)
    if allocation is None or row is None:
        return None
    return Granted(entry, allocation, row, "granted before the daemon ended")
