"""Whatever happens on a machine: nothing is granted twice, no quota is exceeded, every promise is kept."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, given, settings, strategies as st

from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.board import Board
from ds01.domain.scheduling.queue_pass import QueuePass
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.situation import GroupRules
from tests.unit.domain.machines import ALICE, BOB, CAROL
from tests.unit.domain.play import Play, boards, holds_apart, person, waiting

UIDS = st.sampled_from([ALICE, BOB, CAROL])
KINDS = st.sampled_from(["any", "any", "full", "mig", "1g.5gb", "2g.10gb", "7g.40gb", "a100"])
REQUESTS = st.builds(GpuRequest, st.sampled_from([0, 1, 1, 1, 2, 3]), KINDS)
LENGTHS = st.sampled_from([None, 10, 30, 30, 60, 120, 240])
ARRIVE = st.tuples(st.just("arrive"), UIDS, REQUESTS, LENGTHS, st.integers(0, 100), st.booleans())
END = st.tuples(st.just("end"), st.integers(0, 9))
CANCEL = st.tuples(st.just("cancel"), st.integers(0, 9))
ADVANCE = st.tuples(st.just("advance"), st.sampled_from([1, 5, 30, 60, 150]))
RESERVE = st.tuples(
    st.just("reserve"), UIDS, st.builds(GpuRequest, st.integers(1, 2), KINDS), st.integers(0, 120), st.integers(10, 200)
)
INSIDE = st.tuples(st.just("inside"), st.integers(0, 3), LENGTHS)
STEPS = st.lists(ARRIVE | ARRIVE | ARRIVE | END | CANCEL | ADVANCE | RESERVE | INSIDE, min_size=8, max_size=40)
PEOPLE = st.fixed_dictionaries(
    {
        ALICE: st.builds(
            person,
            st.just(ALICE),
            max_gpus=st.none() | st.integers(1, 4),
            max_gpu_equivalents=st.none() | st.sampled_from([2 / 7, 1.0, 2.0]),
            gpu_preference=st.sampled_from(["any", "full", "mig"]),
        ),
        BOB: st.just(person(BOB)),
        CAROL: st.builds(person, st.just(CAROL), allow_full_gpu=st.booleans()),
    }
)
GROUPS = st.sampled_from([{}, {"student": GroupRules(max_gpus=3)}, {"student": GroupRules(max_gpu_equivalents=2.0)}])


def arrive(play: Play, number: int, step: tuple[object, ...]) -> None:
    _, uid, request, minutes, priority, is_exclusive = step
    assert isinstance(uid, int)
    assert isinstance(request, GpuRequest)
    limit = timedelta(minutes=minutes) if isinstance(minutes, int) else None
    newcomer = waiting(number, uid, request, play.now, priority=priority, time_limit=limit, is_exclusive=is_exclusive)
    play.waiting[newcomer.id] = newcomer


def reserve(play: Play, number: int, step: tuple[object, ...]) -> None:
    """Reserve where everything else can still be kept; what an administrator forces is another story."""
    _, uid, request, start, length = step
    assert isinstance(uid, int)
    assert isinstance(request, GpuRequest)
    assert isinstance(start, int)
    assert isinstance(length, int)
    begin = play.now + timedelta(minutes=start)
    end = begin + timedelta(minutes=length)
    wanted = Reservation(f"{number:016x}", f"r{number}", uid, None, request, begin, end, "test", None, play.now)
    before = play.reservations
    play.reservations = (*before, wanted)
    worker = QueuePass(play.situation())
    worker.run()
    if worker.kept.short or worker.kept.broken:
        play.reservations = before


def inside(play: Play, number: int, step: tuple[object, ...]) -> None:
    _, choice, minutes = step
    assert isinstance(choice, int)
    if play.reservations:
        kept = play.reservations[choice % len(play.reservations)]
        assert kept.uid is not None
        limit = timedelta(minutes=minutes) if isinstance(minutes, int) else None
        request = replace(kept.request, count=1)
        newcomer = waiting(number, kept.uid, request, play.now, time_limit=limit, reservation=kept.id)
        play.waiting[newcomer.id] = newcomer


def do(play: Play, number: int, step: tuple[object, ...]) -> None:
    name, choice = step[0], step[1]
    if name == "arrive":
        arrive(play, number, step)
    elif name == "reserve":
        reserve(play, number, step)
    elif name == "inside":
        inside(play, number, step)
    elif name == "advance" and isinstance(choice, int):
        play.advance(play.now + timedelta(minutes=choice))
    elif name == "end" and play.running and isinstance(choice, int):
        play.release(sorted(play.running)[choice % len(play.running)])
    elif name == "cancel" and play.waiting and isinstance(choice, int):
        del play.waiting[sorted(play.waiting)[choice % len(play.waiting)]]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(boards(), PEOPLE, GROUPS, STEPS, st.sampled_from([0, 1, 2]), st.sampled_from([0, 48]))
def test_whatever_comes_nothing_is_granted_twice_and_every_promise_is_kept(
    board: Board,
    people: dict[int, object],
    groups: dict[str, GroupRules],
    steps: list[tuple[object, ...]],
    late: int,
    guard: int,
) -> None:
    play = Play(board, people, groups, lateness=timedelta(minutes=late), age_guard=timedelta(hours=guard))  # type: ignore[arg-type]  # of the strategy
    for number, step in enumerate(steps):
        do(play, number + 1, step)
        worker = QueuePass(play.situation())
        worker.run()
        assert worker.kept.short == {}, "a reservation cannot be kept"
        play.run_pass()
        again = play.run_pass()
        assert again.grants == (), "a second pass at the same moment finds what the first left"
        assert holds_apart(board, list(play.running.values()))
    play.reservations = ()
    for id_ in sorted(play.running):
        play.release(id_)
    play.advance(play.now + timedelta(days=3))
