"""The HTTP core against servers that keep and break every rule."""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from datetime import timedelta
from pathlib import Path

import pytest

from ds01.adapters.docker.http import HttpClient, HttpLimits, HttpRequest, RefusedUpgrade, UpgradedStream
from ds01.errors import BackendError, BackendTimeoutError
from tests.unit.adapters.docker.scripted_server import HEAD_END, WAIT, answer, chunked, serving

SHORT = timedelta(milliseconds=200)
GET = HttpRequest("GET", "/thing")
SWITCH = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
RAW = "application/raw"
RAW_TYPES = frozenset({RAW})


def client_of(path: str, **limits: object) -> HttpClient:
    return HttpClient(path, peer="The server", limits=HttpLimits(**limits))  # type: ignore[arg-type]


async def fetch(path: str, request: HttpRequest = GET, **limits: object) -> tuple[int, bytes]:
    async with client_of(path, **limits).open(request) as response:
        return response.status, await response.read()


@pytest.fixture(autouse=True)
async def _no_descriptor_is_left_open() -> AsyncIterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_body_with_a_length_is_read() -> None:
    async with (
        serving(answer("200 OK", b"hello", X_Thing="yes")) as server,
        client_of(server.path).open(GET) as response,
    ):
        assert (response.status, response.header("x-thing"), response.header("none")) == (200, "yes", "")
        assert await response.read() == b"hello"


async def test_a_body_in_chunks_is_read_wherever_the_pieces_are_cut() -> None:
    whole = chunked(b"hello ", b"world", b"!" * 300)
    async with serving(*(whole[place : place + 1] for place in range(len(whole)))) as server:
        assert await fetch(server.path) == (200, b"hello world" + b"!" * 300)


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n", b"to the ", b"end") as server:
        assert await fetch(server.path) == (200, b"to the end")


async def test_one_request_is_sent_on_one_connection() -> None:
    async with serving(answer("200 OK")) as server:
        request = HttpRequest("POST", "/thing?a=b", headers={"Content-Type": "application/json"}, body=b"{}")
        await fetch(server.path, request)
    head, _, body = server.requests[0].partition(HEAD_END)
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /thing?a=b HTTP/1.1"
    assert {"Host: localhost", "Connection: close", "Content-Type: application/json", "Content-Length: 2"} == set(
        lines[1:]
    )
    assert body == b"{}"


async def test_a_post_without_a_body_says_so() -> None:
    async with serving(answer("200 OK")) as server:
        await fetch(server.path, HttpRequest("POST", "/thing"))
    assert b"Content-Length: 0\r\n" in server.requests[0]


async def test_a_body_in_pieces_is_sent_as_chunks() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"three"

    async with serving(answer("200 OK")) as server:
        await fetch(server.path, HttpRequest("PUT", "/thing", body=pieces()))
    assert server.requests[0].endswith(HEAD_END + b"3\r\none\r\n5\r\nthree\r\n0" + HEAD_END)
    assert b"Content-Length" not in server.requests[0]


async def test_an_early_answer_to_a_long_body_is_read() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    async with serving(answer("413 Too Large", b"enough"), reads_requests=False) as server:
        assert await fetch(server.path, HttpRequest("PUT", "/thing", body=endless())) == (413, b"enough")


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nContent-Le",
        answer("200 OK", b"hello")[:-1],
        chunked(b"hello", end=b""),
        chunked(end=b"5\r\nhel"),
    ],
    ids=["in the head", "in the body", "between chunks", "in a chunk"],
)
async def test_a_connection_that_breaks_off_is_an_error(sent: bytes) -> None:
    async with serving(sent) as server:
        with pytest.raises(BackendError, match="The server closed the connection in the middle of its answer"):
            await fetch(server.path)


async def test_a_connection_that_closes_at_once_is_an_error() -> None:
    async with serving() as server:
        with pytest.raises(BackendError, match="closed the connection without an answer"):
            await fetch(server.path)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01garbage" + HEAD_END,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"HTTP/1.1 2x0 OK" + HEAD_END,
        b"HTTP/1.1 200 OK\r\nContent-Length: -5" + HEAD_END,
        b"HTTP/1.1 200 OK\r\nContent-Length: five" + HEAD_END,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6" + HEAD_END + b"hello!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip" + HEAD_END,
        b"HTTP/1.1 200 OK\r\nBad\x00Name: x" + HEAD_END,
        b"HTTP/1.1 200 OK\r\nName: va\x00lue" + HEAD_END,
        chunked(end=b"zz\r\nhello\r\n"),
        chunked(end=b"5\r\nhelloo\r\n0\r\n\r\n"),
        chunked(end=b"-5\r\nhello\r\n0\r\n\r\n"),
    ],
)
async def test_an_answer_that_is_not_http_is_an_error(sent: bytes) -> None:
    async with serving(sent) as server:
        with pytest.raises(BackendError, match="broken HTTP"):
            await fetch(server.path)


