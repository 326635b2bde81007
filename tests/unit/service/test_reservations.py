"""Windows in which GPUs are kept: who may make them, what stands in their way, and that they are kept."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain.request import GpuRequest
from ds01.domain.rules.policy import UserOverride
from ds01.domain.rules.site import Reservation as PolicyReservation
from ds01.domain.scheduling.reservation import Reservation, ReservationState
from ds01.errors import (
    ConflictError,
    Ds01Error,
    ForbiddenError,
    InvalidRequestError,
    NoCapacityError,
    NotFoundError,
    QuotaExceededError,
)
from ds01.service.reservations import ReservationOrder
from tests.unit.service.queueing import HOURS, LIMITS, QueueStage
from tests.unit.service.stage import ADMIN_CALLER, ALICE_CALLER, BOB_CALLER, order, run_to_failure

MINUTE = timedelta(minutes=1)


def wish(
    stage: QueueStage, start: float = 2, end: float = 4, *, count: int = 1, kind: str = "full", **changes: object
) -> ReservationOrder:
    """A window in hours from now."""
    now = stage.clock.now()
    wanted = ReservationOrder(GpuRequest(count, kind), now + start * HOURS, now + end * HOURS, name="demo")
    return replace(wanted, **changes)  # type: ignore[arg-type]  # names of fields


async def reserve(stage: QueueStage, *arguments: float, **changes: object) -> Reservation:
    wanted = wish(stage, *arguments, **changes)  # type: ignore[arg-type]  # names of fields
    return (await stage.services.reservations.create(ALICE_CALLER, wanted)).reservation


async def create(
    stage: QueueStage, name: str, hours: float | None, *, reservation: str | None = None
) -> Ds01Error | None:
    """Bob creates and starts a container with a time limit; with a reservation alice does."""
    caller = ALICE_CALLER if reservation else BOB_CALLER
    limit = hours * HOURS if hours is not None else None
    wanted = replace(order(name), time_limit=limit, reservation=reservation)
    failure = await run_to_failure(stage.services.creation.create(caller, wanted, stage.notify))
    if failure is None:
        await stage.start(name, caller=caller)
    assert failure is None or isinstance(failure, Ds01Error), repr(failure)
    return failure


async def pass_time(stage: QueueStage, hours: float) -> None:
    stage.clock.advance(hours * HOURS)
    await stage.services.deadlines.run()
    await stage.services.deadlines.wait()
    await stage.serve()


async def test_only_what_ends_in_time_is_placed_on_a_reserved_gpu() -> None:
    stage = QueueStage.with_gpus(1)
    await reserve(stage)
    assert isinstance(await create(stage, "endless", None), NoCapacityError)
    assert isinstance(await create(stage, "long", 3), NoCapacityError)
    assert await create(stage, "short", 1) is None


async def test_a_reserved_gpu_is_free_at_its_minute_although_others_kept_the_machine_full() -> None:
    stage = QueueStage.with_gpus(1, replace(LIMITS, max_containers=None))
    await reserve(stage)
    for number in range(4):
        await stage.services.queue.enqueue_creation(BOB_CALLER, replace(order(f"b{number}"), time_limit=0.8 * HOURS))
    for _ in range(12):
        await stage.services.starter.wait()
        await pass_time(stage, 1 / 6)
    assert await stage.held() == {}
    assert await create(stage, "mine", None, reservation="demo") is None
    assert await stage.held() == {"GPU-0": "mine"}
    [grant] = await stage.store.read(lambda t: t.list_allocations())
    assert grant.ends_at == stage.clock.now() + 2 * HOURS, "a grant inside ends with the window"
    assert [entry for entry, state in (await stage.entries()).items() if state == "waiting"] != []


async def test_the_only_active_reservation_that_fits_is_used_by_itself() -> None:
    stage = QueueStage.with_gpus(1)
    made = await reserve(stage)
    await pass_time(stage, 2)
    await stage.create("mine")
    [grant] = await stage.store.read(lambda t: t.list_allocations())
    assert grant.reservation == made.id
    assert await stage.services.reservations.containers_in() == {made.id: ["mine"]}


async def test_a_request_waits_for_the_begin_of_its_reservation() -> None:
    stage = QueueStage.with_gpus(1)
    await reserve(stage)
    await create(stage, "short", 1)
    await stage.enqueue("mine", reservation="demo")
    await stage.serve()
    assert (await stage.entries())["mine"] == "waiting"
    await pass_time(stage, 2)
    await stage.services.starter.wait()
    assert (await stage.entries())["mine"] == "done"
    await stage.start("mine")
    await pass_time(stage, 2)
    assert await stage.held() == {}, "it ends with the window"


async def test_a_reservation_that_nobody_uses_is_released() -> None:
    stage = QueueStage.with_gpus(1)
    await reserve(stage)
    await pass_time(stage, 2)
    assert isinstance(await create(stage, "endless", None), NoCapacityError)
    await pass_time(stage, 0.5)
    assert await create(stage, "endless", None) is None
    found = await stage.services.reservations.get("demo")
    assert found.state is ReservationState.NO_SHOW
    assert (await stage.events()).count("reservation.no_show") == 1


async def test_one_that_was_used_stays_until_its_end() -> None:
    stage = QueueStage.with_gpus(1)
    await reserve(stage)
    await pass_time(stage, 2)
    await create(stage, "mine", None, reservation="demo")
    await stage.remove("mine", force=True)
    await pass_time(stage, 1)
    assert (await stage.services.reservations.get("demo")).state is ReservationState.ACTIVE
    assert isinstance(await create(stage, "endless", None), NoCapacityError)
    await pass_time(stage, 1)
    assert (await stage.services.reservations.get("demo")).state is ReservationState.ENDED
    assert {"reservation.created", "reservation.started", "reservation.ended"} <= set(await stage.events())


async def test_what_stands_in_the_way_is_listed() -> None:
    stage = QueueStage.with_gpus(1)
    await create(stage, "endless", None)
    with pytest.raises(ConflictError, match="endless") as caught:
        await reserve(stage)
    conflicts = caught.value.details["conflicts"]
    assert isinstance(conflicts, list)
    assert [(item["what"], item["gpu"], item["end_at"]) for item in conflicts] == [("grant", "GPU-0", None)]
    await stage.remove("endless", caller=BOB_CALLER, force=True)
    await reserve(stage)
    with pytest.raises(ConflictError, match="demo"):
        await reserve(stage, 3, 5, name="other")
    await reserve(stage, 4, 5, name="other")
    with pytest.raises(ConflictError, match="already"):
        await reserve(stage, 6, 7)


async def test_a_promise_stands_in_a_users_way_and_gives_way_to_an_administrator() -> None:
    stage = QueueStage.with_gpus(1)
    await create(stage, "timed", 1)
    entry = await stage.enqueue("next", hours=4)
    assert entry.waiting.promised_at is not None
    with pytest.raises(ConflictError, match="promise"):
        await stage.services.reservations.create(BOB_CALLER, wish(stage))
    dry = await stage.services.reservations.create(ADMIN_CALLER, wish(stage), dry_run=True)
    assert [found.waiting.id for found in dry.promises] == [entry.id]
    assert await stage.services.reservations.list_() == []
    assert (await stage.entry("next")).waiting.promised_at == entry.waiting.promised_at
    made = await stage.services.reservations.create(ADMIN_CALLER, wish(stage))
    assert [found.promised_at for found in made.promises] == [entry.waiting.promised_at]
    assert "promise.broken" in await stage.events()


async def test_users_reserve_for_themselves_within_their_allowance() -> None:
    stage = QueueStage.with_gpus(4, replace(LIMITS, max_gpus=2, max_gpu_equivalents=2.0))
    with pytest.raises(ForbiddenError):
        await reserve(stage, uid=1002)
    with pytest.raises(ForbiddenError):
        await reserve(stage, group="student")
    with pytest.raises(QuotaExceededError):
        await reserve(stage, count=3)
    await reserve(stage, count=2)
    with pytest.raises(QuotaExceededError, match="4"):
        await reserve(stage, 3, 5, count=2, name="more")
    await reserve(stage, 4, 5, count=2, name="later")
    made = await stage.services.reservations.create(
        ADMIN_CALLER, wish(stage, 2, 3, count=2, name="class", group="student")
    )
    assert made.reservation.group == "student"


@pytest.mark.parametrize(
    ("start", "end", "changes", "error"),
    [
        (4, 2, {}, InvalidRequestError),
        (2, 2, {}, InvalidRequestError),
        (-3, 2, {}, InvalidRequestError),
        (1, 24 * 400, {}, InvalidRequestError),
        (2, 4, {"count": 9}, InvalidRequestError),
        (2, 4, {"count": 0}, InvalidRequestError),
        (2, 4, {"kind": "h100"}, InvalidRequestError),
        (2, 4, {"kind": "1g.5gb"}, InvalidRequestError),
        (2, 4, {"name": "Not a name"}, InvalidRequestError),
        (2, 4, {"name": "policy-uid3"}, InvalidRequestError),
        (2, 4, {"group": "nobody", "uid": 1001}, InvalidRequestError),
    ],
)
async def test_bad_windows_are_refused_and_nothing_is_changed(
    start: float, end: float, changes: dict[str, object], error: type[Ds01Error]
) -> None:
    stage = QueueStage.with_gpus(2)
    with pytest.raises(error):
        await reserve(stage, start, end, **changes)
    assert await stage.services.reservations.list_(with_over=True) == []


async def test_a_reservation_is_cancelled_by_its_owner_or_an_administrator() -> None:
    stage = QueueStage.with_gpus(1)
    await reserve(stage)
    with pytest.raises(ForbiddenError):
        await stage.services.reservations.cancel(BOB_CALLER, "demo")
    with pytest.raises(NotFoundError):
        await stage.services.reservations.cancel(ALICE_CALLER, "none")
    await stage.services.reservations.cancel(ADMIN_CALLER, "demo")
    with pytest.raises(ConflictError):
        await stage.services.reservations.cancel(ALICE_CALLER, "demo")
    assert await create(stage, "endless", None) is None
    await stage.remove("endless", caller=BOB_CALLER, force=True)
    await reserve(stage)  # the name is free again


async def test_the_policys_reservations_are_kept_and_read_only() -> None:
    stage = QueueStage.with_gpus(1)
    now = stage.clock.now()
    window = PolicyReservation(1, now + 2 * HOURS, now + 4 * HOURS, "full", "a course")
    stage.policy = replace(stage.policy, overrides={"uid:1001": UserOverride(reservation=window)})
    [found] = await stage.services.reservations.list_()
    assert (found.name, found.uid, found.reason) == ("policy-uid1001", 1001, "a course")
    assert isinstance(await create(stage, "endless", None), NoCapacityError)
    with pytest.raises(ForbiddenError, match="policy file"):
        await stage.services.reservations.cancel(ADMIN_CALLER, found.name)
    await pass_time(stage, 2)
    await pass_time(stage, 0.5)
    assert await stage.services.reservations.list_() == []
    assert await create(stage, "endless", None) is None


async def test_the_timeline_shows_what_is_taken_until_when() -> None:
    stage = QueueStage.with_gpus(2)
    await create(stage, "timed", 1)
    await create(stage, "endless", None)
    await stage.enqueue("next", hours=1)
    await reserve(stage, 3, 5)
    line = await stage.services.reservations.timeline(length=24 * HOURS)
    now = stage.clock.now()
    found = {(span.what, span.gpu_uuid): (span.name, span.end_at) for span in line.spans if span.what != "promise"}
    assert found == {
        ("grant", "GPU-0"): ("timed", now + HOURS),
        ("grant", "GPU-1"): ("endless", None),
        ("reservation", None): ("demo", now + 5 * HOURS),
    }
    assert [span.name for span in line.spans if span.what == "promise"] == [(await stage.entry("next")).id]
    assert (await stage.services.reservations.timeline(now + 6 * HOURS, HOURS)).spans[0].name == "endless"
    with pytest.raises(InvalidRequestError):
        await stage.services.reservations.timeline(length=timedelta(0))
