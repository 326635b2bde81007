"""Containers that exist, as their owners know them: list them, find one, say what it has."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from ds01.domain.allocation import Allocation
from ds01.domain.containers.container import ContainerDetails, ContainerSummary
from ds01.domain.containers.origin import Ownership, shown_name
from ds01.domain.devices.attachment import devices_in, may_reach_gpus
from ds01.domain.devices.gpu import Gpu
from ds01.domain.event import Event
from ds01.domain.name import EngineName, is_typed_name
from ds01.domain.rules.access import Caller, container_not_found
from ds01.errors import BackendError
from ds01.service.foreign import SHORTEST_ID, Ownerships, find_by_bare_name
from ds01.service.helper_container import is_helper_name, without_helpers
from ds01.service.known_container import find_successor, row_of
from ds01.service.late_binding import LateBinding
from ds01.service.observation import Observer
from ds01.service.ports import ContainerRow, StoreTransaction, World


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One row of a list.

    Attributes:
        summary: What the engine says.
        uid: Owner; None if its name says none.
        allocation: Its grant, if it has one.
        row: Its row, if DS01 made or adopted it.
        name: Name by which its owner finds it.
        doubt: What contradicts about its owner, in words; empty without.
    """

    summary: ContainerSummary
    uid: int | None
    allocation: Allocation | None
    row: ContainerRow | None
    name: str
    doubt: str = ""


class ContainerService:
    """Finds containers that exist."""

    def __init__(
        self,
        world: World,
        *,
        observer: Observer,
        late_binding: LateBinding,
    ) -> None:
        self._engine = world.engine
        self._devices = world.devices
        self._store = world.store
        self._clock = world.clock
        self._observer = observer
        self._late = late_binding
        self._ownerships = Ownerships(world.accounts)

    async def list_views(self) -> list[ContainerView]:
        """Return every container of the engine with its grant, newest first. One request to the engine."""
        containers, (rows, allocations) = await asyncio.gather(
            self._engine.list_containers(),
            self._store.read(lambda transaction: (transaction.list_containers(), transaction.list_allocations())),
        )
        by_id = {row.engine_id: row for row in rows if row.engine_id}
        grants = {allocation.id: allocation for allocation in allocations}
        shown = without_helpers(containers, by_id)
        owners = await self._ownerships.of_list(container for container in shown if container.id not in by_id)
        full_names = {container.name for container in shown}
        views: list[ContainerView] = []
        for container in shown:
            row = by_id.get(container.id)
            owner = owners.get(container.id, Ownership(row.uid if row else None))
            name = row.name if row else shown_name(container.name)
            is_bare = container.parsed_name is None
            if is_bare and owner.uid is not None and str(EngineName(name, owner.uid)) in full_names:
                name = container.id[:SHORTEST_ID]  # the name alone means the other one, as with AIME's tool
            grant = grants.get(row.allocation_id) if row else None
            views.append(ContainerView(container, owner.uid, grant, row, name, owner.doubt))
        return sorted(views, key=lambda view: view.summary.created_at, reverse=True)

    async def devices_without_grant(self, views: Iterable[ContainerView]) -> dict[str, tuple[str, ...]]:
        """Return the devices that running containers have without a grant, by container id; see `Observer.attached`."""
        return await self._observer.attached(view.summary for view in views if view.allocation is None)

    async def get_details(self, uid: int, name: str) -> ContainerDetails:
        """Return one container of a user: `<name>._.<uid>`, else one of this very name or id that is the user's.

        Raises:
            NotFoundError: The user has none of that name.
        """
        successor_id = await self._store.read(lambda transaction: find_successor(transaction, uid, name))
        return await self.find_details(uid, name, successor_id)

    async def find_details(self, uid: int, name: str, successor_id: str | None) -> ContainerDetails:
        """Return the same for somebody who has read already which container takes its place in a move.

        Raises:
            NotFoundError: The user has none of that name.
        """
        if not is_typed_name(name):
            raise container_not_found(name)
        return await self.resolve(await self._details_of(uid, name, successor_id))

    async def resolve(self, details: ContainerDetails) -> ContainerDetails:
        """Return a container with the GPUs that it was given at its start, if it is bound late."""
        return await self._late.resolve(details)

    async def _details_of(self, uid: int, name: str, successor_id: str | None) -> ContainerDetails:
        if successor_id is not None:
            # what has the name is about to be removed
            moved = await self._engine.find_container(successor_id)
            if moved is not None and is_helper_name(moved.name):
                return moved
        engine_name = str(EngineName(name, uid))
        details = await self._engine.find_container(engine_name)
        if details is not None and details.name == engine_name:
            return details
        details = await find_by_bare_name(self._engine, name)
        if details is None or await self._owner_of(details) not in ({uid, None} if uid == 0 else {uid}):
            raise container_not_found(name)
        return details

    async def _owner_of(self, details: ContainerDetails) -> int | None:
        row = await self.find_row(details)
        return row.uid if row else (await self._ownerships.of(details.name, details.labels)).uid

    async def find_doubt(self, details: ContainerDetails) -> str:
        """Return what contradicts about the owner of a container without a row; empty without."""
        return (await self._ownerships.of(details.name, details.labels)).doubt

    async def find_row(self, details: ContainerDetails) -> ContainerRow | None:
        """Return the row of a container; None for one that DS01 did not make."""
        return row_of(await self._store.read(lambda transaction: transaction.list_containers()), details)

    async def find_grant(self, details: ContainerDetails) -> tuple[ContainerRow | None, Allocation | None]:
        """Return the row of a container and its grant, in whatever state."""

        def query(transaction: StoreTransaction) -> tuple[ContainerRow | None, Allocation | None]:
            row = row_of(transaction.list_containers(), details)
            return row, transaction.find_allocation(row.allocation_id) if row is not None else None

        return await self._store.read(query)

    async def find_allocation(self, row: ContainerRow | None) -> Allocation | None:
        """Return the grant of a row."""
        if row is None:
            return None
        return await self._store.read(lambda transaction: transaction.find_allocation(row.allocation_id))

    async def devices_of(self, details: ContainerDetails) -> tuple[Gpu | str, ...]:
        """Return the devices of a container; the bare UUID of one that the machine does not have any more.

        While the devices are unknown, so are those of the container: see `devices_in`.
        """
        if not may_reach_gpus(details.attachment):
            return ()
        try:
            return devices_in(details.attachment, await self._devices.read_inventory())
        except BackendError:
            return devices_in(details.attachment, None)

    async def record(self, event: str, caller: Caller, uid: int, name: str, **details: object) -> None:
        """Write into the audit trail what somebody did to a container of `uid`."""
        record = Event(event, self._clock.now(), uid=uid, actor_uid=caller.uid, container=name, details=details)
        await self._store.write(lambda transaction: transaction.append_event(record))
