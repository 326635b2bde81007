"""Containers as files: out as a stream, in as an upload."""

from collections.abc import Mapping
from contextlib import aclosing

from aiohttp import web

from ds01.api import codec, schema
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.handlers.containers import ContainerHandlers, order_of
from ds01.daemon.handlers.waiting import with_terms
from ds01.daemon.server import Handler
from ds01.daemon.stream_answer import BYTES
from ds01.service.exporting import ExportService
from ds01.service.importing import ImportService
from ds01.service.order import CreateOrder


class ExportHandlers:
    """Answers for exports and imports."""

    def __init__(self, exporting: ExportService, importing: ImportService, containers: ContainerHandlers) -> None:
        self._exporting = exporting
        self._importing = importing
        self._containers = containers

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {
            "plan_export": self.plan_export,
            "export_container": self.export_container,
            "import_container": self.import_container,
        }

    async def plan_export(self, call: Call) -> schema.ExportPlan:
        """What an export would write."""
        plan = await self._exporting.plan(call.uid, call.name, with_base=call.flag("with_base"))
        return schema.ExportPlan(
            schema_version=SCHEMA,
            name=call.name,
            base=plan.base.reference if plan.base else "",
            size_bytes=plan.size_bytes,
            workspace=plan.workspace,
            warnings=list(plan.warnings),
            docker_command=f"docker commit {plan.details.name} ds01.invalid/export && "
            "docker save ds01.invalid/export && docker rmi ds01.invalid/export",
        )

    async def export_container(self, call: Call) -> web.StreamResponse:
        """The container, as it comes. What fails before its first byte is answered as an error."""
        pieces = self._exporting.export(call.caller, call.uid, call.name, with_base=call.flag("with_base"))
        async with aclosing(pieces):
            first = await anext(pieces)
            stream = await call.begin_stream(BYTES)
            await stream.write(first)
            async for piece in pieces:
                await stream.write(piece)
        return await stream.end()

    async def import_container(self, call: Call) -> schema.CreatedContainer:
        """Make a container of what comes."""
        async with aclosing(call.pieces()) as pieces:
            creation = await self._importing.import_(call.caller, pieces, _order_of, _ignore)
        return await self._containers.created_with_devices(call, creation)


def _order_of(text: bytes) -> CreateOrder:
    body = codec.decode(text, schema.CreateContainerBody)
    return with_terms(order_of(body), body)


async def _ignore(_message: Mapping[str, object]) -> None:
    """The client shows how much it has sent."""
