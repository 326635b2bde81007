"""A start after the hold is a request like any other: quotas of groups count, and who waited for it waits no more."""

from dataclasses import replace

from ds01.domain.rules.policy import LimitLayer, PolicyGroup
from ds01.errors import NoCapacityError, QuotaExceededError
from tests.unit.service.queueing import QueueStage
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, run_to_failure


async def stopped(name: str, stage: QueueStage) -> None:
    await stage.create(name)
    await stage.start(name)
    await stage.stop(name)


async def test_a_start_after_the_hold_counts_what_the_whole_group_has() -> None:
    stage = QueueStage.with_gpus(2)
    await stage.create("theirs", caller=BOB_CALLER)
    await stopped("mine", stage)
    stage.policy = replace(stage.policy, groups=(PolicyGroup("student", quota=LimitLayer({"gpus": 1})),))
    assert isinstance(await run_to_failure(stage.start("mine")), QuotaExceededError)
    await stage.remove("theirs", caller=BOB_CALLER)
    await stage.start("mine")


async def test_who_starts_a_container_by_hand_waits_for_it_no_more() -> None:
    stage = QueueStage.with_gpus(1)
    await stopped("mine", stage)
    await stage.create("theirs", caller=BOB_CALLER)
    assert isinstance(await run_to_failure(stage.start("mine")), NoCapacityError)
    await stage.services.queue.enqueue_start(ALICE_CALLER, 1001, "mine")
    await stage.remove("theirs", caller=BOB_CALLER)
    await stage.start("mine")
    assert await stage.entries() == {"mine": "done"}
    await stage.stop("mine")
    await stage.serve()
    assert await stage.held() == {}, "a request that nobody made any more was served"
