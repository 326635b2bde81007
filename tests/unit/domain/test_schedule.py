"""The pass over the queue: order, promises, who may pass, reservations, shared devices."""

import dataclasses
from datetime import datetime, timedelta
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings, strategies as st

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.board import Board, board_of, lost_of, taken_of
from ds01.domain.limit import EffectiveLimits
from ds01.domain.occupancy import ForeignContainer
from ds01.domain.request import GpuRequest
from ds01.domain.reservation import Reservation
from ds01.domain.schedule import estimate_starts, plan_grant, plan_pass, require_possible
from ds01.domain.situation import GroupRules, Pass, Person, Situation
from ds01.domain.waiting import Waiting
from ds01.errors import NoCapacityError, QuotaExceededError
from tests.unit.domain.machines import ALICE, BOB, CAROL, a100, at, limits, machine
from tests.unit.domain.play import MARGIN, boards, on_demand, person, waiting

FULL = GpuRequest(1, "full")
TWO = GpuRequest(2, "full")
CARD = "GPU-{}aaa0000-bbbb"


def held(card: int | str, ends: float | None, *, uid: int = BOB, number: int = 0, **more: object) -> Allocation:
    """Return a grant of a whole card, or of a device, that ends so many minutes after the start."""
    uuid = CARD.format(card) if isinstance(card, int) else card
    ends_at = None if ends is None else at(ends)
    grant = Allocation(
        f"{number:015x}{card}"[-16:], uid, f"c{card}", FULL, (uuid,), 1.0, AllocationState.ACTIVE, at(0), at(0)
    )
    return dataclasses.replace(grant, group="student", ends_at=ends_at, **more)  # type: ignore[arg-type]  # the test's


def world(board: Board | int, *others: Allocation | Waiting | Reservation, now: float = 0, **more: object) -> Situation:
    """Return a situation with everybody without quotas."""
    cards = board_of(machine(*(a100(index) for index in range(board)))) if isinstance(board, int) else board
    people = {uid: person(uid) for uid in (ALICE, BOB, CAROL)}
    values: dict[str, object] = {
        "allocations": tuple(item for item in others if isinstance(item, Allocation)),
        "waiting": tuple(item for item in others if isinstance(item, Waiting)),
        "reservations": tuple(item for item in others if isinstance(item, Reservation)),
        "people": people,
        "release_margin": MARGIN,
        **more,
    }
    return Situation(at(now), cards, **values)  # type: ignore[arg-type]  # the test's


def want(number: int, request: GpuRequest = FULL, minutes: int | None = 60, **more: object) -> Waiting:
    """Return a request of Alice; lower numbers came earlier."""
    values: dict[str, object] = {"queued_at": at(number - 100), **more}
    limit = None if minutes is None else timedelta(minutes=minutes)
    return dataclasses.replace(waiting(number, ALICE, request, at(0), time_limit=limit), **values)  # type: ignore[arg-type]  # the test's


def keep(request: GpuRequest, start: float, end: float, *, uid: int = CAROL, name: str = "talk") -> Reservation:
    return Reservation(name.rjust(16, "0"), name, uid, None, request, at(start), at(end), "talk", None, at(-1000))


def started(found: Pass) -> list[int]:
    return [int(grant.waiting.id, 16) for grant in found.grants]


def promised(found: Pass) -> dict[int, datetime]:
    return {int(id_, 16): start for id_, start in found.promises.items()}


def cards_of(found: Pass, number: int = 0) -> list[str]:
    return [taken.card_uuid[4] for taken in found.grants[number].positions]


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


def test_before_a_reservation_only_what_ends_in_time_is_placed_on_it() -> None:
    kept = keep(FULL, 60, 120)
    assert started(plan_pass(world(1, kept, want(1, minutes=58)))) == [1]
    late = plan_pass(world(1, kept, want(1, minutes=59)))
    assert started(late) == []
    assert promised(late) == {1: at(120) + MARGIN}
    assert started(plan_pass(world(1, kept, want(1, minutes=None)))) == []
    assert started(plan_pass(world(2, kept, want(1, minutes=None), want(2, minutes=None)))) == [1]


