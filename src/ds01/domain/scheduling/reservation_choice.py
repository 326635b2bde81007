"""In which reservation a request starts."""

from ds01.domain.request import format_request
from ds01.domain.scheduling.reservation import ReservationState
from ds01.domain.scheduling.reservation_life import fits_inside, reservation_not_found
from ds01.domain.scheduling.situation import Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import ConflictError


def choose_reservation(situation: Situation, waiting: Waiting, wanted: str | None) -> str | None:
    """Return the id of the reservation in which a request starts; None: outside of any.

    Args:
        situation: The scheduler's world.
        waiting: The request.
        wanted: Name or id as it was typed; None: the only active one of the user that fits.

    Raises:
        NotFoundError: The user has none of that name.
        ConflictError: It is not made for such a request.
    """
    mine = [item for item in situation.reservations if item.is_for(waiting.uid, waiting.group)]
    if wanted is None:
        fitting = [
            item.id for item in mine if item.state is ReservationState.ACTIVE and fits_inside(item, waiting.request)
        ]
        return fitting[0] if len(fitting) == 1 else None
    found = next((item for item in mine if wanted in {item.name, item.id}), None)
    if found is None:
        raise reservation_not_found(wanted)
    if not fits_inside(found, waiting.request):
        raise ConflictError(
            f"The reservation {found.name} keeps {format_request(found.request)}: "
            f"it is not made for {format_request(waiting.request)}.",
            hint=f"Ask for --gpus {found.request.count} --gpu-kind {found.request.kind}, or less.",
        )
    return found.id
