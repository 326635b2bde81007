"""Reservations and the timeline."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

from ds01.api import schema
from ds01.daemon.call import Call, moment_of
from ds01.daemon.documents import SCHEMA
from ds01.daemon.handlers.queue import promise_document
from ds01.daemon.queue_documents import reservation_document, timeline_document
from ds01.daemon.server import Handler
from ds01.daemon.viewers import Viewers, uids_in
from ds01.domain.request import ANY_KIND, GpuRequest, format_request
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.reservation_life import reservation_not_found
from ds01.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service.ports import Accounts, Clock
from ds01.service.reservations import ReservationOrder, ReservationService

DEFAULT_LENGTH = timedelta(days=1)


class ReservationHandlers:
    """Answers about reservations. Windows show to everybody, names as the site says."""

    def __init__(self, reservations: ReservationService, viewers: Viewers, accounts: Accounts, clock: Clock) -> None:
        self._reservations = reservations
        self._viewers = viewers
        self._clock = clock
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
        self, call: Call, found: Reservation, containers: Mapping[str, Sequence[str]] | None = None
    ) -> schema.ReservationDocument:
        viewer = await self._viewers.of(call.caller, [found.uid, found.created_by_uid])
        inside = containers.get(found.id, ()) if containers is not None else ()
        group = self._viewers.group_of(call.caller)
        return reservation_document(found, viewer, viewer_group=group, containers=inside)

    async def create_reservation(self, call: Call) -> schema.ReservationOutcome:
        """Keep GPUs, or say whether that is possible."""
        body = call.document(schema.ReservationBody)
        dry_run = body.get("dry_run", False)
        order = await self._order(call, body)
        try:
            outcome = await self._reservations.create(call.caller, order, dry_run=dry_run)
        except ConflictError as refusal:
            await self._hide_names(call, refusal, order)
            raise
        viewer = await self._viewers.of(call.caller, (found.waiting.uid for found in outcome.promises))
        return schema.ReservationOutcome(
            schema_version=SCHEMA,
            reservation=await self._document(call, outcome.reservation),
            promises=[promise_document(found, viewer) for found in outcome.promises],
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

    async def _hide_names(self, call: Call, refusal: ConflictError, order: ReservationOrder) -> None:
        """Names of others stay with those who may see them; that something is there, and when, is no secret.

        What is in the way stands in the details only: its times are for the client to say.
        """
        conflicts = refusal.details.get("conflicts")
        if isinstance(conflicts, list):
            refusal.message = f"{format_request(order.request)} cannot be kept then: something else is in the way."
            found = [item for item in conflicts if isinstance(item, dict)]
            viewer = await self._viewers.of(call.caller, (item.get("uid") for item in found))
            hidden = {"name": "", "uid": None}
            refusal.details["conflicts"] = [
                item if viewer.sees_user(item.get("uid")) else {**item, **hidden} for item in found
            ]

    async def get_reservation(self, call: Call) -> schema.ReservationDocument:
        """One reservation."""
        found = await self._find(call)
        return await self._document(call, found, await self._reservations.containers_in())

    async def _find(self, call: Call) -> Reservation:
        """The reservation that a path names. A name that the caller may not see names nothing.

        Raises:
            NotFoundError: There is none.
        """
        text = call.request.match_info["reservation"]
        found = await self._reservations.get(text)
        if text == found.name and not (await self._document(call, found))["name"]:
            raise reservation_not_found(text)
        return found

    async def cancel_reservation(self, call: Call) -> schema.CancelledReservation:
        """End one before its time."""
        found, caller = await self._find(call), call.caller
        if not caller.is_admin and caller.uid not in {found.uid, found.created_by_uid}:
            raise ForbiddenError(f"The reservation {found.id} is another's.", hint="Ask its owner or an administrator.")
        cancelled = await self._reservations.cancel(caller, found.id)
        return schema.CancelledReservation(schema_version=SCHEMA, reservation=await self._document(call, cancelled))

    async def get_timeline(self, call: Call) -> schema.TimelineDocument:
        """Who has what until when."""
        query = call.request.query
        start = moment_of("from_at", query["from_at"]) if "from_at" in query else None
        length = DEFAULT_LENGTH
        if "to_at" in query:
            length = moment_of("to_at", query["to_at"]) - (start or self._clock.now())
        found = await self._reservations.timeline(start, length)
        viewer = await self._viewers.of(call.caller, {*uids_in(found.situation), *(span.uid for span in found.spans)})
        return timeline_document(found, viewer, viewer_group=self._viewers.group_of(call.caller))
