"""How long a request lets shorter ones go first while the queue is long.

Strict order of arrival makes everybody wait for the longest. While more waits than the machine takes at a few times, a
request is served by its size until it is *due*: shortest first. It is due after the time that the machine needs for
everything that runs and waits (so long would a newcomer wait in the order of arrival), and sooner if it is short:
after a few times its own time limit. Then it goes before everybody who is due later, and the start that it is promised
is never later than that, or the earliest that is possible. Priority and fair share bring that moment forward as they
bring a request forward in the order. While few wait, everybody is due at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ds01.domain.option import Options
from ds01.domain.waiting import Waiting

LEAST_LONG = 16
"""Fewer requests than this are never a long queue."""
LONG_QUEUE = 2.0
"""The queue is long when it asks for more than so many times the machine."""
OWN_LENGTHS = 6
"""A request is passed for at most so many times its own time limit."""


TICKS_PER_S = 1_000_000


class Demand(NamedTuple):
    """What a request that waits asks for.

    Attributes:
        waiting: The request.
        options: What satisfies it.
        equivalents: Gpu-equivalents, at least.
        length: Ticks that it runs, or is thought to run.
        lead_s: How far it is before a newcomer of the least standing, in seconds of waiting.
    """

    waiting: Waiting
    options: Options
    equivalents: float
    length: int
    lead_s: float


def is_long(demands: Sequence[Demand], capacity: float) -> bool:
    """Tell whether those who wait ask for more than the machine takes at a few times; else all are due."""
    return len(demands) >= LEAST_LONG and sum([demand.equivalents for demand in demands]) > LONG_QUEUE * capacity


def due_times(demands: Sequence[Demand], *, capacity: float, running: float) -> list[float]:
    """Return when each request is due, in their order, in ticks from now, negative for the past.

    Args:
        demands: Those who wait for the machine and not for their quota.
        capacity: Gpu-equivalents of the machine.
        running: Work of what runs: gpu-equivalents times ticks.
    """
    backlog = (running + sum([demand.equivalents * demand.length for demand in demands])) / capacity
    return [
        (OWN_LENGTHS * length if OWN_LENGTHS * length < backlog else backlog) - lead_s * TICKS_PER_S
        for _, _, _, length, lead_s in demands
    ]


def size_of(demand: Demand) -> float:
    """Return what decides among those who are not due: the shortest first, and of equal ones those that need more.

    Several devices at once are seldom free together: the moment is used by who needs them all.
    """
    return demand.length / max(demand.waiting.request.count, 1)
