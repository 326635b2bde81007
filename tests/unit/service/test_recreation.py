"""A container is made again from a newer image. It fails, is broken off or dies at every step."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain import label
from ds01.domain.containers.container import ContainerState
from ds01.domain.containers.seal import seal
from ds01.domain.images.image import is_private_tag
from ds01.domain.images.image_name import OwnImage
from ds01.errors import BackendError, ConflictError, Ds01Error, InvalidRequestError, NotFoundError
from ds01.service.helper_container import LEFT_BEHIND_AFTER, is_helper_name
from ds01.service.images import ImageOrder
from ds01.service.move_repair import list_moves
from ds01.service.order import CreateOrder
from ds01.service.ports import ImageDetails, StoreTransaction
from ds01.service.recreation import Recreated, RecreationOrder
from tests.fake_engine.programs import FileTree
from tests.fake_store import MemoryStore
from tests.fakes import DEFAULT_LIMITS, SEAL_KEY
from tests.unit.service.late_stage import LateStage, two_cards
from tests.unit.service.stage import (
    ALICE_CALLER,
    BOB_CALLER,
    PASSWD,
    ProcessDeathError,
    Stage,
    fail_once,
    only_own_errors,
    order,
    run_to_failure,
)

LIMITS = replace(DEFAULT_LIMITS, gpu_hold_after_stop=timedelta(hours=1))
OWN = OwnImage(1001, "thesis")
USUAL: dict[str, bytes | None] = {
    "/etc/passwd": PASSWD,
    "/etc/group": b"root:x:0:\n",
    "/etc/sudoers.d": None,
    "/usr/bin/sudo": b"",
    "/usr/bin/git": b"",
    "/bin/sh": b"",
    "/bin/bash": b"",
}
STAY = RecreationOrder()
STOP = RecreationOrder(stops=True)


def build(stage: Stage, version: str) -> str:
    """What a build leaves: an image under the name, and the one before under its dated tag only."""
    for image in stage.engine.images.values():
        image.details = replace(
            image.details, tags=tuple(tag for tag in image.details.tags if tag != str(OWN)) or image.details.tags
        )
    details = ImageDetails(
        id=f"sha256:{ord(version):064x}",
        tags=(str(replace(OWN, tag=version)),),
        labels={label.RECIPE: version * 64, "version": version},
        environment={"PATH": f"/opt/{version}/bin:/bin", "VERSION": version},
    )
    return stage.engine.add_image(str(OWN), details, tree=FileTree({**USUAL, "/opt/version": version.encode()}))


async def built_anew(*, runs: bool = False, count: int = 1) -> Stage:
    """Alice's `demo` was made from her image, which has been built anew since."""
    stage = Stage(LIMITS)
    build(stage, "a")
    wanted = CreateOrder(
        "demo", ImageOrder(image="thesis"), order(count=count).request, environment={"LESSON": "seven"}, interface="cli"
    )
    made = await stage.services.creation.create(ALICE_CALLER, wanted, stage.notify)
    assert made.details is not None
    stage.engine.containers[made.details.id].tree.put("/opt/mine", b"written")
    await stage.start()
    if not runs:
        await stage.stop()
    build(stage, "b")
    return stage


async def recreate(stage: Stage, how: RecreationOrder = STAY) -> Recreated:
    return await stage.services.recreation.recreate(ALICE_CALLER, 1001, "demo", how, stage.notify)


async def private_tags(stage: Stage) -> list[str]:
    found = [tag for image in stage.engine.images.values() for tag in image.details.tags if is_private_tag(tag)]
    return sorted(tag for tag in found if tag.endswith(":demo._.1001"))


