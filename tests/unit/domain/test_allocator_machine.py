"""Everything that can happen to grants, in any order: what must hold holds after every step.

`DS01_TEST_LONG=1` plays many more and longer games.
"""

import os
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ds01.domain.allocation import Allocation, AllocationState, move_allocation
from ds01.domain.devices.gpu import Gpu, all_gpus, weigh_devices
from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.booking import require_keepable
from ds01.domain.scheduling.occupancy import ForeignContainer
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.schedule import plan_grant, require_possible
from ds01.domain.scheduling.situation import GroupRules
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import Ds01Error
from tests.unit.domain.books import ADMIN, HOLD, Books
from tests.unit.domain.machines import a30, a100, machine
from tests.unit.domain.situations import USERS, person, waits

IS_LONG = bool(os.environ.get("DS01_TEST_LONG"))
USER = st.sampled_from(USERS)
REQUESTS = st.builds(
    GpuRequest,
    st.sampled_from([1, 1, 1, 2]),
    st.sampled_from(["any", "any", "any", "full", "full", "mig", "1g.5gb", "2g.10gb", "a30"]),
)
LIMITS = st.sampled_from([None, *(timedelta(minutes=minutes) for minutes in (30, 60, 60, 180, 480))])
ASKED = st.tuples(USER, REQUESTS, LIMITS, st.booleans(), st.booleans())
MACHINES = (
    machine(a100(0), a100(1)),
    machine(a100(0, "1g.5gb", "1g.5gb", "2g.10gb"), a100(1)),
    machine(a100(0), a30(1, "1g.6gb", "1g.6gb", "2g.12gb"), a100(2), a100(3)),
    machine(a100(0)),
)


