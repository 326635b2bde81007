"""Containers are removed, and devices of stopped ones given back."""

from dataclasses import dataclass
from datetime import timedelta

from ds01.domain.containers.container import ContainerDetails
from ds01.domain.containers.origin import private_image_of
from ds01.domain.images.image import is_private_tag
from ds01.domain.rules.access import Caller
from ds01.errors import BackendError, ConflictError
from ds01.service.allocations import AllocationService
from ds01.service.completion import complete
from ds01.service.containers import ContainerService
from ds01.service.images import drop_private_tag
from ds01.service.ports import World
from ds01.service.presence import Presence
from ds01.service.reconcile import Reconciler
from ds01.service.stopping import Stopper


@dataclass(frozen=True, slots=True)
class Removed:
    """Outcome of a removal."""

    details: ContainerDetails
    released: tuple[str, ...]


class RemovalService:
    """Removes containers, or takes back what they hold."""

    def __init__(
        self,
        world: World,
        containers: ContainerService,
        *,
        allocations: AllocationService,
        reconciler: Reconciler,
        presence: Presence,
    ) -> None:
        self._engine = world.engine
        self._containers = containers
        self._allocations = allocations
        self._reconciler = reconciler
        self._presence = presence
        self._stopper = Stopper(world.engine, world.clock)

    async def remove(self, caller: Caller, uid: int, name: str, *, force: bool) -> Removed:
        """Remove a container and its private tag. The workspace stays.

        Raises:
            ConflictError: It runs and `force` is not given.
            BackendError: It is still there afterwards.
        """
        async with self._presence.working_on(uid, name):
            known = await self._reconciler.look_up(uid, name)
            details = await self._containers.find_details(uid, name, known.successor_id)
            if details.state.has_processes:
                if not force:
                    raise ConflictError(
                        f"{name} is {details.state}.", hint=f"Stop it first: `ds01 stop {name}`, or use --force."
                    )
                await self._stopper.end_for_removal(details, timedelta(seconds=10))
            row = await self._containers.find_row(details)
            await self._engine.remove_container(details.id, force=force)
            if await self._engine.find_container(details.id) is not None:
                raise BackendError(f"{name} is still there after it was removed.", hint="Try again.")
            tag = row.image if row and is_private_tag(row.image) else None
            tag = tag or private_image_of(details.name, details.image, details.labels)
            if tag is not None:
                await drop_private_tag(self._engine, tag)
            released = None
            if row is not None:
                reason = f"removed by {caller.user.name}"
                released = await complete(self._allocations.forget(row, reason, actor_uid=caller.uid))
            else:
                await self._containers.record("container.removed", caller, uid, name)
            return Removed(details, released.gpu_uuids if released else ())

    async def release(self, caller: Caller, uid: int, name: str) -> tuple[str, ...]:
        """Give back the devices of a stopped container.

        Raises:
            ConflictError: It runs, or was never started.
            NotFoundError: The user has no such container.
        """
        async with self._presence.working_on(uid, name):
            row = await self._containers.find_row(await self._containers.get_details(uid, name))
            if row is None:
                raise ConflictError(f"{name} was not made by DS01: it holds nothing that could be given back.")
            released = await self._allocations.release(
                row.allocation_id, f"given back by {caller.user.name}", only_held=True, actor_uid=caller.uid
            )
            return released.gpu_uuids if released else ()
