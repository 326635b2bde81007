"""What reconcile does."""

import dataclasses
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from ds01.domain import label
from ds01.domain.allocation import Allocation, AllocationState, move_allocation
from ds01.domain.containers.container import ContainerState, ContainerSummary
from ds01.domain.containers.plan import HELPER_AGE, Action, ActionKind, Snapshot, WantedContainer, plan_reconcile
from ds01.domain.request import GpuRequest
from tests.unit.domain.machines import ALICE, START, at

NOW = at(60)
ROW = WantedContainer(ALICE, "pt", "nonce-pt", "id-pt", "grant-pt", START)
UNFINISHED = dataclasses.replace(ROW, engine_id=None)


def grant(
    state: AllocationState = AllocationState.ACTIVE, *, deadline: float | None = None, name: str = "pt"
) -> Allocation:
    ends = at(deadline) if deadline is not None else None
    return Allocation(f"grant-{name}", ALICE, name, GpuRequest(), ("GPU-0",), 1.0, state, START, START, ends)


def container(
    state: ContainerState = ContainerState.RUNNING, *, name: str = "pt", nonce: str | None = "", uid: int = ALICE
) -> ContainerSummary:
    labels = {label.MANAGED: "true", label.ALLOCATION: f"grant-{name}"}
    if nonce is not None:
        labels[label.NONCE] = nonce or f"nonce-{name}"
    return ContainerSummary(f"id-{name}", f"{name}._.{uid}", "x", state, "", START, labels)


def snapshot(
    wanted: Iterable[WantedContainer] = (),
    grants: Iterable[Allocation] = (),
    containers: Iterable[ContainerSummary] = (),
    alive: frozenset[str] = frozenset(),
) -> Snapshot:
    return Snapshot(
        wanted=tuple(wanted),
        allocations={found.id: found for found in grants if found.is_holding},
        containers=tuple(containers),
        now=NOW,
        is_alive=lambda nonce: nonce in alive,
        is_helper=lambda name: name.startswith("ds01-helper-"),
    )


def kinds(found: Snapshot) -> list[ActionKind]:
    actions = plan_reconcile(found)
    assert all(action.reason for action in actions)
    return [action.kind for action in actions]


def test_where_everything_agrees_nothing_is_done() -> None:
    assert kinds(snapshot()) == []
    assert kinds(snapshot([ROW], [grant()], [container()])) == []
    held = grant(AllocationState.HELD, deadline=61)
    assert kinds(snapshot([ROW], [held], [container(ContainerState.EXITED)])) == []
    forever = grant(AllocationState.HELD)
    assert kinds(snapshot([ROW], [forever], [container(ContainerState.EXITED)])) == []


def test_a_claim_without_a_container_is_undone_after_its_deadline_and_not_before() -> None:
    assert kinds(snapshot([UNFINISHED], [grant(AllocationState.CLAIMED, deadline=61)])) == []
    assert kinds(snapshot([UNFINISHED], [grant(AllocationState.CLAIMED, deadline=60)])) == [ActionKind.UNDO_CREATION]
    assert kinds(snapshot([UNFINISHED])) == [ActionKind.UNDO_CREATION]


def test_a_creation_that_died_before_it_was_verified_is_undone_with_its_container() -> None:
    (action,) = plan_reconcile(
        snapshot([UNFINISHED], [grant(AllocationState.CLAIMED, deadline=61)], [container(ContainerState.CREATED)])
    )
    assert (action.kind, action.engine_id, action.nonce) == (ActionKind.UNDO_CREATION, "id-pt", "nonce-pt")


@pytest.mark.parametrize("state", [ContainerState.RUNNING, ContainerState.PAUSED, ContainerState.EXITED])
def test_a_creation_whose_container_was_started_is_completed(state: ContainerState) -> None:
    found = snapshot([UNFINISHED], [grant(AllocationState.CLAIMED, deadline=61)], [container(state)])
    assert kinds(found) == [ActionKind.COMPLETE_CREATION]


