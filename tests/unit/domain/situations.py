"""Random situations of the scheduler that can really come about: what is held was granted by the planner itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import strategies as st

from ds01.domain.allocation import CLAIM_DEADLINE, Allocation, AllocationState
from ds01.domain.devices.gpu import Inventory, all_gpus, schedulable_gpus, weigh_devices
from ds01.domain.request import GpuRequest
from ds01.domain.rules.limit import LIMIT_NAMES, EffectiveLimits, Limits
from ds01.domain.scheduling.board import Board, board_of, format_slice
from ds01.domain.scheduling.occupancy import ForeignContainer
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.schedule import plan_pass
from ds01.domain.scheduling.situation import Grant, GroupRules, Person, Situation
from ds01.domain.scheduling.waiting import Waiting
from tests.unit.domain.machines import ALICE, BOB, CAROL, START, a30, a100, inventories, machine

USERS = (ALICE, BOB, CAROL)
GROUPS: Mapping[int, str] = {ALICE: "student", BOB: "student", CAROL: "researcher"}
KINDS = ("any", "full", "mig", "1g.5gb", "2g.10gb", "3g.20gb", "1g.6gb", "a100", "a30")
GIB = 1024**3
HOURS = st.integers(1, 12).map(lambda hours: timedelta(hours=hours))


def person(uid: int, *, containers: int = 0, **values: object) -> Person:
    """Return a user without quotas except for the named ones."""
    limits = Limits(**values)  # type: ignore[arg-type]  # names and types are the test's
    effective = EffectiveLimits(limits, dict.fromkeys(LIMIT_NAMES, "policy.yaml:3"), GROUPS.get(uid, "student"))
    return Person(uid, effective, containers)


def waits(id_: str, uid: int = ALICE, request: GpuRequest | None = None, **more: object) -> Waiting:
    """Return a request that waits."""
    values: dict[str, object] = {"priority": 1, "time_limit": None, "queued_at": START, **more}
    return Waiting(id_, uid, GROUPS[uid], f"c{id_}", request or GpuRequest(), **values)  # type: ignore[arg-type]  # as above


def allocation_of(grant: Grant, id_: str, now: datetime) -> Allocation:
    """Return the grant as the store keeps it: a claim."""
    waiting = grant.waiting
    positions = grant.positions
    return Allocation(
        id=id_,
        uid=waiting.uid,
        container_name=waiting.container_name,
        request=waiting.request,
        gpu_uuids=tuple(taken.position.gpu_uuid for taken in positions if taken.position.gpu_uuid),
        gpu_equivalents=grant.equivalents,
        state=AllocationState.CLAIMED,
        claimed_at=now,
        changed_at=now,
        deadline_at=now + CLAIM_DEADLINE,
        group=waiting.group,
        time_limit=waiting.time_limit,
        ends_at=now + waiting.time_limit if waiting.time_limit is not None else None,
        reservation=waiting.reservation,
        shares=max((taken.position.shares for taken in positions), default=1),
        slices=tuple(
            format_slice(taken.card_uuid, taken.position) for taken in positions if taken.position.gpu_uuid is None
        ),
    )


@st.composite
def requests(draw: st.DrawFn, board: Board) -> GpuRequest:
    """Return a request that the board can mostly serve, and sometimes not."""
    known = [position.profile for card in board.cards for position in card.positions if not card.unusable]
    kind = draw(st.sampled_from([*KINDS, *["any"] * 9, *known, *known, *known]))
    count = draw(st.sampled_from([1, 1, 1, 1, 2, 2, 3]))
    return GpuRequest(count, kind, draw(st.sampled_from([None] * 5 + [6 * GIB, 20 * GIB])))


@st.composite
def waitings(draw: st.DrawFn, board: Board, ids: Sequence[str], now: datetime) -> list[Waiting]:
    found = []
    for id_ in ids:
        uid = draw(st.sampled_from(USERS))
        found.append(
            waits(
                id_,
                uid,
                draw(requests(board)),
                priority=draw(st.sampled_from([1, 1, 10, 50])),
                time_limit=draw(st.none() | HOURS),
                queued_at=now - timedelta(minutes=draw(st.integers(0, 300))),
                is_exclusive=draw(st.sampled_from([False, False, True])),
                not_before=draw(st.sampled_from([None, None, None, now + timedelta(hours=1)])),
            )
        )
    return found


@st.composite
def quotas(draw: st.DrawFn) -> dict[int, Person]:
    return {
        uid: person(
            uid,
            containers=draw(st.integers(0, 2)),
            max_gpus=draw(st.sampled_from([None] * 6 + [0, 1, 2, 4])),
            max_gpu_equivalents=draw(st.sampled_from([None] * 6 + [0.0, 2 / 7, 1.0, 2.0])),
            max_containers=draw(st.sampled_from([None] * 4 + [2, 4])),
            max_gpus_per_container=draw(st.sampled_from([None] * 4 + [1, 2])),
            allow_full_gpu=draw(st.sampled_from([True] * 5 + [False])),
        )
        for uid in USERS
    }


@st.composite
def group_quotas(draw: st.DrawFn) -> dict[str, GroupRules]:
    gpus = st.sampled_from([None, None, None, 1, 2, 4])
    equivalents = st.sampled_from([None, None, None, 1.0, 3.0])
    return {
        name: GroupRules(draw(gpus), draw(equivalents)) for name in ("student", "researcher") if draw(st.booleans())
    }


@st.composite
def reservations(draw: st.DrawFn, now: datetime) -> tuple[Reservation, ...]:
    found = []
    for number in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        uid = draw(st.sampled_from([None, *USERS]))
        start = now + timedelta(hours=draw(st.integers(-3, 6)))
        found.append(
            Reservation(
                id=f"r{number}",
                name=f"exam{number}",
                uid=uid,
                group=None if uid is not None else draw(st.sampled_from(["student", "researcher"])),
                request=GpuRequest(draw(st.integers(1, 2)), draw(st.sampled_from(["any", "full", "mig", "1g.5gb"]))),
                start_at=start,
                end_at=start + draw(HOURS),
                reason="",
                created_by_uid=0,
                created_at=now - timedelta(days=1),
            )
        )
    return tuple(found)


@st.composite
def boards(draw: st.DrawFn) -> tuple[Inventory, Board]:
    cut = machine(a100(0, "1g.5gb", "1g.5gb", "2g.10gb"), a30(1))
    inventory = draw(st.just(machine(a100(0), a100(1), a100(2))) | st.just(cut) | inventories())
    drained = {}
    if draw(st.sampled_from([False, False, True])):
        drained = {draw(st.sampled_from([gpu.uuid for gpu in all_gpus(inventory)])): "a fan is broken"}
    return inventory, board_of(inventory, drained=drained, shares=draw(st.sampled_from([1, 1, 2, 3])))


@st.composite
def holding(draw: st.DrawFn, board: Board, now: datetime) -> tuple[Allocation, ...]:
    """What was granted before now, by the planner, to users without quotas."""
    before = now - timedelta(hours=2)
    asked = draw(waitings(board, [f"a{number}" for number in range(draw(st.integers(0, 8)))], before))
    asked = [replace(found, not_before=None) for found in asked]
    empty = Situation(before, board, waiting=tuple(asked), people={uid: person(uid) for uid in USERS})
    found = []
    for number, grant in enumerate(plan_pass(empty).grants):
        made = allocation_of(grant, f"a{number}", before)
        state = draw(st.sampled_from([AllocationState.ACTIVE, AllocationState.ACTIVE, AllocationState.HELD]))
        until = now + timedelta(minutes=10) if state is AllocationState.HELD else None
        made = replace(made, state=state, deadline_at=until)
        if made.ends_at is None or made.ends_at > now:
            found.append(made)
    return tuple(found)


@st.composite
def strangers(
    draw: st.DrawFn, inventory: Inventory, allocations: Sequence[Allocation], now: datetime
) -> tuple[ForeignContainer, ...]:
    """A container of others on a device that nobody holds."""
    parents = {gpu.uuid: gpu.parent_uuid for gpu in all_gpus(inventory)}
    held = {parents.get(uuid) for grant in allocations for uuid in grant.gpu_uuids}
    free = [gpu.uuid for gpu in schedulable_gpus(inventory) if gpu.parent_uuid not in held]
    if not free or draw(st.sampled_from([True, True, True, False])):
        return ()
    uuids = frozenset({draw(st.sampled_from(free))})
    uid = draw(st.sampled_from([None, *USERS]))
    return (ForeignContainer("stranger", uid, uuids, now, weight=weigh_devices(uuids, inventory)),)


@st.composite
def situations(draw: st.DrawFn, most: int = 4) -> Situation:
    """Return a situation in which up to `most` requests wait, some with a promise."""
    now = START
    inventory, board = draw(boards())
    allocations = draw(holding(board, now))
    foreign = draw(strangers(inventory, allocations, now))
    waiting = draw(waitings(board, [f"w{number}" for number in range(draw(st.integers(1, most)))], now))
    found = Situation(
        now,
        board,
        allocations=allocations,
        foreign=foreign,
        waiting=tuple(waiting),
        reservations=draw(reservations(now)),
        people=draw(quotas()),
        groups=draw(group_quotas()),
    )
    return promised(found) if draw(st.booleans()) else found


def promised(situation: Situation) -> Situation:
    """Return the situation after a pass: what it promises is promised; what it grants still waits to be granted."""
    promises = plan_pass(situation).promises
    kept = tuple(replace(found, promised_at=promises.get(found.id)) for found in situation.waiting)
    return replace(situation, waiting=kept)
