"""The queue: list, cancel, move; and why: of requests, containers and devices."""

from collections.abc import Mapping

from ds01.api import schema
from ds01.daemon import documents
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA, time_text
from ds01.daemon.queue_documents import (
    cause_document,
    group_of,
    owner_of,
    request_document,
    why_document,
    why_gpu_document,
)
from ds01.daemon.server import Handler
from ds01.daemon.viewers import Viewers, uids_in
from ds01.domain.allocation import Allocation
from ds01.domain.devices.gpu import all_gpus
from ds01.domain.reasons.explanation import Cause
from ds01.domain.reasons.why_text import Viewer
from ds01.domain.scheduling.queue import QueueState, request_not_found
from ds01.domain.scheduling.queue_move import Affected, Place
from ds01.domain.scheduling.situation import Situation
from ds01.errors import BackendError, ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service.containers import ContainerService
from ds01.service.explanations import ExplanationService
from ds01.service.queue import QueueItem, QueueService
from ds01.service.usage import UsageService

MOST_EXPLAINED = 4
"""So many requests of a list say their first cause: each asks the planner many times."""


class Waiters:
    """The requests that wait, as documents: for the queue's routes, and for lists that show them beside others."""

    def __init__(self, queue: QueueService, explanations: ExplanationService, viewers: Viewers) -> None:
        self._queue = queue
        self._explanations = explanations
        self._viewers = viewers
        self._known: tuple[Situation, dict[str, tuple[Cause, ...]]] | None = None

    async def list_(self, call: Call, uid: int | None) -> tuple[list[schema.RequestDocument], int]:
        """Return requests that are open, of one user or of everybody, and how many wait in all."""
        items = await self._queue.list_()
        count = sum(1 for item in items if item.entry.state is QueueState.WAITING)
        shown = [item for item in items if uid is None or item.entry.uid == uid]
        if not shown:
            return [], count
        viewer = await self._viewers.of(call.caller, (item.entry.uid for item in shown), acting_uid=uid)
        causes = await self._causes(shown, viewer)
        names = await self._queue.reservation_names()
        places = {item.entry.id: place for place, item in enumerate(_waiting(items), start=1)}
        found = [
            request_document(
                item.entry,
                item.estimate,
                viewer,
                reservations=names,
                reason=_first(causes.get(item.entry.id, ()), viewer),
                place=places.get(item.entry.id, 0),
            )
            for item in shown
        ]
        return found, count

    async def _causes(self, items: list[QueueItem], viewer: Viewer) -> Mapping[str, tuple[Cause, ...]]:
        wanted = [item.entry.id for item in _waiting(items) if item.entry.uid == viewer.uid or viewer.is_admin]
        outlook = await self._queue.outlook() if wanted else None
        if outlook is None:
            return {}
        if self._known is None or self._known[0] is not outlook.situation:
            self._known = (outlook.situation, {})
        known = self._known[1]
        new = [request_id for request_id in wanted[:MOST_EXPLAINED] if request_id not in known]
        if new:
            known.update(await self._explanations.causes(outlook.situation, new))
        return known


def _waiting(items: list[QueueItem]) -> list[QueueItem]:
    return [item for item in items if item.entry.state is QueueState.WAITING]


def _first(causes: tuple[Cause, ...], viewer: Viewer) -> str:
    if not causes:
        return ""
    said = cause_document(causes[0], viewer)["message"]
    return said if len(causes) == 1 else f"{said}, and {len(causes) - 1} more"


