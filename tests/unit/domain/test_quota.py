"""What a user holds against what a user may hold."""

import dataclasses
import math

import pytest
from hypothesis import given, strategies as st

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.devices.gpu import DeviceWeight, Inventory, all_gpus, schedulable_gpus, weigh_devices
from ds01.domain.request import GpuRequest
from ds01.domain.rules.policy import LimitLayer, Policy, PolicyGroup
from ds01.domain.scheduling.group import group_rules_of
from ds01.domain.scheduling.occupancy import ForeignContainer
from ds01.domain.scheduling.quota import (
    TOLERANCE,
    GroupHolding,
    Usage,
    count_containers,
    find_quota_excess,
    group_usage_of,
    list_quota_excesses,
    quota_refusal,
    require_container_quota,
    require_request_allowed,
    usage_by_member,
    usage_of,
)
from ds01.domain.scheduling.situation import GroupRules
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import QuotaExceededError
from tests.unit.domain.machines import ALICE, BOB, CAROL, START, a30, a100, inventories, limits, machine

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


def foreign(uid: int | None, *uuids: str, weight: DeviceWeight | None = None) -> ForeignContainer:
    return ForeignContainer("other", uid, frozenset(uuids), START, "", weight)


def test_a_container_that_others_made_counts_for_the_user_it_names() -> None:
    found = machine(a100(0, "1g.5gb", "3g.20gb"), a100(1))
    part, whole = found.devices[0].instances[1].uuid, found.devices[1].uuid
    made = [
        foreign(ALICE, part, whole, weight=weigh_devices({part, whole}, found)),
        foreign(BOB, whole, weight=DeviceWeight(1, 1.0)),
        foreign(None, whole, weight=DeviceWeight(1, 1.0)),
    ]
    used = usage_of(ALICE, [grant(ALICE, AllocationState.HELD)], 1, made)
    assert (used.gpus, used.containers) == (3, 1)
    assert used.gpu_equivalents == pytest.approx(1 + 3 / 7 + 1)


def test_a_container_with_every_gpu_counts_all_of_them_and_each_once() -> None:
    found = machine(a100(0, "1g.5gb", "3g.20gb"), a100(1), a30(2), a100(3, mig=True))
    everything = {gpu.uuid for gpu in all_gpus(found)}
    weight = weigh_devices(everything, found)
    assert weight.gpus == 5, "two instances, two whole GPUs, and a card that MIG leaves empty"
    assert weight.equivalents == pytest.approx(4 / 7 + 3)


@given(inventories())
def test_all_that_can_be_granted_weighs_the_same_as_having_it_all(found: Inventory) -> None:
    grantable = schedulable_gpus(found)
    weight = weigh_devices({gpu.uuid for gpu in grantable}, found)
    assert weight.gpus == len(grantable)
    for card in found.devices:
        own = {gpu.uuid for gpu in grantable if gpu.parent_uuid == card.uuid}
        assert weigh_devices(own, found).equivalents <= 1 + TOLERANCE


def test_devices_of_unknown_weight_count_as_whole_ones_and_another_machines_as_none() -> None:
    assert usage_of(ALICE, [], 0, [foreign(ALICE, "x", "y")]) == Usage(2, 2.0)
    assert weigh_devices({"GPU-of-another-machine"}, machine(a100(0))) == DeviceWeight(0, 0.0)


def test_a_share_and_an_instance_that_is_not_made_yet_count_what_was_granted() -> None:
    share = dataclasses.replace(grant(ALICE, AllocationState.ACTIVE, 0.25), shares=4)
    planned = dataclasses.replace(
        grant(ALICE, AllocationState.CLAIMED, 1 / 7), gpu_uuids=(), slices=("GPU-1/1g.5gb@0",)
    )
    assert usage_of(ALICE, [share, planned], 0) == Usage(2, 0.25 + 1 / 7)


def members(gpus: int | None = None, equivalents: float | None = None, used: Usage | None = None) -> GroupHolding:
    rules = GroupRules(gpus, equivalents, origins={"gpus": "policy.yaml:9", "gpu_equivalents": "policy.yaml:10"})
    return GroupHolding("student", rules, used or Usage())


