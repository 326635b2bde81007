"""The pass over the queue: order, promises, who may pass, quotas, estimates."""

import dataclasses

import pytest

from ds01.domain.request import GpuRequest
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.scheduling.board import board_of
from ds01.domain.scheduling.occupancy import ForeignContainer
from ds01.domain.scheduling.schedule import estimate_starts, plan_grant, plan_pass, require_possible
from ds01.domain.scheduling.situation import GroupRules, Pass, Person
from ds01.errors import NoCapacityError, QuotaExceededError
from tests.unit.domain.machines import ALICE, BOB, CAROL, a100, at, limits, machine
from tests.unit.domain.play import MARGIN, person
from tests.unit.domain.scenes import CARD, TWO, cards_of, held, promised, started, want, world


def test_whoever_fits_starts_in_the_order_of_the_queue() -> None:
    assert started(plan_pass(world(2, want(3), want(1), want(2)))) == [1, 2]


def test_the_first_who_does_not_fit_is_promised_the_time_that_is_sure() -> None:
    found = plan_pass(world(2, held(0, 30), held(1, 90), want(1, TWO), want(2, TWO)))
    assert promised(found) == {1: at(90) + MARGIN}
    assert found.wake_at == at(90) + MARGIN


def test_nothing_is_promised_on_a_grant_without_an_end() -> None:
    found = plan_pass(world(1, held(0, None), want(1)))
    assert promised(found) == {}
    assert found.order == (want(1).id,)


def test_a_foreign_container_ends_nobody_knows_when() -> None:
    stranger = ForeignContainer("someones", None, frozenset({CARD.format(0)}), at(-10))
    assert promised(plan_pass(world(1, want(1), foreign=(stranger,)))) == {}


def test_others_pass_only_if_the_promise_can_be_kept() -> None:
    machine_of_three = (held(0, 60), want(1, GpuRequest(3, "full")))
    assert started(plan_pass(world(3, *machine_of_three, want(2, minutes=60)))) == [2]
    assert started(plan_pass(world(3, *machine_of_three, want(2, minutes=61)))) == []
    assert started(plan_pass(world(3, *machine_of_three, want(2, minutes=None)))) == []


def test_a_candidate_may_take_what_the_promise_does_not_need() -> None:
    found = plan_pass(world(3, held(0, 60), held(1, 60), want(1, TWO), want(2, minutes=None)))
    assert started(found) == [2]
    assert promised(found) == {1: at(60) + MARGIN}


def test_the_shortest_pass_first() -> None:
    found = plan_pass(world(2, held(0, 60), want(1, TWO), want(2, minutes=50), want(3, minutes=20)))
    assert started(found) == [3]


def test_a_promise_is_kept_although_a_higher_priority_comes() -> None:
    first = want(1, TWO, promised_at=at(62))
    urgent = want(2, GpuRequest(2, "full"), priority=100)
    found = plan_pass(world(2, held(0, 60), first, urgent, now=1))
    assert promised(found) == {1: at(62)}
    assert found.order == (first.id, urgent.id)
    found = plan_pass(world(2, first, urgent, now=1))
    assert started(found) == [1]


def test_a_promise_moves_earlier_and_never_later() -> None:
    assert promised(plan_pass(world(2, held(0, 30), want(1, TWO, promised_at=at(62)), now=1))) == {1: at(32)}
    still = plan_pass(world(2, held(0, 60), want(1, TWO, promised_at=at(62)), now=1))
    assert promised(still) == {1: at(62)}


def test_a_promise_that_a_lost_card_makes_impossible_is_broken_with_the_reason() -> None:
    found = plan_pass(world(1, want(1, TWO, promised_at=at(62)), now=1))
    assert list(found.broken) == [want(1).id]
    assert "too few devices" in found.broken[want(1).id]
    assert promised(found) == {}


def test_whose_promise_is_broken_waits_in_the_same_pass_like_everybody() -> None:
    stranger = ForeignContainer("strange", None, frozenset({CARD.format(1)}), at(0))
    large = want(1, TWO, promised_at=at(32))
    urgent = want(2, minutes=180, priority=100)
    situation = world(2, held(0, 30), large, urgent, foreign=(stranger,))
    found = plan_pass(situation)
    assert list(found.broken) == [large.id]
    assert promised(found) == {2: at(32)}
    kept = dataclasses.replace(urgent, promised_at=at(32))
    again = plan_pass(world(2, held(0, 30), want(1, TWO), kept, foreign=(stranger,)))
    assert promised(again) == promised(found), "a second pass decides nothing new"


