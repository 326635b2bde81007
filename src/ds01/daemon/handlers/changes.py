"""Containers that exist: pause, unpause, rename, ports."""

from ds01.api import schema
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.server import Handler
from ds01.service.listening import ListeningService
from ds01.service.pausing import Paused, PauseService
from ds01.service.renaming import RenameService


class ChangeHandlers:
    """Answers for changes of containers."""

    def __init__(self, pausing: PauseService, renaming: RenameService, listening: ListeningService) -> None:
        self._listening = listening
        self._pausing = pausing
        self._renaming = renaming

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {
            "pause_container": self.pause_container,
            "unpause_container": self.unpause_container,
            "rename_container": self.rename_container,
            "list_ports": self.list_ports,
        }

    async def list_ports(self, call: Call) -> schema.PortList:
        """What listens inside, and what is published."""
        found = await self._listening.read(call.uid, call.name)
        return schema.PortList(
            schema_version=SCHEMA,
            name=call.name,
            ip_address=found.details.ip_address,
            ports=[
                schema.PortRow(
                    port=port.port, listening=port.is_listening, local=port.is_local, host_ports=list(port.host_ports)
                )
                for port in found.ports
            ],
        )

    async def pause_container(self, call: Call) -> schema.PausedContainer:
        """Freeze its programs."""
        is_dry = call.flag("dry_run")
        outcome = await self._pausing.pause(call.caller, call.uid, call.name, dry_run=is_dry)
        return _paused(call.name, "pause", outcome, is_dry=is_dry)

    async def unpause_container(self, call: Call) -> schema.PausedContainer:
        """Let its programs go on."""
        is_dry = call.flag("dry_run")
        outcome = await self._pausing.unpause(call.caller, call.uid, call.name, dry_run=is_dry)
        return _paused(call.name, "unpause", outcome, is_dry=is_dry)

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


def _paused(name: str, verb: str, outcome: Paused, *, is_dry: bool) -> schema.PausedContainer:
    return schema.PausedContainer(
        schema_version=SCHEMA,
        name=name,
        state=outcome.details.state.value,
        was_so=outcome.was_so,
        dry_run=is_dry,
        docker_command=f"docker {verb} {outcome.details.name}",
    )
