"""When those who wait start, as far as one can say: the same rules, played on with what is usual."""

from collections.abc import Mapping

from ds01.domain.choice import choose
from ds01.domain.option import Values
from ds01.domain.queue_pass import QueuePass, grant_pieces
from ds01.domain.situation import Estimate, Situation
from ds01.domain.timeline import NEVER, Future, Pieces, add, moment, pieces_of, ticks
from ds01.domain.waiting import Waiting
from ds01.units import format_duration


class Forecast:
    """Starts of everybody, worked out in the order of the queue after one pass."""

    def __init__(self, situation: Situation, values: Values | None) -> None:
        self._situation = situation
        self._pass = QueuePass(situation, values=values)
        self._result = self._pass.run()
        self._usual = ticks(situation.rules.assumed_duration)
        self._future: Future | None = None
        self._earliest: dict[tuple[int, float], tuple[int, int]] = {}

    def all(self) -> Mapping[str, Estimate]:
        """Return the estimate of everybody who waits."""
        started = {grant.waiting.id for grant in self._result.grants}
        found: dict[str, Estimate] = {}
        for place, waiting in enumerate(self._pass.order, start=1):
            promise = self._result.promises.get(waiting.id)
            if waiting.id in started:
                found[waiting.id] = Estimate(self._situation.now, True, "", place)
            elif promise is not None:
                found[waiting.id] = Estimate(promise, True, "", place)
            else:
                found[waiting.id] = self._estimate(waiting, place)
        return found

    def _estimate(self, waiting: Waiting, place: int) -> Estimate:
        worker, now = self._pass, self._situation.now
        not_before = 0 if waiting.not_before is None else max(ticks(waiting.not_before - now), 0)
        if waiting.reservation is not None and waiting.request.count:
            return self._inside(waiting, place)
        room = worker.ledger.room(waiting, NEVER)
        if room is None:
            return Estimate(None, False, "it waits for the quota, which nobody can foresee", place)
        if not waiting.request.count:
            return Estimate(moment(now, not_before), False, "", place)
        options = worker.options(waiting)
        if options is None:
            return Estimate(None, False, "the machine has too few devices that it could have", place)
        length = worker.length(waiting)
        length = length if length < NEVER else self._usual
        start = self._start(options_key=(id(options), room), waiting=waiting, length=length, not_before=not_before)
        if start is None:
            return Estimate(None, False, "what it needs is kept for others without end", place)
        return Estimate(
            moment(now, start),
            False,
            "grants without an end are taken to end after " + format_duration(self._situation.rules.assumed_duration),
            place,
        )

    def _inside(self, waiting: Waiting, place: int) -> Estimate:
        now = self._situation.now
        for reservation in self._situation.reservations:
            if reservation.id == waiting.reservation and not reservation.state.is_over and reservation.end_at > now:
                if reservation.start_at > now:
                    return Estimate(
                        reservation.start_at, False, f"its reservation {reservation.name} starts then", place
                    )
                text = f"the GPUs of its reservation {reservation.name} are in use"
                return Estimate(None, False, text, place)
        return Estimate(None, False, "its reservation is over", place)

    def _start(self, *, options_key: tuple[int, float], waiting: Waiting, length: int, not_before: int) -> int | None:
        options = self._pass.options(waiting)
        if options is None:
            return None
        room = options_key[1]
        future = self._played_on()
        known_length, known = self._earliest.get(options_key, (NEVER, 0))
        # a wish that is as long or longer cannot start before one that was placed already
        begin = max(not_before, known if length >= known_length else 0)
        start = future.earliest(options, length, lambda _: room, begin)
        if start is None:
            return None
        end = add(start, length)
        chosen = choose(self._pass.grid, options, future.busy(start, end), budget=room) or ()
        future.timeline.add(pieces_of(chosen), start, end)
        if not_before <= known and length <= known_length:
            self._earliest[options_key] = (length, start)
        return start

    def _played_on(self) -> Future:
        """Return the future with everything that is decided as taken."""
        if self._future is None:
            worker = self._pass
            granted: list[tuple[Pieces, int]] = [
                (grant_pieces(worker.grid, grant), worker.end_of(grant)) for grant in worker.grants
            ]
            self._future = worker.kept.soft_future(granted)
        return self._future


def estimate_starts(situation: Situation, values: Values | None = None) -> Mapping[str, Estimate]:
    """Return when each waiting request starts, by id.

    Who has a promise starts then at the latest. All others are placed one after the other in their order, every grant
    without an end taken as if it ended after the usual time; nobody new comes, and nobody ends early.

    Args:
        situation: The world now.
        values: Worth of the states of cards, by table.
    """
    return Forecast(situation, values).all()
