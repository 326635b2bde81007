"""The life of a grant."""

import dataclasses
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from ds01.domain.allocation import Allocation, AllocationState, move_allocation
from ds01.domain.request import GpuRequest
from ds01.errors import ConflictError
from tests.unit.domain.machines import ALICE, START, at

CLAIMED = Allocation(
    id="0011223344556677",
    uid=ALICE,
    container_name="pt",
    request=GpuRequest(),
    gpu_uuids=("GPU-0",),
    gpu_equivalents=1.0,
    state=AllocationState.CLAIMED,
    claimed_at=START,
    changed_at=START,
    deadline_at=at(2),
)
STATES = list(AllocationState)
STEPS = {
    ("claimed", "active"),
    ("claimed", "released"),
    ("active", "held"),
    ("active", "released"),
    ("held", "active"),
    ("held", "released"),
}


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_only_the_steps_of_the_drawing_exist(before: AllocationState, after: AllocationState) -> None:
    present = dataclasses.replace(CLAIMED, state=before)
    if before is after:
        assert move_allocation(present, after, at(5)) is present
    elif (before.value, after.value) in STEPS:
        moved = move_allocation(present, after, at(5))
        assert (moved.state, moved.changed_at, moved.claimed_at) == (after, at(5), START)
    else:
        with pytest.raises(ConflictError, match="pt"):
            move_allocation(present, after, at(5))


def test_a_claim_without_a_container_is_expired_at_its_deadline() -> None:
    assert not CLAIMED.is_expired(at(1.9))
    assert CLAIMED.is_expired(at(2))


def test_activation_ends_the_deadline() -> None:
    active = move_allocation(CLAIMED, AllocationState.ACTIVE, at(1))
    assert active.deadline_at is None
    assert not active.is_expired(at(10**6))


def test_a_hold_of_0_is_over_at_once_and_a_hold_of_none_never() -> None:
    active = move_allocation(CLAIMED, AllocationState.ACTIVE, at(1))
    assert move_allocation(active, AllocationState.HELD, at(2), hold=timedelta(0)).is_expired(at(2))
    assert not move_allocation(active, AllocationState.HELD, at(2)).is_expired(at(10**6))


def test_only_a_released_grant_holds_nothing() -> None:
    holding = {state for state in STATES if dataclasses.replace(CLAIMED, state=state).is_holding}
    assert holding == set(STATES) - {AllocationState.RELEASED}
    assert not dataclasses.replace(CLAIMED, state=AllocationState.RELEASED).is_expired(at(100))


@given(st.lists(st.sampled_from(STATES), max_size=12))
def test_nothing_leads_out_of_released(states: list[AllocationState]) -> None:
    present = CLAIMED
    released = False
    for minute, state in enumerate(states):
        try:
            present = move_allocation(present, state, at(minute))
        except ConflictError:
            continue
        released = released or state is AllocationState.RELEASED
        assert not (released and present.is_holding)
