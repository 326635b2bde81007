"""A MIG card by the definition: which instances can be made where, and every state. Nothing here is the product's.

A set of instances is valid when their intervals of memory slices do not overlap and each begins where its profile may.
Source: the schema text of mig_profiles.json.
"""

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

FACTS = Path(__file__).resolve().parents[2] / "src" / "ds01" / "data" / "mig_profiles.json"
DOUBLE_MEMORY = 15
"""Driver's number of the 1g profile with twice the memory."""

Instance = tuple[str, int]
State = frozenset[Instance]
Counts = tuple[int, ...]
Choose = Callable[[State, str], State | None]
"""What a policy does with a request for a profile: the state after it, or None where it does not fit."""


class MigCard:
    """One device model, its five plain profiles or all six shapes."""

    def __init__(self, model: str = "A100-40GB", *, with_double_memory: bool = False) -> None:
        device = json.loads(FACTS.read_text(encoding="utf-8"))["devices"][model]
        used = [one for one in device["profiles"] if not one["media_extensions"]]
        used = [one for one in used if with_double_memory or one["nvml_profile_id"] != DOUBLE_MEMORY]
        self.size = {one["name"]: int(one["memory_slices"]) for one in used}
        self.compute = {one["name"]: int(one["compute_slices"]) for one in used}
        self.starts = {one["name"]: tuple(one["valid_starts"]) for one in used}
        self.slices = int(device["compute_slices_total"])
        self.names = tuple(self.size)

    def after(self, state: State, name: str) -> list[State]:
        """Return the states in which a request for a profile may leave the card, lowest start first."""
        taken = {slice_ for other, start in state for slice_ in range(start, start + self.size[other])}
        wide = self.size[name]
        free = [start for start in self.starts[name] if not taken & set(range(start, start + wide))]
        return [state | {(name, start)} for start in free]

    @cached_property
    def states(self) -> list[State]:
        """Every state that can be reached, the empty one first."""
        found: dict[State, None] = {frozenset(): None}
        todo: list[State] = [frozenset()]
        while todo:
            state = todo.pop()
            for following in (way for name in self.names for way in self.after(state, name)):
                if following not in found:
                    found[following] = None
                    todo.append(following)
        return list(found)

    def counts(self, state: State) -> Counts:
        """Return how many instances of each profile a state has."""
        return tuple(sum(name == other for other, _ in state) for name in self.names)

    @cached_property
    def multisets(self) -> set[Counts]:
        """Every list of requests that can be served at once."""
        return {self.counts(state) for state in self.states}

    @cached_property
    def maximal(self) -> list[Counts]:
        """The lists to which no request can be added, in a fixed order."""
        return sorted(one for one in self.multisets if not any(more in self.multisets for more in increments(one)))


def increments(counts: Counts) -> Iterator[Counts]:
    """Yield the lists with one request more."""
    for place in range(len(counts)):
        yield (*counts[:place], counts[place] + 1, *counts[place + 1 :])
