"""Moving containers to other devices."""

from collections.abc import Mapping

from aiohttp import web

from ds01.api import schema
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.server import Handler
from ds01.daemon.stream_answer import LINES
from ds01.domain.devices.gpu import all_gpus
from ds01.errors import BackendError
from ds01.service.moving import Moved, MoveService
from ds01.service.ports import Devices


class MoveHandlers:
    """Answers for moves."""

    def __init__(self, moving: MoveService, devices: Devices) -> None:
        self._moving = moving
        self._devices = devices

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {"move_container": self.move_container}

    async def move_container(self, call: Call) -> schema.MovedContainer | web.StreamResponse:
        """Move, or say what that would be; with `Accept: application/x-ndjson` as a stream of progress."""
        body = call.document(schema.MoveContainerBody)
        if body.get("dry_run", False):
            planned = await self._moving.plan(call.caller, call.uid, call.name)
            return await self._document(call, planned, is_dry=True)
        if LINES not in call.request.headers.get("Accept", ""):
            return await self._document(call, await self._moving.move(call.caller, call.uid, call.name, _ignore))
        stream = await call.begin_stream(LINES)
        moved = await self._moving.move(call.caller, call.uid, call.name, stream.send)
        await stream.send({"kind": "result", "moved": await self._document(call, moved)})
        return await stream.end()

    async def _document(self, call: Call, moved: Moved, *, is_dry: bool = False) -> schema.MovedContainer:
        return schema.MovedContainer(
            schema_version=SCHEMA,
            name=call.name,
            dry_run=is_dry,
            size_bytes=moved.size_bytes,
            expected_s=moved.expected.total_seconds(),
            gpus=await self._addresses(moved.gpu_uuids),
            reason=moved.reason,
            warnings=list(moved.warnings),
        )

    async def _addresses(self, uuids: tuple[str, ...]) -> list[str]:
        try:
            known = {gpu.uuid: gpu.address for gpu in all_gpus(await self._devices.read_inventory())}
        except BackendError:
            known = {}
        return [known.get(uuid, uuid) for uuid in uuids]


async def _ignore(message: Mapping[str, object]) -> None:
    """Nobody listens."""
