"""A new policy reaches the containers that exist."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ds01.domain.containers.container import ResourceLimits
from ds01.errors import BackendError
from tests.fakes import GIB
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, Stage, order


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.add_image()
    return stage


async def change_policy(stage: Stage, **values: object) -> bool:
    """Put another policy in force, as an edit does."""
    before = stage.policy
    stage.policy = replace(before, base=replace(before.base, **values))  # type: ignore[arg-type]  # names of limits
    return await stage.services.limit_refresh.apply(before)


def limits_by_name(stage: Stage) -> Mapping[str, ResourceLimits]:
    return {found.details.name: found.details.limits for found in stage.engine.containers.values()}


async def limited(stage: Stage) -> list[tuple[str, Mapping[str, object]]]:
    found = await stage.store.read(lambda transaction: transaction.list_events())
    return [(event.container or "", event.details) for event in found if event.name == "container.limited"]


async def test_what_can_be_changed_live_is_changed_and_recorded(stage: Stage) -> None:
    await stage.create("mine", count=0)
    await stage.create("theirs", caller=BOB_CALLER, count=0)
    had = limits_by_name(stage)["mine._.1001"]
    assert await change_policy(stage, max_cpus=1.0, memory=GIB, memory_swap=GIB, shm_size=GIB // 2)
    for name in ("mine._.1001", "theirs._.1002"):
        now = limits_by_name(stage)[name]
        assert (now.nano_cpus, now.memory_bytes, now.memory_swap_bytes) == (10**9, GIB, GIB)
        assert (now.pids_limit, now.shm_size_bytes) == (had.pids_limit, had.shm_size_bytes)
    said = {"cpus": "1", "memory": "1G", "memory_swap": "1G", "later": ["shm_size"], "reason": "the policy changed"}
    assert await limited(stage) == [("mine", said), ("theirs", said)]


async def test_what_the_owner_asked_for_stays_and_the_second_time_changes_nothing(stage: Stage) -> None:
    modest = replace(order(count=0), wishes={"max_cpus": 0.5})
    await stage.services.creation.create(ALICE_CALLER, modest, stage.notify)
    before = stage.policy
    assert await change_policy(stage, max_cpus=1.0)
    assert limits_by_name(stage)["demo._.1001"].nano_cpus == 5 * 10**8
    assert await limited(stage) == []
    assert await stage.services.limit_refresh.apply(before)
    assert await limited(stage) == []


async def test_a_container_of_others_is_left_alone(stage: Stage) -> None:
    stage.engine.add_container(docker_made("old._.1001"))
    had = limits_by_name(stage)["old._.1001"]
    assert await change_policy(stage, max_cpus=1.0)
    assert limits_by_name(stage)["old._.1001"] == had


async def test_one_that_the_engine_refuses_does_not_keep_the_others_from_it(stage: Stage) -> None:
    await stage.create("first", count=0)
    await stage.create("second", count=0)
    stage.engine.fail_next("update_container", BackendError("The container uses more than that."))
    assert await change_policy(stage, max_cpus=1.0)
    found = limits_by_name(stage)
    assert sorted(limits.nano_cpus == 10**9 for limits in found.values()) == [False, True]


async def test_while_the_engine_is_silent_or_somebody_works_on_it_it_is_asked_for_again(stage: Stage) -> None:
    await stage.create("mine", count=0)
    before = stage.policy
    stage.services.limits.forget_engine()
    stage.engine.unreachable = BackendError("The engine is down.")
    assert not await change_policy(stage, max_cpus=1.0)
    stage.engine.unreachable = None
    async with stage.services._presence.working_on(1001, "mine"):
        assert not await stage.services.limit_refresh.apply(before)
    assert await stage.services.limit_refresh.apply(before)
    assert limits_by_name(stage)["mine._.1001"].nano_cpus == 10**9
