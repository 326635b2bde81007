"""Finds and ends the processes of one engine, and no others."""

import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

_PROGRAMS = (
    "dockerd",
    "containerd",
    "containerd-shim",
    "containerd-shim-runc-v1",
    "containerd-shim-runc-v2",
    "runc",
    "docker-registry",
)
_CGROUPS = Path("/sys/fs/cgroup")


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or None if it is gone or a zombie.

    A pid together with this number names one process for ever. Source: proc_pid_stat(5), fields 3 and 22.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def daemons_of(run_folder: Path) -> list[int]:
    """Return the engine programs that were started with a path inside `run_folder` as an argument."""
    inside = f"{run_folder}/"
    found: list[int] = []
    for pid in _pids():
        argv = _read(pid, "cmdline").split("\0")
        if Path(argv[0]).name in _PROGRAMS and any(inside in argument for argument in argv[1:]):
            found.append(pid)
    return found


def members_of(container_ids: Collection[str]) -> list[int]:
    """Return the processes inside the containers, told by their cgroup."""
    if not container_ids:
        return []
    inside = (pid for pid in _pids() if any(name in _read(pid, "cgroup") for name in container_ids))
    return [pid for pid in inside if start_ticks(pid) is not None]


def thaw(container_ids: Collection[str]) -> None:
    """Unfreeze paused containers: a frozen process does not even die of SIGKILL (cgroup v1)."""
    for folder in _cgroups_of(container_ids):
        for switch, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if (folder / switch).exists():
                (folder / switch).write_text(value, encoding="utf-8")


def remove_cgroups(container_ids: Collection[str]) -> None:
    """Remove the empty cgroups that killed containers left."""
    deadline = time.monotonic() + 2.0
    while (folders := _cgroups_of(container_ids)) and time.monotonic() < deadline:
        for folder in folders:
            for path in sorted((Path(found[0]) for found in os.walk(folder)), key=lambda path: -len(path.parts)):
                _remove_when_empty(path)
        time.sleep(0.02)


def end(pids: Iterable[int], *, grace_s: float) -> None:
    """Ask processes to end, and kill those that have not after `grace_s` seconds."""
    known = {pid: ticks for pid in pids if (ticks := start_ticks(pid)) is not None}
    _signal(known, signal.SIGTERM)
    if _wait(known, grace_s):
        return
    _signal(known, signal.SIGKILL)
    _wait(known, 10.0)


def kill(pids: Iterable[int]) -> None:
    """Kill processes at once and wait until they are gone."""
    known = {pid: ticks for pid in pids if (ticks := start_ticks(pid)) is not None}
    _signal(known, signal.SIGKILL)
    _wait(known, 10.0)


def _signal(known: dict[int, int], number: signal.Signals) -> None:
    for pid, ticks in known.items():
        if start_ticks(pid) == ticks:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


def _wait(known: dict[int, int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(start_ticks(pid) == ticks for pid, ticks in known.items()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _cgroups_of(container_ids: Collection[str]) -> list[Path]:
    if not container_ids:
        return []
    return [
        Path(folder) for folder, _, _ in os.walk(_CGROUPS) if any(name in Path(folder).name for name in container_ids)
    ]


def _remove_when_empty(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return  # busy for a moment after a kill, or already gone
