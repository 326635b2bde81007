"""Which of the free options a request gets. Deterministic: equal states have equal answers.

One device: of the first level that has a free one, the option whose loss keeps the card worth most; a card that has
something taken already comes before an empty one. Several whole GPUs: cards that are linked closely, and such that
other close sets stay whole. A share of a device: the seeds' score.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

from ds01.domain.scheduling.option import Grid, Level, Option, Options, is_whole
from ds01.domain.scheduling.quota import TOLERANCE

UNLIMITED = float("inf")
FAR = 1000
MOST_COMBINATIONS = 400
Score = Callable[[Option], float]
"""Score of a share of a device; lower is better."""
Chosen = tuple[Option, ...]


def choose(
    grid: Grid, options: Options, busy: Sequence[int], *, budget: float = UNLIMITED, score: Score | None = None
) -> Chosen | None:
    """Return the best free set for a wish, or None.

    Args:
        grid: The board.
        options: What satisfies the wish.
        busy: What cannot be taken, one mask a card.
        budget: Gpu-equivalents that all of them may weigh.
        score: Of shares; None: there are none.
    """
    if options.count == 1:
        for level in options.levels:
            if level.equivalents > budget + TOLERANCE:
                continue
            free = [option for option in level.options if not option.mask & busy[option.card]]
            if free:
                best = _best(grid, free, busy, score)
                return (_on_endless_card(grid, best, free, busy) if options.wish.is_endless else best,)
        return None
    for levels in options.by_profile:
        found = _several(grid, levels, options.count, busy, budget)
        if found is not None:
            return found
    return None


def sets(
    grid: Grid, options: Options, busy: Sequence[int], *, budget: float = UNLIMITED, score: Score | None = None
) -> Iterator[Chosen]:
    """Yield sets for a wish, the best first, then others: for who must find one that leaves room for somebody."""
    first = choose(grid, options, busy, budget=budget, score=score)
    if first is None:
        return
    yield first
    tried = {_trace(first)}
    for chosen in _others(options, busy, budget):
        trace = _trace(chosen)
        if trace not in tried:
            tried.add(trace)
            yield chosen


def _trace(chosen: Chosen) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((option.card, option.mask) for option in chosen))


def _others(options: Options, busy: Sequence[int], budget: float) -> Iterator[Chosen]:
    if options.count == 1:
        for level in options.levels:
            if level.equivalents <= budget + TOLERANCE:
                for option in level.options:
                    if not option.mask & busy[option.card]:
                        yield (option,)
        return
    for levels in options.by_profile:
        free = [option for level in levels for option in level.options if not option.mask & busy[option.card]]
        for left, chosen in zip(range(MOST_COMBINATIONS), combinations(free, options.count), strict=False):
            del left
            if _are_apart(chosen) and _weight(chosen) <= budget + TOLERANCE:
                yield chosen


def _are_apart(chosen: Chosen) -> bool:
    taken: dict[int, int] = {}
    for option in chosen:
        if taken.get(option.card, 0) & option.mask:
            return False
        taken[option.card] = taken.get(option.card, 0) | option.mask
    return True


def _weight(chosen: Sequence[Option]) -> float:
    return sum(option.position.equivalents for option in chosen)


def _best(grid: Grid, free: Sequence[Option], busy: Sequence[int], score: Score | None) -> Option:
    if len(free) == 1:
        return free[0]
    if score is not None and free[0].position.shares > 1:
        return min(free, key=lambda option: (score(option), option.card, option.mask))
    worth = grid.worth
    if is_whole(free[0].position):
        alone = {option.card for option in free}
        return min(free, key=lambda option: (_loss(grid, option, busy), _broken(grid, option.card, alone), option.card))
    return min(
        free,
        key=lambda option: (
            worth(option.card, busy[option.card]) - worth(option.card, busy[option.card] | option.mask),
            -busy[option.card].bit_count(),
            option.card,
            option.number,
        ),
    )


def _on_endless_card(grid: Grid, best: Option, free: Sequence[Option], busy: Sequence[int]) -> Option:
    """Choose the start anew for a grant without an end: on its card it lies where most of what may follow fits."""
    if best.position.start is None or grid.board.cards[best.card].table is None:
        return best
    here = [option for option in free if option.card == best.card]
    return max(here, key=lambda option: (grid.filling_worth(option, busy[option.card]), -option.number))


def _loss(grid: Grid, option: Option, busy: Sequence[int]) -> float:
    taken = busy[option.card]
    return grid.worth(option.card, taken) - grid.worth(option.card, taken | option.mask)


def _broken(grid: Grid, card: int, free: set[int]) -> int:
    """Count the free cards that are linked closely with a card: taking it breaks that many pairs."""
    return sum(1 for other in grid.neighbours[card] if other in free)


def _several(grid: Grid, levels: Sequence[Level], count: int, busy: Sequence[int], budget: float) -> Chosen | None:
    if is_whole(levels[0].options[0].position):
        free = [option for level in levels for option in level.options if not option.mask & busy[option.card]]
        if len(free) < count or count * levels[0].equivalents > budget + TOLERANCE:
            return None
        return _near_set(grid, free, count, busy)
    state = list(busy)
    chosen: list[Option] = []
    for level in levels:
        while len(chosen) < count:
            open_ = [option for option in level.options if not option.mask & state[option.card]]
            if not open_:
                break
            best = _best(grid, open_, state, None)
            state[best.card] |= best.mask
            chosen.append(best)
    if len(chosen) < count or _weight(chosen) > budget + TOLERANCE:
        return None
    return tuple(sorted(chosen, key=lambda option: (option.card, option.number)))


def _near_set(grid: Grid, free: Sequence[Option], count: int, busy: Sequence[int]) -> Chosen:
    """Return cards that are linked closely; of equal sets the one that breaks the fewest other links."""
    by_card = {option.card: option for option in free}
    if len(free) == count:
        return tuple(free)
    cheap = sorted(free, key=lambda option: (_loss(grid, option, busy), option.card))
    found: list[tuple[tuple[object, ...], tuple[int, ...]]] = []
    for seed in by_card:
        near = [card for card in grid.neighbours[seed] if card in by_card]
        rest = [option.card for option in cheap if option.card != seed and option.card not in near]
        cards = tuple(sorted([seed, *near, *rest][:count]))
        found.append((_looseness(grid, cards, by_card, busy), cards))
    best = min(found)[1]
    return tuple(by_card[card] for card in best)


def _looseness(
    grid: Grid, cards: tuple[int, ...], by_card: dict[int, Option], busy: Sequence[int]
) -> tuple[object, ...]:
    chosen = set(cards)
    apart = broken = distance = 0
    for card in cards:
        neighbours = grid.neighbours[card]
        for other in cards:
            if other != card:
                far = neighbours.index(other) if other in neighbours else FAR
                apart += far == FAR
                distance += far
        broken += sum(1 for other in neighbours if other in by_card and other not in chosen)
    loss = sum(_loss(grid, by_card[card], busy) for card in cards)
    return (apart, loss, broken, distance)
