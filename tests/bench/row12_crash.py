"""Row 12: the daemon is killed at every durable write and every engine call: grants and requests lost or doubled.

Everything runs on a real store. A death leaves what kill -9 leaves: the bytes of the database and of its log at that
very moment are copied, nothing of the process goes on, and the next daemon starts on the copy beside the same engine.
(That the bytes of a really killed process are such bytes is what tests/integration/test_store_crash.py shows.)
"""

import asyncio
import logging
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from ds01.adapters.sqlite.store import SqliteStore
from ds01.domain.allocation import CLAIM_DEADLINE
from ds01.domain.devices.attachment import attached_gpus
from ds01.errors import Ds01Error
from ds01.service.ports import StoreTransaction
from tests.bench.figure import Figure
from tests.bench.store_site import own_folder, remove_folder
from tests.unit.service.queueing import QueueStage
from tests.unit.service.stage import ProcessDeathError, Trap
from tests.unit.service.test_queue_crash import ACTS, Act, prepare

Result = TypeVar("Result")


class KilledStore:
    """A real store whose process can die: what it leaves is what the disk has."""

    def __init__(self, folder: Path, trap: Trap) -> None:
        self._folder = folder
        self._trap = trap
        self._store: SqliteStore | None = None
        self._generation = 0

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._generation}.db"

    async def open(self) -> None:
        self._store = await SqliteStore.open(self._path, checkpoint=self._step)

    def _step(self, step: str) -> None:
        if not self._trap.is_dead:
            with suppress(ProcessDeathError):  # the thread lives on in this process; nobody hears of it any more
                self._trap.pass_(f"store {step}")

    def keep_bytes(self) -> None:
        """As a spring: copy what the disk has, and die."""
        target = self._folder / f"{self._generation + 1}.db"
        for suffix in ("", "-wal"):
            source = Path(f"{self._path}{suffix}")
            if source.exists():
                shutil.copyfile(source, f"{target}{suffix}")
        self._trap.die()

    async def restart(self) -> None:
        """The next process opens what the last one left."""
        assert self._store is not None
        await self._store.close()
        if (self._folder / f"{self._generation + 1}.db").exists():
            self._generation += 1
        await self.open()

    async def write(self, decide: Callable[[StoreTransaction], Result]) -> Result:
        return await self._alive(self._opened().write(decide))

    async def read(self, query: Callable[[StoreTransaction], Result]) -> Result:
        return await self._alive(self._opened().read(query))

    def _opened(self) -> SqliteStore:
        if self._trap.is_dead or self._store is None:
            raise ProcessDeathError
        return self._store

    async def _alive(self, work: "asyncio.Future[Result] | object") -> Result:
        result: Result = await work  # type: ignore[misc]  # a coroutine of the store
        if self._trap.is_dead:
            raise ProcessDeathError
        return result

    async def settle(self) -> None:
        """Nothing is late here."""

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()


class KilledStage(QueueStage):
    """A stage on a real store."""

    killed: KilledStore

    @classmethod
    async def on(cls, folder: Path) -> "KilledStage":
        stage = cls.with_gpus(1)
        assert isinstance(stage, KilledStage)
        stage.killed = KilledStore(folder, stage.trap)
        await stage.killed.open()
        stage.store = stage.killed  # type: ignore[assignment]  # the same port
        stage.boot()
        await prepare(stage)
        return stage


def measure() -> list[Figure]:
    """Return how many grants and requests were lost or doubled over all points."""
    points, wrong = 0, 0
    logging.disable()  # a death is told by every task that it ends
    for act in ACTS:
        found, bad = asyncio.run(_try_every_point(act))
        points, wrong = points + found, wrong + len(bad)
        for problem in bad:
            sys.stderr.write(f"row 12: {problem}\n")
    name = f"lost or doubled, {points} points"
    return [Figure(12, name, wrong, "", 0, f"{points} points of death in {len(ACTS)} acts", 0, 0)]


async def _try_every_point(act: Act) -> tuple[int, list[str]]:
    problems: list[str] = []
    number = 0
    while True:
        number += 1
        folder = own_folder()
        try:
            has_died, bad = await _try(act, number, folder)
        finally:
            remove_folder(folder)
        problems += [f"{act.__name__}, point {number}: {problem}" for problem in bad]
        if not has_died:
            return number - 1, problems


async def _try(act: Act, number: int, folder: Path) -> tuple[bool, list[str]]:
    stage = await KilledStage.on(folder)
    stage.trap.arm(number, stage.killed.keep_bytes)
    answered: set[str] = set()
    with suppress(ProcessDeathError, Ds01Error):
        try:
            await act(stage)
        finally:
            await stage.services.starter.wait()
            await stage.services.deadlines.wait()
    has_died = stage.trap.is_dead
    stage.trap.revive()
    await stage.killed.restart()
    before = {entry.id for entry in await stage.store.read(lambda t: [*t.list_waiting(), *t.list_ended()])}
    await _recover(stage)
    problems = await _problems(stage, before | answered)
    await stage.killed.close()
    return has_died, problems


async def _recover(stage: KilledStage) -> None:
    stage.boot()
    for _ in range(3):
        await stage.services.starter.recover()
        await stage.reconcile()
        await stage.services.deadlines.run()
        await stage.services.deadlines.wait()
        await stage.serve()
        stage.clock.advance(CLAIM_DEADLINE + timedelta(seconds=1))
    await stage.reconcile()


async def _problems(stage: KilledStage, known: set[str]) -> list[str]:
    """What is lost or doubled, seen from the store and from the engine."""
    grants, rows, entries = await stage.store.read(
        lambda t: (t.list_allocations(), t.list_containers(), [*t.list_waiting(), *t.list_ended()])
    )
    found: list[str] = []
    holders = Counter(uuid for grant in grants for uuid in grant.gpu_uuids)
    found += [f"{uuid} is granted {number} times" for uuid, number in holders.items() if number > 1]
    containers = [item.details for item in stage.engine.containers.values()]
    names = Counter(details.name for details in containers)
    found += [f"{name} exists {number} times" for name, number in names.items() if number > 1]
    running = [details for details in containers if details.state.has_processes]
    reached = Counter(
        uuid for details in running for uuid in attached_gpus(details.attachment, stage.devices.inventory)
    )
    found += [f"{uuid} is reached by {number} containers" for uuid, number in reached.items() if number > 1]
    by_id = {row.engine_id: row for row in rows}
    active = {grant.id for grant in grants if grant.state.value == "active"}
    for details in running:
        row = by_id.get(details.id)
        if row is None or row.allocation_id not in active:
            found.append(f"{details.name} runs without a grant")
    found += [f"the request {name} is lost" for name in known - {entry.id for entry in entries}]
    for entry in entries:
        name = entry.waiting.container_name
        if entry.state.value == "granted":
            found.append(f"the request for {name} hangs")
        if entry.state.value == "waiting" and not holders:
            found.append(f"the request for {name} waits beside a free GPU")
        if entry.state.value == "done" and f"{name}._.{entry.uid}" not in names:
            found.append(f"the container of the request for {name} is lost")
    return found
