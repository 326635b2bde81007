"""Quotas: what a user and a group hold against what they may hold. Weighed by what is granted, not by the worst case.

One accounting for everybody who shows, enforces or explains it. What is held counts however it was attached: grants of
ours with their holds and unfinished claims, and containers that others made for a known user.

The checks come in this order: kind allowed, devices per container, devices and compute of the user, the same of the
group, containers of the user.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ds01.domain.allocation import Allocation
from ds01.domain.request import FULL_KIND, GpuRequest
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.scheduling.occupancy import ForeignContainer
from ds01.domain.scheduling.situation import GroupRules
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import QuotaExceededError
from ds01.units import format_number

# shares of sevenths do not add up to 1 exactly in binary
TOLERANCE = 1e-9

MAX_GPUS = "max_gpus"
MAX_EQUIVALENTS = "max_gpu_equivalents"
GROUP_GPUS = "group_quota.gpus"
GROUP_EQUIVALENTS = "group_quota.gpu_equivalents"
MAX_PER_CONTAINER = "max_gpus_per_container"
ALLOW_FULL = "allow_full_gpu"
MAX_CONTAINERS = "max_containers"
GROUP_LIMITS = frozenset({GROUP_GPUS, GROUP_EQUIVALENTS})


class Weighed(Protocol):
    """Anything that is granted and weighs something: a device, or a position on the board."""

    @property
    def equivalents(self) -> float:
        """What it weighs; a whole GPU is 1.0."""
        ...


@dataclass(frozen=True, slots=True)
class QuotaExcess:
    """A quota that a grant would exceed.

    Attributes:
        limit: Name of the quota; stable, for programs.
        used: What is held now.
        allowed: What may be held.
        asked: What the grant adds.
        reason: The sentence with the figures and who set them.
    """

    limit: str
    used: float
    allowed: float
    asked: float
    reason: str

    @property
    def is_for_good(self) -> bool:
        """Whoever gives back what: it can never be granted."""
        return self.asked > self.allowed + TOLERANCE

    @property
    def is_of_group(self) -> bool:
        """All members of the group share it."""
        return self.limit in GROUP_LIMITS


@dataclass(frozen=True, slots=True)
class Usage:
    """What one user, or one group, holds now.

    Attributes:
        gpus: Devices.
        gpu_equivalents: Compute.
        containers: Containers, running or not, and those that wait for their GPUs.
    """

    gpus: int = 0
    gpu_equivalents: float = 0.0
    containers: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.gpus + other.gpus,
            self.gpu_equivalents + other.gpu_equivalents,
            self.containers + other.containers,
        )


@dataclass(frozen=True, slots=True)
class GroupHolding:
    """What all members of a group hold together, against what they may.

    Attributes:
        name: The group.
        rules: Its quotas.
        usage: What its members hold.
    """

    name: str
    rules: GroupRules = field(default_factory=GroupRules)
    usage: Usage = field(default_factory=Usage)


def usage_of(
    uid: int, allocations: Iterable[Allocation], containers: int, foreign: Iterable[ForeignContainer] = ()
) -> Usage:
    """Return what a user holds; holds, unfinished claims and devices of containers that others made included.

    Args:
        uid: The user.
        allocations: Grants; released ones count for nothing.
        containers: Containers of the user, see `count_containers`.
        foreign: Containers with devices that no grant counts.
    """
    held = sum((_granted(found) for found in allocations if found.uid == uid), Usage(containers=containers))
    return sum((_attached(found) for found in foreign if found.uid == uid), held)


def usage_by_member(
    group: str,
    allocations: Iterable[Allocation],
    foreign: Iterable[ForeignContainer] = (),
    groups: Mapping[int, str] | None = None,
) -> dict[int, Usage]:
    """Return what each member of a group holds. A grant belongs to the group that its owner had when it was granted.

    Args:
        group: The group.
        allocations: Grants; released ones count for nothing.
        foreign: Containers with devices that no grant counts.
        groups: Uid to group now: for what has no group of its own, a container that others made or an old grant.
    """
    present = groups or {}
    found: dict[int, Usage] = defaultdict(Usage)
    for allocation in allocations:
        if allocation.is_holding and (allocation.group or present.get(allocation.uid)) == group:
            found[allocation.uid] += _granted(allocation)
    for container in foreign:
        if container.uid is not None and present.get(container.uid) == group:
            found[container.uid] += _attached(container)
    return dict(found)


def group_usage_of(
    group: str,
    allocations: Iterable[Allocation],
    foreign: Iterable[ForeignContainer] = (),
    groups: Mapping[int, str] | None = None,
) -> Usage:
    """Return what all members of a group hold together, see `usage_by_member`."""
    return sum(usage_by_member(group, allocations, foreign, groups).values(), Usage())


def _granted(allocation: Allocation) -> Usage:
    if not allocation.is_holding:
        return Usage()
    # an instance that is made on demand counts before it exists
    return Usage(max(len(allocation.gpu_uuids), len(allocation.slices)), allocation.gpu_equivalents)


def _attached(container: ForeignContainer) -> Usage:
    return Usage(container.counted.gpus, container.counted.equivalents)


def count_containers(uid: int, owners: Iterable[int], waiting: Iterable[Waiting] = ()) -> int:
    """Return how many containers a user has, those that wait for their GPUs included.

    Args:
        uid: The user.
        owners: Owner of every container that exists or is being made.
        waiting: Requests that wait; one for a container that exists already is counted there.
    """
    made = sum(1 for owner in owners if owner == uid)
    return made + sum(1 for entry in waiting if entry.uid == uid and not entry.is_restart)


def find_container_excess(limits: EffectiveLimits, containers: int) -> QuotaExcess | None:
    """Return why another container would be too many, or None.

    Args:
        limits: The user's limits.
        containers: What the user has, see `count_containers`.
    """
    highest = limits.values.max_containers
    if highest is None or containers < highest:
        return None
    reason = f"you have {containers} containers and may have {highest} ({_set_by(limits, MAX_CONTAINERS)})"
    return QuotaExcess(MAX_CONTAINERS, containers, highest, 1, reason)


def require_container_quota(limits: EffectiveLimits, usage: Usage) -> None:
    """Raise if the user may not have another container.

    Raises:
        QuotaExceededError: Too many containers; the message says both figures.
    """
    excess = find_container_excess(limits, usage.containers)
    if excess is not None:
        raise QuotaExceededError(
            f"{excess.reason[:1].upper()}{excess.reason[1:]}.",
            hint="Remove one you do not need: `ds01 list`, then `ds01 rm NAME`.",
            details={"limit": MAX_CONTAINERS, "used": usage.containers, "allowed": limits.values.max_containers},
        )


def require_request_allowed(limits: EffectiveLimits, request: GpuRequest) -> None:
    """Raise if the policy can never allow this request, however free the machine is.

    Raises:
        QuotaExceededError: A whole GPU where only MIG is allowed, or more devices in one container than allowed.
    """
    if request.count and request.kind == FULL_KIND and not limits.values.allow_full_gpu:
        raise QuotaExceededError(
            f"Your group may use MIG instances only, no whole GPU ({_set_by(limits, ALLOW_FULL)}).",
            hint="Ask for --gpu-kind mig.",
            details={"limit": ALLOW_FULL, "requested": FULL_KIND, "allowed": False},
        )
    highest = limits.values.max_gpus_per_container
    if highest is not None and request.count > highest:
        raise QuotaExceededError(
            f"You asked for {request.count} GPUs in one container and may have {highest} "
            f"({_set_by(limits, MAX_PER_CONTAINER)}).",
            hint=f"Ask for --gpus {highest}." if highest else "Create it with --cpu-only.",
            details={"limit": MAX_PER_CONTAINER, "requested": request.count, "allowed": highest},
        )


def quota_refusal(
    limits: EffectiveLimits, usage: Usage, gpus: Sequence[Weighed], group: GroupHolding | None = None
) -> str | None:
    """Return why holding these devices too is over the quota, with the figures, or None if it is not."""
    excess = find_quota_excess(limits, usage, gpus, group)
    return excess.reason if excess is not None else None


def find_quota_excess(
    limits: EffectiveLimits, usage: Usage, gpus: Sequence[Weighed], group: GroupHolding | None = None
) -> QuotaExcess | None:
    """Return the first quota that holding these devices too would exceed, or None."""
    return next(iter(list_quota_excesses(limits, usage, gpus, group)), None)


def list_quota_excesses(
    limits: EffectiveLimits, usage: Usage, gpus: Sequence[Weighed], group: GroupHolding | None = None
) -> list[QuotaExcess]:
    """Return every quota that holding these devices too would exceed: the user's first, then the group's.

    Args:
        limits: The user's limits.
        usage: What the user holds.
        gpus: What would be granted.
        group: What the user's group holds; None: it has no quota.
    """
    if not gpus:
        return []
    asked = sum(gpu.equivalents for gpu in gpus)
    values = limits.values
    found = [
        _gpus_excess(values.max_gpus, usage.gpus, len(gpus), "you hold", _own(limits, MAX_GPUS)),
        _compute_excess(
            values.max_gpu_equivalents, usage.gpu_equivalents, asked, "you hold", _own(limits, MAX_EQUIVALENTS)
        ),
    ]
    if group is not None:
        rules, who = group.rules, f"your group {group.name} holds"
        found += [
            _gpus_excess(rules.max_gpus, group.usage.gpus, len(gpus), who, _of_group(group, GROUP_GPUS)),
            _compute_excess(
                rules.max_gpu_equivalents,
                group.usage.gpu_equivalents,
                asked,
                who,
                _of_group(group, GROUP_EQUIVALENTS),
            ),
        ]
    return [excess for excess in found if excess is not None]


def _gpus_excess(allowed: int | None, used: int, asked: int, who: str, limit: tuple[str, str]) -> QuotaExcess | None:
    if allowed is None or used + asked <= allowed:
        return None
    name, said = limit
    reason = f"{who} {used} of {allowed} GPUs, and this asks for {asked} more ({used}/{allowed}: {said})"
    return QuotaExcess(name, used, allowed, asked, reason)


def _compute_excess(
    allowed: float | None, used: float, asked: float, who: str, limit: tuple[str, str]
) -> QuotaExcess | None:
    if allowed is None or used + asked <= allowed + TOLERANCE:
        return None
    name, said = limit
    held, most = format_number(used), format_number(allowed)
    reason = (
        f"{who} {held} of {most} gpu-equivalents, and this asks for {format_number(asked)} more ({held}/{most}: {said})"
    )
    return QuotaExcess(name, used, allowed, asked, reason)


def _own(limits: EffectiveLimits, name: str) -> tuple[str, str]:
    return name, _set_by(limits, name)


def _of_group(group: GroupHolding, name: str) -> tuple[str, str]:
    where = group.rules.origins.get(name.removeprefix("group_quota."), "built-in")
    return name, f"{name} of group {group.name}, set by {where}"


def _set_by(limits: EffectiveLimits, name: str) -> str:
    return f"{name} of group {limits.group}, set by {limits.origins.get(name, 'built-in')}"