class QueueHandlers:
    """Answers about what waits, and why."""

    def __init__(
        self,
        queue: QueueService,
        explanations: ExplanationService,
        waiters: Waiters,
        viewers: Viewers,
        *,
        containers: ContainerService,
        usage: UsageService,
    ) -> None:
        self._queue = queue
        self._explanations = explanations
        self._waiters = waiters
        self._viewers = viewers
        self._containers = containers
        self._usage = usage

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {
            "list_queue": self.list_queue,
            "explain_request": self.explain_request,
            "cancel_request": self.cancel_request,
            "move_request": self.move_request,
            "explain_container": self.explain_container,
            "explain_gpu": self.explain_gpu,
        }

    async def list_queue(self, call: Call) -> schema.QueueList:
        """Mine; with `all` everybody's, with what the site shows of others."""
        uid = call.uid
        requests, count = await self._waiters.list_(call, None if call.flag("all") else uid)
        return schema.QueueList(schema_version=SCHEMA, requests=requests, waiting=count)

    async def _find(self, call: Call) -> QueueItem:
        """The request that a path names: mine by name or id, another's by id, if the caller may act on it.

        Raises:
            NotFoundError: There is none.
            ForbiddenError: It is another's.
        """
        text, uid = call.request.match_info["request"], call.uid
        item = await self._queue.find(text, uid=uid) or await self._queue.find(text)
        if item is None:
            raise request_not_found(text)
        if item.entry.uid != call.caller.uid and not call.caller.is_admin:
            raise ForbiddenError(
                f"The request {item.entry.id} is another user's.",
                hint="`ds01 queue` shows yours; ask its owner or an administrator.",
            )
        return item

    async def explain_request(self, call: Call) -> schema.WhyDocument:
        """Every cause of one request, and what would help."""
        return await self._why(call, await self._find(call))

    async def _why(self, call: Call, item: QueueItem) -> schema.WhyDocument:
        entry = item.entry
        names = await self._queue.reservation_names()
        if entry.state is not QueueState.WAITING:
            viewer = await self._viewers.of(call.caller, [entry.uid], acting_uid=entry.uid)
            request = request_document(entry, None, viewer, reservations=names)
            return _nothing("request", entry.waiting.container_name, _state_text(item), request=request)
        explained = await self._explanations.of_request(entry.id)
        viewer = await self._viewers.about(call.caller, explained.situation, acting_uid=entry.uid)
        return why_document(explained, entry, viewer, reservations=names)

    async def cancel_request(self, call: Call) -> schema.CancelledRequest:
        """Give up a place."""
        item = await self._find(call)
        entry = await self._queue.cancel(call.caller, item.entry.id, uid=item.entry.uid)
        viewer = await self._viewers.of(call.caller, [entry.uid])
        return schema.CancelledRequest(
            schema_version=SCHEMA,
            id=entry.id,
            container=entry.waiting.container_name,
            owner=owner_of(viewer, entry.uid),
        )

    async def move_request(self, call: Call) -> schema.MovedRequest:
        """Give a request another place."""
        body = call.document(schema.MoveBody)
        item = await self._find(call)
        place = Place(body["place"])
        if (place is Place.BEFORE) != ("before" in body):
            raise InvalidRequestError(
                "`before` names a request, with the place `before` only.", hint="Leave it out, or write --before ID."
            )
        before = body.get("before")
        if before is not None:
            other = await self._queue.find(before)
            before = other.entry.id if other is not None else before
        reason = body.get("reason", "")
        moved = await self._queue.move(call.caller, item.entry.id, place, before=before, reason=reason)
        uids = [moved.item.entry.uid, *(found.waiting.uid for found in moved.promises)]
        viewer = await self._viewers.of(call.caller, uids)
        names = await self._queue.reservation_names()
        return schema.MovedRequest(
            schema_version=SCHEMA,
            request=request_document(moved.item.entry, moved.item.estimate, viewer, reservations=names),
            promises=[promise_document(found, viewer) for found in moved.promises],
        )

    async def explain_container(self, call: Call) -> schema.WhyDocument:
        """Why a container waits; of one that exists, what it has until when, or why it would wait."""
        uid, name = call.uid, call.name
        item = await self._queue.find(name, uid=uid)
        if item is not None and item.entry.state.is_open and item.entry.waiting.container_name == name:
            return await self._why(call, item)
        try:
            details = await self._containers.get_details(uid, name)
        except NotFoundError:
            if item is None:
                raise
            return await self._why(call, item)  # typed as an id
        row = await self._containers.find_row(details)
        allocation = await self._containers.find_allocation(row)
        if row is None or allocation is None or allocation.is_holding or not allocation.gpu_uuids:
            return _nothing("container", name, await self._has(name, allocation))
        is_late = details.attachment.managed_device is not None
        explained = await self._explanations.of_start(row, allocation, is_late=is_late)
        if explained is None:
            return _nothing("container", name, f"{name} has no GPU now.")
        viewer = await self._viewers.about(call.caller, explained.situation, acting_uid=uid)
        found = why_document(explained, None, viewer, reservations=await self._queue.reservation_names())
        found["subject"] = "container"
        if not found["blocked"]:
            found["answer"] = f"{name} is stopped and has given its GPUs back; they are free: ds01 start {name}"
        return found

    async def _has(self, name: str, allocation: Allocation | None) -> str:
        if allocation is None or not allocation.gpu_uuids:
            return f"{name} waits for nothing: it needs no GPU."
        try:
            inventory, _ = await self._usage.devices()
        except BackendError:
            addresses: dict[str, str] = {}
        else:
            addresses = {gpu.uuid: gpu.address for gpu in all_gpus(inventory)}
        what = ", ".join(addresses.get(uuid, uuid) for uuid in allocation.gpu_uuids)
        return f"{name} waits for nothing: it has GPU {what}."

    async def explain_gpu(self, call: Call) -> schema.WhyDocument:
        """Why a device cannot be granted."""
        found = await self._explanations.of_gpu(call.request.match_info["gpu"])
        viewer = await self._viewers.of(call.caller, uids_in(found.situation))
        _, views = await self._usage.devices()
        gpus = [documents.gpu_document(view, viewer) for view in views if view.gpu.uuid == found.explanation.uuid]
        return why_gpu_document(found, gpus[0] if gpus else None, viewer)


def _state_text(item: QueueItem) -> str:
    name, state, reason = item.entry.waiting.container_name, item.entry.state, item.entry.reason
    if state is QueueState.GRANTED:
        return f"{name} has its GPUs and is being made."
    return f"The request for {name} does not wait any more: {state}" + (f" ({reason})." if reason else ".")


def _nothing(
    subject: str, name: str, answer: str, *, request: schema.RequestDocument | None = None
) -> schema.WhyDocument:
    return schema.WhyDocument(
        schema_version=SCHEMA,
        subject="request" if subject == "request" else "container",
        name=name,
        answer=answer,
        blocked=False,
        request=request,
        gpu=None,
        causes=[],
        counterfactuals=[],
    )


def promise_document(found: Affected, viewer: Viewer) -> schema.AffectedPromise:
    """Return a promise that somebody's act has changed."""
    uid = found.waiting.uid
    return schema.AffectedPromise(
        id=found.waiting.id,
        owner=owner_of(viewer, uid) or group_of(viewer, uid, found.waiting.group),
        container=found.waiting.container_name if viewer.sees_user(uid) else "",
        promised_at=found.promised_at.isoformat(timespec="seconds"),
        start_at=time_text(found.start_at),
    )
