"""Moments to come, as people write them: clock times of their own zone, made into UTC before they leave the client.

A clock time that does not exist on its day, because the clocks go forward, is refused, and so is one that comes twice,
because they go back, unless only one of the two is still to come. Nothing is guessed.
"""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from ds01.errors import InvalidRequestError
from ds01.units import MAX_TEXT, parse_duration

MAX_AHEAD = timedelta(days=3650)
HINT = "Write 18:00, 'tomorrow 09:00', 'mon 09:00', '2026-12-01 09:00', or 'in 2h'."
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CLOCK = re.compile(r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?")
_DAY_AND_CLOCK = re.compile(r"(?P<day>[a-z]+)(?:\s+at)?\s+(?P<clock>[0-9:]+)")
_AHEAD = re.compile(r"(?:in\s+|\+)(?P<length>.+)")


def parse_coming_moment(text: str, option: str, *, now: datetime, zone: tzinfo) -> datetime:
    """Return the moment that somebody typed, in UTC.

    Args:
        text: `18:00` (the next one), `tomorrow 09:00`, `mon 09:00`, a date with a time, a date (its midnight), `now`,
            `in 2h`; a date and time may have an offset of their own.
        option: Where it was typed, for the message.
        now: The present, aware.
        zone: The writer's time zone.

    Raises:
        InvalidRequestError: No moment, one that does not exist or comes twice, or one more than ten years ahead.
    """
    cleaned = " ".join(text.lower().split())
    if not cleaned or len(cleaned) > MAX_TEXT:
        raise _no_moment(text, option)
    moment = _find_moment(cleaned, option, now.astimezone(UTC), zone)  # sums of clock times would skip an hour
    if moment is None:
        raise _no_moment(text, option)
    if moment - now > MAX_AHEAD:
        raise InvalidRequestError(f"{option} {text!r} is more than ten years ahead.", hint=HINT)
    return moment


def parse_time_limit(text: str, option: str, *, now: datetime, zone: tzinfo) -> timedelta:
    """Return a length of time that is typed as one (`8h`) or by its end (`until 18:00`).

    Args:
        text: What was typed.
        option: Where, for the message.
        now: The present, aware.
        zone: The writer's time zone.

    Raises:
        InvalidRequestError: Neither, nothing at all, or an end that has passed.
    """
    cleaned = text.strip()
    if not cleaned.lower().startswith("until "):
        length = parse_duration(cleaned)
        if length <= timedelta():
            raise InvalidRequestError(f"{option} {text!r} is no time at all.", hint="Write a length such as 8h.")
        return length
    end = parse_coming_moment(cleaned[len("until ") :], f"{option} until", now=now, zone=zone)
    if end <= now:
        raise InvalidRequestError(f"{option} {text!r} has passed already.", hint=HINT)
    return end - now


def _find_moment(text: str, option: str, now: datetime, zone: tzinfo) -> datetime | None:
    if text == "now":
        return now
    if ahead := _AHEAD.fullmatch(text):
        return now + parse_duration(ahead["length"])
    today = now.astimezone(zone).date()
    if _CLOCK.fullmatch(text):
        clock = _clock(text, option)
        return _next(clock, today, option, now, zone)
    if named := _DAY_AND_CLOCK.fullmatch(text):
        clock = _clock(named["clock"], option)
        found = _day(named["day"], today)
        if found is None:
            return None
        if found == today and named["day"] != "today":  # a weekday that is today means today, unless it is over
            later = _in_zone(datetime.combine(found, clock), option, now, zone)
            return later if later > now else _in_zone(datetime.combine(found + timedelta(7), clock), option, now, zone)
        return _in_zone(datetime.combine(found, clock), option, now, zone)
    if _day(text, today) is not None:
        raise InvalidRequestError(f"{option} {text!r} says no clock time.", hint=f"Write '{text} 09:00'.")
    return _written_out(text, option, now, zone)


def _written_out(text: str, option: str, now: datetime, zone: tzinfo) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    if moment.tzinfo is not None:
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            return None
    return _in_zone(moment, option, now, zone)


def _clock(text: str, option: str) -> time:
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise _no_moment(text, option)
    try:
        return time(int(match["hour"]), int(match["minute"]), int(match["second"] or 0))
    except ValueError as failure:
        raise InvalidRequestError(f"{option} {text!r} is no clock time.", hint="Hours are 00 to 23.") from failure


def _day(name: str, today: date) -> date | None:
    if name in {"today", "tomorrow"}:
        return today + timedelta(name == "tomorrow")
    if len(name) >= 3:
        for number, day in enumerate(_DAYS):
            if day.startswith(name):
                return today + timedelta((number - today.weekday()) % 7)
    return None


def _next(clock: time, today: date, option: str, now: datetime, zone: tzinfo) -> datetime:
    """The next time a clock shows this. Today's is passed over only if it is past in every reading."""
    first = datetime.combine(today, clock)
    if all(first.replace(tzinfo=zone, fold=fold).astimezone(UTC) <= now for fold in (0, 1)):
        first += timedelta(1)
    return _in_zone(first, option, now, zone)


def _in_zone(wall: datetime, option: str, now: datetime, zone: tzinfo) -> datetime:
    """Return a wall clock's time in UTC.

    Raises:
        InvalidRequestError: The clocks skip it, or show it twice.
    """
    try:
        early, late = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError as failure:
        raise _no_moment(str(wall), option) from failure
    if early == late:
        return early
    shown = wall.strftime("%Y-%m-%d %H:%M")
    if early.astimezone(zone).replace(tzinfo=None, fold=0) != wall:
        after = early.astimezone(zone)
        raise InvalidRequestError(
            f"{option}: there is no {shown}, because the clocks go forward then.",
            hint=f"Write '{after:%Y-%m-%d %H:%M}', which is an hour's change later, or another time.",
        )
    if early <= now < late:
        return late
    both = " or ".join(moment.astimezone(zone).isoformat(timespec="minutes") for moment in (early, late))
    raise InvalidRequestError(
        f"{option}: {shown} comes twice, because the clocks go back then.", hint=f"Say which one: {both}"
    )


def _no_moment(text: str, option: str) -> InvalidRequestError:
    shown = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."
    return InvalidRequestError(f"{option} {shown!r} is no moment.", hint=HINT)
