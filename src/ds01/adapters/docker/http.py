"""HTTP/1.1 on Unix sockets: one request for each connection, nothing kept alive, nothing pooled.

Knows nothing of what is asked or answered. A connection belongs to one task; whatever ends that task's interest (an
error, a cancellation, the end of the answer) closes it. Answers are read in bounded pieces, so that a stream of any
length needs the same memory.

Errors: a broken answer is BackendError, a missed deadline BackendTimeoutError, and what the socket itself says stays
an OSError: the caller knows what its socket means.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import h11

from ds01.adapters.docker.unix_socket import connect, within
from ds01.errors import BackendError
from ds01.units import format_size

Body = bytes | AsyncIterator[bytes]
Headers = Mapping[str, str]
_HTTP_SWITCHING = 101


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one exchange may take.

    Attributes:
        head_bytes: Longest head of an answer, and longest line between chunks.
        body_bytes: Longest body that is read at once; streams have no limit.
        read_bytes: Most that is read from the socket at a time.
        connect: Longest wait for the connection.
        head: Longest wait for sending one piece of the request, and for the answer's head; then once more for a body
            that is read at once.
    """

    head_bytes: int = 16 * 1024
    body_bytes: int = 64 * 1024**2
    read_bytes: int = 256 * 1024
    connect: timedelta = timedelta(seconds=5)
    head: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request.

    Attributes:
        method: Such as GET.
        target: Path and query, encoded.
        headers: Further headers; `Host`, `Connection` and the framing of the body are ours.
        body: Bytes, or pieces that are sent as chunks; None: without.
        head_deadline: Longest wait for the answer's head; None: as in the limits.
    """

    method: str
    target: str
    headers: Headers = field(default_factory=dict)
    body: Body | None = None
    head_deadline: timedelta | None = None


class HttpResponse:
    """An answer whose head has come; its body is read at once or as a stream."""

    def __init__(self, exchange: "_Exchange", head: h11.Response) -> None:
        self.status: int = head.status_code
        self._headers = _readable(head)
        self._exchange = exchange

    def header(self, name: str) -> str:
        """Return the value of a header, empty if it is missing."""
        return self._headers.get(name.lower(), "")

    async def stream(self, *, idle: timedelta | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes, without the framing.

        Args:
            idle: Longest wait for each piece; None: without end.
        """
        while piece := await self._exchange.read_piece(idle):
            yield piece

    async def read(self, *, limit_bytes: int | None = None) -> bytes:
        """Return the whole body.

        Raises:
            BackendError: It is longer than `limit_bytes` (by default the limit of the client).
        """
        return await self._exchange.read_body(limit_bytes)


@dataclass(frozen=True, slots=True)
class RefusedUpgrade:
    """The answer of a server that did not switch protocols, read to its end.

    Attributes:
        status: Status.
        body: Body.
    """

    status: int
    body: bytes


class UpgradedStream:
    """A connection that speaks HTTP no longer. Implements the port `RawStream`."""

    def __init__(self, connection: socket.socket, initial: bytes) -> None:
        self._connection = connection
        self._initial = initial

    @property
    def initial(self) -> bytes:
        """Bytes that came right behind the answer, to be delivered first."""
        return self._initial

    def detach_fd(self) -> int:
        """Give the (non-blocking) descriptor away: from now on the caller owns and closes it.

        Raises:
            BackendError: It was closed or given away before.
        """
        fd = self._connection.detach()
        if fd < 0:
            raise BackendError("The stream was closed or given away before.")
        return fd

    def close(self) -> None:
        """Close it, unless it was given away; twice is allowed."""
        self._connection.close()


