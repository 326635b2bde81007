"""Which devices a newcomer gets on an empty queue, and why it gets none."""

import dataclasses
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ds01.domain.allocation import Allocation, AllocationState, move_allocation
from ds01.domain.devices.gpu import Gpu, GpuKind, Inventory, all_gpus, schedulable_gpus
from ds01.domain.request import GpuRequest
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.scheduling.board import board_of, lost_of
from ds01.domain.scheduling.occupancy import occupy
from ds01.domain.scheduling.option import is_kind
from ds01.domain.scheduling.quota import TOLERANCE, Usage, usage_of
from ds01.domain.scheduling.schedule import plan_grant
from ds01.domain.scheduling.situation import Person, Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import Ds01Error, InvalidRequestError, NoCapacityError, QuotaExceededError
from tests.unit.domain.machines import ALICE, BOB, GIB, a30, a100, at, inventories, limits, machine

NOBODY = Usage()
FREE = limits()


def grant(*uuids: str, uid: int = BOB, number: int = 0) -> Allocation:
    return Allocation(
        f"{number:016x}", uid, f"c{number}", GpuRequest(len(uuids)), uuids, 0.0, AllocationState.ACTIVE, at(0), at(0)
    )


def addresses(
    inventory: Inventory, request: GpuRequest, taken: tuple[str, ...] = (), quota: EffectiveLimits = FREE
) -> list[str]:
    by_address = {gpu.address: gpu.uuid for gpu in all_gpus(inventory)}
    by_uuid = {gpu.uuid: gpu.address for gpu in all_gpus(inventory)}
    held = [grant(by_address[address]) for address in taken]
    return [by_uuid[uuid] for uuid in newcomer_gets(inventory, held, request, quota)]


def newcomer_gets(
    inventory: Inventory, held: list[Allocation], request: GpuRequest, quota: EffectiveLimits, uid: int = ALICE
) -> list[str]:
    situation = Situation(
        at(0), board_of(inventory), allocations=tuple(held), people={uid: Person(uid, quota), BOB: Person(BOB, FREE)}
    )
    if uid == BOB:
        situation = dataclasses.replace(situation, people={BOB: Person(BOB, quota)})
    newcomer = Waiting("f" * 16, uid, "student", "mine", request, 1, None, at(0))
    found = plan_grant(situation, newcomer)
    assert found == plan_grant(situation, newcomer)
    return [taken.position.gpu_uuid or "" for taken in found.positions]


def test_no_gpu_asked_for_is_no_gpu_even_without_devices_or_quota() -> None:
    assert addresses(Inventory(), GpuRequest(0), quota=limits(max_gpus=0, max_gpus_per_container=0)) == []


def test_any_takes_the_least_compute_that_fits() -> None:
    inventory = machine(a100(0), a100(1, "3g.20gb", "1g.5gb", "2g.10gb"))
    assert addresses(inventory, GpuRequest()) == ["1:1"]
    assert addresses(inventory, GpuRequest(memory_bytes=6 * GIB)) == ["1:2"]
    assert addresses(inventory, GpuRequest(memory_bytes=21 * GIB)) == ["0"]
    assert addresses(inventory, GpuRequest(kind="full")) == ["0"]
    assert addresses(inventory, GpuRequest(kind="3g.20gb")) == ["1:0"]


def test_the_policys_preference_comes_before_the_size() -> None:
    inventory = machine(a100(0), a100(1, "1g.5gb"))
    assert addresses(inventory, GpuRequest(), quota=limits(gpu_preference="full")) == ["0"]
    assert addresses(inventory, GpuRequest(), ("0",), quota=limits(gpu_preference="full")) == ["1:0"]
    assert addresses(inventory, GpuRequest(), quota=limits(gpu_preference="mig")) == ["1:0"]


def test_instances_are_taken_from_the_card_in_use_so_that_whole_layouts_stay_free() -> None:
    inventory = machine(a100(0, "1g.5gb", "1g.5gb"), a100(1, "1g.5gb", "1g.5gb"))
    assert addresses(inventory, GpuRequest(), ("1:0",)) == ["1:1"]


