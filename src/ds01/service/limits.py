"""Which limits apply to whom: the policy, bounded by what the engine's machine has."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta

from ds01.domain.containers.container import ContainerSpec, ResourceLimits
from ds01.domain.containers.origin import origin_of
from ds01.domain.name import EngineName
from ds01.domain.rules.access import Caller
from ds01.domain.rules.limit import EffectiveLimits, MachineBounds, lower_to_machine
from ds01.domain.rules.policy import Policy, cgroup_parent, is_admin, limits_of
from ds01.domain.rules.site import SHOW_USERS
from ds01.domain.user import User
from ds01.errors import BackendError, Ds01Error, NotFoundError
from ds01.service.helper_container import HelperContainers
from ds01.service.ports import Accounts, Engine, EngineInfo

PolicySource = Callable[[], Policy]
ULIMIT_FLAGS: Mapping[str, str] = {"memlock": "l", "stack": "s", "nofile": "n", "core": "c", "nproc": "u"}
"""Ulimits that a shell can say, with its flag. Source: dash(1), bash(1), `ulimit`."""
_KIB_ULIMITS = frozenset({"memlock", "stack", "core"})
_PROBE_DEADLINE = timedelta(seconds=20)


class LimitService:
    """Answers what a user may use."""

    def __init__(self, helpers: HelperContainers, policy: PolicySource, accounts: Accounts) -> None:
        self._helpers = helpers
        self._policy = policy
        self._accounts = accounts
        self._info: EngineInfo | None = None
        self._highest: dict[str, int] = {}
        self._tried: set[frozenset[tuple[str, int]]] = set()
        self._probing = asyncio.Lock()

    def policy_limits(self, user: User) -> EffectiveLimits:
        """Return what the policy gives, not yet bounded by the machine."""
        return limits_of(self._policy(), user)

    async def owner_limits(self, uid: int) -> EffectiveLimits:
        """Return what the policy gives to the owner of a container, also when the account is gone.

        Raises:
            BackendError: The account database failed.
        """
        return self.policy_limits(await self.owner(uid))

    async def hold_of(self, uid: int) -> timedelta | None:
        """Return how long a stopped container of this user keeps its devices; None: until it is removed."""
        return (await self.owner_limits(uid)).values.gpu_hold_after_stop

    def stop_grace_of(self, labels: Mapping[str, str], name: str) -> timedelta:
        """Return how long the programs of a container may take to end when it is stopped, by what made it."""
        return self.policy.site.lifecycle.stop_grace.of(origin_of(labels, name).value)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy()

    def reader(self, caller: Caller) -> int | None:
        """Return to whom refusals must not name the containers of others; None: the site shows them to this caller."""
        is_shown = caller.is_admin or self.policy.site.access.show_holders == SHOW_USERS
        return None if is_shown else caller.uid

    async def owner(self, uid: int) -> User:
        """Return an account, nameless if it is gone.

        Raises:
            BackendError: The account database failed.
        """
        try:
            # a directory server that does not answer must not stop the daemon
            return await asyncio.to_thread(self._accounts.get_user, uid)
        except NotFoundError:
            return User(uid=uid, gid=uid, name="")  # nameless: the policy's default, or what it says for this number

    async def existing(self, uid: int) -> User:
        """Return an account that is there.

        Raises:
            NotFoundError: It is gone.
            BackendError: The account database failed.
        """
        return await asyncio.to_thread(self._accounts.get_user, uid)

    def caller(self, user: User, pid: int = 0) -> Caller:
        """Return the user as one who asks, with their rights."""
        return Caller(user=user, is_admin=is_admin(self._policy(), user), pid=pid)

    def effective(self, user: User, info: EngineInfo, *, policy: Policy | None = None) -> EffectiveLimits:
        """Return the least of policy, machine and engine; of the policy in force without another one."""
        bounds = MachineBounds(float(info.cpus), info.memory_bytes, self._highest)
        return lower_to_machine(limits_of(policy or self._policy(), user), bounds)

    def forget_engine(self) -> None:
        """Forget what was learnt of the engine: it was started anew."""
        self._info = None
        self._highest = {}
        self._tried = set()  # a new one: whoever asks just now asked the engine as it was

    async def engine_info(self, engine: Engine) -> EngineInfo:
        """Return what the engine says of itself; asked once for each of its starts, because it counts its images.

        Raises:
            BackendError: The engine does not answer, or is none that can be used.
        """
        found, start = self._info, self._tried
        if found is None:
            found = await engine.get_info()
            if self._tried is start:
                self._info = found
        return found

    async def learn_ulimits(self, image: str, wished: Mapping[str, int]) -> None:
        """Learn once for each engine start which ulimits it can set, by trying them in a container.

        An engine without CAP_SYS_RESOURCE cannot raise a hard limit above its own, and says so only at the start of a
        container. An image that cannot answer leaves the question open.

        Args:
            image: Id of an image with a shell.
            wished: Ulimits as they would be set now.

        Raises:
            BackendError: The engine failed otherwise.
        """
        wish = frozenset(wished.items())
        if not wish or wish in self._tried:
            return
        async with self._probing:
            if wish not in self._tried and await self._probe(image, wished):
                self._tried.add(wish)

    async def _probe(self, image: str, wished: Mapping[str, int]) -> bool:
        """Try a set of ulimits; tell whether the answer is known now."""
        try:
            await self._helpers.run(_probe(image, ResourceLimits(ulimits=wished), ()), deadline=_PROBE_DEADLINE)
        except BackendError as refusal:
            if "rlimit" not in refusal.message:
                raise
        except Ds01Error:
            return False
        else:
            return True
        result = await self._helpers.run(_probe(image, ResourceLimits(), tuple(wished)), deadline=_PROBE_DEADLINE)
        self._highest = {**self._highest, **parse_ulimits(result.stdout)}
        return True


def _probe(image: str, limits: ResourceLimits, names: tuple[str, ...]) -> ContainerSpec:
    return ContainerSpec(
        engine_name=EngineName("probe", 0),
        image=image,
        uid=0,
        gid=0,
        entrypoint=("sh", "-c", probe_script(names)),
        environment={"NVIDIA_VISIBLE_DEVICES": "void"},
        limits=limits,
        network="none",
        has_terminal=False,
        working_dir="/",
    )


def probe_script(names: tuple[str, ...]) -> str:
    """Return shell text that says the hard limits, a line `name value` for each that the shell knows."""
    known = [(name, ULIMIT_FLAGS[name]) for name in names if name in ULIMIT_FLAGS]
    return "; ".join(f"echo {name} $(ulimit -H -{flag} 2>/dev/null)" for name, flag in known) or ":"


def parse_ulimits(text: str) -> dict[str, int]:
    """Return the hard limits that `probe_script` has said; unlimited and unknown ones are left out."""
    found: dict[str, int] = {}
    for name, _, value in (line.strip().partition(" ") for line in text.splitlines()):
        if name in ULIMIT_FLAGS and value.isascii() and value.isdigit():
            found[name] = int(value) * (1024 if name in _KIB_ULIMITS else 1)
    return found


def cgroup_parent_of(user: User, info: EngineInfo) -> str:
    """Return the cgroup parent of a user's containers on this engine; empty where it has no driver."""
    return cgroup_parent(user.uid, info.cgroup_driver)