@pytest.mark.parametrize("runs", [False, True])
async def test_name_mounts_options_limits_and_grant_stay_and_the_image_is_the_new_one(runs: bool) -> None:
    stage = await built_anew(runs=runs)
    before = await stage.services.containers.get_details(1001, "demo")
    grants = await MemoryStore.read(stage.store, lambda transaction: transaction.list_allocations())
    made = await recreate(stage, STOP if runs else STAY)
    after = await stage.services.containers.get_details(1001, "demo")
    assert after.id == made.details.id != before.id
    assert (made.was_running, made.is_current, made.size_bytes > 0) == (runs, False, True)
    assert after.state is (ContainerState.RUNNING if runs else ContainerState.CREATED)
    assert after.image_id == stage.engine.image_of(str(OWN)).details.id
    assert (after.name, after.mounts, after.limits, after.user, after.fixed) == (
        before.name,
        before.mounts,
        before.limits,
        before.user,
        before.fixed,
    )
    assert after.attachment == before.attachment
    assert after.environment["LESSON"] == "seven"
    assert after.environment["VERSION"] == "b"
    assert after.environment["PATH"].endswith(":/opt/b/bin:/bin"), "the image's own folders come from the new image"
    assert (after.labels["version"], after.labels[label.RECIPE]) == ("b", "b" * 64)
    ours = {key for key in before.labels if key.startswith("aime.mlc")} - {label.CREATED, label.RECIPE}
    assert {key: after.labels[key] for key in ours} == {key: before.labels[key] for key in ours}
    assert await stage.engine.read_file(after.id, "/opt/version") == b"b"
    assert await stage.engine.read_file(after.id, "/opt/mine") is None
    assert b"alice" in (await stage.engine.read_file(after.id, "/etc/passwd") or b"")
    assert await MemoryStore.read(stage.store, lambda transaction: transaction.list_allocations()) == grants
    assert before.id not in stage.engine.containers
    [tag] = await private_tags(stage)
    assert tag == after.image
    assert "container.recreated" in await stage.events()
    [row] = await MemoryStore.read(stage.store, lambda transaction: transaction.list_containers())
    assert CreateOrder.from_text(row.spec).environment == {"LESSON": "seven"}
    await stage.require_settled()
    if not runs:
        await stage.start()
    await stage.stop()
    await stage.remove()
    assert await private_tags(stage) == []


async def test_it_starts_with_its_own_devices_although_everything_is_taken_meanwhile() -> None:
    stage = await built_anew(runs=True)
    held = await stage.held()
    await recreate(stage, STOP)
    assert await stage.held() == held
    assert (await stage.states())["demo"] == "active"


async def test_after_a_start_with_a_new_grant_its_labels_still_prove_whose_it_is() -> None:
    stage = await built_anew()
    before = (await stage.services.containers.get_details(1001, "demo")).labels
    stage.clock.advance(timedelta(hours=2))
    await stage.reconcile()
    await stage.start()
    await recreate(stage, STOP)
    after = (await stage.services.containers.get_details(1001, "demo")).labels
    assert (
        after[label.SEAL] == before[label.SEAL] == seal(SEAL_KEY, 1001, after[label.ALLOCATION], after[label.REQUEST])
    )
    stage.store = type(stage.store)(stage.trap)
    stage.boot()
    await stage.reconcile()
    assert (await stage.states())["demo"] == "active", "its row is rebuilt from them"


@pytest.mark.parametrize("runs", [False, True])
async def test_one_whose_gpus_are_bound_late_keeps_the_name_that_stands_for_them(runs: bool) -> None:
    stage = two_cards(LateStage(LIMITS))
    build(stage, "a")
    made = await stage.services.creation.create(ALICE_CALLER, order(image="thesis"), stage.notify)
    assert made.details is not None
    device = stage.device_of(made.details.id)
    await stage.start()
    if not runs:
        await stage.stop()
    build(stage, "b")
    again = await recreate(stage, STOP if runs else STAY)
    assert stage.device_of(again.details.id) == device
    assert again.details.labels[label.GPU_UUIDS] == ""
    if not runs:
        await stage.start()
    assert stage.inside(again.details.id) == ["GPU-0"]
    await stage.reconcile()
    await stage.require_files_as_granted()


