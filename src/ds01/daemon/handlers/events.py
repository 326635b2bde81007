"""The audit trail: what was recorded, and what is recorded from now on."""

import asyncio

from aiohttp import web

from ds01.api import schema
from ds01.daemon.call import Call, moment_of
from ds01.daemon.documents import SCHEMA
from ds01.daemon.event_documents import event_document, names_of
from ds01.daemon.feed import EventFeed
from ds01.daemon.identity import Identities
from ds01.daemon.server import Handler
from ds01.daemon.stream_answer import LINES, StreamAnswer
from ds01.domain.event import Event, EventFilter, names_matching
from ds01.domain.rules.access import acting_uid
from ds01.errors import ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service.ports import Accounts, Store, StoreTransaction

DEFAULT_TAIL = 1000
MAX_TAIL = 10_000
BATCH = 500


class EventHandlers:
    """Answers about events. A user sees events about themselves and public ones, an administrator all."""

    def __init__(
        self, store: Store, accounts: Accounts, identities: Identities, feed: EventFeed, *, is_personal: bool
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._identities = identities
        self._feed = feed
        self._is_personal = is_personal

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {"list_events": self.list_events}

    async def list_events(self, call: Call) -> schema.EventList | web.StreamResponse:
        """What was recorded; with `follow` also what comes."""
        wanted = await self._filter(call)
        asked = call.integer("tail")
        tail = min(DEFAULT_TAIL if asked is None else asked, MAX_TAIL)
        if call.flag("follow"):
            if wanted.until is not None:
                raise InvalidRequestError("follow has no end, so it excludes until.", hint="Leave one of them out.")
            return await self._follow(call, wanted, tail)
        events = await self._store.read(
            lambda transaction: transaction.list_events(wanted, limit=tail + 1, from_end=True)
        )
        shown = events[max(len(events) - tail, 0) :]
        names = await names_of(self._identities, shown)
        return schema.EventList(
            schema_version=SCHEMA,
            events=[event_document(event, names) for event in shown],
            truncated=len(shown) < len(events),
        )

    async def _filter(self, call: Call) -> EventFilter:
        query = call.request.query
        sees_all = self._is_personal or call.caller.is_admin
        return EventFilter(
            viewer_uid=None if sees_all else call.caller.uid,
            uid=await self._named_uid(call, sees_all=sees_all),
            since=moment_of("since", query["since"]) if "since" in query else None,
            until=moment_of("until", query["until"]) if "until" in query else None,
            container=query.get("container"),
            names=names_matching(query["name"]) if "name" in query else None,
        )

    async def _named_uid(self, call: Call, *, sees_all: bool) -> int | None:
        """Whom the events shall be about. Who may not see others learns nothing of their names either."""
        uid, name = call.integer("uid"), call.request.query.get("user")
        if uid is not None and name is not None:
            raise InvalidRequestError("user and uid exclude each other.", hint="Leave one of them out.")
        if uid is not None:
            return uid if sees_all else acting_uid(call.caller, uid)
        if name is None or name == call.caller.user.name:
            return None if name is None else call.caller.uid
        if not sees_all:
            raise ForbiddenError("Only an administrator may see the events of others.", hint="Leave --user out.")
        user = await asyncio.to_thread(self._accounts.find_user_by_name, name)
        if user is not None:
            return user.uid
        if name.isascii() and name.isdigit() and len(name) <= 10:
            return int(name)  # somebody whose account is gone
        raise NotFoundError(f"There is no user {name[:60]!r} on this machine.", hint="Write a login name or a number.")

    async def _follow(self, call: Call, wanted: EventFilter, tail: int) -> web.StreamResponse:
        def begin(transaction: StoreTransaction) -> tuple[list[Event], int]:
            newest = transaction.list_events(limit=1, from_end=True)
            events = transaction.list_events(wanted, limit=tail, from_end=True)
            return events, newest[0].id if newest else 0

        events, position = await self._store.read(begin)
        stream = await call.begin_stream(LINES)
        await self._send(stream, events)
        while not self._feed.is_closed:
            ticket = self._feed.ticket()
            events, position = await self._new_ones(wanted, position)
            if events:
                await self._send(stream, events)
            else:
                await self._feed.wait(ticket)
        return await stream.end()

    async def _new_ones(self, wanted: EventFilter, position: int) -> tuple[list[Event], int]:
        """Also the number after which to look the next time: unwanted ones are not looked at again."""

        def look(transaction: StoreTransaction) -> tuple[list[Event], int]:
            newest = transaction.list_events(after_id=position, limit=1, from_end=True)
            events = transaction.list_events(wanted, after_id=position, limit=BATCH) if newest else []
            if len(events) == BATCH:
                return events, events[-1].id
            return events, newest[0].id if newest else position

        return await self._store.read(look)

    async def _send(self, stream: StreamAnswer, events: list[Event]) -> None:
        names = await names_of(self._identities, events)
        for event in events:
            await stream.send(schema.EventMessage(kind="event", event=event_document(event, names)))