def test_a_promise_stays_the_first_while_its_owner_uses_the_quota_up_to_it() -> None:
    people = {ALICE: person(ALICE, max_gpus=1), BOB: person(BOB)}
    mine = held("GPU-1aaa0000-bbbb", 30, uid=ALICE)
    first, second = want(1, promised_at=at(32)), dataclasses.replace(want(2), uid=BOB)
    found = plan_pass(world(2, held(0, 30), mine, first, second, people=people))
    assert promised(found) == {1: at(32)}, "one start is promised at a time"


def test_who_needs_no_gpu_starts_behind_the_first_whatever_kind_it_names() -> None:
    others = [want(2, GpuRequest(1, "mig")), want(3, GpuRequest(0, "mig")), want(4, GpuRequest(0))]
    assert started(plan_pass(world(1, held(0, 30), want(1), *others))) == [3, 4]


def test_a_promise_that_an_overrun_limit_breaks_gets_a_new_one_later() -> None:
    found = plan_pass(world(1, held(0, 60), want(1, promised_at=at(62)), now=70))
    assert "longer than its time limit" in found.broken[want(1).id]
    assert promised(found) == {1: at(70) + MARGIN}


def test_who_is_over_the_quota_holds_up_nobody() -> None:
    people = {ALICE: person(ALICE, max_gpus=1), BOB: person(BOB), CAROL: person(CAROL)}
    mine = held(0, 60, uid=ALICE)
    other = dataclasses.replace(want(2, minutes=None), uid=CAROL)
    found = plan_pass(world(2, mine, want(1), other, people=people))
    assert started(found) == [2]
    assert promised(found) == {}


def test_a_quota_holds_for_all_grants_of_one_pass() -> None:
    people = {ALICE: person(ALICE, max_gpu_equivalents=2.0, max_containers=9)}
    assert started(plan_pass(world(4, want(1), want(2), want(3), people=people))) == [1, 2]
    people = {ALICE: dataclasses.replace(person(ALICE, max_containers=3), containers=1)}
    assert started(plan_pass(world(4, want(1), want(2), want(3), people=people))) == [1, 2]


def test_nobody_fills_the_quota_that_the_own_promise_needs() -> None:
    people = {ALICE: person(ALICE, max_gpus=3), BOB: person(BOB)}
    head = want(1, GpuRequest(3, "full"))
    busy = (held(0, 60), held(1, 60), head)
    assert started(plan_pass(world(4, *busy, want(2, minutes=None), people=people))) == []
    assert started(plan_pass(world(4, *busy, want(2, minutes=30), people=people))) == [2]
    others = dataclasses.replace(want(2, minutes=None), uid=BOB)
    assert started(plan_pass(world(4, *busy, others, people=people))) == [2]


def test_a_group_has_its_quota_together() -> None:
    groups = {"student": GroupRules(max_gpus=2)}
    other = dataclasses.replace(want(3), uid=BOB, group="staff")
    mate = dataclasses.replace(want(2), uid=CAROL)
    assert started(plan_pass(world(4, held(0, None), want(1), mate, other, groups=groups))) == [1, 3]


def test_a_request_is_not_started_before_its_time_and_the_pass_says_when_to_wake() -> None:
    found = plan_pass(world(1, want(1, not_before=at(10)), want(2, gives_up_at=at(0))))
    assert started(found) == []
    assert found.wake_at == at(10)
    assert found.order == (want(1).id,)
    assert started(plan_pass(world(1, want(1, not_before=at(10)), now=10))) == [1]


def test_an_administrators_place_comes_before_every_score() -> None:
    assert started(plan_pass(world(1, want(1, priority=100), want(2, moved_to=1)))) == [2]
    assert plan_pass(world(1, held(0, 9), want(1), want(2, moved_to=2), want(3, moved_to=1))).order == tuple(
        want(number).id for number in (3, 2, 1)
    )


def test_who_used_little_lately_comes_first_and_who_waited_long_before() -> None:
    people = {ALICE: person(ALICE), BOB: dataclasses.replace(person(BOB), recent_use_s=1e6)}
    bobs = dataclasses.replace(want(1), uid=BOB)
    assert started(plan_pass(world(1, bobs, want(2), people=people))) == [2]
    long_ago = dataclasses.replace(bobs, queued_at=at(-60 * 60))
    assert started(plan_pass(world(1, long_ago, want(2), people=people))) == [1]


def test_of_two_groups_the_one_that_used_less_of_its_share_comes_first() -> None:
    groups = {"student": GroupRules(shares=1, recent_use_s=100), "staff": GroupRules(shares=4, recent_use_s=100)}
    staff = dataclasses.replace(want(2), uid=BOB, group="staff")
    assert started(plan_pass(world(1, want(1), staff, groups=groups))) == [2]


