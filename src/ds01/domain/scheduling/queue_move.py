"""An administrator gives a request another place: what becomes of the others' places and promises."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import InvalidRequestError


class Place(StrEnum):
    """Where a request shall be."""

    FIRST = "first"
    LAST = "last"
    BEFORE = "before"


@dataclass(frozen=True, slots=True)
class Affected:
    """A promise that an administrator's act has changed.

    Attributes:
        waiting: The request, as it is afterwards.
        promised_at: What was promised before.
        start_at: What is promised now; None: nothing any more.
    """

    waiting: Waiting
    promised_at: datetime
    start_at: datetime | None


def plan_move(
    order: Sequence[Waiting], request_id: str, place: Place, *, before_id: str | None = None
) -> list[Waiting]:
    """Return the requests that a move changes, as they are after it.

    Everybody up to the new place keeps the order by a place of their own; promises of those behind it end, for a
    promise goes before every place. The request keeps its own promise only if it does not move back.

    Args:
        order: Those who wait, in their order.
        request_id: Which one moves.
        place: Where to.
        before_id: Before which one, with `Place.BEFORE`.

    Raises:
        InvalidRequestError: There is no such place.
    """
    moving = next(waiting for waiting in order if waiting.id == request_id)
    others = [waiting for waiting in order if waiting.id != request_id]
    old = list(order).index(moving)
    new = _index(others, place, before_id)
    if new > old:
        moving = replace(moving, promised_at=None)
    wanted = [*others[:new], moving, *others[new:]]
    changed: list[Waiting] = []
    for number, waiting in enumerate(wanted):
        is_behind = number > new
        after = waiting
        if is_behind and waiting.promised_at is not None:
            after = replace(after, promised_at=None)
        if not is_behind or waiting.moved_to is not None:
            after = replace(after, moved_to=number)
        if after != waiting or waiting.id == request_id:
            changed.append(after)
    return changed


def _index(others: Sequence[Waiting], place: Place, before_id: str | None) -> int:
    if place is Place.FIRST:
        return 0
    if place is Place.LAST:
        return len(others)
    found = next((number for number, waiting in enumerate(others) if waiting.id == before_id), None)
    if found is None:
        raise InvalidRequestError(
            f"No other request {before_id or ''!r} waits.", hint="`ds01 queue` shows every request with its id."
        )
    return found