def test_a_creation_that_is_alive_is_left_alone() -> None:
    claim = grant(AllocationState.CLAIMED, deadline=1)
    for containers in ([], [container(ContainerState.CREATED)]):
        assert kinds(snapshot([UNFINISHED], [claim], containers, frozenset({"nonce-pt"}))) == []


def test_a_copied_nonce_does_not_get_another_container_removed() -> None:
    thief = container(ContainerState.CREATED, name="other", nonce="nonce-pt")
    actions = plan_reconcile(snapshot([UNFINISHED], [grant(AllocationState.CLAIMED, deadline=60)], [thief]))
    assert [(action.kind, action.engine_id) for action in actions] == [(ActionKind.UNDO_CREATION, None)]
    same_name = container(ContainerState.CREATED, uid=ALICE * 10, nonce="nonce-pt")
    assert all(action.engine_id is None for action in plan_reconcile(snapshot([UNFINISHED], [], [same_name])))


def test_a_container_that_is_gone_is_forgotten() -> None:
    assert kinds(snapshot([ROW], [grant()])) == [ActionKind.FORGET]
    assert kinds(snapshot([ROW])) == [ActionKind.FORGET]


@pytest.mark.parametrize("state", list(ContainerState))
def test_every_state_of_the_engine_is_answered(state: ContainerState) -> None:
    ends = {ContainerState.EXITED, ContainerState.DEAD}
    active = kinds(snapshot([ROW], [grant()], [container(state)]))
    assert active == ([ActionKind.SETTLE_STOPPED] if state in ends else [])
    held = kinds(snapshot([ROW], [grant(AllocationState.HELD, deadline=61)], [container(state)]))
    released = kinds(snapshot([ROW], [], [container(state)]))
    assert held == released == ([ActionKind.TAKE_UP] if state.has_processes else [])


def test_a_hold_that_ended_is_released() -> None:
    (action,) = plan_reconcile(
        snapshot([ROW], [grant(AllocationState.HELD, deadline=60)], [container(ContainerState.EXITED)])
    )
    assert (action.kind, action.allocation_id) == (ActionKind.RELEASE_HOLD, "grant-pt")


def test_a_grant_that_nothing_can_ever_use_is_released() -> None:
    (action,) = plan_reconcile(snapshot([], [grant()]))
    assert (action.kind, action.allocation_id) == (ActionKind.RELEASE_ORPHAN, "grant-pt")


def test_our_containers_without_a_row_are_adopted_and_others_are_not() -> None:
    assert kinds(snapshot([], [], [container()])) == [ActionKind.ADOPT]
    plain = dataclasses.replace(container(), labels={})
    assert kinds(snapshot([], [], [plain])) == []


def test_a_helper_that_a_crash_left_behind_is_removed_and_a_young_one_is_not() -> None:
    helper = ContainerSummary("h", "ds01-helper-1", "x", ContainerState.RUNNING, "", NOW - HELPER_AGE, {})
    assert kinds(snapshot([], [], [helper])) == [ActionKind.REMOVE_HELPER]
    young = dataclasses.replace(helper, created_at=at(59))
    assert kinds(snapshot([], [], [young])) == []


def test_a_claim_and_a_container_of_another_owner_are_not_mixed_up() -> None:
    rows = [ROW, dataclasses.replace(ROW, uid=ALICE + 1, nonce="nonce-2", engine_id="id-2", allocation_id="grant-2")]
    found = snapshot(rows, [grant(), grant(name="2")], [container()])
    assert [(action.kind, action.nonce) for action in plan_reconcile(found)] == [(ActionKind.FORGET, "nonce-2")]


