"""Who is at the other end of a Unix socket, as the kernel says. Nothing here comes from the peer itself."""

import os
import select
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ds01.adapters.linux.cgroup import LinuxCgroups

_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid is signed, uid and gid are not
_SO_PEERPIDFD = 77  # Linux 6.5; Python has no name for it. Source: include/uapi/asm-generic/socket.h
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class PeerCredentials:
    """The process that connected, at that moment.

    Attributes:
        pid: In our pid namespace; 0 when it has none there.
        uid: Its effective uid.
        gid: Its effective gid.
    """

    pid: int
    uid: int
    gid: int


def read_credentials(connection: socket.socket) -> PeerCredentials:
    """Return who connected. Source: unix(7), SO_PEERCRED."""
    return PeerCredentials(
        *_CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    )


def is_peer_in_container(connection: socket.socket) -> bool | None:
    """Tell whether the process that connected is in a container; None when it has ended or cannot be seen.

    A root process in a container with our socket mounted arrives as uid 0: this is how it is told from root. From
    Linux 6.5 on a number that was given to another process meanwhile is noticed; before, that window stays open.
    """
    pid = read_credentials(connection).pid
    with suppress(OSError):  # an older kernel, or a process that had ended before: the next lines see that
        descriptor = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
        try:
            answer = is_in_container(pid)
            return None if _has_ended(descriptor) else answer
        finally:
            os.close(descriptor)
    return is_in_container(pid)


def is_in_container(pid: int, *, proc: Path = _PROC) -> bool | None:
    """Tell whether a process is in a container; None when it has ended or cannot be seen.

    It is, when its cgroup is that of a container in which we are not ourselves, or when its user or pid namespace is
    not ours. The mount namespace says nothing: pam_namespace and sandboxed services have their own.

    Args:
        pid: In our pid namespace.
        proc: The proc file system.
    """
    if pid <= 0:
        return None
    cgroups = LinuxCgroups(proc)
    container = cgroups.container_of(pid)
    if container is not None and container != cgroups.container_of(os.getpid()):
        return True
    try:
        return any(
            os.stat(proc / str(pid) / "ns" / kind).st_ino != os.stat(proc / "self" / "ns" / kind).st_ino
            for kind in ("user", "pid")
        )
    except OSError:
        return None


def _has_ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)  # a pidfd becomes readable when its process ends; pidfd_open(2)
    return bool(poll.poll(0))
