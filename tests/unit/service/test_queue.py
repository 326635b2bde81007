"""Requests that wait: their durable place, their promise, their grant, and what becomes of them."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain.scheduling.queue import KEPT_AFTER_END, QueueState
from ds01.domain.scheduling.queue_move import Place
from ds01.errors import (
    BackendError,
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NoCapacityError,
    NotFoundError,
    QuotaExceededError,
)
from ds01.service.order import CreateOrder
from tests.fakes import DEFAULT_LIMITS
from tests.unit.service.queueing import LIMITS, QueueStage
from tests.unit.service.stage import ADMIN_CALLER, ALICE_CALLER, BOB_CALLER, order, run_to_failure, until


@pytest.fixture
async def stage() -> QueueStage:
    """One GPU, and bob has it."""
    stage = QueueStage.with_gpus(1)
    await stage.create("first", caller=BOB_CALLER)
    await stage.start("first", caller=BOB_CALLER)
    stage.messages.clear()
    return stage


async def test_what_fits_now_is_granted_and_made_although_it_was_asked_to_wait() -> None:
    stage = QueueStage.with_gpus(1)
    entry = await stage.enqueue()
    assert entry.state is QueueState.GRANTED
    await stage.services.starter.wait()
    assert await stage.entries() == {"waiting": "done"}
    assert stage.names() == ["waiting"]
    assert await stage.states() == {"waiting": "active"}
    assert (await stage.events())[:3] == ["request.queued", "allocation.claimed", "request.granted"]


async def test_a_request_waits_behind_a_full_machine_and_is_made_when_it_is_free(stage: QueueStage) -> None:
    entry = await stage.enqueue()
    assert entry.state is QueueState.WAITING
    await stage.serve()
    assert await stage.entries() == {"waiting": "waiting"}
    assert stage.names() == ["first"]
    await stage.stop("first", caller=BOB_CALLER)
    await stage.serve()
    assert await stage.entries() == {"waiting": "done"}
    assert stage.names() == ["first", "waiting"]
    assert await stage.held() == {"GPU-0": "waiting"}


async def test_the_container_is_made_as_its_owner_with_the_whole_order(stage: QueueStage) -> None:
    wanted = replace(order("waiting"), environment={"A": "b"}, workspace="/home/alice/here", wishes={"max_cpus": 2})
    await stage.services.queue.enqueue_creation(ALICE_CALLER, wanted)
    await stage.stop("first", caller=BOB_CALLER)
    await stage.serve()
    [details] = [found.details for found in stage.engine.containers.values() if "waiting" in found.details.name]
    assert details.name == "waiting._.1001"
    assert details.environment["A"] == "b"
    assert details.limits.nano_cpus == 2_000_000_000
    assert stage.directories.owners["/home/alice/here"] == 1001


async def test_an_order_survives_its_text() -> None:
    wanted = replace(
        order("a", count=2, kind="full"),
        time_limit=timedelta(hours=8),
        not_before=QueueStage().clock.now(),
        environment={"A": "ü"},
        reservation="demo",
        is_exclusive=True,
        wishes={"memory": 5, "max_cpus": None},
    )
    assert CreateOrder.from_text(wanted.to_text()) == wanted
    for text in ("", "[]", "{}", '{"name": "a"}', '{"name": "a", "image": {"x": 1}, "request": {}}'):
        with pytest.raises(InvalidRequestError):
            CreateOrder.from_text(text)


async def test_a_follower_hears_its_place_its_grant_and_the_outcome(stage: QueueStage) -> None:
    await stage.enqueue("ahead", hours=1)
    stage.clock.advance(timedelta(seconds=1))
    entry = await stage.enqueue()
    following = asyncio.create_task(stage.services.queue.follow(entry.id, stage.notify))
    await until(lambda: stage.messages)
    assert stage.messages[0]["kind"] == "waiting"
    assert stage.messages[0]["place"] == 2
    assert stage.messages[0]["of"] == 2
    assert stage.messages[0]["promised_at"] is None
    assert stage.messages[0]["estimated_at"] is not None
    await stage.services.queue.cancel(ALICE_CALLER, "ahead")
    stage.services.starter.progress.ring_all()
    await until(lambda: stage.messages[-1]["place"] == 1)
    await stage.stop("first", caller=BOB_CALLER)
    await stage.serve()
    ended = await following
    assert ended.entry.state is QueueState.DONE
    assert ended.creation is not None
    assert ended.creation.details is not None
    assert {"granted", "step"} <= {message["kind"] for message in stage.messages}


async def test_a_client_that_leaves_keeps_its_place(stage: QueueStage) -> None:
    entry = await stage.enqueue()
    following = asyncio.create_task(stage.services.queue.follow(entry.id, stage.notify))
    await until(lambda: stage.messages)
    following.cancel()
    await asyncio.wait({following})
    assert following.cancelled()
    assert await stage.entries() == {"waiting": "waiting"}
    await stage.stop("first", caller=BOB_CALLER)
    await stage.serve()
    assert stage.names() == ["first", "waiting"]
    again = await stage.services.queue.follow(entry.id, stage.notify)
    assert again.entry.state is QueueState.DONE


async def test_a_request_that_was_told_to_give_up_leaves_the_queue(stage: QueueStage) -> None:
    entry = await stage.enqueue(gives_up_after=timedelta(minutes=30))
    served = await stage.services.scheduling.run_pass()
    assert served.wake_at == entry.waiting.gives_up_at
    stage.clock.advance(timedelta(minutes=30))
    await stage.stop("first", caller=BOB_CALLER)
    await stage.serve()
    assert await stage.entries() == {"waiting": "expired"}
    assert stage.names() == ["first"]
    ended = await stage.services.queue.follow(entry.id, stage.notify)
    assert ended.entry.state is QueueState.EXPIRED


async def test_a_direct_creation_does_not_jump_the_queue(stage: QueueStage) -> None:
    await stage.enqueue()
    stage.clock.advance(timedelta(seconds=1))
    await stage.stop("first", caller=BOB_CALLER)
    failure = await run_to_failure(stage.create("direct", caller=BOB_CALLER))
    assert isinstance(failure, NoCapacityError)
    await stage.serve()
    assert await stage.held() == {"GPU-0": "waiting"}


async def test_a_start_does_not_jump_the_queue_and_may_wait_for_its_own_devices(stage: QueueStage) -> None:
    await stage.enqueue(hours=1)
    stage.clock.advance(timedelta(seconds=1))
    await stage.stop("first", caller=BOB_CALLER)
    assert isinstance(await run_to_failure(stage.start("first", caller=BOB_CALLER)), NoCapacityError)
    entry = await stage.services.queue.enqueue_start(BOB_CALLER, 1002, "first")
    await stage.services.starter.wait()
    assert entry.waiting.gpu_uuids == ("GPU-0",)
    assert await stage.entries() == {"waiting": "done", "first": "waiting"}
    await stage.remove("waiting")
    await stage.serve()
    assert await stage.entries() == {"waiting": "done", "first": "done"}
    assert await stage.held() == {"GPU-0": "first"}
    assert await stage.states() == {"first": "active"}
    [running] = [found.details for found in stage.engine.containers.values()]
    assert running.state.has_processes


async def test_the_start_of_a_container_that_is_removed_meanwhile_ends(stage: QueueStage) -> None:
    await stage.create("none", caller=BOB_CALLER, count=0)
    await stage.stop("first", caller=BOB_CALLER)
    await stage.create("second")
    await stage.services.queue.enqueue_start(BOB_CALLER, 1002, "first")
    await stage.remove("first", caller=BOB_CALLER)
    await stage.remove("second")
    await stage.serve()
    assert await stage.entries() == {"first": "failed"}
    assert "gone" in (await stage.entry("first")).reason
    assert await stage.held() == {}


async def test_only_what_can_come_true_is_queued(stage: QueueStage) -> None:
    for wanted, error in (
        (order("a", count=2), InvalidRequestError),
        (order("a", kind="h100"), InvalidRequestError),
        (order("first"), None),
        (replace(order("b"), time_limit=timedelta(seconds=1)), InvalidRequestError),
        (replace(order("b"), reservation="none"), NotFoundError),
        (replace(order("b", image="registry.example/none"), time_limit=None), None),
    ):
        failure = await run_to_failure(stage.services.queue.enqueue_creation(ALICE_CALLER, wanted))
        if error is not None:
            assert isinstance(failure, error), (wanted, failure)
    with pytest.raises(ConflictError, match="first"):
        await stage.services.queue.enqueue_creation(BOB_CALLER, order("first"))
    with pytest.raises(ConflictError, match="waits already"):
        await stage.enqueue("first")
    with pytest.raises(ConflictError, match="waits already"):
        await stage.create("first")
    with pytest.raises(InvalidRequestError):
        await stage.enqueue("c", gives_up_after=timedelta(0))


async def test_a_time_limit_over_the_policys_is_refused_with_both_figures() -> None:
    stage = QueueStage.with_gpus(1, replace(LIMITS, time_limit=timedelta(hours=4)))
    with pytest.raises(QuotaExceededError, match=r"8h.*4h"):
        await stage.enqueue(hours=8)
    entry = await stage.enqueue()
    assert entry.waiting.time_limit == timedelta(hours=4)
    await stage.services.starter.wait()
    [grant] = await stage.store.read(lambda t: t.list_allocations())
    assert grant.ends_at == grant.claimed_at + timedelta(hours=4)


async def test_requests_count_toward_the_number_of_containers() -> None:
    stage = QueueStage.with_gpus(1, replace(DEFAULT_LIMITS, max_containers=2))
    await stage.create("a")
    await stage.enqueue("b")
    with pytest.raises(QuotaExceededError):
        await stage.enqueue("c")
    with pytest.raises(QuotaExceededError):
        await stage.create("c", count=0)


async def test_who_is_over_the_quota_only_now_may_wait() -> None:
    stage = QueueStage.with_gpus(2, replace(LIMITS, max_gpus=1))
    await stage.create("a")
    assert (await stage.enqueue("b")).state is QueueState.WAITING
    await stage.remove("a")
    await stage.serve()
    assert await stage.entries() == {"b": "done"}


async def test_a_request_is_found_by_id_by_its_beginning_and_by_name(stage: QueueStage) -> None:
    entry = await stage.enqueue()
    queue = stage.services.queue
    for text, uid in ((entry.id, None), (entry.id[:6], None), ("waiting", 1001), (entry.id, 1001)):
        found = await queue.find(text, uid=uid)
        assert found is not None
        assert found.entry.id == entry.id
        assert found.estimate is not None
    for text, uid in ((entry.id, 1002), ("waiting", 1002), ("waiting", None), (entry.id[:2], None)):
        assert await queue.find(text, uid=uid) is None


async def test_a_request_is_cancelled_by_its_owner_or_an_administrator_only(stage: QueueStage) -> None:
    entry = await stage.enqueue()
    with pytest.raises(NotFoundError):
        await stage.services.queue.cancel(BOB_CALLER, entry.id)
    await stage.services.queue.cancel(ADMIN_CALLER, entry.id)
    assert await stage.entries() == {"waiting": "cancelled"}
    with pytest.raises(ConflictError):
        await stage.services.queue.cancel(ALICE_CALLER, entry.id)
    with pytest.raises(NotFoundError):
        await stage.services.queue.cancel(ALICE_CALLER, "waiting")
    assert "request.cancelled" in await stage.events()


async def test_a_creation_that_is_under_way_is_broken_off_and_undone_when_it_is_cancelled() -> None:
    stage = QueueStage.with_gpus(1)
    gate = stage.engine.hold("put_files")
    before = await stage.picture()
    entry = await stage.enqueue()
    await until(lambda: stage.engine.calls["put_files"] >= 1)
    cancelling = asyncio.create_task(stage.services.queue.cancel(ALICE_CALLER, entry.id))
    await until(lambda: stage.services.starter.under_way == 0)
    gate.set()
    await cancelling
    assert await stage.picture() == before
    assert await stage.entries() == {"waiting": "cancelled"}


async def test_an_order_that_cannot_be_carried_out_fails_with_the_reason_and_is_undone(stage: QueueStage) -> None:
    stage.directories.owners["/data/bob"] = 1001  # whoever asks for a folder that they may not enter does not wait
    wanted = replace(order("waiting"), data="/data/bob")
    entry = await stage.services.queue.enqueue_creation(ALICE_CALLER, wanted)
    stage.directories.owners["/data/bob"] = 1002
    await stage.stop("first", caller=BOB_CALLER)
    before = await stage.picture()
    await stage.serve()
    assert await stage.picture() == before
    found = await stage.entry()
    assert (found.state, found.id) == (QueueState.FAILED, entry.id)
    assert "may not enter" in found.reason
    assert "request.failed" in await stage.events()
    [item] = await stage.services.queue.list_(with_ended=True)
    assert item.entry.state is QueueState.FAILED
    stage.clock.advance(KEPT_AFTER_END + timedelta(seconds=1))
    assert await stage.services.queue.list_(with_ended=True) == []
    await stage.enqueue("another")
    assert await stage.store.read(lambda t: t.find_waiting(entry.id)) is None, "the store does not keep it for ever"


async def test_a_part_of_the_system_that_fails_is_tried_again_a_few_times(stage: QueueStage) -> None:
    await stage.enqueue()
    await stage.stop("first", caller=BOB_CALLER)
    for _ in range(2):
        stage.engine.fail_next("create_container", BackendError("The engine is busy."))
        await stage.serve()
        entry = await stage.entry()
        assert entry.state is QueueState.WAITING
        assert entry.reason == "The engine is busy."
        assert entry.waiting.not_before is not None
        await stage.serve()
        assert (await stage.entry()).attempts == entry.attempts, "it backs off"
        stage.clock.advance(timedelta(minutes=1))
    stage.engine.fail_next("create_container", BackendError("The engine is busy."))
    await stage.serve()
    assert await stage.entries() == {"waiting": "failed"}
    assert await stage.held() == {}


async def test_unknown_devices_grant_nothing_and_the_place_is_kept(stage: QueueStage) -> None:
    await stage.enqueue()
    await stage.stop("first", caller=BOB_CALLER)
    stage.devices.failure = BackendError("NVML does not answer.")
    assert isinstance(await run_to_failure(stage.serve()), BackendError)
    [item] = await stage.services.queue.list_()
    assert (item.entry.state, item.estimate) == (QueueState.WAITING, None)
    stage.devices.failure = None
    await stage.serve()
    assert await stage.entries() == {"waiting": "done"}


async def test_a_promise_is_durable_and_is_said(stage: QueueStage) -> None:
    await stage.remove("first", caller=BOB_CALLER, force=True)
    await stage.services.queue.enqueue_creation(BOB_CALLER, replace(order("timed"), time_limit=timedelta(hours=2)))
    await stage.services.starter.wait()
    entry = await stage.enqueue(hours=1)
    assert entry.waiting.promised_at is not None
    assert timedelta(hours=2) <= entry.waiting.promised_at - stage.clock.now() <= timedelta(hours=2, minutes=5)
    assert "request.promised" in await stage.events()
    await stage.restart()
    stage.clock.advance(timedelta(minutes=10))
    await stage.serve()
    again = await stage.entry()
    assert again.waiting.promised_at is not None
    assert again.waiting.promised_at <= entry.waiting.promised_at


async def test_an_administrator_moves_a_request_and_the_promises_behind_it_end(stage: QueueStage) -> None:
    await stage.remove("first", caller=BOB_CALLER, force=True)
    await stage.enqueue("timed", hours=2)
    await stage.services.starter.wait()
    first = await stage.enqueue("a", hours=1)
    second = await stage.services.queue.enqueue_creation(BOB_CALLER, replace(order("b"), time_limit=timedelta(hours=1)))
    assert first.waiting.promised_at is not None
    assert second.waiting.promised_at is None
    with pytest.raises(ForbiddenError):
        await stage.services.queue.move(ALICE_CALLER, second.id, Place.FIRST)
    moved = await stage.services.queue.move(ADMIN_CALLER, second.id, Place.FIRST, reason="a deadline")
    assert moved.item.entry.waiting.promised_at is not None
    assert [(found.waiting.id, found.promised_at) for found in moved.promises] == [
        (first.id, first.waiting.promised_at)
    ]
    assert [item.entry.id for item in await stage.services.queue.list_()] == [second.id, first.id]
    assert {"promise.broken", "request.moved"} <= set(await stage.events())
    await stage.remove("timed", force=True)
    await stage.serve()
    assert (await stage.entries())["b"] == "done"
    assert (await stage.entries())["a"] == "waiting"
    with pytest.raises(InvalidRequestError):
        await stage.services.queue.move(ADMIN_CALLER, first.id, Place.BEFORE, before="nothing")


async def test_use_counts_for_the_order(stage: QueueStage) -> None:
    """Bob has used the GPU for days, so alice comes first although she asked later."""
    stage.clock.advance(timedelta(days=3))
    await stage.services.queue.enqueue_creation(BOB_CALLER, order("bobs"))
    stage.clock.advance(timedelta(minutes=5))
    await stage.enqueue("alices")
    await stage.remove("first", caller=BOB_CALLER, force=True)
    [used] = await stage.store.read(lambda t: t.list_consumption())
    assert (used.uid, used.group) == (1002, "student")
    assert 0.8 * 3 * 86400 < used.used_s < 3 * 86400 + 600
    await stage.serve()
    assert await stage.entries() == {"alices": "done", "bobs": "waiting"}
