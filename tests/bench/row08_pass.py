"""Row 8: one scheduling pass, 1,000 waiting, 8 GPUs with MIG, against a plain EASY pass over the same state.

The anchor is written from the definition of EASY: the queue in the order of arrival, everybody who fits starts, the
first who does not gets a shadow time from the sorted ends, others start if they end before it or leave it room. It
places by the fragmentation gradient. It knows no users, quotas, priorities, shares or reservations, which ours does.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.devices.gpu import GpuKind
from ds01.domain.devices.position import Position
from ds01.domain.request import GpuRequest
from ds01.domain.rules.limit import EffectiveLimits, Limits
from ds01.domain.scheduling.board import Board, Card, format_slice, taken_of
from ds01.domain.scheduling.schedule import plan_pass
from ds01.domain.scheduling.situation import GroupRules, Person, Situation
from ds01.domain.scheduling.waiting import Waiting
from tests.bench.figure import Figure, paired_medians_ms

WAITING = 1000
CARDS = 8
USERS = 50
SEED = 8
GIB = 1024**3
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MARGIN_S = 120
PROFILES: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "1g.10gb": (1, 1, (0, 1, 2, 3, 4, 5, 6)),
    "2g.20gb": (2, 2, (0, 2, 4)),
    "3g.40gb": (3, 4, (0, 4)),
    "4g.40gb": (4, 4, (0,)),
    "7g.80gb": (7, 8, (0,)),
}
"""Name to compute slices, memory slices and starts. Source: NVIDIA, MIG User Guide, A100 80GB profiles."""
CUT = (("1g.10gb", 0), ("1g.10gb", 1), ("2g.20gb", 2), ("3g.40gb", 4))
"""Instances of a card that an administrator cut."""


@dataclass
class Machine:
    """One state, for both sides: masks for the anchor, values of the domain for ours."""

    situation: Situation
    masks: dict[str, list[int]]
    taken: list[int]
    running: list[tuple[float, int, int]] = field(default_factory=list)
    jobs: list[tuple[float, str, int, float]] = field(default_factory=list)


def measure() -> list[Figure]:
    """Return the figures for instances that are made on demand, for instances that exist, and for an empty queue."""
    found = []
    for name, is_dynamic in (("on demand", True), ("static", False)):
        machine = build(is_dynamic=is_dynamic)
        pass_, anchor = _ours(machine.situation), _easy(machine)
        assert len(plan_pass(machine.situation).grants) > 0
        mine, theirs = paired_medians_ms(pass_, anchor)
        label = f"pass, {WAITING} waiting, MIG {name}"
        found.append(Figure(8, label, mine, "ms", theirs, "EASY by its definition, same state", 3.0, 1.5))
    return found


def _ours(situation: Situation) -> Callable[[], None]:
    def run() -> None:
        plan_pass(situation)

    return run


def _easy(machine: Machine) -> Callable[[], None]:
    def run() -> None:
        easy_pass(machine)

    return run


def build(*, is_dynamic: bool, waiting: int = WAITING) -> Machine:
    """Return a machine that is nearly full, with a long queue."""
    dice = random.Random(SEED)
    board = Board(tuple(_card(index, is_dynamic=is_dynamic) for index in range(CARDS)))
    allocations = _fill(board, dice)
    queue = tuple(_request(number, dice) for number in range(waiting))
    limits = EffectiveLimits(Limits(max_gpus=4, max_gpu_equivalents=4.0, max_containers=40), {}, "students")
    people = {uid: Person(uid, limits, containers=1, recent_use_s=1e5 * (uid % 7)) for uid in range(USERS)}
    groups = {"students": GroupRules(max_gpus=100)}
    situation = Situation(NOW, board, allocations, (), queue, (), people, groups)
    masks: dict[str, list[int]] = {}
    for position in board.cards[0].positions:
        masks.setdefault(position.profile, []).append(position.mask)
    machine = Machine(situation, masks, list(taken_of(board, allocations)))
    places = {card.uuid: number for number, card in enumerate(board.cards)}
    for grant in allocations:
        number, position = _found(board, places, grant)
        ends = grant.ends_at
        end = float("inf") if ends is None else (ends - NOW).total_seconds() + MARGIN_S
        machine.running.append((end, number, position.mask))
    for job in queue:
        length = float("inf") if job.time_limit is None else job.time_limit.total_seconds() + MARGIN_S
        machine.jobs.append((job.queued_at.timestamp(), job.request.kind, job.request.count, length))
    return machine


def _card(index: int, *, is_dynamic: bool) -> Card:
    uuid = f"GPU-{index:08d}"
    positions: list[Position] = []
    if is_dynamic:
        for name, (compute, slices, starts) in PROFILES.items():
            for start in starts:
                mask = ((1 << slices) - 1) << start
                positions.append(Position(mask, GpuKind.MIG, name, None, start, compute / 7, slices * 10 * GIB))
        return Card(uuid, index, "NVIDIA A100-SXM4-80GB", tuple(positions))
    for place, (name, _) in enumerate(CUT):
        compute, slices, _ = PROFILES[name]
        instance = f"MIG-{index:04d}-{place}"
        positions.append(Position(1 << place, GpuKind.MIG, name, instance, None, compute / 7, slices * 10 * GIB))
    instances = tuple((position.gpu_uuid or "", position.mask) for position in positions)
    return Card(uuid, index, "NVIDIA A100-SXM4-80GB", tuple(positions), instances=instances)


def _fill(board: Board, dice: random.Random) -> tuple[Allocation, ...]:
    """Grant at random until little is left."""
    taken = [0] * len(board.cards)
    grants: list[Allocation] = []
    for number in range(200):
        card = dice.randrange(len(board.cards))
        position = dice.choice([found for found in board.cards[card].positions if found.profile != "7g.80gb"])
        full = sum(each.all_bits.bit_count() for each in board.cards)
        if taken[card] & position.mask or sum(mask.bit_count() for mask in taken) > 0.8 * full:
            continue
        taken[card] |= position.mask
        ends_at = None if dice.random() < 0.05 else NOW + timedelta(minutes=dice.randrange(5, 1500))
        grants.append(_grant(number, board.cards[card], position, ends_at))
    return tuple(grants)


def _grant(number: int, card: Card, position: Position, ends_at: datetime | None) -> Allocation:
    return Allocation(
        id=f"{number:016x}",
        uid=number % USERS,
        container_name=f"run{number}",
        request=GpuRequest(1, position.profile),
        gpu_uuids=() if position.gpu_uuid is None else (position.gpu_uuid,),
        gpu_equivalents=position.equivalents,
        state=AllocationState.ACTIVE,
        claimed_at=NOW - timedelta(hours=1),
        changed_at=NOW - timedelta(hours=1),
        group="students",
        ends_at=ends_at,
        slices=(format_slice(card.uuid, position),) if position.gpu_uuid is None else (),
    )


def _found(board: Board, places: dict[str, int], grant: Allocation) -> tuple[int, Position]:
    for card in board.cards:
        for position in card.positions:
            if position.gpu_uuid in grant.gpu_uuids or format_slice(card.uuid, position) in grant.slices:
                return places[card.uuid], position
    raise AssertionError("the grant has no place")


def _request(number: int, dice: random.Random) -> Waiting:
    kind = dice.choice(["1g.10gb", "1g.10gb", "2g.20gb", "2g.20gb", "3g.40gb"])
    limit = None if dice.random() < 0.05 else timedelta(minutes=dice.randrange(5, 1500))
    return Waiting(
        id=f"{number:016x}",
        uid=dice.randrange(USERS),
        group="students",
        container_name=f"job{number}",
        request=GpuRequest(2 if dice.random() < 0.05 else 1, kind),
        priority=dice.choice([1, 1, 1, 10, 50]),
        time_limit=limit,
        queued_at=NOW - timedelta(seconds=dice.randrange(100_000)),
    )


def easy_pass(machine: Machine) -> list[tuple[str, list[tuple[int, int]]]]:
    """Return what plain EASY starts now."""
    taken, running = list(machine.taken), list(machine.running)
    started = []
    queue = sorted(machine.jobs)
    while queue:
        _, kind, count, length = queue[0]
        chosen = _place(machine.masks, taken, kind, count)
        if chosen is None:
            break
        _start(taken, running, chosen, length)
        started.append((kind, chosen))
        queue.pop(0)
    if not queue:
        return started
    _, head_kind, head_count, _ = queue[0]
    shadow, then = _shadow(machine.masks, taken, running, (head_kind, head_count))
    for _, kind, count, length in queue[1:]:
        chosen = _place(machine.masks, taken, kind, count)
        if chosen is None:
            continue
        if length > shadow:
            after = list(then)
            for card, mask in chosen:
                after[card] |= mask
            if _place(machine.masks, after, head_kind, head_count) is None:
                continue
            then = after
        _start(taken, running, chosen, length)
        started.append((kind, chosen))
    return started


def _start(
    taken: list[int], running: list[tuple[float, int, int]], chosen: list[tuple[int, int]], length: float
) -> None:
    for card, mask in chosen:
        taken[card] |= mask
        running.append((length, card, mask))


def _shadow(
    masks: dict[str, list[int]], taken: list[int], running: list[tuple[float, int, int]], head: tuple[str, int]
) -> tuple[float, list[int]]:
    then = list(taken)
    for end, card, mask in sorted(running):
        then[card] &= ~mask
        if _place(masks, then, *head) is not None:
            return end, then
    return float("inf"), then


def _place(masks: dict[str, list[int]], taken: list[int], kind: str, count: int) -> list[tuple[int, int]] | None:
    """Return the places whose loss is smallest, or None."""
    state = list(taken)
    chosen = []
    for _ in range(count):
        best: tuple[float, int, int] | None = None
        for card, used in enumerate(state):
            for mask in masks.get(kind, ()):
                if not mask & used:
                    loss = _fragments(masks, used) - _fragments(masks, used | mask)
                    if best is None or (loss, card, mask) < best:
                        best = (loss, card, mask)
        if best is None:
            return None
        state[best[1]] |= best[2]
        chosen.append(best[1:])
    return chosen


def _fragments(masks: dict[str, list[int]], used: int) -> float:
    """Return how much can still be placed on a card, weighed by size."""
    total = 0
    for places in masks.values():
        for mask in places:
            if not mask & used:
                total += mask.bit_count()
    return total
