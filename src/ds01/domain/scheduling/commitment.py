"""What must be kept on this machine: reservations and promised starts, each with a place that proves it can be."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from ds01.domain.allocation import Allocation
from ds01.domain.scheduling.board import Hold
from ds01.domain.scheduling.choice import Chosen, choose, sets
from ds01.domain.scheduling.option import Grid, Options, Wish
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.situation import Situation
from ds01.domain.scheduling.timeline import NEVER, Commitment, Future, Pieces, Room, Timeline, add, pieces_of, ticks
from ds01.domain.scheduling.waiting import Waiting

MOST_STARTS = 16
"""Earlier starts that are tried by moving other commitments to other devices."""
Promised = tuple[Waiting, Options, Room, int]
"""A request with a promise, what satisfies it, what it may weigh from a start on, and when it is due."""


class Commitments:
    """The future of one situation, and what became of everything that was to be kept.

    Attributes:
        future: The strict view: what has no end never ends.
        broken: Promises that cannot be kept, request id to the reason.
        short: Reservations that cannot be kept whole, id to the devices that are missing.
    """

    def __init__(self, situation: Situation, grid: Grid, holds: Sequence[Hold]) -> None:
        self._situation = situation
        self._grid = grid
        self._holds = holds
        self._margin = ticks(situation.release_margin)
        self._active = {
            reservation.id: reservation
            for reservation in situation.reservations
            if not reservation.state.is_over and reservation.start_at <= situation.now < reservation.end_at
        }
        self.future = Future(grid, self._timeline(is_assumed=False))
        self._profiles: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        self.short: dict[str, int] = {}

    def of(self, id_: str) -> Commitment | None:
        """Return the commitment of a request or a reservation."""
        return next((found for found in self.future.commitments if found.id == id_), None)

    def active(self, id_: str | None) -> Reservation | None:
        """Return a reservation whose window is open."""
        return None if id_ is None else self._active.get(id_)

    def _timeline(self, *, is_assumed: bool) -> Timeline:
        timeline = Timeline(self._grid.size)
        for hold in self._holds:
            if hold.pieces:
                end, late_end = self._end(hold, is_assumed=is_assumed)
                timeline.add(hold.pieces, 0, end, late_end)
        return timeline

    def end_of(self, hold: Hold) -> int:
        """Return when a hold has given everything back at the latest."""
        return self._end(hold, is_assumed=False)[1]

    def _end(self, hold: Hold, *, is_assumed: bool) -> tuple[int, int]:
        """Return when a hold ends for reservations, and when for everybody else."""
        owner = hold.owner
        now = self._situation.now
        if not isinstance(owner, Allocation):
            end = self._assumed_end(owner.created_at) if is_assumed else NEVER
            return end, end
        reservation = self.active(owner.reservation)
        if reservation is not None:
            end = ticks(reservation.end_at - now)
            return end, end + self._margin
        if owner.ends_at is None:
            end = self._assumed_end(owner.claimed_at, owner.deadline_at) if is_assumed else NEVER
            return end, end
        end = ticks(owner.ends_at - now) + self._margin
        if end < 0:  # it overran its limit: nobody can say more than "soon"
            end = self._margin
        return max(end, 1), max(end, 1)

    def _assumed_end(self, since: datetime, deadline: datetime | None = None) -> int:
        now = self._situation.now
        if deadline is not None and deadline > now:
            return ticks(deadline - now)
        usual = max(ticks(self._situation.rules.assumed_duration), 1)
        so_far = max(ticks(now - since), 0)
        return usual - so_far % usual

    def keep_reservations(self) -> None:
        """Give every reservation its place; one that cannot be kept whole keeps what is possible."""
        wanted = []
        for reservation in sorted(self._situation.reservations, key=lambda found: (found.start_at, found.id)):
            if not reservation.state.is_over and reservation.end_at > self._situation.now:
                found = self._of_reservation(reservation, reservation.request.count - self._used_inside(reservation))
                wanted += [] if found is None else [(reservation, found)]
        places = self.future.arrange([commitment for _, commitment in wanted])
        if places is not None:
            for (_, commitment), pieces in zip(wanted, places, strict=True):
                commitment.pieces = pieces
                self.future.commitments.append(commitment)
            return
        for reservation, commitment in wanted:
            self._keep_most(reservation, commitment.options.count)

    def _keep_most(self, reservation: Reservation, count: int) -> None:
        for kept in range(count, 0, -1):
            commitment = self._of_reservation(reservation, kept)
            if commitment is not None and self._admit(commitment):
                break
        else:
            kept = 0
        if kept < count:
            self.short[reservation.id] = count - kept

    def _used_inside(self, reservation: Reservation) -> int:
        """Count the devices of a reservation that are in use by grants inside it."""
        used = 0
        for hold in self._holds:
            owner = hold.owner
            if isinstance(owner, Allocation) and owner.reservation == reservation.id:
                used += max(len(owner.gpu_uuids), len(owner.slices))
                for card, mask in hold.pieces:
                    self._profiles.setdefault(reservation.id, self._grid.profile_at(card, mask))
        return used

    def _of_reservation(self, reservation: Reservation, count: int) -> Commitment | None:
        if count <= 0:
            return None
        # several devices are of one profile: what is in use inside decides about the rest
        profile = self._profiles.get(reservation.id)
        options = self._grid.options(Wish(replace(reservation.request, count=count), profile=profile))
        now = self._situation.now
        start, end = max(ticks(reservation.start_at - now), 0), ticks(reservation.end_at - now)
        return Commitment(reservation.id, options, start, end, end + self._margin, is_reservation=True)

    def _admit(self, commitment: Commitment) -> bool:
        """Add a commitment if it can be kept beside all others."""
        places = self.future.arrange([*self.future.commitments, commitment])
        if places is None:
            return False
        self.future.commitments.append(commitment)
        for kept, pieces in zip(self.future.commitments, places, strict=True):
            kept.pieces = pieces
        return True

    def keep_promises(self, promised: Iterable[Promised]) -> None:
        """Give every promise its place: earlier where it can be, else at the promised time, else it is broken."""
        promised = list(promised)
        before = list(self.future.commitments)
        places = [commitment.pieces for commitment in before]
        if all(self._keep_earlier(*found) for found in promised):
            return
        self.future.commitments = before
        for commitment, pieces in zip(before, places, strict=True):
            commitment.pieces = pieces
        wanted = [self._at_promise(*found[:3]) for found in promised]
        found = self.future.arrange([*before, *wanted])
        if found is not None:
            self.future.commitments = [*before, *wanted]
            for commitment, pieces in zip(self.future.commitments, found, strict=True):
                commitment.pieces = pieces
            return
        for item, commitment in zip(promised, wanted, strict=True):
            if not self._admit(commitment):
                self.broken[item[0].id] = self._why_broken(commitment)

    def _keep_earlier(self, waiting: Waiting, options: Options, room: Room, due: int) -> bool:
        length, latest = self._length(waiting), self._latest(waiting)
        start = self._start_when_due(options, length, room, min(due, latest))
        if start is None:
            start = self.future.earliest(options, length, room, self._not_before(waiting))
        if start is None or start > latest:
            return False
        self._place(waiting.id, options, start, length, room(start) or 0.0)
        return True

    def _place(self, id_: str, options: Options, start: int, length: int, budget: float) -> Commitment:
        """Add a commitment whose place is free while all others stay at theirs."""
        end = add(start, length)
        chosen = choose(self._grid, options, self.future.busy(start, end), budget=budget) or ()
        weight = sum(option.position.equivalents for option in chosen)
        commitment = Commitment(id_, options, start, end, end, False, weight, pieces_of(chosen))
        self.future.commitments.append(commitment)
        return commitment

    def _at_promise(self, waiting: Waiting, options: Options, room: Room) -> Commitment:
        start = self._latest(waiting)
        budget = room(start) or 0.0
        end = add(start, self._length(waiting))
        return Commitment(waiting.id, options, start, end, end, is_reservation=False, budget=budget)

    def _latest(self, waiting: Waiting) -> int:
        # who was promised this very moment waits for a grant that ends in it
        return max(ticks((waiting.promised_at or self._situation.now) - self._situation.now), 1)

    def _not_before(self, waiting: Waiting) -> int:
        return 0 if waiting.not_before is None else max(ticks(waiting.not_before - self._situation.now), 0)

    def _length(self, waiting: Waiting) -> int:
        return NEVER if waiting.time_limit is None else ticks(waiting.time_limit) + self._margin

    def _why_broken(self, commitment: Commitment) -> str:
        empty = Future(self._grid, Timeline(self._grid.size))
        if empty.arrange([commitment]) is None:
            return "too few devices that it could have are left on this machine"
        alone = Future(self._grid, self.future.timeline)
        if alone.arrange([commitment]) is not None:
            kept = [other.id for other in self.future.commitments if other.is_reservation]
            return "a reservation or an earlier promise keeps the devices" if kept else "an earlier promise comes first"
        return "a grant holds the devices longer than its time limit, or a container that is not ours took them"

    def _start_when_due(self, options: Options, length: int, room: Room, due: int) -> int | None:
        """Return when a request is due, if that is to come and it fits then."""
        if due <= 0 or self.future.earliest(options, length, room, due) != due:
            return None
        return due

    def promise(self, id_: str, options: Options, length: int, room: Room, due: int = 0) -> Commitment | None:
        """Promise the earliest start that is sure, or None if there is none.

        Args:
            id_: The request.
            options: What satisfies it.
            length: How long it holds its devices, release included; NEVER: without end.
            room: What it may weigh from a start on.
            due: Others may go before it until then, in ticks from now.
        """
        start = self._start_when_due(options, length, room, due)
        if start is not None:
            return self._place(id_, options, start, length, room(start) or 0.0)
        start = self.future.earliest(options, length, room)
        earlier = self._earlier(id_, options, length, room, NEVER if start is None else start)
        if earlier is not None:
            return earlier
        return None if start is None else self._place(id_, options, start, length, room(start) or 0.0)

    def _earlier(self, id_: str, options: Options, length: int, room: Room, before: int) -> Commitment | None:
        """Promise a start before that one by moving other commitments to other devices, if it can be."""
        if not self.future.commitments:
            return None
        starts = [0, *(end for end in self.future.timeline.ends() if end < before)]
        for start in starts[:MOST_STARTS]:
            end, budget = add(start, length), room(start)
            if budget is None or start >= before:
                continue
            commitment = Commitment(id_, options, start, end, end, is_reservation=False, budget=budget)
            if self._admit(commitment):
                return commitment
        return None

    def release(self, id_: str) -> Commitment | None:
        """Take out the commitment of a request, and return it."""
        found = self.of(id_)
        if found is not None:
            self.future.commitments.remove(found)
        return found

    def restore(self, commitment: Commitment) -> None:
        """Put back what was taken out."""
        self.future.commitments.append(commitment)

    def soft_future(self, granted: Iterable[tuple[Pieces, int]]) -> Future:
        """Return the view in which everything without an end ends after the usual time.

        Args:
            granted: What this pass granted already, with its end.
        """
        soft = Future(self._grid, self._timeline(is_assumed=True))
        for pieces, end in granted:
            usual = ticks(self._situation.rules.assumed_duration)
            soft.timeline.add(pieces, 0, end if end < NEVER else usual)
        copies = [replace(commitment) for commitment in self.future.commitments]
        places = soft.arrange(copies)
        if places is not None:
            for copy, pieces in zip(copies, places, strict=True):
                copy.pieces = pieces
            soft.commitments = copies
        return soft

    def profile_of(self, reservation: Reservation) -> str | None:
        """Return the profile of what is in use in a reservation; None: nothing is."""
        return self._profiles.get(reservation.id)

    def start_inside(self, reservation: Reservation, options: Options, room: float) -> Chosen | None:
        """Take devices of a reservation for a request in it, or None if it has too few left."""
        own = self.of(reservation.id)
        if own is None or own.options.count < options.count:
            return None
        left = own.options.count - options.count
        others = [other for other in self.future.commitments if other is not own]
        known = self._profiles.get(reservation.id)
        busy = self.future.timeline.busy(0, own.end, for_reservation=True)
        for chosen in sets(self._grid, options, busy, budget=room):
            pieces = pieces_of(chosen)
            self._profiles[reservation.id] = chosen[0].position.profile
            rest = self._of_reservation(reservation, left)
            wanted = others if rest is None else [rest, *others]
            self.future.timeline.add(pieces, 0, own.end, own.late_end)
            places = self.future.arrange(wanted)
            if places is not None:
                self.future.commitments = wanted
                for commitment, place in zip(wanted, places, strict=True):
                    commitment.pieces = place
                return chosen
            self.future.timeline.undo(pieces)
            self._profiles.pop(reservation.id)
            if known is not None:
                self._profiles[reservation.id] = known
        return None
