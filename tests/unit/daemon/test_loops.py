"""What the daemon does by itself goes on after failures, and its end is an incident."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ds01.config.catalogue import AIME_LIST
from ds01.daemon.audit import Audit
from ds01.daemon.catalogue_files import CatalogueFiles
from ds01.daemon.identity import Identities
from ds01.daemon.loops import IDLE_S, EventLoop, ReconcileLoop, WatchLoop, guard
from ds01.daemon.policy_file import PolicyFile
from ds01.daemon.server import ApiServer
from ds01.daemon.site_files import SiteFiles
from ds01.daemon.streams import StreamRelay
from ds01.daemon.tiers_file import TiersFile
from ds01.domain.rules.policy import Policy
from ds01.errors import BackendError
from ds01.service.bell import Bell
from tests.fakes import FakeClock
from tests.unit.service.stage import Stage, until


@asynccontextmanager
async def running(work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


class PatientClock(FakeClock):
    """Sleeps only as often as a test allows, and moves on then."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = asyncio.Semaphore(0)
        self.slept = 0

    async def sleep(self, length: timedelta) -> None:
        self.slept += 1
        await self.turns.acquire()
        self.advance(length)


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.add_image()
    return stage


async def test_reconcile_runs_at_once_and_again_when_it_is_woken(stage: Stage) -> None:
    loop = ReconcileLoop(stage.services.reconciler)
    async with running(loop.run):
        await until(lambda: stage.engine.calls["list_containers"] == 1)
        loop.wake()
        await until(lambda: stage.engine.calls["list_containers"] == 2)
        for _ in range(200):
            await asyncio.sleep(0)
        assert stage.engine.calls["list_containers"] == 2, "without a reason it waits"


async def test_what_happens_during_a_repair_is_looked_at_after_it(stage: Stage) -> None:
    gate = stage.engine.hold("list_containers")
    loop = ReconcileLoop(stage.services.reconciler)
    async with running(loop.run):
        await until(lambda: stage.engine.calls["list_containers"] == 1)
        loop.wake()
        loop.wake()
        gate.set()
        await until(lambda: stage.engine.calls["list_containers"] == 2)


async def test_an_engine_that_does_not_answer_does_not_end_the_loop(stage: Stage) -> None:
    stage.engine.unreachable = BackendError("The engine is down.")
    loop = ReconcileLoop(stage.services.reconciler)
    async with running(loop.run) as task:
        await until(lambda: stage.engine.calls["list_containers"] == 1)
        loop.wake()
        await until(lambda: stage.engine.calls["list_containers"] == 2)
        assert not task.done()


async def test_a_loop_that_is_woken_and_cancelled_at_once_ends(stage: Stage) -> None:
    loop = ReconcileLoop(stage.services.reconciler)
    async with running(loop.run) as task:
        await until(lambda: stage.engine.calls["list_containers"] == 1)
        await _turns()
        loop.wake()
        await asyncio.sleep(0)  # the waiter has its event and has not run yet
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled()


async def test_events_wake_reconcile_and_others_do_not(stage: Stage) -> None:
    clock = PatientClock()
    reconcile = ReconcileLoop(stage.services.reconciler)
    events = EventLoop(stage.engine, stage.services.limits, reconcile, clock)
    async with running(events.run):
        await until(lambda: stage.engine.calls["watch_events"] == 1)
        await _turns()
        await stage.engine.journal.append("network", "create", "bridge", {})
        await stage.engine.journal.append("container", "exec_start: id", "demo", {})
        await _turns()
        assert not reconcile._wake.is_set()
        await stage.create(count=0)
        await _turns()
        assert reconcile._wake.is_set()


