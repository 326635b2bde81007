"""Starting a personal daemon: real processes, real locks. The daemon is a small stand-in with the same lock."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ds01 import VERSION
from ds01.api.location import Location
from ds01.api.place import Place as PlainPlace
from ds01.client import Client
from ds01.client.launch import launch
from ds01.errors import BackendError, DaemonUnreachableError, ForbiddenError

# Holds the lock for its life, notes that it was started, answers with the version it is told, leaves when asked to.
STAND_IN = """
import fcntl, json, os, socket, sys, time
path, state, version, delay = sys.argv[1:5]
lock = open(os.path.join(state, "daemon.lock"), "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit(8)
with open(os.path.join(state, "started"), "a") as started:
    started.write(f"{os.getpid()}\\n")
print("waking up", flush=True)
time.sleep(float(delay))
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(64)
leaving = False
while not leaving:
    connection, _ = listener.accept()
    request = connection.recv(65536)
    if request:
        leaving = request.startswith(b"POST /v1/shutdown")
        body = json.dumps({"schema_version": 1, "version": version}).encode()
        head = f"HTTP/1.1 200 OK\\r\\nDS01-Version: {version}\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
        connection.sendall(head.encode() + body)
    connection.close()
listener.close()
os.unlink(path)
"""


class Place:
    """A folder for one personal daemon."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.location = Location(folder / "run" / "api.sock", self.state, folder, is_personal=True)
        self.script = folder / "stand_in.py"
        self.script.write_text(STAND_IN, encoding="utf-8")

    def command(self, version: str = VERSION, delay: str = "0") -> list[str]:
        return [sys.executable, "-I", str(self.script), str(self.location.socket), str(self.state), version, delay]

    def launch(self, location: Location | PlainPlace) -> None:
        launch(location, command=self.command())

    def pids(self) -> list[int]:
        file = self.state / "started"
        return [int(text) for text in file.read_text(encoding="ascii").split()] if file.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    here = Place(tmp_path)
    yield here
    for pid in here.pids():
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def test_a_personal_daemon_is_started_when_it_is_asked_and_found_again(place: Place) -> None:
    assert Client(place.location, launcher=place.launch).get_status()["version"] == VERSION
    assert Client(place.location, launcher=place.launch).get_status()["version"] == VERSION
    assert len(place.pids()) == 1
    assert place.state.stat().st_mode & 0o777 == 0o700


def test_ten_racing_commands_start_one_daemon(place: Place) -> None:
    barrier = threading.Barrier(10)
    failures: list[Exception] = []

    def start() -> None:
        barrier.wait()
        try:
            launch(place.location, command=place.command(delay="0.2"))
        except DaemonUnreachableError as failure:
            failures.append(failure)

    threads = [threading.Thread(target=start) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failures, len(place.pids())) == ([], 1)


def test_racing_processes_start_one_daemon(place: Place) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from ds01.api.location import Location; from ds01.client.launch import launch\n"
        "path, state, *command = sys.argv[1:]\n"
        "launch(Location(Path(path), Path(state), Path(state), True), command=command)"
    )
    argv = [sys.executable, "-c", code, str(place.location.socket), str(place.state), *place.command(delay="0.2")]
    racing = [subprocess.Popen(argv) for _ in range(4)]
    assert [process.wait(timeout=30) for process in racing] == [0] * 4
    assert len(place.pids()) == 1


def test_a_stale_socket_is_replaced(place: Place) -> None:
    place.location.socket.parent.mkdir()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(place.location.socket))
    stale.close()
    assert Client(place.location, launcher=place.launch).get_status()["version"] == VERSION


def test_a_daemon_that_cannot_start_is_said_with_the_end_of_its_log(place: Place) -> None:
    bad = [sys.executable, "-I", "-c", "import sys; sys.exit('the database is broken')"]
    with pytest.raises(DaemonUnreachableError, match="ended with status 1") as caught:
        launch(place.location, command=bad)
    assert "the database is broken" in (caught.value.hint or "")


def test_a_daemon_that_never_answers_is_given_up(place: Place) -> None:
    with pytest.raises(DaemonUnreachableError, match="does not answer") as caught:
        launch(place.location, command=place.command(delay="60"), timeout_s=0.5)
    assert "ds01d.log" in (caught.value.hint or "")


def test_a_program_that_is_not_there_is_an_error_in_words(place: Place) -> None:
    with pytest.raises(DaemonUnreachableError, match="/nowhere/python cannot be started"):
        launch(place.location, command=["/nowhere/python"])


def test_a_daemon_of_another_version_is_asked_to_leave_and_replaced(place: Place) -> None:
    launch(place.location, command=place.command(version="0.0.9"))
    client = Client(place.location, launcher=place.launch)
    client.start_container("a")  # the stand-in answers everything alike
    assert client.get_status()["version"] == VERSION
    assert len(place.pids()) == 2


def test_two_commands_that_meet_an_old_daemon_replace_it_once(place: Place) -> None:
    launch(place.location, command=place.command(version="0.0.9"))
    threads = [
        threading.Thread(target=lambda: Client(place.location, launcher=place.launch).get_status()) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Client(place.location, launcher=place.launch).get_status()["version"] == VERSION
    assert len(place.pids()) == 2


def test_a_folder_that_is_a_link_is_refused(place: Place, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place.state.symlink_to(elsewhere)
    with pytest.raises(ForbiddenError):
        launch(place.location, command=place.command())


def test_a_lock_that_is_a_link_is_not_followed(place: Place, tmp_path: Path) -> None:
    place.state.mkdir(mode=0o700)
    target = tmp_path / "target"
    (place.state / "start.lock").symlink_to(target)
    with pytest.raises(BackendError):
        launch(place.location, command=place.command())
    assert not target.exists()
