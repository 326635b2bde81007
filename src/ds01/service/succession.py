"""One container takes the place of another: what a move to other devices and a re-creation from a newer image share.

The new one is made under a name of our own beside the old one, which goes only when a row has changed from the old to
the new one, in one transaction. What it is about is written down before (`move_repair.note_move`), so that a failure or
a crash before that moment leaves the old container, and one after it the new one.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ds01.domain.allocation import Allocation
from ds01.domain.containers.container import ContainerDetails, ContainerSpec, ContainerState, differences
from ds01.domain.containers.moving import can_be_remade
from ds01.domain.images.image import is_private_tag
from ds01.errors import BackendError, ConflictError, Ds01Error
from ds01.service.allocations import AllocationService
from ds01.service.completion import complete
from ds01.service.containers import ContainerService
from ds01.service.first_start import FirstStartCheck
from ds01.service.late_binding import LateBinding
from ds01.service.move_repair import MoveRepair
from ds01.service.ports import ContainerRow, World
from ds01.service.presence import Presence
from ds01.service.reconcile import Reconciler

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A container whose place another one is to take.

    Attributes:
        details: The container.
        row: Its row.
        allocation: Its grant, which may have been released.
    """

    details: ContainerDetails
    row: ContainerRow
    allocation: Allocation

    def require_stopped(self) -> None:
        """Raise if it has processes.

        Raises:
            ConflictError: It has.
        """
        if self.details.state.has_processes:
            raise ConflictError(
                f"{self.row.name} is {self.details.state}.", hint=f"Stop it first: `ds01 stop {self.row.name}`."
            )


class Succession:
    """Makes containers that take the place of others."""

    def __init__(
        self,
        world: World,
        *,
        containers: ContainerService,
        allocations: AllocationService,
        reconciler: Reconciler,
        presence: Presence,
        late_binding: LateBinding,
    ) -> None:
        self._engine = world.engine
        self._late = late_binding
        self._containers = containers
        self._reconciler = reconciler
        self._presence = presence
        self._first_start = FirstStartCheck(world.engine, world.store)
        self.repair = MoveRepair(world, allocations)

    @asynccontextmanager
    async def of(self, uid: int, name: str) -> AsyncIterator[Predecessor]:
        """Keep a container for the block: nobody else works on it, and reconcile leaves it alone.

        Raises:
            Ds01Error: As `find`.
        """
        async with self._presence.working_on(uid, name):
            await self._reconciler.clear_dead_creation(uid, name)
            found = await self.find(uid, name)
            with self._presence.in_flight(found.row.nonce):
                yield found

    async def find(self, uid: int, name: str) -> Predecessor:
        """Return a container that can be made again.

        Raises:
            NotFoundError: The user has no such container.
            ConflictError: DS01 did not make it.
        """
        details = await self._containers.get_details(uid, name)
        row = await self._containers.find_row(details)
        allocation = await self._containers.find_allocation(row)
        if row is None or allocation is None or not can_be_remade(details) or not is_private_tag(row.image):
            raise ConflictError(
                f"{name} was not made by DS01: what it was made with is not known well enough to make it again.",
                hint="Create a new container with the same workspace: `ds01 create`.",
            )
        return Predecessor(details, row, allocation)

    async def make(self, spec: ContainerSpec, name: str) -> str:
        """Make the new container and return its id; it is compared with what was asked for.

        Raises:
            BackendError: The engine did not make it so.
        """
        # broken off in the middle, the engine would make it after it was looked for to be removed
        container = await complete(self._engine.create_container(spec))
        found = differences(spec, await self._engine.get_container(container))
        if found:
            raise BackendError(f"The engine did not make {name} again as it was: {'; '.join(found)}.")
        return container

    async def start(
        self, container: str, name: str, allocation: Allocation, cdi_device: str
    ) -> tuple[ContainerDetails, list[str]]:
        """Start the new container and return it with warnings.

        Args:
            container: Its engine id.
            name: What its owner calls it.
            allocation: Its grant.
            cdi_device: Name that stands for its devices; empty: they are fixed.

        Raises:
            BackendError: It does not run.
        """
        if cdi_device:
            await complete(self._late.start(container, cdi_device, allocation))
        else:
            await self._engine.start_container(container)
        started = await self._engine.get_container(container)
        warnings = await self._first_start.check(started)
        started = await self._engine.get_container(container)
        if started.state is not ContainerState.RUNNING:
            raise BackendError(
                f"{name} ended at once when it was made again (exit status {started.exit_code}). "
                f"{started.error}".strip(),
                hint=f"Nothing is lost: {name} is as it was.",
            )
        return started, warnings

    async def require_untouched(self, old: ContainerDetails, name: str) -> None:
        """Raise if the old container was started since it was looked at.

        Raises:
            ConflictError: It was.
        """
        present = await self._engine.get_container(old.id)
        if present.state.has_processes or present.started_at != old.started_at:
            raise ConflictError(f"{name} was started past DS01 while it was made again.", hint="`ds01 list`")

    async def tidy(self, nonce: str, made: ContainerDetails) -> tuple[ContainerDetails, tuple[str, ...]]:
        """Give the new container its name, and remove the old one; what fails now reconcile does later."""
        try:
            await self.repair.settle(nonce, "the new container is there")
            return await self._engine.get_container(made.id), ()
        except Ds01Error as failure:
            log.warning("a succession is not tidied up: %s", failure)
            return made, (f"It is there; its old container is removed later, because now: {failure.message}",)
