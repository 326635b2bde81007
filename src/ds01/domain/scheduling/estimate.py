"""When those who wait start, as far as one can say: the rules of the queue, played on with what is usual."""

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from ds01.domain.scheduling.admission import grant_pieces
from ds01.domain.scheduling.choice import Chosen, choose
from ds01.domain.scheduling.option import Grid, Options, Values
from ds01.domain.scheduling.queue_pass import QueuePass
from ds01.domain.scheduling.situation import Estimate, Situation
from ds01.domain.scheduling.timeline import NEVER, Future, Pieces, moment, overlap, pieces_of, ticks
from ds01.domain.scheduling.waiting import Waiting
from ds01.units import format_duration


@dataclass(frozen=True, slots=True)
class _Member:
    """One who waits in the play.

    Attributes:
        place: Place in the order.
        id: The request.
        options: What satisfies it.
        length: How long it holds its devices.
        room: What it may weigh.
        not_before: It does not start before.
    """

    place: int
    id: str
    options: Options
    length: int
    room: float
    not_before: int


class _Play:
    """The machine from now on: devices are given back at their ends, and the next ones start."""

    def __init__(self, grid: Grid, future: Future, members: list[_Member]) -> None:
        self._grid = grid
        self._taken = future.timeline.busy(0, 1)
        self._blocks = future.commitments
        self._ends = list(future.timeline.given_back())
        self._ends += [(block.late_end, ()) for block in self._blocks if block.late_end < NEVER]
        self._ends += [(member.not_before, ()) for member in members if member.not_before > 0]
        heapify(self._ends)
        self._left = {member.place: member for member in members}
        self._crowds: dict[tuple[int, float], list[tuple[int, int]]] = {}
        for member in members:
            self._crowds.setdefault((id(member.options), member.room), []).append((member.length, member.place))
        for crowd in self._crowds.values():
            heapify(crowd)
        self.starts: dict[str, int] = {}

    def run(self) -> None:
        """Play until everybody has started or nothing changes any more."""
        now = 0
        while self._left:
            self._serve(now)
            if not self._ends:
                return
            now = self._ends[0][0]
            while self._ends and self._ends[0][0] <= now:
                for card, mask in heappop(self._ends)[1]:
                    self._taken[card] &= ~mask

    def _serve(self, now: int) -> None:
        for member in list(self._left.values()):
            if member.not_before > now:
                continue
            if not self._try(member, now, None):
                self._let_pass(member, now)
                return

    def _let_pass(self, head: _Member, now: int) -> None:
        """Start those who give back in time, or take nothing that the first will need."""
        shadow: tuple[int, Pieces] | None = None
        for crowd in self._crowds.values():
            while crowd:
                member = self._left.get(crowd[0][1])
                if member is None:
                    heappop(crowd)
                    continue
                if member is head or member.not_before > now or self._find(member, now) is None:
                    break
                shadow = shadow or self._shadow(head)
                if not self._try(member, now, shadow):
                    break

    def _shadow(self, head: _Member) -> tuple[int, Pieces]:
        """Return when the first fits, and where."""
        state = list(self._taken)
        for end, pieces in sorted(self._ends):
            for card, mask in pieces:
                state[card] &= ~mask
            chosen = choose(self._grid, head.options, self._busy(state, end, head.length), budget=head.room)
            if chosen is not None:
                return end, pieces_of(chosen)
        return NEVER, ()

    def _busy(self, taken: list[int], now: int, length: int) -> list[int]:
        end, found = now + length, taken
        for block in self._blocks:
            if block.start < end and now < block.late_end:
                found = list(found)
                for card, mask in block.pieces:
                    found[card] |= mask
        return found

    def _find(self, member: _Member, now: int) -> Chosen | None:
        return choose(self._grid, member.options, self._busy(self._taken, now, member.length), budget=member.room)

    def _try(self, member: _Member, now: int, shadow: tuple[int, Pieces] | None) -> bool:
        chosen = self._find(member, now)
        if chosen is None:
            return False
        pieces, end = pieces_of(chosen), now + member.length
        if shadow is not None and end > shadow[0] and overlap(pieces, shadow[1]):
            return False
        for card, mask in pieces:
            self._taken[card] |= mask
        heappush(self._ends, (end, pieces))
        self.starts[member.id] = now
        del self._left[member.place]
        return True


