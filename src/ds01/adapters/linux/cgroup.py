"""Which container a process belongs to, by its cgroup."""

import re
from pathlib import Path

from ds01.errors import BackendError

# All forms of Docker and podman, both cgroup versions, both drivers. The outermost container counts: it is the one that
# the engine of this machine knows, whatever runs in it.
_CONTAINER = re.compile(r"(?:libpod-|docker-|/)([0-9a-f]{64})(?:\.scope)?(?:/|$)")


class LinuxCgroups:
    """The CgroupProcesses port.

    Args:
        proc: The proc file system.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def container_of(self, pid: int) -> str | None:
        """Return the full container id of a process, or None: it is in none, or has ended.

        Args:
            pid: As the daemon's pid namespace numbers it.

        Raises:
            BackendError: The kernel did not say.

        Source: cgroups(7), /proc/PID/cgroup; shown by `cat /proc/PID/cgroup`.
        """
        try:
            text = (self._proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        except OSError as error:
            raise BackendError(f"The cgroup of process {pid} cannot be read: {error.strerror}.") from error
        return parse_container(text)


def parse_container(text: str) -> str | None:
    """Return the container id in the text of a /proc/PID/cgroup, or None."""
    for line in text.splitlines():
        # hierarchy:controllers:path, and the path may hold colons
        found = _CONTAINER.search(line.split(":", 2)[-1])
        if found:
            return found[1]
    return None
