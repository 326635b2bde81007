"""Finds and removes mounts below a folder."""

import ctypes
import os
import re
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")
_LIBC = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2
_EINVAL = 22


def mounts_below(*folders: Path) -> list[Path]:
    """Return the mount points inside the folders, innermost and latest first.

    Source: proc_pid_mountinfo(5), field 5 with octal escapes.
    """
    found: list[Path] = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        point = Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), line.split(" ")[4]))
        if any(folder == point or folder in point.parents for folder in folders):
            found.append(point)
    return found[::-1]


def unmount_below(*folders: Path) -> None:
    """Unmount everything inside the folders; what is still in use goes with its last user.

    The system call, because umount(8) would leave its own folder /run/mount behind.

    Raises:
        OSError: The kernel refuses for another reason than that the mount is gone already.

    Source: umount2(2), MNT_DETACH.
    """
    for point in mounts_below(*folders):
        if _LIBC.umount2(os.fsencode(point), _MNT_DETACH) != 0 and ctypes.get_errno() != _EINVAL:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(point))
