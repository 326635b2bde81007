"""How long a request lets shorter ones go first while the queue is long.

Strict order of arrival makes everybody wait for the longest. While more waits than the machine takes at a few times, a
request is served by its size until it is *due*: shortest first. It is due after the time that the machine needs for
everything that runs and waits (so long would a newcomer wait in the order of arrival), and sooner if it is short:
after a few times its own time limit. Then it goes before everybody who is due later, and the start that it is promised
is never later than that, or the earliest that is possible. Priority and fair share bring that moment forward as they
bring a request forward in the order. While few wait, everybody is due at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from ds01.domain.timeline import ticks
from ds01.domain.waiting import Waiting

LONG_QUEUE = 2.0
"""The queue is long when it asks for more than so many times the machine."""
OWN_LENGTHS = 6
"""A request is passed for at most so many times its own time limit."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request that waits asks for.

    Attributes:
        waiting: The request.
        equivalents: Gpu-equivalents, at least.
        length: Ticks that it runs, or is thought to run.
        lead_s: How far it is before a newcomer of the least standing, in seconds of waiting.
    """

    waiting: Waiting
    equivalents: float
    length: int
    lead_s: float


def due_times(demands: Iterable[Demand], *, capacity: float, running: float) -> Mapping[str, int] | None:
    """Return when each request is due, in ticks from now, negative for the past; None: few wait, all are due.

    Args:
        demands: Those who wait for the machine and not for their quota.
        capacity: Gpu-equivalents of the machine.
        running: Work of what runs: gpu-equivalents times ticks.
    """
    demands = list(demands)
    if sum(demand.equivalents for demand in demands) <= LONG_QUEUE * capacity:
        return None
    work = running + sum(demand.equivalents * demand.length for demand in demands)
    backlog = int(work / capacity)
    return {
        demand.waiting.id: min(backlog, OWN_LENGTHS * demand.length) - _ticks(demand.lead_s) for demand in demands
    }


def _ticks(seconds: float) -> int:
    return ticks(timedelta(seconds=min(seconds, 1e9)))


def size_of(demand: Demand) -> float:
    """Return what decides among those who are not due: the shortest first, and of equal ones those that need more.

    Several devices at once are seldom free together: the moment is used by who needs them all.
    """
    return demand.length / max(demand.waiting.request.count, 1)
