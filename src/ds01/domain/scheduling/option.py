"""What of a board satisfies a request: its options, in levels, the one that is taken first at the front."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ds01.domain.devices.gpu import GpuKind
from ds01.domain.devices.mig import state_value
from ds01.domain.devices.position import FULL_PROFILE, Position
from ds01.domain.request import ANY_KIND, FULL_KIND, MIG_KIND, GpuRequest
from ds01.domain.rules.limit import Limits
from ds01.domain.scheduling.board import Board, Piece, places_of
from ds01.domain.scheduling.waiting import Waiting

Values = Mapping[str, Mapping[int, float]]
"""Key of a table to what every state of a card is worth: mask of what is taken to the value."""


class Wish(NamedTuple):
    """What decides which positions satisfy a request. Equal wishes have equal options.

    Attributes:
        request: What is asked for.
        allow_full: Whole GPUs are allowed.
        preference: Kind that comes first when the request says `any`.
        may_share: A share of a device is enough.
        gpu_uuids: The very devices; empty: any.
        inside: What the reservation in which it starts keeps; None: it starts outside of any.
        profile: The only profile that is wanted; None: any.
        priority: The policy's where devices are shared; else 0, so that it divides nothing.
        is_endless: The grant will have no end, where instances are made on demand; else False, as above.
    """

    request: GpuRequest
    allow_full: bool = True
    preference: str = ANY_KIND
    may_share: bool = False
    gpu_uuids: tuple[str, ...] = ()
    inside: GpuRequest | None = None
    profile: str | None = None
    priority: int = 0
    is_endless: bool = False


class Option(NamedTuple):
    """One position of the board that satisfies a wish.

    Attributes:
        card: Place of the card on the board.
        mask: Its bits.
        number: Place of the position on its card.
        position: The position.
    """

    card: int
    mask: int
    number: int
    position: Position


class Family(NamedTuple):
    """Positions of one model that differ only in their place.

    Attributes:
        model: Product name of the cards.
        is_divided: Their devices can be taken by shares.
        options: In the order of cards and positions.
    """

    model: str
    is_divided: bool
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """Options of one profile that weigh the same.

    Attributes:
        profile: Their profile.
        equivalents: What each weighs.
        options: In the order of cards and positions.
    """

    profile: str
    equivalents: float
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """Everything that satisfies a wish.

    Attributes:
        wish: The wish.
        levels: The one that is taken first at the front.
        by_profile: The same, put together by profile: several devices are of one profile.
        reach: Bits of every card that any of them needs.
    """

    wish: Wish
    levels: tuple[Level, ...]
    by_profile: tuple[tuple[Level, ...], ...]
    reach: tuple[int, ...]

    @property
    def count(self) -> int:
        """Devices that are asked for."""
        return self.wish.request.count


class Grid:
    """A board prepared for many questions about it. It holds what it has worked out; the board never changes."""

    def __init__(self, board: Board, values: Values | None = None) -> None:
        self.board = board
        self.size = len(board.cards)
        self.is_shared = any(position.shares > 1 for card in board.cards for position in card.positions)
        self._values = values or {}
        self._worth: list[dict[int, float]] = []
        self._weights: list[tuple[tuple[int, float], ...]] = []
        known: dict[object, tuple[dict[int, float], tuple[tuple[int, float], ...]]] = {}
        self.layouts: list[int] = []
        for card in board.cards:
            weights = tuple((position.mask, position.equivalents) for position in card.positions)
            key = (weights, card.table)
            worth, weights = known.setdefault(key, ({}, weights))
            self.layouts.append(list(known).index(key))
            self._worth.append(worth)
            self._weights.append(weights)
        places = {card.index: number for number, card in enumerate(board.cards)}
        self.neighbours = [[places[index] for index in card.near if index in places] for card in board.cards]
        self._options: dict[Wish, Options] = {}
        self._possible: dict[Wish, Options] = {}
        self._families: tuple[Family, ...] | None = None
        self._all_families: tuple[Family, ...] | None = None
        self._most: dict[int, tuple[Options, int]] = {}
        self._cheapest: dict[int, tuple[Options, tuple[Option, ...]]] = {}
        self._places: dict[str, Piece] | None = None

    def is_of(self, board: Board, values: Values | None) -> bool:
        """Tell whether it was made of this very board and these values."""
        return self.board is board and (self._values is values or (not self._values and not values))

    def worth(self, card: int, taken: int) -> float:
        """Return what a card is worth in a state: by the table of its profiles, else what can still be placed on it."""
        known = self._worth[card]
        found = known.get(taken)
        if found is None:
            found = known[taken] = self._work_out(card, taken)
        return found

    def _work_out(self, card: int, taken: int) -> float:
        key = self.board.cards[card].table or ""
        values = self._values.get(key)
        if values is not None and taken in values:
            return values[taken]
        table = self.board.tables.get(key)
        if table is not None:
            return state_value(table, taken)
        return sum(weight for mask, weight in self._weights[card] if not mask & taken)

    def filling_worth(self, option: Option, taken: int) -> float:
        """Return what the card of an option is worth after it, if nothing ends there any more."""
        table = self.board.tables.get(self.board.cards[option.card].table or "")
        return 0.0 if table is None else state_value(table, taken | option.mask, is_filling=True)

    def options(self, wish: Wish) -> Options:
        """Return what satisfies a wish when nobody holds anything. Cards that cannot be used have none."""
        found = self._options.get(wish)
        if found is None:
            if self._families is None:
                self._families = families_of(self.board)
            found = self._options[wish] = options_of(self.board, wish, self._families)
        return found

    def possible(self, wish: Wish) -> Options:
        """Return what satisfies a wish when also the drained cards are back."""
        found = self._possible.get(wish)
        if found is None:
            if self._all_families is None:
                self._all_families = families_of(self.board, also_unusable=True)
            found = self._possible[wish] = options_of(self.board, wish, self._all_families)
        return found

    @property
    def questions(self) -> int:
        """How many wishes it remembers."""
        return len(self._options) + len(self._possible)

    def profile_at(self, card: int, mask: int) -> str:
        """Return the profile of the position with these bits, else of one that they take."""
        positions = self.board.cards[card].positions
        same = [position.profile for position in positions if position.mask == mask]
        return (same or [position.profile for position in positions if position.mask & mask] or [""])[0]

    def most(self, options: Options) -> int:
        """Return how many devices of one profile an empty board has for a wish."""
        found = self._most.get(id(options))
        if found is None or found[0] is not options:
            found = self._most[id(options)] = (options, most_at_once(self.board, options))
        return found[1]

    def cheapest(self, options: Options) -> tuple[Option, ...]:
        """Return the set with the least compute that an empty board has for a wish; nothing if it has none."""
        found = self._cheapest.get(id(options))
        if found is None or found[0] is not options:
            found = self._cheapest[id(options)] = (options, cheapest_at_once(self.board, options))
        return found[1]

    @property
    def places(self) -> Mapping[str, Piece]:
        """What every name that a grant can have takes of the board."""
        if self._places is None:
            self._places = places_of(self.board)
        return self._places

    def wish_of(self, waiting: Waiting, limits: Limits, inside: GpuRequest | None = None) -> Wish:
        """Return what decides about a waiting request."""
        may_share = self.is_shared and waiting.request.count == 1 and not waiting.is_exclusive and inside is None
        return Wish(
            waiting.request,
            limits.allow_full_gpu,
            limits.gpu_preference,
            may_share,
            waiting.gpu_uuids,
            inside,
            None,
            waiting.priority if may_share else 0,
            waiting.time_limit is None and bool(self.board.tables),
        )


_last_grid: list[Grid] = []
MOST_QUESTIONS = 4096


def grid_of(board: Board, values: Values | None = None) -> Grid:
    """Return the grid of a board: the same as before for the very same board, with everything it has worked out.

    Decisions follow each other on one board; a grid holds nothing but what follows from the board.
    """
    for grid in _last_grid[:1]:
        if grid.is_of(board, values) and grid.questions < MOST_QUESTIONS:
            return grid
    made = Grid(board, values)
    _last_grid[:] = [made]
    return made


def families_of(board: Board, *, also_unusable: bool = False) -> tuple[Family, ...]:
    """Return the positions of a board put together by what they are.

    Args:
        board: The board.
        also_unusable: Count drained cards too: what could be granted one day.
    """
    found: dict[tuple[object, ...], list[Option]] = {}
    for number, card in enumerate(board.cards):
        if card.unusable and not also_unusable:
            continue
        model = card.model
        shared = {position.gpu_uuid for position in card.positions if position.shares > 1}
        for place, position in enumerate(card.positions):
            is_divided = bool(shared) and position.gpu_uuid in shared
            key = (
                model,
                position.profile,
                position.memory_bytes,
                position.equivalents,
                position.kind,
                position.shares > 1,
                is_divided,
            )
            options = found.get(key)
            if options is None:
                options = found[key] = []
            options.append(Option(number, position.mask, place, position))
    return tuple(Family(str(key[0]), bool(key[6]), tuple(options)) for key, options in found.items())


def options_of(board: Board, wish: Wish, families: Iterable[Family] | None = None) -> Options:
    """Return what of a board satisfies a wish.

    Args:
        board: The board.
        wish: The wish.
        families: Its positions; None: those of the cards that can be used.
    """
    if families is None:
        families = families_of(board)
    levels: dict[tuple[object, ...], list[Option]] = {}
    for family in families:
        first = family.options[0].position
        if not _is_way(first, wish, is_divided=family.is_divided) or not satisfies(first, family.model, wish):
            continue
        unliked = 0 if wish.preference in {ANY_KIND, first.kind.value} else 1
        key = (unliked, first.equivalents, first.memory_bytes, first.profile)
        levels.setdefault(key, []).extend(_named(family.options, wish.gpu_uuids))
    ordered = tuple(
        Level(options[0].position.profile, options[0].position.equivalents, tuple(sorted(options, key=_by_place)))
        for _, options in sorted(levels.items(), key=_by_key)
        if options
    )
    profiles: dict[str, list[Level]] = {}
    for level in ordered:
        profiles.setdefault(level.profile, []).append(level)
    reach = [0] * len(board.cards)
    for level in ordered:
        for option in level.options:
            reach[option.card] |= option.mask
    return Options(wish, ordered, tuple(tuple(found) for found in profiles.values()), tuple(reach))


def _named(options: Sequence[Option], gpu_uuids: Sequence[str]) -> Sequence[Option]:
    return [option for option in options if option.position.gpu_uuid in gpu_uuids] if gpu_uuids else options


def _by_place(option: Option) -> tuple[int, int]:
    return option.card, option.number


def _by_key(item: tuple[tuple[object, ...], object]) -> tuple[object, ...]:
    return item[0]


def _is_way(position: Position, wish: Wish, *, is_divided: bool) -> bool:
    """A device that is shared is taken by shares, or whole by who wants it alone: never one for the other."""
    if position.shares > 1:
        return wish.may_share
    return not (wish.may_share and is_divided)


def satisfies(position: Position, model: str, wish: Wish) -> bool:
    """Tell whether a position is of the sort that is wished for."""
    if not wish.allow_full and position.kind is GpuKind.FULL:
        return False
    if wish.profile is not None and position.profile != wish.profile:
        return False
    if wish.inside is not None and not _fits(position, model, wish.inside):
        return False
    return _fits(position, model, wish.request)


def _fits(position: Position, model: str, request: GpuRequest) -> bool:
    if request.memory_bytes is not None and position.memory_bytes < request.memory_bytes:
        return False
    return is_kind(request.kind, position.kind, position.profile, model)


def is_kind(wanted: str, kind: GpuKind, profile: str, model: str) -> bool:
    """Tell whether a device is of a kind: any, full, mig, a MIG profile, or whole words of the card's model."""
    if wanted == ANY_KIND:
        return True
    if wanted in {FULL_KIND, MIG_KIND}:
        return kind.value == wanted
    words = model.lower().replace(" ", "-")
    return profile.lower() == wanted or f"-{wanted.replace(' ', '-')}-" in f"-{words}-"


