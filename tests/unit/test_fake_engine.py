"""What tests may order from the fake engine; that it behaves as a real one is checked by the contract."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ds01.domain.containers.container import ContainerSpec, ContainerState
from ds01.domain.name import EngineName
from ds01.errors import BackendError
from ds01.service.ports import EngineEvent
from tests.fake_engine import FakeEngine

SPEC = ContainerSpec(
    engine_name=EngineName("work", 1000),
    image="image",
    uid=1000,
    gid=1000,
    entrypoint=("sleep", "9"),
    gpu_uuids=("GPU-1",),
)


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 5, 1, tzinfo=UTC)

    async def sleep(self, length: timedelta) -> None:
        raise AssertionError(length)


@pytest.fixture
def engine() -> FakeEngine:
    made = FakeEngine()
    made.add_image("image")
    return made


async def test_a_failure_that_was_ordered_comes_once_and_before_anything_is_done(engine: FakeEngine) -> None:
    engine.fail_next("create_container", BackendError("the disk is full"))
    with pytest.raises(BackendError, match="disk"):
        await engine.create_container(SPEC)
    assert await engine.list_containers() == []
    assert await engine.create_container(SPEC)
    assert engine.calls["create_container"] == 2


async def test_an_answer_can_be_lost_although_it_was_done(engine: FakeEngine) -> None:
    engine.fail_next("create_container", BackendError("the connection broke"), is_done=True)
    with pytest.raises(BackendError, match="broke"):
        await engine.create_container(SPEC)
    assert [row.name for row in await engine.list_containers()] == ["work._.1000"]


async def test_a_method_can_fail_until_it_is_healed(engine: FakeEngine) -> None:
    engine.fail_always("list_containers", BackendError("away"))
    for _ in range(3):
        with pytest.raises(BackendError):
            await engine.list_containers()
    engine.fail_always("list_containers", None)
    assert await engine.list_containers() == []


async def test_an_unreachable_engine_fails_everything(engine: FakeEngine) -> None:
    engine.unreachable = BackendError("no engine")
    for call in (
        engine.list_containers(),
        engine.find_container("work"),
        engine.get_info(),
        engine.find_image("image"),
    ):
        with pytest.raises(BackendError, match="no engine"):
            await call


async def test_a_call_can_be_held_while_others_go_on(engine: FakeEngine) -> None:
    gate = engine.hold("create_container")
    creating = asyncio.create_task(engine.create_container(SPEC))
    assert await engine.list_containers() == []
    assert not creating.done()
    gate.set()
    assert await creating


async def test_an_engine_can_make_something_else_than_was_asked_for(engine: FakeEngine) -> None:
    engine.alter_created = lambda details: replace(details, user="")
    assert (await engine.get_container(await engine.create_container(SPEC))).user == ""


async def test_pid_1_can_end_by_itself(engine: FakeEngine) -> None:
    container = await engine.create_container(SPEC)
    await engine.start_container(container)
    await engine.end_pid1(container, exit_code=137, is_oom_killed=True)
    details = await engine.get_container(container)
    assert (details.state, details.exit_code, details.is_oom_killed) == (ContainerState.EXITED, 137, True)
    await engine.close()


async def test_somebody_elses_container_can_be_put_there_and_stopped(engine: FakeEngine) -> None:
    container = await engine.create_container(SPEC)
    foreign = replace(await engine.get_container(container), id="f" * 64, name="plain", state=ContainerState.RUNNING)
    engine.add_container(foreign)
    assert {row.name for row in await engine.list_containers()} == {"work._.1000", "plain"}
    await engine.stop_container("plain", grace=timedelta(0))
    assert (await engine.get_container("plain")).state is ContainerState.EXITED


async def test_times_come_from_the_clock_and_never_repeat() -> None:
    engine = FakeEngine(clock=StoppedClock())
    engine.add_image("image")
    seen: list[EngineEvent] = []

    async def follow() -> None:
        async for event in engine.watch_events(since="0"):
            seen.append(event)  # noqa: PERF401 - it never ends

    follower = asyncio.create_task(follow())
    container = await engine.create_container(SPEC)
    await engine.start_container(container)
    await engine.remove_container(container, force=True)
    await engine.journal.break_watchers()
    with pytest.raises(BackendError, match="closed the connection"):
        await follower
    assert [event.action for event in seen] == ["create", "start", "kill", "die", "destroy"]
    assert seen[0].at == datetime(2026, 5, 1, tzinfo=UTC)
    assert len({event.cursor for event in seen}) == len(seen)
