"""The daemon's end of one NVML child process: start, ask with a deadline, hear reports, end without a zombie."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from typing import cast

from ds01.adapters.nvml.wire import Answer, Arguments, Question, Report, ReportAnswer, Request
from ds01.errors import BackendError, BackendTimeoutError

# Longest answer: some hundred devices and a few thousand processes at about 300 bytes each, with room to spare.
_LONGEST_LINE_BYTES = 16 << 20
# How long a killed child is waited for. One that is stuck in the driver does not die before the driver lets it go.
_FAREWELL_S = 1.0
_MOST_REPORTS = 1000


class ChildProcess:
    """One child. It answers one question after the other; once a question failed here it must be ended."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._last_id = 0
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._reports: deque[ReportAnswer] = deque(maxlen=_MOST_REPORTS)
        self._news = asyncio.Event()
        self._end_reason: str | None = None
        self._listening = asyncio.create_task(self._listen())

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

    async def ask(self, question: Question, arguments: Arguments | None = None, *, deadline_s: float) -> Answer:
        """Return the answer to one question.

        Args:
            question: What is wanted.
            arguments: Of a change.
            deadline_s: How long to wait, seconds.

        Raises:
            BackendTimeoutError: No answer in time: a call hangs in the driver.
            BackendError: The child has ended.
        """
        if self._end_reason is not None:
            raise _broken(self._end_reason)
        self._last_id += 1
        request = Request(id=self._last_id, ask=question, arguments=arguments or {})
        waited: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[request["id"]] = waited
        try:
            async with asyncio.timeout(deadline_s):
                self._writer.write(json.dumps(request).encode() + b"\n")
                await self._writer.drain()
                return await waited
        except TimeoutError as error:
            raise BackendTimeoutError(
                f"The NVIDIA driver did not answer within {deadline_s:g} s, so the GPUs are unknown.",
                hint="Look for a GPU that hangs: `dmesg | grep -iE 'nvrm|xid'`.",
            ) from error
        except OSError as error:
            raise _broken(str(error)) from error
        finally:
            del self._asked[request["id"]]

    async def next_report(self, timeout_s: float) -> ReportAnswer | None:
        """Return the oldest report that nobody has taken; None when none comes in time.

        Raises:
            BackendError: The child has ended.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not self._reports:
                    if self._end_reason is not None:
                        raise _broken(self._end_reason)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return None
        return self._reports.popleft()

    async def _listen(self) -> None:
        """Hand out what the child says, until it ends. An answer that nobody waits for any more is dropped."""
        reason = "it ended"
        try:
            while (line := await self._reader.readline()).endswith(b"\n"):
                self._hear(json.loads(line))
            if line:
                reason = "it ended in the middle of an answer"
        except (OSError, ValueError) as error:  # ValueError: a line that is too long or no JSON
            reason = str(error)
        finally:
            self._end_reason = reason
            self._news.set()
            for waited in self._asked.values():
                if not waited.done():
                    waited.set_exception(_broken(reason))

    def _hear(self, said: Answer | Report) -> None:
        if "report" in said:
            self._reports.append(cast("Report", said)["report"])
            self._news.set()
            return
        waited = self._asked.get(said["id"])
        if waited is not None and not waited.done():
            waited.set_result(said)

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
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
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
