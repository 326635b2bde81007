"""What somebody used lately, as fair share counts it: gpu-equivalent-seconds, halved with every half-life."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Consumption:
    """What one user used in one group.

    Attributes:
        uid: The user.
        group: The user's group when it was granted.
        used_s: Gpu-equivalent-seconds, as they count at `at`.
        at: The moment for which `used_s` holds.
    """

    uid: int
    group: str
    used_s: float
    at: datetime


def used_at(consumption: Consumption, now: datetime, half_life: timedelta) -> float:
    """Return what counts of it at a moment. A clock that went back makes nothing grow."""
    return consumption.used_s * _left(now - consumption.at, half_life)


def used_between(
    equivalents: float, start_at: datetime, end_at: datetime, now: datetime, half_life: timedelta
) -> float:
    """Return what counts now of devices that were held from one moment to another.

    The integral of the rate, each second of it halved with every half-life since.

    Args:
        equivalents: What was held.
        start_at: From when on.
        end_at: Until when.
        now: The moment for which it counts; not before `end_at`, else that counts.
        half_life: After this time a second counts half; 0 and less: only this moment counts, which is nothing.
    """
    if end_at <= start_at or half_life <= timedelta(0):
        return 0.0
    now = max(now, end_at)
    scale_s = half_life.total_seconds() / math.log(2)
    return equivalents * scale_s * (_left(now - end_at, half_life) - _left(now - start_at, half_life))


def add_use(
    before: Consumption, equivalents: float, start_at: datetime, end_at: datetime, half_life: timedelta
) -> Consumption:
    """Return the consumption with one more grant that has ended, as it counts at the later of both moments."""
    at = max(before.at, end_at)
    used_s = used_at(before, at, half_life) + used_between(equivalents, start_at, end_at, at, half_life)
    return Consumption(before.uid, before.group, used_s, at)


def _left(age: timedelta, half_life: timedelta) -> float:
    if age <= timedelta(0):
        return 1.0
    return float(0.5 ** (age / half_life)) if half_life > timedelta(0) else 0.0
