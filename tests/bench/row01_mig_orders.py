"""Row 1: one empty GPU, the 12 maximal request lists in every order, each list and each order of it equally likely.

Requests are placed one after another without knowing what comes; the figure is the probability that all are placed. The
optimum and plain lowest-start placement are worked out here from the definition. The product's placement is asked for
requests without an end, as they are in this game, and a second time for requests with a time limit, where it places for
a card whose instances come and go: that costs a little here and gains more in row 2.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import permutations

from ds01.config.mig_tables import read_shipped_tables
from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.devices.mig import dynamic_positions
from ds01.domain.request import GpuRequest
from ds01.domain.rules.limit import EffectiveLimits, Limits
from ds01.domain.scheduling.board import Board, Card
from ds01.domain.scheduling.schedule import plan_grant
from ds01.domain.scheduling.situation import Person, Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import NoCapacityError
from tests.bench.figure import Figure
from tests.bench.mig_card import Choose, Counts, Instance, MigCard, State

MODEL = "A100-40GB"
MEMORY = 40 * 1024**3
UID = 1001
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
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
    """Return what the scheduler does on one card whose instances are made on demand, with every profile it can have."""
    table = read_shipped_tables()[MODEL]
    here = Card("GPU-0", 0, "NVIDIA A100-PCIE-40GB", dynamic_positions(table, MEMORY), table=table.key)
    limits = EffectiveLimits(Limits(), {}, "bench")
    world = Situation(NOW, Board((here,), {table.key: table}), people={UID: Person(UID, limits)})
    length = None if is_endless else timedelta(hours=1)

    @cache
    def choose(state: State, name: str) -> State | None:
        held = tuple(_grant(number, place, length) for number, place in enumerate(sorted(state)))
        newcomer = Waiting("f" * 16, UID, "bench", "next", GpuRequest(1, name), 0, length, NOW)
        try:
            found = plan_grant(replace(world, allocations=held), newcomer)
        except NoCapacityError:
            assert not card.after(state, name), "it fits, and the scheduler refuses it"
            return None
        start = found.positions[0].position.start
        assert start is not None
        after = state | {(name, start)}
        assert after in card.after(state, name), "it does not fit there"
        return after

    return choose


def _grant(number: int, place: Instance, length: timedelta | None) -> Allocation:
    name, start = place
    return Allocation(
        id=f"{number:016x}",
        uid=UID,
        container_name=f"c{number}",
        request=GpuRequest(1, name),
        gpu_uuids=(),
        gpu_equivalents=0.0,
        state=AllocationState.ACTIVE,
        claimed_at=NOW,
        changed_at=NOW,
        time_limit=length,
        ends_at=None if length is None else NOW + length,
        slices=(f"GPU-0/{name}@{start}",),
    )


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