class Forecast:
    """Estimates of everybody who waits, after one pass."""

    def __init__(self, situation: Situation, values: Values | None) -> None:
        self._situation = situation
        self._pass = QueuePass(situation, values=values)
        self._result = self._pass.run()
        usual = situation.rules.assumed_duration
        self._usual = ticks(usual)
        self._assumption = (
            f"grants without an end are taken to end after {format_duration(usual)}, and nobody new comes"
        )

    def all(self) -> Mapping[str, Estimate]:
        """Return the estimate of everybody who waits."""
        started = {grant.waiting.id for grant in self._result.grants}
        now = self._situation.now
        found: dict[str, Estimate] = {}
        members: list[_Member] = []
        for place, waiting in enumerate(self._pass.order, start=1):
            promise = now if waiting.id in started else self._result.promises.get(waiting.id)
            if promise is not None:
                found[waiting.id] = Estimate(promise, is_promise=True, assumption="", place=place)
                continue
            member = self._member(waiting, place)
            found[waiting.id] = member if isinstance(member, Estimate) else self._nobody_can_say(place)
            members += [] if isinstance(member, Estimate) else [member]
        worker = self._pass
        granted = [(grant_pieces(worker.grid, grant), worker.end_of(grant)) for grant in worker.grants]
        play = _Play(worker.grid, worker.kept.soft_future(granted), members)
        play.run()
        for member in members:
            start = play.starts.get(member.id)
            if start is not None:
                found[member.id] = Estimate(moment(now, start), False, self._assumption, member.place)
        return found

    def _nobody_can_say(self, place: int) -> Estimate:
        return Estimate(None, False, "what it needs is held or kept for others without an end", place)

    def _member(self, waiting: Waiting, place: int) -> _Member | Estimate:
        worker, now = self._pass, self._situation.now
        not_before = 0 if waiting.not_before is None else max(ticks(waiting.not_before - now), 0)
        if waiting.reservation is not None and waiting.request.count:
            return self._inside(waiting, place)
        room = worker.ledger.room(waiting, NEVER)
        if room is None:
            return Estimate(None, False, "it waits for its quota: until its owner or group gives something back", place)
        if not waiting.request.count:
            return Estimate(moment(now, not_before), False, "", place)
        options = worker.options(waiting)
        if options is None:
            return Estimate(None, False, "the machine has too few devices that it could have", place)
        length = worker.length(waiting)
        return _Member(place, waiting.id, options, length if length < NEVER else self._usual, room, not_before)

    def _inside(self, waiting: Waiting, place: int) -> Estimate:
        now = self._situation.now
        for reservation in self._situation.reservations:
            if reservation.id == waiting.reservation and not reservation.state.is_over and reservation.end_at > now:
                if reservation.start_at > now:
                    said = f"its reservation {reservation.name} starts then"
                    return Estimate(reservation.start_at, False, said, place)
                said = f"the GPUs of its reservation {reservation.name} are in use"
                return Estimate(None, False, said, place)
        return Estimate(None, False, "its reservation is over", place)


def estimate_starts(situation: Situation, values: Values | None = None) -> Mapping[str, Estimate]:
    """Return when each waiting request starts, by id.

    Who has a promise starts then at the latest. For all others the queue is played on: the first who does not fit is
    not delayed, the shortest pass it, every grant without an end ends after the usual time.

    Args:
        situation: The world now.
        values: Worth of the states of cards, by table.
    """
    return Forecast(situation, values).all()
