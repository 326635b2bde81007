"""The site's rules: defaults, groups and overrides, merged for one user with the origin of every value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType

from ds01.domain.rules.limit import BUILT_IN_ORIGIN, LIMIT_NAMES, EffectiveLimits, Limits
from ds01.domain.rules.site import IdleRule, Reservation, Site
from ds01.domain.user import User

PERSONAL_GROUP = "personal"
UID_PREFIX = "uid:"
DEFAULT_GROUP = "default"
AGGREGATE_NAMES = ("max_cpus", "memory", "pids")
"""What all containers of one user may use together."""
QUOTA_NAMES = ("gpus", "gpu_equivalents")
"""What all members of a group may hold together."""
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class PolicyWarning:
    """Something in the policy that is read, and should be looked at.

    Attributes:
        where: `file:line`.
        message: What it is.
        hint: What to do.
    """

    where: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class LimitLayer:
    """Some values that one section of the policy sets.

    Attributes:
        values: Name to value; None is unlimited.
        origins: Name to `file:line`; of what is merged key by key also `name.key`.
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
        file_members: The same from `groups/<name>.members`.
        member_origins: Of both: member to `file:line`; the first that names it.
        aggregate: What all containers of one member may use together.
        quota: What all members may hold together.
        idle: Values of the idle rule that differ for its members.
        origin: Where it stands.
        shares: Its part of the machine against other groups' in the fair order.
    """

    name: str
    members: tuple[str, ...] = ()
    layer: LimitLayer = field(default_factory=LimitLayer)
    is_admin: bool = False
    file_members: tuple[str, ...] = ()
    member_origins: Mapping[str, str] = field(default_factory=dict)
    aggregate: LimitLayer = field(default_factory=LimitLayer)
    quota: LimitLayer = field(default_factory=LimitLayer)
    idle: LimitLayer = field(default_factory=LimitLayer)
    origin: str = BUILT_IN_ORIGIN
    shares: float = 1.0


@dataclass(frozen=True, slots=True)
class UserOverride:
    """What the policy sets for one user.

    Attributes:
        group: Group that wins over every membership; None: as the memberships say.
        layer: Limits it sets.
        aggregate: What all containers of the user may use together.
        reservation: GPUs kept for the user.
        origin: Where it stands.
    """

    group: str | None = None
    layer: LimitLayer = field(default_factory=LimitLayer)
    aggregate: LimitLayer = field(default_factory=LimitLayer)
    reservation: Reservation | None = None
    origin: str = BUILT_IN_ORIGIN


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
    devices=("x11",),
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
        aggregate: What all containers of one user may use together.
        site: The sections about the site.
        container_types: Limits of containers of other origin, by kind.
        uids: Names in the policy that the account database knows, with their number.
        warnings: What should be looked at.
        version: Version of the file's form.
        origins: Of single keys: `version`, `default_group`.
    """

    defaults: LimitLayer = field(default_factory=LimitLayer)
    default_group: str = DEFAULT_GROUP
    groups: tuple[PolicyGroup, ...] = ()
    overrides: Mapping[str, UserOverride] = field(default_factory=dict)
    source: str = BUILT_IN_ORIGIN
    base: Limits = BUILT_IN_LIMITS
    aggregate: LimitLayer = field(default_factory=LimitLayer)
    site: Site = field(default_factory=Site)
    container_types: Mapping[str, LimitLayer] = field(default_factory=dict)
    uids: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[PolicyWarning, ...] = ()
    version: int = 2
    origins: Mapping[str, str] = field(default_factory=dict)


def personal_policy() -> Policy:
    """Return the policy of personal mode: everything unlimited that the machine does not limit."""
    return Policy(default_group=PERSONAL_GROUP, base=PERSONAL_LIMITS)


