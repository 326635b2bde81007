"""The console of a container's main process: seen and typed into beside whatever else runs there."""

from ds01.domain.containers.container import ContainerDetails
from ds01.domain.rules.access import Caller
from ds01.errors import ForbiddenError
from ds01.service.containers import ContainerService
from ds01.service.limits import LimitService
from ds01.service.ports import Engine, RawStream
from ds01.service.sessions import require_possible_size, require_running


class ConsoleService:
    """Attaches people to PID 1."""

    def __init__(self, engine: Engine, containers: ContainerService, limits: LimitService) -> None:
        self._engine = engine
        self._containers = containers
        self._limits = limits

    async def attach(self, caller: Caller, uid: int, name: str, *, has_stdin: bool) -> RawStream:
        """Return the stream of a running container's main process: raw with a terminal, else in the engine's frames.

        Args:
            caller: Who asks.
            uid: Owner of the container.
            name: Its name.
            has_stdin: What is typed reaches it.

        Raises:
            ConflictError: It does not run, or is paused.
            NotFoundError: The owner has no such container.
            ForbiddenError: It runs as another user than the owner, and the policy gives the owner no root inside.
        """
        details = await self._containers.get_details(uid, name)
        require_running(details, name)
        if has_stdin and not _runs_as(details, uid) and not caller.is_admin:
            await self._require_sudo(uid, name)
        return await self._engine.attach_container(details.id, has_stdin=has_stdin)

    async def _require_sudo(self, uid: int, name: str) -> None:
        limits = await self._limits.owner_limits(uid)
        if not limits.values.sudo:
            origin = limits.origins.get("sudo", "built-in")
            raise ForbiddenError(
                f"The main process of {name} is not yours to type into: your group has no root inside containers "
                f"(sudo, set by {origin}).",
                hint=f"Only watch it: `ds01 attach --no-stdin {name}`. A shell of your own: `ds01 open {name}`.",
            )

    async def resize(self, uid: int, name: str, *, rows: int, columns: int) -> None:
        """Set the size of its terminal; one that has ended is fine.

        Raises:
            InvalidRequestError: No terminal has that size.
            NotFoundError: The owner has no such container.
        """
        require_possible_size(rows, columns)
        details = await self._containers.get_details(uid, name)
        if details.state.has_processes:
            await self._engine.resize_container(details.id, rows=rows, columns=columns)


def _runs_as(details: ContainerDetails, uid: int) -> bool:
    """An image's user may be a name, which says nothing about its number."""
    return details.user.partition(":")[0] == str(uid)
