"""A small machine played on a virtual clock: what is granted runs, ends early or at its limit, and others come."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import strategies as st

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.devices.gpu import GpuKind
from ds01.domain.devices.position import Position
from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.board import Board, Card, OnDemand, board_of, format_slice, holds_of, taken_of
from ds01.domain.scheduling.quota import TOLERANCE
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.schedule import plan_pass
from ds01.domain.scheduling.situation import Grant, GroupRules, Pass, Person, Situation
from ds01.domain.scheduling.waiting import Waiting
from tests.unit.domain.machines import GIB, START, a30, a100, limits, machine

MARGIN = timedelta(minutes=2)
ON_DEMAND = (("1g.5gb", 1, 1, 5, range(7)), ("2g.10gb", 2, 2, 10, (0, 2, 4)), ("3g.20gb", 3, 4, 20, (0, 4)))


def on_demand() -> OnDemand:
    """Return the ways to make instances on an A100 (1g, 2g, 3g and the whole card as one instance)."""
    positions = [
        Position(((1 << slices) - 1) << start, GpuKind.MIG, name, None, start, compute / 7, memory * GIB)
        for name, compute, slices, memory, starts in ON_DEMAND
        for start in starts
    ]
    positions.append(Position(0xFF, GpuKind.MIG, "7g.40gb", None, 0, 1.0, 40 * GIB))
    return OnDemand(tuple(positions))


@st.composite
def boards(draw: st.DrawFn) -> Board:
    """Machines of every layout: whole cards, instances, instances on demand, shared devices, links between cards."""
    kind = draw(st.sampled_from(["whole", "static", "mixed", "demand", "shared"]))
    count = draw(st.integers(1, 4))
    if kind == "whole":
        inventory = machine(*(a100(index) for index in range(count)))
        pairs = {card.uuid: (card.index ^ 1,) for card in inventory.devices}
        return board_of(inventory, near=draw(st.sampled_from([{}, pairs])))
    if kind == "demand":
        inventory = machine(*(a100(index, mig=True) for index in range(min(count, 2))))
        return board_of(inventory, dynamic={card.uuid: on_demand() for card in inventory.devices})
    if kind == "shared":
        return board_of(machine(*(a100(index) for index in range(min(count, 3)))), shares=draw(st.integers(2, 3)))
    layout = ["1g.5gb", "1g.5gb", "2g.10gb"]
    cards = [a100(0, *layout), a100(1), a30(2, "1g.6gb", "2g.12gb"), a100(3)]
    return board_of(machine(*(cards[: count + 1] if kind == "mixed" else [a100(0, *layout, "1g.5gb")])))


@dataclass
class Play:
    """A machine with everybody on it."""

    board: Board
    people: Mapping[int, Person]
    groups: Mapping[str, GroupRules] = field(default_factory=dict)
    now: datetime = START
    running: dict[str, Allocation] = field(default_factory=dict)
    releases: dict[str, datetime] = field(default_factory=dict)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    reservations: tuple[Reservation, ...] = ()
    lateness: timedelta = timedelta()
    started: list[tuple[datetime, Grant]] = field(default_factory=list)
    age_guard: timedelta = timedelta(hours=48)

    def situation(self) -> Situation:
        plain = Situation(
            self.now,
            self.board,
            tuple(self.running.values()),
            (),
            tuple(self.waiting.values()),
            self.reservations,
            self.people,
            self.groups,
            release_margin=MARGIN,
        )
        return replace(plain, rules=replace(plain.rules, age_guard=self.age_guard))

    def run_pass(self) -> Pass:
        """Run a pass, check what must always hold, and do what it says."""
        situation = self.situation()
        found = plan_pass(situation)
        before = taken_of(self.board, self.running.values())
        self._require_apart(before, found)
        for grant in found.grants:
            self._start(grant)
        self._require_quota()
        assert found.broken == {}, found.broken
        for id_, start in found.promises.items():
            told = self.waiting[id_].promised_at
            assert told is None or start <= told
            assert start >= self.now
            self.waiting[id_] = replace(self.waiting[id_], promised_at=start)
        for id_, waiting in self.waiting.items():
            assert waiting.promised_at is None or id_ in found.promises, "a promise is forgotten"
        assert sorted(found.order) == sorted(self.waiting)
        return found

    def _require_apart(self, before: tuple[int, ...], found: Pass) -> None:
        taken = list(before)
        cards = {card.uuid: number for number, card in enumerate(self.board.cards)}
        for grant in found.grants:
            assert len(grant.positions) == grant.waiting.request.count
            assert len({part.position.profile for part in grant.positions}) <= 1
            for part in grant.positions:
                number = cards[part.card_uuid]
                assert not taken[number] & part.position.mask, "granted twice"
                assert part.position in self.board.cards[number].positions
                taken[number] |= part.position.mask

    def _start(self, grant: Grant) -> None:
        waiting = self.waiting.pop(grant.waiting.id)
        assert waiting.promised_at is None or self.now <= waiting.promised_at, "a promise is broken"
        self.started.append((self.now, grant))
        ends = [] if waiting.time_limit is None else [self.now + waiting.time_limit]
        ends += [kept.end_at for kept in self.reservations if kept.id == waiting.reservation]
        ends_at = min(ends, default=None)
        exists = [part.position.gpu_uuid for part in grant.positions if part.position.gpu_uuid is not None]
        slices = [
            format_slice(part.card_uuid, part.position) for part in grant.positions if part.position.gpu_uuid is None
        ]
        self.running[waiting.id] = Allocation(
            id=waiting.id,
            uid=waiting.uid,
            container_name=waiting.container_name,
            request=waiting.request,
            gpu_uuids=tuple(exists),
            gpu_equivalents=grant.equivalents,
            state=AllocationState.ACTIVE,
            claimed_at=self.now,
            changed_at=self.now,
            group=waiting.group,
            time_limit=waiting.time_limit,
            ends_at=ends_at,
            reservation=waiting.reservation,
            shares=max((part.position.shares for part in grant.positions), default=1),
            slices=tuple(slices),
        )
        if ends_at is not None:
            self.releases[waiting.id] = ends_at + self.lateness

    def _require_quota(self) -> None:
        for uid, person in self.people.items():
            mine = [grant for grant in self.running.values() if grant.uid == uid]
            self._require_within(mine, person.limits.values.max_gpus, person.limits.values.max_gpu_equivalents)
        for name, rules in self.groups.items():
            ours = [grant for grant in self.running.values() if grant.group == name]
            self._require_within(ours, rules.max_gpus, rules.max_gpu_equivalents)

    @staticmethod
    def _require_within(held: list[Allocation], gpus: int | None, equivalents: float | None) -> None:
        assert gpus is None or sum(grant.request.count for grant in held) <= gpus
        assert equivalents is None or sum(grant.gpu_equivalents for grant in held) <= equivalents + TOLERANCE

    def release(self, id_: str) -> None:
        del self.running[id_]
        self.releases.pop(id_, None)

    def advance(self, until: datetime) -> None:
        """Let time pass: grants end at their limits, and a pass runs whenever something is freed or is due."""
        wake_at = self.run_pass().wake_at
        for _ in range(200):
            moments = [found for found in (*self.releases.values(), wake_at) if found is not None and found <= until]
            if not moments:
                self.now = until
                self.run_pass()
                return
            self.now = min(moments)
            for id_ in [id_ for id_, end in self.releases.items() if end <= self.now]:
                self.release(id_)
            self.reservations = tuple(kept for kept in self.reservations if kept.end_at > self.now)
            wake_at = self.run_pass().wake_at
        raise AssertionError("time stands still")

    def place_of(self, card: Card) -> int:
        return self.board.cards.index(card)


def holds_apart(board: Board, allocations: list[Allocation]) -> bool:
    """Tell whether no two grants of a machine share a bit."""
    taken = [0] * len(board.cards)
    for hold in holds_of(board, allocations):
        for number, mask in hold.pieces:
            if taken[number] & mask:
                return False
            taken[number] |= mask
    return True


def person(uid: int, group: str = "student", **values: object) -> Person:
    return Person(uid, replace(limits(**values), group=group))


def waiting(id_: int, uid: int, request: GpuRequest, now: datetime, **more: object) -> Waiting:
    values: dict[str, object] = {"priority": 1, "time_limit": timedelta(hours=1), "group": "student", **more}
    return Waiting(f"{id_:016x}", uid=uid, container_name=f"c{id_}", request=request, queued_at=now, **values)  # type: ignore[arg-type]  # the test's