def test_the_device_of_a_reservation_is_chosen_late() -> None:
    kept = keep(FULL, 60, 120)
    found = plan_pass(world(2, kept, held(0, 30), want(1, minutes=None)))
    assert started(found) == [1]
    assert started(plan_pass(world(2, kept, held(0, 90), want(1, minutes=None)))) == []


def test_a_request_of_the_owner_starts_inside_the_reservation() -> None:
    kept = keep(FULL, 0, 60)
    mine = dataclasses.replace(want(1, minutes=None), uid=CAROL, reservation=kept.id)
    assert started(plan_pass(world(1, kept, mine))) == [1]
    assert started(plan_pass(world(1, kept, dataclasses.replace(mine, uid=BOB)))) == []
    assert started(plan_pass(world(1, keep(FULL, 30, 60), mine))) == []
    second = dataclasses.replace(mine, id=want(2).id)
    assert started(plan_pass(world(2, kept, mine, second))) == [1]
    inside = held(0, 60, uid=CAROL, reservation=kept.id)
    assert started(plan_pass(world(2, kept, inside, second))) == []
    assert started(plan_pass(world(2, kept, inside, want(3, minutes=None)))) == [3]


def test_what_a_reservation_gave_back_stays_kept_until_its_end() -> None:
    kept = keep(FULL, 0, 60)
    inside = held(0, 20, uid=CAROL, reservation=kept.id)
    assert promised(plan_pass(world(1, kept, inside, want(1)))) == {1: at(60) + MARGIN}


def test_one_reservation_begins_the_moment_another_ends() -> None:
    first, second = keep(FULL, 0, 60, name="first"), keep(FULL, 60, 120, name="second")
    inside = held(0, 60, uid=CAROL, reservation=first.id)
    mine = dataclasses.replace(want(1), uid=CAROL, reservation=second.id)
    assert promised(plan_pass(world(1, first, second, inside, want(2)))) == {2: at(120) + MARGIN}
    assert started(plan_pass(world(1, first, second, mine, now=60))) == [1]


def test_a_reservation_that_cannot_be_kept_whole_keeps_what_it_can() -> None:
    kept = keep(TWO, 60, 120)
    found = plan_pass(world(2, kept, held(0, None), want(1, minutes=None), want(2, minutes=30)))
    assert started(found) == [2]


def test_several_gpus_are_linked_closely_and_leave_other_links_whole() -> None:
    inventory = machine(*(a100(index) for index in range(6)))
    near = {card.uuid: (card.index ^ 1,) for card in inventory.devices}
    board = board_of(inventory, near=near)
    assert cards_of(plan_pass(world(board, held(0, 9), want(1, TWO)))) == ["2", "3"]
    assert cards_of(plan_pass(world(board, held(2, 9), want(1)))) == ["3"]
    assert cards_of(plan_pass(world(board, held(0, 9), want(1, GpuRequest(3, "full"))))) == ["1", "2", "3"]


def test_a_drained_card_is_not_granted_and_comes_back() -> None:
    drained = board_of(machine(a100(0), a100(1)), drained={CARD.format(0): "fan"})
    assert cards_of(plan_pass(world(drained, want(1)))) == ["1"]
    assert started(plan_pass(world(drained, want(1, TWO)))) == []
    require_possible(world(drained), want(1, TWO))
    with pytest.raises(NoCapacityError, match="0: it is drained: fan"):
        plan_grant(world(drained, held(1, 9)), want(1))


def test_a_drained_instance_is_not_granted_and_its_holder_takes_nothing_else() -> None:
    inventory = machine(a100(0, "1g.5gb", "1g.5gb"))
    first, second = (instance.uuid for instance in inventory.devices[0].instances)
    board = board_of(inventory, drained={first: "ecc"})
    assert taken_of(board, [held(first, 9)]) == (1,)
    found = plan_pass(world(board, held(first, 9), want(1, GpuRequest(1, "mig"))))
    assert [taken.position.gpu_uuid for taken in found.grants[0].positions] == [second]