async def test_an_answer_with_two_lengths_is_an_error() -> None:
    sent = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked" + HEAD_END + b"5\r\nhello\r\n0\r\n\r\n"
    async with serving(sent) as server:
        with pytest.raises(BackendError, match="two lengths"):
            await fetch(server.path)


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nName: " + b"x" * 20_000 + HEAD_END,
        b"HTTP/1.1 200 OK\r\n" + b"Name: x\r\n" * 3000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
        b"H" * 20_000,
    ],
    ids=["one header", "many headers", "many beginnings", "no end"],
)
async def test_a_head_without_bounds_is_an_error(sent: bytes) -> None:
    async with serving(sent, WAIT) as server:
        with pytest.raises(BackendError, match=r"head of the answer is larger than 16K|broken HTTP"):
            await fetch(server.path)


async def test_a_chunk_header_without_bounds_is_an_error() -> None:
    async with serving(chunked(end=b"5;" + b"x" * 40_000), WAIT) as server:
        with pytest.raises(BackendError, match="broken HTTP"):
            await fetch(server.path)


async def test_a_provisional_answer_is_passed_over() -> None:
    async with serving(b"HTTP/1.1 100 Continue\r\n\r\n", answer("201 Created", b"done")) as server:
        assert await fetch(server.path) == (201, b"done")


async def test_a_body_over_the_limit_is_an_error() -> None:
    async with serving(chunked(*[b"x" * 1000] * 20)) as server:
        with pytest.raises(BackendError, match="larger than 10K"):
            await fetch(server.path, body_bytes=10 * 1024)


async def test_a_head_that_does_not_come_is_a_timeout() -> None:
    async with serving(b"HTTP/1.1 200", WAIT) as server:
        with pytest.raises(BackendTimeoutError, match=r"The server did not answer within 0\.2s"):
            await fetch(server.path, head=SHORT)


async def test_a_request_may_have_a_deadline_of_its_own() -> None:
    async with serving(WAIT) as server:
        with pytest.raises(BackendTimeoutError, match=r"within 0\.2s"):
            await fetch(server.path, HttpRequest("GET", "/thing", head_deadline=SHORT))


async def test_a_body_that_does_not_end_is_a_timeout() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", WAIT) as server:
        with pytest.raises(BackendTimeoutError, match="did not finish its answer"):
            await fetch(server.path, head=SHORT)


async def test_a_server_that_does_not_take_the_request_is_a_timeout() -> None:
    async with serving(WAIT, reads_requests=False) as server:
        with pytest.raises(BackendTimeoutError, match="The server did not"):
            await fetch(server.path, HttpRequest("PUT", "/thing", body=b"x" * 16 * 1024**2), head=SHORT)


async def test_a_full_queue_of_connections_is_a_timeout_and_never_a_false_success() -> None:
    with tempfile.TemporaryDirectory(prefix="ds01-") as folder, closing(socket.socket(socket.AF_UNIX)) as listener:
        path = str(Path(folder) / "s")
        listener.bind(path)
        listener.listen(0)
        with closing(socket.socket(socket.AF_UNIX)) as first:
            first.connect(path)
            with pytest.raises(BackendTimeoutError, match="did not take the connection"):
                await fetch(path, connect=SHORT)


async def test_what_the_socket_says_is_said_as_it_is() -> None:
    with pytest.raises(FileNotFoundError):
        await fetch("/nowhere/to/be/found")


async def test_a_stream_has_no_deadline_unless_asked() -> None:
    async with serving(chunked(b"first", end=b""), WAIT) as server:
        async with client_of(server.path, head=SHORT).open(GET) as response, aclosing(response.stream()) as stream:
            assert await anext(stream) == b"first"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 4 * SHORT.total_seconds())
        async with client_of(server.path).open(GET) as response, aclosing(response.stream(idle=SHORT)) as stream:
            assert await anext(stream) == b"first"
            with pytest.raises(BackendTimeoutError, match="sent nothing more"):
                await anext(stream)


