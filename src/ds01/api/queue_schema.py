"""The documents about waiting: the queue, reservations, the timeline, and why. A part of ds01.api.schema.

What a caller may not see of others (`access.show_holders`) is an empty text or None; places and windows always show.
"""

from typing import Literal, NotRequired, TypedDict

from ds01.api.machine_schema import GpuDocument


class EstimateDocument(TypedDict):
    """When a request starts. A promise is the latest start, whatever else comes; else it rests on the assumption."""

    start_at: str | None
    is_promise: bool
    assumption: str
    place: int


class BlockerDocument(TypedDict):
    """Who holds a device that is waited for. until None: nobody knows; idle None: not known either."""

    address: str
    gpu_uuid: str
    profile: str
    owner: str
    group: str
    container: str
    state: str
    since: str | None
    until: str | None
    idle: bool | None
    mine: bool


class CauseDocument(TypedDict):
    """One reason for waiting. The message says no clock times: they are in `until` and `holders`."""

    kind: str
    message: str
    until: str | None
    holders: list[BlockerDocument]


class CounterfactualDocument(TypedDict):
    """A change that the planner has tried, with what would come of it. start_at None: it would start now."""

    kind: str
    message: str
    start_at: str | None
    options: list[str]
    command: str


class RequestDocument(TypedDict):
    """A request that waits for its GPUs."""

    id: str
    owner_uid: int | None
    owner: str
    group: str
    mine: bool
    container: str
    state: Literal["waiting", "starting", "failed"]
    gpus: int
    kind: str
    memory_bytes: int | None
    priority: int
    time_limit_s: float | None
    queued_at: str
    gives_up_at: str | None
    not_before: str | None
    reservation: str | None
    exclusive: bool
    moved: bool
    estimate: EstimateDocument
    reason: str


class WaitingDocument(TypedDict):
    """A request's place while somebody watches it; waiting counts all requests."""

    id: str
    container: str
    estimate: EstimateDocument
    waiting: int
    reason: str


class QueueList(TypedDict):
    """Requests that wait, in their order; waiting counts all of them, also those that are not listed."""

    schema_version: int
    requests: list[RequestDocument]
    waiting: int


class WhyDocument(TypedDict):
    """Why a request waits, why a container has what it has, or why a device cannot be granted; every cause."""

    schema_version: int
    subject: Literal["request", "container", "gpu"]
    name: str
    answer: str
    blocked: bool
    request: RequestDocument | None
    gpu: GpuDocument | None
    causes: list[CauseDocument]
    counterfactuals: list[CounterfactualDocument]


class CancelledRequest(TypedDict):
    """A request has left the queue."""

    schema_version: int
    id: str
    container: str
    owner: str


class MoveBody(TypedDict):
    """Where a request shall be: first, last, or before another one."""

    place: Literal["first", "last", "before"]
    before: NotRequired[str]
    reason: NotRequired[str]


class AffectedPromise(TypedDict):
    """A promise that an administrator's act changes; start_at None: nothing is promised any more."""

    id: str
    owner: str
    container: str
    promised_at: str
    start_at: str | None


class MovedRequest(TypedDict):
    """A request has another place, and these promises have changed."""

    schema_version: int
    request: RequestDocument
    promises: list[AffectedPromise]


class ReservationDocument(TypedDict):
    """GPUs kept for a user or a group in a window of time; containers: those that run in it."""

    id: str
    name: str
    owner_uid: int | None
    owner: str
    group: str
    mine: bool
    gpus: int
    kind: str
    memory_bytes: int | None
    start_at: str
    end_at: str
    reason: str
    created_by: str
    created_at: str
    state: Literal["planned", "active", "ended", "cancelled", "no_show"]
    origin: Literal["command", "policy"]
    containers: list[str]


class ReservationList(TypedDict):
    """Reservations by their start."""

    schema_version: int
    reservations: list[ReservationDocument]


class ReservationBody(TypedDict):
    """A new reservation, for the caller if neither a user nor a group is named. Times have a zone."""

    start_at: str
    end_at: str
    name: NotRequired[str]
    gpus: NotRequired[int]
    kind: NotRequired[str]
    memory_bytes: NotRequired[int]
    user: NotRequired[str]
    group: NotRequired[str]
    reason: NotRequired[str]
    dry_run: NotRequired[bool]


class ReservationOutcome(TypedDict):
    """A reservation that was made, or with dry_run would be, and what follows from it for others."""

    schema_version: int
    reservation: ReservationDocument
    promises: list[AffectedPromise]
    dry_run: bool


class CancelledReservation(TypedDict):
    """A reservation that keeps nothing any more."""

    schema_version: int
    reservation: ReservationDocument


class SpanDocument(TypedDict):
    """A stretch of time in which devices are taken or kept. end_at None: without an end that is known."""

    kind: Literal["grant", "hold", "foreign", "reservation", "promise", "estimate"]
    name: str
    owner: str
    group: str
    mine: bool
    gpus: int
    start_at: str
    end_at: str | None


class TimelineRow(TypedDict):
    """One device, or what is kept by kind and has no device yet (then gpu_uuid is empty)."""

    address: str
    gpu_uuid: str
    label: str
    state: str
    reason: str
    spans: list[SpanDocument]


class TimelineDocument(TypedDict):
    """Who has what until when, and what is kept for later."""

    schema_version: int
    now: str
    from_at: str
    to_at: str
    rows: list[TimelineRow]