def test_devices_are_in_the_order_of_numbers_and_not_of_letters() -> None:
    inventory = machine(*(a100(index) for index in range(12)))
    taken = tuple(str(index) for index in range(12) if index not in {2, 10})
    assert addresses(inventory, GpuRequest(1), taken) == ["2"]
    assert addresses(inventory, GpuRequest(2), taken) == ["2", "10"]


def test_several_devices_are_of_one_profile_and_distinct() -> None:
    inventory = machine(a100(0), a100(1, "1g.5gb"), a100(2))
    assert addresses(inventory, GpuRequest(2)) == ["0", "2"]


@pytest.mark.parametrize("kind", ["a100", "a100-pcie-40gb", "nvidia a100"])
def test_a_kind_can_be_words_of_the_model(kind: str) -> None:
    inventory = machine(a30(0), a100(1))
    assert addresses(inventory, GpuRequest(kind=kind)) == ["1"]


def test_a_model_restricts_the_card_and_not_what_is_taken_of_it() -> None:
    inventory = machine(a30(0), a100(1, "1g.5gb"), a100(2))
    assert addresses(inventory, GpuRequest(kind="a100")) == ["1:0"]
    assert addresses(inventory, GpuRequest(kind="a100", memory_bytes=30 * GIB)) == ["2"]


def test_a_kind_is_never_a_part_of_a_word() -> None:
    assert is_kind("a100", GpuKind.FULL, "full", "NVIDIA A100-PCIE-40GB")
    assert not is_kind("a10", GpuKind.FULL, "full", "NVIDIA A100-PCIE-40GB")
    assert not is_kind("00", GpuKind.FULL, "full", "NVIDIA A100-PCIE-40GB")


def test_an_unknown_kind_is_answered_with_those_that_exist_and_the_nearest() -> None:
    with pytest.raises(InvalidRequestError, match=r"1g\.5gb") as refused:
        addresses(machine(a100(0, "1g.5gb")), GpuRequest(kind="1g.5g"))
    assert refused.value.hint == "Did you mean --gpu-kind 1g.5gb?"


def test_too_much_memory_is_answered_with_the_most_that_there_is() -> None:
    with pytest.raises(InvalidRequestError, match="the largest has 40G") as refused:
        addresses(machine(a100(0)), GpuRequest(memory_bytes=80 * GIB))
    assert refused.value.hint == "Ask for --gpu-memory 40960M or less."


def test_more_devices_than_there_ever_are_is_not_a_matter_of_waiting() -> None:
    with pytest.raises(InvalidRequestError, match="this machine has 2"):
        addresses(machine(a100(0), a100(1)), GpuRequest(3))
    with pytest.raises(InvalidRequestError, match="has 1 of one size") as refused:
        addresses(machine(a100(0), a100(1, "1g.5gb")), GpuRequest(2))
    assert refused.value.details == {"requested": 2, "possible": 1}


def test_a_machine_whose_cards_cannot_be_used_says_why_of_each() -> None:
    pending = dataclasses.replace(a100(2), mig_pending=True)
    with pytest.raises(InvalidRequestError) as refused:
        addresses(machine(a100(0, mig=True), a100(1, fault="Xid 79"), pending), GpuRequest())
    assert "GPU 0: MIG is on and it has no instance" in refused.value.message
    assert "GPU 1: Xid 79" in refused.value.message
    assert "GPU 2: its MIG mode waits for a reset" in refused.value.message


def test_what_the_policy_forbids_is_a_matter_of_the_policy_and_not_of_the_machine() -> None:
    with pytest.raises(QuotaExceededError, match="allow_full_gpu"):
        addresses(machine(a100(0)), GpuRequest(), quota=limits(allow_full_gpu=False))
    inventory = machine(a100(0), a100(1, "1g.5gb"))
    assert addresses(inventory, GpuRequest(kind="a100"), quota=limits(allow_full_gpu=False)) == ["1:0"]


