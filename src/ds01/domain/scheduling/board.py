"""The machine as the scheduler sees it: on every card the positions that a grant can take, as bits.

Two positions of one card exclude each other exactly when their masks share a bit. That holds for every layout:
a whole GPU is one position; existing MIG instances have a bit each; on a card whose instances are made on demand a
position is a profile at a start and its mask the memory slices it covers; a device that n containers may share has n
bits, one for a share and all of them for somebody who wants it alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ds01.domain.allocation import Allocation
from ds01.domain.devices.gpu import GpuKind, GpuState, Inventory, MigInstance, PhysicalGpu, instance_equivalents
from ds01.domain.devices.mig import MigTable
from ds01.domain.devices.position import FULL_PROFILE, Position
from ds01.domain.scheduling.occupancy import ForeignContainer

UNUSABLE_TEXT: Mapping[GpuState, str] = {
    GpuState.MIG_EMPTY: "MIG is on and it has no instance",
    GpuState.PENDING: "its MIG mode waits for a reset",
}
Piece = tuple[int, int]
"""Bits of one card: place of the card on the board, and the mask."""


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
        instances: MIG devices that exist on it now, uuid and the bits that a holder of it takes.
    """

    uuid: str
    index: int
    model: str
    positions: tuple[Position, ...]
    unusable: str = ""
    table: str | None = None
    near: tuple[int, ...] = ()
    instances: tuple[tuple[str, int], ...] = ()

    @property
    def all_bits(self) -> int:
        """Every bit that stands for a part of it."""
        bits = 0
        for position in self.positions:
            bits |= position.mask
        for _, mask in self.instances:
            bits |= mask
        return bits


@dataclass(frozen=True, slots=True)
class Board:
    """Every card of the machine, in the driver's order.

    What is taken is kept beside it, as one mask a card in the same order: `tuple[int, ...]`.

    Attributes:
        cards: The cards.
        tables: Tables of the cards whose instances are made on demand, by the key that the card names.
    """

    cards: tuple[Card, ...]
    tables: Mapping[str, "MigTable"] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class OnDemand:
    """How instances are made on demand on one card.

    Attributes:
        positions: A profile at a start each; masks are memory slices.
        table: Key of the table of values that fits these profiles; None: none does.
    """

    positions: tuple[Position, ...]
    table: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """What one grant, or one container of others, takes on the board.

    Attributes:
        owner: The grant or the container.
        pieces: Bits, card by card.
        lost: Devices of it that are not there any more.
    """

    owner: Allocation | ForeignContainer
    pieces: tuple[Piece, ...]
    lost: tuple[str, ...] = ()


def board_of(
    inventory: Inventory,
    *,
    drained: Mapping[str, str] | None = None,
    unusable: Mapping[str, str] | None = None,
    dynamic: Mapping[str, OnDemand] | None = None,
    shares: int = 1,
    near: Mapping[str, tuple[int, ...]] | None = None,
) -> Board:
    """Return every way to take the devices of a machine, in the order of the driver's indices.

    Args:
        inventory: The machine.
        drained: Cards and MIG instances that an administrator took out, uuid to the reason.
        unusable: The same for whatever reason, uuid to the whole phrase, see `upkeep.unusable_gpus`.
        dynamic: Cards whose instances are made on demand, by uuid.
        shares: Containers that may hold one device at a time.
        near: Card uuid to the indices of the cards that are linked closely with it, nearest first.
    """
    said = {uuid: f"it is drained{f': {reason}' if reason else ''}" for uuid, reason in (drained or {}).items()}
    out, dynamic, near = {**said, **(unusable or {})}, dynamic or {}, near or {}
    cards = []
    for device in sorted(inventory.devices, key=lambda found: (found.index, found.uuid)):
        card = _card(device, dynamic.get(device.uuid), shares, out)
        cards.append(replace(card, near=near.get(device.uuid, ())))
    return Board(tuple(cards))


def _card(device: PhysicalGpu, on_demand: OnDemand | None, shares: int, out: Mapping[str, str]) -> Card:
    bare = Card(device.uuid, device.index, device.model, (), out.get(device.uuid, ""))
    if on_demand is not None and device.state in {GpuState.MIG, GpuState.MIG_EMPTY}:
        card = replace(bare, positions=on_demand.positions, table=on_demand.table)
        # an instance that no grant was made for (somebody else's container has it) takes the slices that it lies on
        return replace(card, instances=tuple((found.uuid, _slices_of(found, card)) for found in device.instances))
    if device.state is GpuState.WHOLE:
        whole = Position(0, GpuKind.FULL, FULL_PROFILE, device.uuid, None, 1.0, device.memory_bytes)
        return replace(bare, positions=tuple(_divided(whole, 0, shares)))
    if device.state is GpuState.MIG:
        return _cut_card(device, bare, shares, out)
    fault = device.fault or UNUSABLE_TEXT.get(device.state, device.state.value)
    return replace(bare, unusable=fault)


def _slices_of(instance: MigInstance, card: Card) -> int:
    """Return the bits of an instance; where the driver does not say its place, all of the card."""
    if instance.start is None or instance.memory_slices <= 0:
        return card.all_bits
    return ((1 << instance.memory_slices) - 1) << instance.start


def _cut_card(device: PhysicalGpu, bare: Card, shares: int, out: Mapping[str, str]) -> Card:
    positions: list[Position] = []
    instances: list[tuple[str, int]] = []
    for place, found in enumerate(sorted(device.instances, key=lambda instance: (instance.index, instance.uuid))):
        first = place * shares
        instances.append((found.uuid, ((1 << shares) - 1) << first))
        if found.uuid not in out:
            weight = instance_equivalents(device, found)
            whole = Position(0, GpuKind.MIG, found.profile, found.uuid, None, weight, found.memory_bytes)
            positions += _divided(whole, first, shares)
    said = dict.fromkeys(out[found.uuid] for found in device.instances if found.uuid in out)
    unusable = bare.unusable or ("" if positions else f"no instance of it can be granted: {'; '.join(said)}")
    return replace(bare, positions=tuple(positions), instances=tuple(instances), unusable=unusable)


