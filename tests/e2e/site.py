"""A site for tests: one daemon as root, several Unix users, the command line as each of them."""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine import DevEngine

POLICY = """\
version: 2
defaults: {max_gpus: 2, max_gpu_equivalents: 2.0, max_gpus_per_container: 2, max_cpus: 1, memory: 512M,
           memory_swap: 512M, shm_size: 64M, pids_limit: 4096, max_containers: 30, gpu_hold_after_stop: 0}
default_group: student
groups:
  student: {members: []}
  limited: {members: [bob], max_gpus: 1, gpu_hold_after_stop: 1h}
"""
GPUS = """\
system driver=560.35.03 nvml=12.560.35.03 cuda=12060
gpu uuid=GPU-5a1e0000-aaaa-4bbb-8ccc-000000000000 name="NVIDIA A100-PCIE-40GB" mem=40960 used=400 cc=8.0 mig=0
gpu uuid=GPU-5a1e0000-aaaa-4bbb-8ccc-000000000001 name="NVIDIA A100-PCIE-40GB" mem=40960 used=400 cc=8.0 mig=1
mig gpu=1 slot=0 gi=1 ci=0 uuid=MIG-5a1e0000-aaaa-4bbb-8ccc-000000000010 profile=3g.20gb
mig gpu=1 slot=1 gi=7 ci=0 uuid=MIG-5a1e0000-aaaa-4bbb-8ccc-000000000011 profile=1g.5gb
mig gpu=1 slot=2 gi=8 ci=0 uuid=MIG-5a1e0000-aaaa-4bbb-8ccc-000000000012 profile=1g.5gb
"""
WHOLE_GPU = "GPU-5a1e0000-aaaa-4bbb-8ccc-000000000000"
SMALL_INSTANCE = "MIG-5a1e0000-aaaa-4bbb-8ccc-000000000011"
BUSYBOX = "ds01-dev/busybox"
PATIENCE_S = 60.0
"""How long anything may take that takes a moment: a busy machine is no failure, and only a failure waits so long."""
AT_ONCE_S = 5.0
"""Half of the grace that docker gives: what ends in this time has not waited for it."""
REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 60
"""How long a machine with other things to do may take; a test that passes never waits it out."""


def wait_until(
    condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S, *, state: Callable[[], object] = str
) -> None:
    """Wait for something that a real system does in its own time; where it does not, `state` says what is there."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s: {state()}"
        time.sleep(0.05)


@dataclass
class Result:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


@dataclass
class Account:
    """A Unix user for tests."""

    name: str
    uid: int
    gid: int
    home: Path
    was_made: bool


def make_account(name: str, *groups: str) -> Account:
    """Make a Unix user, or use the one that is there."""
    was_made = False
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        for group in groups:
            subprocess.run(["groupadd", "--force", group], check=True)
        subprocess.run(["useradd", "--create-home", "--groups", ",".join(groups), name], check=True)
        found = pwd.getpwnam(name)
        was_made = True
    return Account(name, found.pw_uid, found.pw_gid, Path(found.pw_dir), was_made)


@dataclass
class Program:
    """How everybody runs the product: the project's own Python, or a copy where others cannot reach that."""

    python: str
    folder: Path | None

    def environment(self) -> dict[str, str]:
        return {} if self.folder is None else {"PYTHONPATH": str(self.folder)}


def find_program(account: Account, scratch: Path) -> Program:
    """Return a way to run the product as `account`, who may not enter the folder of a checkout."""
    check = [
        "setpriv",
        f"--reuid={account.uid}",
        f"--regid={account.gid}",
        "--clear-groups",
        sys.executable,
        "-c",
        "import ds01",
    ]
    if subprocess.run(check, capture_output=True, check=False, cwd="/").returncode == 0:
        return Program(sys.executable, None)
    copy = scratch / "program"
    packages = Path(sys.prefix) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    shutil.copytree(packages, copy, symlinks=True, ignore=shutil.ignore_patterns("mypy*", "ruff*", "*.pth"))
    shutil.copytree(REPOSITORY / "src" / "ds01", copy / "ds01")
    subprocess.run(["chmod", "-R", "a+rX", str(copy)], check=True)
    return Program(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}", copy)


