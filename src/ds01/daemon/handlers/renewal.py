"""What was installed in containers, and containers that are made again."""

from collections.abc import Mapping

from aiohttp import web

from ds01.api import schema
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.server import Handler
from ds01.daemon.stream_answer import LINES
from ds01.service.drift import ContainerDrift, DriftService
from ds01.service.recreation import Recreated, RecreationOrder, RecreationService


class RenewalHandlers:
    """Answers for drift and re-creation."""

    def __init__(self, drift: DriftService, recreation: RecreationService) -> None:
        self._drift = drift
        self._recreation = recreation

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {"get_drift": self.get_drift, "recreate_container": self.recreate_container}

    async def get_drift(self, call: Call) -> schema.DriftDocument:
        """What a container has otherwise than its image."""
        return _document(call.name, await self._drift.find(call.uid, call.name))

    async def recreate_container(self, call: Call) -> schema.RecreatedContainer | web.StreamResponse:
        """Make one again, or say what that would be; with `Accept: application/x-ndjson` as a stream of progress."""
        body = call.document(schema.RecreateContainerBody)
        order = RecreationOrder(body.get("image"), stops=body.get("stop", False))
        if body.get("dry_run", False):
            planned = await self._recreation.plan(call.caller, call.uid, call.name, order)
            return _recreated(call.name, planned, is_dry=True)
        if LINES not in call.request.headers.get("Accept", ""):
            made = await self._recreation.recreate(call.caller, call.uid, call.name, order, _ignore)
            return _recreated(call.name, made)
        stream = await call.begin_stream(LINES)
        made = await self._recreation.recreate(call.caller, call.uid, call.name, order, stream.send)
        await stream.send({"kind": "result", "recreated": _recreated(call.name, made)})
        return await stream.end()


def _recreated(name: str, made: Recreated, *, is_dry: bool = False) -> schema.RecreatedContainer:
    return schema.RecreatedContainer(
        schema_version=SCHEMA,
        name=name,
        dry_run=is_dry,
        image=made.image,
        is_current=made.is_current,
        was_running=made.was_running,
        state=made.details.state.value,
        size_bytes=made.size_bytes,
        warnings=list(made.warnings),
    )


async def _ignore(_message: Mapping[str, object]) -> None:
    """Nobody listens."""


def _document(name: str, found: ContainerDrift) -> schema.DriftDocument:
    left_out = [*found.drift.left_out, *((file.path, file.reason) for file in found.left_out)]
    return schema.DriftDocument(
        schema_version=SCHEMA,
        name=name,
        state=found.details.state.value,
        base=found.base,
        own_image=found.own_image,
        framework=found.framework,
        size_bytes=found.size_bytes,
        changes=[
            schema.PackageChangeDocument(
                tool=change.tool.value, name=change.name, before=change.before, after=change.after, line=change.line
            )
            for change in found.drift.changes
        ],
        left_out=[schema.LeftOutDocument(what=what, reason=reason) for what, reason in left_out],
        notes=list(found.notes),
    )
