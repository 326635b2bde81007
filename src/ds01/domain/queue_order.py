"""The order of those who wait: promised starts, places given by an administrator, then priority, age and fair share."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from ds01.domain.situation import GroupRules, Person, Situation
from ds01.domain.waiting import Waiting

HOUR_S = 3600.0
LAST_PLACE = 1 << 62


class FairShare:
    """How little everybody used lately: 1 for nothing, near 0 for far more than others."""

    def __init__(self, people: Mapping[int, Person], groups: Mapping[str, GroupRules]) -> None:
        self._people = {uid: person.recent_use_s for uid, person in people.items()}
        self._groups = {name: rules.recent_use_s / max(rules.shares, 1e-9) for name, rules in groups.items()}
        self._usual = _mean(self._people.values())
        self._usual_of_groups = _mean(self._groups.values())
        self._known: dict[tuple[int, str], float] = {}

    def of(self, uid: int, group: str) -> float:
        """Return the share of a user, 0 to 1: the user's own part, and the group's where it has rules."""
        known = self._known.get((uid, group))
        if known is None:
            known = _little(self._people.get(uid, 0.0), self._usual)
            if group in self._groups:
                known = (known + _little(self._groups[group], self._usual_of_groups)) / 2
            self._known[uid, group] = known
        return known


def _mean(uses: Iterable[float]) -> float:
    some = [use for use in uses if use > 0]
    return sum(some) / len(some) if some else 0.0


def _little(use: float, usual: float) -> float:
    return 1.0 if use <= 0 else usual / (usual + use)


def order_of(situation: Situation) -> list[Waiting]:
    """Return those who wait in the order in which they are served. Who has given up is not among them."""
    now = situation.now
    weights = situation.rules.weights
    fair = FairShare(situation.people, situation.groups)
    priority, age, share = weights.priority / 100, weights.age_per_hour / HOUR_S, weights.fair_share
    keyed = []
    for waiting in situation.waiting:
        if waiting.gives_up_at is not None and waiting.gives_up_at <= now:
            continue
        waited = (now - waiting.queued_at).total_seconds()
        score = priority * waiting.priority + age * waited + share * fair.of(waiting.uid, waiting.group)
        promised, moved = waiting.promised_at, waiting.moved_to
        rank = (0, 0) if promised is not None else (1, LAST_PLACE if moved is None else moved)
        keyed.append((rank, promised or now, -score, waiting.queued_at, waiting.id, waiting))
    keyed.sort(key=_sort_key)
    return [item[-1] for item in keyed]


def _sort_key(item: tuple[tuple[int, int], datetime, float, datetime, str, Waiting]) -> tuple[object, ...]:
    return item[:-1]


def passing_order(behind: Iterable[Waiting]) -> list[Waiting]:
    """Return those behind the first in the order in which they may pass it: the shortest time limit first."""
    limited = []
    unlimited = []
    for place, waiting in enumerate(behind):
        if waiting.time_limit is None:
            unlimited.append(waiting)
        else:
            limited.append((waiting.time_limit, place, waiting))
    limited.sort(key=lambda item: item[:2])
    return [item[2] for item in limited] + unlimited
