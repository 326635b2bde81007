"""The site's rules: defaults, groups and overrides, merged for one user with the origin of every value."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType

from ds01.domain.limit import BUILT_IN_ORIGIN, LIMIT_NAMES, EffectiveLimits, Limits
from ds01.domain.user import User

PERSONAL_GROUP = "personal"
UID_PREFIX = "uid:"
DEFAULT_GROUP = "default"
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class LimitLayer:
    """Some limits that one section of the policy sets.

    Attributes:
        values: Limit name to value; None is unlimited.
        origins: Limit name to `file:line`.
    """

    values: Mapping[str, object] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """One group of the policy.

    Attributes:
        name: Its name.
        members: `alice`, `@unix-group` or `uid:12034`, in file order.
        layer: Limits it sets.
        is_admin: Its members are administrators.
    """

    name: str
    members: tuple[str, ...] = ()
    layer: LimitLayer = field(default_factory=LimitLayer)
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class UserOverride:
    """What the policy sets for one user.

    Attributes:
        group: Group that wins over every membership; None: as the memberships say.
        layer: Limits it sets.
    """

    group: str | None = None
    layer: LimitLayer = field(default_factory=LimitLayer)


BUILT_IN_LIMITS = Limits(
    max_gpus=2,
    max_gpu_equivalents=1.0,
    max_gpus_per_container=1,
    max_cpus=16,
    memory=32 * GIB,
    memory_swap=32 * GIB,
    shm_size=16 * GIB,
    pids_limit=4096,
    max_containers=3,
    idle_timeout=timedelta(hours=48),
    gpu_hold_after_stop=timedelta(minutes=15),
)
"""What a policy file starts from (spec: resource-limits.yaml, `defaults`)."""

PERSONAL_LIMITS = Limits(
    max_cpus=None,
    memory=None,
    memory_swap=None,
    shm_size=16 * GIB,
    pids_limit=32768,
)
"""Personal mode: no quotas, no time limits, no idle steps; what a container may use is bounded by the machine."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole policy.

    Attributes:
        defaults: Limits of everybody.
        default_group: Group of users who are in none.
        groups: In file order.
        overrides: By member text: a login name or `uid:N`.
        source: File it was read from; `built-in` without one.
        base: What the file starts from.
    """

    defaults: LimitLayer = field(default_factory=LimitLayer)
    default_group: str = DEFAULT_GROUP
    groups: tuple[PolicyGroup, ...] = ()
    overrides: Mapping[str, UserOverride] = field(default_factory=dict)
    source: str = BUILT_IN_ORIGIN
    base: Limits = BUILT_IN_LIMITS


def personal_policy() -> Policy:
    """Return the policy of personal mode: everything unlimited that the machine does not limit."""
    return Policy(default_group=PERSONAL_GROUP, base=PERSONAL_LIMITS)


def limits_of(policy: Policy, user: User) -> EffectiveLimits:
    """Return what applies to a user: built-in, then defaults, the group, the user's override, each deep-merged."""
    group = group_of(policy, user)
    layers = [policy.defaults, group.layer if group else LimitLayer()]
    override = _override_of(policy, user)
    if override is not None:
        layers.append(override.layer)
    values = policy.base
    origins: dict[str, str] = dict.fromkeys(LIMIT_NAMES, BUILT_IN_ORIGIN)
    for layer in layers:
        values = _merge(values, layer)
        origins.update({name: layer.origins.get(name, policy.source) for name in layer.values})
    return EffectiveLimits(
        values=values, origins=MappingProxyType(origins), group=group.name if group else policy.default_group
    )


def _merge(values: Limits, layer: LimitLayer) -> Limits:
    changed: dict[str, object] = {}
    for name, value in layer.values.items():
        present = getattr(values, name)
        # a mapping is merged key by key: an override does not lose the group's other values
        changed[name] = (
            MappingProxyType({**present, **value}) if isinstance(value, Mapping) and present is not None else value
        )
    return replace(values, **changed)  # type: ignore[arg-type]  # keys are field names, checked when the file is read


def group_of(policy: Policy, user: User) -> PolicyGroup | None:
    """Return the user's group: override, then members by name or uid in file order, then Unix groups, then default."""
    override = _override_of(policy, user)
    by_name = {group.name: group for group in policy.groups}
    if override is not None and override.group is not None:
        return by_name.get(override.group)
    mine = _member_texts(user)
    for group in policy.groups:
        if mine & set(group.members):
            return group
    unix_groups = {f"@{group.name}" for group in user.groups}
    for group in policy.groups:
        if unix_groups & set(group.members):
            return group
    return by_name.get(policy.default_group)


def is_admin(policy: Policy, user: User) -> bool:
    """Tell whether the user may act for others: root, or a member of an admin group."""
    group = group_of(policy, user)
    return user.is_root or (group is not None and group.is_admin)


def _override_of(policy: Policy, user: User) -> UserOverride | None:
    texts = sorted(_member_texts(user), key=lambda text: not text.startswith(UID_PREFIX))
    return next((policy.overrides[text] for text in texts if text in policy.overrides), None)


def _member_texts(user: User) -> frozenset[str]:
    """What names a user in a policy. An account called `@staff` or `uid:0` must not pass for a group or a number."""
    number = f"{UID_PREFIX}{user.uid}"
    return frozenset({number} if user.name.startswith(("@", UID_PREFIX)) else {number, user.name})


def cgroup_parent(uid: int, driver: str) -> str:
    """Return the cgroup that all containers of a user share: a function of the uid only.

    Args:
        uid: The user.
        driver: The engine's cgroup driver: `systemd`, `cgroupfs` or `none`.
    """
    if driver == "systemd":
        return f"ds01-u{uid}.slice"
    return f"/ds01/u{uid}" if driver == "cgroupfs" else ""
