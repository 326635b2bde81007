"""What one caller may see of others: made anew for each answer, with the names that it needs."""

from collections.abc import Callable, Iterable

from ds01.daemon.documents import Names
from ds01.daemon.identity import Identities
from ds01.domain.reasons.why_text import Viewer
from ds01.domain.rules.access import Caller
from ds01.domain.rules.policy import Policy
from ds01.domain.rules.site import SHOW_USERS
from ds01.domain.scheduling.situation import Situation
from ds01.service.limits import LimitService


class Viewers:
    """Makes viewers."""

    def __init__(
        self, identities: Identities, limits: LimitService, policy: Callable[[], Policy], *, is_personal: bool
    ) -> None:
        self._identities = identities
        self._limits = limits
        self._policy = policy
        self._is_personal = is_personal

    async def of(self, caller: Caller, uids: Iterable[int | None], *, acting_uid: int | None = None) -> Viewer:
        """Return a caller as somebody who reads about these users.

        Args:
            caller: Who asks.
            uids: Whose names may be needed.
            acting_uid: For whom an administrator asks; None: for themselves.
        """
        uid = caller.uid if acting_uid is None else acting_uid
        names = Names(await self._identities.names([*uids, uid]))
        shown = SHOW_USERS if self._is_personal else self._policy().site.access.show_holders
        return Viewer(uid, caller.is_admin, shown, names)

    async def about(self, caller: Caller, situation: Situation, *, acting_uid: int | None = None) -> Viewer:
        """Return a caller as somebody who reads about the scheduler's world."""
        return await self.of(caller, uids_in(situation), acting_uid=acting_uid)

    def group_of(self, caller: Caller) -> str:
        """Return the caller's group."""
        return self._limits.policy_limits(caller.user).group


def uids_in(situation: Situation) -> set[int | None]:
    """Return everybody whose name may be said about the scheduler's world."""
    found: set[int | None] = {grant.uid for grant in situation.allocations}
    found |= {container.uid for container in situation.foreign}
    found |= {waiting.uid for waiting in situation.waiting}
    return found | {uid for item in situation.reservations for uid in (item.uid, item.created_by_uid)}
