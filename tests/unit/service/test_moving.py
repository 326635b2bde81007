"""`start --move`: the same container with other devices. It fails, is broken off or dies at every step."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain import label
from ds01.domain.containers.container import ContainerState
from ds01.domain.images.image import is_private_tag
from ds01.domain.rules.policy import Policy
from ds01.errors import BackendError, ConflictError, Ds01Error, NoCapacityError, NotFoundError
from ds01.service.helper_container import is_helper_name
from ds01.service.move_repair import list_moves
from ds01.service.moving import Moved
from tests.fake_engine.state import FakeContainer
from tests.fake_store import MemoryStore
from tests.fakes import DEFAULT_LIMITS
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import (
    ALICE_CALLER,
    BOB_CALLER,
    IMAGE,
    ProcessDeathError,
    Stage,
    fail_once,
    only_own_errors,
    run_to_failure,
)

LIMITS = replace(DEFAULT_LIMITS, gpu_hold_after_stop=timedelta(0), time_limit=timedelta(hours=8))


async def taken() -> Stage:
    """Alice's stopped `demo` was made with a MIG instance that bob has now."""
    stage = Stage(LIMITS)
    stage.add_image()
    container = await stage.create(kind="1g.5gb")
    stage.engine.containers[container].tree.put("/opt/installed", b"a package")
    await stage.start()
    await stage.stop()
    [mine] = stage.engine.containers[container].details.attachment.requests[0].device_ids
    for index in range(9):
        if mine in await stage.held():
            break
        await stage.create(f"theirs{index}", caller=BOB_CALLER, kind="1g.5gb")
    assert mine in await stage.held(), "nobody has taken the device"
    return stage


async def move(stage: Stage) -> Moved:
    return await stage.services.moving.move(ALICE_CALLER, 1001, "demo", stage.notify)


async def moves(stage: Stage) -> int:
    return len(await MemoryStore.read(stage.store, list_moves))


async def private_tags(stage: Stage) -> list[str]:
    found = [tag for image in stage.engine.images.values() for tag in image.details.tags if is_private_tag(tag)]
    return sorted(tag for tag in found if tag.endswith(":demo._.1001"))


async def test_it_goes_on_with_another_device_and_everything_else_is_as_it_was() -> None:
    stage = await taken()
    before = await stage.services.containers.get_details(1001, "demo")
    failure = await run_to_failure(stage.start())
    assert isinstance(failure, NoCapacityError)
    planned = await stage.services.moving.plan(ALICE_CALLER, 1001, "demo")
    assert planned.size_bytes > 0
    assert planned.expected > timedelta(0)
    moved = await move(stage)
    after = await stage.services.containers.get_details(1001, "demo")
    assert after.state is ContainerState.RUNNING
    assert after.id == moved.details.id != before.id
    assert moved.gpu_uuids == planned.gpu_uuids
    assert after.attachment.requests[0].device_ids == moved.gpu_uuids != before.attachment.requests[0].device_ids
    assert (after.mounts, after.limits, after.user, after.entrypoint, after.fixed) == (
        before.mounts,
        before.limits,
        before.user,
        before.entrypoint,
        before.fixed,
    )
    changed = {key for key in after.labels if after.labels[key] != before.labels.get(key)}
    assert changed <= {label.ALLOCATION, label.GPU_UUIDS, label.SEAL, label.CREATED}
    assert after.labels[label.GPU_UUIDS] == ";".join(moved.gpu_uuids)
    ours = {**before.environment, "NVIDIA_VISIBLE_DEVICES": ",".join(moved.gpu_uuids)}
    assert after.environment == ours
    assert await stage.engine.read_file(after.id, "/opt/installed") == b"a package"
    assert before.id not in stage.engine.containers
    assert (await stage.states())["demo"] == "active"
    [tag] = await private_tags(stage)
    assert tag.startswith(f"{IMAGE}-moved-")
    assert await moves(stage) == 0
    events = await stage.events()
    assert "container.moved" in events
    await stage.require_settled()
    await stage.stop()
    await stage.remove()
    assert await private_tags(stage) == []


async def test_it_is_rebuilt_from_its_seal_when_its_row_is_lost() -> None:
    stage = await taken()
    await move(stage)
    stage.store = type(stage.store)(stage.trap)
    stage.boot()
    await stage.reconcile()
    assert (await stage.states())["demo"] == "active"


async def test_a_dry_run_changes_nothing() -> None:
    stage = await taken()
    before = await stage.picture()
    await stage.services.moving.plan(ALICE_CALLER, 1001, "demo")
    assert await stage.picture() == before


async def test_it_is_moved_again_and_again() -> None:
    stage = await taken()
    await move(stage)
    await stage.stop()
    await move(stage)
    [tag] = await private_tags(stage)
    assert tag.count("-moved-") == 1
    await stage.require_settled()


async def test_the_new_grant_has_the_time_limit_of_today() -> None:
    stage = await taken()
    stage.policy = Policy(default_group="student", base=replace(LIMITS, time_limit=timedelta(hours=2)))
    await move(stage)
    grants = await MemoryStore.read(stage.store, lambda transaction: transaction.list_allocations())
    [mine] = [grant for grant in grants if grant.container_name == "demo"]
    assert mine.time_limit == timedelta(hours=2)
    assert mine.ends_at == mine.claimed_at + timedelta(hours=2)


async def test_it_takes_no_further_place_in_the_quota_of_containers() -> None:
    stage = await taken()
    stage.policy = Policy(default_group="student", base=replace(LIMITS, max_containers=1))
    await move(stage)
    assert (await stage.states())["demo"] == "active"


