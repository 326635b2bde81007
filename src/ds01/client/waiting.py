"""The client's methods about waiting: the queue, reservations, the timeline, and why."""

from __future__ import annotations

from ds01.client.calls import Calls, query_of
from ds01.client.wire import segment

TYPE_CHECKING = False  # the name that checkers know, without the import of typing that costs 5 ms
if TYPE_CHECKING:
    from ds01.api import schema


class WaitingCalls(Calls):
    """What a client asks about waiting."""

    def list_queue(self, *, everybody: bool = False, uid: int | None = None) -> schema.QueueList:
        """Return the caller's requests that wait, or everybody's as far as the caller may see them."""
        answer: schema.QueueList = self._get("/v1/queue" + query_of(all=everybody, uid=uid))
        return answer

    def explain_request(self, request: str, *, uid: int | None = None) -> schema.WhyDocument:
        """Return one request that waits, with every cause."""
        answer: schema.WhyDocument = self._get(_request(request) + query_of(uid=uid))
        return answer

    def cancel_request(self, request: str, *, uid: int | None = None) -> schema.CancelledRequest:
        """Give up a place in the queue."""
        answer: schema.CancelledRequest = self._act("DELETE", _request(request) + query_of(uid=uid))
        return answer

    def move_request(self, request: str, body: schema.MoveBody, *, uid: int | None = None) -> schema.MovedRequest:
        """Give a request another place, or with dry_run say what that would change."""
        answer: schema.MovedRequest = self._act("POST", _request(request) + "/move" + query_of(uid=uid), body)
        return answer

    def explain_container(self, name: str, *, uid: int | None = None) -> schema.WhyDocument:
        """Return why a container of this name waits, or what it has."""
        answer: schema.WhyDocument = self._get(
            f"/v1/containers/{segment(name, 'the container')}/why" + query_of(uid=uid)
        )
        return answer

    def explain_gpu(self, gpu: str) -> schema.WhyDocument:
        """Return why a device cannot be granted now."""
        answer: schema.WhyDocument = self._get(f"/v1/gpus/{segment(gpu, 'the GPU')}/why")
        return answer

    def list_reservations(self, *, everybody: bool = False, over: bool = False) -> schema.ReservationList:
        """Return the caller's reservations, or everybody's as far as the caller may see them."""
        answer: schema.ReservationList = self._get("/v1/reservations" + query_of(all=everybody, over=over))
        return answer

    def create_reservation(self, body: schema.ReservationBody) -> schema.ReservationOutcome:
        """Keep GPUs for a window of time, or with dry_run say whether that is possible."""
        answer: schema.ReservationOutcome = self._act("POST", "/v1/reservations", body)
        return answer

    def get_reservation(self, reservation: str) -> schema.ReservationDocument:
        """Return one reservation by its name or id."""
        answer: schema.ReservationDocument = self._get(f"/v1/reservations/{segment(reservation, 'the reservation')}")
        return answer

    def cancel_reservation(self, reservation: str) -> schema.CancelledReservation:
        """End a reservation before its time."""
        answer: schema.CancelledReservation = self._act(
            "DELETE", f"/v1/reservations/{segment(reservation, 'the reservation')}"
        )
        return answer

    def get_timeline(self, *, from_at: str | None = None, to_at: str | None = None) -> schema.TimelineDocument:
        """Return who has which device until when, and what is kept for later."""
        answer: schema.TimelineDocument = self._get("/v1/timeline" + query_of(from_at=from_at, to_at=to_at))
        return answer


def _request(request: str) -> str:
    return f"/v1/queue/{segment(request, 'the request')}"
