"""A program of its own: becomes a user, then touches directories for the daemon. One request, one answer, the end.

It is started as `python -I -S user_helper.py`, often ahead of its request, which may then never come. So it uses the
standard library only, and nothing of the user's: no environment, no working directory, no module from anywhere else.
Once it is the user it imports nothing any more, not even a codec: the user may have no access to where Python is.

It takes on the user's ids by itself instead of being started with them, for two reasons. The user needs no access to
where DS01 is installed. And a process that changes its ids without an exec after it is closed to ptrace by that user,
so what it answers is what it found. Source: ptrace(2) and prctl(2), PR_SET_DUMPABLE.

    {"uid": 1001, "gid": 1001, "groups": [27], "action": "resolve", "path": "/home/alice/data", "create": true}
    {"path": "/home/alice/data", "created": [["/home/alice/data", 2049, 131]], "is_writable": true, ...}
    {"failure": "missing", "path": "/home/alice/data", "reason": "No such file or directory"}

    {"uid": 1001, ..., "action": "discard", "created": [["/home/alice/data", 2049, 131]]}
    {}

The kernel resolves links and `..`, name by name from the root, with the user's rights.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # at run time they would cost a third of its start
    from collections.abc import Mapping
    from typing import NoReturn

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MODE = 0o700

Created = list[tuple[str, int, int]]
"""Directories that were made, outermost first: path, device, inode."""


class RefusedError(Exception):
    """What the answer says instead of a directory.

    Attributes:
        failure: Kind: missing, dangling, not_a_directory, enter, read, create, unreachable or invalid.
        path: Where it happened.
        reason: The system's words.
    """

    def __init__(self, failure: str, path: str, reason: str) -> None:
        super().__init__(reason)
        self.failure = failure
        self.path = path
        self.reason = reason


def become_user(uid: int, gid: int, groups: list[int]) -> None:
    """Give up every right but the user's, and make sure of it.

    Raises:
        PermissionError: This process may not become that user, or something of what it was is left.
    """
    if os.geteuid() != uid:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        if os.getresgid() != (gid, gid, gid) or not set(os.getgroups()) <= {*groups, gid}:
            raise PermissionError(errno.EPERM, "the groups are not the user's")
        if read_capabilities() != 0:
            raise PermissionError(errno.EPERM, "capabilities are left")
    if os.getresuid() != (uid, uid, uid):
        raise PermissionError(errno.EPERM, "the uid is not the user's")


def read_capabilities() -> int:
    """Return the permitted and effective capabilities of this process. Source: proc(5), CapPrm and CapEff."""
    found = 0
    with open("/proc/self/status", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(("CapPrm:", "CapEff:")):
                found |= int(line.split()[1], 16)
    return found


def refuse(error: OSError, path: str) -> NoReturn:
    """Raise the refusal that an error of the kernel means on the way to a directory."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOENT:
        raise RefusedError("missing", path, reason) from error
    if error.errno in {errno.EACCES, errno.EPERM}:
        raise RefusedError("enter", path, reason) from error
    if error.errno == errno.ENOTDIR:
        raise RefusedError("not_a_directory", path, reason) from error
    if error.errno in {errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}:
        raise RefusedError("invalid", path, reason) from error
    raise error


def make_directory(parent: int, name: str, path: str, created: Created) -> int:
    """Make one directory and return it opened; one that somebody else has just made is fine."""
    try:
        os.mkdir(name, _MODE, dir_fd=parent)
    except FileExistsError:
        return os.open(name, _STEP | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        raise RefusedError("create", path, error.strerror or str(error)) from error
    descriptor = os.open(name, _STEP | os.O_NOFOLLOW, dir_fd=parent)
    found = os.fstat(descriptor)
    created.append((path, found.st_dev, found.st_ino))
    return descriptor


def is_link(parent: int, name: str) -> bool:
    """Tell whether a name is a link, whatever it points to."""
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode)
    except OSError:
        return False


def take_step(parent: int, name: str, path: str, created: Created, *, create: bool) -> int:
    """Return the next directory on the way, opened; made if it is missing and may be made."""
    try:
        return os.open(name, _STEP, dir_fd=parent)
    except FileNotFoundError as error:
        if is_link(parent, name):
            raise RefusedError("dangling", path, "the link points to nothing") from error
        if not create:
            refuse(error, path)
    except OSError as error:
        refuse(error, path)
    return make_directory(parent, name, path, created)


