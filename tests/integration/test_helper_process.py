"""The helper that becomes a user: one request each, a deadline, and the next one started ahead."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ds01.adapters.linux.accounts import LinuxAccounts
from ds01.adapters.linux.directories import LinuxDirectories
from ds01.adapters.linux.helper_process import HELPER_COMMAND, MOST_HELPERS_OF_A_USER, HelperProcesses
from ds01.errors import BackendError, BackendTimeoutError


async def wait_until(is_so: Callable[[], bool], what: str) -> None:
    for _ in range(500):
        if is_so():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"waited too long until {what}")


def has_ended(pid: str) -> bool:
    return not Path("/proc", pid.strip()).exists()


@pytest.mark.parametrize("hang", ["exec sleep 600", "kill -STOP $$"], ids=["hanging", "stopped"])
async def test_a_helper_that_does_not_answer_is_killed_at_its_deadline(tmp_path: Path, hang: str) -> None:
    pid_file = tmp_path / "pid"
    command = ("/bin/sh", "-c", f"echo $$ > {pid_file}; {hang}")
    directories = LinuxDirectories(helpers=HelperProcesses(command, timedelta(seconds=0.5)))
    user = LinuxAccounts().get_user(os.getuid())
    with pytest.raises(BackendTimeoutError, match=r"within 0\.5 s"):
        await directories.resolve(user, "/data", create=False)
    await directories.close()
    assert has_ended(pid_file.read_text())


async def test_a_caller_that_is_cancelled_leaves_no_helper_behind(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = ("/bin/sh", "-c", f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 600")
    directories = LinuxDirectories(helpers=HelperProcesses(command))
    user = LinuxAccounts().get_user(os.getuid())
    task = asyncio.create_task(directories.resolve(user, "/data", create=False))
    await wait_until(pid_file.exists, "the helper runs")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await directories.close()
    assert has_ended(pid_file.read_text())


async def test_many_requests_of_one_user_at_once_all_get_their_answer(tmp_path: Path) -> None:
    directories = LinuxDirectories()
    user = LinuxAccounts().get_user(os.getuid())
    wanted = [f"{tmp_path}/{number}" for number in range(2 * MOST_HELPERS_OF_A_USER + 1)]
    found = await asyncio.gather(*(directories.resolve(user, path, create=True) for path in wanted))
    assert [directory.path for directory in found] == wanted


async def test_one_user_cannot_start_helpers_without_end(tmp_path: Path) -> None:
    helpers = HelperProcesses(("/bin/sh", "-c", f"touch {tmp_path}/$$; exec sleep 600"), timedelta(seconds=1))
    user = LinuxAccounts().get_user(os.getuid())
    asked = [asyncio.create_task(helpers.ask(user, {})) for _ in range(MOST_HELPERS_OF_A_USER + 1)]
    await wait_until(lambda: len(list_started(tmp_path)) == MOST_HELPERS_OF_A_USER, "all places are taken")
    await asyncio.sleep(0.2)
    assert len(list_started(tmp_path)) == MOST_HELPERS_OF_A_USER
    errors = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(error, BackendTimeoutError) for error in errors)
    await helpers.close()
    assert all(has_ended(pid) for pid in list_started(tmp_path))
    with pytest.raises(BackendTimeoutError, match="did not answer"):  # their places are free again
        await helpers.ask(user, {})
    await helpers.close()


def list_started(folder: Path) -> set[str]:
    return {started.name for started in folder.iterdir()}


def ahead_of_its_request(folder: Path) -> tuple[str, ...]:
    """A helper that notes that it was started, and answers with its pid once it was asked."""
    script = f'touch {folder}/$$; request=$(cat); [ -n "$request" ] && echo "{{\\"pid\\": \\"$$\\"}}"'
    return ("/bin/sh", "-c", script)


async def ask(helpers: HelperProcesses) -> str:
    """Return the pid of the helper that answered."""
    return str((await helpers.ask(LinuxAccounts().get_user(os.getuid()), {}))["pid"])


async def test_the_next_request_finds_a_helper_that_was_started_ahead(tmp_path: Path) -> None:
    helpers = HelperProcesses(ahead_of_its_request(tmp_path), keeps_one_ready=True)
    try:
        first = await ask(helpers)
        await wait_until(lambda: len(list_started(tmp_path)) == 2, "the next one was started")
        assert helpers.has_one_ready
        assert list_started(tmp_path) == {first, await ask(helpers)}
    finally:
        await helpers.close()


async def test_each_helper_answers_one_request_and_ends(tmp_path: Path) -> None:
    helpers = HelperProcesses(ahead_of_its_request(tmp_path), keeps_one_ready=True)
    pids = await asyncio.gather(*(ask(helpers) for _ in range(3)))
    pids += [await ask(helpers) for _ in range(3)]
    await helpers.close()
    assert len(set(pids)) == 6
    assert not helpers.has_one_ready
    assert all(has_ended(pid) for pid in list_started(tmp_path))


async def test_a_helper_that_died_before_its_request_is_replaced(tmp_path: Path) -> None:
    helpers = HelperProcesses(ahead_of_its_request(tmp_path), keeps_one_ready=True)
    try:
        first = await ask(helpers)
        await wait_until(lambda: len(list_started(tmp_path)) == 2, "the next one was started")
        [ready] = list_started(tmp_path) - {first}
        os.kill(int(ready), signal.SIGKILL)
        await wait_until(lambda: not helpers.has_one_ready, "it is dead")
        assert await ask(helpers) not in {first, ready}
    finally:
        await helpers.close()


async def test_a_helper_that_nobody_asks_ends_with_its_daemon() -> None:
    done = await asyncio.to_thread(subprocess.run, HELPER_COMMAND, stdin=subprocess.DEVNULL, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("command", [("/bin/false",), ("/bin/true",), ("/bin/echo", "[]"), ("/does/not/exist",)])
async def test_a_helper_that_fails_is_an_error_and_not_an_answer(command: tuple[str, ...]) -> None:
    directories = LinuxDirectories(helpers=HelperProcesses(command))
    with pytest.raises(BackendError, match="helper for directories"):
        await directories.resolve(LinuxAccounts().get_user(os.getuid()), "/data", create=False)
