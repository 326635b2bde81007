"""Where the demonstration plays: an engine, GPUs, a daemon, and a way to run and check commands."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
ENGINE = "demo"
ANSWER_TIMEOUT_S = 60.0
GPUS = """\
# Two pretended GPUs: one whole, one cut into three MIG instances.
system driver=560.35.03 nvml=12.560.35.03 cuda=12060
gpu uuid=GPU-d5010000-4a10-4b20-8c30-000000000000 name="NVIDIA A100-PCIE-40GB" mem=40960 used=410 cc=8.0 mig=0
gpu uuid=GPU-d5010000-4a10-4b20-8c30-000000000001 name="NVIDIA A100-PCIE-40GB" mem=40960 used=410 cc=8.0 mig=1
mig gpu=1 slot=0 gi=1 ci=0 uuid=MIG-d5010000-4a10-4b20-8c30-000000000010 profile=3g.20gb
mig gpu=1 slot=1 gi=7 ci=0 uuid=MIG-d5010000-4a10-4b20-8c30-000000000011 profile=1g.5gb
mig gpu=1 slot=2 gi=8 ci=0 uuid=MIG-d5010000-4a10-4b20-8c30-000000000012 profile=1g.5gb
"""
POLICY = """\
version: 2
defaults:
  max_gpus: 1
  max_gpu_equivalents: 1.0
  max_cpus: 1
  memory: 1G
  memory_swap: 1G
  shm_size: 256M
  gpu_hold_after_stop: 15m
"""


class StepFailedError(Exception):
    """A command did not do what it should."""


@dataclass
class Outcome:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        """The command's --json."""
        return json.loads(self.stdout)


@dataclass
class Stage:
    """The demonstration's own engine and daemon."""

    folder: Path
    environment: Mapping[str, str]
    engine_facts: Mapping[str, Any]
    verified: int = 0
    daemon: "subprocess.Popen[bytes] | None" = None
    _gone: list[Path] = field(default_factory=list)

    @property
    def workspace(self) -> Path:
        """Host directory of the container: the demonstration does not touch a real home."""
        return self.folder / "workspace"

    def say(self, text: str) -> None:
        """Print a heading."""
        sys.stdout.write(f"\n{_bold(text)}\n")
        sys.stdout.flush()

    def show(self, *words: str, expect: int = 0) -> Outcome:
        """Print a command, run it, print what it said, and check its exit status.

        Raises:
            StepFailedError: Another status.
        """
        sys.stdout.write(f"{_bold('$')} {shlex.join(words)}\n")
        sys.stdout.flush()
        outcome = self.run(*words)
        for text in (outcome.stdout, outcome.stderr):
            if text.strip():
                sys.stdout.write("".join(f"  {line}\n" for line in text.rstrip().splitlines()))
        sys.stdout.flush()
        self.check(outcome.status == expect, f"`{shlex.join(words)}` ended with {outcome.status}, not {expect}")
        return outcome

    def run(self, *words: str) -> Outcome:
        """Run a command quietly."""
        done = subprocess.run(
            words, env=dict(self.environment), capture_output=True, text=True, check=False, timeout=300
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def docker(self, *words: str) -> str:
        """Ask the engine itself, past DS01."""
        outcome = self.run(
            str(self.engine_facts["docker_cli"]), "--host", str(self.engine_facts["docker_host"]), *words
        )
        self.check(outcome.status == 0, f"docker {' '.join(words)}: {outcome.stderr.strip()}")
        return outcome.stdout

    def check(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - the condition is the point
        """Count a check that holds.

        Raises:
            StepFailedError: It does not.
        """
        if not holds:
            raise StepFailedError(otherwise)
        self.verified += 1

    def leftovers(self) -> list[str]:
        """Return what is still there after the end, and should not be."""
        found = [str(path) for path in self._gone if path.exists()]
        if self.daemon is not None and self.daemon.poll() is None:
            found.append(f"ds01d (process {self.daemon.pid})")
        return found


@contextmanager
def open_stage() -> Iterator[Stage]:
    """Start everything, and end it whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="ds01-demo-", dir="/var/tmp"))
    folder.chmod(0o755)
    stage: Stage | None = None
    try:
        stage = _build(folder)
        _clear(stage)
        _start_daemon(stage)
        yield stage
    finally:
        if stage is not None:
            _stop_daemon(stage)
            _clear(stage)
            _gone(stage, folder)
        _engine("stop", ENGINE)
        shutil.rmtree(folder, ignore_errors=True)


def _clear(stage: Stage) -> None:
    """Remove what a demonstration that failed left on our own engine; its images stay for the next time."""
    docker = [str(stage.engine_facts["docker_cli"]), "--host", str(stage.engine_facts["docker_host"])]
    for name in stage.run(*docker, "ps", "--all", "--quiet").stdout.split():
        stage.run(*docker, "rm", "--force", "--volumes", name)
    for tag in stage.run(*docker, "images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split():
        if "._." in tag:
            stage.run(*docker, "rmi", tag)


def _gone(stage: Stage, folder: Path) -> None:
    socket = stage.engine_facts["docker_host"].removeprefix("unix://")
    stage._gone.append(folder)  # noqa: SLF001 - the stage's own maker
    stage._gone.append(Path(socket))  # noqa: SLF001 - the stage's own maker


def _build(folder: Path) -> Stage:
    config = folder / "config"
    config.mkdir()
    (config / "resource-limits.yaml").write_text(POLICY, encoding="utf-8")
    gpus = folder / "gpus.conf"
    gpus.write_text(GPUS, encoding="utf-8")
    sys.stdout.write(
        _bold("Setting up: a container engine of our own and a small image (the first time takes a minute or two)")
        + "\n"
    )
    sys.stdout.flush()
    facts = json.loads(_require(_engine("start", ENGINE, "--json", "--gpus-conf", str(gpus))))
    environment = {
        **os.environ,
        "PATH": f"{REPOSITORY / '.venv' / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "DOCKER_HOST": facts["docker_host"],
        "FAKE_NVML_CONF": facts["gpus_conf"],
        "LD_LIBRARY_PATH": str(Path(facts["nvml_library"]).parent),
        "DS01_SOCKET": str(folder / "api.sock"),
        "HOME": str(folder / "home"),
    }
    (folder / "home").mkdir(mode=0o700)
    (folder / "workspace").mkdir(mode=0o700)
    base = subprocess.run(
        [sys.executable, str(REPOSITORY / "dev" / "base-image")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    _require(base)
    return Stage(folder, environment, facts)


def _engine(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "dev" / "engine"), *words], capture_output=True, text=True, check=False
    )


def _require(done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode != 0:
        raise StepFailedError(done.stderr.strip() or f"{done.args} ended with {done.returncode}")
    return done.stdout


def _start_daemon(stage: Stage) -> None:
    command = ["ds01d", "--socket", stage.environment["DS01_SOCKET"], "--state", str(stage.folder / "state")]
    command += ["--config", str(stage.folder / "config")]
    log = stage.folder / "ds01d.log"
    with log.open("wb") as file:
        stage.daemon = subprocess.Popen(
            command, env=dict(stage.environment), stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while stage.run("ds01", "status").status != 0:
        if stage.daemon.poll() is not None or time.monotonic() > deadline:
            raise StepFailedError(f"ds01d did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)


def _stop_daemon(stage: Stage) -> None:
    if stage.daemon is not None and stage.daemon.poll() is None:
        stage.daemon.send_signal(signal.SIGTERM)
        stage.daemon.wait(timeout=60)


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def words_of(text: str) -> Sequence[str]:
    """Return a command line as words."""
    return shlex.split(text)
