"""Creations and starts that may wait: a place in the queue, and what is told to somebody who watches it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from aiohttp import web

from ds01.api import schema
from ds01.daemon.call import Call, moment_of
from ds01.daemon.documents import SCHEMA
from ds01.daemon.queue_documents import estimate_document, request_document, why_document
from ds01.daemon.stream_answer import LINES, StreamAnswer
from ds01.daemon.viewers import Viewers
from ds01.domain.scheduling.queue import Purpose, QueueEntry, QueueState, name_waits
from ds01.errors import BackendError, ConflictError, Ds01Error, InvalidRequestError, NoCapacityError
from ds01.service.creation import Creation
from ds01.service.explanations import ExplanationService, order_of_entry
from ds01.service.order import CreateOrder
from ds01.service.queue import Ended, QueueService

MAX_SECONDS = 400 * 86400.0
Finish = Callable[[Creation | None], Awaitable[Mapping[str, object]]]
"""Makes the last message: of a creation that this daemon has carried out, or of one that it has not."""


class WaitingHandlers:
    """What creations and starts have in common when they wait."""

    def __init__(self, queue: QueueService, explanations: ExplanationService, viewers: Viewers) -> None:
        self._queue = queue
        self._explanations = explanations
        self._viewers = viewers

    async def place(self, call: Call, order: CreateOrder, wait: timedelta | None) -> QueueEntry:
        """Return the request of an order: the one that waits already, if it is the same, or a new one.

        Raises:
            ConflictError: Another request waits for a container of that name.
            Ds01Error: It can never be granted.
        """
        present = await self._open(call.caller.uid, order.name)
        if present is None:
            return await self._queue.enqueue_creation(call.caller, order, gives_up_after=wait)
        if present.purpose is Purpose.CREATE and _is_same(order, order_of_entry(present)):
            return present
        raise name_waits(order.name)

    async def place_start(self, call: Call, wait: timedelta | None) -> QueueEntry:
        """Return the request for a start: the one that waits already, or a new one.

        Raises:
            Ds01Error: It need not, or cannot, wait.
        """
        present = await self._open(call.uid, call.name)
        if present is not None:
            return present
        return await self._queue.enqueue_start(call.caller, call.uid, call.name, gives_up_after=wait)

    async def _open(self, uid: int, name: str) -> QueueEntry | None:
        items = await self._queue.list_(uid=uid)
        return next((item.entry for item in items if item.entry.waiting.container_name == name), None)

    async def request(self, call: Call, entry: QueueEntry) -> schema.RequestDocument:
        """Return a request as its owner sees it."""
        item = await self._queue.find(entry.id)
        viewer = await self._viewers.of(call.caller, [entry.uid], acting_uid=entry.uid)
        names = await self._queue.reservation_names()
        found = item.entry if item is not None else entry
        return request_document(found, item.estimate if item is not None else None, viewer, reservations=names)

    async def watch(self, call: Call, entry: QueueEntry, finish: Finish) -> web.StreamResponse:
        """Tell a client about a request until it has ended. A client that leaves changes nothing."""
        stream = await call.begin_stream(LINES)
        ended = await self._queue.follow(entry.id, _Teller(stream, entry).tell)
        state = ended.entry.state
        if state is QueueState.EXPIRED:
            await stream.send({"kind": "gave_up"})
        elif state is QueueState.DONE:
            await stream.send(await finish(ended.creation))
        else:
            raise _failure(ended)
        return await stream.end()

    async def explain_refusal(self, call: Call, order: CreateOrder, refusal: NoCapacityError) -> None:
        """Put into a refusal what would come of waiting, and what would help. Unknown devices leave it as it is."""
        try:
            explained = await self._explanations.of_newcomer(call.caller, order)
        except BackendError:
            return
        if explained is not None and explained.explanation.grant is None:
            viewer = await self._viewers.about(call.caller, explained.situation)
            document = why_document(explained, None, viewer, reservations=await self._queue.reservation_names())
            refusal.details["why"] = document
            if explained.explanation.estimate is not None:
                refusal.details["estimate"] = estimate_document(explained.explanation.estimate)


class _Teller:
    """Turns what the queue says into lines of the stream."""

    def __init__(self, stream: StreamAnswer, entry: QueueEntry) -> None:
        self._stream = stream
        self._entry = entry

    async def tell(self, message: Mapping[str, object]) -> None:
        """Send one message on."""
        if message["kind"] == "waiting":
            await self._stream.send({"kind": "waiting", "waiting": _waiting_document(self._entry, message)})
        elif message["kind"] == "granted":
            await self._stream.send({"kind": "step", "message": "The GPUs are granted."})
        else:
            await self._stream.send(message)


def _waiting_document(entry: QueueEntry, message: Mapping[str, object]) -> schema.WaitingDocument:
    promised, estimated = message.get("promised_at"), message.get("estimated_at")
    place, of = message.get("place"), message.get("of")
    start = promised if promised is not None else estimated
    known = schema.EstimateDocument(
        start_at=str(start) if start is not None else None,
        is_promise=promised is not None,
        assumption=str(message.get("assumption") or ""),
        place=place if isinstance(place, int) else 0,
    )
    if place is None:
        known = estimate_document(None)
    return schema.WaitingDocument(
        id=entry.id,
        container=entry.waiting.container_name,
        estimate=known,
        waiting=of if isinstance(of, int) else 0,
        reason=str(message.get("reason") or ""),
    )


def _failure(ended: Ended) -> Ds01Error:
    entry = ended.entry
    name = entry.waiting.container_name
    if entry.state is QueueState.CANCELLED:
        return ConflictError(f"The request for {name} was {entry.reason or 'cancelled'}.", hint="`ds01 queue`")
    if isinstance(ended.failure, Ds01Error):
        return ended.failure
    return Ds01Error(f"{name} got its GPUs, and could not be made: {entry.reason}", hint="Ask for it again.")


def _is_same(order: CreateOrder, other: CreateOrder | None) -> bool:
    """Leave out what is different each time it is typed: `until 18:00` and `in 2h`."""
    return other is not None and _essence(order) == _essence(other)


def _essence(order: CreateOrder) -> tuple[object, ...]:
    return (order.image, order.request, order.reservation, order.is_exclusive, order.workspace, order.data)


def wait_of(body: Mapping[str, object]) -> timedelta | None:
    """Return how long a request may wait; None: without end.

    Raises:
        InvalidRequestError: No length of time, or one without waiting.
    """
    if "wait_s" in body and not body.get("wait", False):
        raise InvalidRequestError("wait_s goes with wait only.", hint="Send wait: true, or leave wait_s out.")
    return seconds_of(body, "wait_s")


def seconds_of(body: Mapping[str, object], name: str) -> timedelta | None:
    """Return a length of time of a document.

    Raises:
        InvalidRequestError: Not above 0, or longer than anybody lives with one computer.
    """
    seconds = body.get(name)
    if seconds is None:
        return None
    if not isinstance(seconds, int | float) or not 0 < seconds <= MAX_SECONDS:
        raise InvalidRequestError(f"{name} is above 0 and at most {MAX_SECONDS:.0f} seconds.", hint="Use --time 8h.")
    return timedelta(seconds=float(seconds))


def with_terms(order: CreateOrder, body: schema.CreateContainerBody) -> CreateOrder:
    """Return the order with what a document says about time and reservations.

    Raises:
        InvalidRequestError: Malformed, or a later start that may not wait for it.
    """
    start = moment_of("not_before", body["not_before"]) if "not_before" in body else None
    if start is not None and not body.get("wait", False):
        raise InvalidRequestError("A later start needs a place in the queue.", hint="Send wait: true with not_before.")
    return replace(
        order,
        time_limit=seconds_of(body, "time_limit_s"),
        not_before=start,
        reservation=body.get("reservation"),
        is_exclusive=body.get("exclusive", False),
    )


def placed(request: schema.RequestDocument) -> schema.CreatedContainer:
    """Return the answer to somebody who does not watch."""
    return schema.CreatedContainer(
        schema_version=SCHEMA, request=request, dry_run=False, docker_command="", reasons=[], warnings=[]
    )


def would_wait(refusal: NoCapacityError) -> schema.CreatedContainer:
    """Return the plan of a creation that would wait; `explain_refusal` has said what would come of it."""
    estimate = refusal.details.get("estimate")
    place = f": place {estimate['place']}" if isinstance(estimate, dict) else ""
    reasons = [f"it would wait{place}", refusal.message]
    return schema.CreatedContainer(schema_version=SCHEMA, dry_run=True, docker_command="", reasons=reasons, warnings=[])
