"""Who is before a request, why, and whom its start would push back."""

from collections.abc import Mapping

from ds01.domain.reasons.explanation import Cause, OrderCause, PromiseCause, Rank
from ds01.domain.reasons.trial import Trial
from ds01.domain.rules.limit import Limits
from ds01.domain.scheduling.option import Grid
from ds01.domain.scheduling.queue_order import FairShare, order_of
from ds01.domain.scheduling.schedule import estimate_starts, plan_pass
from ds01.domain.scheduling.situation import Estimate, Situation
from ds01.domain.scheduling.waiting import Waiting

HOUR_S = 3600


def list_order_causes(trial: Trial) -> tuple[Cause, ...]:
    """Return everybody who is before a request and wants what it wants, and whom it would push back.

    Where the queue alone stands in its way, those who do so are found by trying it beside each of them.
    """
    joined = trial.joined()
    before = _before(trial, joined)
    if not before:
        return ()
    granted = {grant.waiting.id for grant in plan_pass(trial.situation, trial.values).grants}
    blamed = _blamed(trial, before) - granted
    estimates = estimate_starts(joined, trial.values) if blamed else {}
    fair = FairShare(joined.people, joined.groups)
    found: list[Cause] = []
    for other in before:
        if other.id in blamed:
            found.append(_protected(other, estimates))
        else:
            rank = rank_of(other, trial.waiting, joined, fair)
            found.append(OrderCause(other, rank, starts_now=other.id in granted))
    return tuple(found)


def _protected(other: Waiting, estimates: Mapping[str, Estimate]) -> PromiseCause:
    estimate = estimates.get(other.id)
    if estimate is None:
        return PromiseCause(other, other.promised_at, other.promised_at is not None)
    return PromiseCause(other, estimate.start_at, estimate.is_promise)


def _before(trial: Trial, joined: Situation) -> list[Waiting]:
    """Those before it in the order who could use a device that it could use."""
    order = order_of(joined)
    place = next((number for number, other in enumerate(order) if other.id == trial.waiting.id), len(order))
    mine = _reach(joined, trial.waiting)
    return [other for other in order[:place] if any(a & b for a, b in zip(_reach(joined, other), mine, strict=True))]


def _reach(situation: Situation, waiting: Waiting) -> tuple[int, ...]:
    if not waiting.request.count:
        return tuple(0 for _ in situation.board.cards)
    person = situation.people.get(waiting.uid)
    grid = Grid(situation.board)
    return grid.options(grid.wish_of(waiting, person.limits.values if person is not None else Limits())).reach


def _blamed(trial: Trial, before: list[Waiting]) -> set[str]:
    """Those before it because of whom it is not granted, where nothing but the queue is in its way."""
    if trial.alone().grant() is None:
        return set()
    ids = {other.id for other in before}
    alone = {found for found in ids if trial.with_only({found}).grant() is None}
    return alone or {found for found in ids if trial.with_only(ids - {found}).grant() is not None} or ids


def rank_of(other: Waiting, mine: Waiting, situation: Situation, fair: FairShare) -> Rank:
    """Return why another request is before one.

    Args:
        other: The one that is before.
        mine: The one that asks.
        situation: The weights, and who used what lately.
        fair: How little everybody used lately.
    """
    if other.promised_at is not None:
        return Rank.PROMISE
    if other.moved_to is not None:
        return Rank.MOVED
    weights = situation.rules.weights
    hours = (mine.queued_at - other.queued_at).total_seconds() / HOUR_S
    parts = {
        Rank.AGE: weights.age_per_hour * hours,
        Rank.PRIORITY: weights.priority / 100 * (other.priority - mine.priority),
        Rank.FAIR_SHARE: weights.fair_share * (fair.of(other.uid, other.group) - fair.of(mine.uid, mine.group)),
    }
    return max(parts, key=lambda part: parts[part])
