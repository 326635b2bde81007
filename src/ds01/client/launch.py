"""Starting the user's own daemon in personal mode. Two racing commands start one: a lock decides, not luck."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ds01.api.location import LOCK_NAME, LOG_NAME, Location, prepare_folder
from ds01.api.place import Place
from ds01.client.wire import connect
from ds01.errors import BackendError, ConflictError, DaemonUnreachableError

START_LOCK_NAME = "start.lock"
START_TIMEOUT_S = 30.0
"""One that leaves may take 10 s to undo what it broke off, and holds the lock until then."""
POLL_S = 0.02
LOG_LINES = 5
MAX_LOG_BYTES = 16 * 1024
DAEMON_COMMAND = (sys.executable, "-m", "ds01.daemon.main", "--personal")


def launch(
    location: Location | Place, *, command: Sequence[str] = DAEMON_COMMAND, timeout_s: float = START_TIMEOUT_S
) -> None:
    """Return when the user's daemon answers on its socket; start it if nobody else does.

    Args:
        location: Of a personal daemon.
        command: What to start.
        timeout_s: How long it may take until the socket answers.

    Raises:
        DaemonUnreachableError: It did not start; the hint holds the last lines of its log.
        ForbiddenError: One of its folders belongs to somebody else.
        BackendError: One of its folders or files cannot be made.
    """
    for folder in {Path(location.state): None, Path(location.socket).parent: None}:
        prepare_folder(folder, os.getuid())
    deadline = time.monotonic() + timeout_s
    lock = _open_lock(os.path.join(location.state, START_LOCK_NAME))
    try:
        _lock_until(lock, deadline, location)
        _start_until(location, command, deadline)
    finally:
        os.close(lock)


def wait_until_gone(location: Location | Place, pid: int, *, timeout_s: float = START_TIMEOUT_S) -> None:
    """Return when the daemon with this process id no longer answers: it was asked to leave.

    Raises:
        DaemonUnreachableError: It stays.
    """
    deadline = time.monotonic() + timeout_s
    while _answering_pid(location) == pid:
        if time.monotonic() > deadline:
            message = f"The old ds01d (process {pid}) was asked to leave and still answers after {timeout_s:.0f} s."
            raise DaemonUnreachableError(message, hint=_log_hint(location))
        time.sleep(POLL_S)


def _start_until(location: Location | Place, command: Sequence[str], deadline: float) -> None:
    process: subprocess.Popen[bytes] | None = None
    try:
        while _answering_pid(location) is None:
            if process is not None and process.poll() is not None:
                _require_repeatable(process.returncode, location)
                process = None
            if process is None and not _is_daemon_alive(location):
                _remove_stale_socket(location)
                process = _spawn(location, command)
            if time.monotonic() > deadline:
                message = "ds01d was started and does not answer on its socket."
                raise DaemonUnreachableError(message, hint=_log_hint(location))
            time.sleep(POLL_S)
    finally:
        if process is not None and process.poll() is None:
            process.returncode = 0  # it outlives this command: nobody will wait for it


def _require_repeatable(status: int, location: Location | Place) -> None:
    """Raise unless the daemon ended because it found the lock taken, by one that is leaving or not ready yet."""
    if status not in {0, ConflictError.exit_status} and not _is_daemon_alive(location):
        message = f"ds01d ended with status {status} while it was being started."
        raise DaemonUnreachableError(message, hint=_log_hint(location))


def _answering_pid(location: Location | Place) -> int | None:
    try:
        connection = connect(os.fspath(location.socket))
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    pid = connection.peer_pid()
    connection.close()
    return pid


def _is_daemon_alive(location: Location | Place) -> bool:
    """A daemon holds an exclusive lock on a file of its state folder for as long as it lives.

    Looking takes the lock for a moment, so it is done under the start lock and never while our own daemon starts.
    """
    lock = _open_lock(os.path.join(location.state, LOCK_NAME))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _open_lock(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as failure:
        raise BackendError(f"The file {path} cannot be opened: {failure.strerror}.") from failure


def _lock_until(lock: int, deadline: float, location: Location | Place) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as failure:
            if time.monotonic() > deadline:
                message = "Another command is starting ds01d and does not come to an end."
                raise DaemonUnreachableError(message, hint=_log_hint(location)) from failure
            time.sleep(POLL_S)
        else:
            return


def _remove_stale_socket(location: Location | Place) -> None:
    try:
        os.unlink(location.socket)
    except FileNotFoundError:
        return
    except OSError as failure:
        raise BackendError(f"The old socket {location.socket} cannot be removed: {failure.strerror}.") from failure


def _spawn(location: Location | Place, command: Sequence[str]) -> subprocess.Popen[bytes]:
    log = _open_log(location)
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True, close_fds=True
        )
    except OSError as failure:
        raise DaemonUnreachableError(f"{command[0]} cannot be started: {failure.strerror}.") from failure
    finally:
        os.close(log)


def _open_log(location: Location | Place) -> int:
    path = os.path.join(location.state, LOG_NAME)
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as failure:
        raise BackendError(f"The log {path} cannot be opened: {failure.strerror}.") from failure


def _log_hint(location: Location | Place) -> str:
    path = os.path.join(location.state, LOG_NAME)
    try:
        with open(path, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - MAX_LOG_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()[-LOG_LINES:]
    except OSError:
        lines = []
    return "\n".join(
        [f"Its log is {path}" + (", and ends with:" if lines else "; it is empty."), *(f"  {line}" for line in lines)]
    )