async def test_a_long_stream_comes_in_small_pieces() -> None:
    piece, count = b"x" * 1024**2, 40
    script = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
    script += [b"100000\r\n" + piece + b"\r\n"] * count + [b"0\r\n\r\n"]
    async with serving(*script) as server, client_of(server.path, body_bytes=10).open(GET) as response:
        sizes = [len(part) async for part in response.stream()]
    assert sum(sizes) == count * len(piece)
    assert max(sizes) <= HttpLimits().read_bytes


async def test_leaving_a_stream_early_closes_the_connection() -> None:
    async with serving(chunked(b"first", end=b""), WAIT) as server:
        async with client_of(server.path).open(GET) as response, aclosing(response.stream()) as stream:
            await anext(stream)
        await asyncio.wait_for(server.went.wait(), 5)


async def test_a_request_that_is_cancelled_closes_its_connection() -> None:
    async with serving(WAIT) as server:
        waiting = asyncio.create_task(fetch(server.path))
        await server.came.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(server.went.wait(), 5)


async def test_a_stream_that_is_cancelled_closes_its_connection() -> None:
    started = asyncio.Event()

    async def read_all(path: str) -> None:
        async with client_of(path).open(GET) as response:
            async for _ in response.stream():
                started.set()

    async with serving(chunked(b"first", end=b""), WAIT) as server:
        reading = asyncio.create_task(read_all(server.path))
        await started.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.wait_for(server.went.wait(), 5)


async def test_closing_the_client_ends_what_runs_and_refuses_what_comes() -> None:
    async with serving(chunked(b"first", end=b""), WAIT) as server:
        client = client_of(server.path)
        async with client.open(GET) as response, aclosing(response.stream()) as stream:
            await anext(stream)
            client.close()
            with pytest.raises(BackendError, match="in the middle"):
                await anext(stream)
        with pytest.raises(BackendError, match="closed on our side"):
            async with client.open(GET):
                pass


async def test_an_upgrade_gives_the_socket_and_the_bytes_that_came_with_the_answer() -> None:
    async with serving(SWITCH + b"early", WAIT) as server:
        stream = await client_of(server.path).upgrade(HttpRequest("POST", "/x", body=b"{}"), protocol="tcp")
        assert isinstance(stream, UpgradedStream)
        assert stream.initial == b"early"
        with socket.socket(fileno=stream.detach_fd()) as raw:
            raw.sendall(b"to the other side")
            raw.shutdown(socket.SHUT_WR)
            await asyncio.wait_for(server.went.wait(), 5)
            stream.close()  # it is not ours any more
            raw.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(raw, 10) == b""
        with pytest.raises(BackendError, match="given away"):
            stream.detach_fd()
    assert b"Connection: Upgrade\r\nUpgrade: tcp\r\n" in server.requests[0]


async def test_a_closed_upgrade_is_closed_on_both_sides() -> None:
    async with serving(SWITCH, WAIT) as server:
        stream = await client_of(server.path).upgrade(GET, protocol="tcp")
        assert isinstance(stream, UpgradedStream)
        stream.close()
        stream.close()
        await asyncio.wait_for(server.went.wait(), 5)


async def test_a_raw_answer_without_a_length_is_an_upgrade_too() -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {RAW}\r\n\r\n".encode()
    async with serving(head + b"early", WAIT) as server:
        stream = await client_of(server.path).upgrade(GET, protocol="tcp", raw_types=RAW_TYPES)
        assert isinstance(stream, UpgradedStream)
        assert stream.initial == b"early"
        stream.close()


@pytest.mark.parametrize(
    "sent",
    [
        answer("404 Not Found", b"words"),
        answer("200 OK", b"words"),
        answer("200 OK", b"words", Content_Type=RAW),
        b"HTTP/1.1 409 Conflict\r\nContent-Type: " + RAW.encode() + b"\r\n\r\nwords",
    ],
    ids=["error", "no upgrade", "raw with a length", "raw error"],
)
async def test_a_server_that_does_not_switch_is_never_a_stream(sent: bytes) -> None:
    async with serving(sent) as server:
        refused = await client_of(server.path).upgrade(GET, protocol="tcp", raw_types=RAW_TYPES)
    assert isinstance(refused, RefusedUpgrade)
    assert refused.body == b"words"


async def test_an_upgrade_that_is_not_answered_is_a_timeout() -> None:
    async with serving(WAIT) as server:
        with pytest.raises(BackendTimeoutError):
            await client_of(server.path, head=SHORT).upgrade(GET, protocol="tcp")
        await asyncio.wait_for(server.went.wait(), 5)


async def test_switching_protocols_without_being_asked_is_an_error() -> None:
    async with serving(SWITCH) as server:
        with pytest.raises(BackendError):
            await fetch(server.path)
