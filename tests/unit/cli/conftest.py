"""The command line in this process against a scripted daemon, without a terminal."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ds01.cli.main import run
from tests.terminal import Terminal
from tests.unit.scripted_daemon import ScriptedDaemon, chunk, line, ok, stream_head


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command line ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def problem(self) -> Any:
        return json.loads(self.err)


Ds01 = Callable[..., Outcome]
Start = Callable[..., Terminal]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    status = {
        "schema_version": 1,
        "version": "0.1.0",
        "mode": "personal",
        "pid": 1,
        "started_at": "2026-01-01T00:00:00+00:00",
        "engine": {
            "ok": True,
            "message": "",
            "version": "28.5",
            "api_version": "1.51",
            "storage_driver": "overlay2",
            "cgroup_driver": "systemd",
        },
        "devices": {"ok": True, "message": "", "gpus": 2, "free": 1},
        "policy": {"ok": True, "source": "built-in", "message": ""},
        "catalogue": {"ok": True, "rows": 118, "message": ""},
        "containers": 3,
        "containers_running": 1,
        "usage": {"gpus": 1, "gpu_equivalents": 1.0, "containers": 2},
    }
    with ScriptedDaemon(tmp_path / "api.sock", {"GET /v1/status": ok(status)}) as running:
        yield running


@pytest.fixture
def ds01(daemon: ScriptedDaemon, capfd: pytest.CaptureFixture[str]) -> Ds01:
    """Run `ds01 WORDS` and return how it ended."""

    def call(*words: str, **environment: str) -> Outcome:
        status = run(words, {"DS01_SOCKET": str(daemon.socket_path), "LANG": "C.UTF-8", **environment})
        out, err = capfd.readouterr()
        return Outcome(status, out, err)

    return call


@pytest.fixture
def start(daemon: ScriptedDaemon, tmp_path: Path) -> Start:
    """Start `ds01 WORDS` on a terminal."""

    def begin(*words: str, **environment: str) -> Terminal:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("DS01_", "LC_"))}
        known = {"DS01_SOCKET": str(daemon.socket_path), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        folder = tmp_path / "My Work"
        folder.mkdir(exist_ok=True)
        argv = [sys.executable, "-P", "-m", "ds01", *words]
        return Terminal(argv, {**clean, **known, **environment}, cwd=str(folder))

    return begin


def container(name: str, state: str = "running", **more: object) -> dict[str, object]:
    """Return a container's document."""
    gpu = {"uuid": "GPU-1", "address": "0", "kind": "full", "profile": "", "memory_bytes": 1, "gpu_equivalents": 1.0}
    return {
        "name": name,
        "id": "f" * 64,
        "owner_uid": 1001,
        "owner": "alice",
        "state": state,
        "status": "",
        "origin": "ds01",
        "managed": True,
        "image": "aimehub/pytorch:2.8.0",
        "framework": "Pytorch-2.8.0",
        "created_at": "2020-01-01T00:00:00+00:00",
        "gpus": [gpu],
        "allocation_id": "a1",
        "allocation_state": "active",
        "workspace": "/home/alice/workspace/" + name,
        **more,
    }


def details(name: str, state: str = "running", **more: object) -> dict[str, object]:
    """Return the document of one container."""
    limits: dict[str, object] = {
        "cpus": 2.0,
        "memory_bytes": 1024**3,
        "memory_swap_bytes": None,
        "shm_size_bytes": 64 * 1024**2,
        "pids": None,
        "cgroup_parent": "",
        "ulimits": {},
    }
    return {
        **container(name, state),
        "engine_name": f"{name}._.1001",
        "image_id": "sha256:1",
        "started_at": None,
        "finished_at": None,
        "exit_code": None,
        "error": "",
        "data": None,
        "models": None,
        "limits": limits,
        "labels": {},
        "ip_address": "",
        "command": ["sh", "-c", "true"],
        "terminal": True,
        "x11": False,
        **more,
    }


def gpu_reading(uuid: str, address: str, memory_bytes: int | None) -> dict[str, object]:
    """Return a device of a container of which the driver says nothing more."""
    unsaid = ("utilization_ratio", "own_utilization_ratio", "memory_used_bytes", "own_memory_used_bytes")
    return {"uuid": uuid, "address": address, "memory_bytes": memory_bytes, **dict.fromkeys(unsaid)}


def stats_reading(gpu: dict[str, object], *, gpu_memory_used_bytes: int | None) -> dict[str, object]:
    """Return what the daemon says that container `a` uses now."""
    return {
        "name": "a",
        "owner": "alice",
        "cpu_ratio": 1.5,
        "memory_used_bytes": 1024**3,
        "memory_limit_bytes": 2 * 1024**3,
        "network_rx_bytes": None,
        "network_tx_bytes": 0,
        "block_read_bytes": 0,
        "block_write_bytes": 0,
        "pids": 3,
        "gpus": [gpu],
        "gpu_memory_used_bytes": gpu_memory_used_bytes,
    }


def catalogue(*versions: tuple[str, str], **more: object) -> bytes:
    """Return the answer of a catalogue with these frameworks and their newest versions."""
    choices = [
        {
            "framework": framework,
            "version": version,
            "architecture": "CUDA_ADA" if version else "",
            "image": f"aimehub/{framework.lower()}-{version}" if version else "",
            "reason": "NVIDIA A100 with a driver for CUDA 12.6; newest for CUDA_ADA" if version else "There is none.",
        }
        for framework, version in versions
    ]
    rows = [
        {
            "framework": choice["framework"],
            "version": choice["version"],
            "architectures": ["CUDA_ADA", "CUDA_AMPERE"],
            "image": choice["image"],
            "origin": "shipped",
            "usable": True,
            "chosen": True,
            "local": None,
        }
        for choice in choices
        if choice["image"]
    ]
    document = {"schema_version": 1, "architectures": ["CUDA_ADA"], "reason": "", "choices": choices, "rows": rows}
    return ok({**document, "left_out": 7, **more})


def containers(*rows: dict[str, object]) -> bytes:
    """Return the answer of a list."""
    return ok({"schema_version": 1, "containers": list(rows)})


CREATED = {
    "schema_version": 1,
    "container": details("my-project", "created"),
    "dry_run": False,
    "docker_command": "docker create x",
    "reasons": ["GPU 0 is free"],
    "warnings": ["no network"],
}


def creation(result: dict[str, object]) -> bytes:
    """Return the stream of a creation."""
    steps = line({"kind": "step", "message": "Pulling"}) + line(
        {"kind": "pull", "layer": "a", "current_bytes": 1, "total_bytes": 2}
    )
    return stream_head() + steps + line({"kind": "result", "result": result}) + chunk(b"")
