"""Who is on the other end: SO_PEERCRED of the connection, and the account behind the uid."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ds01.adapters.linux.peer import is_peer_in_container, read_credentials
from ds01.domain.rules.access import Caller
from ds01.domain.user import User
from ds01.errors import BackendError, ForbiddenError, NotFoundError
from ds01.service.limits import LimitService
from ds01.service.ports import Accounts

CACHE_S = 10.0
"""How long an account is believed: groups change while a daemon runs; a look-up can cost a network request."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process on the other end. Source: unix(7), SO_PEERCRED.

    Attributes:
        pid: Its number.
        uid: Its user, as the kernel knows it.
        gid: Its group.
        is_in_container: It is inside a container, where anybody can take any number; None: it cannot be seen any more.
    """

    pid: int
    uid: int
    gid: int
    is_in_container: bool | None = False


def read_peer(connection: socket.socket) -> Peer:
    """Return the process on the other end of a Unix socket, as the kernel knows it."""
    found = read_credentials(connection)
    return Peer(found.pid, found.uid, found.gid, is_peer_in_container(connection))


class Identities:
    """Turns peers into callers. The account database may block, so it is asked in a thread."""

    def __init__(
        self,
        accounts: Accounts,
        limits: LimitService,
        *,
        only_uid: int | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make it.

        Args:
            accounts: The account database.
            limits: Knows who is an administrator.
            only_uid: A personal daemon serves this user and root only; None: everybody.
            monotonic: Seconds that never go back.
        """
        self._accounts = accounts
        self._limits = limits
        self._only_uid = only_uid
        self._monotonic = monotonic
        self._known: dict[int, tuple[float, User]] = {}

    async def caller(self, peer: Peer) -> Caller:
        """Return who asks.

        For a server, a process that cannot be seen any more is no administrator: it may have been in a container.

        Raises:
            ForbiddenError: No such account, or this daemon is another user's, or a server is asked from a container.
            BackendError: The account database failed.
        """
        is_server = self._only_uid is None
        if is_server and peer.is_in_container:
            raise ForbiddenError(
                "This request comes from inside a container, where anybody can be any user.",
                hint="Run `ds01` on the machine itself.",
            )
        if self._only_uid is not None and peer.uid not in {self._only_uid, 0}:
            raise ForbiddenError(
                "This daemon serves another user.", hint="Run `ds01` with your own settings: unset DS01_SOCKET."
            )
        try:
            user = await self.user(peer.uid)
        except NotFoundError as missing:
            raise ForbiddenError(missing.message, hint="Ask your administrator for one.") from missing
        caller = self._limits.caller(user, peer.pid)
        return replace(caller, is_admin=False) if is_server and peer.is_in_container is None else caller

    async def user(self, uid: int) -> User:
        """Return the account of a uid.

        Raises:
            NotFoundError: There is none.
            BackendError: The account database failed.
        """
        known = self._known.get(uid)
        if known is not None and self._monotonic() - known[0] < CACHE_S:
            return known[1]
        try:
            user = await asyncio.to_thread(self._accounts.get_user, uid)
        except NotFoundError as missing:
            raise NotFoundError(f"The uid {uid} has no account on this machine.") from missing
        self._known[uid] = (self._monotonic(), user)
        return user

    async def name(self, uid: int | None) -> str:
        """Return a user's name for people; the number where the machine knows none."""
        if uid is None:
            return ""
        try:
            return (await self.user(uid)).name
        except (NotFoundError, BackendError):
            return str(uid)

    async def names(self, uids: Iterable[int | None]) -> dict[int, str]:
        """Return the names of several users by uid."""
        return {uid: await self.name(uid) for uid in {uid for uid in uids if uid is not None}}
