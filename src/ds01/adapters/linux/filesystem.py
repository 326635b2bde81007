"""Facts about file systems: whether the state may live there, and how much room is left."""

import ctypes
import os
from pathlib import Path

from ds01.errors import BackendError

# Where SQLite's write-ahead log does not work, or not for sure: its shared memory needs one kernel and real locks.
# Source: https://www.sqlite.org/wal.html; numbers from statfs(2), linux/magic.h and the file systems' own headers.
NETWORK_FILE_SYSTEMS = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x65735546: "FUSE",
    0x01021997: "9P",
    0x00C36400: "Ceph",
    0x5346414F: "AFS",
    0x6B414653: "kAFS",
    0x73757245: "Coda",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x19830326: "BeeGFS",
    0x564C: "NCP",
    0x786F4256: "VirtualBox shared folder",
}
_BUFFER_BYTES = 512  # struct statfs has 120 on 64-bit machines
_MAGIC_MASK = 0xFFFFFFFF


def find_network_file_system(path: Path) -> str | None:
    """Return the name of the network (or FUSE) file system that holds a path, or None for a local one.

    Args:
        path: What does not exist yet is looked for where it would be made.

    Raises:
        BackendError: The kernel did not say.

    Source: statfs(2), f_type; shown by `stat --file-system --format=%t PATH`.
    """
    return NETWORK_FILE_SYSTEMS.get(_read_magic(_find_existing(path)))


def is_network_path(path: Path) -> bool:
    """Tell whether a path lies on a network (or FUSE) file system.

    Raises:
        BackendError: The kernel did not say.
    """
    return find_network_file_system(path) is not None


def read_free_bytes(path: Path) -> int:
    """Return the room that is left for users where a path is or would be made, in bytes.

    Raises:
        BackendError: The kernel did not say.

    Source: statvfs(3), f_bavail; shown by `df --output=avail -B1 PATH`.
    """
    existing = _find_existing(path)
    try:
        found = os.statvfs(existing)
    except OSError as error:
        raise BackendError(f"The free space of {existing} cannot be read: {error.strerror}.") from error
    return found.f_bavail * found.f_frsize


def find_free_bytes(folder: str) -> int | None:
    """Return the room that is left for users in a folder, in bytes; None where there is no such folder here.

    Raises:
        BackendError: The kernel did not say.
    """
    return read_free_bytes(Path(folder)) if os.path.lexists(folder) else None


def _find_existing(path: Path) -> Path:
    absolute = path.absolute()
    return next(place for place in (absolute, *absolute.parents) if os.path.lexists(place))


def _read_magic(path: Path) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_BUFFER_BYTES)
    if library.statfs(os.fsencode(path), buffer) != 0:
        raise BackendError(f"The file system of {path} cannot be read: {os.strerror(ctypes.get_errno())}.")
    # f_type comes first, as wide as a long; only its lower 32 bits are the number.
    return ctypes.c_long.from_buffer(buffer).value & _MAGIC_MASK
