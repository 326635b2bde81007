"""Changes of containers that exist: pause, unpause, rename."""

from ds01.api import schema
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.server import Handler
from ds01.service.pausing import Paused, PauseService
from ds01.service.renaming import RenameService


class ChangeHandlers:
    """Answers for changes of containers."""

    def __init__(self, pausing: PauseService, renaming: RenameService) -> None:
        self._pausing = pausing
        self._renaming = renaming

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {
            "pause_container": self.pause_container,
            "unpause_container": self.unpause_container,
            "rename_container": self.rename_container,
        }

    async def pause_container(self, call: Call) -> schema.PausedContainer:
        """Freeze its programs."""
        return _paused(call.name, "pause", await self._pausing.pause(call.caller, call.uid, call.name))

    async def unpause_container(self, call: Call) -> schema.PausedContainer:
        """Let its programs go on."""
        return _paused(call.name, "unpause", await self._pausing.unpause(call.caller, call.uid, call.name))

    async def rename_container(self, call: Call) -> schema.RenamedContainer:
        """Give it another name, or say how."""
        body = call.document(schema.RenameBody)
        is_dry = body.get("dry_run", False)
        renamed = await self._renaming.rename(call.caller, call.uid, call.name, body["new_name"], dry_run=is_dry)
        before = renamed.details.name if is_dry else f"{call.name}._.{call.uid}"
        return schema.RenamedContainer(
            schema_version=SCHEMA,
            name=renamed.engine_name.name,
            old_name=call.name,
            engine_name=str(renamed.engine_name),
            dry_run=is_dry,
            docker_command=f"docker rename {before} {renamed.engine_name}",
        )


def _paused(name: str, verb: str, outcome: Paused) -> schema.PausedContainer:
    return schema.PausedContainer(
        schema_version=SCHEMA,
        name=name,
        state=outcome.details.state.value,
        was_so=outcome.was_so,
        docker_command=f"docker {verb} {outcome.details.name}",
    )