class Allocator(Books, RuleBasedStateMachine):
    """What can happen to the books, in any order."""

    @initialize(data=st.data(), number=st.integers(0, len(MACHINES) - 1), shares=st.sampled_from([1, 1, 1, 2, 3]))
    def machine_is_busy(self, data: st.DataObject, number: int, shares: int) -> None:
        self.machine, self.shares = MACHINES[number], shares
        quota = data.draw(st.sampled_from([None, None, 1, 2]))
        self.people |= {uid: person(uid, max_gpus=quota) for uid in USERS[:2]}
        self.ask(data, may_wait=True)
        self.ask(data, may_wait=True)

    # --- what people do -----------------------------------------------------------------------------------------------

    @rule(data=st.data(), may_wait=st.sampled_from([True, True, True, False]))
    def ask(self, data: st.DataObject, *, may_wait: bool) -> None:
        """Some requests at once: a machine with nobody waiting has little to decide."""
        for uid, request, limit, exclusive, urgent in data.draw(st.lists(ASKED, min_size=1, max_size=4)):
            asked = waits(
                self.new_id(),
                uid,
                request,
                time_limit=limit,
                queued_at=self.now,
                is_exclusive=exclusive,
                priority=50 if urgent else 1,
            )
            self.enter(asked, may_wait=may_wait)
            self.make_containers()

    def enter(self, asked: Waiting, *, may_wait: bool) -> None:
        situation = self.situation()
        try:
            if may_wait:
                require_possible(situation, asked)
                self.waiting[asked.id] = asked
            else:
                self.book(plan_grant(situation, asked))
        except Ds01Error:
            return
        self.settle()

    @precondition(lambda self: self.reservations)
    @rule(data=st.data(), may_wait=st.booleans())
    def ask_inside(self, *, data: st.DataObject, may_wait: bool) -> None:
        window = self.reservations[data.draw(st.sampled_from(sorted(self.reservations)))]
        uid = window.uid or data.draw(USER)
        self.enter(
            waits(self.new_id(), uid, replace(window.request, count=1), queued_at=self.now, reservation=window.id),
            may_wait=may_wait,
        )

    def some(self, data: st.DataObject, *states: AllocationState) -> Allocation | None:
        found = sorted(grant.id for grant in self.grants.values() if grant.state in states)
        return self.grants[data.draw(st.sampled_from(found))] if found else None

    @rule(data=st.data())
    def container_is_made(self, data: st.DataObject) -> None:
        grant = self.some(data, AllocationState.CLAIMED)
        if grant is not None:
            active = move_allocation(grant, AllocationState.ACTIVE, self.now)
            self.grants[grant.id] = replace(active, deadline_at=None)
            self.settle()

    @rule(data=st.data())
    def container_stops(self, data: st.DataObject) -> None:
        grant = self.some(data, AllocationState.ACTIVE)
        if grant is not None:
            self.grants[grant.id] = move_allocation(grant, AllocationState.HELD, self.now, hold=HOLD)
            self.settle()

    @rule(data=st.data())
    def container_starts_within_its_hold(self, data: st.DataObject) -> None:
        grant = self.some(data, AllocationState.HELD)
        if grant is not None:
            active = move_allocation(grant, AllocationState.ACTIVE, self.now)
            self.grants[grant.id] = replace(active, deadline_at=None)
            self.settle()

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), may_wait=st.booleans())
    def container_starts_after_its_hold(self, *, data: st.DataObject, may_wait: bool) -> None:
        """Its devices are fixed; a new grant of the very same is needed."""
        old = self.ended[data.draw(st.sampled_from(sorted(self.ended)))]
        if old.id in self.waiting:
            return
        asked = waits(old.id, old.uid, old.request, queued_at=self.now, time_limit=old.time_limit)
        self.enter(replace(asked, gpu_uuids=old.gpu_uuids), may_wait=may_wait)

    @rule(data=st.data())
    def container_is_removed(self, data: st.DataObject) -> None:
        grant = self.some(data, *AllocationState)
        if grant is not None:
            del self.grants[grant.id]
            self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        del self.waiting[data.draw(st.sampled_from(sorted(self.waiting)))]
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), place=st.integers(0, 3))
    def administrator_moves(self, data: st.DataObject, place: int) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.waiting)))
        self.waiting[id_] = replace(self.waiting[id_], moved_to=place)
        self.settle()

    @rule(
        uid=st.sampled_from([None, *USERS]),
        gpus=st.integers(1, 2),
        kind=st.sampled_from(["any", "full", "mig"]),
        begin=st.integers(-1, 5),
        hours=st.integers(1, 4),
    )
    def administrator_reserves(self, *, uid: int | None, gpus: int, kind: str, begin: int, hours: int) -> None:
        start = self.now + timedelta(hours=begin)
        id_ = f"r{self.new_id()}"
        group = None if uid is not None else "student"
        wanted = Reservation(
            id_, id_, uid, group, GpuRequest(gpus, kind), start, start + timedelta(hours=hours), "", ADMIN, self.now
        )
        try:
            require_keepable(self.situation(), wanted, may_break_promises=True)
        except Ds01Error:
            return
        self.reservations[id_] = wanted
        self.expire()
        self.settle(may_break=True)

    @precondition(lambda self: self.reservations)
    @rule(data=st.data())
    def reservation_is_cancelled(self, data: st.DataObject) -> None:
        del self.reservations[data.draw(st.sampled_from(sorted(self.reservations)))]
        self.settle()

    # --- what happens to the machine ----------------------------------------------------------------------------------

    @rule(minutes=st.integers(1, 400))
    def time_passes(self, minutes: int) -> None:
        until = self.now + timedelta(minutes=minutes)
        while (moment := self.next_moment(until)) is not None:
            self.now = moment
            self.expire()
            self.settle()
        self.now = until
        self.settle()

    @rule(minutes=st.integers(-120, 600))
    def clock_jumps(self, minutes: int) -> None:
        """Nobody was awake in between: what should have ended ends now, and a promise may be late by that."""
        self.now += timedelta(minutes=minutes)
        self.expire()
        for id_, waiting in self.waiting.items():
            if waiting.promised_at is not None and waiting.promised_at < self.now:
                self.waiting[id_] = replace(waiting, promised_at=self.now)
        self.settle(may_break=True)

    @rule()
    def daemon_restarts(self) -> None:
        """It knows nothing but what is durable, and decides nothing new."""
        grants, waiting = dict(self.grants), dict(self.waiting)
        self.settle()
        assert self.grants == grants
        assert self.waiting == waiting

    @rule(data=st.data())
    def device_is_lost(self, data: st.DataObject) -> None:
        self.lost.add(data.draw(st.sampled_from([card.uuid for card in self.machine.devices])))
        self.settle(may_break=True)

    @precondition(lambda self: self.lost)
    @rule()
    def devices_come_back(self) -> None:
        self.lost.clear()
        self.settle()

    @rule(data=st.data())
    def device_is_drained(self, data: st.DataObject) -> None:
        self.drained[data.draw(st.sampled_from([gpu.uuid for gpu in all_gpus(self.machine)]))] = "a test"
        self.settle(may_break=True)

    @precondition(lambda self: self.drained)
    @rule()
    def devices_are_resumed(self) -> None:
        self.drained.clear()
        self.settle()

    @rule(
        uid=USER,
        gpus=st.sampled_from([None, None, 0, 1, 2]),
        equivalents=st.sampled_from([None, None, 2 / 7, 1.0, 1.5]),
        group=st.sampled_from([None, None, 1.0, 2.0]),
    )
    def policy_changes(self, uid: int, gpus: int | None, equivalents: float | None, group: float | None) -> None:
        self.people[uid] = person(uid, max_gpus=gpus, max_gpu_equivalents=equivalents)
        self.groups = {"student": GroupRules(max_gpu_equivalents=group)}
        self.settle(may_break=True)

    @rule(data=st.data(), uid=st.sampled_from([None, *USERS]))
    def stranger_comes(self, data: st.DataObject, uid: int | None) -> None:
        """Somebody runs a container past us, on a device that nobody holds."""
        free = self.free_devices()
        if free:
            gpu = data.draw(st.sampled_from(free))
            uuids = frozenset({gpu.uuid})
            name = f"x{self.new_id()}"
            weight = weigh_devices(uuids, self.machine)
            self.strangers[name] = ForeignContainer(name, uid, uuids, self.now, weight=weight)
            self.settle(may_break=True)

    @precondition(lambda self: self.strangers)
    @rule()
    def strangers_go(self) -> None:
        self.strangers.clear()
        self.settle()

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def the_first_in_the_order_does_not_wait_for_what_is_free(self) -> None:
        if self.last is None or not self.last.order or self.reservations:
            return
        first = self.waiting[self.last.order[0]]
        if first.reservation is not None or self.is_held_back_by_quota(first):
            return
        fitting = [gpu for gpu in self.free_devices() if _is_of_kind(gpu, first.request.kind)]
        if first.gpu_uuids:
            fitting = [gpu for gpu in fitting if gpu.uuid in first.gpu_uuids]
        most = max(Counter(gpu.profile for gpu in fitting).values(), default=0)
        assert most < first.request.count, f"{first} waits although {fitting} are free"

    def is_held_back_by_quota(self, waiting: Waiting) -> bool:
        values = self.people[waiting.uid].limits.values
        rules = self.groups.get(waiting.group)
        figures = [values.max_gpus, values.max_gpu_equivalents]
        figures += [rules.max_gpus, rules.max_gpu_equivalents] if rules is not None else []
        return any(figure is not None for figure in figures)

    @invariant()
    def what_is_free_can_be_granted(self) -> None:
        """Everything that was released, by whatever way, comes back."""
        if self.waiting or self.reservations:
            return
        for gpu in self.free_devices():
            asked = Waiting("probe", ADMIN, "", "probe", GpuRequest(1), 1, None, self.now, gpu_uuids=(gpu.uuid,))
            grant = plan_grant(self.situation(), asked)
            assert grant.positions[0].position.gpu_uuid == gpu.uuid


def _is_of_kind(gpu: Gpu, kind: str) -> bool:
    """Said here once more, and not by the code that is tested."""
    return kind in {"any", gpu.kind.value, gpu.profile, *gpu.model.lower().split()}


TestAllocator = Allocator.TestCase
TestAllocator.settings = settings(
    max_examples=2000 if IS_LONG else 100,
    stateful_step_count=80 if IS_LONG else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
