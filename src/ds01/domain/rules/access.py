"""Who may act on what. Identity comes from the kernel; here it is only compared."""

from dataclasses import dataclass

from ds01.domain.user import User
from ds01.errors import ForbiddenError, NotFoundError


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        user: The account behind the connection.
        is_admin: Root or a member of an admin group.
        pid: Process on the other end; 0 if unknown.
    """

    user: User
    is_admin: bool = False
    pid: int = 0

    @property
    def uid(self) -> int:
        """Number of the account."""
        return self.user.uid


def acting_uid(caller: Caller, named_uid: int | None) -> int:
    """Return the uid a request acts for: the caller's own, or the named one for an administrator.

    Raises:
        ForbiddenError: A user named somebody else.
    """
    if named_uid is None or named_uid == caller.uid:
        return caller.uid
    if not caller.is_admin:
        raise ForbiddenError(
            "Only an administrator may act for another user.", hint="Leave the user out, to ask about yourself."
        )
    return named_uid


def require_owner(caller: Caller, owner_uid: int | None, name: str) -> None:
    """Raise if the container is not the caller's: to others it does not exist.

    Raises:
        NotFoundError: It belongs to somebody else and the caller is no administrator.
    """
    if owner_uid != caller.uid and not caller.is_admin:
        raise container_not_found(name)


def container_not_found(name: str) -> NotFoundError:
    """Return the one answer for a container that does not exist or is somebody else's."""
    return NotFoundError(f"You have no container {name!r}.", hint="`ds01 list` shows your containers.")
