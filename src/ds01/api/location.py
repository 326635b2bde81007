"""Where the daemon and its client meet. Both ends ask here, so they cannot differ. Standard library only.

Server mode: `/run/ds01/api.sock`, chosen by the existence of `/etc/ds01`. Personal mode: a folder for the user's own
daemon. SQLite's WAL does not work on a network file system, so a state folder on one moves to /var/tmp.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ds01.api.place import MOUNTS, SITE_CONFIG, find_place
from ds01.errors import BackendError, ForbiddenError

LOCK_NAME = "daemon.lock"
DATABASE_NAME = "ds01.sqlite"
LOG_NAME = "ds01d.log"


@dataclass(frozen=True, slots=True)
class Location:
    """Paths of one daemon.

    Attributes:
        socket: Its API socket.
        state: Folder of its database, lock and log.
        config: Folder of the policy.
        is_personal: It serves one user and is started on demand.
        log: Folder of the exported events; None: that of the state.
    """

    socket: Path
    state: Path
    config: Path
    is_personal: bool
    log: Path | None = None

    @property
    def log_folder(self) -> Path:
        """Where the file of events is."""
        return self.state if self.log is None else self.log


def find_location(
    environment: Mapping[str, str], uid: int, *, site_config: Path = Path(SITE_CONFIG), mounts: Path = Path(MOUNTS)
) -> Location:
    """Return where the daemon for this user is: `api.place.find_place` with paths."""
    place = find_place(environment, uid, site_config=os.fspath(site_config), mounts=os.fspath(mounts))
    return Location(Path(place.socket), Path(place.state), Path(place.config), is_personal=place.is_personal)


def prepare_folder(folder: Path, uid: int) -> None:
    """Make a private folder, or check that the one that is there is private: ours, 0700, no link.

    Raises:
        ForbiddenError: It belongs to somebody else, is a link, or others could write into it.
        BackendError: It cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(folder)
        _require_private(folder, found, uid)
        if found.st_mode & 0o077:
            folder.chmod(0o700)  # others could only look into it
    except OSError as failure:
        raise BackendError(
            f"The folder {folder} cannot be made: {failure.strerror}.",
            hint="Set XDG_STATE_HOME to a folder you can write.",
        ) from failure


def _require_private(folder: Path, found: os.stat_result, uid: int) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise ForbiddenError(f"{folder} is not a folder but a link.", hint="Move it away.")
    if found.st_uid != uid:
        raise ForbiddenError(
            f"{folder} is not a folder of yours (uid {uid}).", hint=f"Move it away: it belongs to uid {found.st_uid}."
        )
    if found.st_mode & 0o022:
        raise ForbiddenError(
            f"Others can write into {folder}: what is in it may not be yours.",
            hint=f"Look what is in it, then: chmod 700 {folder}",
        )
