"""Non-blocking Unix stream sockets: connecting, and deadlines on whatever waits for the other side."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from ds01.errors import BackendTimeoutError
from ds01.units import format_duration

_BACKLOG_RETRY_S = 0.01


@asynccontextmanager
async def within(deadline: timedelta | None, what: str) -> AsyncIterator[None]:
    """Give the body this long.

    Args:
        deadline: Longest wait; None: without end.
        what: Start of the message, such as `The container engine did not answer`.

    Raises:
        BackendTimeoutError: The time is over.
    """
    try:
        async with asyncio.timeout(None if deadline is None else deadline.total_seconds()):
            yield
    except TimeoutError as error:
        length = "in time" if deadline is None else f"within {_format(deadline)}"
        raise BackendTimeoutError(f"{what} {length}.") from error


def _format(deadline: timedelta) -> str:
    if deadline < timedelta(seconds=1):
        return f"{deadline.total_seconds():g}s"
    return format_duration(deadline)


async def connect(path: str) -> socket.socket:
    """Return a connected, non-blocking socket.

    `loop.sock_connect` is not used: a Unix socket whose queue of connections is full answers EAGAIN, which it mistakes
    for "in progress" and reports as success. Source: connect(2), EAGAIN for Unix domain sockets.

    Raises:
        OSError: As connect(2) says.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        while not _connected(connection, path):  # noqa: ASYNC110 - the kernel tells nobody when there is room
            await asyncio.sleep(_BACKLOG_RETRY_S)
    except BaseException:
        connection.close()
        raise
    return connection


def _connected(connection: socket.socket, path: str) -> bool:
    try:
        connection.connect(path)
    except BlockingIOError:
        return False
    return True
