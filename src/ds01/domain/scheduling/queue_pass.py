"""One pass over the queue: who starts now, and what is promised to the first who cannot.

EASY: those who fit start in the order of the queue; the first who does not fit is promised the earliest time that is
sure; others start before it only if it, every other promise and every reservation can still be kept. While the queue is
long, those who are due come first, and the others are served by their size: see `patience`.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from heapq import heapify, heappop, heappush

from ds01.domain.allocation import Allocation
from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.admission import Admission
from ds01.domain.scheduling.choice import choose
from ds01.domain.scheduling.option import Options, Wish
from ds01.domain.scheduling.patience import LEAST_LONG, Demand, due_times, is_long, size_of
from ds01.domain.scheduling.queue_order import passing_rank
from ds01.domain.scheduling.situation import Pass
from ds01.domain.scheduling.timeline import NEVER, add, ticks
from ds01.domain.scheduling.waiting import Waiting

Crowd = list[tuple[float, int, Waiting]]
"""Requests that ask for the same, as a heap: rank, place in the order, request."""


_UNKNOWN: tuple[Options, float] = (Options(Wish(GpuRequest(0)), (), (), ()), 0.0)


class QueuePass(Admission):
    """A pass that goes on. Made for one situation and used once."""

    _demanded: Sequence[Demand] = ()
    _due_list: Sequence[float] = ()
    _without_gpus: Sequence[Waiting] = ()

    def run(self) -> Pass:
        """Decide everything."""
        self._find_due_times()
        self.settle()
        if self.kept.broken:  # the order is another one then
            self._find_due_times()
        for waiting in [waiting for waiting in self.order if waiting.reservation is not None]:
            if waiting.request.count:
                self.start_inside(waiting)
        if not self._due_list:
            self._serve_in_order()
        else:
            self._serve_when_due()
        granted = self.granted
        left = tuple([waiting.id for waiting in self.order if waiting.id not in granted])
        promises = {key: found for key, found in self.promises.items() if key not in granted}
        return Pass(tuple(self.grants), promises, self.kept.broken, left, self._wake_at())

    def _demands(self) -> list[Demand]:
        """Return what those ask for who wait for the machine, not for their quota or their time."""
        found: list[Demand] = []
        without_gpus: list[Waiting] = []
        known: dict[tuple[object, ...], tuple[Options, float] | None] = {}
        has_room: dict[tuple[int, str, int, bool], bool] = {}
        now, usual = self.situation.now, max(ticks(self.situation.rules.assumed_duration), 1)
        is_shared, margin = self.shared is not None, self.margin
        for waiting, lead_s in zip(self.order, self.leads, strict=True):
            request = waiting.request
            count = request.count
            if not count:
                without_gpus.append(waiting)
                continue
            key: tuple[object, ...] = (waiting.uid, waiting.group, request.kind, count, request.memory_bytes)
            if is_shared or waiting.gpu_uuids:
                key = (*key, waiting.gpu_uuids, waiting.is_exclusive, waiting.priority)
            asked = known.get(key, _UNKNOWN)
            if asked is _UNKNOWN:
                asked = known[key] = self._asked(waiting, has_room)
            if asked is None or waiting.reservation is not None:
                continue
            not_before = waiting.not_before
            if not_before is None or not_before <= now:
                limit = waiting.time_limit  # few are equal: remembering them costs more
                length = usual if limit is None else ticks(limit) + margin
                found.append((waiting, asked[0], asked[1], length, lead_s))
        self._without_gpus = without_gpus
        return found

    def _asked(
        self, waiting: Waiting, has_room: dict[tuple[int, str, int, bool], bool]
    ) -> tuple[Options, float] | None:
        """Return what satisfies a request and what it weighs at least; None: it does not wait for the machine."""
        options, count = self.options(waiting), waiting.request.count
        if options is None or not count:
            return None
        key = (waiting.uid, waiting.group, count, waiting.is_restart)
        if key not in has_room:
            has_room[key] = self.ledger.has_room_now(waiting)
        if not has_room[key]:
            return None
        return options, options.levels[0].equivalents * count

    def _find_due_times(self) -> None:
        """Work out when everybody is due, unless few wait: then all are served in their order."""
        self._due_list = ()
        capacity = sum(1 for card in self.situation.board.cards if card.positions and not card.unusable)
        if not capacity or len(self.order) < LEAST_LONG:
            return
        self._demanded = self._demands()
        if not is_long(self._demanded, capacity):
            return
        usual = ticks(self.situation.rules.assumed_duration)
        running = 0.0
        for hold in self.holds:
            if isinstance(hold.owner, Allocation):
                end = self.kept.end_of(hold)
                running += hold.owner.gpu_equivalents * (end if end < NEVER else usual)
        self._due_list = due_times(self._demanded, capacity=capacity, running=running)

    def due_of(self, waiting: Waiting) -> int:
        """Return when others may not go before a request any more, in ticks from now; 0: now."""
        for demand, due_at in zip(self._demanded, self._due_list, strict=False):  # few ask, most of them at the front
            if demand[0] is waiting:
                return int(due_at) if due_at > 0 else 0
        return 0

    def _serve_when_due(self) -> None:
        """Serve a long queue: those who are due, then the others by their size.

        One start is promised at a time: to the one that is due first of those that do not fit.
        """
        demanded = self._demanded
        count = 0  # who has a promise is at the front of the order
        while count < len(demanded) and demanded[count][0].promised_at is not None:
            count += 1
        promised = [demand[0] for demand in demanded[:count]]
        due = self._due_list[count:]
        late = [(due_at, place) for place, due_at in enumerate(due, count) if due_at <= 0]
        early = [(due_at, place) for place, due_at in enumerate(due, count) if due_at > 0]
        late.sort()
        self._serve_late([*self._without_gpus, *promised], [demanded[place] for _, place in late])
        crowds = self._crowds_by_size([place for _, place in early])
        if not self._has_head():
            early.sort()
            others = (demanded[place][0] for _, place in early)
            any(self._lead(waiting) for waiting in others if not self._fits_now(waiting))
        self._serve_crowds(crowds)
        if not self._has_head():
            left = (*promised, *(demanded[place][0] for _, place in (*late, *sorted(early))))
            any(self._lead(waiting) for waiting in left if waiting.id not in self.granted)

    def _serve_late(self, first: Sequence[Waiting], late: Sequence[Demand]) -> None:
        """Serve those who are due, in that order; the first who does not fit is the head."""
        for waiting in first:
            if not self.start(waiting) and not self._has_head():
                self._lead(waiting)
        has_head, failed = self._has_head(), self.failed
        for waiting, options, _, length, _ in late:
            # most are equal to somebody who found no place; a length never exceeds the real end
            if has_head and failed.get(id(options), NEVER) <= length:
                continue
            if not self.start(waiting) and not has_head:
                has_head = self._lead(waiting)

    def _crowds_by_size(self, early: Iterable[int]) -> list[Crowd]:
        taken = self.future.timeline.busy(0, 1)
        found: dict[int, Crowd | None] = {}
        for place in early:
            demand = self._demanded[place]
            waiting, options = demand[0], demand[1]
            key = id(options)
            if key not in found:
                found[key] = [] if self._is_free(waiting, options, taken) else None
            crowd = found[key]
            if crowd is not None:
                crowd.append((size_of(demand), place, waiting))
        return [crowd for crowd in found.values() if crowd]

    def _has_head(self) -> bool:
        """Somebody's start is kept."""
        return self.soft is not None or not self.promises.keys() <= self.granted

    def _lead(self, waiting: Waiting) -> bool:
        """Make a request the first, whose start is kept."""
        if not self.can_be_head(waiting) or not self.promise(waiting):
            return False
        self.head = waiting
        self.set_guard(waiting)
        return True

    def _fits_now(self, waiting: Waiting) -> bool:
        options, end = self.options(waiting), add(0, self.length(waiting))
        if options is None or self.has_failed(waiting, options, end):
            return False
        room = self.ledger.room(waiting, end)
        return room is not None and self.find(waiting, options, end, room) is not None

    def _let_pass(self, behind: Iterable[Waiting]) -> None:
        """Start whom nothing holds up: first those with a promise, then the shortest, who is as long in the order."""
        promised, crowds = self._crowds(behind)
        for waiting in promised:
            self.start(waiting)
        self._serve_crowds(crowds)

    def _serve_crowds(self, crowds: Sequence[Crowd]) -> None:
        """Try everybody of some crowds, by rank.

        Equal requests are together: once nothing is left for one, there is nothing for those that are no shorter.
        """
        for crowd in crowds:
            heapify(crowd)
        nearest = [(crowd[0], number) for number, crowd in enumerate(crowds)]
        heapify(nearest)
        while nearest:
            (_, _, waiting), number = heappop(nearest)
            heappop(crowds[number])
            is_hopeless = not self.start(waiting) and self._is_hopeless(waiting)
            if crowds[number] and not is_hopeless:
                heappush(nearest, (crowds[number][0], number))

    def _crowds(self, behind: Iterable[Waiting]) -> tuple[list[Waiting], list[Crowd]]:
        """Return those with a promise, and the others by what they ask for; without those for whom nothing is free."""
        taken = self.future.timeline.busy(0, 1)
        promised: list[Waiting] = []
        found: dict[int, Crowd | None] = {}
        for place, waiting in enumerate(behind):
            if waiting.promised_at is not None:
                promised.append(waiting)
                continue
            options = self.options(waiting)
            key = id(options) if waiting.request.count else 0  # who needs no GPU finds none, and needs none
            if key not in found:
                found[key] = [] if self._is_free(waiting, options, taken) else None
            crowd = found[key]
            if crowd is not None:
                crowd.append((passing_rank(waiting), place, waiting))
        return promised, [crowd for crowd in found.values() if crowd]

    def _is_free(self, waiting: Waiting, options: Options | None, taken: Sequence[int]) -> bool:
        if options is None or not waiting.request.count:
            return not waiting.request.count
        return choose(self.grid, options, taken, score=self.score_of(waiting)) is not None

    def _is_hopeless(self, waiting: Waiting) -> bool:
        options = self.options(waiting)
        return options is not None and id(options) in self.failed

    def _serve_in_order(self) -> None:
        """Serve a short queue; again when the first, which has no promise, is held up by its own quota by now."""
        self._let_pass(self._in_order())
        while self.head is not None and self.head.id not in self.granted and not self.can_be_head(self.head):
            self.head = self.soft = None
            self.set_guard(None)
            self._let_pass(self._in_order())

    def _in_order(self) -> list[Waiting]:
        """Start those who fit, up to the first that does not; return those behind it who may try to pass."""
        for place, waiting in enumerate(self.order):
            if waiting.id in self.granted or (waiting.reservation is not None and waiting.request.count):
                continue
            if self.start(waiting) or not self.can_be_head(waiting):
                continue
            if self._lead(waiting):
                rest = self.order[place + 1 :]
                return [other for other in rest if other.reservation is None or not other.request.count]
        return []

    def _wake_at(self) -> datetime | None:
        """Return the next moment at which time alone changes something for those who wait."""
        now = self.situation.now
        waiting = [other for other in self.situation.waiting if other.id not in self.granted]
        if not waiting:
            return None
        moments = [*self.promises.values(), *(other.not_before for other in waiting if other.not_before is not None)]
        moments += [edge for kept in self.situation.reservations for edge in (kept.start_at, kept.end_at)]
        return min((found for found in moments if found > now), default=None)
