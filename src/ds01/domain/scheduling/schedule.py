"""The scheduler: who starts now, what a newcomer gets, when the others start. The same situation, the same answer."""

from collections.abc import Mapping
from dataclasses import replace

from ds01.domain.scheduling.at_once import grant_at_once
from ds01.domain.scheduling.estimate import estimate_starts
from ds01.domain.scheduling.option import Values
from ds01.domain.scheduling.queue_pass import QueuePass
from ds01.domain.scheduling.refusal import no_capacity, require_possible, require_within_quota
from ds01.domain.scheduling.situation import Grant, Pass, Situation
from ds01.domain.scheduling.waiting import Waiting

__all__ = ["estimate_starts", "plan_grant", "plan_pass", "require_possible"]


def plan_pass(
    situation: Situation, values: Values | None = None, memory_used: Mapping[str, float] | None = None
) -> Pass:
    """Return what starts now, and what is promised.

    Args:
        situation: The world now.
        values: Worth of the states of cards, by table; without: what can still be placed counts.
        memory_used: Device uuid to the ratio of its memory that is in use, where devices are shared.
    """
    return QueuePass(situation, values=values, memory_used=memory_used).run()


def plan_grant(
    situation: Situation,
    newcomer: Waiting,
    values: Values | None = None,
    memory_used: Mapping[str, float] | None = None,
) -> Grant:
    """Return what a request gets that will not wait: the same as if it joined the queue and started at once.

    Raises:
        InvalidRequestError: No device of this machine could ever satisfy it.
        QuotaExceededError: The user's or the group's quota forbids even the cheapest devices that fit.
        NoCapacityError: It would fit, but not now, or only by delaying somebody; who holds what is said.
    """
    require_possible(situation, newcomer)
    if not values and not memory_used:
        grant = grant_at_once(situation, newcomer)
        if grant is not None:
            return grant
    return grant_by_pass(situation, newcomer, values, memory_used)


def grant_by_pass(
    situation: Situation,
    newcomer: Waiting,
    values: Values | None = None,
    memory_used: Mapping[str, float] | None = None,
) -> Grant:
    """Return what a possible request gets by a whole pass over the queue, it being the last.

    Raises:
        QuotaExceededError: As `plan_grant`.
        NoCapacityError: As `plan_grant`.
    """
    require_within_quota(situation, newcomer)
    joined = replace(situation, waiting=(*situation.waiting, newcomer))
    worker = QueuePass(joined, values=values, memory_used=memory_used)
    result = worker.run()
    for grant in result.grants:
        if grant.waiting.id == newcomer.id:
            return grant
    raise no_capacity(situation, newcomer)
