"""A small machine with whole cards at a moment, and words to say who holds, wants and keeps what of it."""

import dataclasses
from datetime import datetime, timedelta

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.board import Board, board_of
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.situation import Pass, Situation
from ds01.domain.scheduling.waiting import Waiting
from tests.unit.domain.machines import ALICE, BOB, CAROL, a100, at, machine
from tests.unit.domain.play import MARGIN, person, waiting

FULL = GpuRequest(1, "full")
TWO = GpuRequest(2, "full")
CARD = "GPU-{}aaa0000-bbbb"


def held(card: int | str, ends: float | None, *, uid: int = BOB, number: int = 0, **more: object) -> Allocation:
    """Return a grant of a whole card, or of a device, that ends so many minutes after the start."""
    uuid = CARD.format(card) if isinstance(card, int) else card
    ends_at = None if ends is None else at(ends)
    grant = Allocation(
        f"{number:015x}{card}"[-16:], uid, f"c{card}", FULL, (uuid,), 1.0, AllocationState.ACTIVE, at(0), at(0)
    )
    return dataclasses.replace(grant, group="student", ends_at=ends_at, **more)  # type: ignore[arg-type]  # the test's


def world(board: Board | int, *others: Allocation | Waiting | Reservation, now: float = 0, **more: object) -> Situation:
    """Return a situation with everybody without quotas."""
    cards = board_of(machine(*(a100(index) for index in range(board)))) if isinstance(board, int) else board
    people = {uid: person(uid) for uid in (ALICE, BOB, CAROL)}
    values: dict[str, object] = {
        "allocations": tuple(item for item in others if isinstance(item, Allocation)),
        "waiting": tuple(item for item in others if isinstance(item, Waiting)),
        "reservations": tuple(item for item in others if isinstance(item, Reservation)),
        "people": people,
        "release_margin": MARGIN,
        **more,
    }
    return Situation(at(now), cards, **values)  # type: ignore[arg-type]  # the test's


def want(number: int, request: GpuRequest = FULL, minutes: int | None = 60, **more: object) -> Waiting:
    """Return a request of Alice; lower numbers came earlier."""
    values: dict[str, object] = {"queued_at": at(number - 100), **more}
    limit = None if minutes is None else timedelta(minutes=minutes)
    return dataclasses.replace(waiting(number, ALICE, request, at(0), time_limit=limit), **values)  # type: ignore[arg-type]  # the test's


def keep(request: GpuRequest, start: float, end: float, *, uid: int = CAROL, name: str = "talk") -> Reservation:
    return Reservation(name.rjust(16, "0"), name, uid, None, request, at(start), at(end), "talk", None, at(-1000))


def started(found: Pass) -> list[int]:
    return [int(grant.waiting.id, 16) for grant in found.grants]


def promised(found: Pass) -> dict[int, datetime]:
    return {int(id_, 16): start for id_, start in found.promises.items()}


def cards_of(found: Pass, number: int = 0) -> list[str]:
    return [taken.card_uuid[4] for taken in found.grants[number].positions]
