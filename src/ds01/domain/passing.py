"""Who passes whom in one pass: those behind the first while few wait, and everybody's turn while the queue is long."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from heapq import heapify, heappop, heappush
from typing import Protocol

from ds01.domain.option import Options
from ds01.domain.patience import size_of
from ds01.domain.waiting import Waiting

Crowd = list[tuple[timedelta, int, Waiting]]
"""Requests that ask for the same, as a heap: rank, place in the order, request."""
Rank = Callable[[Waiting], timedelta]
"""What decides who goes first; the lowest does."""


class Server(Protocol):
    """What serving needs of a pass."""

    def start(self, waiting: Waiting) -> bool:
        """Start a request now if nothing that must be kept is against it."""

    def lead(self, waiting: Waiting) -> bool:
        """Make a request the first, whose start is kept."""

    def has_head(self) -> bool:
        """Somebody's start is kept."""

    def has_come(self, waiting: Waiting) -> bool:
        """Its time has come: it is due, or was promised to start by now."""

    def fits_now(self, waiting: Waiting) -> bool:
        """Tell whether it could start now."""

    def is_waiting(self, waiting: Waiting) -> bool:
        """Tell whether it did not start in this pass."""

    def is_free(self, waiting: Waiting) -> bool:
        """Tell whether anything is free for a request, if nothing had to be kept."""

    def is_hopeless(self, waiting: Waiting) -> bool:
        """Tell whether there is no place for it, nor for equal requests that are no shorter."""

    def options(self, waiting: Waiting) -> Options | None:
        """Return what satisfies a request."""


def serve_when_due(server: Server, outside: Sequence[Waiting], due: Mapping[str, int]) -> None:
    """Serve a long queue: those who are due, then the others by their size.

    One start is promised at a time: to the one that is due first of those that do not fit.

    Args:
        server: The pass.
        outside: Those who do not start in a reservation, in the order.
        due: When each is due, in ticks from now.
    """
    promised = [other for other in outside if other.promised_at is not None]
    others = sorted((other for other in outside if other.promised_at is None), key=lambda other: due.get(other.id, 0))
    late = [other for other in (*promised, *others) if server.has_come(other)]
    early = [other for other in (*promised, *others) if not server.has_come(other)]
    for waiting in late:
        if not server.start(waiting) and not server.has_head():
            server.lead(waiting)
    _lead_first(server, (other for other in early if not server.fits_now(other)))
    let_pass(server, early, size_of)
    _lead_first(server, (other for other in (*late, *early) if server.is_waiting(other)))


def _lead_first(server: Server, candidates: Iterable[Waiting]) -> None:
    """Make the first of them that can be the first, if nobody is."""
    if not server.has_head():
        any(server.lead(waiting) for waiting in candidates)


def let_pass(server: Server, behind: Iterable[Waiting], rank: Rank) -> None:
    """Start whom nothing holds up: the lowest rank first, who has the same in the order.

    A promise that is due comes before all ranks. Equal requests are together: once nothing is left for one, there is
    nothing for those that are no shorter.
    """
    promised, crowds = _crowds(server, behind, rank)
    for waiting in promised:
        server.start(waiting)
    nearest = [(crowd[0], number) for number, crowd in enumerate(crowds)]
    heapify(nearest)
    while nearest:
        (_, _, waiting), number = heappop(nearest)
        heappop(crowds[number])
        is_hopeless = not server.start(waiting) and server.is_hopeless(waiting)
        if crowds[number] and not is_hopeless:
            heappush(nearest, (crowds[number][0], number))


def _crowds(server: Server, behind: Iterable[Waiting], rank: Rank) -> tuple[list[Waiting], list[Crowd]]:
    """Return those with a promise, and the others by what they ask for; without those for whom nothing is free."""
    promised: list[Waiting] = []
    found: dict[object, Crowd | None] = {}
    for place, waiting in enumerate(behind):
        if waiting.promised_at is not None and server.has_come(waiting):
            promised.append(waiting)
            continue
        # who has a place kept finds one where equal requests find none
        key: object = id(server.options(waiting)) if waiting.promised_at is None else waiting.id
        if key not in found:
            found[key] = [] if server.is_free(waiting) else None
        crowd = found[key]
        if crowd is not None:
            crowd.append((rank(waiting), place, waiting))
    crowds = [crowd for crowd in found.values() if crowd]
    for crowd in crowds:
        heapify(crowd)
    return promised, crowds
