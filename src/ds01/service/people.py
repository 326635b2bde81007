"""Who is who, with the limits of each: what the scheduler has to know of everybody who waits or holds something."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.rules.policy import Policy
from ds01.domain.user import User
from ds01.service.limits import LimitService
from ds01.service.ports import Clock

REMEMBERED = timedelta(minutes=5)
"""So long an account is taken for what it was: a pass over a thousand requests must not ask a directory server each."""


class People:
    """Limits by uid, remembered for a while and only as long as the policy is the same."""

    def __init__(self, limits: LimitService, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._users: dict[int, tuple[User, datetime]] = {}
        self._policy: Policy | None = None
        self._known: dict[int, EffectiveLimits] = {}
        self._admins: tuple[Policy, frozenset[int]] | None = None

    async def limits_of(self, uids: Iterable[int]) -> Mapping[int, EffectiveLimits]:
        """Return the limits of these users and of everybody else who is remembered.

        Raises:
            BackendError: The account database failed.
        """
        now = self._clock.now()
        policy = self._limits.policy
        if policy is not self._policy:
            self._policy, self._known = policy, {}
        old = [uid for uid in set(uids) if uid not in self._users or not self._is_fresh(uid, now)]
        for uid, user in zip(old, await asyncio.gather(*(self._limits.owner(uid) for uid in old)), strict=True):
            self._users[uid] = (user, now)
            self._admins = None
            self._known.pop(uid, None)
        for uid in uids:
            if uid not in self._known:
                self._known[uid] = self._limits.policy_limits(self._users[uid][0])
        return dict(self._known)

    def admins(self) -> frozenset[int]:
        """Return the administrators among those who are remembered."""
        policy = self._limits.policy
        if self._admins is None or self._admins[0] is not policy:
            users = [user for user, _ in self._users.values()]
            found = frozenset(user.uid for user in users if self._limits.caller(user).is_admin)
            self._admins = (policy, found)
        return self._admins[1]

    def _is_fresh(self, uid: int, now: datetime) -> bool:
        return timedelta(0) <= now - self._users[uid][1] < REMEMBERED
