"""Late binding: which GPUs a container gets is written down at its start, not when it is made.

A container that is bound late has one CDI device of ours. The spec file of that name says which GPUs it stands for. It
is there exactly while a grant holds them: written before a start, removed when they are released. The store decides;
after a crash at any step `reconcile` makes the files agree with it. An engine without CDI, or a machine without
NVIDIA's own spec, gives fixed GPUs as ever.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.containers.container import ContainerDetails, ContainerState
from ds01.domain.devices.attachment import MANAGED_CDI_KIND, AttachmentFacts
from ds01.domain.devices.cdi import GPUS_VARIABLE, Binding, device_name, read_binding, spec_document
from ds01.domain.rules.site import LateBinding as Settings
from ds01.errors import BackendError, Ds01Error
from ds01.service.limits import LimitService
from ds01.service.ports import HostCdi, StoreTransaction, World

log = logging.getLogger(__name__)
ATTEMPTS = 5
SETTLE = timedelta(milliseconds=200)
"""An engine hears of a new file by an event of the folder, which may be later than our next request to it."""

FindAttachment = Callable[[str], Awaitable[AttachmentFacts | None]]
"""Engine id to what is attached to that container; None: it is gone."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """How a container is made.

    Attributes:
        cdi_device: Our name that stands for its GPUs; empty: they are fixed.
        warning: Why they are fixed although the policy says otherwise; empty: it does not, or they are not.
    """

    cdi_device: str = ""
    warning: str = ""


class LateBinding:
    """Owns the spec files of containers that are bound late."""

    def __init__(
        self,
        world: World,
        cdi: HostCdi | None,
        *,
        limits: LimitService,
        settings: Callable[[], Settings],
        find_attachment: FindAttachment,
    ) -> None:
        """Prepare; nothing is read.

        Args:
            world: Everything outside.
            cdi: The host's CDI; None: nothing is ever bound late (a personal daemon).
            limits: Knows the engine.
            settings: Returns the policy's section in force.
            find_attachment: Returns what is attached to a container.
        """
        self._engine = world.engine
        self._devices = world.devices
        self._store = world.store
        self._clock = world.clock
        self._cdi = cdi
        self._limits = limits
        self._settings = settings
        self._find_attachment = find_attachment
        self._turn = asyncio.Lock()
        self._proven: set[str] = set()

    async def choose(self, allocation: Allocation) -> Attachment:
        """Return how a container is made for a grant whose GPUs exist.

        Raises:
            BackendError: Engine, devices or spec folders are unknown.
        """
        cdi = self._cdi
        if cdi is None or not self._settings().enabled or not allocation.gpu_uuids:
            return Attachment()
        folders = (await self._limits.engine_info(self._engine)).cdi_folders
        if not folders:
            return Attachment(warning=_fixed("the engine has no CDI, or has it switched off"))
        (specs, problems), inventory = await asyncio.gather(cdi.read_specs(folders), self._devices.read_inventory())
        try:
            spec_document(Binding(allocation.id, allocation.id, allocation.gpu_uuids), specs, inventory)
        except BackendError as missing:
            return Attachment(warning=_fixed(" ".join([missing.message, *problems])))
        return Attachment(device_name(allocation.id))

    async def is_possible(self) -> bool:
        """Tell whether a container that was made for it can be bound late now.

        Raises:
            BackendError: The engine is unknown.
        """
        if self._cdi is None:
            return False
        return self._settings().directory in (await self._limits.engine_info(self._engine)).cdi_folders

    async def bind(self, name: str, allocation: Allocation) -> None:
        """Write which GPUs a container's name stands for. The same again is fine.

        Raises:
            BackendError: It cannot be written, the engine would not read it, or nothing says what a GPU needs.
        """
        async with self._turn:
            await self._write(self._required(), _binding(name, allocation))

    async def unbind(self, name: str) -> None:
        """Let a name stand for nothing; a file that cannot be removed is left to `reconcile`."""
        async with self._turn:
            try:
                await self._required().remove_own(self._settings().directory, _device_id(name))
            except Ds01Error as failure:
                log.warning("the CDI spec of %s stays for now: %s", name, failure)

    async def start(self, container: str, name: str, allocation: Allocation) -> None:
        """Start a container with the GPUs of its grant, and prove that it has these and no others.

        One that ended at once is left to the caller, as after a start on the engine.

        Raises:
            BackendError: As `bind`, or the engine did not take the new file: the container does not run.
        """
        await self.bind(name, allocation)
        for attempt in range(ATTEMPTS):
            if attempt:
                await self._clock.sleep(SETTLE)
            try:
                await self._engine.start_container(container)
            except BackendError:
                if attempt == ATTEMPTS - 1:
                    raise
                continue
            if not await self._stopped_for_wrong_gpus(container, allocation):
                return
        raise BackendError(
            "The engine started the container with other GPUs than those granted; it was stopped.",
            hint="Tell your administrator: the engine does not read its CDI folder anew.",
        )

    async def _stopped_for_wrong_gpus(self, container: str, allocation: Allocation) -> bool:
        """Stop a container that runs with other GPUs than those of its grant, and tell whether it was so."""
        details = await self._engine.find_container(container)
        if details is None or details.state is not ContainerState.RUNNING:
            return False
        given = await self._required().read_variable(details.pid, GPUS_VARIABLE)
        if given == ";".join(allocation.gpu_uuids):
            self._proven.add(container)
            return False
        present = await self._engine.find_container(container)
        if present is None or present.pid != details.pid:
            return False  # it ended by itself meanwhile
        log.warning("%s was started with GPUs %s, which are not its grant's: stopped", container, given)
        await self._engine.stop_container(container, grace=timedelta(0))
        return True

    async def resolve(self, details: ContainerDetails) -> ContainerDetails:
        """Return a container with the GPUs that its name stands for; one with fixed GPUs as it is.

        One that neither runs nor holds a grant has none.
        """
        name = details.attachment.managed_device
        if name is None:
            return details
        allocation = await self._find_allocation(details.id)
        bound: frozenset[str] | None = frozenset()
        if allocation is None:
            bound = await self._find_written(_device_id(name))
        elif allocation.is_holding or details.state.has_processes:
            bound = frozenset(allocation.gpu_uuids)
        return replace(details, attachment=replace(details.attachment, bound=bound))

    async def find_gpus(self, engine_id: str, name: str) -> frozenset[str] | None:
        """Return the GPUs that a container's name stands for, or stood for last; None: nobody knows.

        The store decides. Of a container that it does not know, the file does.
        """
        allocation = await self._find_allocation(engine_id)
        return frozenset(allocation.gpu_uuids) if allocation else await self._find_written(_device_id(name))

    async def _find_allocation(self, engine_id: str) -> Allocation | None:
        def query(transaction: StoreTransaction) -> Allocation | None:
            row = next((row for row in transaction.list_containers() if row.engine_id == engine_id), None)
            return transaction.find_allocation(row.allocation_id) if row is not None else None

        return await self._store.read(query)

    async def _find_written(self, device_id: str) -> frozenset[str] | None:
        if self._cdi is None:
            return None
        document = await self._cdi.read_own(self._settings().directory, device_id)
        binding = read_binding(document, device_id) if document is not None else None
        return frozenset(binding.gpu_uuids) if binding is not None else None

    async def reconcile(self) -> None:
        """Make the files agree with the grants: what no grant holds goes, what is missing or different is written.

        Raises:
            BackendError: Engine, store or folder do not answer.
        """
        if self._cdi is None:
            return
        folder = self._settings().directory
        own = await self._cdi.list_own(folder)
        if not own and not self._settings().enabled:
            return
        wanted, claimed = await self._wanted()
        for device_id in {*own, *wanted}:
            if device_id in wanted or device_id not in claimed:
                try:
                    await self._settle(self._cdi, folder, device_id)
                except Ds01Error as failure:
                    log.warning("the CDI spec of %s could not be settled: %s", device_id, failure)
        await self._prove_running()

    async def _prove_running(self) -> None:
        """A daemon that died right after a start had not looked yet; nor has anybody at a start past us."""
        active = {
            engine_id: allocation
            for engine_id, (_, allocation) in (await self._bound_rows()).items()
            if allocation.state is AllocationState.ACTIVE
        }
        self._proven &= active.keys()
        for engine_id in active.keys() - self._proven:
            try:
                await self._stopped_for_wrong_gpus(engine_id, active[engine_id])
            except Ds01Error as failure:
                log.warning("which GPUs %s runs with is unknown: %s", engine_id, failure)

    async def _settle(self, cdi: HostCdi, folder: str, device_id: str) -> None:
        """Look again with nobody else writing: a start may have come in between."""
        async with self._turn:
            wanted, claimed = await self._wanted()
            binding = wanted.get(device_id)
            if binding is None and device_id in claimed:
                return
            document = await cdi.read_own(folder, device_id)
            if binding is not None and document is not None and read_binding(document, device_id) == binding:
                return
            # never what was bound before: those GPUs may be another's by now
            if document is not None or binding is None:
                await cdi.remove_own(folder, device_id)
            if binding is not None:
                await self._write(cdi, binding)

    async def _wanted(self) -> tuple[Mapping[str, Binding], frozenset[str]]:
        """Return what has to be bound by device id, and the grants that hold: one of them may be about to be bound."""
        allocations = await self._store.read(lambda transaction: transaction.list_allocations())
        found = [_binding(name, allocation) for name, allocation in (await self._bound_rows()).values()]
        return {binding.device_id: binding for binding in found}, frozenset(grant.id for grant in allocations)

    async def _bound_rows(self) -> dict[str, tuple[str, Allocation]]:
        """Return the containers with a name of ours whose grants hold: the name and the grant by engine id."""
        rows, allocations = await self._store.read(
            lambda transaction: (transaction.list_containers(), transaction.list_allocations())
        )
        holding = {allocation.id: allocation for allocation in allocations if allocation.gpu_uuids}
        found: dict[str, tuple[str, Allocation]] = {}
        for row in rows:
            if row.engine_id is None or row.allocation_id not in holding:
                continue
            facts = await self._find_attachment(row.engine_id)
            if facts is not None and facts.managed_device is not None:
                found[row.engine_id] = (facts.managed_device, holding[row.allocation_id])
        return found

    async def _write(self, cdi: HostCdi, binding: Binding) -> None:
        settings = self._settings()
        folders = (await self._limits.engine_info(self._engine)).cdi_folders
        if not folders:
            raise BackendError(
                "The engine has no CDI, or has it switched off, and this container was made for it.",
                hint='Tell your administrator: `"features": {"cdi": true}` in the engine\'s daemon.json.',
            )
        if settings.directory not in folders:
            raise BackendError(
                f"The engine reads CDI specs in {', '.join(folders)}, not in {settings.directory}.",
                hint="Tell your administrator: late_binding.directory of the policy names one of those.",
            )
        specs, problems = await cdi.read_specs(folders)
        try:
            document = spec_document(binding, specs, await self._devices.read_inventory())
        except BackendError as failure:
            raise BackendError(" ".join([failure.message, *problems]), hint=failure.hint) from failure
        await cdi.write_own(settings.directory, binding.device_id, document, mode=int(settings.file_mode, 8))

    def _required(self) -> HostCdi:
        if self._cdi is None:
            raise BackendError(
                "This container gets its GPUs from a daemon that serves the whole machine, and this one does not.",
                hint="Create a new container.",
            )
        return self._cdi


def _binding(name: str, allocation: Allocation) -> Binding:
    return Binding(_device_id(name), allocation.id, allocation.gpu_uuids)


def _device_id(name: str) -> str:
    return name.removeprefix(MANAGED_CDI_KIND)


def _fixed(reason: str) -> str:
    return f"Its GPUs are fixed for good: late binding is on, but it cannot be had. {reason.rstrip('.')}."
