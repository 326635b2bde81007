"""What is taken of every card, and from when to when: the present, what was promised, what is reserved.

Times are whole microseconds after the present, so that equal moments are equal and a promise is kept to the tick.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ds01.domain.scheduling.board import Piece
from ds01.domain.scheduling.choice import UNLIMITED, choose, sets
from ds01.domain.scheduling.option import Grid, Options

NEVER = 1 << 62
MOST_STEPS = 2000
"""Sets that are tried for one question; who still has no answer then gets the careful one: no."""
Pieces = tuple[Piece, ...]
Room = Callable[[int], float | None]
"""What a request may weigh when it starts at a tick; None: its quota forbids it then."""


def ticks(length: timedelta) -> int:
    """Return a length of time in whole microseconds."""
    return (length.days * 86_400 + length.seconds) * 1_000_000 + length.microseconds


def moment(now: datetime, tick: int) -> datetime:
    """Return the moment that is so many microseconds after another."""
    return now + timedelta(microseconds=tick)


class Timeline:
    """What is taken, card by card, as intervals.

    An interval inside a reservation has two ends: for another reservation it ends with the window, because both were
    admitted like that; for everybody else when the last device is given back at the latest.
    """

    __slots__ = ("_cards",)

    def __init__(self, size: int) -> None:
        self._cards: list[list[tuple[int, int, int, int]]] = [[] for _ in range(size)]

    def add(self, pieces: Iterable[Piece], start: int, end: int, late_end: int | None = None) -> None:
        """Take pieces from `start` until before `end`."""
        interval_end = end if late_end is None else late_end
        for card, mask in pieces:
            self._cards[card].append((start, end, interval_end, mask))

    def undo(self, pieces: Iterable[Piece]) -> None:
        """Take back the last addition, which was of these pieces."""
        for card, _ in pieces:
            self._cards[card].pop()

    def busy(self, start: int, end: int, *, for_reservation: bool = False) -> list[int]:
        """Return what is taken at any moment of a window, one mask a card."""
        found = []
        for intervals in self._cards:
            mask = 0
            for begin, finish, late, bits in intervals:
                if begin < end and start < (finish if for_reservation else late):
                    mask |= bits
            found.append(mask)
        return found

    def ends(self) -> list[int]:
        """Return every moment at which something is given back, in order."""
        found = {late for intervals in self._cards for _, _, late, _ in intervals if 0 < late < NEVER}
        return sorted(found)

    def given_back(self) -> Iterator[tuple[int, Pieces]]:
        """Yield what ends, with its end."""
        for card, intervals in enumerate(self._cards):
            for _, _, late, mask in intervals:
                if late < NEVER:
                    yield late, ((card, mask),)

    def card(self, number: int) -> tuple[tuple[int, int, int, int], ...]:
        """Return the intervals of a card in order: cards with equal ones are interchangeable."""
        return tuple(sorted(self._cards[number]))


@dataclass(slots=True, eq=False)
class Commitment:
    """Something that must be kept: a reservation, or the start that a request was promised.

    Attributes:
        id: Of the reservation or the request.
        options: What satisfies it.
        start: Begin of its window.
        end: It needs nothing from here on.
        late_end: When the last device of it is given back.
        is_reservation: It is a reservation.
        budget: Gpu-equivalents that it may weigh.
        pieces: Where it has its place in the plan.
    """

    id: str
    options: Options
    start: int
    end: int
    late_end: int
    is_reservation: bool
    budget: float = UNLIMITED
    pieces: Pieces = ()


class Future:
    """One view of what comes: who holds devices until when, and every commitment with a place.

    The places are a proof that all can be kept, not a choice: the devices are chosen when the time has come.
    """

    def __init__(self, grid: Grid, timeline: Timeline) -> None:
        self.grid = grid
        self.timeline = timeline
        self.commitments: list[Commitment] = []
        self._steps = 0

    def busy(self, start: int, end: int) -> list[int]:
        """Return what is taken in a window when every commitment stays at its place."""
        found = self.timeline.busy(start, end)
        for commitment in self.commitments:
            if commitment.start < end and start < commitment.late_end:
                for card, mask in commitment.pieces:
                    found[card] |= mask
        return found

    def can_keep(self, pieces: Pieces, start: int, end: int) -> bool:
        """Tell whether everything can still be kept when pieces are taken too."""
        return self._places_beside(pieces, start, end) is not None

    def take(self, pieces: Pieces, start: int, end: int) -> None:
        """Take pieces for good; commitments move out of the way. Ask `can_keep` first."""
        places = self._places_beside(pieces, start, end)
        self.timeline.add(pieces, start, end)
        if places is not None:
            for commitment, place in zip(self.commitments, places, strict=True):
                commitment.pieces = place

    def _places_beside(self, pieces: Pieces, start: int, end: int) -> list[Pieces] | None:
        if not any(
            commitment.start < end and start < commitment.late_end and overlap(commitment.pieces, pieces)
            for commitment in self.commitments
        ):
            return [commitment.pieces for commitment in self.commitments]
        self.timeline.add(pieces, start, end)
        places = self.arrange(self.commitments)
        self.timeline.undo(pieces)
        return places

    def arrange(self, commitments: Sequence[Commitment]) -> list[Pieces] | None:
        """Return places for all commitments in their windows, or None if there are none."""
        self._steps = MOST_STEPS
        return self._arrange(commitments, 0)

    def _arrange(self, commitments: Sequence[Commitment], place: int) -> list[Pieces] | None:
        if place == len(commitments):
            return []
        wanted = commitments[place]
        busy = self.timeline.busy(wanted.start, wanted.end, for_reservation=wanted.is_reservation)
        if place + 1 == len(commitments):
            last = choose(self.grid, wanted.options, busy, budget=wanted.budget)
            return None if last is None else [pieces_of(last)]
        tried = set()
        for chosen in sets(self.grid, wanted.options, busy, budget=wanted.budget):
            trace = self._trace(pieces_of(chosen))
            if trace in tried:
                continue
            tried.add(trace)
            self._steps -= 1
            if self._steps < 0:
                return None
            pieces = pieces_of(chosen)
            self.timeline.add(pieces, wanted.start, wanted.end, wanted.late_end)
            rest = self._arrange(commitments, place + 1)
            self.timeline.undo(pieces)
            if rest is not None:
                return [pieces, *rest]
        return None

    def _trace(self, pieces: Pieces) -> tuple[object, ...]:
        """Return what is equal for sets that leave equal room."""
        grid = self.grid
        return tuple(sorted((grid.layouts[card], mask, self.timeline.card(card)) for card, mask in pieces))

    def earliest(self, options: Options, length: int, room: Room, not_before: int = 0) -> int | None:
        """Return the earliest start from which a wish fits, every commitment at its place, or None.

        Args:
            options: What satisfies the wish.
            length: How long it holds its devices.
            room: What it may weigh from a start on.
            not_before: It does not start before.
        """
        for start in [not_before, *(end for end in self._ends() if end > not_before)]:
            budget = room(start)
            if budget is None:
                continue
            busy = self.busy(start, add(start, length))
            if choose(self.grid, options, busy, budget=budget) is not None:
                return start
        return None

    def _ends(self) -> list[int]:
        late = {commitment.late_end for commitment in self.commitments if commitment.late_end < NEVER}
        return sorted(late.union(self.timeline.ends())) if late else self.timeline.ends()


def add(start: int, length: int) -> int:
    """Return the end of what begins then and takes so long."""
    return NEVER if length >= NEVER else start + length


def overlap(some: Pieces, others: Pieces) -> bool:
    """Tell whether two sets of pieces share a bit."""
    return any(card == other and mask & bits for card, mask in some for other, bits in others)


def pieces_of(chosen: Iterable[tuple[int, int, int, object]]) -> Pieces:
    """Return the bits of chosen options."""
    return tuple((option[0], option[1]) for option in chosen)
