"""Containers that DS01 made and whose row is lost: they get a row and a grant again, from what the engine says."""

import logging
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from ds01.domain import label
from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.containers.container import ContainerDetails, ContainerState, ContainerSummary
from ds01.domain.containers.seal import is_sealed
from ds01.domain.devices.attachment import attached_gpus
from ds01.domain.devices.gpu import Inventory, all_gpus
from ds01.domain.event import Event
from ds01.domain.images.image import is_private_tag
from ds01.domain.name import EngineName
from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.occupancy import occupy
from ds01.service.images import drop_private_tag
from ds01.service.late_binding import LateBinding
from ds01.service.limits import LimitService
from ds01.service.ports import ContainerRow, StoreTransaction, World

log = logging.getLogger(__name__)
ENGINE_LATENESS = timedelta(minutes=5)
"""How long after we gave a creation up the engine may still carry it out."""


@dataclass(frozen=True, slots=True)
class AdoptionRules:
    """Which containers without a row are taken in.

    Attributes:
        only_uid: Only this user's (a personal daemon); None: everybody's.
        seal_key: Only those whose seal verifies with it (a server): labels alone prove nothing. None: no seal is asked.
    """

    only_uid: int | None
    seal_key: bytes | None


class Adopter:
    """Takes containers in."""

    def __init__(self, world: World, limits: LimitService, rules: AdoptionRules, *, late_binding: LateBinding) -> None:
        self._late = late_binding
        self._engine = world.engine
        self._devices = world.devices
        self._store = world.store
        self._clock = world.clock
        self._limits = limits
        self._rules = rules

    def may_adopt(self, container: ContainerSummary | ContainerDetails, taken: Collection[EngineName]) -> bool:
        """Tell whether a container without a row is to be taken in.

        Args:
            container: One whose labels say that DS01 made it.
            taken: Names that have a row.
        """
        parsed = container.parsed_name
        if parsed is None or parsed in taken:
            return False
        if self._rules.only_uid is not None and parsed.uid != self._rules.only_uid:
            return False
        labels = container.labels
        return self._rules.seal_key is None or is_sealed(
            self._rules.seal_key,
            parsed.uid,
            labels.get(label.ALLOCATION, ""),
            labels.get(label.REQUEST, ""),
            claimed=labels.get(label.SEAL, ""),
        )

    async def adopt(self, engine_id: str) -> None:
        """Give a container a row and a grant, or remove it when it is what the engine made of an undone creation.

        Raises:
            BackendError: Engine, devices or store do not answer.
        """
        details = await self._engine.find_container(engine_id)
        owner = details.parsed_name if details is not None else None
        if details is None or owner is None or not self.may_adopt(details, ()):
            return
        claimed = details.labels.get(label.ALLOCATION, "")
        grant = await self._store.read(lambda transaction: transaction.find_allocation(claimed))
        if grant is not None and _is_remnant(details, grant):
            await self._remove_remnant(details, grant)
            return
        details = await self._late.resolve(details)
        inventory = await self._devices.read_inventory()
        hold = await self._limits.hold_of(owner.uid)
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> None:
            row, allocation = _adopted(details, inventory, transaction.list_allocations(), hold=hold, now=now)
            if transaction.find_container(row.uid, row.name) or transaction.find_container_by_nonce(row.nonce):
                return
            transaction.save_allocation(allocation)
            transaction.insert_container(row)
            event = Event("container.adopted", now, uid=row.uid, container=row.name, details={"origin": "ds01"})
            transaction.append_event(event)

        await self._store.write(decide)

    async def _remove_remnant(self, details: ContainerDetails, grant: Allocation) -> None:
        await self._engine.remove_container(details.id, force=True)
        if is_private_tag(details.image) and details.image.endswith(f":{details.name}"):
            await drop_private_tag(self._engine, details.image)
        reason = "the engine made the container after its creation was undone: removed"
        facts = {"allocation": grant.id, "reason": reason}
        event = Event(
            "allocation.repaired", self._clock.now(), uid=grant.uid, container=grant.container_name, details=facts
        )
        await self._store.write(lambda transaction: transaction.append_event(event))


def _is_remnant(details: ContainerDetails, grant: Allocation) -> bool:
    """The store remembers that this creation was undone, and the engine made the container about then or later."""
    return (
        grant.state is AllocationState.RELEASED
        and details.parsed_name == EngineName(grant.container_name, grant.uid)
        and details.state is ContainerState.CREATED
        and details.started_at is None
        and details.created_at >= grant.changed_at - ENGINE_LATENESS
    )


def _adopted(
    details: ContainerDetails,
    inventory: Inventory,
    allocations: list[Allocation],
    *,
    hold: timedelta | None,
    now: datetime,
) -> tuple[ContainerRow, Allocation]:
    owner = details.parsed_name or EngineName(details.name, 0)
    uuids = tuple(sorted(attached_gpus(details.attachment, inventory)))
    weights = {gpu.uuid: gpu.equivalents for gpu in all_gpus(inventory)}
    occupancy = occupy(inventory, allocations)
    state, deadline = _state_of(details, hold, now)
    if not all(occupancy.is_free(uuid) for uuid in uuids):
        state, deadline = AllocationState.RELEASED, None  # they were granted to somebody else meanwhile
    allocation = Allocation(
        id=secrets.token_hex(8),
        uid=owner.uid,
        container_name=owner.name,
        request=GpuRequest(count=len(uuids)),
        gpu_uuids=uuids,
        gpu_equivalents=sum(weights.get(uuid, 1.0) for uuid in uuids),
        state=state,
        claimed_at=now,
        changed_at=now,
        deadline_at=deadline,
    )
    nonce = details.labels.get(label.NONCE) or secrets.token_hex(16)
    row = ContainerRow(owner.uid, owner.name, nonce, details.id, allocation.id, details.image, now)
    return row, allocation


def _state_of(
    details: ContainerDetails, hold: timedelta | None, now: datetime
) -> tuple[AllocationState, datetime | None]:
    """A stopped container is held as if it had not been lost in between: from its end on."""
    if details.state.has_processes or details.started_at is None:
        return AllocationState.ACTIVE, None
    if hold is None:
        return AllocationState.HELD, None
    until = (details.finished_at or now) + hold
    return (AllocationState.HELD, until) if until > now else (AllocationState.RELEASED, None)