class HttpClient:
    """Sends requests to one Unix socket."""

    def __init__(self, socket_path: str, *, peer: str, limits: HttpLimits | None = None) -> None:
        """Prepare; nothing is opened.

        Args:
            socket_path: Where the server listens.
            peer: What messages call the server, such as `The container engine`.
            limits: Sizes and deadlines.
        """
        self._path = socket_path
        self._peer = peer
        self._limits = limits or HttpLimits()
        self._open: set[socket.socket] = set()
        self._is_closed = False

    @asynccontextmanager
    async def open(self, request: HttpRequest) -> AsyncIterator[HttpResponse]:
        """Send a request and hand out the answer as soon as its head is there; leaving closes the connection.

        Raises:
            OSError: What the socket says.
            BackendError: The answer is not HTTP, or larger than the limits.
            BackendTimeoutError: A deadline is over.
        """
        connection = await self._connect()
        try:
            exchange = _Exchange(connection, self._peer, self._limits)
            await exchange.send(request, {"Connection": "close"})
            head = await exchange.read_head(request.head_deadline)
            if not isinstance(head, h11.Response):
                raise BackendError(f"{self._peer} switched protocols without being asked to.")
            yield HttpResponse(exchange, head)
        finally:
            self._open.discard(connection)
            connection.close()

    async def upgrade(
        self, request: HttpRequest, *, protocol: str, raw_types: frozenset[str] = frozenset()
    ) -> UpgradedStream | RefusedUpgrade:
        """Send a request that asks for another protocol, and return its stream once the server has agreed.

        Args:
            request: The request.
            protocol: Value of `Upgrade`, such as `tcp`.
            raw_types: Content types that mean agreement too, if they come with status 200 and without a length.

        Raises:
            OSError: What the socket says.
            BackendError: The answer is not HTTP, or larger than the limits.
            BackendTimeoutError: A deadline is over.
        """
        connection = await self._connect()
        try:
            exchange = _Exchange(connection, self._peer, self._limits)
            await exchange.send(request, {"Connection": "Upgrade", "Upgrade": protocol})
            head = await exchange.read_head(request.head_deadline)
            if head.status_code == _HTTP_SWITCHING or _is_raw(head, raw_types):
                self._open.discard(connection)
                return UpgradedStream(connection, exchange.rest())
            body = await exchange.read_body(None)
        except BaseException:
            self._drop(connection)
            raise
        self._drop(connection)
        return RefusedUpgrade(head.status_code, body)

    def close(self) -> None:
        """End every running exchange and refuse new ones. Upgraded streams are their owners'."""
        self._is_closed = True
        for connection in self._open:
            # Not closed here: the task that reads it sees the end and closes it.
            with suppress(OSError):  # the engine may have gone first
                connection.shutdown(socket.SHUT_RDWR)

    async def _connect(self) -> socket.socket:
        if self._is_closed:
            raise BackendError(f"{self._peer} is not asked any more: the connection was closed on our side.")
        async with within(self._limits.connect, f"{self._peer} did not take the connection"):
            connection = await connect(self._path)
        self._open.add(connection)
        return connection

    def _drop(self, connection: socket.socket) -> None:
        self._open.discard(connection)
        connection.close()


