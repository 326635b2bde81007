"""Raw streams: every byte, in order, both ways, until one side ends; and nothing is left open."""

import asyncio
import hashlib
import json
import os
import resource
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ds01.daemon.streams import CHUNK_BYTES, SWITCHING, StreamRelay
from ds01.domain.containers.container import ContainerSpec
from ds01.domain.name import EngineName
from tests.fake_engine import FakeProcess
from tests.unit.daemon.house import House, open_house, read_answer
from tests.unit.service.stage import IMAGE, Stage

BIG = 50 * 1024**2
CATS = ContainerSpec(EngineName("cats", 1001), "", 1001, 1001, entrypoint=("cat",))


class Wire:
    """A relay between two socket pairs: what the client holds, and what the program holds."""

    def __init__(self, first: bytes = b"101") -> None:
        self.relay = StreamRelay()
        self.client, inner_client = socket.socketpair()
        self.engine, inner_engine = socket.socketpair()
        self.client.setblocking(False)
        self.engine.setblocking(False)
        self.relay.relay(inner_client, inner_engine, first)

    async def receive(self, end: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(end, size - len(data)), 5)
            if not piece:
                break
            data += piece
        return data

    async def until_closed(self) -> None:
        async with asyncio.timeout(5):
            while self.relay.open_streams:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0.001)

    def close(self) -> None:
        self.client.close()
        self.engine.close()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    before = set(os.listdir("/proc/self/fd"))
    wire = Wire()
    yield wire
    await wire.relay.close()
    wire.close()
    assert len(os.listdir("/proc/self/fd")) <= len(before), "a descriptor is left open"


async def test_the_first_bytes_come_before_everything_else(wire: Wire) -> None:
    wire.engine.send(b"output")
    assert await wire.receive(wire.client, 9) == b"101output"


async def test_bytes_go_both_ways(wire: Wire) -> None:
    wire.client.send(b"input")
    assert await wire.receive(wire.engine, 5) == b"input"
    wire.engine.send(b"\x00\xff")
    assert await wire.receive(wire.client, 5) == b"101\x00\xff"


async def test_a_client_that_ends_its_stdin_still_reads(wire: Wire) -> None:
    wire.client.send(b"all of it")
    wire.client.shutdown(socket.SHUT_WR)
    assert await wire.receive(wire.engine, 100) == b"all of it"
    wire.engine.send(b"answer")
    assert await wire.receive(wire.client, 9) == b"101answer"
    assert wire.relay.open_streams == 1
    wire.engine.close()
    assert await wire.receive(wire.client, 1) == b""
    await wire.until_closed()


async def test_the_programs_end_ends_the_stream_although_stdin_is_open(wire: Wire) -> None:
    wire.engine.send(b"last words")
    wire.engine.close()
    assert await wire.receive(wire.client, 100) == b"101last words"
    await wire.until_closed()


async def test_keys_typed_after_the_programs_end_do_not_spoil_its_last_words(wire: Wire) -> None:
    wire.engine.shutdown(socket.SHUT_RD)
    for _ in range(2):
        wire.client.send(b"typed too late")
        for _ in range(20):
            await asyncio.sleep(0)
    wire.engine.send(b"last words")
    wire.engine.close()
    await wire.until_closed()
    assert await wire.receive(wire.client, 100) == b"101last words"


async def test_a_client_that_goes_on_sending_still_reads_a_clean_end(wire: Wire) -> None:
    """A program need not read its stdin: `true` with a megabyte of input is no broken connection."""
    loop = asyncio.get_running_loop()
    wire.engine.send(b"last words")
    wire.engine.close()
    sending = asyncio.create_task(loop.sock_sendall(wire.client, bytes(2 * 1024**2)))
    assert await wire.receive(wire.client, 100) == b"101last words"
    await asyncio.wait_for(sending, 5)
    wire.client.shutdown(socket.SHUT_WR)
    assert await asyncio.wait_for(loop.sock_recv(wire.client, 1), 5) == b""


async def test_a_client_that_vanishes_ends_the_stream_although_the_program_is_silent(wire: Wire) -> None:
    await wire.receive(wire.client, 3)
    wire.client.close()
    assert await wire.receive(wire.engine, 1) == b""
    await wire.until_closed()


async def test_what_a_client_sent_before_it_left_reaches_the_program(wire: Wire) -> None:
    sent = 0
    for _ in range(500):
        try:
            sent += wire.client.send(b"x" * CHUNK_BYTES)
        except BlockingIOError:
            await asyncio.sleep(0)
    wire.client.close()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(await wire.receive(wire.engine, 2 * sent)) == sent > 2 * CHUNK_BYTES
    await wire.until_closed()


async def test_an_engine_that_vanishes_ends_the_stream(wire: Wire) -> None:
    wire.engine.close()
    assert await wire.receive(wire.client, 100) == b"101"
    await wire.until_closed()


