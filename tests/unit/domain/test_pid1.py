"""PID 1 of our containers, run by real shells in process namespaces of their own."""

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ds01.domain.containers.pid1 import (
    ENTRYPOINT,
    SCRIPT,
    STOP_EXIT_STATUS,
    is_idle_loop,
    is_our_entrypoint,
    signal_others,
)

SHELLS = {"dash": ["dash"], "bash": ["bash"], "bash as sh": ["bash", "--posix"], "busybox ash": ["busybox", "ash"]}
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
AS_ROOT = os.getuid() == 0
USER = 4711
DEADLINE_S = 8.0
CATCHES = (1 << (signal.SIGTERM - 1)) | (1 << (signal.SIGCHLD - 1))

EARLIER_SCRIPT = SCRIPT.replace("0.1001", "0.1")
"""PID 1 of another version: its sleep is another one."""

SAVES = """
import os, signal, sys, time
def save(*_):
    time.sleep(1)
    open(sys.argv[1], "w").write("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
open(sys.argv[1] + ".ready", "w").close()
if len(sys.argv) > 2:
    os.kill(os.getpid(), signal.SIGSTOP)
while True:
    time.sleep(0.02)
"""


def skip(why: str) -> None:
    assert os.environ.get("CI") != "true", f"CI needs this: {why}"
    pytest.skip(why)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Box:
    """A container without an engine: PID 1 in a namespace, and programs beside it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        wait_until(lambda: bool(self._children(process.pid)))
        self.pid = int(self._children(process.pid)[0])
        wait_until(self._is_ready)

    def _children(self, pid: int) -> list[str]:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def _is_ready(self) -> bool:
        """A PID 1 that has not set its traps yet never sees a signal."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return int(status["SigCgt"], 16) & CATCHES == CATCHES

    @property
    def children(self) -> list[str]:
        return self._children(self.pid)

    @property
    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def enter(self, *command: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a program inside, as an engine's exec does."""
        user = [] if AS_ROOT else ["--user", "--preserve-credentials"]
        argv = ["nsenter", "--target", str(self.pid), "--pid", "--mount", *user, "--", *command]
        return subprocess.Popen(argv, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> float:
        """Send what the engine sends; return the seconds until the end."""
        begun = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        assert self.process.wait(DEADLINE_S) == STOP_EXIT_STATUS
        return time.monotonic() - begun


@contextmanager
def box(shell: list[str], *, stdin: int | None = None, uid: int | None = None, script: str = SCRIPT) -> Iterator[Box]:
    master, slave = pty.openpty()
    become = [] if uid is None else ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    own = [] if AS_ROOT else ["--user", "--map-root-user"]
    process = subprocess.Popen(
        [*UNSHARE, *own, *become, *shell, "-c", script],
        stdin=slave if stdin is None else stdin,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    try:
        yield Box(process)
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    command = SHELLS[request.param]
    if shutil.which(command[0]) is None:
        if command[0] == "busybox":
            pytest.skip("no busybox here")
        skip(f"no {command[0]} here")
    if subprocess.run(
        [*UNSHARE, *([] if AS_ROOT else ["-U", "-r"]), "true"], capture_output=True, check=False
    ).returncode:
        skip("no process namespaces here")
    return command


def test_an_idle_container_stops_at_once(shell: list[str]) -> None:
    with box(shell) as found:
        assert found.children == []
        assert found.stop() < 0.5


def test_keys_typed_into_its_console_end_nothing(shell: list[str]) -> None:
    with box(shell) as found:
        for key in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
            os.kill(found.pid, key)
        assert found.enter("true").wait(DEADLINE_S) == 0
        assert found.process.poll() is None
        assert found.stop() < 0.5


def test_a_program_gets_its_seconds_to_save(shell: list[str], tmp_path: Path) -> None:
    saved = tmp_path / "work"
    with box(shell) as found:
        program = found.enter(sys.executable, "-c", SAVES, str(saved))
        wait_until((tmp_path / "work.ready").exists)
        assert 1.0 <= found.stop() < 3.0
        program.wait(DEADLINE_S)
    assert saved.read_text() == "saved"


def test_a_shell_script_gets_its_seconds_to_save(shell: list[str], tmp_path: Path) -> None:
    saved, ready = tmp_path / "work", tmp_path / "ready"
    script = f"trap 'sleep 0.3; sleep 0.3; echo saved >{saved}; exit' TERM; >{ready}; while :; do sleep 0.05; done"
    with box(shell) as found:
        program = found.enter("sh", "-c", script)
        wait_until(ready.exists)
        assert found.stop() < 3.0
        program.wait(DEADLINE_S)
    assert saved.read_text() == "saved\n"


def test_a_program_that_was_stopped_by_hand_is_woken_to_save(shell: list[str], tmp_path: Path) -> None:
    saved = tmp_path / "work"
    with box(shell) as found:
        # below a shell: nsenter would stop itself with what it started
        program = found.enter("sh", "-c", '"$@"; :', "sh", sys.executable, "-c", SAVES, str(saved), "stop")
        # not its file: woken between that and its own signal it would stop after all
        wait_until(lambda: b"T" in _states(found))
        found.stop()
        program.wait(DEADLINE_S)
    assert saved.read_text() == "saved"


def test_fifty_orphans_leave_no_zombie_and_no_load(shell: list[str]) -> None:
    with box(shell) as found:
        orphans = "i=0; while [ $i -lt 50 ]; do (sleep 0.01 &); i=$((i+1)); done"
        assert found.enter("sh", "-c", orphans).wait(DEADLINE_S) == 0
        wait_until(lambda: found.children == [])
        before = found.cpu_s
        time.sleep(0.3)
        assert found.cpu_s - before < 0.1
        assert found.children == []
        assert found.stop() < 0.5


def test_an_open_shell_is_hung_up(shell: list[str]) -> None:
    with box(shell) as found:
        master, slave = pty.openpty()
        program = found.enter("setsid", "--ctty", "bash", "--norc", "-i", stdin=slave)
        wait_until(lambda: b"bash" in _names(found))
        assert found.stop() < 1.5
        program.wait(DEADLINE_S)
        os.close(master)
        os.close(slave)


def test_a_stdin_at_its_end_does_not_make_it_spin(shell: list[str]) -> None:
    with box(shell, stdin=subprocess.DEVNULL) as found:
        time.sleep(0.2)
        before = found.cpu_s
        time.sleep(0.5)
        assert found.cpu_s - before < 0.15
        assert found.stop() < 1.0


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
@pytest.mark.parametrize("script", [SCRIPT, EARLIER_SCRIPT], ids=["this version", "another"])
def test_roots_loop_and_pid_1_do_not_wait_for_each_other(shell: list[str], script: str) -> None:
    with box(shell, uid=USER, script=script) as found:
        master, slave = pty.openpty()
        become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        user = found.enter("setsid", "--ctty", *become, "bash", "--norc", "-i", stdin=slave)
        roots = found.enter("sleep", "1000")
        wait_until(lambda: {b"bash", b"sleep"} <= _names(found))
        loop = found.enter(*shell, "-c", signal_others(USER))
        assert found.stop() < 2.0
        for program in (user, roots, loop):
            program.wait(DEADLINE_S)
        os.close(master)
        os.close(slave)


def _names(found: Box) -> set[bytes]:
    """Return the names of the programs in the namespace of a box."""
    return {text.strip() for text in _read_of_programs(found, "comm")}


def _states(found: Box) -> set[bytes]:
    """Return the states of the programs in the namespace of a box, as letters of the kernel."""
    return {text.rpartition(b")")[2].split()[0] for text in _read_of_programs(found, "stat")}


def _read_of_programs(found: Box, file: str) -> list[bytes]:
    """Return what the kernel says in `file` of each program in the namespace of a box."""
    texts = []
    space = os.readlink(f"/proc/{found.pid}/ns/pid")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int(entry.name) != found.pid and os.readlink(entry / "ns/pid") == space:
                texts.append((entry / file).read_bytes())
        except OSError:
            continue
    return texts


def test_the_entrypoint_is_the_script_and_fits_one_argument() -> None:
    assert ENTRYPOINT == ("sh", "-c", SCRIPT)
    assert len(SCRIPT) < 4096
    assert "'" not in SCRIPT.replace("''", "").replace("'c=1; e=0; jobs >/dev/null 2>&1'", "")


OLDEST_BEGINNING = "stop() { trap '' TERM; kill -TERM -1 2>/dev/null; kill -CONT -1 2>/dev/null; "
"""As the first version wrote it: containers of that version are still there."""


def test_the_pid_1_of_every_version_is_known_and_nothing_else_is() -> None:
    assert SCRIPT.startswith(OLDEST_BEGINNING)
    for script in (SCRIPT, EARLIER_SCRIPT, f"{OLDEST_BEGINNING}exit; }}; trap stop TERM; while read -r _; do :; done"):
        assert is_our_entrypoint(("sh", "-c", script))
        assert is_idle_loop(f"sh -c {script}")
    for other in (
        (),
        ("sh",),
        ("sh", "-c"),
        ("bash", "-c", SCRIPT),
        ("sh", "-c", SCRIPT, "x"),
        ("sh", "-c", "sleep 1"),
    ):
        assert not is_our_entrypoint(other)


@pytest.mark.parametrize("text", [SCRIPT, signal_others(1001)])
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_every_shell_reads_it_without_complaint(shell: str, text: str) -> None:
    if shutil.which(shell) is None:
        skip(f"no {shell} here")
    checked = subprocess.run([shell, "-n", "-c", text], capture_output=True, check=False, timeout=10)
    assert (checked.returncode, checked.stderr) == (0, b"")
