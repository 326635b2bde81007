"""The machine as the scheduler sees it: on every card the positions that a grant can take, as bits.

Two positions of one card exclude each other exactly when their masks share a bit. That holds for every layout:
a whole GPU is one position; existing MIG instances have a bit each; on a card whose instances are made on demand a
position is a profile at a start and its mask the memory slices it covers; a device that n containers may share has n
bits, one for a share and all of them for somebody who wants it alone.
"""

from dataclasses import dataclass

from ds01.domain.gpu import GpuKind


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


@dataclass(frozen=True, slots=True)
class Card:
    """One physical GPU with the ways to take it.

    Attributes:
        uuid: The physical GPU.
        index: The driver's index; for display and for order.
        model: Product name.
        positions: Every way, also those that are taken now. Empty: nothing of it can be granted.
        unusable: Why nothing of it can be granted (drained, unhealthy, MIG without instances); empty: it can.
        table: Key of the table of MIG values that fits its profiles; None: no table, or not made on demand.
        near: Indices of the cards that are linked closely with it (NVLink, or one PCIe switch), nearest first.
    """

    uuid: str
    index: int
    model: str
    positions: tuple[Position, ...]
    unusable: str = ""
    table: str | None = None
    near: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Board:
    """Every card of the machine, in the driver's order.

    What is taken is kept beside it, as one mask a card in the same order: `tuple[int, ...]`.
    """

    cards: tuple[Card, ...]
