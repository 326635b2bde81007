"""Row 5: `ds01 list` with 100 containers against `docker ps -a` of the same 100 containers, wall time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.daemon_site import serving
from tests.bench.figure import Figure, paired_medians_ms
from tests.engine import DevEngine

CONTAINERS = 100
IMAGE = "ds01-dev/busybox"


def measure() -> list[Figure]:
    """Return the figure for the docker command that is first on PATH, and for the engine's own."""
    with DevEngine("bench") as engine, serving(engine) as environment:
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
