"""Consoles of main processes."""

from aiohttp import web

from ds01.api import schema
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.server import Handler
from ds01.daemon.streams import StreamRelay, require_upgrade
from ds01.service.consoles import ConsoleService


class ConsoleHandlers:
    """Answers for what PID 1 shows and reads."""

    def __init__(self, consoles: ConsoleService, relay: StreamRelay) -> None:
        self._consoles = consoles
        self._relay = relay

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {"attach_container": self.attach_container, "resize_container": self.resize_container}

    async def attach_container(self, call: Call) -> web.StreamResponse:
        """Connect it and hand the connection over."""
        require_upgrade(call.request)
        stream = await self._consoles.attach(call.caller, call.uid, call.name, has_stdin=call.flag("stdin"))
        self._relay.take_over(call.request, stream)
        return web.Response(status=101)  # never sent: the connection is not the server's any more

    async def resize_container(self, call: Call) -> schema.ConsoleSize:
        """Set the size of its terminal."""
        body = call.document(schema.ResizeBody)
        await self._consoles.resize(call.uid, call.name, rows=body["rows"], columns=body["columns"])
        return schema.ConsoleSize(schema_version=SCHEMA, name=call.name, rows=body["rows"], columns=body["columns"])
