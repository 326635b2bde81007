"""The client against a scripted daemon on a real socket."""

import inspect
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from ds01.api.location import Location
from ds01.api.place import Place
from ds01.api.route import Route
from ds01.api.routes import ROUTES
from ds01.client import Client
from ds01.client.frames import STDERR, STDOUT, FrameReader
from ds01.client.transport import is_compatible
from ds01.errors import (
    DaemonUnreachableError,
    Ds01Error,
    InvalidRequestError,
    NoCapacityError,
    NotFoundError,
)
from tests.unit.scripted_daemon import UPGRADED, Request, ScriptedDaemon, chunk, http, line, ok, problem, stream_head

STATUS = {"schema_version": 1, "version": "0.1.0"}
HEAD = "HTTP/1.1 200 OK\r\n"
NAME_ARGUMENTS: dict[str, Any] = {
    "name": "my-project",
    "exec_id": "e1",
    "path": "/workspace",
    "pieces": iter([b"x"]),
    "body": {},
    "rows": 24,
    "columns": 80,
    "selection": {},
    "request": "r1",
    "gpu": "0:1",
    "reservation": "exam",
    "image": "thesis",
}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    with ScriptedDaemon(tmp_path / "api.sock", {"GET /v1/status": ok(STATUS)}) as running:
        yield running


@pytest.fixture
def client(daemon: ScriptedDaemon) -> Client:
    return Client(daemon.location)


def drip(data: bytes) -> Callable[[Request, socket.socket], None]:
    """Send an answer byte by byte, so that every boundary is cut."""

    def send(_request: Request, connection: socket.socket) -> None:
        for position in range(len(data)):
            connection.sendall(data[position : position + 1])

    return send


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: cast("Route", route).name)
def test_every_route_has_a_method_of_its_name_that_asks_for_its_path(
    route: Route, daemon: ScriptedDaemon, client: Client
) -> None:
    path = re.sub(r"\{(\w+)\}", lambda match: str(NAME_ARGUMENTS[match[1]]).replace(":", "%3A"), route.path)
    answers = {"json": ok({}), "stream": ok({}), "bytes": http(200, b"x"), "upgrade": UPGRADED}
    daemon.answers[f"{route.method} {path}"] = answers[route.answer_kind]
    method = getattr(client, route.name)
    wanted = [
        name for name, item in inspect.signature(method).parameters.items() if item.kind is item.POSITIONAL_OR_KEYWORD
    ]
    result = method(**{name: NAME_ARGUMENTS[name] for name in wanted})
    if route.answer_kind == "bytes":
        assert b"".join(result) == b"x"
    elif route.answer_kind == "upgrade":
        result.close()
    assert daemon.requests[-1].method == route.method
    assert daemon.requests[-1].path == path
    if route.body is not None:
        assert daemon.requests[-1].headers["content-type"] == "application/json"


def test_parameters_are_encoded_and_defaults_stay_away(daemon: ScriptedDaemon, client: Client) -> None:
    daemon.answers["GET /v1/containers/a%2Fb%20%3F"] = ok({})
    client.get_container("a/b ?", inspect=True, uid=1001)
    daemon.answers["GET /v1/containers"] = ok({"containers": []})
    client.list_containers()
    assert daemon.asked() == ["GET /v1/containers/a%2Fb%20%3F?inspect=true&uid=1001", "GET /v1/containers"]


def test_an_answer_cut_at_every_byte_is_read(daemon: ScriptedDaemon, client: Client) -> None:
    document = {"containers": [{"name": "ä" * 50}]}
    text = json.dumps(document, ensure_ascii=False).encode()
    daemon.answers["GET /v1/containers"] = drip(
        stream_head("application/json") + chunk(text[:60]) + chunk(text[60:]) + chunk(b"")
    )
    assert dict(client.list_containers()) == document
    daemon.answers["GET /v1/containers"] = drip(http(200, text))
    assert dict(client.list_containers()) == document


def test_an_answer_without_a_length_ends_with_the_connection(daemon: ScriptedDaemon, client: Client) -> None:
    daemon.answers["GET /v1/gpus"] = b'HTTP/1.0 200\r\n\r\n{"gpus": []}'
    assert client.list_gpus()["gpus"] == []


