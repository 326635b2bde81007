"""Any queue on any empty machine: who is not started does not fit, and the telling changes nothing."""

import dataclasses
from itertools import combinations, permutations

from hypothesis import given, settings, strategies as st

from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.board import Board, taken_of
from ds01.domain.scheduling.schedule import estimate_starts, plan_pass
from ds01.domain.scheduling.waiting import Waiting
from tests.unit.domain.machines import ALICE, BOB
from tests.unit.domain.play import boards
from tests.unit.domain.scenes import keep, want, world

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