async def test_a_client_that_is_gone_before_the_first_byte_is_no_error(wire: Wire) -> None:
    wire.client.close()
    await wire.until_closed()


async def test_close_ends_every_stream() -> None:
    wires = [Wire() for _ in range(3)]
    for wire in wires:
        await wire.receive(wire.client, 3)
        assert wire.relay.open_streams == 1
        await asyncio.wait_for(wire.relay.close(), 5)
        assert wire.relay.open_streams == 0
        assert await wire.receive(wire.client, 1) == b""
        assert await wire.receive(wire.engine, 1) == b""
        wire.close()


@pytest.mark.parametrize("way", ["down", "up"])
async def test_fifty_megabytes_pass_unchanged_in_flat_memory(wire: Wire, way: str) -> None:
    await wire.receive(wire.client, 3)
    source, target = (wire.engine, wire.client) if way == "down" else (wire.client, wire.engine)
    loop = asyncio.get_running_loop()
    block = os.urandom(CHUNK_BYTES)
    wanted, got = hashlib.sha256(), hashlib.sha256()

    async def send() -> None:
        for _ in range(BIG // CHUNK_BYTES):
            wanted.update(block)
            await loop.sock_sendall(source, block)
        source.shutdown(socket.SHUT_WR)

    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sending = asyncio.ensure_future(send())
    received = 0
    while data := await asyncio.wait_for(loop.sock_recv(target, CHUNK_BYTES), 5):
        received += len(data)
        got.update(data)
    await sending
    assert (received, got.digest()) == (BIG, wanted.digest())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 10 * 1024


async def test_a_slow_client_slows_the_program_and_not_the_daemon(wire: Wire) -> None:
    await wire.receive(wire.client, 3)
    sent = 0
    for _ in range(3000):
        try:
            sent += wire.engine.send(b"x" * CHUNK_BYTES)
        except BlockingIOError:
            await asyncio.sleep(0)
    assert 0 < sent < 4 * 1024**2, "somebody keeps what nobody reads"


# --- through the server -----------------------------------------------------------------------------------------------


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    stage = Stage()
    stage.add_image()
    async with open_house(tmp_path, stage=stage) as house:
        await stage.create(count=0)
        await stage.start()
        yield house


async def upgrade(
    house: House, *command: str, terminal: bool = True, stdin: bool = True
) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
    body = {"command": list(command), "terminal": terminal, "stdin": stdin}
    exec_id = (await house.ask("POST", "/v1/containers/demo/exec", body)).document["exec_id"]
    reader, writer = await asyncio.open_unix_connection(str(house.path))
    writer.write(
        f"POST /v1/exec/{exec_id}/start HTTP/1.1\r\nHost: ds01\r\nConnection: Upgrade\r\nUpgrade: ds01-stream\r\n"
        "Content-Length: 0\r\n\r\n".encode()
    )
    return exec_id, reader, writer


async def test_a_program_is_talked_to_after_the_101(house: House, caplog: pytest.LogCaptureFixture) -> None:
    exec_id, reader, writer = await upgrade(house, "cat")
    answer = await asyncio.wait_for(read_answer(reader), 5)
    assert (answer.status, answer.headers["upgrade"]) == (101, "ds01-stream")
    writer.write(b"hello\n")
    assert await asyncio.wait_for(reader.readexactly(7), 5) == b"hello\r\n"
    assert house.relay.open_streams == 1
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    state = (await house.ask("GET", f"/v1/exec/{exec_id}")).document
    assert (state["running"], state["exit_code"]) == (False, 0)
    async with asyncio.timeout(5):
        while house.relay.open_streams:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.001)
    assert [record for record in caplog.records if record.levelname in {"ERROR", "WARNING"}] == []


async def test_a_program_without_a_terminal_speaks_in_frames(house: House) -> None:
    _, reader, writer = await upgrade(house, "echo", "hi", terminal=False, stdin=False)
    assert (await asyncio.wait_for(read_answer(reader), 5)).status == 101
    assert await asyncio.wait_for(reader.read(), 5) == b"\x01\x00\x00\x00\x00\x00\x00\x03hi\n"
    writer.close()


async def test_a_stream_is_not_a_request_under_way(house: House) -> None:
    _, reader, writer = await upgrade(house, "cat")
    await asyncio.wait_for(read_answer(reader), 5)
    await asyncio.wait_for(house.server.wait_until_idle(), 5)
    assert house.relay.open_streams == 1
    writer.close()


async def test_without_the_upgrade_header_the_program_is_not_started(house: House) -> None:
    body = {"command": ["cat"], "terminal": True}
    exec_id = (await house.ask("POST", "/v1/containers/demo/exec", body)).document["exec_id"]
    assert (await house.ask("POST", f"/v1/exec/{exec_id}/start")).status == 400
    assert not house.stage.engine.execs[exec_id].has_started


