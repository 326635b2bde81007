"""The engine's events."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ds01.adapters.docker.calls import EngineCalls
from ds01.adapters.docker.moment import format_cursor
from ds01.adapters.docker.parse import parse_event
from ds01.adapters.docker.session import Call
from ds01.service.ports import EngineEvent


class EventCalls(EngineCalls):
    """What happens on the engine."""

    async def watch_events(self, *, since: str | None = None) -> AsyncGenerator[EngineEvent, None]:
        """Yield the engine's events from the cursor on, that one included, without end.

        Without a cursor it begins with the first `anext`. The engine answers before it has subscribed us, so even then
        a moment is sent along: what happens in between comes out of its memory (256 events).
        """
        query = {"since": since or format_cursor(time.time_ns())}
        async with aclosing(self.stream_documents(Call("GET", "/events", query))) as documents:
            async for document in documents:
                yield parse_event(document)
