"""What engines change on the machine as a whole; the last engine to leave puts it back."""

import json
import socket
from pathlib import Path

from dev.enginekit.folders import VETH_PREFIX, locked, write_whole

_RUN = Path("/run")
_RECORD = _RUN / "ds01-dev-machine.json"
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
# Folders that dockerd and containerd make at fixed places, whatever they are told; inner ones first.
_FOLDERS = (Path("/run/docker/plugins"), Path("/run/docker"), Path("/run/containerd/s"), Path("/run/containerd"))


def prepare_machine() -> None:
    """Let the machine forward packets, and remember how it was before the first engine came."""
    with locked(_RUN):
        is_forwarding = _FORWARDING.read_text(encoding="ascii").strip() == "1"
        if not _RECORD.exists():
            missing = [str(folder) for folder in _FOLDERS if not folder.exists()]
            write_whole(_RECORD, json.dumps({"forwarding": is_forwarding, "missing": missing}))
        if not is_forwarding:
            _FORWARDING.write_text("1\n", encoding="ascii")


def restore_machine() -> None:
    """Put the machine back as it was, unless another engine is still there."""
    with locked(_RUN):
        if not _RECORD.exists() or any(Path("/sys/class/net").glob(f"{VETH_PREFIX}*")):
            return
        before = json.loads(_RECORD.read_text(encoding="utf-8"))
        if not before["forwarding"]:
            _FORWARDING.write_text("0\n", encoding="ascii")
        for folder in map(Path, before["missing"]):
            _remove_dead_sockets(folder)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        _RECORD.unlink()


def _remove_dead_sockets(folder: Path) -> None:
    """Remove the sockets that nobody listens to; a container that failed to start leaves one (containerd 1.6)."""
    for path in folder.glob("*"):
        if path.is_socket() and not _is_listened_to(path):
            path.unlink()


def _is_listened_to(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True


def remove_shim_sockets(containerd_state: Path) -> None:
    """Remove the sockets of killed container shims, which lie at a fixed place shared with any other containerd."""
    for note in containerd_state.glob("io.containerd.runtime.v2.task/*/*/address"):
        Path(note.read_text(encoding="utf-8").removeprefix("unix://")).unlink(missing_ok=True)
