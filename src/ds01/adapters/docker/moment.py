"""The engine's times: RFC 3339 with up to nine digits behind the second, any offset, and a zero that means "never".

`datetime.fromisoformat` is not used: it reads digits beyond the sixth only in some versions, and accepts much that is
not a time of the engine.
"""

import re
from datetime import UTC, datetime, timedelta, timezone

_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)T(?P<time>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{1,9}))?"
    r"(?:Z|(?P<sign>[+-])(?P<hours>\d\d):(?P<minutes>\d\d))",
    re.ASCII,
)
_ZERO_YEAR = 1
_NANOSECONDS = 10**9


def parse_moment(text: str) -> datetime | None:
    """Return a time of the engine, aware, UTC, rounded down to the microsecond; None for Go's zero time.

    Raises:
        ValueError: It is not a time.
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time: {text[:60]!r}")
    microseconds = int((match["fraction"] or "").ljust(9, "0")) // 1000
    local = datetime.strptime(f"{match['date']}T{match['time']}", "%Y-%m-%dT%H:%M:%S").replace(
        microsecond=microseconds, tzinfo=_offset(match)
    )
    if local.year == _ZERO_YEAR:
        return None
    try:
        return local.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"outside the calendar: {text}") from error


def _offset(match: re.Match[str]) -> timezone:
    if match["sign"] is None:
        return UTC
    length = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"]))
    return timezone(length if match["sign"] == "+" else -length)


def moment_of_nanoseconds(nanoseconds: int) -> datetime:
    """Return the time that is so many nanoseconds after 1970.

    Raises:
        ValueError: Outside the years 1 to 9999.
    """
    seconds, rest = divmod(nanoseconds, _NANOSECONDS)
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=rest // 1000)
    except OverflowError as error:
        raise ValueError(f"not a time: {nanoseconds} ns") from error


def format_cursor(nanoseconds: int) -> str:
    """Return `seconds.nanoseconds`, as the engine takes it. Source: Engine API 1.41, SystemEvents, `since`."""
    seconds, rest = divmod(nanoseconds, _NANOSECONDS)
    return f"{seconds}.{rest:09d}"