async def test_without_another_free_device_nothing_happens() -> None:
    stage = await taken()
    for index in range(9):
        await run_to_failure(stage.create(f"more{index}", caller=BOB_CALLER, kind="1g.5gb"))
    stage.policy = Policy(default_group="student", base=LIMITS)
    before = await stage.picture()
    assert isinstance(await run_to_failure(move(stage)), NoCapacityError)
    assert await stage.picture() == before


async def test_only_a_stopped_container_of_ours_with_gpus_is_moved() -> None:
    stage = await taken()
    moving = stage.services.moving
    with pytest.raises(NotFoundError):
        await moving.move(BOB_CALLER, 1002, "demo", stage.notify)
    await stage.create("plain", count=0)
    with pytest.raises(ConflictError, match="has no GPU"):
        await moving.move(ALICE_CALLER, 1001, "plain", stage.notify)
    await move(stage)
    with pytest.raises(ConflictError, match="is running"):
        await move(stage)
    foreign = docker_made("strange._.1001")
    stage.engine.containers[foreign.id] = FakeContainer(foreign)
    with pytest.raises(ConflictError, match="not made by DS01"):
        await moving.move(ALICE_CALLER, 1001, "strange", stage.notify)


async def test_one_that_waits_for_its_own_device_is_not_moved_too() -> None:
    stage = await taken()
    await stage.services.queue.enqueue_start(ALICE_CALLER, 1001, "demo")
    with pytest.raises(ConflictError):
        await move(stage)


async def test_a_new_container_that_ends_at_once_leaves_the_old_one() -> None:
    stage = await taken()
    before = await stage.picture()
    stage.engine.fail_next("start_container", BackendError("no such device"))
    assert isinstance(await run_to_failure(move(stage)), BackendError)
    _, tags, rows, _, directories = await stage.picture()
    assert (tags, rows, directories) == (before[1], before[2], before[4])
    assert await moves(stage) == 0


async def test_a_move_that_is_not_tidied_up_is_told_and_tidied_later() -> None:
    stage = await taken()
    stage.engine.fail_next("rename_container", BackendError("busy"))
    moved = await move(stage)
    assert "removed later" in moved.warnings[-1]
    assert (await stage.services.containers.get_details(1001, "demo")).id == moved.details.id
    assert [view.name for view in await stage.services.containers.list_views() if view.uid == 1001] == ["demo"]
    await stage.reconcile()
    assert await moves(stage) == 0
    await require_one_of_two(stage)


async def require_one_of_two(stage: Stage) -> str:
    """Exactly one container is the user's: the old one, stopped, or the new one, running. Return which."""
    await stage.require_settled()
    assert await moves(stage) == 0
    own = [found.details for found in stage.engine.containers.values() if found.details.name == "demo._.1001"]
    assert len(own) == 1
    assert not [name for name in names(stage) if is_helper_name(name)]
    assert await stage.engine.read_file(own[0].id, "/opt/installed") == b"a package"
    tags = await private_tags(stage)
    assert tags == [own[0].image], "one private tag, its own"
    is_new = "-moved-" in own[0].image
    rows = await MemoryStore.read(stage.store, lambda transaction: transaction.list_containers())
    [row] = [row for row in rows if row.name == "demo"]
    assert (row.engine_id, row.image) == (own[0].id, own[0].image)
    assert own[0].state is (ContainerState.RUNNING if is_new else ContainerState.EXITED)
    grant = await MemoryStore.read(stage.store, lambda transaction: transaction.find_allocation(row.allocation_id))
    assert grant is not None
    assert grant.gpu_uuids == own[0].attachment.requests[0].device_ids, "the next start asks for others than it has"
    held = [uuid for uuid, name in (await stage.held()).items() if name == "demo"]
    assert held == (list(own[0].attachment.requests[0].device_ids) if is_new else [])
    return "new" if is_new else "old"


def names(stage: Stage) -> list[str]:
    return [found.details.name for found in stage.engine.containers.values()]


async def steps_of_a_move() -> int:
    stage = await taken()
    stage.trap.arm(0, None)
    await move(stage)
    return len(stage.trap.steps)


def cancel_itself() -> None:
    """As a spring: whoever asked has left."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


@pytest.mark.parametrize("spring", [fail_once, cancel_itself])
async def test_a_move_that_ends_anywhere_leaves_the_old_container_or_the_new_one(
    spring: Callable[[], None],
) -> None:
    seen: set[str] = set()
    for number in range(1, await steps_of_a_move() + 1):
        stage = await taken()
        stage.trap.arm(number, spring)
        failure = await run_to_failure(move(stage))
        stage.trap.arm(0, None)
        assert only_own_errors(failure), number
        await stage.store.settle()
        await stage.reconcile()
        seen.add(await require_one_of_two(stage))
        if isinstance(failure, Ds01Error):
            await run_to_failure(stage.stop())
            await move(stage)
    assert seen == {"old", "new"}


async def test_a_daemon_that_dies_anywhere_in_a_move_finds_the_old_container_or_the_new_one_and_says_which() -> None:
    seen: set[str] = set()
    for number in range(1, await steps_of_a_move() + 1):
        stage = await taken()
        stage.trap.arm(number, stage.trap.die)
        failure = await run_to_failure(move(stage))
        assert isinstance(failure, ProcessDeathError)
        stage.trap.revive()
        stage.boot()
        had_begun = await moves(stage)
        await stage.reconcile()
        which = await require_one_of_two(stage)
        seen.add(which)
        events = await MemoryStore.read(stage.store, lambda transaction: transaction.list_events())
        said = [str(event.details["reason"]) for event in events if event.name == "allocation.repaired"]
        assert said == ([f"its move had not ended: the {which} container stays"] if had_begun else []), number
    assert seen == {"old", "new"}