async def test_one_that_runs_is_left_alone_unless_it_may_be_stopped() -> None:
    stage = await built_anew(runs=True)
    before = await stage.picture()
    with pytest.raises(ConflictError, match="is running"):
        await recreate(stage)
    assert await stage.picture() == before
    await stage.services.pausing.pause(ALICE_CALLER, 1001, "demo")
    with pytest.raises(ConflictError, match="is paused"):
        await recreate(stage, STOP)


async def test_one_that_is_of_the_newest_build_is_left_alone() -> None:
    stage = await built_anew()
    await recreate(stage)
    before = await stage.picture()
    again = await recreate(stage)
    assert again.is_current
    assert await stage.picture() == before


async def test_a_base_without_sudo_is_current_through_the_image_that_we_derived_of_it() -> None:
    stage = Stage(LIMITS)
    stage.add_image(str(OWN), has_sudo=False)
    stage.engine.image_of(str(OWN)).tree.put("/usr/bin/apt-get", b"")
    await stage.services.creation.create(ALICE_CALLER, order(image="thesis"), stage.notify)
    assert (await recreate(stage)).is_current


async def test_a_dry_run_changes_nothing_and_says_what_is_lost() -> None:
    stage = await built_anew(runs=True)
    before = await stage.picture()
    planned = await stage.services.recreation.plan(ALICE_CALLER, 1001, "demo", STAY)
    assert (planned.is_current, planned.was_running, planned.size_bytes > 0) == (False, True, True)
    assert await stage.picture() == before
    assert await number_of_moves(stage) == 0


async def test_what_cannot_be_made_again_is_said_and_left() -> None:
    stage = await built_anew()
    recreation = stage.services.recreation
    with pytest.raises(NotFoundError):
        await recreation.recreate(BOB_CALLER, 1002, "demo", STAY, stage.notify)
    with pytest.raises(NotFoundError, match="no image"):
        await recreate(stage, RecreationOrder("nothing"))
    stage.add_image()
    await stage.services.creation.create(ALICE_CALLER, order("plain", count=0), stage.notify)
    details = await stage.services.containers.get_details(1001, "plain")
    found = stage.engine.containers[details.id]
    found.details = replace(found.details, labels={**found.details.labels, label.CUSTOM_IMAGE: ""})
    with pytest.raises(InvalidRequestError, match="not made from an image of your own"):
        await recreation.recreate(ALICE_CALLER, 1001, "plain", STAY, stage.notify)
    made = await recreation.recreate(ALICE_CALLER, 1001, "plain", RecreationOrder("thesis"), stage.notify)
    assert made.details.labels[label.CUSTOM_IMAGE] == str(OWN)
    await MemoryStore.write(stage.store, forget_orders)
    with pytest.raises(ConflictError, match="not known any more"):
        await recreate(stage)


def forget_orders(transaction: StoreTransaction) -> None:
    """Leave the rows as an older version wrote them."""
    for row in transaction.list_containers():
        transaction.save_container(replace(row, spec=""))


async def test_a_new_container_that_does_not_run_leaves_the_old_one_running_again() -> None:
    stage = await built_anew(runs=True)
    before = await stage.services.containers.get_details(1001, "demo")
    stage.engine.fail_next("start_container", BackendError("no such program"))
    assert isinstance(await run_to_failure(recreate(stage, STOP)), BackendError)
    after = await stage.services.containers.get_details(1001, "demo")
    assert (after.id, after.state) == (before.id, ContainerState.RUNNING)
    assert (await stage.states())["demo"] == "active"
    await require_one_of_two(stage, {ContainerState.RUNNING})


async def test_another_image_for_the_engine_than_was_asked_for_is_a_failure_and_leaves_the_old_one() -> None:
    stage = await built_anew()
    before = await stage.picture()
    stage.engine.alter_created = lambda details: replace(details, user="0:0")
    assert isinstance(await run_to_failure(recreate(stage)), BackendError)
    assert await stage.picture() == before


