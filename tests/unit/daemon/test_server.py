"""The request boundary: who asks, what is refused, and that a bug ends a request and not the daemon."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from ds01 import VERSION
from ds01.api import schema
from ds01.api.codec import MAX_BODY_BYTES
from ds01.daemon.identity import Identities, Peer, read_peer
from ds01.daemon.server import MalformedRequests
from ds01.domain.user import User
from ds01.errors import BackendError, ForbiddenError, NotFoundError
from tests.fakes import ALICE, ROOT
from tests.unit.daemon.house import ME, Answer, DressedAccounts, House, open_house
from tests.unit.service.stage import IMAGE, Stage


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


def problem_of(answer: Answer) -> schema.Problem:
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.headers["ds01-version"] == VERSION
    problem = msgspec.convert(answer.document, schema.Problem, strict=True)
    assert problem["status"] == answer.status
    return problem


async def test_the_caller_is_who_the_kernel_says(house: House) -> None:
    limits = (await house.ask("GET", "/v1/limits")).document
    assert (limits["user"], limits["uid"]) == ("alice", 1001)


def test_the_peer_is_read_from_the_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert read_peer(ours).uid == ME


async def test_who_has_no_account_is_refused_and_that_is_recorded(tmp_path: Path) -> None:
    async with open_house(tmp_path, user=None) as house:
        problem = problem_of(await house.ask("GET", "/v1/status"))
        assert (problem["status"], problem["code"], problem["exit_status"]) == (403, "forbidden", 4)
        events = await house.stage.store.read(lambda transaction: transaction.list_events())
        assert [(event.name, event.actor_uid) for event in events] == [("access.denied", ME)]


async def test_an_account_database_that_fails_is_no_refusal(tmp_path: Path) -> None:
    class Broken(DressedAccounts):
        def get_user(self, uid: int) -> User:
            raise BackendError(f"LDAP did not answer for {uid}.")

    async with open_house(tmp_path) as house:
        house.stage.accounts = Broken(None)
        limits = house.stage.services.limits
        identities = Identities(house.stage.accounts, limits, only_uid=None)
        with pytest.raises(BackendError):
            await identities.caller(Peer(1, 1001, 1001))
        assert await identities.name(1001) == "1001"


async def test_an_account_is_believed_for_a_while() -> None:
    accounts = DressedAccounts(ALICE)
    now = [0.0]
    identities = Identities(accounts, Stage().services.limits, only_uid=None, monotonic=lambda: now[0])
    for now[0] in (0.0, 5.0, 9.9):
        assert (await identities.user(ME)).name == "alice"
    assert accounts.lookups == 1
    now[0] = 10.0
    accounts.me = None
    with pytest.raises(NotFoundError):
        await identities.user(ME)
    assert await identities.names([ME, None, 1002, 1002]) == {ME: str(ME), 1002: "bob"}
    assert await identities.name(None) == ""


async def test_a_personal_daemon_serves_its_user_and_root() -> None:
    accounts = DressedAccounts(ALICE)
    identities = Identities(accounts, Stage().services.limits, only_uid=1001)
    assert (await identities.caller(Peer(1, 1001, 1001))).uid == 1001
    assert (await identities.caller(Peer(1, 0, 0))).pid == 1
    with pytest.raises(ForbiddenError):
        await identities.caller(Peer(1, 1002, 1002))


async def test_a_server_trusts_no_number_that_comes_from_inside_a_container() -> None:
    accounts, limits = DressedAccounts(ROOT), Stage().services.limits
    server = Identities(accounts, limits, only_uid=None)
    with pytest.raises(ForbiddenError, match="inside a container"):
        await server.caller(Peer(1, ME, ME, is_in_container=True))
    assert (await server.caller(Peer(1, ME, ME, is_in_container=False))).is_admin
    gone = await server.caller(Peer(1, ME, ME, is_in_container=None))
    assert (gone.user.name, gone.is_admin) == ("root", False)
    personal = Identities(accounts, limits, only_uid=ME)
    assert (await personal.caller(Peer(1, ME, ME, is_in_container=True))).user.name == "root"


async def test_a_malformed_request_is_one_line_of_the_log_without_a_trace(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("aiohttp.server")
    quiet = MalformedRequests()
    logger.addFilter(quiet)
    try:
        reader, writer = await asyncio.open_unix_connection(str(house.path))
        writer.write(b"GET /v1/status HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.0 400")
        writer.close()
    finally:
        logger.removeFilter(quiet)
    (record,) = [record for record in caplog.records if record.name == "aiohttp.server"]
    assert record.exc_info is None
    assert record.getMessage().startswith("malformed request: ")
    assert len(record.getMessage()) < 300


@pytest.mark.parametrize(
    "target", ["/", "/v2/status", "/v1/containers/a/b/c", "/v1/status/", "/v1/exec", "/%2e%2e/etc"]
)
async def test_an_unknown_route_is_a_problem_that_says_where_to_look(house: House, target: str) -> None:
    problem = problem_of(await house.ask("GET", target))
    assert problem["status"] == 404
    assert "openapi.json" in problem["hint"]


@pytest.mark.parametrize(
    ("method", "target", "takes"),
    [
        ("DELETE", "/v1/status", "GET"),
        ("PUT", "/v1/containers/demo", "GET and DELETE"),
        ("GET", "/v1/containers/demo/start", "POST"),
        ("PATCH", "/v1/containers", "GET and POST"),
        ("HEAD", "/v1/status", "GET"),
    ],
)
async def test_a_wrong_method_says_the_right_one(house: House, method: str, target: str, takes: str) -> None:
    reader, writer = await asyncio.open_unix_connection(str(house.path))
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 400 ")
    if method != "HEAD":
        assert json.loads(body)["detail"].endswith(f"but {takes}.")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{", "not JSON"),
        (b'{"name": "a", "name": "b"}', "repeated"),
        (b'{"name": 7, "image": "x"}', "name"),
        (b'{"image": "x"}', "name"),
        (b"[]", "does not fit"),
        (b'{"name": "a", "cpus": NaN}', "NaN"),
        (b'\xff{"name": "a"}', "UTF-8"),
        (b"[" * 100_000, "nested"),
        (b'{"name": "a", "framwork": "pytorch"}', "'framwork'"),
    ],
)
async def test_a_malformed_body_is_refused_and_nothing_is_made(house: House, raw: bytes, said: str) -> None:
    before = await house.stage.picture()
    problem = problem_of(await house.ask("POST", "/v1/containers", raw=raw))
    assert (problem["status"], problem["code"]) == (400, "invalid_request")
    assert said in problem["detail"]
    assert await house.stage.picture() == before


async def test_an_unknown_field_names_the_nearest(house: House) -> None:
    problem = problem_of(await house.ask("POST", "/v1/containers", {"name": "a", "framwork": "pytorch"}))
    assert problem["hint"] == "Did you mean 'framework'?"
    problem = problem_of(await house.ask("POST", "/v1/containers", {"name": "a", "gpu": {"cuont": 1}}))
    assert "'gpu.cuont'" in problem["detail"]


async def test_a_body_that_is_too_large_is_refused(house: House) -> None:
    problem = problem_of(await house.ask("POST", "/v1/containers", raw=b" " * (MAX_BODY_BYTES + 1)))
    assert problem["status"] == 400
    assert "larger" in problem["detail"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/v1/containers?all=perhaps", "all=perhaps"),
        ("/v1/containers?uid=-1", "uid=-1"),
        ("/v1/containers?uid=", "uid="),
        ("/v1/containers?uid=99999999999", "uid=99999999999"),
        ("/v1/containers?uid=%D9%A3", "whole number"),
        ("/v1/containers?all=1&all=1", "repeated"),
        ("/v1/containers?al=1", "'al'"),
    ],
)
async def test_a_malformed_parameter_is_refused_by_its_name(house: House, target: str, said: str) -> None:
    problem = problem_of(await house.ask("GET", target))
    assert problem["status"] == 400
    assert said in problem["detail"] + problem.get("hint", "")


@pytest.mark.parametrize("text", ["1", "true", "Yes"])
async def test_a_flag_is_said_in_several_ways(house: House, text: str) -> None:
    await house.stage.create(count=0)
    assert "inspect" in (await house.ask("GET", f"/v1/containers/demo?inspect={text}")).document


async def test_a_bug_is_a_problem_and_the_daemon_lives(house: House, caplog: pytest.LogCaptureFixture) -> None:
    def break_it() -> None:
        raise ZeroDivisionError("a secret of the daemon")

    house.stage.trap.arm(1, break_it)
    problem = problem_of(await house.ask("GET", "/v1/containers"))
    assert (problem["status"], problem["exit_status"]) == (500, 1)
    assert "ZeroDivisionError" in problem["detail"]
    assert "secret" not in json.dumps(problem)
    assert "a secret of the daemon" in caplog.text
    assert (await house.ask("GET", "/v1/containers")).status == 200


async def test_a_bug_in_the_middle_of_a_creation_undoes_it_and_is_its_last_line(house: House) -> None:
    before = await house.stage.picture()

    def break_it() -> None:
        raise ZeroDivisionError

    house.stage.trap.arm(30, break_it)
    answer = await house.ask("POST", "/v1/containers", {"name": "a", "image": IMAGE}, accept="application/x-ndjson")
    assert answer.lines[-1]["problem"]["status"] == 500
    assert await house.stage.picture() == before


async def test_a_failure_in_the_middle_of_bytes_breaks_them_off(house: House) -> None:
    container = await house.stage.create(count=0)
    house.stage.engine.containers[container].logs += b"half\nother half\n"
    house.stage.engine.logs_end = BackendError("The engine closed the connection.")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
        await house.ask("GET", "/v1/containers/demo/logs")
    house.stage.engine.logs_end = None
    assert (await house.ask("GET", "/v1/containers/demo/logs")).body == b"half\nother half\n"


async def test_refusals_are_recorded_and_the_same_one_once_a_minute(house: House) -> None:
    for _ in range(3):
        await house.ask("GET", "/v1/containers?uid=1002")
        await house.ask("POST", "/v1/containers", {"name": "a", "image": IMAGE, "gpu": {"count": 3}})
    events = await house.stage.store.read(lambda transaction: transaction.list_events())
    assert [(event.name, event.uid, event.actor_uid) for event in events] == [
        ("access.denied", 1001, 1001),
        ("limit.reached", 1001, 1001),
    ]
    assert events[1].details["limit"] == "max_gpus_per_container"
    house.stage.clock.advance(timedelta(minutes=1))
    await house.ask("GET", "/v1/containers?uid=1002")
    assert (await house.stage.events()).count("access.denied") == 2


async def test_a_refusal_in_a_stream_is_recorded_too(house: House) -> None:
    body = {"name": "a", "image": IMAGE, "gpu": {"count": 3}}
    await house.ask("POST", "/v1/containers", body, accept="application/x-ndjson")
    assert await house.stage.events() == ["limit.reached"]


async def test_a_store_that_fails_does_not_change_a_refusal(house: House) -> None:
    def fail() -> None:
        raise BackendError("The disk is full.")

    house.stage.trap.arm(1, fail)
    assert (await house.ask("GET", "/v1/containers?uid=1002")).status == 403


async def test_requests_are_counted_while_they_run(house: House) -> None:
    gate = house.stage.engine.hold("list_containers")
    task = asyncio.ensure_future(house.ask("GET", "/v1/containers"))
    while not house.server.requests_under_way:  # noqa: ASYNC110 - a counter has no event
        await asyncio.sleep(0.001)
    waiting = asyncio.ensure_future(house.server.wait_until_idle())
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()
    await task
    await asyncio.wait_for(waiting, 5)
    assert house.server.requests_under_way == 0


async def test_only_a_personal_daemon_or_root_may_end_it(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        assert (await house.ask("POST", "/v1/shutdown")).status == 403
        assert house.left == []
    async with open_house(tmp_path, user=ROOT) as house:
        assert (await house.ask("POST", "/v1/shutdown")).status == 200
        assert house.left == ["a client asked"]
    async with open_house(tmp_path, personal=True) as house:
        assert (await house.ask("POST", "/v1/shutdown")).status == 200
        assert house.left == ["a client asked"]
