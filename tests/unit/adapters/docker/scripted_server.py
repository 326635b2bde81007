"""A server on a Unix socket that answers with whatever bytes a test wants, as badly as it wants."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

Script = list[bytes]
"""What is sent, piece by piece; an empty piece means: wait until the other side goes."""

WAIT = b""
HEAD_END = b"\r\n\r\n"


@dataclass
class ScriptedServer:
    """Answers every connection with the script that fits its request.

    Attributes:
        path: Its socket.
        scripts: Start of a request to what answers it; `b""` fits all.
        reads_requests: It reads a request before it answers.
        requests: What each answered connection has asked.
        came: A request has come.
        went: Somebody has gone for whom a script waited.
        handlers: Its connections.
    """

    path: str
    scripts: dict[bytes, Script]
    reads_requests: bool = True
    requests: list[bytes] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    went: asyncio.Event = field(default_factory=asyncio.Event)
    handlers: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handlers.add(asyncio.get_running_loop().create_task(self._answer(reader, writer)))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _read_request(reader) if self.reads_requests else b""
        self.came.set()
        script = next(script for start, script in self.scripts.items() if request.startswith(start))
        with suppress(ConnectionError):
            for piece in script:
                if piece == WAIT:
                    await _read_rest(reader)
                    self.went.set()
                writer.write(piece)
                await writer.drain()
        self.requests.append(request)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    request = await reader.readuntil(HEAD_END)
    lowered = request.lower()
    if b"content-length: " in lowered:
        length = int(lowered.split(b"content-length: ")[1].split(b"\r\n")[0])
        request += await reader.readexactly(length)
    elif b"transfer-encoding: chunked" in lowered:
        request += await reader.readuntil(b"0" + HEAD_END)
    return request


async def _read_rest(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        while await reader.read(65536):
            pass


@asynccontextmanager
async def serving(
    *script: bytes, reads_requests: bool = True, routes: dict[str, Script] | None = None
) -> AsyncIterator[ScriptedServer]:
    """Serve a script on a socket of its own.

    Args:
        script: For every request.
        reads_requests: Read the request before the answer.
        routes: Start of a request, such as `GET /_ping`, to its own script.
    """
    with tempfile.TemporaryDirectory(prefix="ds01-") as folder:  # pytest's own folders are too long for a socket
        server = ScriptedServer(str(Path(folder) / "s"), {b"": list(script)}, reads_requests)
        server.scripts = {**{start.encode(): own for start, own in (routes or {}).items()}, **server.scripts}
        listener = await asyncio.start_unix_server(server.accept, server.path)
        try:
            yield server
        finally:
            listener.close()
            await listener.wait_closed()
            await asyncio.wait_for(asyncio.gather(*server.handlers), 10)


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """Return a well-formed answer with a length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + HEAD_END + body


def chunked(*pieces: bytes, end: bytes = b"0" + HEAD_END) -> bytes:
    """Return a well-formed answer in chunks."""
    body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked" + HEAD_END + body + end
