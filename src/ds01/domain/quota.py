"""Quotas: what a user holds against what a user may hold. Weighed by what is granted, not by the worst case."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ds01.domain.allocation import Allocation
from ds01.domain.gpu import Gpu
from ds01.domain.limit import EffectiveLimits
from ds01.domain.request import GpuRequest
from ds01.errors import QuotaExceededError
from ds01.units import format_number

# shares of sevenths do not add up to 1 exactly in binary
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class QuotaExcess:
    """A quota that a grant would exceed.

    Attributes:
        limit: Name of the quota.
        used: What the user holds.
        allowed: What the user may hold.
        asked: What the grant adds.
        reason: The sentence with the figures and who set them.
    """

    limit: str
    used: float
    allowed: float
    asked: float
    reason: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What one user holds now.

    Attributes:
        gpus: Devices.
        gpu_equivalents: Compute.
        containers: Containers, running or not.
    """

    gpus: int = 0
    gpu_equivalents: float = 0.0
    containers: int = 0


def usage_of(uid: int, allocations: Iterable[Allocation], containers: int) -> Usage:
    """Return what a user holds; holds and unfinished claims included."""
    mine = [allocation for allocation in allocations if allocation.uid == uid and allocation.is_holding]
    return Usage(
        gpus=sum(len(allocation.gpu_uuids) for allocation in mine),
        gpu_equivalents=sum(allocation.gpu_equivalents for allocation in mine),
        containers=containers,
    )


def require_container_quota(limits: EffectiveLimits, usage: Usage) -> None:
    """Raise if the user may not have another container.

    Raises:
        QuotaExceededError: Too many containers; the message says both figures.
    """
    highest = limits.values.max_containers
    if highest is not None and usage.containers >= highest:
        raise QuotaExceededError(
            f"You have {usage.containers} containers and may have {highest} ({_set_by(limits, 'max_containers')}).",
            hint="Remove one you do not need: `ds01 list`, then `ds01 rm NAME`.",
            details={"limit": "max_containers", "used": usage.containers, "allowed": highest},
        )


def require_request_allowed(limits: EffectiveLimits, request: GpuRequest) -> None:
    """Raise if the policy can never allow this request, however free the machine is.

    Raises:
        QuotaExceededError: More devices in one container than allowed, or a whole GPU where only MIG is allowed.
    """
    highest = limits.values.max_gpus_per_container
    if highest is not None and request.count > highest:
        raise QuotaExceededError(
            f"You asked for {request.count} GPUs in one container and may have {highest} "
            f"({_set_by(limits, 'max_gpus_per_container')}).",
            hint=f"Ask for --gpus {highest}." if highest else "Create it with --cpu-only.",
            details={"limit": "max_gpus_per_container", "requested": request.count, "allowed": highest},
        )
    if request.count and request.kind == "full" and not limits.values.allow_full_gpu:
        raise QuotaExceededError(
            f"Your group may use MIG instances only, no whole GPU ({_set_by(limits, 'allow_full_gpu')}).",
            hint="Ask for --gpu-kind mig.",
            details={"limit": "allow_full_gpu", "requested": "full", "allowed": False},
        )


def quota_refusal(limits: EffectiveLimits, usage: Usage, gpus: Sequence[Gpu]) -> str | None:
    """Return why holding these devices too is over the quota, with the figures, or None if it is not."""
    excess = find_quota_excess(limits, usage, gpus)
    return excess.reason if excess is not None else None


def find_quota_excess(limits: EffectiveLimits, usage: Usage, gpus: Sequence[Gpu]) -> QuotaExcess | None:
    """Return the quota that holding these devices too would exceed, or None."""
    if not gpus:
        return None
    highest = limits.values.max_gpus
    if highest is not None and usage.gpus + len(gpus) > highest:
        said = _set_by(limits, "max_gpus")
        reason = f"you hold {usage.gpus} of {highest} GPUs, and this asks for {len(gpus)} more ({said})"
        return QuotaExcess("max_gpus", usage.gpus, highest, len(gpus), reason)
    compute = limits.values.max_gpu_equivalents
    asked = sum(gpu.equivalents for gpu in gpus)
    if compute is not None and usage.gpu_equivalents + asked > compute + TOLERANCE:
        reason = (
            f"you hold {format_number(usage.gpu_equivalents)} of {format_number(compute)} gpu-equivalents, "
            f"and this asks for {format_number(asked)} more ({_set_by(limits, 'max_gpu_equivalents')})"
        )
        return QuotaExcess("max_gpu_equivalents", usage.gpu_equivalents, compute, asked, reason)
    return None


def _set_by(limits: EffectiveLimits, name: str) -> str:
    return f"{name} of group {limits.group}, set by {limits.origins.get(name, 'built-in')}"
