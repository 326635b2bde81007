"""The daemon's end of one NVML child process: start, ask with a deadline, end without a zombie."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import cast

from ds01.adapters.nvml.wire import Answer, Reading, Request
from ds01.errors import BackendError, BackendTimeoutError

# Longest answer: some hundred devices and a few thousand processes at about 300 bytes each, with room to spare.
_LONGEST_LINE_BYTES = 16 << 20
# How long a killed child is waited for. One that is stuck in the driver does not die before the driver lets it go.
_FAREWELL_S = 1.0


class ChildProcess:
    """One child. It serves one question at a time; once a question failed here it must be ended."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._last_id = 0

    @classmethod
    async def start(cls, environment: Mapping[str, str] | None = None) -> "ChildProcess":
        """Start a child; it loads the library at the first question.

        Args:
            environment: Variables of the child; None for those of this process.

        Raises:
            BackendError: The operating system refuses a process.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # The streams first: between the start of the process and the return nothing may be interrupted.
            try:
                reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_LONGEST_LINE_BYTES)
            except asyncio.CancelledError:
                ours.close()
                raise
            try:
                process = _start_program(theirs.fileno(), environment)
            except OSError as error:
                writer.close()
                raise BackendError(
                    f"The process that reads the GPUs cannot be started: {error}.",
                    hint="Look for limits on processes or memory: `systemctl status ds01d`.",
                ) from error
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def ask(self, read: Reading, *, deadline_s: float) -> Answer:
        """Return the answer to one question.

        Args:
            read: What is wanted.
            deadline_s: How long to wait, seconds.

        Raises:
            BackendTimeoutError: No answer in time: a call hangs in the driver.
            BackendError: The child has ended.
        """
        self._last_id += 1
        request = Request(id=self._last_id, read=read)
        try:
            async with asyncio.timeout(deadline_s):
                self._writer.write(json.dumps(request).encode() + b"\n")
                await self._writer.drain()
                return await self._read_answer(request["id"])
        except TimeoutError as error:
            raise BackendTimeoutError(
                f"The NVIDIA driver did not answer within {deadline_s:g} s, so the GPUs are unknown.",
                hint="Look for a GPU that hangs: `dmesg | grep -iE 'nvrm|xid'`.",
            ) from error
        except (OSError, ValueError) as error:  # ValueError: a line that is too long or no JSON
            raise _broken(str(error)) from error

    async def _read_answer(self, wanted_id: int) -> Answer:
        """Read on to the wanted answer: one that nobody waited for any more may come before it."""
        while True:
            line = await self._reader.readline()
            if not line.endswith(b"\n"):
                raise _broken("it ended in the middle of an answer" if line else "it ended")
            answer = cast("Answer", json.loads(line))
            if answer["id"] == wanted_id:
                return answer

    def kill(self) -> None:
        """Kill the child without waiting; a question that it was asked fails."""
        self._writer.close()
        if not self.is_gone():
            self._process.send_signal(signal.SIGKILL)

    async def end(self) -> bool:
        """Kill the child and wait a moment for it.

        Returns:
            Whether it is gone. If not, it is stuck in the driver: ask `is_gone` later, which also reaps it.
        """
        self.kill()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        if self.is_gone():
            return True
        try:
            async with asyncio.timeout(_FAREWELL_S):
                await self._exited()
        except TimeoutError:
            return False
        return self.is_gone()

    def is_gone(self) -> bool:
        """Return whether the process has ended, and take its exit status so that no zombie stays."""
        return self._process.poll() is not None

    async def _exited(self) -> None:
        """Wait for the end of the process; a process descriptor becomes readable then. Source: pidfd_open(2)."""
        descriptor = os.pidfd_open(self._process.pid)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)


def _start_program(channel: int, environment: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: the current directory must not be able to supply modules to a process of root.
        [sys.executable, "-P", "-m", "ds01.adapters.nvml.child"],
        stdin=channel,
        stdout=channel,
        env=environment,
        start_new_session=True,  # Ctrl-C in a terminal is the daemon's to handle
    )


def _broken(reason: str) -> BackendError:
    return BackendError(
        f"The process that reads the GPUs failed ({reason}), so the GPUs are unknown.",
        hint="Its last words are in the log: `journalctl -u ds01d`.",
    )
