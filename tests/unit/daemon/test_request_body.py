"""Bodies that do not come, stop coming, or are not what they say: no client keeps a connection for ever."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ds01.daemon.request_body import Patience
from tests.unit.daemon.house import House, open_house

SHORT = Patience(document_s=0.05, archive_pause_s=0.05)
LONG_S = 30.0
CREATE = b"POST /v1/containers HTTP/1.1\r\nHost: x\r\n"
WRITE = b"POST /v1/containers/demo/archive?path=/ HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[House]:
    """A daemon that soon has enough of a client that does not send."""
    async with open_house(tmp_path, patience=SHORT) as house:
        await house.stage.create(count=0)
        yield house


async def refusal(house: House, *parts: bytes) -> Any:
    """Send the parts, one after the other, leave the connection open, and return the refusal that comes."""
    reader, writer = await asyncio.open_unix_connection(str(house.path))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LONG_S)
        assert head.startswith(b"HTTP/1.1 400 "), head
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        return json.loads(await reader.readexactly(length))
    finally:
        writer.close()


@pytest.mark.parametrize(
    "parts",
    [
        [CREATE + b"Content-Length: 10\r\n\r\n"],
        [CREATE + b"Content-Length: 10\r\n\r\n", b"{}"],
        [CREATE + CHUNKED],
        [CREATE + CHUNKED, b"2\r\n{}\r\n"],
    ],
)
async def test_a_document_that_does_not_come_to_its_end_is_refused(hasty: House, parts: list[bytes]) -> None:
    problem = await refusal(hasty, *parts)
    assert problem["detail"] == "The request did not come to its end within 0.05 s."
    assert hasty.server.requests_under_way == 0


@pytest.mark.parametrize(
    "parts",
    [
        [WRITE + b"Content-Length: 1024\r\n\r\n"],
        [WRITE + b"Content-Length: 1024\r\n\r\n", b"\0" * 100],
        [WRITE + CHUNKED, b"2\r\nab\r\n"],
    ],
)
async def test_an_archive_that_stops_coming_is_refused(hasty: House, parts: list[bytes]) -> None:
    problem = await refusal(hasty, *parts)
    assert problem["detail"] == "The archive did not go on for 0.05 s."
    assert hasty.server.requests_under_way == 0


async def test_an_archive_that_goes_on_may_take_longer_than_a_document_or_a_pause(tmp_path: Path) -> None:
    async with open_house(tmp_path, patience=Patience(document_s=0.0, archive_pause_s=LONG_S)) as house:
        await house.stage.create(count=0)
        reader, writer = await asyncio.open_unix_connection(str(house.path))
        writer.write(WRITE + b"Connection: close\r\nContent-Length: 10240\r\n\r\n")
        for _ in range(10):
            writer.write(b"\0" * 1024)
            await writer.drain()
            await asyncio.sleep(0.001)
        assert (await asyncio.wait_for(reader.read(), LONG_S)).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize("head", [CREATE, WRITE])
@pytest.mark.parametrize(("coding", "body"), [("gzip", gzip.compress(b"{}")), ("gzip", b"{}"), ("br", b"{}")])
async def test_a_compressed_body_is_refused_and_no_bug(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, head: bytes, coding: str, body: bytes
) -> None:
    async with open_house(tmp_path) as house:
        await house.stage.create(count=0)
        about = f"Content-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        problem = await refusal(house, head + about, body)
        assert problem["detail"] == f"The body may not be compressed ({coding})."
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
