"""The routes about waiting: the queue, reservations, the timeline, and why. A part of `ds01.api.routes`."""

from ds01.api import schema
from ds01.api.route import Parameter, Route

_OWNER = Parameter("uid", "integer", "Whose it is; administrators only. Without it: the caller.")
_ALL = Parameter("all", "boolean", "Everybody's; what others do not show is empty.")

QUEUE_ROUTES: tuple[Route, ...] = (
    Route(
        "list_queue",
        "GET",
        "/v1/queue",
        "Requests that wait for GPUs, in their order.",
        schema.QueueList,
        parameters=(_ALL, _OWNER),
        errors=("forbidden",),
    ),
    Route(
        "explain_request",
        "GET",
        "/v1/queue/{request}",
        "One request that waits, by its id or its container: every cause, and what would help.",
        schema.WhyDocument,
        parameters=(_OWNER,),
        errors=("not_found", "forbidden"),
    ),
    Route(
        "cancel_request",
        "DELETE",
        "/v1/queue/{request}",
        "Give up a place in the queue; others' by administrators only.",
        schema.CancelledRequest,
        parameters=(_OWNER,),
        errors=("not_found", "forbidden", "conflict"),
    ),
    Route(
        "move_request",
        "POST",
        "/v1/queue/{request}/move",
        "Give a request another place; administrators only. Says which promises change.",
        schema.MovedRequest,
        body=schema.MoveBody,
        parameters=(_OWNER,),
        errors=("not_found", "forbidden"),
    ),
    Route(
        "explain_container",
        "GET",
        "/v1/containers/{name}/why",
        "Why a container of this name waits, or which GPUs it has until when.",
        schema.WhyDocument,
        parameters=(_OWNER,),
        errors=("not_found", "forbidden"),
    ),
    Route(
        "explain_gpu",
        "GET",
        "/v1/gpus/{gpu}/why",
        "Why a device cannot be granted now, by its address or UUID.",
        schema.WhyDocument,
        errors=("not_found",),
    ),
    Route(
        "list_reservations",
        "GET",
        "/v1/reservations",
        "Reservations that the caller may use or has made.",
        schema.ReservationList,
        parameters=(_ALL, Parameter("over", "boolean", "Also those that are over.")),
    ),
    Route(
        "create_reservation",
        "POST",
        "/v1/reservations",
        "Keep GPUs for a window of time.",
        schema.ReservationOutcome,
        body=schema.ReservationBody,
        errors=("forbidden", "quota_exceeded", "not_found", "conflict"),
    ),
    Route(
        "get_reservation",
        "GET",
        "/v1/reservations/{reservation}",
        "One reservation, by its name or its id.",
        schema.ReservationDocument,
        errors=("not_found",),
    ),
    Route(
        "cancel_reservation",
        "DELETE",
        "/v1/reservations/{reservation}",
        "End a reservation before its time; containers that run in it go on.",
        schema.CancelledReservation,
        errors=("not_found", "forbidden", "conflict"),
    ),
    Route(
        "get_timeline",
        "GET",
        "/v1/timeline",
        "Who has which device until when, reservations, and promised starts.",
        schema.TimelineDocument,
        parameters=(
            Parameter("from_at", "string", "Begin, ISO 8601 with a zone; now without it."),
            Parameter("to_at", "string", "End, ISO 8601 with a zone; a day later without it."),
        ),
    ),
)
