"""The engine's times."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies as st

from ds01.adapters.docker.moment import format_cursor, moment_of_nanoseconds, parse_moment

MOMENTS = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
OFFSETS = st.integers(min_value=-23 * 60, max_value=23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T23:21:03.513365599Z", datetime(2026, 11, 21, 23, 21, 3, 513365, UTC)),
        ("2026-11-21T23:21:03Z", datetime(2026, 11, 21, 23, 21, 3, 0, UTC)),
        ("2026-11-21T23:21:03.5Z", datetime(2026, 11, 21, 23, 21, 3, 500000, UTC)),
        ("2026-11-21T23:21:03.9999999Z", datetime(2026, 11, 21, 23, 21, 3, 999999, UTC)),
        ("2026-11-21T23:21:03.5+01:30", datetime(2026, 11, 21, 21, 51, 3, 500000, UTC)),
        ("2026-11-21T23:21:03-05:00", datetime(2026, 11, 22, 4, 21, 3, 0, UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+01:00", None),
    ],
)
def test_a_time_of_the_engine_is_read(text: str, moment: datetime | None) -> None:
    assert parse_moment(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-21",
        "2026-11-21 23:21:03Z",
        "2026-11-21T23:21:03",
        "2026-11-21T23:21:03.Z",
        "2026-11-21T23:21:03.1234567890Z",
        "2026-13-21T23:21:03Z",
        "2026-02-29T23:21:03Z",
        "2026-11-21T24:21:03Z",
        "2026-11-21T23:21:60Z",
        "2026-11-21T23:21:03+99:00",
        "9999-12-31T23:59:59-12:00",
        "２026-11-21T23:21:03Z",
        "2026-11-21T23:21:03Z\n",
    ],
)
def test_what_is_not_a_time_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_moment(text)


@given(moment=MOMENTS, nanoseconds=st.integers(0, 999), offset=OFFSETS)
def test_any_time_is_read_back_to_the_microsecond(moment: datetime, nanoseconds: int, offset: timezone) -> None:
    local = moment.astimezone(offset)
    text = f"{local:%H:%M:%S}.{local.microsecond:06d}{nanoseconds:03d}"
    read = parse_moment(f"{local.year:04d}-{local:%m-%d}T{text}{local.isoformat()[-6:]}")
    assert read == moment
    assert read is not None
    assert read.tzinfo is UTC


@given(text=st.text(max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        moment = parse_moment(text)
    except ValueError:
        return
    assert moment is None or moment.tzinfo is UTC


@given(nanoseconds=st.integers(0, 2**62))
def test_a_cursor_keeps_every_nanosecond(nanoseconds: int) -> None:
    seconds, _, rest = format_cursor(nanoseconds).partition(".")
    assert len(rest) == 9
    assert int(seconds) * 10**9 + int(rest) == nanoseconds


def test_nanoseconds_are_a_time() -> None:
    assert moment_of_nanoseconds(1_795_303_918_142_593_236) == datetime(2026, 11, 21, 23, 31, 58, 142593, UTC)
    with pytest.raises(ValueError, match="not a time"):
        moment_of_nanoseconds(10**30)
