"""Starts `user_helper.py`, asks it one thing, and gives it a deadline.

A file system that hangs (FUSE, NFS) hangs the helper and nothing else: it is killed and left to the kernel.

    ask() --> the one that is ready, else a new one --> becomes the user, answers, ends
                                                        meanwhile the next one is made ready

An interpreter takes most of an answer's time to start. The one that is ready waits for its only request at the end of a
pipe, as nobody yet; it ends when the pipe does, however the daemon ended.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from ds01.domain.user import User
from ds01.errors import BackendError, BackendTimeoutError, ForbiddenError

log = logging.getLogger(__name__)
HELPER_COMMAND = (sys.executable, "-I", "-S", "-B", "-X", "utf8", str(Path(__file__).with_name("user_helper.py")))
HELPER_DEADLINE = timedelta(seconds=5)
# Killed helpers that a dead file system does not let go count too: one user cannot fill the process table with them.
MOST_HELPERS_OF_A_USER = 8
_STDERR_SHOWN = 500


class HelperProcesses:
    """Runs the helper as users, a few at a time for each.

    Args:
        command: Program and arguments.
        deadline: For one answer, from start to end.
        keeps_one_ready: After the first answer one helper is always started ahead; `close` ends it.
    """

    def __init__(
        self,
        command: Sequence[str] = HELPER_COMMAND,
        deadline: timedelta = HELPER_DEADLINE,
        *,
        keeps_one_ready: bool = False,
    ) -> None:
        self._command = tuple(command)
        self._deadline = deadline
        self._keeps_one_ready = keeps_one_ready
        self._ready: asyncio.subprocess.Process | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._places: dict[int, asyncio.Semaphore] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def ask(self, user: User, request: Mapping[str, object]) -> Mapping[str, object]:
        """Return the helper's answer.

        Args:
            user: Whom it becomes.
            request: What it shall do; the user is added here.

        Raises:
            ForbiddenError: This daemon may not become that user.
            BackendTimeoutError: It did not answer in time, or too many of this user's have not.
            BackendError: It could not be started, or failed.
        """
        if os.geteuid() not in {0, user.uid}:
            raise ForbiddenError(
                f"This ds01d runs for one user and cannot act for {user.name}.",
                hint="Directories of several users need the server mode, where ds01d runs as root.",
            )
        await self._take_place(user)
        identity = {"uid": user.uid, "gid": user.gid, "groups": list(user.supplementary_gids)}
        return _parse_answer(await self._run(user, json.dumps({**request, **identity}).encode()))

    async def close(self) -> None:
        """End the helper that is ready. Wait for those that were killed, but no longer than for an answer.

        A dead file system keeps its own.
        """
        self._keeps_one_ready = False
        if self._preparing is not None:
            await self._preparing
        ready, self._ready = self._ready, None
        if ready is not None:
            self._kill(ready)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=self._deadline.total_seconds())

    async def _take_place(self, user: User) -> None:
        """Wait for one of the user's places: many requests at once are fine, many that hang are not."""
        place = self._places.setdefault(user.uid, asyncio.Semaphore(MOST_HELPERS_OF_A_USER))
        try:
            async with asyncio.timeout(self._deadline.total_seconds()):
                await place.acquire()
        except TimeoutError as error:
            raise BackendTimeoutError(
                f"{MOST_HELPERS_OF_A_USER} look-ups of directories of {user.name} have not ended.",
                hint="A file system may hang: mount | grep -E 'nfs|fuse'",
            ) from error

    async def _run(self, user: User, request: bytes) -> bytes:
        process: asyncio.subprocess.Process | None = None
        try:
            process = self._take_ready() or await self._start()
            async with asyncio.timeout(self._deadline.total_seconds()):
                output, complaint = await process.communicate(request)
        except TimeoutError as error:
            raise BackendTimeoutError(
                f"The file system did not answer for {user.name} within {self._deadline.total_seconds():g} s.",
                hint="A network or FUSE mount may hang: mount | grep -E 'nfs|fuse'",
            ) from error
        finally:
            self._let_go(process, user.uid)
        if process.returncode != 0:
            said = complaint.decode(errors="replace").strip()[-_STDERR_SHOWN:]
            raise BackendError(f"The helper for directories of {user.name} failed ({process.returncode}): {said}")
        if self._keeps_one_ready and self._ready is None and self._preparing is None:
            self._preparing = asyncio.create_task(self._make_ready())
        return output

    @property
    def has_one_ready(self) -> bool:
        """A helper that was started ahead waits for its request."""
        return self._ready is not None and self._ready.returncode is None

    def _take_ready(self) -> asyncio.subprocess.Process | None:
        ready, self._ready = self._ready, None
        if ready is not None and ready.returncode is not None:
            self._kill(ready)  # it is dead: only its pipes are left
            return None
        return ready

    async def _make_ready(self) -> None:
        try:
            self._ready = await self._start()
        except BackendError as failure:
            log.warning("no helper was started ahead: %s", failure)  # the next request tries it again
        finally:
            self._preparing = None

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd="/",
                env={},
                umask=0o077,
                start_new_session=True,
            )
        except OSError as error:
            raise BackendError(f"The helper for directories cannot be started: {error.strerror}.") from error

    def _let_go(self, process: asyncio.subprocess.Process | None, uid: int) -> None:
        if process is None or process.returncode is not None:
            self._forget(uid)
            return
        self._kill(process).add_done_callback(lambda _: self._forget(uid))

    def _kill(self, process: asyncio.subprocess.Process) -> asyncio.Task[None]:
        """Nobody waits for it: in a hanging file system it ends when that answers, or never."""
        with suppress(ProcessLookupError):
            process.kill()
        leaving = asyncio.create_task(_see_off(process))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        return leaving

    def _forget(self, uid: int) -> None:
        self._places[uid].release()


async def _see_off(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    await process.communicate()  # not wait(): its pipes must be closed too before its place is given away


def _parse_answer(output: bytes) -> Mapping[str, object]:
    try:
        answer = json.loads(output)
    except ValueError as error:
        raise BackendError("The helper for directories gave no answer.") from error
    if not isinstance(answer, dict):
        raise BackendError("The helper for directories gave no answer.")
    return answer