def test_who_holds_the_whole_card_holds_its_instances_and_the_other_way_round() -> None:
    board = board_of(machine(a100(0, "1g.5gb", "2g.10gb"), a100(1)))
    assert taken_of(board, [held(0, 9)]) == (3, 0)
    stranger = ForeignContainer("someones", None, frozenset({"MIG-00001-0000", CARD.format(1)}), at(0))
    assert taken_of(board, [], [stranger]) == (2, 1)


def test_a_grant_on_a_device_that_is_gone_takes_nothing_and_is_named() -> None:
    board = board_of(machine(a100(0)))
    gone = held(7, 9)
    assert taken_of(board, [gone]) == (0,)
    assert lost_of(board, [gone, held(0, 9, number=1)]) == {gone.id: (CARD.format(7),)}


def test_an_instance_that_nobody_knows_the_place_of_takes_its_card() -> None:
    inventory = machine(a100(0, "1g.5gb"))
    board = board_of(inventory, dynamic={inventory.devices[0].uuid: on_demand()})
    assert taken_of(board, [held("MIG-00000-0000", 9)]) == (0xFF,)
    known = dataclasses.replace(held("MIG-00000-0000", 9), slices=(f"{CARD.format(0)}/2g.10gb@2",))
    assert taken_of(board, [known]) == (0b1100,)
    strange = dataclasses.replace(known, slices=(f"{CARD.format(0)}/2g.10gb@7",))
    assert taken_of(board, [strange]) == (0xFF,)


def test_instances_on_demand_keep_the_card_worth_most() -> None:
    inventory = machine(a100(0, mig=True), a100(1, mig=True))
    board = board_of(inventory, dynamic={card.uuid: on_demand() for card in inventory.devices})
    found = plan_pass(world(board, *(want(number, GpuRequest(1, "1g.5gb")) for number in (1, 2))))
    assert [grant.positions[0].position.start for grant in found.grants] == [6, 4]
    assert [cards_of(found, number) for number in (0, 1)] == [["0"], ["0"]]


def test_a_table_of_values_decides_where_there_is_one() -> None:
    inventory = machine(a100(0, mig=True))
    ways = dataclasses.replace(on_demand(), table="a100")
    board = board_of(inventory, dynamic={inventory.devices[0].uuid: ways})
    values = {"a100": {0: 9.0, 0b10000: 8.0}}
    found = plan_pass(world(board, want(1, GpuRequest(1, "1g.5gb"))), values)
    assert found.grants[0].positions[0].position.start == 4


def shared(*others: Allocation | Waiting | Reservation, **more: object) -> Situation:
    return dataclasses.replace(world(board_of(machine(a100(0), a100(1)), shares=3), *others), **more)  # type: ignore[arg-type]  # the test's


def test_a_share_of_a_device_weighs_its_part_and_is_not_alone() -> None:
    found = plan_pass(shared(*(want(number, minutes=None) for number in range(1, 8))))
    assert started(found) == [1, 2, 3, 4, 5, 6]
    assert found.grants[0].equivalents == pytest.approx(1 / 3)
    assert found.grants[0].positions[0].position.shares == 3


def test_shares_go_to_the_device_with_the_lowest_score() -> None:
    people = {ALICE: person(ALICE), BOB: person(BOB, priority=50), CAROL: person(CAROL, priority=1)}
    bobs = held(0, None, uid=BOB, shares=3)
    carols = held(1, None, uid=CAROL, shares=3)
    assert cards_of(plan_pass(shared(bobs, carols, want(1, priority=50), people=people))) == ["0"]
    assert cards_of(plan_pass(shared(bobs, carols, want(1, priority=1), people=people))) == ["1"]
    assert cards_of(plan_pass(shared(bobs, want(1, priority=50), people=people))) == ["1"]
    used = {CARD.format(1): 0.5}
    assert cards_of(plan_pass(shared(bobs, want(1, priority=50), people=people), memory_used=used)) == ["0"]


