"""Multi-Instance GPU: what a card can be cut into, as a table for each device model.

A *place* is a profile at a start. Its mask says what it occupies: bits 0 to 15 are memory slices, bits 16 to 31 things
that only one place can have (a profile that exists once, the media engine, a pair that the compute slices forbid), and
from bit 32 on one bit of its own, which excludes nothing and makes the mask of a state tell which instances it has.
So two places exclude each other exactly when their masks share a bit, and a set of places is a state of the card
exactly when they do not. `make_table` checks by enumeration that this says all that the driver's limits say.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ds01.domain.devices.gpu import GpuKind, MigProfile
from ds01.domain.devices.position import Position
from ds01.errors import InvalidRequestError

SLICE_BITS = 16
OWN_BITS = 32
SLICE_MASK = (1 << SLICE_BITS) - 1
_SHARED_MASK = (1 << OWN_BITS) - 1 - SLICE_MASK
MEDIA_SUFFIX = "+me"
MAX_STATES = 20_000
"""More states than any device known has (723), and few enough to enumerate at once."""


@dataclass(frozen=True, slots=True)
class Place:
    """A profile at a start.

    Attributes:
        profile: What is made.
        start: First memory slice.
        mask: What it occupies.
    """

    profile: MigProfile
    start: int
    mask: int

    @property
    def slices(self) -> int:
        """Mask of the memory slices alone."""
        return self.mask & SLICE_MASK

    @property
    def bits(self) -> int:
        """What decides which other places it excludes: the mask without its own bit."""
        return self.mask & (1 << OWN_BITS) - 1


@dataclass(frozen=True, slots=True)
class MigValues:
    """What each state of a card is worth, by the mask of the state without shared bits.

    Attributes:
        steady: Gpu-equivalents that are served from here on, compared with the empty card, while grants end and others
            come: the bias of the long-run optimum.
        filling: Probability that all that still comes finds its place, while nothing ends.
    """

    steady: Mapping[int, float]
    filling: Mapping[int, float]


@dataclass(frozen=True, slots=True, eq=False)
class MigTable:
    """What a device model can be cut into. Compared by identity: there is one for each model.

    Attributes:
        key: Name of the table, such as `A100-40GB`.
        memory_slices: Memory slices of the device.
        compute_slices: Compute slices of the device.
        profiles: Every profile, smallest first.
        places: Every place, in the order of the profiles and starts.
        needs_reset: Switching MIG on or off waits for a reset of the GPU; None: unknown.
        values: What its states are worth; None: the fragmentation gradient is used.
        reachable: Masks of all states without shared bits, sorted; the first is the empty card.
    """

    key: str
    memory_slices: int
    compute_slices: int
    profiles: tuple[MigProfile, ...]
    places: tuple[Place, ...]
    needs_reset: bool | None = None
    values: MigValues | None = None
    reachable: tuple[int, ...] = field(default=(), repr=False)

    def find_place(self, profile: str, start: int) -> Place | None:
        """Return the place of a profile at a start, or None when it cannot be made there."""
        return next((place for place in self.places if place.profile.name == profile and place.start == start), None)

    def find_profile(self, name: str) -> MigProfile | None:
        """Return the profile of a name, upper and lower case alike, or None."""
        return next((profile for profile in self.profiles if profile.name == name.lower()), None)


def make_table(
    key: str,
    profiles: Sequence[MigProfile],
    *,
    compute_slices: int,
    needs_reset: bool | None = None,
) -> MigTable:
    """Return the table of a device, without values.

    Raises:
        InvalidRequestError: The profiles are impossible, or their limits cannot be said by masks; the message says why.
    """
    ordered = tuple(sorted(profiles, key=lambda one: (one.memory_slices, one.compute_slices, one.name)))
    memory_slices = max((max(one.placements) + one.memory_slices for one in ordered if one.placements), default=0)
    if not 0 < memory_slices <= SLICE_BITS or compute_slices <= 0:
        raise InvalidRequestError(f"The MIG profiles of {key} cannot be used: there are none, or no slices.")
    for profile in ordered:
        _require_possible(key, profile, memory_slices)
    table = MigTable(key, memory_slices, compute_slices, ordered, _places(key, ordered), needs_reset)
    table = replace(table, reachable=tuple(sorted({state_key(state) for state in states(table)})))
    _require_limits_implied(table)
    return table


def states(table: MigTable) -> tuple[int, ...]:
    """Return the mask of every state of the card: every set of places that do not exclude each other.

    Raises:
        InvalidRequestError: There are more than any device has.
    """
    found = {0}
    todo = [0]
    while todo:
        state = todo.pop()
        for place in table.places:
            following = state | place.mask
            if not state & place.mask and following not in found:
                found.add(following)
                todo.append(following)
        if len(found) > MAX_STATES:
            raise InvalidRequestError(f"The MIG profiles of {table.key} allow more states than any known device.")
    return tuple(sorted(found))


def state_key(state: int) -> int:
    """Return the part of a mask by which values are found: an instance with the media engine is like one without."""
    return state & ~_SHARED_MASK


def dynamic_positions(table: MigTable, memory_bytes: int) -> tuple[Position, ...]:
    """Return every way to take a part of a card whose instances are made on demand.

    Args:
        table: The card's.
        memory_bytes: Memory of the whole card, for profiles whose memory the table does not say.
    """
    return tuple(
        Position(
            mask=place.mask,
            kind=GpuKind.MIG,
            profile=place.profile.name,
            gpu_uuid=None,
            start=place.start,
            equivalents=min(place.profile.compute_slices / table.compute_slices, 1.0),
            memory_bytes=place.profile.memory_bytes
            or memory_bytes * place.profile.memory_slices // table.memory_slices,
        )
        for place in table.places
    )


def state_value(table: MigTable, state: int, *, is_filling: bool = False) -> float:
    """Return what a state of the card is worth; among states after a placement the one with the highest is chosen.

    A loss (value before minus value after) can be compared between cards, with `is_filling` False: it is in
    gpu-equivalents. What is not known to the table (slices that something else has taken, a model without values) is
    weighed by the fragmentation gradient.

    Args:
        table: The card's.
        state: Mask of what is taken.
        is_filling: What is placed has no end, so that nothing is given back that one knows of. The best place then is
            another one than on a card whose instances come and go.
    """
    if table.values is not None:
        known = table.values.filling if is_filling else table.values.steady
        found = known.get(state_key(state))
        if found is not None:
            return found
    return gradient_value(table, state)


def gradient_value(table: MigTable, state: int) -> float:
    """Return the compute of all places that are still free, as a share of an empty card's, from 0 to 1.

    The best next placement by it takes away the fewest possibilities.

    Source: B. Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient
        Descent", USENIX ATC 2023: the gradient, here over profiles and starts.
    """
    free = sum(place.profile.compute_slices for place in table.places if not place.mask & state)
    return free / sum(place.profile.compute_slices for place in table.places)


def format_slice(card_uuid: str, place: Place) -> str:
    """Return how an allocation names a place: `GPU-uuid/profile@start`."""
    return f"{card_uuid}/{place.profile.name}@{place.start}"


def parse_slice(text: str) -> tuple[str, str, int]:
    """Return card, profile and start of a slice of an allocation.

    Raises:
        InvalidRequestError: It is none.
    """
    card, slash, rest = text.partition("/")
    profile, at, start = rest.rpartition("@")
    if not (card and slash and profile and at and start.isdecimal()):
        raise InvalidRequestError(f"{text!r} is no place of a MIG instance (GPU-uuid/profile@start).")
    return card, profile, int(start)


def _require_possible(key: str, profile: MigProfile, memory_slices: int) -> None:
    starts, size = profile.placements, profile.memory_slices
    fits = all(start >= 0 and start + size <= memory_slices for start in starts)
    if not starts or size <= 0 or profile.compute_slices <= 0 or not fits:
        raise InvalidRequestError(f"The MIG profile {profile.name} of {key} does not fit into the device.")


def _places(key: str, profiles: Sequence[MigProfile]) -> tuple[Place, ...]:
    """Number the places. Profiles of one shape (one with the media engine) share own bits: they are worth alike."""
    shared = iter(range(SLICE_BITS, OWN_BITS))
    own: dict[tuple[int, int, int], int] = {}
    found: list[Place] = []
    media = 1 << next(shared)
    for profile in profiles:
        extra = media if MEDIA_SUFFIX in profile.name else 0
        if profile.max_instances == 1 and len(profile.placements) > 1 and not extra:
            extra = 1 << _next_bit(shared, key)
        for start in profile.placements:
            shape = (profile.compute_slices, profile.memory_slices, start)
            bit = own.setdefault(shape, 1 << (OWN_BITS + len(own)))
            found.append(Place(profile, start, ((1 << profile.memory_slices) - 1) << start | extra | bit))
    return tuple(found)


def _next_bit(bits: Iterator[int], key: str) -> int:
    bit = next(bits, None)
    if bit is None:
        raise InvalidRequestError(f"The MIG profiles of {key} have more limits than can be kept.")
    return bit


def _require_limits_implied(table: MigTable) -> None:
    """Check that no state has more compute slices or more instances of a shape than the driver allows."""
    shapes = {
        place.mask >> OWN_BITS: (place.profile.compute_slices, place.profile.memory_slices) for place in table.places
    }
    most: dict[tuple[int, int], int] = {}
    for profile in table.profiles:
        shape = (profile.compute_slices, profile.memory_slices)
        most[shape] = max(most.get(shape, 0), profile.max_instances or SLICE_BITS)
    for state in table.reachable:
        placed = [shape for bit, shape in shapes.items() if state >> OWN_BITS & bit]
        if sum(compute for compute, _ in placed) > table.compute_slices:
            raise InvalidRequestError(f"Free memory slices of {table.key} do not imply free compute slices.")
        if any(count > most[shape] for shape, count in Counter(placed).items()):
            raise InvalidRequestError(f"Free slices of {table.key} do not imply that an instance may be made.")
