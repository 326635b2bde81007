"""Moments as people write and read them: a length of time back from now, or a clock time in their own zone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo

from ds01.api.explanation import Clock
from ds01.errors import InvalidRequestError
from ds01.units import parse_duration

_HINT = "Write a length of time (30m, 2h, 1d) or a time (2026-01-31, '2026-01-31 14:30')."


def parse_moment(text: str, option: str, now: datetime | None = None) -> datetime:
    """Return the moment that somebody typed.

    Args:
        text: A duration back from now, or a date with or without a time, of the caller's zone unless it has one.
        option: Where it was typed, for the message.
        now: The present; None reads the clock.

    Raises:
        InvalidRequestError: It is neither.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            return (now or datetime.now(UTC)) - parse_duration(text)
        except InvalidRequestError as failure:
            raise InvalidRequestError(f"{option} {text!r} is no moment: {failure.message}", hint=_HINT) from failure
    try:
        return moment.astimezone(UTC)  # one without a zone is of the caller's
    except (OverflowError, ValueError) as failure:
        raise InvalidRequestError(f"{option} {text!r} is out of range.", hint=_HINT) from failure


def day_of_making(environment: Mapping[str, str]) -> str:
    """Return the day that a new file says it was made on, such as `2026-01-31`, UTC; SOURCE_DATE_EPOCH sets it.

    Source: reproducible-builds.org, SOURCE_DATE_EPOCH: seconds since 1970 in place of the present.

    Raises:
        InvalidRequestError: SOURCE_DATE_EPOCH is no number of seconds.
    """
    typed = environment.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.fromtimestamp(int(typed), UTC) if typed else datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as failure:
        raise InvalidRequestError(
            f"SOURCE_DATE_EPOCH {(typed or '')[:40]!r} is no number of seconds since 1970.",
            hint="Unset it, or correct it.",
        ) from failure
    return moment.date().isoformat()


def local_time(moment: str) -> str:
    """Return an ISO 8601 moment as a clock time of the caller's zone; what is none is returned as it is."""
    try:
        return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError):
        return moment


class SystemZone(tzinfo):
    """The zone of this process (`TZ`, else the machine's) with all its changes, as the C library knows them.

    Source: datetime.astimezone of the standard library, which asks localtime(3) and mktime(3).
    """

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """Return how far a clock time of this zone is ahead of UTC."""
        return None if moment is None else moment.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, moment: datetime | None) -> timedelta | None:
        """Return nothing: the C library tells the whole offset only."""
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        """Return the zone's abbreviation."""
        return None if moment is None else moment.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, moment: datetime) -> datetime:
        """Return a moment as a clock time; of an hour that comes twice it knows which one it is."""
        shown = moment.replace(tzinfo=UTC).astimezone()
        wall = shown.replace(tzinfo=self, fold=0)
        return wall if self.utcoffset(wall) == shown.utcoffset() else wall.replace(fold=1)


def present() -> datetime:
    """Return the moment, in UTC."""
    return datetime.now(UTC)


def clock() -> Clock:
    """Return how moments are said to this person."""
    return Clock(present(), SystemZone())
