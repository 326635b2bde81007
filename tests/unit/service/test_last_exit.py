"""Stopping after the last session: only when the policy says so, and only when nobody and nothing is left."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ds01.errors import BackendError
from ds01.service.last_exit import LOOKS, REASON
from ds01.service.ports import ExecSpec
from ds01.service.sessions import Session, SessionOrder
from tests.fake_engine import FakeProcess
from tests.fake_engine.programs import ProgramStream
from tests.fake_store import MemoryStore
from tests.unit.service.stage import ALICE_CALLER, Stage, until


async def shell(process: FakeProcess) -> int:
    """A program that runs until something is typed."""
    await process.read()
    return 0


class Floor(Stage):
    """The stage with the streams that are open on it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.streams: list[ProgramStream] = []


@pytest.fixture
async def stage() -> AsyncIterator[Floor]:
    stage = Floor()
    stage.policy = replace(stage.policy, base=replace(stage.policy.base, stop_on_last_exit=True))
    stage.add_image()
    stage.engine.programs["/bin/bash"] = shell
    stage.engine.programs["train"] = shell
    await stage.create()
    await stage.start()
    yield stage
    for stream in stage.streams:
        stream.close()
    await stage.engine.close()


class Shell:
    """One open session."""

    def __init__(self, stage: Floor, session: Session) -> None:
        self._stage = stage
        self.session = session

    @classmethod
    async def open(cls, stage: Floor, *, is_interactive: bool = True) -> "Shell":
        order = SessionOrder(has_terminal=is_interactive, has_stdin=True)
        opened = cls(stage, await stage.services.sessions.prepare(ALICE_CALLER, 1001, "demo", order))
        stream = await stage.services.sessions.start(opened.session)
        assert isinstance(stream, ProgramStream)
        stage.streams.append(stream)
        return opened

    async def leave(self) -> None:
        """The program ends, and the engine's event comes."""
        await self.end()
        self.tell()

    async def end(self) -> None:
        """The program ends; nobody has been told yet."""
        found = self._stage.engine.execs[self.session.exec_id]
        assert found.process is not None
        found.process.stdin.put_nowait(b"exit\n")
        await until(lambda: found.exit_code is not None)

    def tell(self) -> None:
        self._stage.services.last_exit.ended(self.session.exec_id)


def state(stage: Floor) -> str:
    return next(iter(stage.engine.containers.values())).details.state.value


async def settle(stage: Floor) -> None:
    """Let every look happen; the clock is turned as far as the pauses between them."""
    waiting = asyncio.ensure_future(stage.services.last_exit.wait())
    for _ in range(LOOKS * 200):
        await asyncio.sleep(0)
    await waiting


async def test_the_last_shell_takes_the_container_with_it(stage: Floor) -> None:
    opened = await Shell.open(stage)
    await opened.leave()
    await settle(stage)
    assert state(stage) == "exited"
    assert await stage.states() == {"demo": "held"}
    events = await MemoryStore.read(stage.store, lambda transaction: transaction.list_events())
    assert [event.details["reason"] for event in events if event.name == "container.stopped"] == [REASON]


async def test_without_the_policy_it_goes_on(stage: Floor) -> None:
    stage.policy = replace(stage.policy, base=replace(stage.policy.base, stop_on_last_exit=False))
    opened = await Shell.open(stage)
    await opened.leave()
    await settle(stage)
    assert state(stage) == "running"


async def test_another_shell_keeps_it_up_until_it_ends_too(stage: Floor) -> None:
    first, second = await Shell.open(stage), await Shell.open(stage)
    await first.leave()
    await settle(stage)
    assert state(stage) == "running"
    await second.leave()
    await settle(stage)
    assert state(stage) == "exited"


async def test_a_program_that_others_started_keeps_it_up(stage: Floor) -> None:
    container = next(iter(stage.engine.containers))
    opened = await Shell.open(stage)
    running = await stage.engine.create_exec(container, ExecSpec(("train",), has_stdin=True))
    stage.streams.append(await stage.engine.start_exec(running, has_terminal=False))
    await opened.leave()
    await settle(stage)
    assert state(stage) == "running"


async def test_the_end_of_a_command_is_no_last_exit(stage: Floor) -> None:
    opened = await Shell.open(stage, is_interactive=False)
    await opened.leave()
    await settle(stage)
    assert state(stage) == "running"


async def test_a_shell_that_is_prepared_meanwhile_keeps_it_up(stage: Floor) -> None:
    opened = await Shell.open(stage)
    await opened.end()
    order = SessionOrder(has_terminal=True, has_stdin=True)
    await stage.services.sessions.prepare(ALICE_CALLER, 1001, "demo", order)
    opened.tell()
    await settle(stage)
    assert state(stage) == "running"


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_a_shell_opened_at_any_moment_is_never_killed(stage: Floor, turns: int) -> None:
    first = await Shell.open(stage)
    await first.end()
    first.tell()
    for _ in range(turns):
        await asyncio.sleep(0)
    opening = asyncio.ensure_future(Shell.open(stage))
    await asyncio.wait({opening})
    await settle(stage)
    if opening.exception() is None:
        assert state(stage) == "running", "a shell was opened, and its container was stopped under it"
        assert stage.engine.execs[opening.result().session.exec_id].exit_code is None
    else:
        assert state(stage) == "exited", opening.exception()


async def test_an_end_that_was_never_told_does_not_keep_it_up(stage: Floor) -> None:
    first, second = await Shell.open(stage), await Shell.open(stage)
    await first.end()
    await second.leave()
    await settle(stage)
    assert state(stage) == "exited"


async def test_an_engine_that_fails_leaves_it_running(stage: Floor) -> None:
    opened = await Shell.open(stage)
    stage.engine.fail_next("list_processes", BackendError("gone"))
    await opened.leave()
    await settle(stage)
    assert state(stage) == "running"
