"""What is kept in mind about devices beside what the driver says now: drained ones, faults, what was there before.

Pure. A device that may not be granted has a *condition*: a state and the reason for it, in words for people.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ds01.domain.devices.gpu import GpuState, Inventory, PhysicalGpu


@dataclass(frozen=True, slots=True)
class Drain:
    """An administrator's word that a device gets no new grants.

    Attributes:
        reason: Why; empty if it was not said.
        by_uid: Who said so.
        at: When.
    """

    reason: str
    by_uid: int
    at: datetime


@dataclass(frozen=True, slots=True)
class GpuFault:
    """A fault that the driver reported once and does not repeat when it is asked.

    Attributes:
        text: What is wrong, in one phrase.
        at: When it was reported.
        boot: The boot of the machine in which that was: a restart mends what only a reset could.
    """

    text: str
    at: datetime
    boot: str


@dataclass(frozen=True, slots=True)
class SeenCard:
    """A card as it was at the last look.

    Attributes:
        index: The driver's index.
        model: Product name.
        fault: What was wrong with it; empty: nothing.
        instances: UUIDs of its MIG devices.
    """

    index: int
    model: str
    fault: str = ""
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Everything that is kept in mind, by UUID.

    Attributes:
        drains: Cards and MIG devices that get no new grants.
        faults: Cards with a fault that was reported.
        seen: Cards that were there at the last look.
        gone: Cards that were there once and are not any more.
    """

    drains: Mapping[str, Drain] = field(default_factory=dict)
    faults: Mapping[str, GpuFault] = field(default_factory=dict)
    seen: Mapping[str, SeenCard] = field(default_factory=dict)
    gone: Mapping[str, SeenCard] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Condition:
    """Why a device gets no new grants.

    Attributes:
        state: Of the device.
        reason: A phrase that begins with "it" or names who is there.
    """

    state: GpuState
    reason: str


Unmanaged = Mapping[str, tuple[int, ...]]
"""Pids of processes that belong to no container, by the device that they compute on."""


def conditions_of(inventory: Inventory, upkeep: Upkeep, unmanaged: Unmanaged) -> dict[str, Condition]:
    """Return every device that must not be granted for a reason of its own, cards and MIG devices, by UUID.

    What follows from the MIG mode alone is not here: a card that waits for a reset has no device to grant.
    """
    found: dict[str, Condition] = {}
    for card in inventory.devices:
        condition = _of_card(card, upkeep) or _unmanaged(unmanaged.get(card.uuid, ()))
        if condition is not None:
            found[card.uuid] = condition
        for one in card.instances:
            drain = upkeep.drains.get(one.uuid)
            own = condition or (_drained(drain) if drain else None) or _unmanaged(unmanaged.get(one.uuid, ()))
            if own is not None:
                found[one.uuid] = own
    return found


def unusable_gpus(inventory: Inventory, upkeep: Upkeep, unmanaged: Unmanaged) -> dict[str, str]:
    """Return why devices must not be granted, in words, by UUID of the card or the MIG device."""
    return {uuid: condition.reason for uuid, condition in conditions_of(inventory, upkeep, unmanaged).items()}


def _of_card(card: PhysicalGpu, upkeep: Upkeep) -> Condition | None:
    reported, drain = upkeep.faults.get(card.uuid), upkeep.drains.get(card.uuid)
    fault = card.fault or (reported.text if reported else None)
    if fault is not None:
        return Condition(GpuState.UNHEALTHY, f"it is unhealthy: {fault}")
    return _drained(drain) if drain else None


def _drained(drain: Drain) -> Condition:
    return Condition(GpuState.DRAINED, f"it is drained{f': {drain.reason}' if drain.reason else ''}")


def _unmanaged(pids: tuple[int, ...]) -> Condition | None:
    if not pids:
        return None
    what = f"process {pids[0]}" if len(pids) == 1 else f"processes {', '.join(map(str, pids))}"
    verb = "computes" if len(pids) == 1 else "compute"
    return Condition(GpuState.BUSY_UNMANAGED, f"{what} of the host {verb} on it")


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is different from the last look, as the event that tells it.

    Attributes:
        event: Name of the event.
        gpu_uuid: The card.
        details: Its other fields.
    """

    event: str
    gpu_uuid: str
    details: Mapping[str, object] = field(default_factory=dict)


def look(upkeep: Upkeep, inventory: Inventory, boot: str) -> tuple[Upkeep, list[Change]]:
    """Return what is kept in mind after a look, and what has changed since the last one.

    Looking twice at the same finds nothing the second time. What a card that does not answer has no name for is not
    taken for another card.

    Args:
        upkeep: What was kept in mind.
        inventory: What is there now.
        boot: The present boot of the machine; reported faults of another one are over. Empty: unknown.
    """
    faults = {uuid: fault for uuid, fault in upkeep.faults.items() if not boot or fault.boot == boot}
    seen = {card.uuid: _seen(card, faults) for card in inventory.devices if is_named(card)}
    gone = {uuid: card for uuid, card in {**upkeep.gone, **upkeep.seen}.items() if uuid not in seen}
    after = Upkeep(upkeep.drains, faults, seen, gone)
    return after, [*_of_gone(upkeep, gone), *_of_present(upkeep, seen)]


def is_named(card: PhysicalGpu) -> bool:
    """Tell whether a card has told its UUID, now or before."""
    return not card.uuid.startswith("GPU-unreadable-")


def _seen(card: PhysicalGpu, faults: Mapping[str, GpuFault]) -> SeenCard:
    reported = faults.get(card.uuid)
    fault = card.fault or (reported.text if reported else "")
    return SeenCard(card.index, card.model, fault, tuple(sorted(one.uuid for one in card.instances)))


def _of_gone(before: Upkeep, gone: Mapping[str, SeenCard]) -> Iterator[Change]:
    for uuid, card in gone.items():
        if uuid in before.seen:
            yield Change("gpu.lost", uuid, {"index": card.index, "reason": "the driver does not list it any more"})


def _of_present(before: Upkeep, seen: Mapping[str, SeenCard]) -> Iterator[Change]:
    for uuid, card in seen.items():
        if uuid in before.gone and uuid not in before.seen:
            yield Change("gpu.returned", uuid, {"index": card.index})
        earlier = before.seen.get(uuid) or before.gone.get(uuid)
        fault_before = earlier.fault if earlier else ""
        if card.fault and not fault_before:
            yield Change("gpu.unhealthy", uuid, {"index": card.index, "reason": card.fault})
        elif fault_before and not card.fault:
            yield Change("gpu.healthy", uuid, {"index": card.index})
        if earlier is not None and earlier.instances != card.instances:
            added = [one for one in card.instances if one not in earlier.instances]
            removed = [one for one in earlier.instances if one not in card.instances]
            yield Change("gpu.repartitioned", uuid, {"index": card.index, "added": added, "removed": removed})
