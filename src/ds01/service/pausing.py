"""Pausing: a container's programs are frozen where they are, and go on later. Its GPUs stay its own meanwhile."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ds01.domain.containers.container import ContainerDetails, ContainerState
from ds01.domain.event import Event
from ds01.domain.rules.access import Caller
from ds01.errors import BackendError, ConflictError
from ds01.service.containers import ContainerService
from ds01.service.ports import World
from ds01.service.presence import Presence


@dataclass(frozen=True, slots=True)
class Paused:
    """Outcome of a pause, or of its end.

    Attributes:
        details: The container afterwards.
        was_so: It was in that state already.
    """

    details: ContainerDetails
    was_so: bool


class PauseService:
    """Freezes programs and lets them go on; the state is verified afterwards."""

    def __init__(self, world: World, containers: ContainerService, presence: Presence) -> None:
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._containers = containers
        self._presence = presence

    async def pause(self, caller: Caller, uid: int, name: str, *, dry_run: bool = False) -> Paused:
        """Freeze the programs of a running container; a dry run only says how it is.

        Raises:
            ConflictError: It does not run.
            BackendError: It is not paused afterwards.
        """
        return await self._bring(
            caller, uid, name, ContainerState.PAUSED, None if dry_run else self._engine.pause_container
        )

    async def unpause(self, caller: Caller, uid: int, name: str, *, dry_run: bool = False) -> Paused:
        """Let the programs of a paused container go on; a dry run only says how it is.

        Raises:
            ConflictError: It is stopped: there is nothing that could go on.
            BackendError: It does not run afterwards.
        """
        return await self._bring(
            caller, uid, name, ContainerState.RUNNING, None if dry_run else self._engine.unpause_container
        )

    async def _bring(
        self,
        caller: Caller,
        uid: int,
        name: str,
        wanted: ContainerState,
        act: Callable[[str], Awaitable[None]] | None,
    ) -> Paused:
        async with self._presence.working_on(uid, name):
            details = await self._containers.get_details(uid, name)
            if details.state is wanted:
                return Paused(details, was_so=True)
            if details.state not in {ContainerState.RUNNING, ContainerState.PAUSED}:
                raise ConflictError(
                    f"{name} does not run (it is {details.state}).", hint=f"Start it: `ds01 start {name}`."
                )
            if act is None:
                return Paused(details, was_so=False)
            await act(details.id)
            after = await self._engine.get_container(details.id)
            if after.state is not wanted:
                raise BackendError(f"{name} is {after.state} and should be {wanted}.", hint="Try again.")
            event = "container.paused" if wanted is ContainerState.PAUSED else "container.unpaused"
            record = Event(event, self._clock.now(), uid=uid, actor_uid=caller.uid, container=name)
            await self._store.write(lambda transaction: transaction.append_event(record))
            return Paused(after, was_so=False)
