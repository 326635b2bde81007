"""How long a request lets shorter ones go first while the queue is long.

Strict order of arrival makes everybody wait for the longest. While more waits than the machine takes at a few times, a
request is served by its size until it is *due*: shortest first. It is due after the time that the machine needs for
everything that runs and waits (so long would a newcomer wait in the order of arrival), and sooner if it is short:
after a few times its own time limit. Then it goes before everybody who is due later, and the start that it is promised
is never later than that, or the earliest that is possible. Priority and fair share bring that moment forward as they
bring a request forward in the order. While few wait, everybody is due at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ds01.domain.timeline import ticks
from ds01.domain.waiting import Waiting

LONG_QUEUE = 2.0
"""The queue is long when it asks for more than so many times the machine, ..."""
MANY_GPUS = 16.0
"""... and for more gpu-equivalents than this: on a small machine a few requests are no long queue."""
OWN_LENGTHS = 6
"""A request is passed for at most so many times its own time limit."""
MOST_LEAD_S = 1e9


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request that waits asks for.

    Attributes:
        waiting: The request.
        equivalents: Gpu-equivalents, at least.
        length: Ticks that it runs, or is thought to run.
    """

    waiting: Waiting
    equivalents: float
    length: int


def is_long(demands: Sequence[Demand], capacity: float) -> bool:
    """Tell whether more waits than the machine takes at a few times.

    Args:
        demands: Those who wait for the machine and not for their quota.
        capacity: Gpu-equivalents of the machine.
    """
    return sum(demand.equivalents for demand in demands) > max(LONG_QUEUE * capacity, MANY_GPUS)


def due_times(
    demands: Sequence[Demand], leads: Mapping[str, float], *, capacity: float, running: float
) -> Mapping[str, int]:
    """Return when each request is due, in ticks from now, negative for the past.

    Args:
        demands: Those who wait for the machine and not for their quota.
        leads: How far each is before a newcomer of the least standing, in seconds of waiting.
        capacity: Gpu-equivalents of the machine.
        running: Work of what runs: gpu-equivalents times ticks.
    """
    work = running + sum(demand.equivalents * demand.length for demand in demands)
    backlog = int(work / capacity)
    return {
        demand.waiting.id: min(backlog, OWN_LENGTHS * demand.length) - _ticks(leads[demand.waiting.id])
        for demand in demands
    }


def _ticks(seconds: float) -> int:
    return ticks(timedelta(seconds=min(seconds, MOST_LEAD_S)))


def size_of(waiting: Waiting) -> timedelta:
    """Return what decides among those who are not due: the shortest first, and sooner who needs several devices.

    Several devices at once are seldom free together: the moment is used by who needs them all.
    """
    if waiting.time_limit is None:
        return timedelta.max
    return waiting.time_limit / max(waiting.request.count, 1)