def open_directory(path: str, created: Created, *, create: bool) -> int:
    """Return the directory at the end of a path, opened without reading it."""
    descriptor = os.open("/", _STEP)
    reached = ""
    for name in path.split("/"):
        if name in {"", "."}:
            continue
        reached = f"{reached}/{name}"
        if name == ".." and created:
            raise RefusedError("invalid", reached, "'..' behind a directory that did not exist")
        parent = descriptor
        try:
            descriptor = take_step(parent, name, reached, created, create=create)
        finally:
            os.close(parent)
    return descriptor


def require_readable(descriptor: int, path: str) -> None:
    """Enter and list it: trying is the only answer that counts, on network file systems too."""
    try:
        os.stat(".", dir_fd=descriptor)
    except PermissionError as error:
        raise RefusedError("enter", path, str(error.strerror)) from error
    try:
        reading = os.open(".", _READ, dir_fd=descriptor)
        try:
            with os.scandir(reading) as entries:
                next(entries, None)
        finally:
            os.close(reading)
    except PermissionError as error:
        raise RefusedError("read", path, str(error.strerror)) from error


def read_real_path(descriptor: int, path: str) -> str:
    """Return the kernel's own path of an opened directory, if it leads there from our root too."""
    real = os.readlink(f"/proc/self/fd/{descriptor}")
    found = os.fstat(descriptor)
    try:
        again = os.stat(real)
    except OSError as error:
        raise RefusedError("unreachable", path, f"{real}: {error.strerror}") from error
    if not os.path.isabs(real) or (again.st_dev, again.st_ino) != (found.st_dev, found.st_ino):
        raise RefusedError("unreachable", path, f"{real} is another directory")
    return real


def read_file_system(descriptor: int) -> str:
    """Return the type of the file system of an opened file. Source: proc(5), fdinfo (mnt_id) and mountinfo."""
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="utf-8", errors="replace") as lines:
        mount = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            if line.split(" ", 1)[0] == mount:
                return line.rsplit(" - ", 1)[1].split()[0]
    return ""


def resolve(path: str, *, create: bool) -> Mapping[str, object]:
    """Return the answer for a directory; what was made on the way to a refusal is removed again."""
    created: Created = []
    try:
        descriptor = open_directory(path, created, create=create)
        require_readable(descriptor, path)
        return {
            "path": read_real_path(descriptor, path),
            "created": created,
            "is_writable": os.access(".", os.W_OK | os.X_OK, dir_fd=descriptor),
            "file_system": read_file_system(descriptor),
        }
    except (RefusedError, OSError):
        discard(created)
        raise


def discard(created: Created) -> None:
    """Remove directories that were made, innermost first, as long as they are the same ones and empty."""
    for path, device, inode in reversed(created):
        try:
            found = os.lstat(path)
            if (found.st_dev, found.st_ino) != (device, inode):
                return
            os.rmdir(path)
        except OSError:
            return


def answer(request: Mapping[str, object]) -> Mapping[str, object]:
    """Do what is asked and return the answer."""
    match request:
        case {"action": "resolve", "path": str(path), "create": bool(create)}:
            return resolve(path, create=create)
        case {"action": "discard", "created": list(created)}:
            discard([(str(path), int(device), int(inode)) for path, device, inode in created])
            return {}
    raise RefusedError("invalid", "", "no such action")


def main() -> None:
    """Read one request from stdin, write one answer to stdout. Nothing on stdin asks for nothing."""
    os.umask(0o077)
    os.chdir("/")
    text = sys.stdin.read()
    if not text:
        return  # it was started ahead and is not needed, or the daemon is gone
    request = json.loads(text)
    try:
        become_user(request["uid"], request["gid"], request["groups"])
        result = answer(request)
    except RefusedError as error:
        result = {"failure": error.failure, "path": error.path, "reason": error.reason}
    except OSError as error:
        result = {"failure": "system", "path": "", "reason": error.strerror or str(error)}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
