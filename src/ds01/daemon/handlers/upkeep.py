"""The upkeep of devices: take them out, let them in again."""

from collections.abc import Iterable

from ds01.api import schema
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.server import Handler
from ds01.errors import ForbiddenError
from ds01.service.upkeep import Drained, UpkeepService


class UpkeepHandlers:
    """Drains and resumes, for administrators."""

    def __init__(self, upkeep: UpkeepService, *, is_personal: bool) -> None:
        self._upkeep = upkeep
        self._is_personal = is_personal

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {"drain_gpus": self.drain_gpus, "resume_gpus": self.resume_gpus}

    async def drain_gpus(self, call: Call) -> schema.DrainedGpus:
        """Give no new grants on a device."""
        body = call.document(schema.DrainGpuBody)
        self._require_admin(call)
        drained = await self._upkeep.drain(body["gpu"], body.get("reason", ""), actor_uid=call.caller.uid)
        return _document(drained)

    async def resume_gpus(self, call: Call) -> schema.DrainedGpus:
        """Let a device be granted again."""
        body = call.document(schema.ResumeGpuBody)
        self._require_admin(call)
        return _document(await self._upkeep.resume(body["gpu"], actor_uid=call.caller.uid))

    def _require_admin(self, call: Call) -> None:
        if not (self._is_personal or call.caller.is_admin):
            raise ForbiddenError(
                "Only an administrator may take GPUs out or let them in.", hint="Ask your administrator."
            )


def _document(drained: Iterable[Drained]) -> schema.DrainedGpus:
    gpus = [schema.DrainedGpu(uuid=one.gpu_uuid, address=one.address, changed=one.has_changed) for one in drained]
    return schema.DrainedGpus(schema_version=SCHEMA, gpus=gpus)