def test_informational_answers_are_passed_over(daemon: ScriptedDaemon, client: Client) -> None:
    daemon.answers["GET /v1/gpus"] = b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + ok({"gpus": []})
    assert client.list_gpus()["gpus"] == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n",
        b"hello\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200 OK\r\n\r\n{}",
        b"HTTP/1.1 20 OK\r\n\r\n{}",
        b"HTTP/1.1 2000 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\n\n{}",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{{{{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000,
    ],
)
def test_an_answer_that_is_garbled_or_cut_off_is_an_error_in_words(
    answer: bytes, daemon: ScriptedDaemon, client: Client
) -> None:
    daemon.answers["GET /v1/gpus"] = answer
    with pytest.raises(DaemonUnreachableError) as caught:
        client.list_gpus()
    assert str(daemon.socket_path) in caught.value.message
    assert caught.value.exit_status == 7


def test_a_daemon_that_does_not_answer_is_given_up_after_the_timeout(daemon: ScriptedDaemon) -> None:
    released = threading.Event()

    def wait(_request: Request, _connection: socket.socket) -> None:
        released.wait(10)

    daemon.answers["GET /v1/gpus"] = wait
    try:
        with pytest.raises(DaemonUnreachableError, match="did not answer in time"):
            Client(daemon.location, timeout_s=0.05).list_gpus()
    finally:
        released.set()


def test_a_problem_document_becomes_the_error_it_describes(daemon: ScriptedDaemon, client: Client) -> None:
    daemon.answers["POST /v1/containers"] = problem(409, "no_capacity", "Too few free GPUs.", "Wait.")
    with pytest.raises(NoCapacityError) as caught:
        client.create_container({"name": "my-project"})
    assert (caught.value.message, caught.value.hint, caught.value.exit_status) == ("Too few free GPUs.", "Wait.", 5)


def test_an_error_that_is_no_problem_document_is_still_an_error(daemon: ScriptedDaemon, client: Client) -> None:
    daemon.answers["GET /v1/gpus"] = http(500, b"Traceback: boom\nmore", kind="text/plain")
    with pytest.raises(Ds01Error, match="answered 500: Traceback: boom"):
        client.list_gpus()


def test_a_name_that_is_not_utf_8_is_refused_before_it_is_sent(daemon: ScriptedDaemon, client: Client) -> None:
    with pytest.raises(InvalidRequestError, match="not UTF-8"):
        client.create_container({"name": "a", "workspace": "/home/alice/\udcff"})
    assert "POST /v1/containers" not in daemon.asked()


def test_the_progress_of_a_creation_ends_with_its_result(daemon: ScriptedDaemon, client: Client) -> None:
    messages = [{"kind": "step", "message": "a"}, {"kind": "pull", "layer": "x", "current_bytes": 1, "total_bytes": 2}]
    result = {"kind": "result", "result": {"dry_run": False}}
    daemon.answers["POST /v1/containers"] = drip(stream_head() + b"".join(map(line, [*messages, result])) + chunk(b""))
    assert list(client.stream_creation({"name": "a"})) == [*messages, result]
    assert daemon.requests[-1].headers["accept"] == "application/x-ndjson"


def test_a_creation_that_fails_half_way_raises_its_problem(daemon: ScriptedDaemon, client: Client) -> None:
    bad = {"kind": "problem", "problem": {"code": "not_found", "detail": "No such image."}}
    daemon.answers["POST /v1/containers"] = (
        stream_head() + line({"kind": "step", "message": "a"}) + line(bad) + chunk(b"")
    )
    messages = client.stream_creation({"name": "a"})
    assert next(messages)["kind"] == "step"
    with pytest.raises(NotFoundError, match="No such image"):
        next(messages)


@pytest.mark.parametrize("end", [chunk(b""), b"", chunk(b'{"kind": "res') + chunk(b""), chunk(b"no json\n")])
def test_a_creation_whose_stream_ends_without_a_result_is_an_error(
    end: bytes, daemon: ScriptedDaemon, client: Client
) -> None:
    daemon.answers["POST /v1/containers"] = stream_head() + line({"kind": "step", "message": "a"}) + end
    with pytest.raises(DaemonUnreachableError):
        list(client.stream_creation({"name": "a"}))


def test_leaving_a_creation_closes_its_connection(daemon: ScriptedDaemon, client: Client) -> None:
    seen = threading.Event()

    def create(_request: Request, connection: socket.socket) -> None:
        connection.sendall(stream_head() + line({"kind": "step", "message": "a"}))
        if connection.recv(1) == b"":
            seen.set()

    daemon.answers["POST /v1/containers"] = create
    messages = cast("Any", client.stream_creation({"name": "a"}))
    next(messages)
    messages.close()
    assert seen.wait(5)


def test_logs_are_bytes_as_they_come(daemon: ScriptedDaemon, client: Client) -> None:
    daemon.answers["GET /v1/containers/a/logs"] = (
        stream_head("application/octet-stream") + chunk(b"\xff\0") + chunk(b"x") + chunk(b"")
    )
    assert b"".join(client.get_logs("a", tail=3, follow=True)) == b"\xff\0x"
    assert daemon.asked() == ["GET /v1/containers/a/logs?follow=true&tail=3"]


def test_after_an_upgrade_the_connection_is_the_programs(daemon: ScriptedDaemon, client: Client) -> None:
    def serve(_request: Request, connection: socket.socket) -> None:
        connection.sendall(UPGRADED + b"early ")  # output that comes together with the head is not lost
        received = b""
        while piece := connection.recv(100):
            received += piece
        connection.sendall(received.upper())

    daemon.answers["POST /v1/exec/e1/start"] = serve
    stream = client.start_exec("e1")
    stream.send(b"typed")
    stream.close_sending()
    output = b""
    while piece := stream.receive():
        output += piece
    stream.close()
    assert output == b"early TYPED"
    assert daemon.requests[-1].headers["upgrade"] == "ds01-stream"


def test_a_stream_that_is_not_upgraded_is_an_error(daemon: ScriptedDaemon, client: Client) -> None:
    daemon.answers["POST /v1/exec/e1/start"] = ok({})
    with pytest.raises(DaemonUnreachableError, match="answered 200"):
        client.start_exec("e1")


def test_the_daemon_is_asked_for_its_version_before_anything_is_changed(daemon: ScriptedDaemon, client: Client) -> None:
    daemon.answers["POST /v1/containers/a/start"] = ok({})
    client.start_container("a")
    client.start_container("a")
    assert daemon.asked() == ["GET /v1/status", *["POST /v1/containers/a/start"] * 2]


def test_a_server_daemon_of_a_far_version_is_refused_before_anything_is_changed(
    daemon: ScriptedDaemon, client: Client
) -> None:
    daemon.answers["GET /v1/status"] = ok(STATUS).replace(b"DS01-Version: 0.1.0", b"DS01-Version: 0.9.0")
    with pytest.raises(DaemonUnreachableError, match=r"is 0\.9\.0"):
        client.start_container("a")
    assert daemon.asked() == ["GET /v1/status"]


@pytest.mark.parametrize(
    ("ours", "theirs", "fits"),
    [
        ("1.4.0", "1.5.9", True),
        ("1.4.0", "1.3.0", True),
        ("1.4.0", "1.6.0", False),
        ("1.4.0", "2.4.0", False),
        ("1.4.0", "x", False),
    ],
)
def test_versions_may_differ_by_one_minor(ours: str, theirs: str, *, fits: bool) -> None:
    assert is_compatible(ours, theirs) is fits


def test_a_server_without_a_daemon_is_an_error_that_starts_nothing(tmp_path: Path) -> None:
    def launcher(_location: Location | Place) -> None:
        raise AssertionError("a second daemon must never be started")

    location = Location(tmp_path / "api.sock", tmp_path, tmp_path, is_personal=False)
    with pytest.raises(DaemonUnreachableError, match="nothing is there"):
        Client(location, launcher=launcher).get_status()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(location.socket))
    stale.close()
    with pytest.raises(DaemonUnreachableError, match="nobody listens"):
        Client(location, launcher=launcher).get_status()


def test_the_client_is_cheap_to_import() -> None:
    code = "import sys, ds01.client; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    heavy = {
        "asyncio",
        "http",
        "email",
        "urllib",
        "ssl",
        "socket",
        "dataclasses",
        "typing",
        "pathlib",
        "click",
        "msgspec",
        "subprocess",
    }
    assert not heavy & set(answer.stdout.split())


def test_frames_are_told_apart_wherever_they_are_cut() -> None:
    data = b"\1\0\0\0\0\0\0\3out" + b"\2\0\0\0\0\0\0\0" + b"\2\0\0\0\0\0\0\4oops" + b"\1\0\0\0\0\0\1\0" + b"x" * 256
    for size in (1, 2, 3, 7, 8, 9, 11, 1000):
        reader, found = FrameReader(), {STDOUT: b"", STDERR: b""}
        for position in range(0, len(data), size):
            for kind, piece in reader.feed(data[position : position + size]):
                found[kind] += piece
        assert found == {STDOUT: b"out" + b"x" * 256, STDERR: b"oops"}
        assert reader.is_whole()


def test_a_stream_without_frames_is_noticed() -> None:
    with pytest.raises(DaemonUnreachableError, match="frames"):
        list(FrameReader().feed(b"plain text of a program"))
    reader = FrameReader()
    list(reader.feed(b"\1\0\0\0\0\0\0\3ou"))
    assert not reader.is_whole()
