"""A program on a terminal that remembers what is shown: characters, colours, cursor."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import pyte

TIMEOUT_S = 30.0
QUIET_S = 0.3
"""A program that has shown nothing for so long is taken to wait for keys."""


class _AnsweringScreen(pyte.Screen):
    """Programs ask where the cursor is, and a terminal answers."""

    def __init__(self, columns: int, rows: int, descriptor: int) -> None:
        super().__init__(columns, rows)
        self._descriptor = descriptor

    def write_process_input(self, data: str) -> None:
        """Send the terminal's answer to the program."""
        os.write(self._descriptor, data.encode())


class ShownTerminal:
    """Runs a program on a pseudo-terminal and shows it as a terminal would.

    Attributes:
        screen: What is shown now.
    """

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], *, columns: int, rows: int, cwd: str = "/"
    ) -> None:
        """Start the program.

        Args:
            argv: Its words.
            environment: Its environment; TERM is set.
            columns: Width of the terminal in characters.
            rows: Its height in lines.
            cwd: Folder that it is started in.
        """
        self._ours, theirs = pty.openpty()
        self.screen = _AnsweringScreen(columns, rows, self._ours)
        self._stream = pyte.ByteStream(self.screen)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *argv],
            env={**environment, "TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        """Return the terminal."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """End the program."""
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def text(self) -> str:
        """Return what is shown, as text."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, text: str) -> None:
        """Wait until a text is shown and the program waits for keys.

        Raises:
            TimeoutError: It was not shown.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.text():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{text!r} was not shown:\n{self.text()}")
            self._read(1.0)
        while self._read(QUIET_S):
            pass

    def _read(self, timeout_s: float) -> bool:
        readable, _, _ = select.select([self._ours], [], [], timeout_s)
        if not readable:
            return False
        try:
            output = os.read(self._ours, 65536)
        except OSError:  # the program ended
            return False
        self._stream.feed(_without_dim(output))
        return True


def _without_dim(output: bytes) -> bytes:
    """Let grey stand for dim, which pyte does not know."""
    return output.replace(b"\x1b[2m", b"\x1b[90m")
