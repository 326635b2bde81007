"""Renaming a stopped container: on the engine first, then in the store; a crash between is finished by reconcile.

The engine's id in the row says which container it is, so a row whose container has another name takes that name up:
the same repair serves a daemon that died half-way and somebody who typed `docker rename`.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from ds01.domain.containers.container import ContainerDetails
from ds01.domain.name import EngineName, parse_container_name
from ds01.domain.rules.access import Caller
from ds01.errors import BackendError, ConflictError
from ds01.service.completion import complete
from ds01.service.containers import ContainerService
from ds01.service.decisions import name_taken
from ds01.service.naming import NameTaker
from ds01.service.ports import ContainerRow, World
from ds01.service.presence import Presence
from ds01.service.undo import Undo


@dataclass(frozen=True, slots=True)
class Renamed:
    """Outcome of a renaming, or of its dry run.

    Attributes:
        details: The container; as it was for a dry run.
        engine_name: Its full name on the engine, from now on.
    """

    details: ContainerDetails
    engine_name: EngineName


class RenameService:
    """Gives containers other names."""

    def __init__(self, world: World, containers: ContainerService, presence: Presence) -> None:
        self._engine = world.engine
        self._store = world.store
        self._taker = NameTaker(world.engine, world.store, world.clock)
        self._containers = containers
        self._presence = presence

    async def rename(self, caller: Caller, uid: int, name: str, wanted: str, *, dry_run: bool = False) -> Renamed:
        """Give a stopped container another name. Its labels stay: the engine cannot change them.

        Raises:
            InvalidRequestError: It is no name.
            ConflictError: It runs, DS01 does not manage it, or the name is taken.
            NotFoundError: The user has no such container.
        """
        target = EngineName(parse_container_name(wanted), uid)
        async with AsyncExitStack() as kept:
            for each in sorted({name, target.name}):  # in one order, so that two who swap names do not wait for ever
                await kept.enter_async_context(self._presence.working_on(uid, each))
            details, row = await self._require_possible(uid, name, target)
            if not dry_run and str(target) != details.name:
                details = await self._carry_out(caller, details, row, target)
            return Renamed(details, target)

    async def _require_possible(self, uid: int, name: str, target: EngineName) -> tuple[ContainerDetails, ContainerRow]:
        details = await self._containers.get_details(uid, name)
        row = await self._containers.find_row(details)
        if row is None:
            raise ConflictError(
                f"{name} was not made by DS01.", hint=f"Take it under management first: `ds01 container adopt {name}`."
            )
        if details.state.has_processes:
            raise ConflictError(f"{name} is {details.state}.", hint=f"Stop it first: `ds01 stop {name}`.")
        if str(target) == details.name:
            return details, row
        rows = await self._store.read(lambda transaction: transaction.find_container(uid, target.name))
        if rows is not None or await self._engine.find_container(str(target)) is not None:
            raise name_taken(target.name)
        return details, row

    async def _carry_out(
        self, caller: Caller, details: ContainerDetails, row: ContainerRow, target: EngineName
    ) -> ContainerDetails:
        async with Undo() as undo:
            undo.add("give it its old name back", lambda: self._engine.rename_container(details.id, details.name))
            try:
                await self._engine.rename_container(details.id, str(target))
            except ConflictError as taken:
                raise name_taken(target.name) from taken
            after = await self._engine.get_container(details.id)
            if after.name != str(target):
                raise BackendError(f"{row.name} is called {after.name} and should be {target}.", hint="Try again.")
            await complete(self._taker.take_up(row, after, actor_uid=caller.uid))
        return after
