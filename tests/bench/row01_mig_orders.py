"""Row 1: one empty GPU, the 12 maximal request lists in every order, each list and each order of it equally likely.

Requests are placed one after another without knowing what comes; the figure is the probability that all are placed. The
optimum and plain lowest-start placement are worked out here from the definition. The product's placement is asked for
requests without an end, as they are in this game, and a second time for requests with a time limit, where it places for
a card whose instances come and go: that costs a little here and gains more in row 2.
"""

from functools import cache
from itertools import permutations

from ds01.config.mig_tables import read_shipped_tables
from ds01.domain.mig import best_place
from tests.bench.figure import Figure
from tests.bench.mig_card import Choose, Counts, MigCard, State

MODEL = "A100-40GB"
GATE = 0.8153
STRETCH = 0.85


def measure() -> list[Figure]:
    """Return the probability with requests that have no end, and with ones that have."""
    card = MigCard(MODEL)
    assert len(card.maximal) == 12
    best = optimum(card)
    lowest = success(card, lambda state, name: next(iter(card.after(state, name)), None))
    anchor = f"optimum; lowest start reaches {lowest:.4f}"
    goals = (round(GATE / best, 4), round(STRETCH / best, 4))
    cases = (("no end", True), ("time limits", False))
    return [
        Figure(
            1,
            f"MIG lists placed, {said}",
            success(card, product(card, is_endless=endless)),
            "",
            best,
            anchor,
            *goals,
            is_more_better=True,
        )
        for said, endless in cases
    ]


def product(card: MigCard, *, is_endless: bool) -> Choose:
    """Return the product's placement on this device, with its table of every profile that the device has."""
    table = read_shipped_tables()[MODEL]

    @cache
    def choose(state: State, name: str) -> State | None:
        taken = 0
        for placed, start in state:
            place = table.find_place(placed, start)
            assert place is not None
            taken |= place.mask
        chosen = best_place(table, taken, name, is_endless=is_endless)
        after = None if chosen is None else state | {(name, chosen.start)}
        assert after is None or after in card.after(state, name)
        return after

    return choose


def success(card: MigCard, choose: Choose) -> float:
    """Return the probability that all of a list are placed."""
    total = 0.0
    for counts in card.maximal:
        orders = _orders(card, counts)
        total += sum(_places_all(order, choose) for order in orders) / len(orders)
    return total / len(card.maximal)


def _places_all(order: tuple[str, ...], choose: Choose) -> bool:
    state: State | None = frozenset()
    for name in order:
        state = choose(state, name) if state is not None else None
    return state is not None


@cache
def _orders(card: MigCard, counts: Counts) -> tuple[tuple[str, ...], ...]:
    requests = [name for name, count in zip(card.names, counts, strict=True) for _ in range(count)]
    return tuple(sorted(set(permutations(requests))))


def optimum(card: MigCard) -> float:
    """Return the best that a policy can reach that sees what has come, and nothing of what will come.

    Backwards over what has come: `(prefix, state)` is worth the sum of the probabilities of all lists and orders that
    begin so and are placed to their end.
    """
    chance: dict[tuple[str, ...], float] = {}
    for counts in card.maximal:
        orders = _orders(card, counts)
        for order in orders:
            chance[order] = chance.get(order, 0.0) + 1 / len(orders) / len(card.maximal)
    begins = {order[:length] for order in chance for length in range(len(order) + 1)}

    @cache
    def worth(prefix: tuple[str, ...], state: State) -> float:
        total = chance.get(prefix, 0.0)
        for name in card.names:
            if (*prefix, name) in begins:
                total += max((worth((*prefix, name), way) for way in card.after(state, name)), default=0.0)
        return total

    return worth((), frozenset())
