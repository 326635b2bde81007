"""Who holds which device now: our allocations and the containers of others, in one view."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ds01.domain.allocation import Allocation
from ds01.domain.devices.gpu import DeviceWeight, Gpu, Inventory, all_gpus


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who holds a device.

    Attributes:
        uid: Owner; None if nobody can be named.
        container_name: Name as people know it.
        since: When it was granted or created.
        state: State of our allocation, or `foreign` for a container that DS01 did not grant.
        until: When the hold ends, if it does.
        allocation_id: Ours; None for a foreign one.
        note: How it came to hold the device where that is not plain; empty without.
        ends_at: End of its time limit; None: no end is known.
        shares: Into how many parts the device is divided; 1: it is held alone.
        group: The owner's group; empty: not known.
    """

    uid: int | None
    container_name: str
    since: datetime
    state: str
    until: datetime | None = None
    allocation_id: str | None = None
    note: str = ""
    ends_at: datetime | None = None
    shares: int = 1
    group: str = ""


FOREIGN_STATE = "foreign"
UNNAMED = "somebody"
"""Who holds a device, before readers to whom the site does not show it."""


@dataclass(frozen=True, slots=True)
class ForeignContainer:
    """A container that DS01 did not grant and that has GPUs attached.

    Attributes:
        name: Engine name.
        uid: Owner by its name, if that says one.
        gpu_uuids: Devices it reaches.
        created_at: When it was made.
        note: How it came to hold them where that is not plain; empty without.
        weight: What they count in the owner's quota; None: not known, so each counts as a whole GPU.
    """

    name: str
    uid: int | None
    gpu_uuids: frozenset[str]
    created_at: datetime
    note: str = ""
    weight: DeviceWeight | None = None

    @property
    def counted(self) -> DeviceWeight:
        """What it counts in a quota; a quota that is too strict is noticed, one that is too generous is not."""
        return self.weight or DeviceWeight(len(self.gpu_uuids), float(len(self.gpu_uuids)))


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Holders by device.

    Attributes:
        holders: Device UUID to everybody who holds exactly this device, oldest first.
        blocked: Devices nobody may be granted now, with the reason (a parent or an instance is held).
    """

    holders: Mapping[str, tuple[Holder, ...]] = field(default_factory=dict)
    blocked: Mapping[str, str] = field(default_factory=dict)

    def is_free(self, uuid: str) -> bool:
        """Nobody holds it, its parent, or one of its instances."""
        return not self.holders.get(uuid) and uuid not in self.blocked


def occupy(
    inventory: Inventory, allocations: Iterable[Allocation], foreign: Iterable[ForeignContainer] = ()
) -> Occupancy:
    """Return who holds what.

    Args:
        inventory: Devices of the machine.
        allocations: Ours; released ones count for nothing.
        foreign: Containers with GPUs that are not ours.
    """
    holders: dict[str, list[Holder]] = {}
    for allocation in allocations:
        if allocation.is_holding:
            for uuid in allocation.gpu_uuids:
                holders.setdefault(uuid, []).append(_holder(allocation))
    for container in foreign:
        for uuid in container.gpu_uuids:
            holders.setdefault(uuid, []).append(
                Holder(container.uid, container.name, container.created_at, FOREIGN_STATE, note=container.note)
            )
    ordered = {uuid: tuple(sorted(found, key=lambda holder: holder.since)) for uuid, found in holders.items()}
    return Occupancy(holders=ordered, blocked=_blocked(inventory, ordered))


def _holder(allocation: Allocation) -> Holder:
    return Holder(
        uid=allocation.uid,
        container_name=allocation.container_name,
        since=allocation.claimed_at,
        state=allocation.state.value,
        until=allocation.deadline_at,
        allocation_id=allocation.id,
        ends_at=allocation.ends_at,
        shares=allocation.shares,
        group=allocation.group,
    )


def _blocked(inventory: Inventory, holders: Mapping[str, tuple[Holder, ...]]) -> dict[str, str]:
    """A whole GPU and its own MIG instances exclude each other."""
    gpus: dict[str, Gpu] = {gpu.uuid: gpu for gpu in all_gpus(inventory)}
    held_parents = {
        gpus[uuid].parent_uuid: gpus[uuid]
        for uuid in holders
        if uuid in gpus and gpus[uuid].uuid != gpus[uuid].parent_uuid
    }
    blocked: dict[str, str] = {}
    for gpu in gpus.values():
        if gpu.uuid == gpu.parent_uuid and gpu.uuid in held_parents:
            blocked[gpu.uuid] = f"its MIG instance {held_parents[gpu.uuid].address} is held"
        elif gpu.uuid != gpu.parent_uuid and gpu.parent_uuid in holders:
            blocked[gpu.uuid] = f"the whole GPU {gpus[gpu.parent_uuid].address} is held"
    return blocked
