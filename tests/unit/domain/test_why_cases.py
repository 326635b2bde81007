"""The answers that people get most: every cause is named, and what is proposed works when it is typed."""

import dataclasses
from datetime import timedelta

import pytest

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.devices.gpu import DeviceWeight, Inventory
from ds01.domain.reasons.explanation import Explanation, Way
from ds01.domain.reasons.why import explain, explain_gpu
from ds01.domain.reasons.why_text import (
    Viewer,
    cause_blockers,
    cause_text,
    cause_until,
    counterfactual_options,
    counterfactual_text,
    gpu_text,
    kind_of,
    who,
)
from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.board import board_of
from ds01.domain.scheduling.occupancy import ForeignContainer
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.schedule import plan_grant, plan_pass
from ds01.domain.scheduling.situation import GroupRules, Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import NotFoundError, QuotaExceededError
from tests.unit.domain.machines import ALICE, BOB, CAROL, START, a100, machine
from tests.unit.domain.situations import GROUPS, USERS, person, promised, waits

HOUR = timedelta(hours=1)
NAMES = {ALICE: "alice", BOB: "bob", CAROL: "carol"}


def viewer(uid: int = ALICE, *, show: str = "users", is_admin: bool = False) -> Viewer:
    return Viewer(uid, is_admin, show, NAMES.__getitem__)


def world(inventory: Inventory, **more: object) -> Situation:
    found = Situation(START, board_of(inventory), people={uid: person(uid) for uid in USERS})
    return dataclasses.replace(found, **more)  # type: ignore[arg-type]  # names and types are the test's


def held(uid: int, uuid: str, *, hours: float | None = None, weight: float = 1.0, name: str = "train") -> Allocation:
    ends_at = None if hours is None else START + hours * HOUR
    state = AllocationState.ACTIVE
    made = Allocation(f"{name}{uuid}", uid, name, GpuRequest(), (uuid,), weight, state, START - HOUR, START)
    return dataclasses.replace(made, ends_at=ends_at, group=GROUPS[uid])


def said(found: Explanation, reader: Viewer | None = None) -> dict[str, str]:
    return {kind_of(cause): cause_text(cause, reader or viewer()) for cause in found.causes}


def proposed(found: Explanation) -> dict[Way, str]:
    return {help_.way: counterfactual_text(help_, found.waiting, viewer()) for help_ in found.counterfactuals}


def uuids(inventory: Inventory) -> list[str]:
    return [part.uuid for card in inventory.devices for part in card.instances or (card,)]


def test_over_quota_names_the_own_containers_and_removing_one_helps() -> None:
    cards = machine(a100(0), a100(1))
    mine = held(ALICE, uuids(cards)[0], name="notebook")
    people = {ALICE: person(ALICE, max_gpus=1)}
    found = explain(world(cards, allocations=(mine,), waiting=(waits("w"),), people=people), "w")
    assert said(found) == {
        "quota": "you hold 1 of 1 GPUs, and this asks for 1 more "
        "(1/1: max_gpus of group student, set by policy.yaml:3); you have notebook"
    }
    assert proposed(found) == {Way.GIVE_BACK: "once notebook gives its GPUs back"}
    assert found.estimate is not None
    assert found.estimate.start_at is None


def test_a_full_group_says_who_of_it_holds_what_to_those_who_may_see_it() -> None:
    cards = machine(a100(0), a100(1), a100(2))
    grants = tuple(held(BOB, uuid) for uuid in uuids(cards)[:2])
    groups = {"student": GroupRules(max_gpus=2, origins={"gpus": "policy.yaml:9"})}
    found = explain(world(cards, allocations=grants, groups=groups, waiting=(waits("w"),)), "w")
    assert "your group student holds 2 of 2 GPUs" in said(found)["quota"]
    assert said(found)["quota"].endswith("of student hold: bob 2 on 2 GPUs")
    assert "bob" not in said(found, viewer(show="groups"))["quota"]
    assert said(found, viewer(show="none"))["quota"].endswith("of student hold: 1 user")


def test_blocked_by_a_reservation_a_shorter_time_fits_before_it() -> None:
    kept = Reservation("r1", "exam", CAROL, None, GpuRequest(1), START + 3 * HOUR, START + 9 * HOUR, "", 0, START)
    asked = waits("w", time_limit=8 * HOUR)
    found = explain(world(machine(a100(0)), reservations=(kept,), waiting=(asked,)), "w")
    assert said(found) == {"reservation": "1 GPU is kept by the reservation exam for carol"}
    assert said(found, viewer(show="none")) == {"reservation": "1 GPU is kept by the reservation"}
    assert cause_until(found.causes[0]) == kept.end_at
    best = next(help_ for help_ in found.counterfactuals if help_.way is Way.SHORTER_TIME)
    assert best.waiting.time_limit == 3 * HOUR - timedelta(minutes=2), "the margin of the release is kept"
    assert counterfactual_options(best) == ["--gpus", "1", "--time", "2h58m"]


