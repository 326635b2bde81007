"""Programs in containers: whose they are, when they may run, and as whom."""

import asyncio
from dataclasses import replace

import pytest

from ds01.domain.containers.container import ContainerState
from ds01.domain.rules.access import Caller
from ds01.domain.rules.policy import LimitLayer, UserOverride
from ds01.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service import sessions
from ds01.service.sessions import Session, SessionOrder
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import ADMIN_CALLER, ALICE_CALLER, BOB_CALLER, Stage, run_to_failure, until


@pytest.fixture
async def stage() -> Stage:
    stage = Stage()
    stage.add_image()
    await stage.create(count=0)
    await stage.start()
    return stage


async def prepare(
    stage: Stage, *command: str, caller: Caller = ALICE_CALLER, uid: int = 1001, as_root: bool = False
) -> Session:
    return await stage.services.sessions.prepare(caller, uid, "demo", SessionOrder(tuple(command), as_root=as_root))


async def test_without_a_command_it_is_the_login_shell_of_the_account_inside(stage: Stage) -> None:
    assert (await prepare(stage)).command == ("/bin/bash",)


async def test_a_container_that_names_no_shell_gets_sh(stage: Stage) -> None:
    stage.engine.add_container(docker_made("plain._.1001", state=ContainerState.RUNNING))
    session = await stage.services.sessions.prepare(ALICE_CALLER, 1001, "plain", SessionOrder())
    assert session.command == ("sh",)
    assert stage.engine.execs[session.exec_id].spec.user == "1001:1001"


async def test_a_program_runs_as_the_owner_with_their_group(stage: Stage) -> None:
    session = await prepare(stage, "true")
    assert stage.engine.execs[session.exec_id].spec.user == "1001:1001"


async def test_root_is_given_where_the_policy_gives_sudo(stage: Stage) -> None:
    session = await prepare(stage, "true", as_root=True)
    assert stage.engine.execs[session.exec_id].spec.user == "0:0"


async def test_root_is_refused_where_the_policy_says_no_sudo(stage: Stage) -> None:
    stage.policy = replace(stage.policy, base=replace(stage.policy.base, sudo=False))
    made = len(stage.engine.execs)
    failure = await run_to_failure(prepare(stage, "true", as_root=True))
    assert isinstance(failure, ForbiddenError)
    assert len(stage.engine.execs) == made
    await prepare(stage, "true")


async def test_the_owners_policy_decides_and_not_the_callers(stage: Stage) -> None:
    without = UserOverride(layer=LimitLayer({"sudo": False}))
    stage.policy = replace(stage.policy, overrides={"alice": without})
    assert isinstance(await run_to_failure(prepare(stage, "true", as_root=True)), ForbiddenError)
    session = await prepare(stage, "true", caller=ADMIN_CALLER, as_root=True)
    assert stage.engine.execs[session.exec_id].spec.user == "0:0"


async def test_what_an_administrator_prepared_cannot_be_started_by_the_owner(stage: Stage) -> None:
    session = await prepare(stage, "true", caller=ADMIN_CALLER, as_root=True)
    with pytest.raises(NotFoundError):
        stage.services.sessions.get_session(1001, session.exec_id)
    assert stage.services.sessions.get_session(0, session.exec_id) == session


async def test_a_session_of_somebody_else_does_not_exist(stage: Stage) -> None:
    session = await prepare(stage, "true")
    for uid, exec_id in ((1002, session.exec_id), (1001, "0" * 64), (1001, "")):
        with pytest.raises(NotFoundError):
            stage.services.sessions.get_session(uid, exec_id)


async def test_a_container_of_somebody_else_does_not_exist(stage: Stage) -> None:
    work = stage.services.sessions.prepare(BOB_CALLER, 1002, "demo", SessionOrder(("true",)))
    assert isinstance(await run_to_failure(work), NotFoundError)


@pytest.mark.parametrize("state", [state for state in ContainerState if state is not ContainerState.RUNNING])
async def test_only_a_running_container_runs_programs(stage: Stage, state: ContainerState) -> None:
    next(iter(stage.engine.containers.values())).change(state=state)
    failure = await run_to_failure(prepare(stage, "true"))
    assert isinstance(failure, ConflictError)
    assert failure.hint is not None
    assert isinstance(await run_to_failure(stage.services.sessions.processes(1001, "demo")), ConflictError)