async def test_after_a_rename_it_is_made_again_under_its_present_name() -> None:
    stage = await built_anew()
    await stage.services.renaming.rename(ALICE_CALLER, 1001, "demo", "other")
    made = await stage.services.recreation.recreate(ALICE_CALLER, 1001, "other", STAY, stage.notify)
    assert made.details.name == "other._.1001"
    assert made.details.environment["DS01_CONTAINER"] == "other"
    await stage.require_settled()


async def number_of_moves(stage: Stage) -> int:
    return len(await MemoryStore.read(stage.store, list_moves))


async def require_one_of_two(stage: Stage, states: set[ContainerState]) -> str:
    """Exactly one container is the user's: the old one with what was written in it, or the new one. Return which."""
    stage.clock.advance(LEFT_BEHIND_AFTER)  # containers in which an image was looked into are removed only then
    await stage.reconcile()
    await stage.require_settled()
    assert await number_of_moves(stage) == 0
    found = [one for one in stage.engine.containers.values() if one.details.name == "demo._.1001"]
    assert len(found) == 1
    own = found[0].details
    assert not [one for one in stage.engine.containers.values() if is_helper_name(one.details.name)]
    assert await private_tags(stage) == [own.image], "one private tag, its own"
    is_new = await stage.engine.read_file(own.id, "/opt/version") == b"b"
    assert (await stage.engine.read_file(own.id, "/opt/mine") is None) is is_new
    assert b"alice" in (await stage.engine.read_file(own.id, "/etc/passwd") or b"")
    [row] = await MemoryStore.read(stage.store, lambda transaction: transaction.list_containers())
    assert (row.engine_id, row.image) == (own.id, own.image)
    assert own.state in states
    grant = await MemoryStore.read(stage.store, lambda transaction: transaction.find_allocation(row.allocation_id))
    assert grant is not None
    assert grant.gpu_uuids == own.attachment.requests[0].device_ids
    return "new" if is_new else "old"


async def steps_of(runs: bool) -> int:
    stage = await built_anew(runs=runs)
    stage.trap.arm(0, None)
    await recreate(stage, STOP if runs else STAY)
    return len(stage.trap.steps)


def cancel_itself() -> None:
    """As a spring: whoever asked has left."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


STOPPED = {ContainerState.EXITED, ContainerState.CREATED}


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize("spring", [fail_once, cancel_itself])
async def test_a_recreation_that_ends_anywhere_leaves_the_old_container_or_the_new_one(
    spring: Callable[[], None], runs: bool
) -> None:
    seen: set[str] = set()
    for number in range(1, await steps_of(runs) + 1):
        stage = await built_anew(runs=runs)
        stage.trap.arm(number, spring)
        failure = await run_to_failure(recreate(stage, STOP if runs else STAY))
        stage.trap.arm(0, None)
        assert only_own_errors(failure), number
        await stage.store.settle()
        await stage.reconcile()
        seen.add(await require_one_of_two(stage, {ContainerState.RUNNING} if runs else STOPPED))
        if isinstance(failure, Ds01Error):
            await recreate(stage, STOP if runs else STAY)
    assert seen == {"old", "new"}


@pytest.mark.parametrize("runs", [False, True])
async def test_a_daemon_that_dies_anywhere_in_a_recreation_finds_the_old_container_or_the_new_one(runs: bool) -> None:
    seen: set[str] = set()
    for number in range(1, await steps_of(runs) + 1):
        stage = await built_anew(runs=runs)
        stage.trap.arm(number, stage.trap.die)
        failure = await run_to_failure(recreate(stage, STOP if runs else STAY))
        assert isinstance(failure, ProcessDeathError)
        stage.trap.revive()
        stage.boot()
        await stage.reconcile()
        # one that ran may have been stopped for the new one when nobody was left to start it again
        seen.add(await require_one_of_two(stage, {ContainerState.RUNNING, *STOPPED} if runs else STOPPED))
    assert seen == {"old", "new"}
