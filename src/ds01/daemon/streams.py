"""Raw byte streams between a client and a program, after the upgrade.

The daemon takes the accepted connection away from the HTTP server: it duplicates the descriptor and lets the server
drop its own. From then on there are two plain sockets, and copying between them needs neither policy nor database, so
that later a small process of its own can do it and a restart of the daemon cuts no terminal.
"""

import asyncio
import contextlib
import os
import select
import socket

from aiohttp import web

from ds01.errors import BackendError, InvalidRequestError
from ds01.service.ports import RawStream

CHUNK_BYTES = 64 * 1024
LAST_BYTES_S = 5.0
"""How long the program may take to read what a client had sent before it left."""
REST_S = 1.0
"""How long a client may take to notice that its program has ended, while what it still sends is thrown away."""
MAX_REST_CHUNKS = 64
UPGRADE = "ds01-stream"
SWITCHING = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {UPGRADE}\r\n\r\n".encode()


def require_upgrade(request: web.Request) -> None:
    """Raise if a request does not ask for raw bytes: nothing is started then.

    Raises:
        InvalidRequestError: It names the header.
    """
    if request.headers.get("Upgrade", "").lower() != UPGRADE:
        raise InvalidRequestError(f"This route needs the header Upgrade: {UPGRADE}.")


class StreamRelay:
    """Copies bytes both ways for every open stream, and ends them all when the daemon leaves."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open_streams(self) -> int:
        """Number of streams that are open now."""
        return len(self._tasks)

    def take_over(self, request: web.Request, stream: RawStream) -> None:
        """Answer 101 on the request's connection and relay from then on.

        The client sends nothing before it has read the 101, so that no byte of its can be in the server's buffer.

        Raises:
            BackendError: The client is gone, or there are too many open files.
        """
        transport = request.transport
        if transport is None or transport.is_closing():
            stream.close()
            raise BackendError("The client is gone.")
        connection: socket.socket = transport.get_extra_info("socket")
        try:
            client = socket.socket(fileno=os.dup(connection.fileno()))
        except OSError as failure:
            stream.close()
            raise BackendError(
                f"The stream cannot be passed on: {failure.strerror}.", hint="Raise the limit of open files of ds01d."
            ) from failure
        if isinstance(transport, asyncio.Transport):
            transport.pause_reading()
            transport.abort()  # closes the server's descriptor only; ours keeps the connection
        initial = stream.initial
        self.relay(client, socket.socket(fileno=stream.detach_fd()), SWITCHING + initial)

    def relay(self, client: socket.socket, engine: socket.socket, first: bytes) -> None:
        """Copy between two sockets, which the relay closes at the end.

        Args:
            client: The client's connection.
            engine: The program's.
            first: Sent to the client before anything else.
        """
        client.setblocking(False)
        engine.setblocking(False)
        task = asyncio.create_task(_relay(client, engine, first), name="relay")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End every stream."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _relay(client: socket.socket, engine: socket.socket, first: bytes) -> None:
    """The program's end ends the stream, whether or not the client has its stdin open; so does the client's leaving."""
    loop = asyncio.get_running_loop()
    with client, engine, contextlib.suppress(OSError):
        await loop.sock_sendall(client, first)
        upward = asyncio.create_task(_copy(client, engine))
        downward = asyncio.create_task(_copy(engine, client))
        left = asyncio.create_task(_wait_until_left(client))
        try:
            await asyncio.wait({downward, left}, return_when=asyncio.FIRST_COMPLETED)
            if not downward.done():
                await asyncio.wait({upward}, timeout=LAST_BYTES_S)
        finally:
            for task in (upward, downward, left):
                task.cancel()
            await asyncio.gather(upward, downward, left, return_exceptions=True)
            _read_rest(client)
        await _take_in(client)


async def _take_in(connection: socket.socket) -> None:
    """Take in what the other end still sends until it has read our end: a program need not read its stdin."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(REST_S):
            while await loop.sock_recv(connection, CHUNK_BYTES):
                pass


def _read_rest(connection: socket.socket) -> None:
    """Take in what was typed after the program's end: closing over unread bytes makes the other end's read fail."""
    with contextlib.suppress(OSError):  # nothing more is there
        for _ in range(MAX_REST_CHUNKS):
            if not connection.recv(CHUNK_BYTES):
                return


async def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends, then pass the end on: half-close."""
    loop = asyncio.get_running_loop()
    # one side is gone: the other learns it by the end of its stream
    with contextlib.suppress(OSError):
        while data := await loop.sock_recv(source, CHUNK_BYTES):
            await loop.sock_sendall(target, data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


async def _wait_until_left(connection: socket.socket) -> None:
    """Wait until the other end has closed its socket, which is more than having ended its own stream.

    A client that only closes its stdin still reads; one that was killed never will, and a program that says nothing
    would keep its stream open for ever. An epoll that asks for nothing reports just the hang-up. Source: epoll_ctl(2).
    """
    loop = asyncio.get_running_loop()
    has_left = asyncio.Event()
    with select.epoll(1) as poll:
        poll.register(connection.fileno(), 0)
        loop.add_reader(poll.fileno(), has_left.set)
        try:
            await has_left.wait()
        finally:
            loop.remove_reader(poll.fileno())
