"""What reconcile does: the difference between what is wanted (rows, grants) and what is there (containers).

Pure; applying a plan twice changes nothing; every action carries its reason.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ds01.domain import label
from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.containers.container import ContainerState, ContainerSummary
from ds01.domain.name import EngineName

HELPER_AGE = timedelta(minutes=10)


class ActionKind(StrEnum):
    """What can be done."""

    UNDO_CREATION = "undo_creation"
    COMPLETE_CREATION = "complete_creation"
    FORGET = "forget"
    FOLLOW_NAME = "follow_name"
    SETTLE_STOPPED = "settle_stopped"
    TAKE_UP = "take_up"
    RELEASE_HOLD = "release_hold"
    ADOPT = "adopt"
    REMOVE_HELPER = "remove_helper"
    RELEASE_ORPHAN = "release_orphan"
    TELL_LOST = "tell_lost"
    TELL_BACK = "tell_back"
    RELEASE_LOST = "release_lost"


@dataclass(frozen=True, slots=True)
class WantedContainer:
    """A row of the store, as far as the plan needs it.

    Attributes:
        uid: Owner.
        name: Name.
        nonce: Nonce.
        engine_id: Id; None while it is being made.
        allocation_id: Grant.
        created_at: When the row was made.
    """

    uid: int
    name: str
    nonce: str
    engine_id: str | None
    allocation_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do.

    Attributes:
        kind: What.
        reason: Why, for the log and the event.
        nonce: Row it is about; empty without one.
        engine_id: Container it is about; None without one.
        allocation_id: Grant it is about; None without one.
    """

    kind: ActionKind
    reason: str
    nonce: str = ""
    engine_id: str | None = None
    allocation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the plan looks at.

    Attributes:
        wanted: Rows.
        allocations: Grants that are not released, by id.
        containers: Containers of the engine.
        now: The moment.
        is_alive: Tells whether the creation with this nonce is being carried out now.
        is_helper: Tells whether an engine name is one of our short-lived containers.
        lost: Devices of grants that are not on the machine any more, by the id of the grant; None: unknown.
        told_lost: Grants of which that has been told.
    """

    wanted: tuple[WantedContainer, ...]
    allocations: Mapping[str, Allocation]
    containers: tuple[ContainerSummary, ...]
    now: datetime
    is_alive: Callable[[str], bool]
    is_helper: Callable[[str], bool]
    lost: Mapping[str, tuple[str, ...]] | None = None
    told_lost: frozenset[str] = frozenset()


def plan_reconcile(snapshot: Snapshot) -> list[Action]:
    """Return what is to be done so that rows, grants and containers agree."""
    by_id = {container.id: container for container in snapshot.containers}
    # by name too: a label can be copied, and what is undone here is removed
    by_nonce = {
        (container.name, container.labels[label.NONCE]): container
        for container in snapshot.containers
        if label.NONCE in container.labels
    }
    actions: list[Action] = []
    for row in snapshot.wanted:
        if snapshot.is_alive(row.nonce):
            continue
        if row.engine_id is None:
            engine_name = str(EngineName(row.name, row.uid))
            actions += _unfinished(row, by_nonce.get((engine_name, row.nonce)), snapshot)
        else:
            actions += _existing(row, by_id.get(row.engine_id), snapshot)
    actions += _orphans(snapshot, by_id)
    actions += _strangers(snapshot)
    return actions


def _unfinished(row: WantedContainer, container: ContainerSummary | None, snapshot: Snapshot) -> Iterable[Action]:
    """A creation whose process died. The client was never told that it succeeded, so the old state is right."""
    if container is None:
        allocation = snapshot.allocations.get(row.allocation_id)
        if allocation is None or allocation.is_expired(snapshot.now):
            yield Action(ActionKind.UNDO_CREATION, "its creation ended before a container existed", row.nonce)
    elif container.state is ContainerState.CREATED:
        yield Action(ActionKind.UNDO_CREATION, "its creation ended before it was verified", row.nonce, container.id)
    else:
        yield Action(
            ActionKind.COMPLETE_CREATION, "it was started although its creation had not ended", row.nonce, container.id
        )


def _existing(row: WantedContainer, container: ContainerSummary | None, snapshot: Snapshot) -> Iterable[Action]:
    allocation = snapshot.allocations.get(row.allocation_id)
    if container is None:
        yield Action(ActionKind.FORGET, "its container is gone from the engine", row.nonce, row.engine_id)
        return
    name = container.parsed_name
    names = {other.name for other in snapshot.wanted if other.uid == row.uid}
    is_named_by_somebody = name is not None and not snapshot.is_helper(container.name)
    if is_named_by_somebody and name is not None and name.uid == row.uid and name.name not in names:
        yield Action(ActionKind.FOLLOW_NAME, "its container has another name now", row.nonce, container.id)
    if container.state.has_processes:
        if allocation is None or allocation.state is not AllocationState.ACTIVE:
            yield Action(ActionKind.TAKE_UP, "it was started past DS01", row.nonce, container.id)
        else:
            yield from _loss_of_running(row, container, allocation, snapshot)
        return
    if allocation is None:
        return
    if allocation.state is AllocationState.HELD and (snapshot.lost or {}).get(allocation.id):
        yield Action(ActionKind.RELEASE_LOST, "its GPU is gone", row.nonce, container.id, allocation.id)
    elif allocation.state is AllocationState.ACTIVE and container.state in {ContainerState.EXITED, ContainerState.DEAD}:
        yield Action(ActionKind.SETTLE_STOPPED, "it does not run any more", row.nonce, container.id)
    elif allocation.state is AllocationState.HELD and allocation.is_expired(snapshot.now):
        yield Action(ActionKind.RELEASE_HOLD, "its hold ended", row.nonce, container.id, allocation.id)
    elif allocation.state is AllocationState.CLAIMED and allocation.is_expired(snapshot.now):
        yield Action(ActionKind.RELEASE_HOLD, "it was not started in time", row.nonce, container.id, allocation.id)


def _loss_of_running(
    row: WantedContainer, container: ContainerSummary, allocation: Allocation, snapshot: Snapshot
) -> Iterable[Action]:
    """A running container keeps its grant: nobody else could have the device, and its programs are its owner's to end.

    If the device comes back before that, it holds it as before.
    """
    if snapshot.lost is None:
        return
    is_lost, is_told = allocation.id in snapshot.lost, allocation.id in snapshot.told_lost
    if is_lost and not is_told:
        yield Action(ActionKind.TELL_LOST, "its GPU is gone", row.nonce, container.id, allocation.id)
    elif is_told and not is_lost:
        yield Action(ActionKind.TELL_BACK, "its GPU is back", row.nonce, container.id, allocation.id)


def _orphans(snapshot: Snapshot, by_id: Mapping[str, ContainerSummary]) -> Iterable[Action]:
    """Grants without a row: nothing can ever use them."""
    known = {row.allocation_id for row in snapshot.wanted}
    for allocation in snapshot.allocations.values():
        if allocation.id not in known:
            yield Action(ActionKind.RELEASE_ORPHAN, "no container belongs to it", allocation_id=allocation.id)


def _strangers(snapshot: Snapshot) -> Iterable[Action]:
    nonces = {row.nonce for row in snapshot.wanted}
    ids = {row.engine_id for row in snapshot.wanted}
    for container in snapshot.containers:
        if snapshot.is_helper(container.name):
            if container.id not in ids and snapshot.now - container.created_at >= HELPER_AGE:
                yield Action(ActionKind.REMOVE_HELPER, "a crash left it behind", engine_id=container.id)
        elif (
            label.is_ours(container.labels)
            and container.id not in ids
            and container.labels.get(label.NONCE) not in nonces
        ):
            yield Action(ActionKind.ADOPT, "it was made by DS01 and has no row", engine_id=container.id)
