"""What was installed in containers, and containers that are made again."""

from ds01.api import schema
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.server import Handler
from ds01.service.drift import ContainerDrift, DriftService


class RenewalHandlers:
    """Answers for drift and re-creation."""

    def __init__(self, drift: DriftService) -> None:
        self._drift = drift

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {"get_drift": self.get_drift}

    async def get_drift(self, call: Call) -> schema.DriftDocument:
        """What a container has otherwise than its image."""
        return _document(call.name, await self._drift.find(call.uid, call.name))


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
