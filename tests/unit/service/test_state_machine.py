"""Whatever people, crashes and plain docker do: no device has two holders, and the books are right."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ds01.domain.allocation import CLAIM_DEADLINE
from ds01.domain.containers.plan import HELPER_AGE, ActionKind
from ds01.domain.devices.attachment import attached_gpus
from ds01.domain.devices.gpu import Inventory
from ds01.errors import Ds01Error
from tests.fakes import DEFAULT_LIMITS, mig_gpu, whole_gpu
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, ProcessDeathError, Stage, run_to_failure

NAMES = st.sampled_from(["a", "b", "c"])
CALLERS = st.sampled_from([ALICE_CALLER, BOB_CALLER])
KINDS = st.sampled_from(["any", "full", "mig", "1g.5gb"])
DEATHS = st.integers(min_value=1, max_value=80)
ALL_CARDS = Inventory((whole_gpu(0), mig_gpu(1, 3, 1, 1)))


class Site(RuleBasedStateMachine):
    """One machine with two GPUs, two users, and a daemon that may die at any step."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    @initialize(hold=st.sampled_from([None, timedelta(0), timedelta(minutes=15)]), personal=st.booleans())
    def begin(self, hold: timedelta | None, personal: bool) -> None:
        limits = replace(DEFAULT_LIMITS, gpu_hold_after_stop=hold, max_containers=3)
        self.stage = Stage(limits, only_uid=1001 if personal else None)
        self.stage.add_image()
        self.is_personal = personal
        self.has_gone_past_us = False

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            self.do(self.stage.engine.close())
        self.loop.close()

    def do(self, work: Coroutine[Any, Any, object]) -> BaseException | None:
        failure = self.loop.run_until_complete(run_to_failure(work))
        assert failure is None or isinstance(failure, Ds01Error | ProcessDeathError), repr(failure)
        return failure

    @rule(name=NAMES, caller=CALLERS, kind=KINDS, count=st.integers(0, 2))
    def create(self, name: str, caller: Any, kind: str, count: int) -> None:
        self.do(self.stage.create(name, caller=caller, kind=kind, count=count))

    @rule(name=NAMES, caller=CALLERS)
    def start(self, name: str, caller: Any) -> None:
        self.do(self.stage.start(name, caller=caller))

    @rule(name=NAMES, caller=CALLERS)
    def stop(self, name: str, caller: Any) -> None:
        self.do(self.stage.stop(name, caller=caller))

    @rule(name=NAMES, caller=CALLERS, force=st.booleans())
    def remove(self, name: str, caller: Any, force: bool) -> None:
        self.do(self.stage.remove(name, caller=caller, force=force))

    @rule(name=NAMES, caller=CALLERS)
    def release(self, name: str, caller: Any) -> None:
        self.do(self.stage.services.removal.release(caller, caller.uid, name))

    @rule(name=NAMES, caller=CALLERS, verb=st.sampled_from(["create", "start", "stop", "remove"]), step=DEATHS)
    def die(self, name: str, caller: Any, verb: str, step: int) -> None:
        self.stage.trap.arm(step, self.stage.trap.die)
        self.do(getattr(self.stage, verb)(name, caller=caller))
        self.stage.trap.revive()
        self.stage.boot()

    @rule(step=DEATHS)
    def die_in_reconcile(self, step: int) -> None:
        self.stage.trap.arm(step, self.stage.trap.die)
        self.do(self.stage.reconcile())
        self.stage.trap.revive()
        self.stage.boot()

    @rule(callers=st.lists(st.tuples(NAMES, CALLERS, KINDS), min_size=2, max_size=4))
    def create_at_once(self, callers: list[tuple[str, Any, str]]) -> None:
        async def all_of_them() -> None:
            works = (self.stage.create(name, caller=caller, kind=kind) for name, caller, kind in callers)
            outcomes = await asyncio.gather(*works, return_exceptions=True)
            assert all(isinstance(outcome, str | Ds01Error) for outcome in outcomes), outcomes

        self.do(all_of_them())

    @rule(number=st.integers(0, 5), action=st.sampled_from(["rm", "start", "kill"]))
    def use_docker(self, number: int, action: str) -> None:
        """Somebody with access to the engine goes past us."""
        containers = list(self.stage.engine.containers)
        if number >= len(containers):
            return
        container = containers[number]
        if action == "rm":
            self.do(self.stage.engine.remove_container(container, force=True))
        elif action == "start":
            self.has_gone_past_us = True
            self.do(self.stage.engine.start_container(container))
        elif self.stage.engine.containers[container].details.state.has_processes:
            self.do(self.stage.engine.end_pid1(container, exit_code=137))

    @rule(minutes=st.sampled_from([1, 16, 60]))
    def pass_time(self, minutes: int) -> None:
        self.stage.clock.advance(timedelta(minutes=minutes))

    @rule()
    def lose_a_card(self) -> None:
        self.stage.devices.inventory = Inventory(ALL_CARDS.devices[:1])

    @rule()
    def find_the_card_again(self) -> None:
        self.stage.devices.inventory = ALL_CARDS

    @rule()
    def reconcile(self) -> None:
        self.do(self.stage.reconcile())

    @precondition(lambda self: hasattr(self, "stage"))
    @rule()
    def settle(self) -> None:
        """After the deadlines, repairs come to an end, and then the engine and the books say the same."""
        self.stage.clock.advance(CLAIM_DEADLINE + HELPER_AGE)
        for _ in range(5):
            assert self.do(self.stage.reconcile()) is None
        left = self.loop.run_until_complete(self.stage.services.reconciler.plan())
        # a personal daemon stops nobody: what runs on another's device stays until one of them ends
        assert {action.kind for action in left} <= ({ActionKind.TAKE_UP} if self.is_personal else set()), left
        self.loop.run_until_complete(self.stage.require_settled())
        self.require_devices_apart()

    def require_devices_apart(self) -> None:
        """From the engine's side: no device is reached by two running containers."""
        if self.is_personal and self.has_gone_past_us:
            return
        reached: list[str] = []
        for found in self.stage.engine.containers.values():
            if found.details.state.has_processes:
                reached += attached_gpus(found.details.attachment, ALL_CARDS)
        assert len(reached) == len(set(reached)), reached

    @invariant()
    def the_books_are_sound(self) -> None:
        if hasattr(self, "stage"):
            self.loop.run_until_complete(self.stage.require_sound_books())
            if not self.has_gone_past_us:
                self.require_devices_apart()


Site.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestSite = Site.TestCase
