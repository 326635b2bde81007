"""A grant found without a pass is the very grant that a whole pass gives."""

from dataclasses import replace

from hypothesis import given, settings, strategies as st

from ds01.domain.scheduling.at_once import grant_at_once
from ds01.domain.scheduling.occupancy import ForeignContainer
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.schedule import grant_by_pass, plan_grant, require_possible
from ds01.domain.scheduling.situation import Grant, Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import Ds01Error
from tests.unit.domain.situations import allocation_of, situations


def _by_pass(situation: Situation, newcomer: Waiting) -> Grant | str:
    try:
        require_possible(situation, newcomer)
        return grant_by_pass(situation, newcomer)
    except Ds01Error as error:
        return f"{type(error).__name__}: {error.message}"


def _planned(situation: Situation, newcomer: Waiting) -> Grant | str:
    try:
        return plan_grant(situation, newcomer)
    except Ds01Error as error:
        return f"{type(error).__name__}: {error.message}"


def _alone(situation: Situation, reservations: tuple[Reservation, ...] = ()) -> tuple[Situation, Waiting]:
    """Return the situation without those who wait, and one of them as a newcomer."""
    newcomer = replace(situation.waiting[0], promised_at=None, reservation=None)
    return replace(situation, waiting=(), reservations=reservations), newcomer


@settings(max_examples=200, deadline=None)
@given(situations())
def test_who_comes_alone_gets_the_same_grant_or_the_same_refusal_as_from_a_whole_pass(situation: Situation) -> None:
    alone, newcomer = _alone(situation)
    first = _planned(alone, newcomer)
    assert first == _by_pass(alone, newcomer)
    if isinstance(first, Grant) and any(taken.position.gpu_uuid for taken in first.positions):
        # and the same once somebody past us, or one of ours, has just that
        uuids = [taken.position.gpu_uuid for taken in first.positions if taken.position.gpu_uuid]
        stranger = ForeignContainer("stranger", newcomer.uid, frozenset(uuids), alone.now)
        behind = replace(alone, foreign=(*alone.foreign, stranger))
        assert _planned(behind, newcomer) == _by_pass(behind, newcomer)
        behind = replace(alone, allocations=(*alone.allocations, allocation_of(first, "before", alone.now)))
        assert _planned(behind, newcomer) == _by_pass(behind, newcomer)


@settings(max_examples=100, deadline=None)
@given(situations(), st.booleans())
def test_beside_others_who_wait_or_reservations_nothing_is_decided_without_a_pass(
    situation: Situation, keeps_waiting: bool
) -> None:
    alone, newcomer = _alone(situation, () if keeps_waiting else situation.reservations)
    crowded = replace(alone, waiting=situation.waiting[1:] if keeps_waiting else ())
    if crowded.waiting or crowded.reservations:
        assert grant_at_once(crowded, newcomer) is None
    assert _planned(crowded, newcomer) == _by_pass(crowded, newcomer)
