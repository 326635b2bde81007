"""Shared devices: n containers, never n + 1; nobody beside who wants it alone; reservations and shares stay apart."""

import dataclasses
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.board import board_of, taken_of
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.schedule import plan_grant, plan_pass
from ds01.domain.scheduling.situation import Situation
from ds01.errors import Ds01Error, NoCapacityError
from tests.fake_store import MemoryStore
from tests.unit.domain.machines import ALICE, BOB, CAROL, START, a100, machine
from tests.unit.domain.situations import USERS, allocation_of, person, waits

HOUR = timedelta(hours=1)


def world(shares: int, *, cards: int = 1, profiles: tuple[str, ...] = (), **more: object) -> Situation:
    board = board_of(machine(*(a100(index, *profiles) for index in range(cards))), shares=shares)
    people = {uid: person(uid) for uid in USERS}
    return dataclasses.replace(Situation(START, board, people=people), **more)  # type: ignore[arg-type]  # the test's


def fill(situation: Situation, count: int) -> Situation:
    """Return the situation after as many newcomers were granted one after the other."""
    for number in range(count):
        grant = plan_grant(situation, waits(f"f{number}", USERS[number % 3]))
        made = dataclasses.replace(allocation_of(grant, f"f{number}", START), state=AllocationState.ACTIVE)
        situation = dataclasses.replace(situation, allocations=(*situation.allocations, made))
    return situation


@pytest.mark.parametrize("shares", [2, 3, 7])
@pytest.mark.parametrize("profiles", [(), ("1g.5gb", "2g.10gb")])
def test_n_containers_share_a_device_and_the_next_is_refused(shares: int, profiles: tuple[str, ...]) -> None:
    devices = max(len(profiles), 1)
    full = fill(world(shares, profiles=profiles), shares * devices)
    assert {grant.shares for grant in full.allocations} == {shares}
    with pytest.raises(NoCapacityError):
        plan_grant(full, waits("next"))


@pytest.mark.parametrize("shares", [1, 2, 4])
def test_a_share_weighs_its_part(shares: int) -> None:
    full = fill(world(shares), shares)
    assert sum(grant.gpu_equivalents for grant in full.allocations) == pytest.approx(1.0)
    assert full.allocations[0].gpu_equivalents == pytest.approx(1 / shares)


def test_a_quota_of_half_a_gpu_allows_half_a_gpu() -> None:
    half = {**{uid: person(uid) for uid in USERS}, ALICE: person(ALICE, max_gpu_equivalents=0.5)}
    assert plan_grant(world(2, people=half), waits("a")).equivalents == 0.5
    with pytest.raises(Ds01Error, match=r"0 of 0\.5 gpu-equivalents"):
        plan_grant(world(2, people=half), waits("a", is_exclusive=True))


@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 5), st.integers(1, 2))
def test_who_wants_devices_alone_gets_only_those_that_nobody_shares(
    shares: int, cards: int, sharers: int, count: int
) -> None:
    situation = fill(world(shares, cards=cards), min(sharers, shares * cards))
    shared = {uuid for grant in situation.allocations for uuid in grant.gpu_uuids}
    try:
        grant = plan_grant(situation, waits("x", request=GpuRequest(count), is_exclusive=True))
    except Ds01Error:
        assert cards - len(shared) < count
        return
    assert not shared & {taken.position.gpu_uuid for taken in grant.positions}
    assert grant.equivalents == count
    held = dataclasses.replace(situation, allocations=(*situation.allocations, allocation_of(grant, "x", START)))
    for number in range(shares * cards):
        try:
            other = plan_grant(held, waits(f"s{number}", BOB))
        except NoCapacityError:
            break
        assert other.positions[0].position.gpu_uuid not in {taken.position.gpu_uuid for taken in grant.positions}
        held = dataclasses.replace(held, allocations=(*held.allocations, allocation_of(other, f"s{number}", START)))


def test_a_reservation_keeps_whole_devices_and_who_starts_in_it_shares_nothing() -> None:
    kept = Reservation("r1", "exam", CAROL, None, GpuRequest(1), START - HOUR, START + HOUR, "", 0, START - HOUR)
    situation = world(2, cards=2, reservations=(kept,))
    full = fill(situation, 2)
    assert len({grant.gpu_uuids for grant in full.allocations}) == 1, "the other device is kept whole"
    with pytest.raises(NoCapacityError):
        plan_grant(full, waits("next"))
    inside = plan_grant(full, waits("in", CAROL, reservation="r1"))
    assert inside.positions[0].position.shares == 1
    assert inside.equivalents == 1.0
    assert (inside.positions[0].position.gpu_uuid,) != full.allocations[0].gpu_uuids


def test_a_reservation_that_comes_waits_for_a_shared_device_to_be_whole() -> None:
    """Shares that end in time may run on what is kept later; one that does not end may not."""
    kept = Reservation("r1", "exam", CAROL, None, GpuRequest(1), START + HOUR, START + 2 * HOUR, "", 0, START)
    situation = world(3, reservations=(kept,))
    assert plan_grant(situation, waits("short", time_limit=HOUR / 2))
    with pytest.raises(NoCapacityError):
        plan_grant(situation, waits("long"))


async def keep(store: MemoryStore, grant: Allocation) -> None:
    await store.write(lambda transaction: transaction.save_allocation(grant))


@given(st.integers(1, 5), st.lists(st.integers(2, 5), min_size=1, max_size=5), st.booleans())
async def test_the_planner_grants_what_the_store_takes_also_after_the_site_divides_otherwise(
    shares: int, held: list[int], is_queued: bool
) -> None:
    """`max_containers_per_gpu` changes while shares of the old size are held."""
    store = MemoryStore()
    situation = world(shares)
    device = situation.board.cards[0].uuid
    first = waits("0")
    allocations = []
    for number, parts in enumerate(held):
        grant = allocation_of(plan_grant(world(2), first), f"h{number}", START)
        grant = dataclasses.replace(grant, shares=parts, gpu_equivalents=1 / parts, gpu_uuids=(device,))
        try:
            await keep(store, grant)
        except Ds01Error:
            continue
        allocations.append(grant)
    situation = dataclasses.replace(situation, allocations=tuple(allocations))
    asked = tuple(waits(f"q{number}", BOB, queued_at=START) for number in range(6))
    granted = []
    if is_queued:
        granted = [
            allocation_of(grant, grant.waiting.id, START)
            for grant in plan_pass(dataclasses.replace(situation, waiting=asked)).grants
        ]
    for number in range(0 if is_queued else 6):
        try:
            grant = allocation_of(plan_grant(situation, asked[number]), f"n{number}", START)
        except NoCapacityError:
            break
        granted.append(grant)
        situation = dataclasses.replace(situation, allocations=(*situation.allocations, grant))
    for grant in granted:
        await keep(store, grant)
    most = min([shares, *(grant.shares for grant in allocations)])
    assert len(allocations) + len(granted) == max(most, len(allocations)) if shares > 1 else not granted


def test_a_device_that_is_too_full_for_the_new_division_is_full() -> None:
    crowded = fill(world(3), 3)
    now_two = dataclasses.replace(crowded, board=board_of(machine(a100(0)), shares=2))
    assert taken_of(now_two.board, now_two.allocations) == (0b11,)
    with pytest.raises(NoCapacityError):
        plan_grant(now_two, waits("next"))
