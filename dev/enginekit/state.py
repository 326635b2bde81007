"""What a running engine is, as others need to know it."""

import dataclasses
import json
import socket
from dataclasses import dataclass
from pathlib import Path

from dev.enginekit.folders import EngineFolders, write_whole
from dev.enginekit.processes import start_ticks


@dataclass(frozen=True, slots=True)
class EngineState:
    """A running engine. Written once it answers, removed when it is stopped."""

    name: str
    docker_host: str
    socket: str
    docker_cli: str
    dockerd_pid: int
    dockerd_ticks: int
    netns: str
    address: str
    gpus_conf: str
    nvml_library: str
    nvidia_smi: str
    hook_log: str
    data_root: str
    log: str
    registry: str | None
    dockerd_args: tuple[str, ...]
    cdi_folders: tuple[str, ...] = ()

    def answers(self) -> bool:
        """Tell whether dockerd is the process that was started and answers on its socket."""
        return start_ticks(self.dockerd_pid) == self.dockerd_ticks and engine_answers(Path(self.socket))


def engine_answers(path: Path) -> bool:
    """Ask an engine whether it is there. Source: Docker Engine API 1.41, GET /_ping."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5.0)
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def read_state(folders: EngineFolders) -> EngineState | None:
    """Return what was written about the engine, or None if nothing (or nothing of this version) was."""
    try:
        values = json.loads(folders.state_file.read_text(encoding="utf-8"))
        lists = {"dockerd_args": tuple(values["dockerd_args"]), "cdi_folders": tuple(values.get("cdi_folders", ()))}
        return EngineState(**{**values, **lists})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_state(folders: EngineFolders, state: EngineState) -> None:
    """Write what the running engine is."""
    write_whole(folders.state_file, json.dumps(dataclasses.asdict(state), indent=2) + "\n")