def limits_of(policy: Policy, user: User) -> EffectiveLimits:
    """Return what applies to a user: built-in, then defaults, the group, the user's override, each deep-merged."""
    group = group_of(policy, user)
    layers = [policy.defaults, group.layer if group else LimitLayer()]
    override = override_of(policy, user)
    if override is not None:
        layers.append(override.layer)
    values = policy.base
    origins: dict[str, str] = dict.fromkeys(LIMIT_NAMES, BUILT_IN_ORIGIN)
    for layer in layers:
        values = _merge(values, layer)
        origins.update({name: layer.origins.get(name, policy.source) for name in layer.values})
        origins.update({name: where for name, where in layer.origins.items() if "." in name})
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


def aggregate_of(policy: Policy, user: User) -> LimitLayer:
    """Return what all containers of a user may use together; what is not there is unlimited."""
    group, override = group_of(policy, user), override_of(policy, user)
    layers = [policy.aggregate, group.aggregate if group else LimitLayer()]
    return _stacked([*layers, override.aggregate if override else LimitLayer()])


def idle_rule_of(policy: Policy, user: User) -> IdleRule:
    """Return when a container of this user counts as idle."""
    group = group_of(policy, user)
    changed = group.idle.values if group else {}
    return replace(policy.site.lifecycle.idle, **changed)  # type: ignore[arg-type]  # keys are field names


def _stacked(layers: list[LimitLayer]) -> LimitLayer:
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for layer in layers:
        values.update(layer.values)
        origins.update(layer.origins)
    return LimitLayer(values, origins)


def group_of(policy: Policy, user: User) -> PolicyGroup | None:
    """Return the user's group.

    Override, then members in file order, then members of the groups' files, then Unix groups, then the default.
    """
    override = override_of(policy, user)
    by_name = {group.name: group for group in policy.groups}
    if override is not None and override.group is not None:
        return by_name.get(override.group)
    named = _group_with(policy, lambda group: any(_names(policy, text, user) for text in group.members))
    listed = named or _group_with(policy, lambda group: any(_names(policy, text, user) for text in group.file_members))
    unix_groups = {f"@{group.name}" for group in user.groups}
    belongs = listed or _group_with(
        policy, lambda group: not unix_groups.isdisjoint((*group.members, *group.file_members))
    )
    return belongs or by_name.get(policy.default_group)


def _group_with(policy: Policy, fits: Callable[[PolicyGroup], bool]) -> PolicyGroup | None:
    return next((group for group in policy.groups if fits(group)), None)


def is_admin(policy: Policy, user: User) -> bool:
    """Tell whether the user may act for others: root, or a member of an admin group."""
    group = group_of(policy, user)
    return user.is_root or (group is not None and group.is_admin)


def override_of(policy: Policy, user: User) -> UserOverride | None:
    """Return what the policy sets for this user alone; what is said for the number wins over what is for a name."""
    number = policy.overrides.get(f"{UID_PREFIX}{user.uid}")
    if number is not None:
        return number
    found = [override for text, override in policy.overrides.items() if _names(policy, text, user)]
    return found[0] if found else None


def _names(policy: Policy, text: str, user: User) -> bool:
    """Tell whether a word of the policy means a user.

    The number decides: a name that the account database knows means its number, under whatever name the user comes.
    An account called `@staff` or `uid:0` must not pass for a group or a number.
    """
    if text.startswith(UID_PREFIX):
        return text == f"{UID_PREFIX}{user.uid}"
    if text.startswith("@"):
        return False
    known = policy.uids.get(text)
    return known == user.uid if known is not None else text == user.name


def cgroup_parent(uid: int, driver: str) -> str:
    """Return the cgroup that all containers of a user share: a function of the uid only.

    Args:
        uid: The user.
        driver: The engine's cgroup driver: `systemd`, `cgroupfs` or `none`.
    """
    if driver == "systemd":
        return f"ds01-u{uid}.slice"
    return f"/ds01/u{uid}" if driver == "cgroupfs" else ""
