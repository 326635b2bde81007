"""A program on a pseudo-terminal, as a person has it: controlling terminal, size, keys."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

DEFAULT_TIMEOUT_S = 60.0
"""For a machine with other things to do; a test that passes never waits it out."""
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>]")


class Terminal:
    """Runs a program; `type` presses keys, `wait_for` reads until a text was shown."""

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], *, rows: int = 30, columns: int = 100, cwd: str = "/"
    ) -> None:
        self._ours, self._theirs = pty.openpty()
        self.resize(rows, columns)
        self.modes_before = self.modes()
        self.output = b""
        # setsid --ctty makes the pseudo-terminal the controlling one and keeps the process id
        command = ["setsid", "--ctty", *argv]
        self.process = subprocess.Popen(
            command, env=dict(environment), stdin=self._theirs, stdout=self._theirs, stderr=self._theirs, cwd=cwd
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def modes(self) -> list[Any]:
        """Return the terminal's modes."""
        return termios.tcgetattr(self._theirs)

    def is_raw(self) -> bool:
        return not self.modes()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def text(self) -> str:
        """Return what was shown so far, without colours and movements."""
        return _ESCAPES.sub(b"", self.output).decode("utf-8", "replace").replace("\r\n", "\n")

    def wait_for(self, text: str, timeout_s: float = DEFAULT_TIMEOUT_S, *, times: int = 1) -> None:
        deadline = time.monotonic() + timeout_s
        while self.text().count(text) < times:
            assert self._read(deadline), f"{text!r} was not shown:\n{self.text()}"

    def wait(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """Read until the program ends and return its status, negative for a signal."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            self._read(min(deadline, time.monotonic() + 0.05))
            assert time.monotonic() < deadline, f"it did not end:\n{self.text()}"
        while self._read(time.monotonic()):
            pass
        return self.process.returncode

    def _read(self, deadline: float) -> bool:
        """Read what is there until the deadline; False if nothing came."""
        readable, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            return False
        self.output += os.read(self._ours, 65536)
        return True
