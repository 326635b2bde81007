"""Programs for the fake engine's containers: a table of small coroutines, and the streams that people hold to them."""

import asyncio
import posixpath
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from ds01.domain.containers.pid1 import SCRIPT, STOP_EXIT_STATUS

SIGKILL_STATUS = 137
_READ_BYTES = 65536


class FileTree:
    """The files of a container: content by path, None for a directory, and links by path."""

    def __init__(self, files: dict[str, bytes | None] | None = None, links: dict[str, str] | None = None) -> None:
        self.files: dict[str, bytes | None] = {}
        self.links: dict[str, str] = dict(links or {})
        for path, content in (files or {}).items():
            self.put(path, content)

    def copy(self) -> "FileTree":
        return FileTree(self.files, self.links)

    def put(self, path: str, content: bytes | None) -> None:
        """Write a file or directory; missing parents are made."""
        parent = posixpath.dirname(path)
        while parent not in {"", "/"} and parent not in self.files:
            self.files[parent] = None
            parent = posixpath.dirname(parent)
        self.files[path] = content

    def resolve(self, path: str) -> str | None:
        """Return the path behind all links, or None if nothing is there."""
        for _ in range(40):
            link = next((part for part in _prefixes(path) if part in self.links), None)
            if link is None:
                return path if path == "/" or path in self.files else None
            target = posixpath.join(posixpath.dirname(link), self.links[link])
            path = posixpath.normpath(target + path[len(link) :])
        return None


def _prefixes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(2, len(parts) + 1)]


class Output(Protocol):
    """Where a program's output goes."""

    async def __call__(self, data: bytes, *, is_error: bool) -> None: ...


@dataclass
class FakeProcess:
    """What a program sees: its arguments, files, input, outputs, and the signals that reach it."""

    command: tuple[str, ...]
    tree: FileTree
    output: Output
    environment: dict[str, str] = field(default_factory=dict)
    user: str = ""
    stdin: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    signals: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def read(self) -> bytes:
        """Return some input, nothing at its end."""
        return await self.stdin.get()

    async def write(self, text: str) -> None:
        await self.output(text.encode(), is_error=False)

    async def write_error(self, text: str) -> None:
        await self.output(text.encode(), is_error=True)


Program = Callable[[FakeProcess], Awaitable[int]]


async def _true(_process: FakeProcess) -> int:
    return 0


async def _false(_process: FakeProcess) -> int:
    return 1


async def _echo(process: FakeProcess) -> int:
    await process.write(" ".join(process.command[1:]) + "\n")
    return 0


async def _cat(process: FakeProcess) -> int:
    for path in process.command[1:]:
        target = process.tree.resolve(path)
        content = None if target is None else process.tree.files[target]
        if content is None:
            await process.write_error(f"cat: can't open '{path}': No such file or directory\n")
            return 1
        await process.write(content.decode())
    while len(process.command) == 1 and (data := await process.read()):
        await process.write(data.decode())
    return 0


async def _link(process: FakeProcess) -> int:
    target, path = process.command[-2:]
    process.tree.links[path] = target
    return 0


async def _forever(process: FakeProcess) -> int:
    """As PID 1 of a container: without a handler TERM does nothing."""
    while await process.signals.get() != "KILL":
        pass
    return SIGKILL_STATUS


async def our_pid1(process: FakeProcess) -> int:
    """The loop that DS01 puts into containers: TERM ends it."""
    signal = await process.signals.get()
    return STOP_EXIT_STATUS if signal == "TERM" else SIGKILL_STATUS


def default_programs() -> dict[str, Program]:
    """Return the programs by name; a shell's scripts are found by their whole text."""
    return {
        "true": _true,
        "false": _false,
        "echo": _echo,
        "cat": _cat,
        "ln": _link,
        "sleep": _forever,
        SCRIPT: our_pid1,
    }


class ProgramStream:
    """The client's end of a program's stream, and the server's end in tasks. Implements the port `RawStream`."""

    def __init__(self) -> None:
        self._client, self._server = socket.socketpair()
        self._client.setblocking(False)
        self._server.setblocking(False)
        self._was_given_away = False

    @property
    def initial(self) -> bytes:
        return b""

    def detach_fd(self) -> int:
        self._was_given_away = True
        return self._client.detach()

    def close(self) -> None:
        if not self._was_given_away:
            self._client.close()

    async def feed(self, stdin: asyncio.Queue[bytes], *, passes_end: bool = True) -> None:
        """Bring what the client sends to the program, and the end of it as nothing."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await loop.sock_recv(self._server, _READ_BYTES):
                stdin.put_nowait(data)
        if passes_end:
            stdin.put_nowait(b"")

    async def send(self, data: bytes) -> None:
        """Bring output to the client; one that has gone is no error, as with the real engine."""
        with suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(self._server, data)

    def end(self) -> None:
        self._server.close()


def frame(data: bytes, *, is_error: bool) -> bytes:
    """Return output as the engine frames it for programs without a terminal."""
    return bytes([2 if is_error else 1, 0, 0, 0]) + len(data).to_bytes(4, "big") + data
