"""One way to take a device or a part of one: the word that boards, MIG tables and options share."""

from dataclasses import dataclass

from ds01.domain.devices.gpu import GpuKind

FULL_PROFILE = "full"


@dataclass(frozen=True, slots=True)
class Position:
    """One way to take a device, or a part of one.

    Attributes:
        mask: Bits of the card that it occupies; never 0.
        kind: Whole or MIG.
        profile: `full` or the MIG profile.
        gpu_uuid: The device; None: an instance that is made on demand.
        start: First memory slice of an instance that is made on demand; None for a device that exists.
        equivalents: What it weighs: a whole GPU is 1.0.
        memory_bytes: Memory that the container gets.
        shares: Into how many parts the device is divided by this position; 1: nobody else gets any of it.
    """

    mask: int
    kind: GpuKind
    profile: str
    gpu_uuid: str | None
    start: int | None
    equivalents: float
    memory_bytes: int
    shares: int = 1