def test_no_capacity_names_every_holder() -> None:
    inventory = machine(a100(0), a100(1, "1g.5gb"))
    with pytest.raises(NoCapacityError) as refused:
        addresses(inventory, GpuRequest(), ("0", "1"))
    assert "0 is held by c0 (active)" in refused.value.message
    assert "1:0: the whole GPU 1 is held" in refused.value.message
    assert refused.value.details == {"requested": 1, "free": 0, "fitting": 2}


def test_a_quota_that_only_the_free_device_exceeds_is_a_matter_of_waiting() -> None:
    inventory = machine(a100(0), a100(1, "1g.5gb"))
    quota = limits(max_gpu_equivalents=0.5)
    assert addresses(inventory, GpuRequest(), quota=quota) == ["1:0"]
    with pytest.raises(NoCapacityError, match="1:0 is held by c0") as refused:
        addresses(inventory, GpuRequest(), ("1:0",), quota=quota)
    assert "too large for your quota" in refused.value.message
    assert "0 of 0.5 gpu-equivalents" in refused.value.message


def test_a_candidate_is_weighed_and_not_the_worst_case() -> None:
    inventory = machine(a100(0), a100(1, "2g.10gb"))
    assert addresses(inventory, GpuRequest(), quota=limits(max_gpu_equivalents=2 / 7, gpu_preference="full")) == ["1:0"]


def test_of_one_profile_the_lightest_device_decides_what_the_quota_allows() -> None:
    # a driver that does not say the slices makes an instance count as a whole card
    inventory = machine(dataclasses.replace(a100(0, "1g.5gb"), slices_total=0), a100(1, "1g.5gb"))
    quota = limits(max_gpu_equivalents=0.5)
    assert addresses(inventory, GpuRequest(kind="1g.5gb"), quota=quota) == ["1:0"]
    with pytest.raises(NoCapacityError, match="too large for your quota"):
        addresses(inventory, GpuRequest(kind="1g.5gb"), ("1:0",), quota=quota)


def test_a_reached_quota_says_the_figures_and_how_to_go_on() -> None:
    inventory = machine(a100(0), a100(1))
    held = [grant(inventory.devices[0].uuid, uid=ALICE)]
    with pytest.raises(QuotaExceededError, match="1 of 1 GPUs") as refused:
        newcomer_gets(inventory, held, GpuRequest(), limits(max_gpus=1))
    assert refused.value.hint is not None
    assert "ds01 rm" in refused.value.hint
    with pytest.raises(QuotaExceededError, match="0 of 0 GPUs") as refused:
        newcomer_gets(inventory, [], GpuRequest(), limits(max_gpus=0))
    assert refused.value.hint is not None
    assert "--cpu-only" in refused.value.hint


KINDS = st.sampled_from(["any", "any", "full", "mig", "1g.5gb", "1g.6gb", "a100", "a30"])
GPU_REQUESTS = st.builds(GpuRequest, st.integers(0, 3), KINDS, st.none() | st.sampled_from([6 * GIB, 11 * GIB]))
QUOTAS = st.builds(
    limits,
    max_gpus=st.none() | st.integers(0, 3),
    max_gpu_equivalents=st.none() | st.sampled_from([0.0, 2 / 7, 0.5, 1.0, 2.0]),
    allow_full_gpu=st.booleans(),
    gpu_preference=st.sampled_from(["any", "mig", "full"]),
)


def allowed_sets(gpus: list[Gpu], request: GpuRequest, quota: EffectiveLimits, usage: Usage) -> list[tuple[Gpu, ...]]:
    """Try every set of devices: the slow and obvious way."""
    values = quota.values
    fitting = [
        gpu
        for gpu in gpus
        if is_kind(request.kind, gpu.kind, gpu.profile, gpu.model)
        and gpu.memory_bytes >= (request.memory_bytes or 0)
        and (values.allow_full_gpu or gpu.kind is GpuKind.MIG)
    ]
    found = []
    for chosen in combinations(fitting, request.count):
        compute = usage.gpu_equivalents + sum(gpu.equivalents for gpu in chosen)
        if len({gpu.profile for gpu in chosen}) > 1:
            continue
        if values.max_gpus is not None and usage.gpus + len(chosen) > values.max_gpus:
            continue
        if values.max_gpu_equivalents is not None and compute > values.max_gpu_equivalents + TOLERANCE:
            continue
        found.append(chosen)
    return found


