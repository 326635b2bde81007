"""Row 5: `ds01 list` with 100 containers against `docker ps -a` of the same 100 containers, wall time."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.figure import Figure, paired_medians_ms
from tests.engine import DevEngine

CONTAINERS = 100
IMAGE = "ds01-dev/busybox"


def measure() -> list[Figure]:
    """Return the figure for the docker command that is first on PATH, and for the engine's own."""
    with DevEngine("bench") as engine, _listing(engine) as environment:
        engine.bring_images("busybox")
        for number in range(CONTAINERS):
            engine.docker("create", "--name", f"bench{number}._.{os.getuid()}", IMAGE)
        script = str(Path(sys.executable).parent / "ds01")
        ours = [script, "list"]
        listed = subprocess.run([script, "list", "-q"], env=environment, capture_output=True, text=True, check=True)
        assert len(listed.stdout.split()) == CONTAINERS
        clients = dict.fromkeys([shutil.which("docker") or str(engine.docker_cli), str(engine.docker_cli)])
        return [_against(client, engine, ours, environment) for client in list(clients)[:1]]


def _against(client: str, engine: DevEngine, ours: list[str], environment: dict[str, str]) -> Figure:
    theirs = [client, "--host", engine.docker_host, "ps", "--all"]
    mine, anchor = paired_medians_ms(lambda: _quietly(ours, environment), lambda: _quietly(theirs, environment))
    version = subprocess.run([client, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return Figure(5, f"ds01 list, {CONTAINERS} containers", mine, "ms", anchor, f"{client} ps -a ({version})", 3.0, 1.5)


def _quietly(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


@contextmanager
def _listing(engine: DevEngine) -> Iterator[dict[str, str]]:
    """A daemon of our own with compiled byte-code, and the environment to reach it."""
    folder = Path(tempfile.mkdtemp(prefix="ds01-bench-", dir="/var/tmp"))
    environment = {key: value for key, value in engine.environment.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"DS01_SOCKET": str(folder / "api.sock")}
    command = [sys.executable, "-m", "ds01.daemon.main", "--socket", environment["DS01_SOCKET"]]
    command += ["--state", str(folder / "state"), "--config", str(folder)]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_for_answer(environment)
        yield environment
    finally:
        daemon.terminate()
        daemon.wait(timeout=20)
        shutil.rmtree(folder)


def _wait_for_answer(environment: dict[str, str]) -> None:
    for _ in range(100):
        command = [sys.executable, "-m", "ds01", "status"]
        if subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0:
            return
    raise AssertionError("the daemon did not answer")
