"""The ports of Linux: accounts, users' directories, cgroups. A part of ds01.service.ports, from where all import it."""

from dataclasses import dataclass
from typing import Protocol

from ds01.domain.user import User


class Accounts(Protocol):
    """The account database."""

    def get_user(self, uid: int) -> User:
        """Return the account with its groups.

        Raises:
            NotFoundError: No such account.
            BackendError: The account database failed.
        """
        ...

    def find_user_by_name(self, name: str) -> User | None:
        """Return the account, or None. A name of digits is a name, never a number."""
        ...


@dataclass(frozen=True, slots=True)
class ResolvedDirectory:
    """A directory of the host, resolved as the user.

    Attributes:
        path: Absolute path without links.
        was_created: It did not exist before.
        is_writable: The user may write in it.
    """

    path: str
    was_created: bool
    is_writable: bool


class Directories(Protocol):
    """Directories of users, touched only by a process that has become the user."""

    async def resolve(self, user: User, path: str, *, create: bool) -> ResolvedDirectory:
        """Return a directory as the user sees it.

        Args:
            user: Whose rights count.
            path: Absolute path, or one that begins with `~`.
            create: Make it (mode 0700, and missing parents) when it does not exist.

        Raises:
            InvalidRequestError: It is not a directory, or the path cannot be mounted.
            NotFoundError: It does not exist and may not be made.
            ForbiddenError: The user may not enter or read it.
            BackendTimeoutError: The file system did not answer within five seconds.
        """
        ...

    async def discard(self, user: User, path: str) -> None:
        """Remove a directory that `resolve` has just made, if it is still empty."""
        ...

    async def close(self) -> None:
        """End what was started to look at them. Nothing may be asked after."""
        ...


class CgroupProcesses(Protocol):
    """Which container a process belongs to."""

    def container_of(self, pid: int) -> str | None:
        """Return the full container id from /proc/<pid>/cgroup, or None."""
        ...