def test_nobody_passes_who_waited_too_long_by_taking_what_it_could_use() -> None:
    board = board_of(machine(a100(0), a100(1), a100(2, "1g.5gb")))
    old = want(1, TWO, queued_at=at(-49 * 60))
    short, elsewhere = want(2, minutes=5), want(3, GpuRequest(1, "mig"), None)
    assert started(plan_pass(world(board, held(0, 60), old, short, elsewhere))) == [3]
    young = dataclasses.replace(old, queued_at=at(-47 * 60))
    assert started(plan_pass(world(board, held(0, 60), young, short, elsewhere))) == [2, 3]


def test_while_the_first_has_no_promise_its_estimate_is_not_pushed_back() -> None:
    usual = 8 * 60
    without_end = held(0, None)
    head = want(1, TWO)
    assert started(plan_pass(world(2, without_end, head, want(2, minutes=usual - 3)))) == [2]
    assert started(plan_pass(world(2, without_end, head, want(2, minutes=None)))) == []


def test_a_container_with_fixed_devices_gets_exactly_these() -> None:
    found = plan_pass(world(3, want(1, gpu_uuids=(CARD.format(2),))))
    assert cards_of(found) == ["2"]
    assert started(plan_pass(world(3, held(2, None), want(1, gpu_uuids=(CARD.format(2),))))) == []


def test_a_newcomer_that_would_delay_a_promise_is_refused_with_the_reason() -> None:
    busy = (held(0, 60), want(1, TWO))
    assert plan_grant(world(2, *busy), want(2, minutes=30)).positions[0].card_uuid == CARD.format(1)
    with pytest.raises(NoCapacityError, match="free, but kept for a reservation or for those who wait: 1"):
        plan_grant(world(2, *busy), want(2, minutes=90))


def test_who_asks_for_more_than_ever_allowed_cannot_wait_and_who_holds_too_much_can() -> None:
    people = {ALICE: person(ALICE, max_gpus=1)}
    with pytest.raises(QuotaExceededError, match="0 of 1 GPUs, and this asks for 2"):
        require_possible(world(2, people=people), want(1, TWO))
    require_possible(world(2, held(0, None, uid=ALICE), people=people), want(1))
    with pytest.raises(QuotaExceededError, match="1 of 1 GPUs"):
        plan_grant(world(2, held(0, None, uid=ALICE), people=people), want(1))


def test_the_quota_of_a_group_is_said_with_both_figures() -> None:
    groups = {"student": GroupRules(max_gpus=1, origins={"gpus": "policy.yaml:9"})}
    with pytest.raises(QuotaExceededError, match=r"your group student holds 1 of 1 GPUs.*policy\.yaml:9"):
        plan_grant(world(2, held(0, None), groups=groups), want(1))


def test_estimates_say_who_starts_when_and_what_that_rests_on() -> None:
    situation = world(1, held(0, 60), want(1), want(2, minutes=None), want(3))
    found = {int(id_, 16): estimate for id_, estimate in estimate_starts(situation).items()}
    assert found[1].start_at == at(62)
    assert found[1].is_promise
    assert found[2].start_at == at(62 + 62)
    assert not found[2].is_promise
    assert "8h" in found[2].assumption
    assert found[3].start_at == at(62 + 62 + 480)
    assert [found[number].place for number in (1, 2, 3)] == [1, 2, 3]


def test_nobody_can_say_when_a_quota_has_room_again() -> None:
    people = {ALICE: person(ALICE, max_gpus=1)}
    found = estimate_starts(world(2, held(0, 60, uid=ALICE), want(1), people=people))[want(1).id]
    assert found.start_at is None
    assert "quota" in found.assumption


def test_in_a_long_queue_the_short_go_first_until_the_long_are_due() -> None:
    long = [want(number, minutes=600) for number in range(1, 31)]
    short = [want(number, minutes=10) for number in range(31, 41)]
    assert started(plan_pass(world(2, *long, *short, now=0))) == [31, 32]
    waited = [dataclasses.replace(other, queued_at=at(-60 * 600)) for other in long]
    assert started(plan_pass(world(2, *waited, *short))) == [1, 2]


def test_an_empty_queue_decides_nothing() -> None:
    assert plan_pass(world(2)) == Pass((), {}, {}, (), None)


def limits_of(**values: object) -> EffectiveLimits:
    return limits(**values)


def test_people_are_known_by_their_limits() -> None:
    unknown = dataclasses.replace(want(1), uid=4711)
    assert started(plan_pass(world(1, unknown, people={ALICE: Person(ALICE, limits_of())}))) == []
