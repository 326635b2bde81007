"""The books of a machine on which grants come and go, and what must hold of each grant, worked out without a board."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from ds01.domain.allocation import Allocation, AllocationState, move_allocation
from ds01.domain.devices.gpu import Gpu, Inventory, all_gpus, schedulable_gpus
from ds01.domain.scheduling.board import board_of
from ds01.domain.scheduling.booking import shortfalls
from ds01.domain.scheduling.occupancy import ForeignContainer
from ds01.domain.scheduling.quota import TOLERANCE
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.schedule import plan_pass
from ds01.domain.scheduling.situation import Grant, GroupRules, Pass, Person, Situation
from ds01.domain.scheduling.waiting import Waiting
from tests.unit.domain.machines import START, a100, machine
from tests.unit.domain.situations import GROUPS, USERS, allocation_of, person

HOLD = timedelta(minutes=15)
ADMIN = 4000


class Books:
    """The store, the containers and the clock of one machine; every decision is the planner's."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.machine = machine(a100(0))
        self.lost: set[str] = set()
        self.drained: dict[str, str] = {}
        self.shares = 1
        self.people: dict[int, Person] = {uid: person(uid) for uid in (*USERS, ADMIN)}
        self.groups: dict[str, GroupRules] = {}
        self.grants: dict[str, Allocation] = {}
        self.ended: dict[str, Allocation] = {}
        self.waiting: dict[str, Waiting] = {}
        self.strangers: dict[str, ForeignContainer] = {}
        self.reservations: dict[str, Reservation] = {}
        self.last: Pass | None = None
        self.is_short = False
        self.numbers = 0

    # --- what there is ------------------------------------------------------------------------------------------------

    def inventory(self) -> Inventory:
        return replace(self.machine, devices=tuple(c for c in self.machine.devices if c.uuid not in self.lost))

    def situation(self) -> Situation:
        return Situation(
            self.now,
            board_of(self.inventory(), drained=self.drained, shares=self.shares),
            allocations=tuple(self.grants.values()),
            foreign=tuple(self.strangers.values()),
            waiting=tuple(self.waiting.values()),
            reservations=tuple(self.reservations.values()),
            people={uid: replace(known, containers=self.containers(uid)) for uid, known in self.people.items()},
            groups=self.groups,
        )

    def containers(self, uid: int) -> int:
        return sum(1 for grant in (*self.grants.values(), *self.ended.values()) if grant.uid == uid)

    def new_id(self) -> str:
        self.numbers += 1
        return f"{self.numbers:04}"

    # --- what the daemon does -----------------------------------------------------------------------------------------

    def settle(self, *, may_break: bool = False) -> None:
        """Run a pass and make durable what it decides. Only some events may break what was promised.

        A reservation that was short of devices takes them when it can, whatever was promised meanwhile: it came first.
        """
        situation = self.situation()
        found = plan_pass(situation)
        may_break = may_break or self.is_short
        self.is_short = bool(self.reservations) and bool(shortfalls(situation))
        for grant in found.grants:
            self.book(grant)
        for id_, waiting in self.waiting.items():
            told, start = waiting.promised_at, found.promises.get(id_)
            if id_ in found.broken:
                assert may_break, f"a promise is broken: {found.broken[id_]}"
            elif told is not None:
                assert start is not None, "a promise is forgotten"
                assert start <= told, "a promise moves later"
            self.waiting[id_] = replace(waiting, promised_at=start)
        assert list(found.order) == [id_ for id_ in found.order if id_ in self.waiting]
        assert set(found.order) == set(self.waiting)
        self.last = found

    def book(self, grant: Grant) -> None:
        waiting = self.waiting.pop(grant.waiting.id, grant.waiting)
        assert waiting.promised_at is None or self.now <= waiting.promised_at, "granted later than promised"
        assert waiting.not_before is None or waiting.not_before <= self.now
        assert len(grant.positions) == waiting.request.count
        made = allocation_of(grant, waiting.id, self.now)
        window = self.reservations.get(waiting.reservation or "")
        if window is not None:
            assert window.start_at <= self.now < window.end_at
            made = replace(made, ends_at=min(filter(None, (made.ends_at, window.end_at))))
        self.require_apart(made)
        self.grants[made.id] = made
        self.ended.pop(made.id, None)
        self.require_within_quota(made)

    def require_apart(self, made: Allocation) -> None:
        """No device twice, no card beside its own instance, no more shares than there are."""
        parents = {gpu.uuid: gpu.parent_uuid for gpu in all_gpus(self.machine)}
        assert len(set(made.gpu_uuids)) == len(made.gpu_uuids)
        usable = {gpu.uuid for gpu in schedulable_gpus(self.inventory())}
        for uuid in made.gpu_uuids:
            assert uuid in usable
            assert uuid not in self.drained
            assert parents[uuid] not in self.drained
            sharers = 0
            for other in self.grants.values():
                for held in other.gpu_uuids:
                    is_same = held == uuid
                    assert is_same or held != parents[uuid] or held == uuid, "its card is held"
                    assert parents.get(held) != uuid or is_same, "an instance of it is held"
                    if is_same:
                        assert made.shares > 1, "held by somebody, and granted alone"
                        assert other.shares > 1, "held alone, and shared"
                        sharers += 1
            assert sharers < max(made.shares, 1)
            for stranger in self.strangers.values():
                assert uuid not in stranger.gpu_uuids
                assert parents[uuid] not in stranger.gpu_uuids

    def require_within_quota(self, made: Allocation) -> None:
        if not made.gpu_uuids:
            return
        values = self.people[made.uid].limits.values
        self.require_figures(
            values.max_gpus,
            values.max_gpu_equivalents,
            [grant for grant in self.grants.values() if grant.uid == made.uid],
            [found for found in self.strangers.values() if found.uid == made.uid],
        )
        rules = self.groups.get(made.group)
        if rules is not None:
            ours = [found for found in self.strangers.values() if GROUPS.get(found.uid or 0) == made.group]
            mine = [grant for grant in self.grants.values() if grant.group == made.group]
            self.require_figures(rules.max_gpus, rules.max_gpu_equivalents, mine, ours)

    def require_figures(
        self,
        gpus: int | None,
        equivalents: float | None,
        grants: Iterable[Allocation],
        strangers: Iterable[ForeignContainer],
    ) -> None:
        weights = {gpu.uuid: gpu.equivalents for gpu in all_gpus(self.machine)}
        held = [(uuid, grant.shares) for grant in grants for uuid in grant.gpu_uuids]
        held += [(uuid, 1) for stranger in strangers for uuid in stranger.gpu_uuids]
        assert gpus is None or len(held) <= gpus, "over the number of GPUs"
        total = sum(weights[uuid] / shares for uuid, shares in held)
        assert equivalents is None or total <= equivalents + TOLERANCE, "over the gpu-equivalents"

    def release(self, id_: str) -> None:
        """A container that was never made is gone with its claim; any other stays, without devices."""
        grant = self.grants.pop(id_)
        if grant.state is not AllocationState.CLAIMED:
            released = move_allocation(grant, AllocationState.RELEASED, self.now)
            self.ended[id_] = replace(released, deadline_at=None)

    def expire(self) -> bool:
        """End what has come to its end by now."""
        over = [
            grant.id
            for grant in self.grants.values()
            if grant.is_expired(self.now) or (grant.ends_at is not None and grant.ends_at <= self.now)
        ]
        for id_ in over:
            self.release(id_)
        gone = [found.id for found in self.reservations.values() if found.end_at <= self.now]
        for id_ in gone:
            del self.reservations[id_]
        return bool(over or gone)

    def next_moment(self, until: datetime) -> datetime | None:
        moments = [self.last.wake_at] if self.last is not None else []
        for grant in self.grants.values():
            moments += [grant.deadline_at, grant.ends_at]
        for reservation in self.reservations.values():
            moments += [reservation.start_at, reservation.end_at]
        later = [found for found in moments if found is not None and self.now < found <= until]
        return min(later, default=None)

    def make_containers(self) -> None:
        """Most containers are made at once."""
        for grant in self.grants.values():
            if grant.state is AllocationState.CLAIMED and int(grant.id) % 4:
                active = move_allocation(grant, AllocationState.ACTIVE, self.now)
                self.grants[grant.id] = replace(active, deadline_at=None)

    def free_devices(self) -> list[Gpu]:
        """Devices of which nobody has anything, worked out without the board."""
        held = {uuid for grant in self.grants.values() for uuid in grant.gpu_uuids}
        held |= {uuid for stranger in self.strangers.values() for uuid in stranger.gpu_uuids}
        return [
            gpu
            for gpu in schedulable_gpus(self.inventory())
            if gpu.uuid not in held
            and gpu.parent_uuid not in held
            and gpu.uuid not in self.drained
            and gpu.parent_uuid not in self.drained
        ]
