"""Moments to come: every way to write one, days on which clocks change, and what is refused."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from ds01.api.moment import parse_coming_moment, parse_time_limit
from ds01.errors import InvalidRequestError

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 18, 14, 30, tzinfo=BERLIN)  # a Wednesday


def parse(text: str, now: datetime = NOW) -> datetime:
    return parse_coming_moment(text, "--from", now=now, zone=BERLIN)


def local(text: str, now: datetime = NOW) -> str:
    return parse(text, now).astimezone(BERLIN).isoformat(timespec="minutes")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("18:00", "2026-11-18T18:00+01:00"),
        ("9:05", "2026-11-19T09:05+01:00"),
        ("14:30", "2026-11-19T14:30+01:00"),
        ("today 18:00", "2026-11-18T18:00+01:00"),
        ("today 09:00", "2026-11-18T09:00+01:00"),
        ("Tomorrow  09:00", "2026-11-19T09:00+01:00"),
        ("tomorrow at 09:00", "2026-11-19T09:00+01:00"),
        ("wed 18:00", "2026-11-18T18:00+01:00"),
        ("wed 09:00", "2026-11-25T09:00+01:00"),
        ("mon 09:00", "2026-11-23T09:00+01:00"),
        ("Thursday 09:00", "2026-11-19T09:00+01:00"),
        ("2026-12-01 09:00", "2026-12-01T09:00+01:00"),
        ("2026-12-01T09:00", "2026-12-01T09:00+01:00"),
        ("2026-12-01", "2026-12-01T00:00+01:00"),
        ("2026-07-01 09:00", "2026-07-01T09:00+02:00"),
        ("2026-12-01T09:00Z", "2026-12-01T10:00+01:00"),
        ("2026-12-01T09:00-05:00", "2026-12-01T15:00+01:00"),
        ("in 2h", "2026-11-18T16:30+01:00"),
        ("+90m", "2026-11-18T16:00+01:00"),
        ("now", "2026-11-18T14:30+01:00"),
    ],
)
def test_a_moment_can_be_written_in_every_usual_way(text: str, wanted: str) -> None:
    assert local(text) == wanted
    assert parse(text).tzinfo is UTC


NO_MOMENTS = (
    *("", " ", "8", "25:00", "18:60", "18:00:61", "noon", "tomorrow", "someday 09:00", "mo 9:00", "9", "2026-13-01"),
    *("2026-02-30 10:00", "18h", "in", "in 5", "in minus 5m", "2026-12-01 9:00 or later", "x" * 500, "9999-12-31"),
    *("18:00+", "0001-01-01T00:00+14:00", "tomorrow 9", "\x1b[2J"),
)


@pytest.mark.parametrize("text", NO_MOMENTS)
def test_what_is_no_moment_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parse(text)
    assert "--from" in refusal.value.message or "duration" in refusal.value.message
    assert refusal.value.hint


@pytest.mark.parametrize("text", ["2026-03-29 02:30", "02:30", "sun 02:00", "tomorrow 02:59"])
def test_a_time_that_the_clocks_skip_is_refused_and_the_next_one_named(text: str) -> None:
    now = datetime(2026, 3, 28, 12, 0, tzinfo=BERLIN)
    with pytest.raises(InvalidRequestError, match="the clocks go forward") as refusal:
        parse(text, now)
    assert "'2026-03-29 03:" in str(refusal.value.hint)
    assert local(str(refusal.value.hint).split("'")[1], now).endswith("+02:00")


def test_a_time_that_comes_twice_is_refused_and_both_are_named() -> None:
    now = datetime(2026, 10, 24, 12, 0, tzinfo=BERLIN)
    with pytest.raises(InvalidRequestError, match="comes twice") as refusal:
        parse("2026-10-25 02:30", now)
    hint = str(refusal.value.hint)
    first, second = hint.removeprefix("Say which one: ").split(" or ")
    assert (first, second) == ("2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00")
    assert parse(second, now) - parse(first, now) == timedelta(hours=1)


def test_of_two_the_one_that_is_still_to_come_is_meant() -> None:
    between = datetime(2026, 10, 25, 2, 45, tzinfo=BERLIN, fold=0)
    assert local("02:30", between) == "2026-10-25T02:30+01:00"
    assert local("2026-10-25 02:30", between) == "2026-10-25T02:30+01:00"
    after = datetime(2026, 10, 25, 2, 45, tzinfo=BERLIN, fold=1)
    assert local("02:30", after) == "2026-10-26T02:30+01:00"
    with pytest.raises(InvalidRequestError, match="comes twice"):
        parse("2026-10-25 02:30", after + timedelta(hours=1))


def test_the_hours_around_a_change_are_right() -> None:
    before = datetime(2026, 3, 28, 23, 0, tzinfo=BERLIN)
    assert parse("01:59", before) == datetime(2026, 3, 29, 0, 59, tzinfo=UTC)
    assert parse("03:00", before) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert parse("in 6h", before) == datetime(2026, 3, 29, 4, 0, tzinfo=UTC)


BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
MINUTES = st.integers(0, 5 * 365 * 24 * 60).map(lambda minutes: BEGIN + timedelta(minutes=minutes))


@given(wall=MINUTES, now=MINUTES)
def test_what_is_read_shows_the_clock_that_was_written(wall: datetime, now: datetime) -> None:
    try:
        moment = parse(f"{wall:%Y-%m-%d %H:%M}", now)
    except InvalidRequestError:
        assert (wall.month in {3, 10}, wall.hour) == (True, 2)
        return
    assert f"{moment.astimezone(BERLIN):%Y-%m-%d %H:%M}" == f"{wall:%Y-%m-%d %H:%M}"


@given(now=MINUTES, hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_a_clock_time_is_within_the_next_day_and_never_past(now: datetime, hour: int, minute: int) -> None:
    try:
        moment = parse(f"{hour}:{minute:02}", now)
    except InvalidRequestError:
        assert hour == 2
        return
    assert timedelta() < moment - now <= timedelta(hours=25)
    shown = moment.astimezone(BERLIN)
    assert (shown.hour, shown.minute) == (hour, minute)


@given(text=st.text(max_size=30))
def test_whatever_is_typed_is_a_moment_or_a_refusal(text: str) -> None:
    try:
        found: object = parse(text).tzinfo
    except InvalidRequestError as refusal:
        found = refusal.hint
    assert found is UTC or isinstance(found, str)


@pytest.mark.parametrize(
    ("text", "hours"), [("8h", 8.0), ("90m", 1.5), ("until 18:00", 3.5), ("UNTIL tomorrow 14:30", 24.0)]
)
def test_a_time_limit_is_a_length_or_an_end(text: str, hours: float) -> None:
    assert parse_time_limit(text, "--time", now=NOW, zone=BERLIN) == timedelta(hours=hours)


@pytest.mark.parametrize(
    "text", ["8", "0h", "until", "until today 09:00", "until yesterday", "-8h", "until now", "100000d"]
)
def test_a_time_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parse_time_limit(text, "--time", now=NOW, zone=BERLIN)
    assert refusal.value.hint
