"""The pass over the queue: reservations, which devices, what cannot be used, shared devices."""

import dataclasses

import pytest

from ds01.domain.allocation import Allocation
from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.board import board_of, lost_of, taken_of
from ds01.domain.scheduling.occupancy import ForeignContainer
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.schedule import plan_grant, plan_pass, require_possible
from ds01.domain.scheduling.situation import Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import NoCapacityError
from tests.unit.domain.machines import ALICE, BOB, CAROL, a100, at, machine
from tests.unit.domain.play import MARGIN, on_demand, person
from tests.unit.domain.scenes import CARD, FULL, TWO, cards_of, held, keep, promised, started, want, world


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