def require_right(
    answer: object,
    sets_now: list[tuple[Gpu, ...]],
    sets_ever: list[tuple[Gpu, ...]],
    sets_unlimited: list[tuple[Gpu, ...]],
) -> None:
    """An answer is right if the sets that exist say so."""
    assert not isinstance(answer, Ds01Error) or (answer.message and answer.hint)
    if isinstance(answer, list):
        assert answer in [sorted(gpu.uuid for gpu in chosen) for chosen in sets_now]
    elif isinstance(answer, NoCapacityError):
        assert sets_ever
        assert not sets_now
    elif isinstance(answer, QuotaExceededError):
        assert sets_unlimited
        assert not sets_ever
    else:
        assert isinstance(answer, InvalidRequestError)
        assert not sets_unlimited


def ask(
    inventory: Inventory, grants: list[Allocation], request: GpuRequest, quota: EffectiveLimits, uid: int
) -> object:
    try:
        return sorted(newcomer_gets(inventory, grants, request, quota, uid))
    except Ds01Error as refusal:
        return refusal


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    inventories(),
    QUOTAS,
    st.lists(st.tuples(st.sampled_from([ALICE, BOB]), GPU_REQUESTS, st.integers(0, 9)), max_size=14),
)
def test_claims_and_releases_in_any_order_never_double_anything(
    inventory: Inventory, quota: EffectiveLimits, steps: list[tuple[int, GpuRequest, int]]
) -> None:
    by_uuid = {gpu.uuid: gpu for gpu in all_gpus(inventory)}
    every = list(schedulable_gpus(inventory))
    generous = limits()
    grants: list[Allocation] = []
    for number, (uid, request, choice) in enumerate(steps):
        if grants and choice < 4:
            released = grants.pop(choice % len(grants))
            assert not move_allocation(released, AllocationState.RELEASED, at(number)).is_holding
            without = occupy(inventory, grants)
            assert all(without.is_free(uuid) for uuid in released.gpu_uuids)
            assert lost_of(board_of(inventory), grants) == {}
        occupancy, usage = occupy(inventory, grants), usage_of(uid, grants, 0)
        answer = ask(inventory, grants, request, quota, uid)
        if request.count and not (request.kind == "full" and not quota.values.allow_full_gpu):
            free = [gpu for gpu in every if occupancy.is_free(gpu.uuid)]
            require_right(
                answer,
                allowed_sets(free, request, quota, usage),
                allowed_sets(every, request, quota, usage),
                allowed_sets(every, request, generous, NOBODY),
            )
        if not isinstance(answer, list):
            continue
        again = ask(inventory, grants, request, quota, uid)
        assert again == answer
        share = sum(by_uuid[uuid].equivalents for uuid in answer)
        claim = dataclasses.replace(grant(*answer, uid=uid, number=number), gpu_equivalents=share)
        grants.append(claim)
        require_invariants(inventory, grants, quota)


def require_invariants(inventory: Inventory, grants: list[Allocation], quota: EffectiveLimits) -> None:
    by_uuid = {gpu.uuid: gpu for gpu in all_gpus(inventory)}
    held = Counter(uuid for claim in grants for uuid in claim.gpu_uuids)
    assert not held or max(held.values()) == 1
    for uuid in held:
        gpu = by_uuid[uuid]
        assert gpu.uuid == gpu.parent_uuid or gpu.parent_uuid not in held
    for uid in (ALICE, BOB):
        usage = usage_of(uid, grants, 0)
        assert quota.values.max_gpus is None or usage.gpus <= quota.values.max_gpus
        highest = quota.values.max_gpu_equivalents
        assert highest is None or usage.gpu_equivalents <= highest + TOLERANCE