@pytest.mark.parametrize(
    "wanted",
    [
        SessionOrder(("a",) * 5000),
        SessionOrder(("a\0b",)),
        SessionOrder(("",)),
        SessionOrder(("a",), working_dir="relative"),
        SessionOrder(("a",), working_dir="/a\0"),
        SessionOrder(("a",), environment={"A=B": "c"}),
        SessionOrder(("a",), environment={"": "c"}),
        SessionOrder(("a",), environment={"A": "c\0"}),
    ],
)
async def test_an_order_that_cannot_be_is_refused(stage: Stage, wanted: SessionOrder) -> None:
    work = stage.services.sessions.prepare(ALICE_CALLER, 1001, "demo", wanted)
    assert isinstance(await run_to_failure(work), InvalidRequestError)


async def test_a_program_is_started_and_its_end_is_known(stage: Stage) -> None:
    session = await prepare(stage, "echo", "hello")
    stream = await stage.services.sessions.start(session)
    await until(lambda: stage.engine.execs[session.exec_id].exit_code is not None)
    assert (await stage.services.sessions.get_state(session)).exit_code == 0
    stream.close()


async def test_a_terminal_is_resized_while_its_program_runs_and_not_after(stage: Stage) -> None:
    session = await prepare(stage, "sleep", "9")
    stream = await stage.services.sessions.start(session)
    await asyncio.sleep(0)
    await stage.services.sessions.resize(session, rows=40, columns=120)
    assert stage.engine.execs[session.exec_id].size == (40, 120)
    await stage.stop()
    await stage.services.sessions.resize(session, rows=1, columns=1)
    assert stage.engine.execs[session.exec_id].size == (40, 120)
    stream.close()


@pytest.mark.parametrize(("rows", "columns"), [(0, 80), (24, 0), (-1, 80), (10_001, 80)])
async def test_a_terminal_of_no_size_is_refused(stage: Stage, rows: int, columns: int) -> None:
    session = await prepare(stage, "true")
    work = stage.services.sessions.resize(session, rows=rows, columns=columns)
    assert isinstance(await run_to_failure(work), InvalidRequestError)


async def test_of_too_many_sessions_a_user_loses_the_oldest_own_one(stage: Stage) -> None:
    service = stage.services.sessions
    theirs = await prepare(stage, "true", caller=ADMIN_CALLER)
    own = [Session(f"{number}", 1001, "demo", (), has_terminal=False) for number in range(sessions.MAX_SESSIONS + 1)]
    for session in own:
        service._remember(session)
    with pytest.raises(NotFoundError):
        service.get_session(1001, "0")
    assert service.get_session(1001, "1") == own[1]
    assert service.get_session(0, theirs.exec_id) == theirs


async def test_logs_are_those_of_an_own_container(stage: Stage) -> None:
    container = next(iter(stage.engine.containers.values()))
    container.logs += b"one\ntwo\n"
    chunks = await stage.services.sessions.logs(1001, "demo", follow=False, tail=1, timestamps=False)
    assert [chunk async for chunk in chunks] == [b"two\n"]
    work = stage.services.sessions.logs(1002, "demo", follow=False, tail=None, timestamps=False)
    assert isinstance(await run_to_failure(work), NotFoundError)
    work = stage.services.sessions.logs(1001, "demo", follow=False, tail=-1, timestamps=False)
    assert isinstance(await run_to_failure(work), InvalidRequestError)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\nb", "x" * 300, "demo._.1001"])
async def test_odd_names_are_not_found_and_ask_nothing_strange_of_the_engine(stage: Stage, name: str) -> None:
    work = stage.services.sessions.processes(1001, name)
    assert isinstance(await run_to_failure(work), NotFoundError)


async def test_a_display_is_shared_where_the_owners_policy_allows_it(stage: Stage) -> None:
    order = SessionOrder(("true",), shares_display=True)
    made = len(stage.engine.execs)
    refused = await run_to_failure(stage.services.sessions.prepare(ALICE_CALLER, 1001, "demo", order))
    assert isinstance(refused, ForbiddenError)
    assert "devices without x11" in refused.message
    assert len(stage.engine.execs) == made
    stage.policy = replace(stage.policy, base=replace(stage.policy.base, devices=("x11",)))
    await stage.services.sessions.prepare(ALICE_CALLER, 1001, "demo", order)
