"""What the states of a MIG card are worth: two exact tables, computed once for each geometry.

*Steady*: requests come, run and end. The value of a state is the bias of the optimal policy of that loss system: how
many gpu-equivalents more, or fewer, are served from this state on than from the empty card. It is a Markov decision
process over all states, solved by relative value iteration; arrivals ask for every shape alike, and for twice as much
as there is, because where nothing is scarce no place is wrong.

*Filling*: requests come and nothing ends. The value is the probability that all that still comes finds its place, when
what comes is one of the largest sets that fit, in any order, and nothing is known of it but what has come already. That
is a finite decision process, solved backwards.

Both matter: on an empty A100 the best start for a 2g instance is 0 when nothing ends (0.85 instead of 0.815 of all
orders fit) and 4 when instances come and go (1.6 % more is served). Source: tests/bench, rows 1 and 2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import factorial, prod

from ds01.domain.devices.mig import OWN_BITS, MigTable, MigValues

LOAD = 2.0
"""Compute asked for, as a multiple of the card's, in the steady state that is valued."""
RARE = 0.01
"""Weight of sets with a shape that has more memory than another of as much compute, against 1 for the others."""
CONVERGED = 1e-8
MAX_ROUNDS = 20_000
DIGITS = 6
MAX_COMPUTED_STATES = 100
"""Geometries up to this size are valued when they are met: in a few hundredths of a second."""

Counts = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Graph:
    """The states of a card as numbers, and the ways between them.

    Attributes:
        masks: Mask of each state, sorted; number 0 is the empty card.
        shapes: Compute and memory slices of each shape.
        after: For each state and shape, the states in which it may be placed.
        before: For each state, those after one of its instances has ended.
        counts: For each state, how many instances of each shape it has.
    """

    masks: tuple[int, ...]
    shapes: tuple[tuple[int, int], ...]
    after: tuple[tuple[tuple[int, ...], ...], ...]
    before: tuple[tuple[int, ...], ...]
    counts: tuple[Counts, ...]


def geometry_of(table: MigTable) -> str:
    """Return what values depend on: compute slices, and each shape with its starts."""
    shapes = {(one.compute_slices, one.memory_slices, one.placements) for one in table.profiles}
    said = [f"{compute}x{memory}@{','.join(map(str, starts))}" for compute, memory, starts in sorted(shapes)]
    return f"{table.compute_slices}:" + ";".join(said)


def with_values(table: MigTable, known: Mapping[str, Mapping[str, Sequence[float]]]) -> MigTable:
    """Return the table with its values: known ones, or computed if the geometry is small; else as it is.

    Args:
        table: The table.
        known: By geometry, `steady` and `filling` values in the order of `table.reachable`.
    """
    found = known.get(geometry_of(table))
    if found is not None and len(found["steady"]) == len(found["filling"]) == len(table.reachable):
        steady = dict(zip(table.reachable, found["steady"], strict=True))
        return replace(table, values=MigValues(steady, dict(zip(table.reachable, found["filling"], strict=True))))
    if len(table.reachable) <= MAX_COMPUTED_STATES:
        return replace(table, values=compute_values(table))
    return table


def compute_values(table: MigTable) -> MigValues:
    """Solve both decision processes of a table."""
    graph = _graph_of(table)
    steady = [round(value, DIGITS) for value in _steady(graph, table.compute_slices)]
    filling = [round(value, DIGITS) for value in _filling(graph)]
    return MigValues(dict(zip(graph.masks, steady, strict=True)), dict(zip(graph.masks, filling, strict=True)))


def _graph_of(table: MigTable) -> _Graph:
    shape_of = {
        place.mask >> OWN_BITS: (place.profile.compute_slices, place.profile.memory_slices) for place in table.places
    }
    plain = {place.mask >> OWN_BITS: place.slices | place.mask >> OWN_BITS << OWN_BITS for place in table.places}
    shapes = tuple(sorted(set(shape_of.values())))
    number = {mask: place for place, mask in enumerate(table.reachable)}
    ways = [[mask for bit, mask in plain.items() if shape_of[bit] == shape] for shape in shapes]
    inside = [[mask for mask in plain.values() if state & mask == mask] for state in table.reachable]
    return _Graph(
        masks=table.reachable,
        shapes=shapes,
        after=tuple(
            tuple(tuple(number[state | mask] for mask in masks if not state & mask) for masks in ways)
            for state in table.reachable
        ),
        before=tuple(
            tuple(number[state & ~mask] for mask in masks) for state, masks in zip(table.reachable, inside, strict=True)
        ),
        counts=tuple(tuple(len(set(masks) & set(placed)) for masks in ways) for placed in inside),
    )


