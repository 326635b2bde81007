"""Where the daemon and its client meet, as plain text. Both ends ask here, so they cannot differ.

Text and not `Path`, a plain class and no dataclass: `ds01 list` asks here, and those two imports cost it 20 ms.
"""

import os
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


def find_place(environment: Mapping[str, str], uid: int, *, site_config: str = SITE_CONFIG) -> Place:
    """Return where the daemon for this user is.

    Args:
        environment: `DS01_SOCKET` names another daemon's socket; `XDG_*` and `HOME` say where a user's files are.
        uid: The user.
        site_config: Folder whose existence means server mode.
    """
    named = environment.get("DS01_SOCKET")
    if named:
        return Place(named, SERVER_STATE, site_config, is_personal=False)
    if os.path.exists(site_config):
        return Place(SERVER_SOCKET, SERVER_STATE, site_config, is_personal=False)
    aside = f"/var/tmp/ds01-{uid}"  # noqa: S108 - owner and mode are checked by prepare_folder
    home = environment.get("HOME") or aside
    state = os.path.join(environment.get("XDG_STATE_HOME") or os.path.join(home, ".local/state"), "ds01", machine_id())
    if is_on_network(state):
        state = aside
    runtime = environment.get("XDG_RUNTIME_DIR")
    socket = (
        os.path.join(runtime, "ds01", SOCKET_NAME)
        if runtime and os.path.isdir(runtime)
        else os.path.join(state, SOCKET_NAME)
    )
    if len(os.fsencode(socket)) > MAX_SOCKET_PATH:
        socket = os.path.join(aside, SOCKET_NAME)
    config = os.path.join(environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "ds01")
    return Place(socket, state, config, is_personal=True)


def machine_id() -> str:
    """Return the id of this machine, so that a home shared by machines keeps their states apart."""
    try:
        with open(MACHINE_ID, encoding="ascii") as file:
            text = file.read().strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    return text or os.uname().nodename


def is_on_network(path: str) -> bool:
    """Tell whether a path is, or would be, on a network file system. Source: proc(5), mountinfo."""
    existing = path
    while not os.path.exists(existing) and existing != os.path.dirname(existing):
        existing = os.path.dirname(existing)
    wanted = os.path.realpath(existing)
    best, kind = "", ""
    with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            left, _, right = line.partition(" - ")
            point = left.split(" ")[4].encode("utf-8", "surrogateescape").decode("unicode_escape", "replace")
            inside = wanted == point or wanted.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, right.split(" ")[0]
    return kind in NETWORK_FILE_SYSTEMS