class World:
    """The effect of actions on rows, grants and containers, as the service carries them out."""

    def __init__(self, found: Snapshot) -> None:
        self.rows = {row.nonce: row for row in found.wanted}
        self.grants = dict(found.allocations)
        self.containers = {item.id: item for item in found.containers}
        self.first = found

    def snapshot(self) -> Snapshot:
        return dataclasses.replace(
            self.first,
            wanted=tuple(self.rows.values()),
            allocations={key: value for key, value in self.grants.items() if value.is_holding},
            containers=tuple(self.containers.values()),
        )

    def apply(self, action: Action) -> None:
        row = self.rows.get(action.nonce)
        allocation_id = action.allocation_id or (row.allocation_id if row else "")
        present = self.grants.get(allocation_id)
        kind = action.kind
        if kind in {ActionKind.UNDO_CREATION, ActionKind.FORGET}:
            self.rows.pop(action.nonce, None)
            self.grants.pop(allocation_id, None)
            if kind is ActionKind.UNDO_CREATION and action.engine_id is not None:
                self.containers.pop(action.engine_id, None)
        elif kind is ActionKind.REMOVE_HELPER:
            self.containers.pop(action.engine_id or "", None)
        elif kind in {ActionKind.RELEASE_HOLD, ActionKind.RELEASE_ORPHAN}:
            self.grants.pop(allocation_id, None)
        elif kind is ActionKind.ADOPT:
            self.adopt(self.containers[action.engine_id or ""])
        elif row is not None:
            self.change(kind, action, row, present)

    def change(self, kind: ActionKind, action: Action, row: WantedContainer, present: Allocation | None) -> None:
        if kind is ActionKind.SETTLE_STOPPED:
            if present is None or present.state is not AllocationState.ACTIVE:
                return
            self.grants[present.id] = move_allocation(present, AllocationState.HELD, NOW)
            return
        granted = present or grant(name=row.allocation_id.removeprefix("grant-"))
        active = dataclasses.replace(granted, state=AllocationState.ACTIVE, deadline_at=None)
        self.grants[row.allocation_id] = active
        self.rows[row.nonce] = dataclasses.replace(row, engine_id=action.engine_id)

    def adopt(self, found: ContainerSummary) -> None:
        name = found.id.removeprefix("id-")
        nonce = found.labels.get(label.NONCE, f"fresh-{name}")
        stopped = found.state in {ContainerState.EXITED, ContainerState.DEAD}
        adopted = grant(AllocationState.HELD if stopped else AllocationState.ACTIVE, name=f"adopted-{name}")
        self.grants[adopted.id] = adopted
        self.rows[nonce] = WantedContainer(ALICE, name, nonce, found.id, adopted.id, NOW)


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    rows, grants, containers = [], [], []
    for name in ("a", "b", "c", "d"):
        finished = draw(st.booleans())
        state = draw(st.none() | st.sampled_from(AllocationState))
        on_engine = draw(st.none() | st.sampled_from(ContainerState))
        has_row = draw(st.booleans())
        if has_row:
            rows.append(
                WantedContainer(
                    ALICE, name, f"nonce-{name}", f"id-{name}" if finished else None, f"grant-{name}", START
                )
            )
        if state is not None and not (finished and state is AllocationState.CLAIMED):
            grants.append(grant(state, deadline=draw(st.sampled_from([None, 59, 61])), name=name))
        if on_engine is not None:
            containers.append(container(on_engine, name=name, nonce=draw(st.sampled_from(["", None]))))
    return snapshot(rows, grants, containers)


ROUNDS = 3
"""A creation that is completed can be settled in the next round, and its hold be released in the one after."""


@settings(max_examples=300, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_plans_that_are_applied_in_any_order_and_twice_come_to_an_end(found: Snapshot, order: Random) -> None:
    world = World(found)
    for _ in range(ROUNDS):
        actions = plan_reconcile(world.snapshot())
        order.shuffle(actions)
        for action in actions:
            world.apply(action)
        after = world.snapshot()
        for action in actions:
            world.apply(action)
        assert world.snapshot() == after
    assert plan_reconcile(world.snapshot()) == []


@given(worlds())
def test_the_same_world_gives_the_same_plan_and_no_container_is_removed_that_runs(found: Snapshot) -> None:
    actions = plan_reconcile(found)
    assert plan_reconcile(found) == actions
    running = {item.id for item in found.containers if item.state.has_processes}
    removing = {ActionKind.UNDO_CREATION, ActionKind.REMOVE_HELPER}
    assert not [action for action in actions if action.kind in removing and action.engine_id in running]
