"""What the services need of the world: one port for each outside system. Adapters implement them, tests fake them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from ds01.domain.allocation import Allocation
from ds01.domain.devices.gpu import DeviceSample, GpuProcess, Inventory, MigInstance
from ds01.domain.devices.gpu_event import DeviceEvent
from ds01.domain.engine import (
    BuildProgress as BuildProgress,
    BuildSpec as BuildSpec,
    EngineEvent as EngineEvent,
    EngineInfo as EngineInfo,
    ExecResult as ExecResult,
    ExecSpec as ExecSpec,
    ExecState as ExecState,
    FileEntry as FileEntry,
    ImageDetails as ImageDetails,
    PathStat as PathStat,
    PullProgress as PullProgress,
)
from ds01.domain.event import EVERY_EVENT, Event, EventFilter
from ds01.domain.rules.consumption import Consumption
from ds01.domain.scheduling.queue import QueueEntry
from ds01.domain.scheduling.reservation import Reservation
from ds01.service.cdi_port import HostCdi as HostCdi
from ds01.service.engine_port import Engine as Engine, RawStream as RawStream
from ds01.service.linux_port import (
    Accounts as Accounts,
    CgroupProcesses as CgroupProcesses,
    Directories as Directories,
    ResolvedDirectory as ResolvedDirectory,
)

Result = TypeVar("Result")


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """Return the present moment, aware, UTC."""
        ...

    async def sleep(self, length: timedelta) -> None:
        """Wait."""
        ...


class Checkpoint(Protocol):
    """One counter through which every durable write and every engine call passes.

    With `DS01_CRASH_AT=n` the process dies at the n-th, so that a test can try every place.
    """

    def __call__(self, step: str) -> None:
        """Pass the next step.

        Args:
            step: What is about to happen, for the log.
        """
        ...


# --- the devices ------------------------------------------------------------------------------------------------------


class Devices(Protocol):
    """NVIDIA devices. BackendError means that the devices are unknown, which is never "none"."""

    async def read_inventory(self) -> Inventory:
        """Return every device. No library and no device on the PCI bus is a known empty inventory."""
        ...

    async def read_samples(self) -> dict[str, DeviceSample]:
        """Return one reading by device UUID, whole cards and MIG instances."""
        ...

    async def read_processes(self) -> list[GpuProcess]:
        """Return the processes that use devices."""
        ...

    async def set_mig_mode(self, card_uuid: str, *, enabled: bool) -> None:
        """Turn MIG on or off; the mode that is on already is fine.

        Cards that need a reset for it are `pending` afterwards. On a failure both modes are as before.

        Raises:
            NotFoundError: There is no such card.
            ConflictError: It is in use, has instances, or knows no MIG.
            ForbiddenError: The daemon may not.
            BackendError: The driver failed: the state is unknown.
        """
        ...

    async def create_instance(self, card_uuid: str, profile: str, start: int) -> MigInstance:
        """Make a GPU instance with one compute instance that covers it, and return the MIG device.

        Args:
            card_uuid: A card in MIG mode.
            profile: The driver's name, such as `1g.5gb`.
            start: First memory slice.

        Raises:
            NotFoundError: There is no such card.
            InvalidRequestError: The card has no such profile, or it cannot begin there.
            ConflictError: MIG is off, or the place is taken.
            ForbiddenError: The daemon may not.
            BackendError: The driver failed: the state is unknown.
        """
        ...

    async def destroy_instance(self, mig_uuid: str) -> None:
        """Destroy a MIG device, and its GPU instance when that was the last one in it.

        Raises:
            NotFoundError: There is no such MIG device.
            ConflictError: Processes use it.
            ForbiddenError: The daemon may not.
            BackendError: The driver failed: the state is unknown.
        """
        ...

    async def wait_for_event(self, timeout: timedelta) -> DeviceEvent | None:  # noqa: ASYNC109 - a part of the question
        """Wait for the next report of the driver; None when none came in time.

        What was reported between two calls is kept. After a failure or a MIG change reports may be missing: compare
        inventories.

        Raises:
            BackendError: The devices are unknown, or report nothing.
        """
        ...

    async def close(self) -> None:
        """End the child process."""
        ...


# --- the store --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContainerRow:
    """Intent: a container that DS01 made or is making.

    Attributes:
        uid: Owner.
        name: Name as the owner knows it; unique for each uid.
        nonce: Random text that is also a label: an engine event that comes before our answer finds its row by it.
        engine_id: Full id; None until the engine has answered.
        allocation_id: Its grant.
        image: Private tag it is created from.
        created_at: When the row was made.
        spec: What was asked for, as JSON text, for starting it again elsewhere.
    """

    uid: int
    name: str
    nonce: str
    engine_id: str | None
    allocation_id: str
    image: str
    created_at: datetime
    spec: str = "{}"


class StoreTransaction(Protocol):
    """What may be read and written in one transaction. Plain functions: they run in the writer thread."""

    def list_allocations(self) -> list[Allocation]:
        """Return every allocation that is not released, oldest first."""
        ...

    def find_allocation(self, allocation_id: str) -> Allocation | None:
        """Return one allocation in whatever state."""
        ...

    def save_allocation(self, allocation: Allocation) -> None:
        """Insert or update."""
        ...

    def list_containers(self) -> list[ContainerRow]:
        """Return every row, oldest first."""
        ...

    def count_containers(self) -> Mapping[int, int]:
        """Return how many rows every user has who has any."""
        ...

    def find_container(self, uid: int, name: str) -> ContainerRow | None:
        """Return the row of a user's container."""
        ...

    def find_container_by_nonce(self, nonce: str) -> ContainerRow | None:
        """Return the row that carries this nonce."""
        ...

    def insert_container(self, row: ContainerRow) -> None:
        """Insert; ConflictError when the user has a container of that name."""
        ...

    def save_container(self, row: ContainerRow) -> None:
        """Insert or update by (uid, name)."""
        ...

    def delete_container(self, uid: int, name: str) -> None:
        """Delete; none is fine."""
        ...

    def list_waiting(self) -> list[QueueEntry]:
        """Return every open request (it waits, or its container is being made), oldest first, then by id."""
        ...

    def list_ended(self) -> list[QueueEntry]:
        """Return the requests that are not open any more and still kept, newest end first."""
        ...

    def find_waiting(self, request_id: str) -> QueueEntry | None:
        """Return one request in whatever state."""
        ...

    def find_granted(self, allocation_id: str) -> QueueEntry | None:
        """Return the request whose container is being made with this grant."""
        ...

    def save_waiting(self, entry: QueueEntry) -> None:
        """Insert or update; ConflictError when the user has another open request for a container of that name."""
        ...

    def delete_ended(self, before: datetime) -> int:
        """Delete the requests that ended before a moment; return how many."""
        ...

    def list_reservations(self, *, with_over: bool = False) -> list[Reservation]:
        """Return the reservations that are not over, or all, by their begin, then by id."""
        ...

    def save_reservation(self, reservation: Reservation) -> None:
        """Insert or update; ConflictError when another one that is not over has the name."""
        ...

    def has_grant_in(self, reservation_id: str) -> bool:
        """Tell whether anything was ever granted in a reservation."""
        ...

    def list_consumption(self) -> list[Consumption]:
        """Return what everybody used of grants that are released, by uid, then by group."""
        ...

    def find_consumption(self, uid: int, group: str) -> Consumption | None:
        """Return what a user used in a group."""
        ...

    def save_consumption(self, consumption: Consumption) -> None:
        """Insert or update by uid and group."""
        ...

    def append_event(self, event: Event) -> int:
        """Append and return its number."""
        ...

    def list_events(
        self, wanted: EventFilter = EVERY_EVENT, *, after_id: int = 0, limit: int = 1000, from_end: bool = False
    ) -> list[Event]:
        """Return events in order, newest last: the first `limit` after a number, or with `from_end` the last."""
        ...

    def list_dynamic_cards(self) -> list[str]:
        """Return the cards whose MIG instances are made by grants, by UUID."""
        ...

    def save_dynamic_card(self, card_uuid: str, places: Mapping[str, int]) -> None:
        """Remember that instances of a card are made by grants, and where; without places: no more.

        Args:
            card_uuid: The card.
            places: `GPU-uuid/profile@start` to the bits it occupies. From then on an allocation cannot be saved with a
                place that meets another's, or that is not among these.
        """
        ...

    def get_fact(self, key: str) -> str | None:
        """Return a remembered fact (image checks, the daemon's key)."""
        ...

    def set_fact(self, key: str, value: str) -> None:
        """Remember a fact."""
        ...


class Store(Protocol):
    """The durable store. BackendError when it fails; a transaction is then not done."""

    async def write(self, decide: Callable[[StoreTransaction], Result]) -> Result:
        """Run `decide` in a transaction of its own and return its result once it is durable.

        Waiting transactions are committed together, each in its savepoint: an exception rolls back its own only and is
        raised here. `decide` must not block, and no engine or device call may happen in it.
        """
        ...

    async def read(self, query: Callable[[StoreTransaction], Result]) -> Result:
        """Run `query` on a read-only connection."""
        ...

    async def close(self) -> None:
        """Finish what waits and close."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside, in one hand.

    Attributes:
        engine: Container engine.
        devices: GPUs.
        store: Durable intent.
        clock: Time.
        accounts: Users.
        directories: Users' directories.
        cgroups: Which container a process belongs to.
    """

    engine: Engine
    devices: Devices
    store: Store
    clock: Clock
    accounts: Accounts
    directories: Directories
    cgroups: CgroupProcesses


Notify = Callable[[Mapping[str, object]], Awaitable[None]]
"""Progress of a long request, one JSON-like message at a time."""
