"""Why a request waits: every cause, and what would help, tried in the planner."""

import dataclasses

from hypothesis import given, note, settings, strategies as st

from ds01.domain.reasons.explanation import Counterfactual, Explanation, Way
from ds01.domain.reasons.why import explain, explain_gpu
from ds01.domain.reasons.why_text import (
    Viewer,
    cause_text,
    counterfactual_options,
    counterfactual_text,
    gpu_text,
    kind_of,
)
from ds01.domain.scheduling.schedule import plan_grant, plan_pass
from ds01.domain.scheduling.situation import Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import Ds01Error
from tests.unit.domain.machines import ALICE
from tests.unit.domain.situations import situations

ADMIN = Viewer(
    ALICE, is_admin=True, show_holders="users", name_of=lambda uid: {1001: "alice", 1002: "bob"}.get(uid, "carol")
)


def is_granted(situation: Situation, id_: str) -> bool:
    return any(grant.waiting.id == id_ for grant in plan_pass(situation).grants)


def do(situation: Situation, asked: Waiting, found: Counterfactual, *, is_queued: bool) -> bool:
    """Do what a counterfactual says, and tell whether the request is granted then."""
    if found.way is Way.GIVE_BACK:
        left = tuple(grant for grant in situation.allocations if grant.id not in found.given_back)
        situation = dataclasses.replace(situation, allocations=left)
        if is_queued:
            return is_granted(situation, asked.id)
    if found.way is not Way.GIVE_BACK:
        others = tuple(other for other in situation.waiting if other.id != asked.id)
        situation = dataclasses.replace(situation, waiting=others)
    try:
        return plan_grant(situation, found.waiting) is not None
    except Ds01Error as refusal:
        note(f"{found.way}: {refusal}")
        return False


@settings(max_examples=200, deadline=None)
@given(situations(), st.data())
def test_a_request_is_granted_or_has_a_cause_and_what_would_help_does_help(
    situation: Situation, data: st.DataObject
) -> None:
    asked = data.draw(st.sampled_from(situation.waiting))
    found = explain(situation, asked.id)
    check(situation, asked, found, is_queued=True)
    assert (found.grant is not None) == is_granted(situation, asked.id)


@settings(max_examples=200, deadline=None)
@given(situations(), st.data())
def test_a_newcomer_is_granted_or_has_a_cause_and_what_would_help_does_help(
    situation: Situation, data: st.DataObject
) -> None:
    asked = dataclasses.replace(data.draw(st.sampled_from(situation.waiting)), promised_at=None)
    others = tuple(other for other in situation.waiting if other.id != asked.id)
    situation = dataclasses.replace(situation, waiting=others)
    found = explain(situation, asked)
    check(situation, asked, found, is_queued=False)


def check(situation: Situation, asked: Waiting, found: Explanation, *, is_queued: bool) -> None:
    note(str(found.causes))
    assert (found.grant is None) == bool(found.causes)
    for cause in found.causes:
        assert kind_of(cause)
        assert cause_text(cause, ADMIN)
    for help_ in found.counterfactuals:
        assert counterfactual_text(help_, asked, ADMIN)
        assert (counterfactual_options(help_, "exam") != []) == (help_.way not in {Way.GIVE_BACK, Way.WAIT})
        if help_.way is not Way.WAIT:
            assert do(situation, asked, help_, is_queued=is_queued), help_


@settings(max_examples=100, deadline=None)
@given(situations())
def test_a_device_that_can_be_granted_has_no_reason_and_any_other_has_one(situation: Situation) -> None:
    for card in situation.board.cards:
        for uuid in (card.uuid, *(uuid for uuid, _ in card.instances)):
            found = explain_gpu(situation, uuid)
            said = gpu_text(found, ADMIN)
            assert found.is_free or said
            is_cut = uuid == card.uuid and card.instances
            if found.shares == 1 and not is_cut:
                assert not (found.is_free and said)
