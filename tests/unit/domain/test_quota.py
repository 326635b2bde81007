"""What a user holds against what a user may hold."""

import dataclasses
import math

import pytest
from hypothesis import given, strategies as st

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.gpu import schedulable_gpus
from ds01.domain.quota import (
    TOLERANCE,
    Usage,
    quota_refusal,
    require_container_quota,
    require_request_allowed,
    usage_of,
)
from ds01.domain.request import GpuRequest
from ds01.errors import QuotaExceededError
from tests.unit.domain.machines import ALICE, BOB, START, a100, limits, machine

SEVENTHS = schedulable_gpus(machine(a100(0, *["1g.5gb"] * 7)))
WHOLE = schedulable_gpus(machine(a100(0)))


def grant(uid: int, state: AllocationState, share: float = 1.0) -> Allocation:
    return Allocation("a", uid, "pt", GpuRequest(), ("GPU-0",), share, state, START, START)


def test_holds_and_unfinished_claims_count_and_others_do_not() -> None:
    grants = [grant(ALICE, state, 0.5) for state in AllocationState] + [grant(BOB, AllocationState.ACTIVE)]
    assert usage_of(ALICE, grants, 4) == Usage(gpus=3, gpu_equivalents=1.5, containers=4)


def test_seven_sevenths_are_one() -> None:
    quota = limits(max_gpu_equivalents=1.0)
    share = SEVENTHS[0].equivalents
    used = Usage(6, sum(share for _ in range(6)))
    assert quota_refusal(quota, used, SEVENTHS[:1]) is None
    assert quota_refusal(quota, Usage(7, used.gpu_equivalents + share), SEVENTHS[:1]) is not None


@given(st.integers(0, 6), st.integers(1, 3))
def test_what_binary_makes_a_little_too_large_is_within_the_quota(held: int, asked: int) -> None:
    used = sum(SEVENTHS[0].equivalents for _ in range(held))
    total = used + sum(gpu.equivalents for gpu in SEVENTHS[:asked])
    a_little_less = math.nextafter(total, 0)
    assert quota_refusal(limits(max_gpu_equivalents=a_little_less), Usage(held, used), SEVENTHS[:asked]) is None
    assert quota_refusal(limits(max_gpu_equivalents=total - 0.001), Usage(held, used), SEVENTHS[:asked]) is not None


def test_the_tolerance_is_smaller_than_any_share() -> None:
    assert TOLERANCE <= 1e-9


def test_both_quotas_say_their_figures_and_who_set_them() -> None:
    said = quota_refusal(limits(max_gpus=2), Usage(2, 0.3), SEVENTHS[:1])
    assert said is not None
    assert "2 of 2 GPUs" in said
    assert "max_gpus of group student, set by policy.yaml:3" in said
    said = quota_refusal(limits(max_gpu_equivalents=2 / 7), Usage(1, 1 / 7), SEVENTHS[:2])
    assert said is not None
    assert "0.14 of 0.29 gpu-equivalents" in said


@pytest.mark.parametrize(("highest", "is_refused"), [(None, False), (0, True), (1, False)])
def test_0_is_none_at_all_and_null_is_unlimited(highest: int | None, is_refused: bool) -> None:
    assert (quota_refusal(limits(max_gpus=highest), Usage(), WHOLE) is not None) == is_refused
    assert (quota_refusal(limits(max_gpu_equivalents=highest), Usage(), WHOLE) is not None) == is_refused
    request = GpuRequest(1)
    if is_refused:
        with pytest.raises(QuotaExceededError, match="may have 0"):
            require_request_allowed(limits(max_gpus_per_container=highest), request)
        with pytest.raises(QuotaExceededError, match="may have 0"):
            require_container_quota(limits(max_containers=highest), Usage())
    else:
        require_request_allowed(limits(max_gpus_per_container=highest), request)
        require_container_quota(limits(max_containers=highest), Usage())


def test_a_container_without_gpus_needs_no_gpu_quota() -> None:
    assert quota_refusal(limits(max_gpus=0, max_gpu_equivalents=0), Usage(), ()) is None
    require_request_allowed(limits(max_gpus_per_container=0, allow_full_gpu=False), GpuRequest(0, "full"))


def test_the_container_quota_says_both_figures() -> None:
    with pytest.raises(QuotaExceededError, match="You have 3 containers and may have 3") as refused:
        require_container_quota(limits(max_containers=3), Usage(containers=3))
    assert refused.value.details == {"limit": "max_containers", "used": 3, "allowed": 3}
    require_container_quota(limits(max_containers=3), Usage(containers=2))


def test_a_whole_gpu_is_refused_where_only_mig_is_allowed() -> None:
    with pytest.raises(QuotaExceededError, match="MIG instances only"):
        require_request_allowed(limits(allow_full_gpu=False), GpuRequest(1, "full"))
    require_request_allowed(limits(allow_full_gpu=False), GpuRequest(1, "mig"))
    require_request_allowed(limits(allow_full_gpu=False), dataclasses.replace(GpuRequest(1), kind="any"))
