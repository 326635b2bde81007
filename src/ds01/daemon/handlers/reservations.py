"""Reservations and the timeline."""

import asyncio
from datetime import datetime, timedelta

from ds01.api import schema
from ds01.daemon.call import Call, moment_of
from ds01.daemon.documents import SCHEMA
from ds01.daemon.handlers.queue import promise_document
from ds01.daemon.queue_documents import reservation_document, timeline_document
from ds01.daemon.server import Handler
from ds01.daemon.viewers import Viewers, uids_in
from ds01.domain.queue_move import Affected
from ds01.domain.request import ANY_KIND, GpuRequest
from ds01.domain.reservation import Reservation
from ds01.domain.situation import Situation
from ds01.errors import ConflictError, InvalidRequestError, NotFoundError
from ds01.service.ports import Accounts
from ds01.service.queue import QueueItem, QueueService
from ds01.service.reservations import ReservationOrder, ReservationService

DEFAULT_LENGTH = timedelta(days=1)
LONGEST = timedelta(days=366)


class ReservationHandlers:
    """Answers about reservations. Windows show to everybody, names as the site says."""

    def __init__(
        self, reservations: ReservationService, queue: QueueService, viewers: Viewers, accounts: Accounts
    ) -> None:
        self._reservations = reservations
        self._queue = queue
        self._viewers = viewers
        self._accounts = accounts

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {
            "list_reservations": self.list_reservations,
            "create_reservation": self.create_reservation,
            "get_reservation": self.get_reservation,
            "cancel_reservation": self.cancel_reservation,
            "get_timeline": self.get_timeline,
        }

    async def list_reservations(self, call: Call) -> schema.ReservationList:
        """Those that the caller may use or has made; with `all` everybody's."""
        found = await self._reservations.list_(with_over=call.flag("over"))
        if not call.flag("all"):
            group, uid = self._viewers.group_of(call.caller), call.caller.uid
            found = [item for item in found if item.is_for(uid, group) or item.created_by_uid == uid]
        return schema.ReservationList(
            schema_version=SCHEMA, reservations=[await self._document(call, item) for item in found]
        )

    async def _document(
        self, call: Call, found: Reservation, situation: Situation | None = None
    ) -> schema.ReservationDocument:
        viewer = await self._viewers.of(call.caller, [found.uid, found.created_by_uid])
        inside = [grant for grant in situation.allocations if grant.reservation == found.id] if situation else []
        containers = [grant.container_name for grant in inside if viewer.sees_user(grant.uid)]
        group = self._viewers.group_of(call.caller)
        return reservation_document(found, viewer, viewer_group=group, containers=containers)

    async def create_reservation(self, call: Call) -> schema.ReservationOutcome:
        """Keep GPUs, or say whether that is possible."""
        body = call.document(schema.ReservationBody)
        dry_run = body.get("dry_run", False)
        order = await self._order(call, body)
        before = await self._queue.list_()
        try:
            made = await self._reservations.create(call.caller, order, dry_run=dry_run)
        except ConflictError as refusal:
            await self._hide_names(call, refusal)
            raise
        changed = _changed(before, await self._queue.list_())
        viewer = await self._viewers.of(call.caller, (found.waiting.uid for found in changed))
        return schema.ReservationOutcome(
            schema_version=SCHEMA,
            reservation=await self._document(call, made),
            promises=[promise_document(found, viewer) for found in changed],
            dry_run=dry_run,
        )

    async def _order(self, call: Call, body: schema.ReservationBody) -> ReservationOrder:
        if "user" in body and "group" in body:
            raise InvalidRequestError("A reservation is for a user or for a group.", hint="Leave one of them out.")
        group = body.get("group")
        uid = None if group is not None else await self._uid(call, body.get("user"))
        kind = body.get("kind", ANY_KIND).strip().lower()
        count = body.get("gpus", 1)
        if count < 1:
            raise InvalidRequestError(f"{count} GPUs cannot be reserved.", hint="Write 1 or more, such as --gpus 2.")
        return ReservationOrder(
            GpuRequest(count, kind, body.get("memory_bytes")),
            moment_of("start_at", body["start_at"]),
            moment_of("end_at", body["end_at"]),
            name=body.get("name", ""),
            uid=uid,
            group=group,
            reason=body.get("reason", ""),
        )

    async def _uid(self, call: Call, name: str | None) -> int:
        if name is None or name == call.caller.user.name:
            return call.caller.uid
        user = await asyncio.to_thread(self._accounts.find_user_by_name, name)
        if user is None:
            raise NotFoundError(f"There is no user {name[:60]!r} on this machine.", hint="Write a login name.")
        return user.uid

    async def _hide_names(self, call: Call, refusal: ConflictError) -> None:
        """Names of others stay with those who may see them; that something is there, and when, is no secret."""
        viewer = await self._viewers.of(call.caller, ())
        conflicts = refusal.details.get("conflicts")
        if not viewer.sees_user(None) and isinstance(conflicts, list):
            refusal.details["conflicts"] = [{**item, "name": ""} for item in conflicts if isinstance(item, dict)]

    async def get_reservation(self, call: Call) -> schema.ReservationDocument:
        """One reservation."""
        found = await self._reservations.get(call.request.match_info["reservation"])
        situation, _ = await self._queue.situation()
        return await self._document(call, found, situation)

    async def cancel_reservation(self, call: Call) -> schema.CancelledReservation:
        """End one before its time."""
        found = await self._reservations.cancel(call.caller, call.request.match_info["reservation"])
        return schema.CancelledReservation(schema_version=SCHEMA, reservation=await self._document(call, found))

    async def get_timeline(self, call: Call) -> schema.TimelineDocument:
        """Who has what until when."""
        situation, _ = await self._queue.situation()
        query = call.request.query
        start = moment_of("from_at", query["from_at"]) if "from_at" in query else situation.now
        end = moment_of("to_at", query["to_at"]) if "to_at" in query else start + DEFAULT_LENGTH
        if not timedelta() < end - start <= LONGEST:
            raise InvalidRequestError("The timeline must end after it begins, and within a year.", hint="ds01 timeline")
        found = await self._reservations.timeline(start, end - start)
        viewer = await self._viewers.of(call.caller, {*uids_in(situation), *(span.uid for span in found.spans)})
        return timeline_document(found, situation, viewer, viewer_group=self._viewers.group_of(call.caller))


def _changed(before: list[QueueItem], after: list[QueueItem]) -> list[Affected]:
    """Promises that are later now, or gone."""
    now: dict[str, tuple[QueueItem, datetime | None]] = {
        item.entry.id: (item, item.entry.waiting.promised_at) for item in after
    }
    found: list[Affected] = []
    for item in before:
        promised_at = item.entry.waiting.promised_at
        if promised_at is None or item.entry.id not in now:
            continue
        later, present = now[item.entry.id]
        if present is None or present > promised_at:
            found.append(Affected(later.entry.waiting, promised_at, present))
    return found