def is_whole(position: Position) -> bool:
    """Tell whether a position is a whole card."""
    return position.profile == FULL_PROFILE


def most_at_once(board: Board, options: Options) -> int:
    """Return how many devices of one profile an empty board has for a wish.

    Positions of one profile lie on equal places or apart from each other, so that taking the first that is free gives
    the most.
    """
    most = 0
    for levels in options.by_profile:
        taken = [0] * len(board.cards)
        count = 0
        for level in levels:
            for option in level.options:
                if not option.mask & taken[option.card]:
                    taken[option.card] |= option.mask
                    count += 1
        most = max(most, count)
    return most


def cheapest_at_once(board: Board, options: Options) -> tuple[Option, ...]:
    """Return the set with the least compute that an empty board has for a wish; nothing if it has none."""
    sets = (_first_apart(board, levels, options.count) for levels in options.by_profile)
    full = [chosen for chosen in sets if len(chosen) == options.count]
    return min(full, key=lambda chosen: sum(option.position.equivalents for option in chosen), default=())


def _first_apart(board: Board, levels: Sequence[Level], count: int) -> tuple[Option, ...]:
    taken = [0] * len(board.cards)
    chosen: list[Option] = []
    for level in levels:
        for option in level.options:
            if len(chosen) < count and not option.mask & taken[option.card]:
                taken[option.card] |= option.mask
                chosen.append(option)
    return tuple(chosen)
