"""What all members of a group have together, from the policy."""

from collections.abc import Mapping

from ds01.domain.rules.policy import LimitLayer, Policy, PolicyGroup
from ds01.domain.scheduling.situation import GroupRules


def group_rules_of(policy: Policy, recent_use_s: Mapping[str, float] | None = None) -> dict[str, GroupRules]:
    """Return the rules of every group of the policy, by name.

    Args:
        policy: The policy.
        recent_use_s: Group to the gpu-equivalent-seconds that its members used lately.
    """
    used = recent_use_s or {}
    return {group.name: _rules(group, used.get(group.name, 0.0)) for group in policy.groups}


def _rules(group: PolicyGroup, recent_use_s: float) -> GroupRules:
    gpus, equivalents = _number(group.quota, "gpus"), _number(group.quota, "gpu_equivalents")
    return GroupRules(
        max_gpus=int(gpus) if gpus is not None else None,
        max_gpu_equivalents=equivalents,
        shares=group.shares,
        recent_use_s=recent_use_s,
        origins=group.quota.origins,
    )


def _number(quota: LimitLayer, name: str) -> float | None:
    value = quota.values.get(name)
    return float(value) if isinstance(value, int | float) else None
