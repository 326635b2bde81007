"""Whatever people, crashes, plain docker and the clock do to a machine with a queue: its books and promises hold.

The rules of `test_state_machine` go on beside those of the queue. `DS01_TEST_LONG=1` plays many more and longer games.
"""

import os
from collections import Counter
from collections.abc import Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import initialize, invariant, rule

from ds01.domain.allocation import Allocation
from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.queue import QueueEntry, QueueState
from ds01.domain.scheduling.queue_move import Place
from ds01.service.reservations import ReservationOrder
from tests.fake_store import MemoryStore
from tests.fakes import DEFAULT_LIMITS
from tests.unit.service.queueing import QueueStage
from tests.unit.service.stage import ADMIN_CALLER, order
from tests.unit.service.test_state_machine import ALL_CARDS, CALLERS, DEATHS, KINDS, NAMES, Site

IS_LONG = bool(os.environ.get("DS01_TEST_LONG"))
HOURS = st.sampled_from([None, 0.5, 1, 3])


class QueueSite(Site):
    """A site whose scheduler is driven by hand: it serves when a rule says so, or dies in it."""

    def begin(self, hold: timedelta | None, personal: bool) -> None:
        """The queue's own beginning takes its place."""

    @initialize(
        hold=st.sampled_from([timedelta(0), timedelta(0), timedelta(minutes=15)]),
        gpus=st.sampled_from([None, 1, 2]),
        most=st.sampled_from([None, 3]),
    )
    def begin_with_queue(self, hold: timedelta, gpus: int | None, most: int | None) -> None:
        limits = replace(
            DEFAULT_LIMITS, gpu_hold_after_stop=hold, max_containers=most, max_gpus=gpus, max_gpu_equivalents=None
        )
        self.stage = QueueStage.with_gpus(1, limits)
        self.stage.devices.inventory = ALL_CARDS
        self.is_personal = False
        self.has_gone_past_us = False
        self.is_policy_changed = False
        self.told: dict[str, datetime] = {}

    @property
    def queue(self) -> QueueStage:
        assert isinstance(self.stage, QueueStage)
        return self.stage

    def read(self) -> tuple[list[Allocation], list[QueueEntry], Counter[str]]:
        """Grants, open requests, and how often each promise was broken with an event."""

        async def look() -> tuple[list[Allocation], list[QueueEntry], Counter[str]]:
            await self.stage.store.settle()
            allocations, entries, events = await MemoryStore.read(
                self.stage.store, lambda t: (t.list_allocations(), t.list_waiting(), t.list_events(limit=100_000))
            )
            broken = Counter(str(event.details["request"]) for event in events if event.name == "promise.broken")
            return allocations, entries, broken

        return self.loop.run_until_complete(look())

    # --- what people do with the queue --------------------------------------------------------------------------------

    @rule(wanted=st.lists(st.tuples(NAMES, CALLERS, KINDS, st.integers(1, 2), HOURS), min_size=1, max_size=3))
    def enqueue(self, wanted: list[tuple[str, Any, str, int, float | None]]) -> None:
        for name, caller, kind, count, hours in wanted:
            self.do(self.queue.services.queue.enqueue_creation(caller, _order(name, kind, count, hours)))
        self.do(self.queue.services.starter.wait())

    @rule(name=NAMES, caller=CALLERS, minutes=st.sampled_from([None, 20]))
    def enqueue_start(self, name: str, caller: Any, minutes: int | None) -> None:
        after = None if minutes is None else timedelta(minutes=minutes)
        self.do(self.queue.services.queue.enqueue_start(caller, caller.uid, name, gives_up_after=after))
        self.do(self.queue.services.starter.wait())

    @rule(name=NAMES, caller=CALLERS)
    def cancel(self, name: str, caller: Any) -> None:
        self.do(self.queue.services.queue.cancel(caller, name))

    @rule(number=st.integers(0, 3), place=st.sampled_from([Place.FIRST, Place.LAST]))
    def administrator_moves(self, number: int, place: Place) -> None:
        waiting = [entry for entry in self.read()[1] if entry.state is QueueState.WAITING]
        if number < len(waiting):
            self.do(self.queue.services.queue.move(ADMIN_CALLER, waiting[number].id, place))

    @rule(caller=CALLERS, begin=st.integers(0, 3), hours=st.integers(1, 3), kind=KINDS)
    def reserve(self, *, caller: Any, begin: int, hours: int, kind: str) -> None:
        start = self.stage.clock.now() + timedelta(hours=begin)
        wanted = ReservationOrder(GpuRequest(1, kind), start, start + timedelta(hours=hours), uid=caller.uid)
        self.do(self.queue.services.reservations.create(ADMIN_CALLER, wanted))

    @rule()
    def cancel_a_reservation(self) -> None:
        async def cancel_first() -> None:
            for found in await self.queue.services.reservations.list_():
                await self.queue.services.reservations.cancel(ADMIN_CALLER, found.id)
                return

        self.do(cancel_first())

    # --- what the daemon does -----------------------------------------------------------------------------------------

    async def fall_due(self) -> None:
        await self.queue.services.deadlines.run()
        await self.queue.services.deadlines.wait()

    @rule()
    def serve(self) -> None:
        self.do(self.fall_due())
        self.do(self.queue.serve())

    @rule(
        name=NAMES,
        caller=CALLERS,
        kind=KINDS,
        verb=st.sampled_from(["enqueue", "enqueue_start", "serve", "fall_due", "cancel", "move"]),
        step=DEATHS,
    )
    def die_with_queue(self, *, name: str, caller: Any, kind: str, verb: str, step: int) -> None:
        queue = self.queue.services.queue
        works: dict[str, Coroutine[Any, Any, object]] = {
            "enqueue": self._enqueue_and_wait(caller, _order(name, kind, 1, 1)),
            "enqueue_start": queue.enqueue_start(caller, caller.uid, name),
            "serve": self.queue.serve(),
            "fall_due": self.fall_due(),
            "cancel": queue.cancel(caller, name),
            "move": queue.move(ADMIN_CALLER, name, Place.FIRST),
        }
        for other in works.keys() - {verb}:
            works[other].close()
        self.stage.trap.arm(step, self.stage.trap.die)
        self.do(works[verb])
        self.do(self.queue.services.starter.wait())
        self.stage.trap.revive()
        self.do(self.queue.restart())
        self.do(self.queue.services.starter.wait())

    async def _enqueue_and_wait(self, caller: Any, wanted: Any) -> None:
        await self.queue.services.queue.enqueue_creation(caller, wanted)
        await self.queue.services.starter.wait()

    @rule(gpus=st.sampled_from([None, 0, 1, 2]))
    def policy_changes(self, gpus: int | None) -> None:
        """A policy that is lowered takes nothing away: who is over then only gets nothing more."""
        self.is_policy_changed = True
        policy = self.stage.policy
        self.stage.policy = replace(policy, base=replace(policy.base, max_gpus=gpus))

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def promises_are_kept(self) -> None:
        """What was promised moves earlier or ends with an event that says why, never silently."""
        if not hasattr(self, "told"):
            return
        _, entries, broken = self.read()
        told: dict[str, datetime] = {}
        for entry in entries:
            before, now = self.told.get(entry.id), entry.waiting.promised_at
            if before is not None and not broken[entry.id] and entry.state is QueueState.WAITING:
                assert now is not None, "a promise is forgotten"
                assert now <= before, "a promise moves later"
            if now is not None:
                told[entry.id] = now
        self.told = told

    @invariant()
    def nobody_is_over_the_quota(self) -> None:
        if not hasattr(self, "told") or self.is_policy_changed or self.has_gone_past_us:
            return
        highest = self.stage.limits.max_gpus
        held = Counter(grant.uid for grant in self.read()[0] for _ in grant.gpu_uuids)
        assert highest is None or all(count <= highest for count in held.values()), held

    @invariant()
    def a_granted_request_has_its_grant(self) -> None:
        if not hasattr(self, "told"):
            return
        allocations, entries, _ = self.read()
        holding = {grant.id for grant in allocations}
        for entry in entries:
            if entry.state is QueueState.GRANTED:
                assert entry.allocation_id in holding, f"{entry.waiting.container_name} is granted and has no grant"
        names = [(entry.uid, entry.waiting.container_name) for entry in entries]
        assert len(names) == len(set(names)), "two requests for one container"

    @rule()
    def settle(self) -> None:
        """Then the queue comes to rest too: nobody is left granted and not served, and a pass finds nothing to do."""
        super().settle()
        self.do(self.queue.restart())
        for _ in range(4):
            self.serve()
            self.do(self.stage.reconcile())
        _, entries, _ = self.read()
        assert not [entry for entry in entries if entry.state is QueueState.GRANTED], "granted, and nobody makes it"
        served = self.loop.run_until_complete(self.queue.services.scheduling.run_pass())
        assert not served.granted, "something fits and waited"
        self.loop.run_until_complete(self.stage.require_sound_books())


def _order(name: str, kind: str, count: int, hours: float | None) -> Any:
    return replace(order(name, count=count, kind=kind), time_limit=None if hours is None else timedelta(hours=hours))


TestQueueSite = QueueSite.TestCase
TestQueueSite.settings = settings(
    max_examples=600 if IS_LONG else 25,
    stateful_step_count=50 if IS_LONG else 25,
    deadline=None,
    derandomize=not IS_LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
)