async def _turns(number: int = 100) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_broken_connection_resumes_where_it_was_and_takes_no_event_twice(stage: Stage) -> None:
    clock = PatientClock()
    reconcile = ReconcileLoop(stage.services.reconciler)
    events = EventLoop(stage.engine, stage.services.limits, reconcile, clock)
    async with running(events.run) as task:
        await until(lambda: stage.engine.calls["watch_events"] == 1)
        await _turns()
        await stage.create(count=0)
        await _turns()
        reconcile._wake.clear()
        await stage.engine.journal.break_watchers()
        await until(lambda: clock.slept == 1)
        assert reconcile._wake.is_set(), "after a gap everything is looked at anew"
        reconcile._wake.clear()
        clock.turns.release()
        await until(lambda: stage.engine.calls["watch_events"] == 2)
        await _turns()
        assert not reconcile._wake.is_set(), "the last event came again and was known"
        await stage.start()
        await _turns()
        assert reconcile._wake.is_set()
        await stage.engine.journal.break_watchers()
        await until(lambda: clock.slept == 2)
        reconcile._wake.clear()
        await stage.stop()
        clock.turns.release()
        await until(lambda: stage.engine.calls["watch_events"] == 3)
        await _turns()
        assert reconcile._wake.is_set(), "what happened while nobody listened comes with the next connection"
        assert not task.done()


async def test_an_engine_that_was_started_anew_is_learnt_anew(stage: Stage) -> None:
    await stage.create("a", count=0)
    made = stage.engine.calls["create_container"]
    clock = PatientClock()
    events = EventLoop(stage.engine, stage.services.limits, ReconcileLoop(stage.services.reconciler), clock)
    async with running(events.run):
        await until(lambda: stage.engine.calls["watch_events"] == 1)
        await _turns()
        await stage.engine.journal.break_watchers()
        await until(lambda: clock.slept == 1)
    await stage.create("b", count=0)
    assert stage.engine.calls["create_container"] == made + 2, "its ulimits were tried again"


async def test_an_engine_without_events_is_asked_again(stage: Stage) -> None:
    clock = PatientClock()
    stage.engine.fail_always("watch_events", BackendError("The engine is down."))
    events = EventLoop(stage.engine, stage.services.limits, ReconcileLoop(stage.services.reconciler), clock)
    async with running(events.run) as task:
        for number in range(1, 4):
            await until(lambda number=number: clock.slept == number)  # type: ignore[misc]  # bound at once
            clock.turns.release()
        assert not task.done()


class Watched:
    """A watch loop with everything it looks at."""

    def __init__(self, stage: Stage, folder: Path, *, personal: bool) -> None:
        self.clock = PatientClock()
        self.monotonic = 0.0
        self.left: list[str] = []
        self.socket = folder / "api.sock"
        self.socket.touch()
        self.policy = PolicyFile(folder, Policy())
        self.catalogue = CatalogueFiles(folder, lambda: self.policy.current.site.catalogue.aime_dir)
        stage.clock = self.clock
        identities = Identities(stage.accounts, stage.services.limits, only_uid=None)
        audit = Audit(stage.store, self.clock)
        self.server = ApiServer(identities, {}, audit, monotonic=lambda: self.monotonic)
        self.relay = StreamRelay()
        self.loop = WatchLoop(
            SiteFiles(self.policy, self.catalogue, TiersFile(folder)),
            stage.world(),
            self.server,
            self.relay,
            socket_path=self.socket,
            is_personal=personal,
            leave=self.left.append,
            monotonic=lambda: self.monotonic,
        )

    async def turn(self) -> None:
        """Let the loop look once more."""
        slept = self.clock.slept
        self.clock.turns.release()
        await until(lambda: self.clock.slept > slept)


