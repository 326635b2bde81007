"""The whole adapter against a scripted engine: versions, refusals, and answers that the real one gives too rarely."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta
from typing import NoReturn

import pytest

from ds01.adapters.docker.engine import DockerEngine
from ds01.domain.containers.container import ContainerSpec
from ds01.domain.name import EngineName
from ds01.errors import BackendError, ConflictError, Ds01Error, NotFoundError
from ds01.service.ports import ExecSpec, FileEntry
from tests.unit.adapters.docker.scripted_server import WAIT, Script, ScriptedServer, answer, chunked, serving

PING = answer("200 OK", b"OK", Api_Version="1.41", Server="Docker/20.10.24 (linux)")


class CheckpointError(Exception):
    pass


def stop_here(step: str) -> NoReturn:
    raise CheckpointError(step)


def pass_by(step: str) -> None:
    assert step


def engine_of(server: ScriptedServer) -> DockerEngine:
    return DockerEngine(f"unix://{server.path}", checkpoint=pass_by)


def routes(**scripts: Script) -> dict[str, Script]:
    return {"GET /_ping": [PING], **scripts}


def json_answer(document: object) -> bytes:
    return answer("200 OK", json.dumps(document).encode())


def asked(server: ScriptedServer) -> list[str]:
    return [request.split(b" HTTP/1.1")[0].decode() for request in server.requests]


async def test_the_version_is_asked_for_once_and_goes_before_every_path() -> None:
    async with serving(json_answer([]), routes=routes()) as server:
        engine = engine_of(server)
        await asyncio.gather(*(engine.list_containers() for _ in range(5)))
    assert sorted(asked(server)) == ["GET /_ping", *["GET /v1.41/containers/json?all=1"] * 5]


async def test_the_version_is_asked_for_again_after_the_engine_has_failed() -> None:
    async with serving(answer("500 Error"), routes=routes()) as server:
        engine = engine_of(server)
        for _ in range(2):
            with pytest.raises(BackendError):
                await engine.list_containers()
    assert asked(server).count("GET /_ping") == 2


@pytest.mark.parametrize(
    ("ping", "words"),
    [
        (answer("200 OK", b"OK", Api_Version="1.40"), "needs 1.41 or later"),
        (answer("200 OK", b"OK", Api_Version="1.41", Server="Libpod/4.3.1 (linux)"), "podman"),
        (answer("200 OK", b"OK"), "API version is ''"),
        (answer("503 Busy", b"starting"), "starting"),
    ],
)
async def test_an_engine_that_is_not_ours_gets_no_call(ping: bytes, words: str) -> None:
    async with serving(json_answer([]), routes={"GET /_ping": [ping]}) as server:
        with pytest.raises(BackendError, match=words):
            await engine_of(server).remove_container("work")
    assert asked(server) == ["GET /_ping"]


async def test_an_engine_that_is_gone_is_an_error_and_never_an_empty_list() -> None:
    engine = DockerEngine("unix:///nowhere/docker.sock", checkpoint=pass_by)
    with pytest.raises(BackendError, match=r"There is no container engine at /nowhere/docker\.sock"):
        await engine.list_containers()
    with pytest.raises(BackendError):
        await engine.find_container("work")
    with pytest.raises(BackendError):
        await engine.find_image("work")


@pytest.mark.parametrize("document", [{"message": "no list"}, [{"Id": "1"}], "text", [5]])
async def test_a_list_of_another_shape_is_an_error_and_never_an_empty_list(document: object) -> None:
    async with serving(json_answer(document), routes=routes()) as server:
        with pytest.raises(BackendError, match="/containers/json"):
            await engine_of(server).list_containers()


async def test_a_name_that_is_not_one_segment_is_never_sent() -> None:
    async with serving(json_answer([]), routes=routes()) as server:
        engine = engine_of(server)
        for attempt in (engine.start_container("a/../b"), engine.remove_container("?all=1"), engine.get_exec("../x")):
            with pytest.raises(Ds01Error):
                await attempt
    assert server.requests == []


SPEC = ContainerSpec(engine_name=EngineName("work", 1000), image="image", uid=1000, gid=1000)
CHANGES = {
    "create_container": lambda engine: engine.create_container(SPEC),
    "start_container": lambda engine: engine.start_container("work"),
    "stop_container": lambda engine: engine.stop_container("work", grace=timedelta(0)),
    "kill_container": lambda engine: engine.kill_container("work", signal="TERM"),
    "remove_container": lambda engine: engine.remove_container("work"),
    "put_files": lambda engine: engine.put_files("work", [FileEntry("/file", b"")]),
    "create_exec": lambda engine: engine.create_exec("work", ExecSpec(("true",))),
    "start_exec": lambda engine: engine.start_exec("1", has_terminal=False),
    "run_exec": lambda engine: engine.run_exec("work", ExecSpec(("true",)), deadline=timedelta(seconds=5)),
    "tag_image": lambda engine: engine.tag_image("image", "other:tag"),
    "remove_image": lambda engine: engine.remove_image("image"),
    "pull_image": lambda engine: anext(engine.pull_image("image")),
}


@pytest.mark.parametrize("method", list(CHANGES))
async def test_a_process_that_dies_at_the_checkpoint_has_changed_nothing(method: str) -> None:
    async with serving(json_answer({}), routes=routes()) as server:
        engine = DockerEngine(f"unix://{server.path}", checkpoint=stop_here)
        with pytest.raises(CheckpointError, match="engine: "):
            await CHANGES[method](engine)
    assert server.requests == []


async def test_a_stop_waits_as_long_as_the_grace_in_whole_seconds() -> None:
    async with serving(answer("204 No Content"), routes=routes()) as server:
        await engine_of(server).stop_container("work", grace=timedelta(seconds=1, milliseconds=1))
        await engine_of(server).stop_container("work", grace=timedelta(seconds=-5))
    stops = [line for line in asked(server) if "stop" in line]
    assert stops == ["POST /v1.41/containers/work/stop?t=2", "POST /v1.41/containers/work/stop?t=0"]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("manifest for x:y not found: manifest unknown", NotFoundError),
        ("pull access denied for x, repository does not exist or may require 'docker login'", NotFoundError),
        ("unexpected EOF", BackendError),
    ],
)
async def test_an_error_in_the_middle_of_a_pull_is_raised(words: str, kind: type[Ds01Error]) -> None:
    lines = [{"status": "Pulling from x", "id": "y"}, {"errorDetail": {"message": words}, "error": words}]
    body = [json.dumps(line).encode() + b"\r\n" for line in lines]
    async with serving(chunked(*body), routes=routes()) as server:
        steps = engine_of(server).pull_image("x:y")
        assert (await anext(steps)).status == "Pulling from x"
        with pytest.raises(kind, match="The image x:y could not be pulled") as caught:
            await anext(steps)
    assert type(caught.value) is kind
    assert asked(server)[-1] == "POST /v1.41/images/create?fromImage=x&tag=y"


async def test_a_pull_without_a_tag_never_asks_for_every_tag() -> None:
    async with serving(chunked(), routes=routes()) as server:
        _ = [step async for step in engine_of(server).pull_image("registry:5000/x")]
    assert asked(server)[-1].endswith("fromImage=registry%3A5000%2Fx&tag=latest")


async def test_a_stream_that_the_engine_does_not_open_is_an_error() -> None:
    async with serving(answer("200 OK", b""), routes=routes()) as server:
        with pytest.raises(BackendError, match="did not open a stream"):
            await engine_of(server).start_exec("1", has_terminal=False)
    async with serving(answer("409 Conflict", b'{"message":"not running"}'), routes=routes()) as server:
        with pytest.raises(ConflictError, match="not running"):
            await engine_of(server).start_exec("1", has_terminal=False)


async def test_events_end_with_an_error_when_the_connection_breaks() -> None:
    event = {"Type": "container", "Action": "die", "Actor": {"ID": "1"}, "timeNano": 1_000_000_001}
    async with serving(chunked(json.dumps(event).encode() + b"\n", end=b""), routes=routes()) as server:
        events = engine_of(server).watch_events(since="0.000000001")
        assert (await anext(events)).cursor == "1.000000001"
        with pytest.raises(BackendError, match="closed the connection in the middle"):
            await anext(events)
    assert asked(server)[-1] == "GET /v1.41/events?since=0.000000001"


async def test_leaving_the_logs_early_closes_the_connection() -> None:
    logs = chunked(b"\x01\0\0\0\0\0\0\x05hello", end=b"")
    inspect = {"GET /v1.41/containers/work/json": [json_answer({"Config": {"Tty": False}})]}
    async with serving(logs, WAIT, routes={**routes(), **inspect}) as server:
        async with aclosing(engine_of(server).stream_logs("work", follow=True)) as chunks:
            assert await anext(chunks) == b"hello"
        await asyncio.wait_for(server.went.wait(), 5)


async def test_a_program_that_prints_without_end_is_cut_off() -> None:
    frame = b"\x01\0\0\0\0\x10\0\0" + bytes(1024**2)
    create = {"POST /v1.41/containers/work/exec": [json_answer({"Id": "1"})]}
    async with serving(*[b"HTTP/1.1 200 OK\r\n\r\n", *[frame] * 20], routes={**routes(), **create}) as server:
        with pytest.raises(BackendError, match="more than 16M"):
            await engine_of(server).run_exec("work", ExecSpec(("yes",)), deadline=timedelta(seconds=20))


async def test_the_status_of_a_program_is_waited_for_when_its_output_ends_first() -> None:
    states = RunningThenEnded()
    create = {"POST /v1.41/containers/work/exec": [json_answer({"Id": "1"})]}
    start = {"POST /v1.41/exec/1/start": [b"HTTP/1.1 200 OK\r\n\r\n"]}
    async with serving(routes={**routes(), **create, **start, "GET /v1.41/exec/1/json": states}) as server:
        result = await engine_of(server).run_exec("work", ExecSpec(("true",)), deadline=timedelta(seconds=5))
    assert result.exit_code == 7
    assert asked(server).count("GET /v1.41/exec/1/json") == 3


class RunningThenEnded(list[bytes]):
    """Answers twice that the program runs, then that it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0

    def __iter__(self) -> Iterator[bytes]:
        self._asked += 1
        ended = self._asked > 2
        state = {"ID": "1", "ContainerID": "2", "Running": not ended, "ExitCode": 7 if ended else None}
        return iter([json_answer(state)])
