"""A daemon whose answers are written down beforehand: a real Unix socket, served by a thread."""

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from ds01 import VERSION
from ds01.api.location import Location

ACCEPT_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def document(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body)
        return found


Handler = Callable[[Request, socket.socket], None]
Answer = bytes | Handler


@dataclass
class ScriptedDaemon:
    """Answers each request by its method and path; what is not written down gets 404.

    Attributes:
        socket_path: Where it listens.
        answers: `GET /v1/status` to bytes, or to a function that talks on the connection.
        requests: What was asked, in order.
    """

    socket_path: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.socket_path))
        self._listener.listen(64)
        self._listener.settimeout(ACCEPT_PAUSE_S)
        self._ends = threading.Event()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._acceptor.join()
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=10)

    @property
    def location(self) -> Location:
        return Location(self.socket_path, self.socket_path.parent, self.socket_path.parent, is_personal=False)

    def asked(self) -> list[str]:
        return [f"{request.method} {request.target}" for request in self.requests]

    def _accept(self) -> None:
        while not self._ends.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._serve, args=(connection,))
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(60)
        with connection:
            request = read_request(connection)
            if request is None:
                return
            self.requests.append(request)
            answer = self.answers.get(
                f"{request.method} {request.path}", problem(404, "not_found", "Not written down.")
            )
            try:
                if callable(answer):
                    answer(request, connection)
                else:
                    connection.sendall(answer)
            except (BrokenPipeError, ConnectionResetError):
                return  # the client has heard enough


def read_request(connection: socket.socket) -> Request | None:
    """Return the next request; None if the client went away."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        return Request(method, target, headers, _read_chunks(connection, body))
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return Request(method, target, headers, body)


def _read_chunks(connection: socket.socket, data: bytes) -> bytes:
    content = b""
    while True:
        while b"\r\n" not in data:
            data += connection.recv(65536)
        size_text, _, data = data.partition(b"\r\n")
        size = int(size_text, 16)
        while len(data) < size + 2:
            data += connection.recv(65536)
        content, data = content + data[:size], data[size + 2 :]
        if not size:
            return content


def http(status: int, body: bytes, *, kind: str = "application/json", headers: str = "") -> bytes:
    """Return an answer with a length."""
    return (
        f"HTTP/1.1 {status} Some Reason\r\nDS01-Version: {VERSION}\r\nContent-Type: {kind}\r\n"
        f"{headers}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def ok(document: object) -> bytes:
    """Return a document as an answer."""
    return http(200, json.dumps(document).encode())


def problem(status: int, code: str, detail: str, hint: str | None = None) -> bytes:
    """Return a problem document as an answer."""
    document = {
        "type": f"urn:ds01:error:{code}",
        "title": "T",
        "status": status,
        "detail": detail,
        "code": code,
        "exit_status": 1,
    }
    if hint:
        document["hint"] = hint
    return http(status, json.dumps(document).encode(), kind="application/problem+json")


def stream_head(kind: str = "application/x-ndjson") -> bytes:
    """Return the head of an answer in chunks."""
    return (
        f"HTTP/1.1 200 OK\r\nDS01-Version: {VERSION}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()


def chunk(data: bytes) -> bytes:
    """Return one chunk; an empty one ends the answer."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def line(document: object) -> bytes:
    """Return one line of a stream as a chunk."""
    return chunk(json.dumps(document).encode() + b"\n")


UPGRADED = (
    f"HTTP/1.1 101 Switching Protocols\r\nDS01-Version: {VERSION}\r\n"
    "Connection: Upgrade\r\nUpgrade: ds01-stream\r\n\r\n"
).encode()
