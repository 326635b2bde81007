"""Documents as Docker 20.10.24 really sent them, shortened to what matters."""

import copy
from typing import Any

ID = "07c6805fbf3118988f1034b65f487b44594570755639a1896031ca35f7995265"
IMAGE_ID = "sha256:8a4a6ed510d85bf25972fcd0d7c97bff389e607d36652974eecb87fedeb2a78f"

CONTAINER: dict[str, Any] = {
    "Id": ID,
    "Created": "2026-11-21T23:21:03.513365599Z",
    "Path": "sleep",
    "Args": ["1000"],
    "State": {
        "Status": "running",
        "Running": True,
        "OOMKilled": False,
        "Dead": False,
        "Pid": 27811,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": "2026-11-21T23:21:03.734641926Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    },
    "Image": IMAGE_ID,
    "Name": "/work._.1000",
    "HostConfig": {
        "Binds": None,
        "NetworkMode": "default",
        "CgroupParent": "",
        "NanoCpus": 0,
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "Memory": 0,
        "MemorySwap": 0,
        "PidsLimit": None,
        "ShmSize": 67108864,
        "Ulimits": [],
        "Runtime": "runc",
        "Privileged": False,
        "Devices": [],
        "DeviceRequests": None,
    },
    "Mounts": [],
    "Config": {
        "User": "",
        "Tty": False,
        "Env": None,
        "Cmd": ["sleep", "1000"],
        "Image": "busybox",
        "Entrypoint": None,
        "Labels": {},
    },
    "NetworkSettings": {"IPAddress": "", "Networks": {"bridge": {"IPAddress": "10.79.1.2"}}},
}

ROW: dict[str, Any] = {
    "Id": ID,
    "Names": ["/work._.1000"],
    "Image": "busybox",
    "ImageID": IMAGE_ID,
    "Command": "sleep 1000",
    "Created": 1795303263,
    "Ports": [],
    "Labels": {"aime.mlc": "alice"},
    "State": "running",
    "Status": "Up 3 minutes",
    "HostConfig": {"NetworkMode": "default"},
    "NetworkSettings": {"Networks": {}},
    "Mounts": [
        {"Type": "bind", "Source": "/home/alice", "Destination": "/workspace", "Mode": "", "RW": True},
        {"Type": "volume", "Name": "cache", "Source": "", "Destination": "/cache", "Mode": "z", "RW": True},
    ],
}

STATS: dict[str, Any] = {
    "read": "2026-11-21T23:21:05.766966058Z",
    "preread": "2026-11-21T23:21:04.761383921Z",
    "pids_stats": {"current": 3},
    "blkio_stats": {
        "io_service_bytes_recursive": [
            {"major": 8, "minor": 0, "op": "Read", "value": 100},
            {"major": 8, "minor": 0, "op": "Write", "value": 200},
            {"major": 8, "minor": 16, "op": "read", "value": 1},
            {"major": 8, "minor": 0, "op": "Total", "value": 300},
        ]
    },
    "cpu_stats": {
        "cpu_usage": {"total_usage": 3000, "percpu_usage": [1000, 2000]},
        "system_cpu_usage": 200_000,
        "online_cpus": 2,
    },
    "precpu_stats": {"cpu_usage": {"total_usage": 1000}, "system_cpu_usage": 100_000, "online_cpus": 2},
    "memory_stats": {
        "usage": 1000,
        "limit": 5000,
        "stats": {"total_inactive_file": 300, "inactive_file": 100},
    },
    "networks": {"eth0": {"rx_bytes": 842, "tx_bytes": 5}, "eth1": {"rx_bytes": 1, "tx_bytes": 2}},
}

EVENT: dict[str, Any] = {
    "Type": "container",
    "Action": "die",
    "Actor": {"ID": ID, "Attributes": {"exitCode": "3", "name": "work._.1000"}},
    "time": 1795303918,
    "timeNano": 1795303918360598662,
}

IMAGE: dict[str, Any] = {
    "Id": IMAGE_ID,
    "RepoTags": ["busybox:latest"],
    "RepoDigests": ["busybox@sha256:0123"],
    "Created": "2026-11-21T23:21:03.49529262Z",
    "Config": {
        "User": "1000",
        "Env": ["PATH=/bin", "A=b=c", "UNSET"],
        "Cmd": ["/bin/sh"],
        "Entrypoint": ["/init"],
        "Labels": {"a": "b"},
        "StopSignal": "SIGINT",
        "WorkingDir": "/w",
    },
    "Architecture": "amd64",
    "Size": 1982422,
}


def changed(document: dict[str, Any], **changes: object) -> dict[str, Any]:
    """Return a copy with other values; `State__Pid` means the field `Pid` of `State`."""
    result = copy.deepcopy(document)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = result
        for parent in parents:
            place = place[parent]
        place[last] = value
    return result
