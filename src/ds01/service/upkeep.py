"""The upkeep of devices: drain and resume, what the driver reports, what came, went and changed since the last look."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from ds01.domain.devices.gpu import Inventory, all_gpus, get_gpu
from ds01.domain.devices.gpu_event import DeviceEvent, fault_of
from ds01.domain.devices.upkeep import (
    Change,
    Condition,
    Drain,
    GpuFault,
    Unmanaged,
    Upkeep,
    conditions_of,
    is_named,
    look,
    unusable_gpus,
)
from ds01.domain.event import Event
from ds01.errors import BackendError, ConflictError, InvalidRequestError
from ds01.service.bell import Bell
from ds01.service.ports import StoreTransaction, World
from ds01.service.upkeep_record import read_upkeep, write_upkeep

REPARTITIONED = "gpu.repartitioned"
EVERY_GPU = "all"
LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Drained:
    """A device that was drained or resumed.

    Attributes:
        gpu_uuid: The device.
        address: What people call it; its UUID if it is not there any more.
        has_changed: It was not so before.
    """

    gpu_uuid: str
    address: str
    has_changed: bool


class UpkeepService:
    """Looks after the devices. What it keeps in mind is in the store; who computes past us is seen at each look."""

    def __init__(self, world: World, bell: Bell, *, boot: str = "") -> None:
        """Prepare.

        Args:
            world: Everything outside.
            bell: Wakes the scheduler.
            boot: The kernel's name of the present boot; empty: unknown.
        """
        self._devices = world.devices
        self._cgroups = world.cgroups
        self._store = world.store
        self._clock = world.clock
        self._bell = bell
        self._boot = boot
        self._pids: dict[str, frozenset[int]] = {}
        self._unmanaged: dict[str, tuple[int, ...]] = {}
        # asked at every decision, of the same devices, from several threads: replaced whole
        self._last_unusable: list[tuple[tuple[Inventory, Upkeep, Unmanaged], dict[str, str]]] = []

    @property
    def unmanaged(self) -> Unmanaged:
        """Processes of no container, by device, as of the last two looks."""
        return self._unmanaged

    def unusable(self, transaction: StoreTransaction, inventory: Inventory) -> dict[str, str]:
        """Return why devices must not be granted now, by UUID of the card or the MIG device.

        This is the one place to ask. It reads the store in the caller's transaction and asks nothing outside.
        """
        upkeep, unmanaged = read_upkeep(transaction), self._unmanaged
        for asked, found in self._last_unusable[:1]:
            if asked[0] is inventory and asked[1] is upkeep and asked[2] is unmanaged:
                return dict(found)
        unusable = unusable_gpus(inventory, upkeep, unmanaged)
        self._last_unusable[:] = [((inventory, upkeep, unmanaged), unusable)]
        return dict(unusable)

    async def conditions(self, inventory: Inventory) -> dict[str, Condition]:
        """Return the state and the reason of devices that must not be granted now."""
        upkeep = await self._store.read(read_upkeep)
        return conditions_of(inventory, upkeep, self._unmanaged)

    async def drain(self, text: str, reason: str, *, actor_uid: int) -> list[Drained]:
        """Give no new grants on a device; what runs on it goes on. Drained again, only the reason changes.

        Args:
            text: A UUID, `0`, `0:1`, or `all`.
            reason: Why, one line for everybody; may be empty.
            actor_uid: Who wants it.

        Raises:
            NotFoundError: There is no such device.
            InvalidRequestError: The reason is too long or has several lines.
            BackendError: The devices are unknown.
        """
        if len(reason) > LONGEST_REASON or not (reason.isprintable()):
            raise InvalidRequestError(
                f"The reason must be one line of at most {LONGEST_REASON} characters.", hint="Shorten --reason."
            )
        chosen = _chosen(await self._devices.read_inventory(), text)
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> list[Drained]:
            upkeep = read_upkeep(transaction)
            new = {
                uuid: Drain(reason, actor_uid, now)
                for uuid, _ in chosen
                if uuid not in upkeep.drains or upkeep.drains[uuid].reason != reason
            }
            write_upkeep(transaction, replace(upkeep, drains={**upkeep.drains, **new}))
            for uuid in new:
                details = {"gpu": uuid, "reason": reason}
                transaction.append_event(Event("gpu.drained", now, actor_uid=actor_uid, details=details))
            return [Drained(uuid, address, uuid in new) for uuid, address in chosen]

        return await self._store.write(decide)

    async def resume(self, text: str, *, actor_uid: int) -> list[Drained]:
        """Let a device be granted again: it is not drained any more, and what the driver reported of it is settled.

        What the card itself still says is wrong with it stays.

        Args:
            text: A UUID, `0`, `0:1`, or `all`; the UUID also of a card that is not there.
            actor_uid: Who wants it.

        Raises:
            NotFoundError: There is no such device.
            ConflictError: It is neither drained nor has it a reported fault.
            BackendError: The devices are unknown.
        """
        inventory = await self._devices.read_inventory()
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> list[Drained]:
            upkeep = read_upkeep(transaction)
            kept = upkeep.drains.keys() | upkeep.faults.keys()
            chosen = _of_kept(inventory, text, kept)
            named = {uuid for uuid, _ in chosen}
            if text != EVERY_GPU and not named & kept:
                raise ConflictError(
                    f"GPU {text} is not drained.", hint="`ds01 gpus` shows the state of every device and the reason."
                )
            drains = {uuid: drain for uuid, drain in upkeep.drains.items() if uuid not in named}
            faults = {uuid: fault for uuid, fault in upkeep.faults.items() if uuid not in named}
            write_upkeep(transaction, replace(upkeep, drains=drains, faults=faults))
            for uuid in sorted(named & kept):
                transaction.append_event(Event("gpu.resumed", now, actor_uid=actor_uid, details={"gpu": uuid}))
            return [Drained(uuid, address, uuid in kept) for uuid, address in chosen]

        outcome = await self._store.write(decide)
        self._bell.ring()
        return outcome

    async def note(self, event: DeviceEvent) -> None:
        """Keep in mind what the driver reports, if it means that a card cannot be used any more."""
        fault, uuid = fault_of(event), event.gpu_uuid
        if fault is None or uuid is None:
            return
        reported = GpuFault(fault, self._clock.now(), self._boot)

        def decide(transaction: StoreTransaction) -> None:
            upkeep = read_upkeep(transaction)
            if uuid not in upkeep.faults:
                write_upkeep(transaction, replace(upkeep, faults={**upkeep.faults, uuid: reported}))

        await self._store.write(decide)

    async def look(self) -> bool:
        """Compare what is there with the last look and record what has changed.

        Returns:
            Whether anything that matters for grants is different.

        Raises:
            BackendError: Devices or store are unknown.
        """
        inventory = await self._devices.read_inventory()
        before = self._unmanaged
        self._unmanaged = await self._strangers()
        came = self._unmanaged.keys() - before.keys()
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> list[Change]:
            after, changes = look(read_upkeep(transaction), inventory, self._boot)
            write_upkeep(transaction, after)
            dynamic = set(transaction.list_dynamic_cards())  # there every grant makes instances: nothing to tell
            for change in changes:
                if change.event != REPARTITIONED or change.gpu_uuid not in dynamic:
                    transaction.append_event(_event(change, now))
            for uuid in sorted(came):
                details = {"gpu": uuid, "holder": _holder(self._unmanaged[uuid])}
                transaction.append_event(Event("gpu.unmanaged", now, details=details))
            return changes

        has_changed = before.keys() != self._unmanaged.keys()
        if came or not await self._store.read(lambda transaction: self._is_settled(transaction, inventory)):
            has_changed = bool(await self._store.write(decide)) or has_changed
        if has_changed:
            self._bell.ring()
        return has_changed

    def _is_settled(self, transaction: StoreTransaction, inventory: Inventory) -> bool:
        upkeep = read_upkeep(transaction)
        return look(upkeep, inventory, self._boot)[0] == upkeep

    async def _strangers(self) -> dict[str, tuple[int, ...]]:
        """Return who computes without a container, by device. What was not there at the last look waits for the next.

        A process whose container has just ended is in none any more, and still listed for a moment.
        """
        try:
            processes = await self._devices.read_processes()
            found: dict[str, set[int]] = {}
            for process in processes:
                if process.is_compute and self._cgroups.container_of(process.pid) is None:
                    found.setdefault(process.gpu_uuid, set()).add(process.pid)
        except BackendError:
            return self._unmanaged  # unknown: what was known stays
        before, self._pids = self._pids, {uuid: frozenset(pids) for uuid, pids in found.items()}
        both = {uuid: tuple(sorted(pids & before.get(uuid, frozenset()))) for uuid, pids in self._pids.items()}
        return {uuid: pids for uuid, pids in both.items() if pids}


def _chosen(inventory: Inventory, text: str) -> list[tuple[str, str]]:
    """Return UUID and address of the devices that a person means."""
    if text.strip() == EVERY_GPU:
        return [(card.uuid, str(card.index)) for card in inventory.devices if is_named(card)]
    gpu = get_gpu(inventory, text)
    return [(gpu.uuid, gpu.address)]


def _of_kept(inventory: Inventory, text: str, kept: Iterable[str]) -> list[tuple[str, str]]:
    """The same, but `all` means what is drained, and a device that is gone is known by its UUID."""
    address = {gpu.uuid: gpu.address for gpu in all_gpus(inventory)}
    if text.strip() == EVERY_GPU:
        return [(uuid, address.get(uuid, uuid)) for uuid in sorted(kept)]
    if text.strip() in set(kept):
        return [(text.strip(), address.get(text.strip(), text.strip()))]
    return _chosen(inventory, text)


def _event(change: Change, now: datetime) -> Event:
    return Event(change.event, now, details={"gpu": change.gpu_uuid, **change.details})


def _holder(pids: tuple[int, ...]) -> str:
    return f"process {', '.join(map(str, pids))} of the host"
