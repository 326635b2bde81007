"""What the driver reports of a device by itself, and which of it means that the device cannot be used."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class DeviceEventKind(StrEnum):
    """What the driver reports."""

    XID = "xid"
    """An error that the driver writes to the kernel's log."""
    ECC = "ecc"
    """A memory error that could not be corrected."""
    HEALTH = "health"
    """What the card says of its own health has changed; the next inventory says how."""
    MIG_CHANGED = "mig_changed"
    """Instances were made or destroyed, or the mode was changed."""
    LOST = "lost"
    """A card does not answer any more; which one, the next inventory says."""


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """One report of the driver.

    Attributes:
        kind: What.
        gpu_uuid: The card; None where the driver does not say.
        code: Number of an Xid; None for the rest.
        gpu_instance_id: The MIG instance that it is about; None: the card, or not said.
    """

    kind: DeviceEventKind
    gpu_uuid: str | None = None
    code: int | None = None
    gpu_instance_id: int | None = None


XID_FAULTS: Mapping[int, str] = {
    46: "it stopped processing",
    48: "a memory error could not be corrected",
    62: "its micro-controller halted",
    64: "a broken memory row could not be remapped",
    74: "an NVLink error",
    79: "it fell off the bus",
    92: "too many single-bit memory errors",
    95: "a memory error was not contained",
    119: "its system processor does not answer",
    120: "its system processor failed",
    136: "a memory error in its page tables",
    140: "an unrecovered memory error",
    143: "its initialisation failed",
    154: "the driver asks for a reset",
}
"""Xids after which a card must be reset, or is lost, before work on it can be trusted.

Left out on purpose: what programs cause by themselves (13, 31, 43, 45, 68, 69, 109), what the driver has already
contained (94), and the record of a remapped row (63): whether that one waits for a reset the card tells itself.

Source: NVIDIA, "XID Errors" (docs.nvidia.com/deploy/xid-errors), the catalogue's column "Immediate Action"; NVIDIA,
"GPU Memory Error Management".
"""


def fault_of(event: DeviceEvent) -> str | None:
    """Return why the card of an event cannot be used any more, in one phrase; None if it can."""
    if event.kind is not DeviceEventKind.XID or event.code is None or event.code not in XID_FAULTS:
        return None
    return f"{XID_FAULTS[event.code]} (Xid {event.code})"
