"""What a daemon says to the wizard of `ds01 create`: a machine with MIG instances and whole GPUs."""

import json
import socket

from tests.unit.cli.conftest import catalogue, containers, creation, details
from tests.unit.scripted_daemon import Answer, Request, ScriptedDaemon, ok, problem

_LIMITS: dict[str, object] = {
    "max_gpus": 3,
    "max_gpu_equivalents": 1.5,
    "max_containers": 4,
    "cpus": 8.0,
    "memory": 32 * 1024**3,
    "shm_size": 16 * 1024**3,
    "pids_limit": 4096,
    "time_limit": None,
}


def gpu(address: str, *, profile: str = "", free: bool = True) -> dict[str, object]:
    """Return a device's document."""
    holder = {"owner_uid": 1002, "owner": "bob", "container": "b", "state": "active", "since": "", "until": None}
    return {
        "uuid": f"GPU-{address}",
        "address": address,
        "parent_uuid": "GPU-0",
        "kind": "mig" if profile else "full",
        "profile": profile,
        "model": "NVIDIA A100",
        "state": "mig" if profile else "whole",
        "free": free,
        "reason": "" if free else "held by b",
        "memory_bytes": (5 if profile else 40) * 1024**3,
        "memory_used_bytes": None,
        "utilization_ratio": None,
        "power_w": None,
        "temperature_c": None,
        "energy_j": None,
        "gpu_equivalents": 0.14 if profile else 1.0,
        "holders": [] if free else [holder],
    }


def image(name: str, *, own: bool = True) -> dict[str, object]:
    """Return an image's document."""
    return {
        "reference": f"ds01.invalid/u1001/{name}:latest" if own else name,
        "name": name,
        "id": "sha256:" + "0123456789ab" * 5,
        "size_bytes": 9 * 1024**3,
        "created_at": "2020-01-01T00:00:00+00:00",
        "framework": "Pytorch-2.8.0",
        "own": own,
    }


def images(*rows: dict[str, object]) -> bytes:
    """Return the answer of a list of images."""
    return ok({"schema_version": 1, "images": list(rows)})


def gpus(*rows: dict[str, object]) -> bytes:
    """Return the answer of a list of devices."""
    return ok({"schema_version": 1, "driver_version": "580", "cuda_version": "13.0", "gpus": list(rows)})


def limits(**changed: object) -> bytes:
    """Return the answer about limits."""
    values = {**_LIMITS, **changed}
    document = {
        "schema_version": 1,
        "uid": 1001,
        "user": "alice",
        "group": "students",
        "mode": "server",
        "limits": {name: {"value": value, "origin": "limits.yaml:7"} for name, value in values.items()},
        "usage": {"gpus": 1, "gpu_equivalents": 0.14, "containers": 1},
        "cgroup_parent": "",
        "docker_args": [],
        "not_enforced": [],
    }
    return ok(document)


def creating(refusal: bytes | None = None) -> Answer:
    """Return what answers creations: dry runs with a plan or the refusal, the others with their stream."""

    def answer(request: Request, connection: socket.socket) -> None:
        body = json.loads(request.body)
        outcome = {"schema_version": 1, "dry_run": True, "docker_command": "docker create", "warnings": []}
        if body.get("dry_run"):
            plan = ok({**outcome, "reasons": ["GPU 0:1 is free and the smallest that fits"]})
            connection.sendall(refusal or plan)
        else:
            made = {**outcome, "dry_run": False, "reasons": [], "container": details(body["name"], "created")}
            connection.sendall(creation(made))

    return answer


NO_ROOM = problem(409, "no_capacity", "No GPU is free.", "Wait: ds01 create --wait")


def furnish(daemon: ScriptedDaemon) -> None:
    """Let the daemon know everything that the wizard asks."""
    mig = [gpu(f"0:{number}", profile="1g.5gb", free=number != 2) for number in range(1, 8)]
    daemon.answers |= {
        "GET /v1/images": images(image("thesis"), image("ubuntu:24.04", own=False)),
        "GET /v1/catalogue": catalogue(("Pytorch", "2.8.0"), ("Tensorflow", "2.16.1")),
        "GET /v1/containers": containers(details("old", "exited")),
        "GET /v1/gpus": gpus(*mig, gpu("1", free=False), gpu("2", free=False)),
        "GET /v1/limits": limits(),
        "POST /v1/containers": creating(),
    }