def test_blocked_by_kind_what_is_free_is_proposed() -> None:
    cards = machine(a100(0, "1g.5gb", "2g.10gb"), a100(1))
    whole = held(BOB, uuids(cards)[2], hours=2)
    asked = waits("w", request=GpuRequest(1, "full"))
    found = explain(world(cards, allocations=(whole,), waiting=(asked,)), "w")
    assert said(found) == {"capacity": "none of the 1 GPU that would do is free (1: bob, train)"}
    assert cause_blockers(found.causes[0])[0].free_at == START + 2 * HOUR
    texts = [counterfactual_text(help_, asked, viewer()) for help_ in found.counterfactuals]
    assert texts == ["1 2g.10gb is free now", "1 1g.5gb is free now", "when the time of bob's train ends"]
    assert found.counterfactuals[-1].start_at == START + 2 * HOUR + timedelta(minutes=2)


def test_two_gpus_of_which_one_is_free_are_one_now() -> None:
    cards = machine(a100(0), a100(1))
    asked = waits("w", request=GpuRequest(2))
    found = explain(world(cards, allocations=(held(BOB, uuids(cards)[0]),), waiting=(asked,)), "w")
    assert said(found) == {"capacity": "2 GPUs of one size are asked for, 1 of 2 are free (0: bob, train)"}
    assert proposed(found) == {Way.FEWER_GPUS: "with 1 GPU instead of 2"}


def test_a_drained_device_is_named_with_its_reason() -> None:
    cards = machine(a100(0), a100(1))
    situation = world(cards, allocations=(held(BOB, uuids(cards)[0]),), waiting=(waits("w"),))
    drained = dataclasses.replace(situation, board=board_of(cards, drained={uuids(cards)[1]: "a fan is broken"}))
    found = explain(drained, "w")
    assert sorted(said(found)) == ["capacity", "device"]
    assert said(found)["device"].endswith("cannot be used: it is drained: a fan is broken")
    gpu = explain_gpu(drained, uuids(cards)[1])
    assert gpu_text(gpu, viewer()) == ["it cannot be used: it is drained: a fan is broken"]
    assert not gpu.is_free


def behind_a_large_head() -> Situation:
    cards = machine(a100(0), a100(1))
    head = waits("head", BOB, GpuRequest(2), queued_at=START - HOUR, time_limit=8 * HOUR)
    small = waits("small", ALICE, time_limit=8 * HOUR)
    return promised(world(cards, allocations=(held(CAROL, uuids(cards)[0], hours=4),), waiting=(head, small)))


def test_behind_a_larger_head_its_promise_is_the_cause_and_a_shorter_time_passes_it() -> None:
    situation = behind_a_large_head()
    found = explain(situation, "small")
    assert said(found) == {
        "promise": "it would fit now, and would delay the start that bob's request for chead (2 GPUs) was promised"
    }
    assert cause_until(found.causes[0]) == START + 4 * HOUR + timedelta(minutes=2)
    best = next(help_ for help_ in found.counterfactuals if help_.way is Way.SHORTER_TIME)
    assert best.waiting.time_limit == 4 * HOUR
    others = tuple(other for other in situation.waiting if other.id != "small")
    assert plan_grant(dataclasses.replace(situation, waiting=others), best.waiting)
    longer = dataclasses.replace(best.waiting, time_limit=4 * HOUR + timedelta(minutes=1))
    assert explain(dataclasses.replace(situation, waiting=others), longer).grant is None


def test_a_newcomer_gets_the_same_answer_as_one_who_waits() -> None:
    situation = behind_a_large_head()
    small = situation.waiting[1]
    alone = dataclasses.replace(situation, waiting=situation.waiting[:1])
    assert explain(alone, small).causes == explain(situation, "small").causes


def test_several_causes_are_all_named() -> None:
    cards = machine(a100(0), a100(1, fault="it fell off the bus"))
    kept = Reservation("r1", "exam", CAROL, None, GpuRequest(1), START + HOUR, START + 9 * HOUR, "", 0, START)
    situation = world(
        cards,
        allocations=(held(ALICE, uuids(cards)[0]),),
        people={ALICE: person(ALICE, max_gpus=1), BOB: person(BOB)},
        reservations=(kept,),
        waiting=(waits("o", BOB, queued_at=START - HOUR), waits("w", not_before=START + HOUR)),
    )
    assert list(said(explain(situation, "w"))) == ["quota", "not_before", "capacity", "device", "reservation", "order"]


