"""The order of those who wait: promised starts, places given by an administrator, then priority, age and fair share."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from ds01.domain.scheduling.situation import GroupRules, Person, Situation
from ds01.domain.scheduling.waiting import Waiting

HOUR_S = 3600.0
UNLIMITED = float("inf")
PROMISED_PLACE = -(1 << 62)


class FairShare:
    """How little everybody used lately: 1 for nothing, near 0 for far more than others."""

    def __init__(self, people: Mapping[int, Person], groups: Mapping[str, GroupRules]) -> None:
        self._people = {uid: person.recent_use_s for uid, person in people.items()}
        self._groups = {name: rules.recent_use_s / max(rules.shares, 1e-9) for name, rules in groups.items()}
        self._usual = _mean(self._people.values())
        self._usual_of_groups = _mean(self._groups.values())

    def of(self, uid: int, group: str) -> float:
        """Return the share of a user, 0 to 1: the user's own part, and the group's where it has rules."""
        share = _little(self._people.get(uid, 0.0), self._usual)
        if group in self._groups:
            share = (share + _little(self._groups[group], self._usual_of_groups)) / 2
        return share


def _mean(uses: Iterable[float]) -> float:
    some = [use for use in uses if use > 0]
    return sum(some) / len(some) if some else 0.0


def _little(use: float, usual: float) -> float:
    return 1.0 if use <= 0 else usual / (usual + use)


def order_of(situation: Situation) -> list[Waiting]:
    """Return those who wait in the order in which they are served. Who has given up is not among them."""
    return order_with_leads(situation)[0]


def order_with_leads(situation: Situation) -> tuple[list[Waiting], list[float]]:
    """Return the order of those who wait, and how far each is before a newcomer of the least standing.

    A lead is in seconds of waiting: where all have the same priority and fair share it is the time waited. Without
    weight of the age, and for places that an administrator gave, it is without end.
    """
    now = situation.now
    weights = situation.rules.weights
    fair, standings = FairShare(situation.people, situation.groups), dict[tuple[int, str, int], float]()
    priority, age, share = weights.priority / 100, weights.age_per_hour / HOUR_S, weights.fair_share
    first: list[tuple[int, datetime, float, datetime, str, Waiting]] = []
    keyed: list[tuple[float, datetime, str, Waiting]] = []
    for waiting in situation.waiting:
        gives_up_at, queued_at = waiting.gives_up_at, waiting.queued_at
        if gives_up_at is not None and gives_up_at <= now:
            continue
        owner = (waiting.uid, waiting.group, waiting.priority)
        standing = standings.get(owner)
        if standing is None:
            standing = priority * waiting.priority + share * fair.of(waiting.uid, waiting.group)
            standings[owner] = standing
        score = standing + age * (now - queued_at).total_seconds()
        if waiting.promised_at is not None:
            first.append((PROMISED_PLACE, waiting.promised_at, -score, queued_at, waiting.id, waiting))
        elif waiting.moved_to is not None:
            first.append((waiting.moved_to, now, -score, queued_at, waiting.id, waiting))
        else:
            keyed.append((-score, queued_at, waiting.id, waiting))
    first.sort()  # ids differ, so that no two requests are compared themselves
    keyed.sort()
    if age > 0:
        least = min(standings.values(), default=UNLIMITED)
        leads = [UNLIMITED if item[5].moved_to is not None else (-item[2] - least) / age for item in first]
        leads += [(-item[0] - least) / age for item in keyed]
    else:
        leads = [UNLIMITED] * (len(first) + len(keyed))
    return [item[5] for item in first] + [item[3] for item in keyed], leads


def passing_rank(waiting: Waiting) -> float:
    """Return what decides who passes the first: the shortest time limit; who is as long keeps its place behind it."""
    limit = waiting.time_limit
    return UNLIMITED if limit is None else limit.total_seconds()
