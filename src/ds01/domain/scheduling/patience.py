"""How long a request lets shorter ones go first while the queue is long.

Strict order of arrival makes everybody wait for the longest. While more waits than the machine takes at once, a request
is served by its size until it is *due*: shortest first. It is due after most of the time that the machine needs for
everything that runs and waits (so long would a newcomer wait in the order of arrival), and sooner if it is short: after
a few times its own time limit. Then it goes before everybody who is due later, and the start that it is promised is
never later than that, or the earliest that is possible. Priority and fair share bring that moment forward as they bring
a request forward in the order. While few wait, everybody is due at once.
"""

from collections.abc import Sequence

from ds01.domain.scheduling.option import Options
from ds01.domain.scheduling.waiting import Waiting

LEAST_LONG = 8
"""Fewer requests than this are never a long queue."""
LONG_QUEUE = 1.0
"""The queue is long when it asks for more than so many times the machine."""
BACKLOG_PART = 0.9
"""A request is due after this part of the time that the machine needs for everything: some time is lost in packing."""
OWN_LENGTHS = 6
"""A request is passed for at most so many times its own time limit."""


TICKS_PER_S = 1_000_000


Demand = tuple[Waiting, Options, float, int, float]
"""What a request that waits asks for: a plain tuple, because a pass makes as many as wait.

The request; what satisfies it; gpu-equivalents, at least; ticks that it runs, or is thought to run; how far it is
before a newcomer of the least standing, in seconds of waiting.
"""


def is_long(demands: Sequence[Demand], capacity: float) -> bool:
    """Tell whether those who wait are many and ask for more than the machine; else all are due."""
    return len(demands) >= LEAST_LONG and sum([demand[2] for demand in demands]) > LONG_QUEUE * capacity


def due_times(demands: Sequence[Demand], *, capacity: float, running: float) -> list[float]:
    """Return when each request is due, in their order, in ticks from now, negative for the past.

    Args:
        demands: Those who wait for the machine and not for their quota.
        capacity: Gpu-equivalents of the machine.
        running: Work of what runs: gpu-equivalents times ticks.
    """
    work = running + sum([equivalents * length for _, _, equivalents, length, _ in demands])
    backlog = BACKLOG_PART * work / capacity
    return [
        (OWN_LENGTHS * length if OWN_LENGTHS * length < backlog else backlog) - lead_s * TICKS_PER_S
        for _, _, _, length, lead_s in demands
    ]


def size_of(demand: Demand) -> float:
    """Return what decides among those who are not due: the shortest first, and of equal ones those that need more.

    Several devices at once are seldom free together: the moment is used by who needs them all.
    """
    return demand[3] / max(demand[0].request.count, 1)