def test_who_wants_a_device_alone_gets_one_that_nobody_shares() -> None:
    other = held(0, None, shares=3)
    assert cards_of(plan_pass(shared(other, want(1, is_exclusive=True)))) == ["1"]
    assert started(plan_pass(shared(other, want(1, TWO)))) == []
    alone = held(1, None, shares=1)
    assert started(plan_pass(shared(other, alone, want(1), want(2), want(3)))) == [1, 2]
    assert started(plan_pass(shared(other, keep(FULL, 5, 60), want(1, minutes=None), want(2, minutes=None)))) == [1, 2]


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
    with pytest.raises(QuotaExceededError, match=r"1 of 1 GPUs.*policy\.yaml:9"):
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


REQUESTS = st.builds(
    GpuRequest, st.integers(1, 3), st.sampled_from(["any", "full", "mig", "1g.5gb", "2g.10gb", "3g.20gb"])
)
QUEUES = st.lists(
    st.tuples(REQUESTS, st.sampled_from([None, 10, 60]), st.integers(0, 100), st.sampled_from([ALICE, BOB])),
    max_size=5,
)


def queue_of(asked: list[tuple[GpuRequest, int | None, int, int]]) -> list[Waiting]:
    return [
        dataclasses.replace(want(number, request, minutes), priority=priority, uid=uid)
        for number, (request, minutes, priority, uid) in enumerate(asked, start=1)
    ]


def can_be_placed(board: Board, taken: tuple[int, ...], request: GpuRequest) -> bool:
    """Try every set of positions: the slow and obvious way."""
    every = [
        (number, position)
        for number, card in enumerate(board.cards)
        for position in card.positions
        if request.kind in {"any", position.kind.value, position.profile} and position.shares == 1
    ]
    for chosen in combinations(every, request.count):
        masks = list(taken)
        for number, position in chosen:
            if masks[number] & position.mask:
                break
            masks[number] |= position.mask
        else:
            if len({position.profile for _, position in chosen}) == 1:
                return True
    return False


@settings(max_examples=150, deadline=None)
@given(boards(), QUEUES)
def test_who_is_not_started_does_not_fit_or_would_delay_somebody(
    board: Board, asked: list[tuple[GpuRequest, int | None, int, int]]
) -> None:
    queue = [dataclasses.replace(waiting_, is_exclusive=True) for waiting_ in queue_of(asked)]
    found = plan_pass(world(board, *queue))
    taken = list(taken_of(board, ()))
    numbers = {card.uuid: number for number, card in enumerate(board.cards)}
    for grant in found.grants:
        for part in grant.positions:
            assert not taken[numbers[part.card_uuid]] & part.position.mask
            taken[numbers[part.card_uuid]] |= part.position.mask
    by_id = {waiting_.id: waiting_ for waiting_ in queue}
    possible = [by_id[id_] for id_ in found.order if can_be_placed(board, (0,) * len(taken), by_id[id_].request)]
    if possible:  # the first who could ever have it: nothing is promised to others before, so only room is missing
        assert not can_be_placed(board, tuple(taken), possible[0].request)


@settings(max_examples=100, deadline=None)
@given(boards(), QUEUES, st.randoms(use_true_random=False))
def test_the_same_situation_has_the_same_answer_in_whatever_order_it_is_told(
    board: Board, asked: list[tuple[GpuRequest, int | None, int, int]], dice: object
) -> None:
    queue = queue_of(asked)
    kept = [keep(GpuRequest(1, "any"), 5, 30, name="a"), keep(GpuRequest(1, "any"), 10, 40, name="b")]
    answer = plan_pass(world(board, *queue, *kept))
    for told in list(permutations(range(len(queue))))[:6]:
        again = world(board, *(queue[number] for number in told), *reversed(kept))
        assert plan_pass(again) == answer
        assert estimate_starts(again) == estimate_starts(world(board, *queue, *kept))


def limits_of(**values: object) -> EffectiveLimits:
    return limits(**values)


def test_people_are_known_by_their_limits() -> None:
    unknown = dataclasses.replace(want(1), uid=4711)
    assert started(plan_pass(world(1, unknown, people={ALICE: Person(ALICE, limits_of())}))) == []