def _divided(device: Position, first: int, shares: int) -> Iterator[Position]:
    """Yield the ways to take a device: all of it, and each share of it where it is shared."""
    yield replace(device, mask=((1 << shares) - 1) << first)
    if shares > 1:
        for share in range(shares):
            yield replace(device, mask=1 << (first + share), equivalents=device.equivalents / shares, shares=shares)


def holds_of(
    board: Board, allocations: Iterable[Allocation], foreign: Iterable[ForeignContainer] = ()
) -> tuple[Hold, ...]:
    """Return what everybody takes on the board, in a fixed order: ours by age, then those of others by name.

    A whole GPU and its own instances exclude each other: a holder of the card takes all of it.
    """
    places = places_of(board)
    taken = [0] * len(board.cards)
    holds: list[Hold] = []
    strangers = sorted(foreign, key=lambda container: (container.created_at, container.name))
    for container in strangers:
        holds.append(_held(container, sorted(container.gpu_uuids), places, ()))
        _take(taken, holds[-1].pieces)
    held = [allocation for allocation in allocations if allocation.is_holding]
    parts = _parts_by_device(held)
    # who has devices alone comes first, so that shares are found beside them in any case
    for allocation in sorted(held, key=lambda grant: (grant.shares > 1, grant.claimed_at, grant.id)):
        holds.append(_hold_of_grant(allocation, places, taken, parts))
        _take(taken, holds[-1].pieces)
    return tuple(holds)


def _parts_by_device(held: Iterable[Allocation]) -> dict[str, int]:
    """Return into how many parts each shared device is divided: as few as the one who was promised the fewest."""
    parts: dict[str, int] = {}
    for allocation in held:
        for uuid in allocation.gpu_uuids if allocation.shares > 1 else ():
            parts[uuid] = min(parts.get(uuid, allocation.shares), allocation.shares)
    return parts


def taken_of(
    board: Board, allocations: Iterable[Allocation], foreign: Iterable[ForeignContainer] = ()
) -> tuple[int, ...]:
    """Return what is taken now, one mask a card. What is held on devices that are gone takes nothing: see `lost_of`."""
    taken = [0] * len(board.cards)
    for hold in holds_of(board, allocations, foreign):
        _take(taken, hold.pieces)
    return tuple(taken)


def lost_of(board: Board, allocations: Iterable[Allocation]) -> Mapping[str, tuple[str, ...]]:
    """Return the devices of grants that are not on the machine any more, by the grant's id."""
    found = (hold for hold in holds_of(board, allocations) if hold.lost)
    return {hold.owner.id: hold.lost for hold in found if isinstance(hold.owner, Allocation)}


def format_slice(card_uuid: str, position: Position) -> str:
    """Return the place of an instance that is made on demand, as a grant keeps it: `GPU-uuid/profile@start`."""
    return f"{card_uuid}/{position.profile}@{position.start}"


def places_of(board: Board) -> dict[str, Piece]:
    """Return what every name that a grant can have takes: of a card, of a MIG device, of a place on a card."""
    places: dict[str, Piece] = {}
    for number, card in enumerate(board.cards):
        bits = card.all_bits
        places[card.uuid] = (number, bits)
        for uuid, mask in card.instances:
            places[uuid] = (number, mask)
        if card.table is not None or any(position.start is not None for position in card.positions):
            for position in card.positions:
                places[format_slice(card.uuid, position)] = (number, position.mask)
    return places


def _hold_of_grant(
    allocation: Allocation, places: Mapping[str, Piece], taken: Sequence[int], parts: dict[str, int]
) -> Hold:
    if allocation.slices:
        cards = {slice_: slice_.rpartition("/")[0] for slice_ in allocation.slices}
        # a place that the table does not know: nobody else gets anything of that card
        known = [slice_ if slice_ in places else cards[slice_] for slice_ in allocation.slices]
        return _held(allocation, known, places, ())
    if allocation.shares <= 1:
        return _held(allocation, allocation.gpu_uuids, places, ())
    pieces: list[Piece] = []
    lost: list[str] = []
    for uuid in allocation.gpu_uuids:
        if uuid in places:
            number, bits = places[uuid]
            # the site divides devices into more parts now: the oldest takes those that nobody may have beside it
            surplus = max(bits.bit_count() - parts.pop(uuid, bits.bit_count()), 0)
            pieces.append((number, _free_part(bits, taken[number], 1 + surplus)))
        else:
            lost.append(uuid)
    return Hold(allocation, tuple(pieces), tuple(lost))


def _free_part(bits: int, taken: int, wanted: int) -> int:
    """Return the part of a device that a share takes: its lowest free bits; without enough of them any."""
    part = 0
    for candidates in (bits & ~taken, bits & taken):
        left = candidates
        while left and part.bit_count() < wanted:
            part |= left & -left
            left &= left - 1
    return part


def _held(
    owner: Allocation | ForeignContainer, names: Iterable[str], places: Mapping[str, Piece], lost: tuple[str, ...]
) -> Hold:
    pieces: list[Piece] = []
    missing = list(lost)
    for name in names:
        if name in places:
            pieces.append(places[name])
        else:
            missing.append(name)
    return Hold(owner, tuple(pieces), tuple(missing))


def _take(taken: list[int], pieces: Iterable[Piece]) -> None:
    for number, mask in pieces:
        taken[number] |= mask
