"""Row 2: one GPU under churn, the worst of nine cells: three loads and three mixes of requests.

Requests for the five plain profiles come as a Poisson process and run for an exponential time of mean 1; one that
finds no place is lost. A cell's figure is the compute that is served (in slices, over time), against the best that any
placement can reach: the optimum of the Markov decision process by value iteration, where as in the product a request
that fits is never turned away. Both are worked out exactly here; nothing is simulated.

Mixes: every profile alike; small ones more often (by 1 / compute); large ones more often (by compute). Loads: half, as
much and twice the compute that the card has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.bench.figure import Figure
from tests.bench.mig_card import MigCard
from tests.bench.row01_mig_orders import MODEL, product

LOADS = (0.5, 1.0, 2.0)
MIXES: dict[str, Callable[[int], float]] = {
    "uniform": lambda _compute: 1.0,
    "small-heavy": lambda compute: 1 / compute,
    "large-heavy": float,
}
PRECISION = 1e-7
MAX_ROUNDS = 100_000
GATE = 0.99
STRETCH = 0.996


@dataclass(frozen=True)
class Cell:
    """One load and mix.

    Attributes:
        name: What it is called.
        rates: Requests of each profile in one mean running time.
    """

    name: str
    rates: tuple[float, ...]


def measure() -> list[Figure]:
    """Return the worst cell; the requests have time limits, as what ends has."""
    card = MigCard(MODEL)
    every = cells(card)
    model = Churn(card)
    choose = product(card, is_endless=False)
    number = {state: place for place, state in enumerate(card.states)}
    ours = [
        [[number[way]] if (way := choose(state, name)) is not None else [] for name in card.names]
        for state in card.states
    ]
    pairs = [(model.served(cell, ours), model.served(cell, model.ways)) for cell in every]
    worst = min(range(len(every)), key=lambda place: pairs[place][0] / pairs[place][1])
    value, best = pairs[worst]
    anchor = f"value iteration; worst of {len(every)} cells: {every[worst].name}"
    return [Figure(2, "MIG churn, slices served", value, "", best, anchor, GATE, STRETCH, is_more_better=True)]


def cells(card: MigCard) -> list[Cell]:
    """Return the nine cells."""
    found = []
    for name, weight in MIXES.items():
        weights = [weight(card.compute[profile]) for profile in card.names]
        asked = sum(one * card.compute[profile] for one, profile in zip(weights, card.names, strict=True))
        for load in LOADS:
            scale = load * card.slices / asked
            found.append(Cell(f"{name} mix, load {load:g}", tuple(one * scale for one in weights)))
    return found


class Churn:
    """The decision process of a card: states as numbers, where a request may lead, and where an end leads."""

    def __init__(self, card: MigCard) -> None:
        number = {state: place for place, state in enumerate(card.states)}
        self.ways = [[[number[way] for way in card.after(state, name)] for name in card.names] for state in card.states]
        self.ends = [[number[state - {instance}] for instance in state] for state in card.states]
        self.gains = [card.compute[name] for name in card.names]

    def served(self, cell: Cell, ways: Sequence[Sequence[Sequence[int]]]) -> float:
        """Return the slices served in one mean running time, by the best choice among the ways that are given."""
        most = max(map(len, self.ends))
        whole = sum(cell.rates) + most  # events in one mean running time, with those that change nothing
        value = [0.0] * len(ways)
        for _ in range(MAX_ROUNDS):
            following = [self._step(cell, ways[state], value, state, most) / whole for state in range(len(ways))]
            steps = [new - old for new, old in zip(following, value, strict=True)]
            base = following[0]
            value = [one - base for one in following]
            if max(steps) - min(steps) <= PRECISION * max(steps):
                return (max(steps) + min(steps)) / 2 * whole
        raise AssertionError("the value iteration does not converge")

    def _step(self, cell: Cell, ways: Sequence[Sequence[int]], value: Sequence[float], state: int, most: int) -> float:
        total = 0.0
        for rate, gain, possible in zip(cell.rates, self.gains, ways, strict=True):
            total += rate * (gain + max(value[way] for way in possible) if possible else value[state])
        ended = self.ends[state]
        return total + sum(value[way] for way in ended) + (most - len(ended)) * value[state]