async def test_a_stream_that_the_engine_refuses_is_a_problem(house: House) -> None:
    _, reader, writer = await upgrade(house, "cat")
    await asyncio.wait_for(read_answer(reader), 5)
    writer.close()
    reader, writer = await asyncio.open_unix_connection(str(house.path))
    head = f"POST /v1/exec/{'0' * 64}/start HTTP/1.1\r\nHost: x\r\nUpgrade: ds01-stream\r\nConnection: Upgrade\r\n\r\n"
    writer.write(head.encode())
    answer = await asyncio.wait_for(read_answer(reader), 5)
    assert answer.status == 404
    assert json.loads(answer.body)["code"] == "not_found"
    writer.close()


async def attach(house: House, query: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(str(house.path))
    head = f"POST /v1/containers/cats/attach{query} HTTP/1.1\r\nHost: x\r\nUpgrade: ds01-stream\r\n"
    writer.write(f"{head}Connection: Upgrade\r\nContent-Length: 0\r\n\r\n".encode())
    return reader, writer


@pytest.fixture
async def cats(house: House) -> str:
    """A container of alice's whose main process is `cat` on a terminal."""
    engine = house.stage.engine
    spec = replace(CATS, image=IMAGE)
    container = await engine.create_container(spec)
    await engine.start_container(container)
    return container


async def test_a_main_process_is_talked_to_and_sized_after_the_101(house: House, cats: str) -> None:
    reader, writer = await attach(house, "?stdin=true")
    assert (await asyncio.wait_for(read_answer(reader), 5)).status == 101
    writer.write(b"hello\n")
    assert await asyncio.wait_for(reader.readexactly(7), 5) == b"hello\r\n"
    sized = await house.ask("POST", "/v1/containers/cats/resize", {"rows": 40, "columns": 100})
    assert (sized.document["rows"], sized.document["columns"]) == (40, 100)
    assert house.stage.engine.containers[cats].size == (40, 100)
    writer.close()
    await settle(house)
    assert house.stage.engine.containers[cats].details.state == "running", "who leaves ends nothing"


async def test_who_only_watches_types_nothing(house: House, cats: str) -> None:
    watching, nobody = await attach(house, "")
    typing, somebody = await attach(house, "?stdin=true")
    for reader in (watching, typing):
        assert (await asyncio.wait_for(read_answer(reader), 5)).status == 101
    nobody.write(b"unheard\n")
    await asyncio.sleep(0)
    somebody.write(b"heard\n")
    assert await asyncio.wait_for(watching.readexactly(7), 5) == b"heard\r\n"
    nobody.close()
    somebody.close()
    await settle(house)


async def test_attaching_is_refused_as_a_problem_and_without_the_header(house: House, cats: str) -> None:
    assert (await house.ask("POST", "/v1/containers/cats/attach")).status == 400
    assert (await house.ask("POST", "/v1/containers/cats/resize", {"rows": 0, "columns": 80})).status == 400
    await house.stage.engine.pause_container(cats)
    reader, writer = await attach(house, "?stdin=true")
    answer = await asyncio.wait_for(read_answer(reader), 5)
    assert (answer.status, "is paused" in json.loads(answer.body)["detail"]) == (409, True)
    writer.close()
    assert house.stage.engine.containers[cats].attached == []


async def test_twenty_streams_leave_no_descriptor_open(house: House) -> None:
    async def talk() -> None:
        _, reader, writer = await upgrade(house, "cat")
        await asyncio.wait_for(read_answer(reader), 5)
        writer.write(b"x\n")
        assert await asyncio.wait_for(reader.readexactly(3), 5) == b"x\r\n"
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await writer.wait_closed()

    await talk()
    await settle(house)
    before = len(os.listdir("/proc/self/fd"))
    await asyncio.gather(*(talk() for _ in range(20)))
    await settle(house)
    assert len(os.listdir("/proc/self/fd")) <= before + 1


async def settle(house: House) -> None:
    async with asyncio.timeout(5):
        while house.relay.open_streams or house.server.requests_under_way:  # noqa: ASYNC110 - counters have no event
            await asyncio.sleep(0.001)
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_terminal_that_is_killed_frees_its_stream_although_its_program_goes_on(house: House) -> None:
    async def deaf(process: FakeProcess) -> int:
        await process.signals.get()
        return 0

    house.stage.engine.programs["train"] = deaf
    exec_id, reader, writer = await upgrade(house, "train")
    await asyncio.wait_for(read_answer(reader), 5)
    writer.transport.abort()
    await settle(house)
    assert house.relay.open_streams == 0
    assert house.stage.engine.execs[exec_id].exit_code is None


def test_the_switching_answer_is_complete() -> None:
    assert SWITCHING.startswith(b"HTTP/1.1 101 ")
    assert SWITCHING.endswith(b"\r\n\r\n")