def test_the_order_says_why_somebody_is_before() -> None:
    cards = machine(a100(0))
    first = waits("f", BOB, queued_at=START - HOUR)

    def ranks(other: Waiting) -> str:
        situation = world(cards, allocations=(held(CAROL, uuids(cards)[0]),), waiting=(other, waits("w")))
        return said(explain(situation, "w"))["order"]

    assert ranks(first).endswith("it has waited longer")
    assert ranks(dataclasses.replace(first, priority=90)).endswith("it has a higher priority")
    assert ranks(dataclasses.replace(first, moved_to=0)).endswith("it was put there by an administrator")


def test_what_can_never_be_is_said_once() -> None:
    found = explain(world(machine(a100(0))), waits("w", request=GpuRequest(2)))
    assert said(found) == {"never": "You asked for 2 GPUs (any); this machine has 1 that you may use"}
    assert proposed(found) == {Way.FEWER_GPUS: "with 1 GPU instead of 2"}
    assert found.estimate is not None
    assert found.estimate.start_at is None


def test_a_container_with_fixed_devices_names_them() -> None:
    cards = machine(a100(0), a100(1))
    gone = waits("w", gpu_uuids=(uuids(cards)[0], "GPU-gone"), request=GpuRequest(2))
    found = explain(world(cards, allocations=(held(BOB, uuids(cards)[0]),)), gone)
    assert said(found) == {
        "fixed_device": "the container needs GPU 0, which is not free; GPU GPU-gone is gone or cannot be used "
        "(0: bob, train)"
    }


def test_devices_of_a_container_that_others_made_count_for_its_owner_and_the_group() -> None:
    cards = machine(a100(0), a100(1))
    stranger = ForeignContainer("x", ALICE, frozenset(uuids(cards)[:1]), START, weight=DeviceWeight(1, 1.0))
    situation = world(cards, foreign=(stranger,), people={ALICE: person(ALICE, max_gpus=1), BOB: person(BOB)})
    with pytest.raises(QuotaExceededError, match="1 of 1 GPUs"):
        plan_grant(situation, waits("w"))
    assert not plan_pass(dataclasses.replace(situation, waiting=(waits("w"),))).grants
    grouped = dataclasses.replace(situation, groups={"student": GroupRules(max_gpu_equivalents=1.0)})
    with pytest.raises(QuotaExceededError, match="group student holds 1 of 1 gpu-equivalents"):
        plan_grant(grouped, waits("w", BOB))
    others = {**grouped.people, CAROL: person(CAROL)}
    assert plan_grant(dataclasses.replace(grouped, people=others), waits("w", CAROL))


def test_who_is_shown_is_the_sites_choice() -> None:
    assert who(viewer(), BOB, "student") == "bob"
    assert who(viewer(), ALICE, "student") == "you"
    assert who(viewer(show="groups"), BOB, "student") == "somebody of student"
    assert who(viewer(show="none"), BOB, "student") == "somebody"
    assert who(viewer(show="none", is_admin=True), BOB, "student") == "bob"
    assert who(viewer(), None, "") == "somebody"


def test_a_device_of_a_machine_is_explained_and_another_is_not_known() -> None:
    cards = machine(a100(0), a100(1, "1g.5gb"))
    situation = world(cards, allocations=(held(BOB, uuids(cards)[0], name="train"),))
    assert gpu_text(explain_gpu(situation, uuids(cards)[0]), viewer()) == ["held by 0: bob, train"]
    assert gpu_text(explain_gpu(situation, uuids(cards)[0]), viewer(show="none")) == ["held by 0: somebody"]
    assert explain_gpu(situation, uuids(cards)[1]).is_free
    kept = Reservation("r1", "exam", CAROL, None, GpuRequest(1, "mig"), START, START + HOUR, "", 0, START)
    reserved = explain_gpu(dataclasses.replace(situation, reservations=(kept,)), uuids(cards)[1])
    assert gpu_text(reserved, viewer()) == ["1 MIG instance is kept by the reservation exam for carol"]
    with pytest.raises(NotFoundError, match="GPU-x"):
        explain_gpu(situation, "GPU-x")
    with pytest.raises(NotFoundError, match="No request 'x' waits"):
        explain(situation, "x")
