"""Ports of a container: what listens inside, and what is published."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from ds01.domain.containers.container import ContainerDetails
from ds01.domain.containers.listening import PROC_FILES, ListeningPort, ports_of
from ds01.service.containers import ContainerService
from ds01.service.ports import Engine, ExecSpec
from ds01.service.sessions import require_running

DEADLINE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class ContainerPorts:
    """Ports of one container.

    Attributes:
        details: The container.
        ports: By number.
    """

    details: ContainerDetails
    ports: tuple[ListeningPort, ...]


class ListeningService:
    """Looks at ports; changes nothing."""

    def __init__(self, engine: Engine, containers: ContainerService) -> None:
        self._engine = engine
        self._containers = containers

    async def read(self, uid: int, name: str) -> ContainerPorts:
        """Return the ports of a running container.

        Raises:
            ConflictError: It does not run.
            NotFoundError: The user has none of that name.
        """
        details = await self._containers.get_details(uid, name)
        require_running(details, name)
        # as nobody in particular: the files are readable by all, and the container's own programs are not trusted
        spec = ExecSpec(("cat", *PROC_FILES), user="65534:65534")
        shown = await self._engine.run_exec(details.id, spec, deadline=DEADLINE)
        return ContainerPorts(details, ports_of(shown.stdout, _published(details.raw)))


def _published(document: Mapping[str, object]) -> dict[int, list[int]]:
    """Source: Engine API 1.41, ContainerInspect, `NetworkSettings.Ports`."""
    settings = document.get("NetworkSettings")
    ports = settings.get("Ports") if isinstance(settings, Mapping) else None
    found: dict[int, list[int]] = {}
    for key, bindings in (ports or {}).items() if isinstance(ports, Mapping) else ():
        number, _, protocol = str(key).partition("/")
        if protocol == "tcp" and number.isdigit():
            chosen = [str(binding.get("HostPort", "")) for binding in bindings or () if isinstance(binding, Mapping)]
            found[int(number)] = [int(port) for port in chosen if port.isdigit()]
    return found