@dataclass
class Site:
    """One daemon and its users."""

    engine: DevEngine
    scratch: Path
    program: Program
    accounts: Mapping[str, Account]
    extra: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    spawned: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self.socket = self.scratch / "api.sock"
        self.state = self.scratch / "state"
        self.config = self.scratch / "config"
        self.gpus_conf = self.scratch / "gpus.conf"
        self.config.mkdir(exist_ok=True)
        self.write_policy(POLICY)
        self.write_gpus(GPUS)

    def write_policy(self, text: str) -> None:
        replace_file(self.config / "resource-limits.yaml", text)

    def write_gpus(self, text: str) -> None:
        """Change the machine's GPUs, for the daemon and for the engine's hook."""
        replace_file(self.gpus_conf, text)
        replace_file(self.engine.gpus_conf, text)

    def daemon_environment(self) -> dict[str, str]:
        return {
            **self.engine.environment,
            **self.program.environment(),
            "FAKE_NVML_CONF": str(self.gpus_conf),
            **self.extra,
        }

    def start(self, **extra: str) -> None:
        """Start the daemon and wait until it answers."""
        self.launch(**extra)
        wait_until(
            lambda: self.run("status", check=False).status == 0 or self._has_ended(), "the daemon's first answer"
        )
        assert not self._has_ended(), self.log()

    def launch(self, **extra: str) -> None:
        """Start the daemon without waiting."""
        command = [self.program.python, "-m", "ds01.daemon.main", "--socket", str(self.socket)]
        command += ["--state", str(self.state), "--config", str(self.config)]
        with (self.scratch / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**self.daemon_environment(), **extra},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )

    def _has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def wait_for_end(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait until the daemon ended by itself and return its status."""
        assert self.process is not None
        return self.process.wait(timeout=timeout_s)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=PATIENCE_S)
        self.process = None

    def log(self) -> str:
        return (self.scratch / "daemon.log").read_text(encoding="utf-8", errors="replace")

    def command(self, *words: str, user: str = "alice") -> tuple[list[str], dict[str, str]]:
        """Return argv and environment of `ds01 WORDS` as a user."""
        account = self.accounts[user]
        environment = {
            "HOME": str(account.home),
            "USER": account.name,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "DS01_SOCKET": str(self.socket),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SOURCE_DATE_EPOCH": "1769860800",  # no Dockerfile differs because a day has ended
            **self.program.environment(),
        }
        argv = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--init-groups"]
        return [*argv, self.program.python, "-m", "ds01", *words], environment

    def run(
        self, *words: str, user: str = "alice", check: bool = True, timeout_s: float = 180, stdin: str = ""
    ) -> Result:
        """Run `ds01 WORDS` as a user."""
        argv, environment = self.command(*words, user=user)
        done = subprocess.run(
            argv, env=environment, input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s, cwd="/"
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        assert not check or result.status == 0, (
            f"ds01 {' '.join(words)} ended with {result.status}:\n{result.stdout}{result.stderr}"
        )
        return result

    def spawn(self, *words: str, user: str = "alice") -> "subprocess.Popen[str]":
        """Start `ds01 WORDS` as a user without waiting; the next `clear` ends it."""
        argv, environment = self.command(*words, user=user)
        process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        self.spawned.append(process)
        return process

    def inspect(self, name: str, user: str = "alice") -> Any:
        """Return what the engine says of a user's container."""
        return json.loads(self.engine.docker("inspect", f"{name}._.{self.accounts[user].uid}"))[0]

    def containers(self) -> list[str]:
        """Return the names of every container on the engine."""
        return self.engine.docker("ps", "--all", "--format", "{{.Names}}").split()

    def images(self) -> list[str]:
        """Return every tag on the engine."""
        return self.engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()

    def private_tags(self) -> list[str]:
        return [tag for tag in self.images() if re.search(r":.+\._\.\d+$", tag)]

    def held(self) -> dict[str, list[str]]:
        """Return who holds which device, by address."""
        gpus = self.run("gpus", "--json").document["gpus"]
        return {gpu["address"]: [holder["container"] for holder in gpu["holders"]] for gpu in gpus}

    def clear(self) -> None:
        """Remove every container of every user, and what an undone test left on the engine."""
        while self.spawned:
            process = self.spawned.pop()
            process.kill()
            process.communicate()
        for name in self.containers():
            self.engine.docker("rm", "--force", "--volumes", name)
        for tag in self.private_tags():
            self.engine.try_docker("rmi", tag)
        for account in self.accounts.values():
            shutil.rmtree(account.home / "workspace", ignore_errors=True)
        if self.process is not None and self.process.poll() is None:
            wait_until(lambda: not any(self.held().values()), "the release of every GPU")


def require_stop_at_once(site: Site, engine_name: str, stop: Callable[[], object], number: int) -> None:
    """Stop a container, and let the engine say that it ended by this one signal, with no grace waited for.

    The wall time of a command is not judged: on a busy machine, Python alone can take a second to start.
    """
    since = f"{time.time():.9f}"
    stop()
    words = ("events", "--since", since, "--until", f"{time.time():.9f}", "--filter", f"container={engine_name}")
    said = [json.loads(line) for line in site.engine.docker(*words, "--format", "{{json .}}").splitlines()]
    signals = [event["Actor"]["Attributes"]["signal"] for event in said if event["Action"] == "kill"]
    assert signals == [str(int(number))], "it needed more than one signal, so a grace was waited for"
    (asked,) = (event["timeNano"] for event in said if event["Action"] == "kill")
    (ended,) = (event["timeNano"] for event in said if event["Action"] == "die")
    assert (ended - asked) / 1e9 < AT_ONCE_S


def replace_file(path: Path, text: str) -> None:
    """Replace a file at once, as a careful editor does."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(text, encoding="utf-8")
    aside.chmod(0o644)
    os.replace(aside, path)