def test_a_group_counts_the_grants_of_its_time_and_the_rest_by_its_members() -> None:
    grants = [
        dataclasses.replace(grant(ALICE, AllocationState.ACTIVE), group="student"),
        dataclasses.replace(grant(ALICE, AllocationState.RELEASED), group="student"),
        dataclasses.replace(grant(BOB, AllocationState.HELD), group="researcher"),
        grant(BOB, AllocationState.HELD, 0.5),
        grant(CAROL, AllocationState.ACTIVE),
    ]
    groups = {ALICE: "researcher", BOB: "student"}
    made = [foreign(BOB, "x"), foreign(CAROL, "y"), foreign(None, "z")]
    by_member = usage_by_member("student", grants, made, groups)
    assert by_member == {ALICE: Usage(1, 1.0), BOB: Usage(2, 1.5)}
    assert group_usage_of("student", grants, made, groups) == Usage(3, 2.5)
    assert group_usage_of("nobody", grants, made, groups) == Usage()


def test_the_group_is_asked_after_the_user_and_says_its_own_figures() -> None:
    full = members(gpus=4, equivalents=2.5, used=Usage(4, 2.0))
    both = list_quota_excesses(limits(max_gpus=1), Usage(1, 1.0), WHOLE, full)
    assert [excess.limit for excess in both] == ["max_gpus", "group_quota.gpus", "group_quota.gpu_equivalents"]
    assert both[1].reason == (
        "your group student holds 4 of 4 GPUs, and this asks for 1 more "
        "(4/4: group_quota.gpus of group student, set by policy.yaml:9)"
    )
    assert "2 of 2.5 gpu-equivalents" in both[2].reason
    assert "set by policy.yaml:10" in both[2].reason
    assert [excess.is_of_group for excess in both] == [False, True, True]
    assert find_quota_excess(limits(), Usage(), WHOLE, members(gpus=5, equivalents=3.0, used=Usage(4, 2.0))) is None


@pytest.mark.parametrize(("highest", "is_refused"), [(None, False), (0, True), (1, False)])
def test_a_groups_0_is_none_at_all_and_null_is_unlimited(highest: int | None, is_refused: bool) -> None:
    for group in (members(gpus=highest), members(equivalents=highest)):
        excess = find_quota_excess(limits(), Usage(), WHOLE, group)
        assert (excess is not None) == is_refused
        assert excess is None or excess.is_for_good


def test_over_only_because_of_what_is_held_is_not_for_good() -> None:
    excess = find_quota_excess(limits(max_gpus=1), Usage(1, 1.0), WHOLE)
    assert excess is not None
    assert not excess.is_for_good
    excess = find_quota_excess(limits(max_gpu_equivalents=0.5), Usage(), WHOLE)
    assert excess is not None
    assert excess.is_for_good


def test_what_waits_counts_as_a_container_unless_its_container_exists() -> None:
    waiting = Waiting("1", ALICE, "student", "pt", GpuRequest(), 1, None, START)
    again = dataclasses.replace(waiting, id="2", gpu_uuids=("GPU-0",))
    others = dataclasses.replace(waiting, id="3", uid=BOB)
    assert count_containers(ALICE, [ALICE, BOB, ALICE], [waiting, again, others]) == 3


def test_the_kind_is_judged_before_the_number() -> None:
    with pytest.raises(QuotaExceededError) as refused:
        require_request_allowed(limits(allow_full_gpu=False, max_gpus_per_container=1), GpuRequest(2, "full"))
    assert refused.value.details["limit"] == "allow_full_gpu"


def test_a_groups_rules_are_read_from_the_policy_and_what_is_absent_is_unlimited() -> None:
    quota = LimitLayer({"gpus": 8, "gpu_equivalents": None}, {"gpus": "policy.yaml:5"})
    policy = Policy(groups=(PolicyGroup("a", quota=quota, shares=2.0), PolicyGroup("b")))
    found = group_rules_of(policy, {"a": 7.0})
    assert found["a"] == GroupRules(8, None, 2.0, 7.0, {"gpus": "policy.yaml:5"})
    assert found["b"] == GroupRules()
