"""Personal mode: no set-up at all. The first command starts a daemon for its user, the next ones find it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.site import BUSYBOX, GPUS, Result, Site, replace_file, wait_until
from tests.engine import DevEngine


@dataclass
class Person:
    """Somebody with a home directory and an engine, and nothing else."""

    home: Path
    engine: DevEngine
    extra: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        inherited = {
            key: value for key, value in self.engine.environment.items() if not key.startswith(("XDG_", "DS01_SOCKET"))
        }
        return {**inherited, "HOME": str(self.home), "FAKE_NVML_CONF": str(self.home / "gpus.conf"), **self.extra}

    def spawn(self, *words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "ds01", *words]
        return subprocess.Popen(
            command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, cwd="/",
        )  # fmt: skip

    def run(self, *words: str, check: bool = True) -> Result:
        process = self.spawn(*words)
        stdout, stderr = process.communicate(timeout=60)
        assert not check or process.returncode == 0, stdout + stderr
        return Result(process.returncode, stdout, stderr)

    def daemon_pid(self) -> int:
        return int(self.run("status", "--json").document["pid"])

    def socket(self) -> Path:
        return next(iter(self.home.rglob("api.sock")))


@pytest.fixture
def person(shared_site: Site, dev_engine: DevEngine) -> Iterator[Person]:
    shared_site.clear()
    home = Path(tempfile.mkdtemp(prefix="ds01-home-", dir="/var/tmp"))
    replace_file(home / "gpus.conf", GPUS)
    replace_file(dev_engine.gpus_conf, GPUS)
    person = Person(home, dev_engine)
    yield person
    for path in home.rglob("api.sock"):
        path.unlink()
    wait_until(lambda: not _daemons_of(home), "the daemon's leaving")
    shutil.rmtree(home)
    shared_site.clear()


def _daemons_of(home: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if b"ds01.daemon.main" in words and f"HOME={home}".encode() in environment:
            found.append(int(entry.name))
    return found


def test_the_first_command_starts_a_daemon_and_the_next_finds_it(person: Person) -> None:
    first = person.daemon_pid()
    assert person.daemon_pid() == first
    status = person.run("status", "--json").document
    assert status["mode"] == "personal"
    state = person.socket().parent
    assert state.stat().st_mode & 0o777 == 0o700
    assert person.socket().stat().st_mode & 0o777 == 0o600


def test_commands_that_race_start_one_daemon(person: Person) -> None:
    racing = [person.spawn("status", "--json") for _ in range(6)]
    pids = {json.loads(process.communicate(timeout=60)[0])["pid"] for process in racing}
    assert len(pids) == 1
    # the others found the lock taken, and need their time to leave
    wait_until(
        lambda: _daemons_of(person.home) == list(pids), "a single daemon", state=lambda: _daemons_of(person.home)
    )


def test_a_stale_socket_is_replaced(person: Person) -> None:
    first = person.daemon_pid()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not _daemons_of(person.home), "its death")
    assert person.socket().exists()
    assert person.daemon_pid() != first


def test_the_daemon_leaves_when_its_socket_is_gone(person: Person) -> None:
    person.daemon_pid()
    person.socket().unlink()
    wait_until(lambda: not _daemons_of(person.home), "its leaving")


def test_the_runtime_folder_holds_the_socket_where_there_is_one(person: Person) -> None:
    runtime = person.home / "run"
    runtime.mkdir(mode=0o700)
    person.extra["XDG_RUNTIME_DIR"] = str(runtime)
    person.daemon_pid()
    assert person.socket() == runtime / "ds01" / "api.sock"


def test_a_personal_container_lives_within_the_machine_and_no_quota(person: Person) -> None:
    limits = person.run("limits", "--json").document
    assert limits["mode"] == "personal"
    values = limits["limits"]
    for name in (
        "max_gpus",
        "max_gpu_equivalents",
        "max_containers",
        "idle_timeout",
        "time_limit",
        "gpu_hold_after_stop",
    ):
        assert values[name]["value"] is None
    assert values["max_cpus"] == {"value": os.cpu_count(), "origin": "machine"}
    for number in range(3):
        person.run("create", f"p{number}", "--image", BUSYBOX, "--gpus", "1")
    person.run("start", "p0")
    assert person.run("exec", "p0", "--", "id", "-u").stdout.strip() == str(os.getuid())
    assert person.run("list", "-q").stdout.split() == ["p2", "p1", "p0"]
    person.run("stop", "--yes", "p0")
    for number in range(3):
        person.run("rm", "--yes", f"p{number}")
    assert all(gpu["free"] for gpu in person.run("gpus", "--json").document["gpus"])


def test_a_personal_daemon_serves_its_user_only(person: Person, accounts: dict[str, object]) -> None:
    person.daemon_pid()
    person.home.chmod(0o755)
    refused = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "test", "-r", str(person.socket())], check=False
    )
    assert refused.returncode != 0


def test_a_personal_container_without_a_row_is_adopted_by_the_uid_in_its_name(person: Person) -> None:
    person.run("create", "kept", "--image", BUSYBOX, "--gpu-kind", "full")
    os.kill(person.daemon_pid(), signal.SIGKILL)
    wait_until(lambda: not _daemons_of(person.home), "its death")
    for database in person.home.rglob("ds01.sqlite*"):
        database.unlink()
    wait_until(lambda: person.run("list", "--json").document["containers"][0]["managed"], "the adoption")
    gpu = person.run("gpus", "--json").document["gpus"][0]
    assert [holder["container"] for holder in gpu["holders"]] == ["kept"]
    person.run("rm", "--yes", "kept")


def test_somebody_without_access_to_the_engine_is_told_so(site: Site) -> None:
    argv, environment = site.command("list")
    del environment["DS01_SOCKET"]
    environment["DOCKER_HOST"] = site.engine.docker_host
    failed = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, cwd="/")
    assert failed.returncode == 7
    assert str(site.engine.socket_path) in failed.stderr
    assert "Traceback" not in failed.stderr
    for path in site.accounts["alice"].home.rglob("api.sock"):
        path.unlink()