def _steady(graph: _Graph, compute_slices: int) -> list[float]:
    """Relative value iteration; every instance ends at rate 1, what finds no place is lost."""
    sizes = [compute / compute_slices for compute, _ in graph.shapes]
    rate = LOAD / sum(sizes)  # of each shape; together they ask for LOAD cards
    most = max(map(len, graph.before))
    whole = rate * len(sizes) + most
    value = [0.0] * len(graph.masks)
    for _ in range(MAX_ROUNDS):
        following = [
            _expected(graph, value, state, rate=rate, sizes=sizes, most=most) / whole for state in range(len(value))
        ]
        steps = [new - old for new, old in zip(following, value, strict=True)]
        base = following[0]
        value = [one - base for one in following]
        if max(steps) - min(steps) < CONVERGED:
            break
    return value


def _expected(
    graph: _Graph, value: Sequence[float], state: int, *, rate: float, sizes: Sequence[float], most: int
) -> float:
    total = 0.0
    for size, ways in zip(sizes, graph.after[state], strict=True):
        total += rate * (size + max(value[way] for way in ways) if ways else value[state])
    ended = graph.before[state]
    return total + sum(value[way] for way in ended) + (most - len(ended)) * value[state]


def _filling(graph: _Graph) -> list[float]:
    """Backwards from full cards. A state has a larger mask than those it comes from, so the order is that of masks."""
    weights = _prior(graph)
    begun = {part for counts in weights for part in _parts(counts)}
    reached = [0.0] * len(graph.masks)
    for state in reversed(range(len(graph.masks))):
        counts = graph.counts[state]
        reached[state] = weights.get(counts, 0.0) / _orders(counts)
        for shape, ways in enumerate(graph.after[state]):
            if ways and _plus_one(counts, shape) in begun:
                reached[state] += max(reached[way] for way in ways)
    return [value / _seen(counts, weights) for value, counts in zip(reached, graph.counts, strict=True)]


def _prior(graph: _Graph) -> dict[Counts, float]:
    """Return the largest sets of shapes that fit, each with its weight."""
    rare = [any(other[0] == one[0] and other[1] < one[1] for other in graph.shapes) for one in graph.shapes]
    fitting = set(graph.counts)
    usual = {
        counts for counts in fitting if not any(count for count, is_rare in zip(counts, rare, strict=True) if is_rare)
    }
    return {**dict.fromkeys(_largest(fitting), RARE), **dict.fromkeys(_largest(usual), 1.0)}


def _largest(sets: set[Counts]) -> set[Counts]:
    return {one for one in sets if not any(_plus_one(one, shape) in sets for shape in range(len(one)))}


def _plus_one(counts: Counts, shape: int) -> Counts:
    return (*counts[:shape], counts[shape] + 1, *counts[shape + 1 :])


def _parts(counts: Counts) -> list[Counts]:
    parts: list[Counts] = [()]
    for count in counts:
        parts = [(*part, some) for part in parts for some in range(count + 1)]
    return parts


def _orders(counts: Counts) -> int:
    """In how many orders a set can come."""
    return factorial(sum(counts)) // prod(factorial(count) for count in counts)


def _seen(counts: Counts, weights: Mapping[Counts, float]) -> float:
    """How likely it is that this set, in one given order, is how everything begins (times the sum of the weights)."""
    total = 0.0
    for whole, weight in weights.items():
        rest = tuple(all_ - some for all_, some in zip(whole, counts, strict=True))
        if min(rest) >= 0:
            total += weight * _orders(rest) / _orders(whole)
    return total
