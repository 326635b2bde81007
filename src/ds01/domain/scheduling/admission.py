"""Who may start beside everything that must be kept: one request at a time, and the promise to one that may not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ds01.domain.scheduling.board import Hold, holds_of
from ds01.domain.scheduling.choice import UNLIMITED, Chosen, Score, choose, sets
from ds01.domain.scheduling.commitment import Commitments
from ds01.domain.scheduling.ledger import ledger_of
from ds01.domain.scheduling.option import Grid, Options, Values, grid_of
from ds01.domain.scheduling.queue_order import order_with_leads
from ds01.domain.scheduling.sharing import SharedUse
from ds01.domain.scheduling.situation import Grant, Situation, TakenPosition
from ds01.domain.scheduling.timeline import NEVER, Commitment, Future, Pieces, Room, add, moment, pieces_of, ticks
from ds01.domain.scheduling.waiting import Waiting

LATER_THAN_NEVER = NEVER + 1
MOST_TRIES = 24
"""Sets that are tried for one request beside everything that must be kept."""


class Admission:
    """A situation in which grants and promises are made one after the other. The order of asking is the caller's."""

    def __init__(
        self, situation: Situation, *, values: Values | None = None, memory_used: Mapping[str, float] | None = None
    ) -> None:
        self.situation = situation
        self.grid = grid_of(situation.board, values)
        self.margin = ticks(situation.release_margin)
        self.holds: Sequence[Hold] = holds_of(situation.board, situation.allocations, situation.foreign)
        self.kept = Commitments(situation, self.grid, self.holds)
        self.ledger = ledger_of(situation, self.holds, [self.kept.end_of(hold) for hold in self.holds])
        self.future: Future = self.kept.future
        self.soft: Future | None = None
        self.head: Waiting | None = None
        self.shared = SharedUse(situation, self.holds, memory_used or {}) if self.grid.is_shared else None
        self.grants: list[Grant] = []
        self.promises: dict[str, datetime] = {}
        self.order, self.leads = order_with_leads(situation)
        self._lengths: dict[timedelta | None, int] = {None: NEVER}
        self._guard: list[int] | None = None
        self._known: dict[object, dict[tuple[object, ...], Options | None]] = {}
        self._options: dict[int, dict[tuple[object, ...], Options | None]] = {}
        self.failed: dict[int, int] = {}
        self._busy: dict[int, list[int]] = {}
        self._held: list[int] | None = None
        self.granted: set[str] = set()

    def due_of(self, waiting: Waiting) -> int:
        """Return when others may not go before a request any more, in ticks from now; 0: now, unless a pass says it."""
        del waiting
        return 0

    def settle(self) -> None:
        """Give a place to every reservation and to every promise."""
        situation = self.situation
        self.kept.keep_reservations()
        promised = []
        for waiting in self.order:
            if waiting.promised_at is None or waiting.reservation is not None or not waiting.request.count:
                continue
            options, room = self.options(waiting), self.room_of(waiting)
            latest = max(ticks(waiting.promised_at - situation.now), 1)
            if options is None:
                self.kept.broken[waiting.id] = "too few devices that it could have are left on this machine"
            elif room(latest) is None:
                self.kept.broken[waiting.id] = "its quota does not allow it any more"
            else:
                promised.append((waiting, options, room, self.due_of(waiting)))
                self.ledger.keep(waiting, options.levels[0].equivalents * options.count, latest)
        self.kept.keep_promises(promised)
        for waiting, _, _, _ in promised:
            commitment = self.kept.of(waiting.id)
            if commitment is not None and waiting.promised_at is not None:
                self.promises[waiting.id] = min(waiting.promised_at, moment(situation.now, commitment.start))
                self.ledger.keep(waiting, commitment.budget, commitment.start)
        if self.kept.broken:
            self._forget_broken()

    def _forget_broken(self) -> None:
        """Whose promise is broken waits like everybody: the next pass would see it so."""
        broken = self.kept.broken.keys()
        waiting = [
            replace(found, promised_at=None) if found.id in broken else found for found in self.situation.waiting
        ]
        for found in waiting:
            if found.id in broken:
                self.ledger.forget(found)
        self.situation = replace(self.situation, waiting=tuple(waiting))
        self.order, self.leads = order_with_leads(self.situation)

    def room_of(self, waiting: Waiting) -> Room:
        """Return what a request may weigh from a start on."""
        length = self.length(waiting)
        return lambda start: self.ledger.room(waiting, add(start, length), start)

    def options(self, waiting: Waiting) -> Options | None:
        """Return what satisfies a request, or None if the machine has too little of it now."""
        known = self._options.get(waiting.uid)
        if known is None:
            known = self._options[waiting.uid] = self._known_for(waiting.uid)
        request = waiting.request
        key: tuple[object, ...] = (request.kind, request.count, request.memory_bytes)
        if waiting.gpu_uuids or self.shared is not None:
            key = (*key, waiting.gpu_uuids, waiting.is_exclusive, waiting.priority)
        if key in known:
            return known[key]
        person = self.situation.people.get(waiting.uid)
        options = None
        if person is not None:
            options = self.grid.options(self.grid.wish_of(waiting, person.limits.values))
            options = options if self.grid.most(options) >= options.count else None
        known[key] = options
        return options

    def _known_for(self, uid: int) -> dict[tuple[object, ...], Options | None]:
        """Return what is known of requests, which is the same for all users with the same rules about devices."""
        person = self.situation.people.get(uid)
        rules = None if person is None else (person.limits.values.allow_full_gpu, person.limits.values.gpu_preference)
        return self._known.setdefault(rules, {})

    def is_due(self, waiting: Waiting) -> bool:
        """Tell whether a request may start by its own wish."""
        return waiting.not_before is None or waiting.not_before <= self.situation.now

    def can_be_head(self, waiting: Waiting) -> bool:
        """Only who is kept waiting by the machine holds up others: nobody waits for another's quota.

        Who has a promise keeps it while its owner uses the quota up to it.
        """
        if waiting.id in self.promises:
            return self.is_due(waiting)
        if not waiting.request.count or not self.is_due(waiting) or self.options(waiting) is None:
            return False
        return self.ledger.room(waiting, NEVER) is not None

    def start(self, waiting: Waiting) -> bool:
        """Start a request now if nothing that must be kept is against it."""
        if waiting.id in self.granted or not self.is_due(waiting):
            return False
        end = add(0, self.length(waiting))
        options = self.options(waiting)
        if waiting.request.count and (options is None or self.has_failed(waiting, options, end)):
            return False
        room = self.ledger.room(waiting, end)
        if room is None:
            return False
        if options is None or not waiting.request.count:
            self._record(waiting, (), end)
            return True
        own = self.kept.release(waiting.id) if waiting.id in self.promises else None
        if own is not None:
            self._forget()
        chosen = self.find(waiting, options, end, room)
        if chosen is None:
            if own is not None:
                self.kept.restore(own)
                self._forget()
            return False
        self._record(waiting, chosen, end)
        return True

    def has_failed(self, waiting: Waiting, options: Options, end: int) -> bool:
        """Tell whether an equal request that is no longer found no place: what is taken since only made it worse."""
        return self.failed.get(id(options), LATER_THAN_NEVER) <= end and waiting.id not in self.promises

    def length(self, waiting: Waiting) -> int:
        """Return how long a grant holds its devices at most, from its start."""
        limit = waiting.time_limit
        known = self._lengths.get(limit)
        if known is None:
            known = self._lengths[limit] = NEVER if limit is None else ticks(limit) + self.margin
        return known

    def find(self, waiting: Waiting, options: Options, end: int, room: float) -> Chosen | None:
        """Return a set that a request can have until `end` beside everything that must be kept."""
        score = self.score_of(waiting)
        chosen = choose(self.grid, options, self._busy_until(end), budget=room, score=score)
        if chosen is None and (self.future.commitments or self.soft is not None):
            chosen = self._find_beside(options, end, room, score)
        if chosen is None and (room == UNLIMITED or self.find(waiting, options, end, UNLIMITED) is None):
            self.failed[id(options)] = end
        return chosen

    def _busy_until(self, end: int) -> list[int]:
        """Return what must not be taken until then when every commitment stays at its place."""
        found = self._busy.get(end)
        if found is None:
            found = list(self._held_now())
            for commitment in self.future.commitments:
                if commitment.start < end and commitment.late_end > 0:
                    for card, bits in commitment.pieces:
                        found[card] |= bits
            for other in (self.soft.busy(0, end) if self.soft is not None else None, self._guard):
                if other is not None:
                    found = [mask | more for mask, more in zip(found, other, strict=True)]
            self._busy[end] = found
        return found

    def _held_now(self) -> list[int]:
        """Return what is held. All of it has begun, so that it is the same for every end."""
        if self._held is None:
            self._held = self.future.timeline.busy(0, 1)
        return self._held

    def _find_beside(self, options: Options, end: int, room: float, score: Score | None) -> Chosen | None:
        """Find a set that fits when commitments move to other devices."""
        busy = self._held_now()
        if self._guard is not None:
            busy = [mask | more for mask, more in zip(busy, self._guard, strict=True)]
        for left, chosen in zip(
            range(MOST_TRIES), sets(self.grid, options, busy, budget=room, score=score), strict=False
        ):
            del left
            pieces = pieces_of(chosen)
            if self.future.can_keep(pieces, 0, end) and (self.soft is None or self.soft.can_keep(pieces, 0, end)):
                return chosen
        return None

    def score_of(self, waiting: Waiting) -> Score | None:
        """Return the score of shares for a request; None: nothing is shared."""
        return None if self.shared is None else self.shared.score_for(waiting.priority)

    def _record(self, waiting: Waiting, chosen: Chosen, end: int, late_end: int | None = None) -> None:
        pieces = pieces_of(chosen)
        if late_end is None:
            for future in (self.future, self.soft):
                if future is not None and pieces:
                    future.take(pieces, 0, end)
        cards = self.situation.board.cards
        positions = tuple(TakenPosition(cards[option.card].uuid, option.position) for option in chosen)
        grant = Grant(waiting, positions, reason_of(waiting, chosen))
        self.grants.append(grant)
        self.granted.add(waiting.id)
        self.ledger.forget(waiting)
        self.ledger.add(waiting.uid, waiting.group, len(chosen), grant.equivalents, end=self.end_of(grant))
        if not waiting.is_restart:
            self.ledger.add_container(waiting.uid)
        if self.shared is not None:
            self.shared.add(chosen, waiting.priority)
        self._busy.clear()
        self._held = None

    def _forget(self) -> None:
        """What must be kept has changed: what was worked out from it is void."""
        self.failed.clear()
        self._busy.clear()
        self._held = None

    def promise(self, waiting: Waiting) -> bool:
        """Keep the earliest start for the first that does not fit; False: nobody can say one."""
        if waiting.id in self.promises:
            return True
        options, room, length = self.options(waiting), self.room_of(waiting), self.length(waiting)
        if options is None:
            return False
        commitment = self.kept.promise(waiting.id, options, length, room, self.due_of(waiting))
        self._forget()
        if commitment is not None:
            self.promises[waiting.id] = moment(self.situation.now, commitment.start)
            self.ledger.keep(waiting, commitment.budget, commitment.start)
            return True
        self.soft = self.kept.soft_future(
            [(grant_pieces(self.grid, grant), self.end_of(grant)) for grant in self.grants]
        )
        start = self.soft.earliest(options, length, room)
        if start is None:
            self.soft = None
            return False
        end, budget = add(start, length), room(start) or 0.0
        place = choose(self.grid, options, self.soft.busy(start, end), budget=budget)
        self.soft.commitments.append(
            Commitment(waiting.id, options, start, end, end, False, budget, pieces_of(place or ()))
        )
        return True

    def end_of(self, grant: Grant) -> int:
        """Return when a grant of this pass gives its devices back at the latest."""
        reservation = self.kept.active(grant.waiting.reservation)
        if reservation is not None:
            return ticks(reservation.end_at - self.situation.now) + self.margin
        return add(0, self.length(grant.waiting))

    def set_guard(self, head: Waiting | None) -> None:
        """Who waited too long is not passed by anybody who takes something that it could use. None: nobody."""
        self._guard = None
        if head is not None and self.situation.now - head.queued_at > self.situation.rules.age_guard:
            options = self.options(head)
            self._guard = None if options is None else list(options.reach)
        self._forget()

    def start_inside(self, waiting: Waiting) -> None:
        """Start a request in its reservation."""
        reservation = self.kept.active(waiting.reservation)
        person = self.situation.people.get(waiting.uid)
        if reservation is None or person is None or not reservation.is_for(waiting.uid, waiting.group):
            return
        if not self.is_due(waiting):
            return
        room = self.ledger.room(waiting, NEVER)
        if room is None:
            return
        wish = self.grid.wish_of(waiting, person.limits.values, reservation.request)
        wish = wish._replace(profile=self.kept.profile_of(reservation))
        chosen = self.kept.start_inside(reservation, self.grid.options(wish), room)
        if chosen is not None:
            self._forget()
            self._record(waiting, chosen, 0, late_end=0)


def grant_pieces(grid: Grid, grant: Grant) -> Pieces:
    """Return the bits that a grant takes."""
    places = {card.uuid: number for number, card in enumerate(grid.board.cards)}
    return tuple((places[taken.card_uuid], taken.position.mask) for taken in grant.positions)


def reason_of(waiting: Waiting, chosen: Chosen) -> str:
    """Return why a request gets what was chosen, in one phrase."""
    if not chosen:
        return "no GPU asked for"
    first = chosen[0].position
    what = "whole GPU" if first.kind.value == "full" else f"MIG instance {first.profile}"
    if first.shares > 1:
        return f"a share of the device that suits best ({what}, 1 of {first.shares})"
    if waiting.gpu_uuids:
        return f"the devices that its container has ({what})"
    if len(chosen) > 1:
        return f"{len(chosen)} free devices of one kind ({what})"
    return f"the smallest free device that fits ({what})"
