"""Where the daemon and its client meet, as plain text. Both ends ask here, so they cannot differ.

Text and not `Path`, a plain class and no dataclass: `ds01 list` asks here, and those two imports cost it 20 ms.
"""

import os
import stat
from collections.abc import Mapping

SITE_CONFIG = "/etc/ds01"
SERVER_SOCKET = "/run/ds01/api.sock"
SERVER_STATE = "/var/lib/ds01"
MACHINE_ID = "/etc/machine-id"
MOUNTS = "/proc/self/mountinfo"
SOCKET_NAME = "api.sock"
MAX_SOCKET_PATH = 100
"""Bytes of a Unix socket's path; the kernel takes 107 (unix(7)), a little is kept for a temporary name."""
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "lustre",
        "fuse.sshfs",
        "glusterfs",
        "fuse.glusterfs",
        "beegfs",
        "gpfs",
        "orangefs",
        "panfs",
        "wekafs",
        "coda",
        "davfs",
        "fuse.ceph",
        "fuse.ceph-fuse",
        "fuse.juicefs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.davfs2",
    }
)


class Place:
    """Paths of one daemon; see `api.location.Location`, which is the same with `Path`."""

    __slots__ = ("config", "is_personal", "socket", "state")

    def __init__(self, socket: str, state: str, config: str, *, is_personal: bool) -> None:
        self.socket = socket
        self.state = state
        self.config = config
        self.is_personal = is_personal


def find_place(
    environment: Mapping[str, str], uid: int, *, site_config: str = SITE_CONFIG, mounts: str = MOUNTS
) -> Place:
    """Return where the daemon for this user is.

    Args:
        environment: `DS01_SOCKET` names another daemon's socket; `XDG_*` and `HOME` say where a user's files are.
            Relative paths count as unset. Source: XDG Base Directory Specification 0.8.
        uid: The user.
        site_config: Folder whose existence means server mode; a dangling link exists too.
        mounts: The mount table.
    """
    named = environment.get("DS01_SOCKET")
    if named:
        return Place(named, SERVER_STATE, site_config, is_personal=False)
    if os.path.lexists(site_config):
        return Place(SERVER_SOCKET, SERVER_STATE, site_config, is_personal=False)
    # the whole folder, not one below it: what stands above it there could be somebody else's
    aside = f"/var/tmp/ds01-{uid}"  # noqa: S108 - owner and mode are checked by prepare_folder
    home = _absolute(environment, "HOME")
    state_home = _absolute(environment, "XDG_STATE_HOME") or (home and os.path.join(home, ".local/state"))
    state = os.path.join(state_home, "ds01", machine_id()) if state_home else aside
    if is_on_network(state, mounts=mounts):
        state = aside
    config_home = _absolute(environment, "XDG_CONFIG_HOME") or (home and os.path.join(home, ".config"))
    config = os.path.join(config_home, "ds01") if config_home else os.path.join(aside, "config")
    return Place(_socket_path(environment, state, aside, uid), state, config, is_personal=True)


def _absolute(environment: Mapping[str, str], name: str) -> str:
    text = environment.get(name, "")
    return text if text.startswith("/") else ""


def _socket_path(environment: Mapping[str, str], state: str, aside: str, uid: int) -> str:
    runtime = _absolute(environment, "XDG_RUNTIME_DIR")
    # after su or sudo it may still be somebody else's
    folder = os.path.join(runtime, "ds01") if runtime and _owner(runtime) == uid else state
    path = os.path.join(folder, SOCKET_NAME)
    return path if len(os.fsencode(path)) <= MAX_SOCKET_PATH else os.path.join(aside, SOCKET_NAME)


def _owner(folder: str) -> int | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_uid if stat.S_ISDIR(found.st_mode) else None


def machine_id() -> str:
    """Return the id of this machine, so that a home shared by machines keeps their states apart."""
    try:
        with open(MACHINE_ID, encoding="ascii") as file:
            text = file.read().strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    return text or os.uname().nodename


def is_on_network(path: str, *, mounts: str = MOUNTS) -> bool:
    """Tell whether a path is, or would be, on a network file system; where that cannot be known, it counts as one.

    Args:
        path: It need not exist.
        mounts: The mount table. Source: proc(5), /proc/pid/mountinfo.
    """
    existing = path
    while not os.path.exists(existing) and existing != os.path.dirname(existing):
        existing = os.path.dirname(existing)
    wanted = os.fsencode(os.path.realpath(existing))
    try:
        with open(mounts, "rb") as file:
            table = file.read()
    except OSError:
        return True
    best, kind = b"", b""
    for line in table.split(b"\n"):
        left, _, right = line.partition(b" - ")
        columns = left.split(b" ")
        if len(columns) < 5:
            continue
        point = _unescaped(columns[4])
        inside = wanted == point or wanted.startswith(point.rstrip(b"/") + b"/")
        if inside and len(point) >= len(best):  # of two mounts on one place, the later one is seen
            best, kind = point, right.split(b" ")[0]
    return os.fsdecode(kind) in NETWORK_FILE_SYSTEMS


def _unescaped(point: bytes) -> bytes:
    r"""Return a mount point with its blanks, tabs, line breaks and backslashes, which the kernel writes as `\040`."""
    if b"\\" not in point:
        return point
    first, *others = point.split(b"\\")
    for part in others:
        digits = part[:3]
        is_octal = len(digits) == 3 and all(digit in b"01234567" for digit in digits)
        first += bytes([int(digits, 8) & 0xFF]) + part[3:] if is_octal else b"\\" + part
    return first