class _Exchange:
    """One request and its answer on one connection."""

    def __init__(self, connection: socket.socket, peer: str, limits: HttpLimits) -> None:
        self._connection = connection
        self._peer = peer
        self._limits = limits
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.head_bytes)
        self._has_answer = False
        self._is_at_end = False

    async def send(self, request: HttpRequest, extra: Headers) -> None:
        """Send the request. A server that answers early and stops listening is no error: its answer is read."""
        head = h11.Request(method=request.method, target=request.target, headers=_request_headers(request, extra))
        data = self._http.send(head) or b""
        try:
            if isinstance(request.body, AsyncIterator):
                await self._send(data)
                async for piece in request.body:
                    await self._send(self._http.send(h11.Data(data=piece)) or b"")
                await self._send(self._http.send(h11.EndOfMessage()) or b"")
                return
            if request.body:
                data += self._http.send(h11.Data(data=request.body)) or b""
            await self._send(data + (self._http.send(h11.EndOfMessage()) or b""))
        except (BrokenPipeError, ConnectionResetError):
            self._http.send_failed()

    async def _send(self, data: bytes) -> None:
        async with within(self._limits.head, f"{self._peer} did not take the request"):
            await asyncio.get_running_loop().sock_sendall(self._connection, data)

    async def read_head(self, deadline: timedelta | None) -> h11.Response | h11.InformationalResponse:
        """Return the head of the answer, or the 101."""
        room = self._limits.head_bytes
        async with within(deadline or self._limits.head, f"{self._peer} did not answer"):
            while True:
                event = self._next_event()
                if event is h11.NEED_DATA:
                    if room <= 0:
                        size = format_size(self._limits.head_bytes)
                        raise BackendError(f"The head of the answer is larger than {size}.")
                    room -= await self._receive(room)
                elif isinstance(event, h11.Response):
                    _require_one_length(event, self._peer)
                    return event
                elif isinstance(event, h11.InformationalResponse) and event.status_code == _HTTP_SWITCHING:
                    return event

    async def read_piece(self, idle: timedelta | None) -> bytes:
        """Return some bytes of the body, none at its end."""
        async with within(idle, f"{self._peer} sent nothing more"):
            while True:
                event = self._next_event()
                if event is h11.NEED_DATA:
                    await self._receive(self._limits.read_bytes)
                elif isinstance(event, h11.Data):
                    if event.data:
                        return bytes(event.data)
                else:
                    return b""

    async def read_body(self, limit_bytes: int | None) -> bytes:
        """Return the whole body."""
        limit = self._limits.body_bytes if limit_bytes is None else limit_bytes
        pieces: list[bytes] = []
        size = 0
        async with within(self._limits.head, f"{self._peer} did not finish its answer"):
            while piece := await self.read_piece(None):
                size += len(piece)
                if size > limit:
                    raise BackendError(f"The answer is larger than {format_size(limit)}.")
                pieces.append(piece)
        return b"".join(pieces)

    def rest(self) -> bytes:
        """Return what has been received behind the head of an answer that switched protocols."""
        return bytes(self._http.trailing_data[0])

    async def _receive(self, limit_bytes: int) -> int:
        data = await asyncio.get_running_loop().sock_recv(self._connection, limit_bytes)
        if not data and not self._has_answer:
            raise BackendError(f"{self._peer} closed the connection without an answer.")
        self._has_answer = True
        self._is_at_end = not data
        self._http.receive_data(data)
        return len(data)

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            if self._is_at_end:
                raise BackendError(f"{self._peer} closed the connection in the middle of its answer.") from error
            raise BackendError(f"The answer is broken HTTP: {error}.") from error


def _request_headers(request: HttpRequest, extra: Headers) -> list[tuple[str, str]]:
    headers = {"Host": "localhost", **request.headers, **extra}
    if isinstance(request.body, AsyncIterator):
        headers["Transfer-Encoding"] = "chunked"
    elif request.body is not None or request.method in {"POST", "PUT"}:
        headers["Content-Length"] = str(len(request.body or b""))
    return list(headers.items())


def _readable(head: h11.Response | h11.InformationalResponse) -> dict[str, str]:
    return {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}


def _require_one_length(head: h11.Response, peer: str) -> None:
    """Refuse an answer that says its length in two ways: two readers would disagree on where it ends."""
    headers = _readable(head)
    if "content-length" in headers and "transfer-encoding" in headers:
        raise BackendError(f"{peer} gave its answer two lengths (Content-Length and Transfer-Encoding).")


def _is_raw(head: h11.Response | h11.InformationalResponse, raw_types: frozenset[str]) -> bool:
    headers = _readable(head)
    has_length = "content-length" in headers or "transfer-encoding" in headers
    return head.status_code == 200 and not has_length and headers.get("content-type", "") in raw_types
