"""The small decisions around the queue: use that fades, places from an administrator, windows that come and go."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import assume, given, strategies as st

from ds01.domain.request import GpuRequest
from ds01.domain.rules.consumption import Consumption, add_use, used_at, used_between
from ds01.domain.rules.policy import Policy, UserOverride
from ds01.domain.rules.site import Reservation as PolicyReservation
from ds01.domain.scheduling.board import Board
from ds01.domain.scheduling.queue import Purpose, QueueEntry, QueueState, put_back
from ds01.domain.scheduling.queue_move import Place, plan_move
from ds01.domain.scheduling.queue_order import order_of
from ds01.domain.scheduling.reservation import Reservation, ReservationState
from ds01.domain.scheduling.reservation_life import (
    due_changes,
    fits_inside,
    in_force,
    merged,
    next_change_at,
    policy_reservations,
)
from ds01.domain.scheduling.situation import Situation
from ds01.domain.scheduling.waiting import Waiting

NOW = datetime(2027, 3, 28, 0, 30, tzinfo=UTC)  # the night in which summer time begins
HOUR = timedelta(hours=1)
HOURS = st.integers(0, 400).map(lambda number: number * HOUR)
HALF_LIVES = st.integers(1, 400).map(lambda number: number * HOUR)


@given(st.floats(0.01, 8), HOURS, HOURS, HOURS, HALF_LIVES)
def test_use_that_is_counted_in_parts_is_the_use_of_the_whole(
    weight: float, first: timedelta, second: timedelta, later: timedelta, half_life: timedelta
) -> None:
    middle, end = NOW + first, NOW + first + second
    at = end + later
    whole = used_between(weight, NOW, end, at, half_life)
    parts = used_between(weight, NOW, middle, at, half_life) + used_between(weight, middle, end, at, half_life)
    assert abs(whole - parts) <= 1e-6 * max(whole, 1)
    assert 0 <= whole <= weight * (end - NOW).total_seconds() + 1e-6


@given(st.lists(st.tuples(st.floats(0.1, 4), HOURS, HOURS), max_size=5), HALF_LIVES)
def test_releases_add_up_whatever_their_order(
    grants: list[tuple[float, timedelta, timedelta]], half_life: timedelta
) -> None:
    account = Consumption(1001, "lab", 0.0, NOW)
    for weight, begin, length in grants:
        account = add_use(account, weight, NOW + begin, NOW + begin + length, half_life)
    expected = sum(
        used_between(weight, NOW + begin, NOW + begin + length, account.at, half_life)
        for weight, begin, length in grants
    )
    assert abs(account.used_s - expected) <= 1e-6 * max(expected, 1)


def test_after_a_half_life_use_counts_half_and_a_clock_that_went_back_adds_nothing() -> None:
    account = Consumption(1001, "lab", 100.0, NOW)
    assert used_at(account, NOW + HOUR, HOUR) == 50.0
    assert used_at(account, NOW - HOUR, HOUR) == 100.0
    assert add_use(account, 1.0, NOW, NOW - HOUR, HOUR).used_s == 100.0
    assert used_between(1.0, NOW, NOW + HOUR, NOW, timedelta(0)) == 0.0


def request(number: int, *, promised: int | None = None, moved: int | None = None, priority: int = 1) -> Waiting:
    return Waiting(
        f"{number:016x}",
        1000 + number,
        "lab",
        f"c{number}",
        GpuRequest(),
        priority,
        None,
        NOW - (100 - number) * HOUR,
        promised_at=NOW + promised * HOUR if promised is not None else None,
        moved_to=moved,
    )


CROWDS = st.lists(
    st.tuples(st.none() | st.integers(1, 5), st.none() | st.integers(0, 5), st.integers(0, 100)),
    min_size=1,
    max_size=6,
).map(
    lambda found: [
        request(number, promised=promised, moved=moved, priority=priority)
        for number, (promised, moved, priority) in enumerate(found)
    ]
)


def ordered(crowd: list[Waiting]) -> list[str]:
    return [found.id for found in order_of(Situation(NOW, Board(()), waiting=tuple(crowd)))]


@given(CROWDS, st.integers(0, 5), st.sampled_from(Place), st.integers(0, 5))
def test_who_is_moved_is_where_it_was_moved_to_and_the_others_keep_their_order(
    crowd: list[Waiting], which: int, place: Place, before: int
) -> None:
    order = order_of(Situation(NOW, Board(()), waiting=tuple(crowd)))
    moving = order[which % len(order)]
    others = [found for found in order if found.id != moving.id]
    assume(place is not Place.BEFORE or others)
    target = others[before % len(others)].id if place is Place.BEFORE else None
    changed = {found.id: found for found in plan_move(order, moving.id, place, before_id=target)}
    after = ordered([changed.get(found.id, found) for found in crowd])
    wanted = [found.id for found in others]
    index = {Place.FIRST: 0, Place.LAST: len(wanted), Place.BEFORE: 0}[place]
    if target is not None:
        index = wanted.index(target)
    ahead = set(wanted[:index])
    assert set(after[: after.index(moving.id)]) == ahead, "exactly those ahead of the new place are ahead"
    behind = [found.id for found in order if found.id in set(wanted[index:])]
    lost = {found for found in behind if changed.get(found) is not None and changed[found].promised_at is None}
    kept = [found.id for found in order if found.id in ahead]
    assert [found for found in after if found in ahead] == kept
    promised = {found.id for found in order if found.promised_at is not None}
    assert promised & set(behind) <= lost, "a promise behind it ends"


@given(st.integers(0, 3))
def test_a_request_that_is_put_back_keeps_its_place_and_backs_off(attempts: int) -> None:
    entry = QueueEntry(
        request(1, promised=2), Purpose.CREATE, "{}", QueueState.GRANTED, NOW, allocation_id="a1", attempts=attempts
    )
    again = put_back(entry, "the daemon ended", NOW)
    assert (again.state, again.allocation_id, again.waiting) == (QueueState.WAITING, None, entry.waiting)
    later = put_back(entry, "the engine failed", NOW, is_tried_again_later=True)
    assert later.waiting.queued_at == entry.waiting.queued_at
    assert later.waiting.not_before is not None
    assert later.waiting.not_before > NOW
    assert later.attempts == attempts + 1


def window(start: int, end: int, state: ReservationState = ReservationState.PLANNED) -> Reservation:
    return Reservation(
        f"r{start}",
        f"r{start}",
        1001,
        None,
        GpuRequest(1, "full"),
        NOW + start * HOUR,
        NOW + end * HOUR,
        "",
        0,
        NOW,
        state,
    )


WINDOWS = st.lists(
    st.builds(
        lambda start, length, state: window(start, start + length, state),
        st.integers(-9, 9),
        st.integers(1, 9),
        st.sampled_from(ReservationState),
    ),
    max_size=5,
    unique_by=lambda found: found.id,
)


@given(WINDOWS, st.integers(-12, 20), st.booleans())
def test_a_reservation_goes_on_once_and_says_when_again(windows: list[Reservation], hour: int, is_used: bool) -> None:
    now, no_show = NOW + hour * HOUR, timedelta(minutes=30)
    changed = {found.id: found for found in due_changes(windows, lambda _id: is_used, now, no_show)}
    after = [changed.get(found.id, found) for found in windows]
    assert due_changes(after, lambda _id: is_used, now, no_show) == [], "twice changes nothing"
    for before, found in zip(windows, after, strict=True):
        assert not before.state.is_over or found is before, "what is over stays over"
        assert not is_used or found.state is not ReservationState.NO_SHOW or before.state.is_over
    next_at = next_change_at(after, now, no_show)
    assert next_at is None or next_at > now
    for found in in_force(after, now):
        assert found.end_at > now
        assert (found.state is ReservationState.ACTIVE) == (found.start_at <= now)


def test_the_policys_windows_are_remembered_by_their_times() -> None:
    first = PolicyReservation(2, NOW, NOW + HOUR, "full", "a course")
    policy = Policy(
        overrides={
            "alice": UserOverride(reservation=first),
            "nobody": UserOverride(reservation=first),
            "uid:7": UserOverride(reservation=replace(first, gpus=0)),
        },
        uids={"alice": 1001},
    )
    [found] = policy_reservations(policy)
    assert (found.id, found.uid, found.request) == ("policy-uid1001", 1001, GpuRequest(2, "full"))
    over = replace(found, state=ReservationState.NO_SHOW)
    assert merged([over], [found]) == [over]
    moved = replace(found, end_at=found.end_at + HOUR)
    assert merged([over], [moved]) == [moved], "another window begins anew"
    assert merged([over], []) == []


def test_a_request_fits_inside_a_reservation_that_keeps_as_much_of_its_kind() -> None:
    kept = replace(window(0, 1), request=GpuRequest(2, "full"))
    assert fits_inside(kept, GpuRequest(2, "full"))
    assert fits_inside(kept, GpuRequest(1, "any"))
    assert fits_inside(replace(kept, request=GpuRequest(1, "any")), GpuRequest(1, "1g.5gb"))
    for other in (GpuRequest(3, "full"), GpuRequest(1, "mig"), GpuRequest(0)):
        assert not fits_inside(kept, other)
    small = replace(kept, request=GpuRequest(1, "full", 20))
    assert fits_inside(small, GpuRequest(1, "full", 20))
    assert not fits_inside(small, GpuRequest(1, "full", 21))