@pytest.fixture
async def watched(stage: Stage, tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(stage, tmp_path, personal=True)
    async with running(watched.loop.run):
        await until(lambda: watched.clock.slept == 1)
        yield watched


async def test_a_personal_daemon_leaves_when_its_socket_is_gone(watched: Watched) -> None:
    await watched.turn()
    assert watched.left == []
    watched.socket.unlink()
    await watched.turn()
    assert watched.left == ["its socket is gone"]


async def test_a_personal_daemon_leaves_when_another_has_taken_its_socket(watched: Watched) -> None:
    await watched.turn()
    other = watched.socket.with_name("other")
    other.touch()
    other.rename(watched.socket)
    await watched.turn()
    assert watched.left == ["its socket is gone"]


async def test_a_personal_daemon_leaves_after_thirty_idle_minutes(watched: Watched) -> None:
    watched.monotonic = IDLE_S
    await watched.turn()
    assert watched.left == []
    watched.server.requests_under_way = 1
    watched.monotonic = IDLE_S + 1
    await watched.turn()
    assert watched.left == [], "somebody waits for an answer"
    watched.server.requests_under_way = 0
    await watched.turn()
    assert watched.left == ["nobody asked for 30 minutes"]


async def test_a_server_never_leaves_by_itself(stage: Stage, tmp_path: Path) -> None:
    watched = Watched(stage, tmp_path, personal=False)
    async with running(watched.loop.run):
        await until(lambda: watched.clock.slept == 1)
        watched.socket.unlink()
        watched.monotonic = IDLE_S * 100
        await watched.turn()
        assert watched.left == []


async def test_a_new_policy_and_a_broken_one_are_recorded_once(watched: Watched, stage: Stage, tmp_path: Path) -> None:
    policy = tmp_path / "resource-limits.yaml"
    policy.write_text("version: 2\ndefaults: {max_gpus: 7}\n")
    await watched.turn()
    assert watched.policy.current.defaults.values["max_gpus"] == 7
    policy.write_text("version: 2\ndefaults: {max_gpsu: 7000}\n")
    await watched.turn()
    await watched.turn()
    assert watched.policy.current.defaults.values["max_gpus"] == 7
    assert await stage.events() == ["policy.changed", "policy.rejected"]


async def test_the_folder_of_aime_that_a_new_policy_names_is_read_with_it(watched: Watched, tmp_path: Path) -> None:
    aime = tmp_path / "aime"
    aime.mkdir()
    (aime / AIME_LIST).write_text("Pytorch, 3.0, [CUDA_ADA], aimehub/pytorch-3.0\n")
    (aime / AIME_LIST).chmod(0o644)
    policy = tmp_path / "resource-limits.yaml"
    for text, is_there in ((f"catalogue: {{aime_dir: {aime}}}\n", True), ("", False)):
        policy.write_text(f"version: 2\n{text}")
        await watched.turn()
        assert any(row.image == "aimehub/pytorch-3.0" for row in watched.catalogue.current) == is_there


async def test_containers_are_brought_to_a_new_policy_until_that_is_done(watched: Watched, tmp_path: Path) -> None:
    asked: list[Policy] = []
    answers = [False, True]

    async def refresh(before: Policy) -> bool:
        asked.append(before)
        return answers[len(asked) - 1]

    first = watched.policy.current
    watched.loop.attend(changed=Bell().ring, is_needed=lambda: True, refresh=refresh)
    (tmp_path / "resource-limits.yaml").write_text("version: 2\ndefaults: {max_cpus: 1}\n")
    for _ in range(4):
        await watched.turn()
    assert asked == [first, first]


async def test_a_store_that_fails_does_not_end_the_watch(watched: Watched, stage: Stage, tmp_path: Path) -> None:
    def fail() -> None:
        raise BackendError("The disk is full.")

    stage.trap.arm(1, fail)
    (tmp_path / "resource-limits.yaml").write_text("version: 2\n")
    await watched.turn()
    assert await stage.events() == []
    await watched.turn()
    await watched.turn()
    assert watched.left == []
    assert await stage.events() == ["policy.changed"], "it is recorded as soon as that can be"


async def test_a_loop_that_fails_ends_the_daemon(caplog: pytest.LogCaptureFixture) -> None:
    left: list[str] = []

    async def broken() -> None:
        raise ZeroDivisionError

    async def done() -> None:
        await asyncio.sleep(0)

    await guard("broken", broken, left.append)
    await guard("done", done, left.append)
    assert left == ["the loop broken ended", "the loop done ended"]
    assert "ZeroDivisionError" in caplog.text


async def test_a_loop_that_is_cancelled_is_no_incident() -> None:
    left: list[str] = []
    task = asyncio.ensure_future(guard("waiting", asyncio.Event().wait, left.append))  # type: ignore[arg-type]  # as a loop
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert left == []
