"""Creating a container: what is made, what is refused, what is said."""

import asyncio
import shlex
from dataclasses import replace

import pytest

from ds01.domain import label
from ds01.domain.containers.pid1 import ENTRYPOINT
from ds01.domain.containers.seal import is_sealed
from ds01.domain.devices.gpu import Inventory
from ds01.errors import (
    BackendError,
    ConflictError,
    Ds01Error,
    ForbiddenError,
    InvalidRequestError,
    NoCapacityError,
    NotFoundError,
    QuotaExceededError,
)
from tests.fakes import DEFAULT_LIMITS, GIB, SEAL_KEY, whole_gpu
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, IMAGE, Stage, order, run_to_failure


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.add_image()
    return stage


async def test_a_container_is_made_as_ordered_and_recorded_before_its_owner_hears_of_it(stage: Stage) -> None:
    creation = await stage.services.creation.create(ALICE_CALLER, order(kind="full"), stage.notify)

    details, allocation = creation.details, creation.allocation
    assert details is not None
    assert allocation is not None
    assert (details.name, details.state, details.user) == ("demo._.1001", "created", "1001:1001")
    assert details.entrypoint == ENTRYPOINT
    assert [request.device_ids for request in details.attachment.requests] == [("GPU-0",)]
    assert details.limits.memory_bytes == 8 * GIB
    assert details.limits.cgroup_parent == "ds01-u1001.slice"
    assert {mount.target: mount.source for mount in details.mounts} == {"/workspace": "/home/alice/workspace/demo"}
    assert (allocation.state, allocation.gpu_uuids, allocation.deadline_at) == ("active", ("GPU-0",), None)
    row = (await stage.store.read(lambda transaction: transaction.list_containers()))[0]
    assert (row.engine_id, row.allocation_id, row.name, row.uid) == (details.id, allocation.id, "demo", 1001)
    assert row.image == f"{IMAGE}:demo._.1001"


async def test_its_labels_are_sealed_and_its_account_is_written_before_the_first_start(stage: Stage) -> None:
    details = stage.engine.containers[await stage.create()].details
    labels = details.labels
    assert is_sealed(SEAL_KEY, 1001, labels[label.ALLOCATION], labels[label.REQUEST], claimed=labels[label.SEAL])
    files = stage.engine.containers[details.id].tree.files
    assert b"alice:x:1001:1001:" in (files["/etc/passwd"] or b"")
    assert files["/etc/sudoers.d/ds01"] == b"#1001 ALL=(ALL) NOPASSWD:ALL\n"


async def test_the_environment_has_the_account_the_caches_and_the_machines_time_zone(stage: Stage) -> None:
    environment = stage.engine.containers[await stage.create(count=0)].details.environment
    assert environment["HOME"] == "/home/alice"
    assert environment["TZ"] == "Europe/Berlin"
    assert environment["HF_HOME"] == "/workspace/.cache/huggingface"
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "void"


async def test_what_the_user_gives_wins_over_the_environment_but_for_the_devices(stage: Stage) -> None:
    wanted = replace(order(), environment={"TZ": "UTC", "USER": "somebody"})
    creation = await stage.services.creation.create(ALICE_CALLER, wanted, stage.notify)
    assert creation.details is not None
    assert creation.details.environment["TZ"] == "UTC"
    taken = replace(order("other"), environment={"NVIDIA_VISIBLE_DEVICES": "all"})
    assert isinstance(
        await run_to_failure(stage.services.creation.create(ALICE_CALLER, taken, stage.notify)), InvalidRequestError
    )


async def test_every_event_of_a_creation_says_who_did_it(stage: Stage) -> None:
    await stage.create()
    events = await stage.store.read(lambda transaction: transaction.list_events())
    assert [event.name for event in events] == ["allocation.claimed", "allocation.activated", "container.created"]
    assert {(event.uid, event.actor_uid, event.container) for event in events} == {(1001, 1001, "demo")}


async def test_a_failed_creation_is_recorded_with_its_reason(stage: Stage) -> None:
    stage.engine.fail_next("put_files", BackendError("The disk of the engine is full."))
    await run_to_failure(stage.create())
    events = await stage.store.read(lambda transaction: transaction.list_events())
    assert [event.name for event in events] == ["allocation.claimed", "allocation.released", "container.failed"]
    assert events[-1].details == {"step": "create", "reason": "The disk of the engine is full."}


async def test_a_refusal_leaves_no_event_of_a_grant(stage: Stage) -> None:
    await run_to_failure(stage.create(count=3))
    assert await stage.events() == []


async def test_a_name_that_has_a_row_is_taken(stage: Stage) -> None:
    await stage.create()
    failure = await run_to_failure(stage.create(count=0))
    assert isinstance(failure, ConflictError)
    assert "ds01 open demo" in (failure.hint or "")


async def test_a_name_that_only_the_engine_knows_is_taken_too(stage: Stage) -> None:
    container = await stage.create("other", count=0)
    found = stage.engine.containers[container]
    found.change(name="demo._.1001", labels={})
    before = await stage.picture()
    assert isinstance(await run_to_failure(stage.create()), ConflictError)
    assert await stage.picture() == before


async def test_the_same_name_of_two_users_is_two_containers(stage: Stage) -> None:
    await stage.create()
    await stage.create(caller=BOB_CALLER)
    assert len(stage.engine.containers) == 2


async def test_of_two_creations_of_one_name_at_once_one_wins_and_the_other_is_told(stage: Stage) -> None:
    outcomes = await asyncio.gather(stage.create(), stage.create(), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConflictError", "str"]
    assert len(stage.engine.containers) == 1
    assert len(await stage.held()) == 1


async def test_twenty_creations_at_once_for_two_gpus_never_double_one() -> None:
    stage = Stage(replace(DEFAULT_LIMITS, max_gpus=None, max_gpu_equivalents=None, max_containers=None))
    stage.add_image()
    stage.devices.inventory = Inventory((whole_gpu(0), whole_gpu(1)))
    outcomes = await asyncio.gather(*(stage.create(f"c{number}") for number in range(20)), return_exceptions=True)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 2
    refused = [outcome for outcome in outcomes if isinstance(outcome, Ds01Error)]
    assert len(refused) == 18
    assert all(isinstance(failure, NoCapacityError) for failure in refused)
    assert set(await stage.held()) == {"GPU-0", "GPU-1"}
    assert len(stage.engine.containers) == 2
    await stage.require_sound_books()


async def test_twenty_creations_of_a_new_image_look_into_it_once() -> None:
    stage = Stage(replace(DEFAULT_LIMITS, max_containers=None))
    stage.add_image()
    await asyncio.gather(*(stage.create(f"c{number}", count=0) for number in range(20)))
    # twenty of the users, one to read the image's files, one to try the ulimits
    assert stage.engine.calls["create_container"] == 22


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("memory", lambda details: replace(details, limits=replace(details.limits, memory_bytes=0))),
        ("cgroup parent", lambda details: replace(details, limits=replace(details.limits, cgroup_parent="/docker"))),
        ("user", lambda details: replace(details, user="")),
        ("GPUs", lambda details: replace(details, attachment=replace(details.attachment, requests=()))),
    ],
)
async def test_an_engine_that_does_not_follow_fails_the_creation(stage: Stage, what: str, change: object) -> None:
    await stage.create("first", count=0)
    before = await stage.picture()
    assert callable(change)
    stage.engine.alter_created = change
    failure = await run_to_failure(stage.create())
    assert isinstance(failure, BackendError)
    assert what in failure.message
    assert await stage.picture() == before


async def test_a_dry_run_changes_nothing_and_asks_for_no_container(stage: Stage) -> None:
    before = await stage.picture()
    creation = await stage.services.creation.dry_run(ALICE_CALLER, order(kind="full"))
    assert creation.details is None
    words = shlex.split(creation.docker_command)
    assert words[:4] == ["docker", "create", "--name", "demo._.1001"]
    assert '"device=GPU-0"' in words
    assert "HOME=/home/alice" in words
    assert await stage.picture() == before
    assert await stage.events() == []
    assert stage.engine.calls["create_container"] == 0


async def test_a_dry_run_refuses_what_the_creation_would_refuse(stage: Stage) -> None:
    assert isinstance(
        await run_to_failure(stage.services.creation.dry_run(ALICE_CALLER, order(count=3))), QuotaExceededError
    )
    await stage.create()
    assert isinstance(await run_to_failure(stage.services.creation.dry_run(ALICE_CALLER, order())), ConflictError)


async def test_a_dry_run_looks_at_the_folders_and_makes_none(stage: Stage) -> None:
    stage.directories.owners["/srv/bobs"] = 1002
    for wrong in (replace(order(), workspace="/srv/bobs"), replace(order(), data="/srv/bobs")):
        failure = await run_to_failure(stage.services.creation.dry_run(ALICE_CALLER, wrong))
        assert isinstance(failure, ForbiddenError)
    missing = await run_to_failure(stage.services.creation.dry_run(ALICE_CALLER, replace(order(), data="/srv/none")))
    assert isinstance(missing, NotFoundError)
    fresh = await stage.services.creation.dry_run(ALICE_CALLER, replace(order(), workspace="/srv/new"))
    assert "source=/srv/new" in fresh.docker_command
    assert stage.directories.owners == {"/srv/bobs": 1002}


async def test_a_workspace_that_its_user_cannot_write_to_is_mounted_read_only(stage: Stage) -> None:
    stage.directories.owners["/srv/shared"] = 1001
    stage.directories.read_only.add("/srv/shared")
    wanted = replace(order(count=0), workspace="/srv/shared")
    creation = await stage.services.creation.create(ALICE_CALLER, wanted, stage.notify)
    assert creation.details is not None
    assert [(mount.source, mount.is_read_only) for mount in creation.details.mounts] == [("/srv/shared", True)]
    assert any("read-only" in warning for warning in creation.warnings)


async def test_the_sites_folders_are_mounted_read_only_and_a_typed_one_wins() -> None:
    offered = {"data": "/srv/data", "models": "/srv/models"}
    stage = Stage(limits=replace(DEFAULT_LIMITS, mounts=offered))
    stage.add_image()
    stage.directories.owners |= {"/srv/data": 1001, "/srv/models": 1001, "/home/alice/own": 1001}
    creation = await stage.services.creation.create(
        ALICE_CALLER, replace(order(count=0), models="/home/alice/own"), stage.notify
    )
    assert creation.details is not None
    mounts = {mount.target: (mount.source, mount.is_read_only) for mount in creation.details.mounts}
    assert (mounts["/data"], mounts["/models"]) == (("/srv/data", True), ("/home/alice/own", False))
    assert creation.details.labels[label.DATA_MOUNT] == "/srv/data"
    assert creation.warnings == ()


async def test_a_folder_of_the_site_that_a_user_cannot_have_is_said_and_does_not_stand_in_the_way() -> None:
    stage = Stage(limits=replace(DEFAULT_LIMITS, mounts={"data": "/srv/bobs", "models": None}))
    stage.add_image()
    stage.directories.owners["/srv/bobs"] = 1002
    creation = await stage.services.creation.create(ALICE_CALLER, order(count=0), stage.notify)
    assert creation.details is not None
    assert [mount.target for mount in creation.details.mounts] == ["/workspace"]
    assert creation.warnings == ("The site's /data is not mounted: alice may not enter /srv/bobs.",)


async def test_what_is_wrong_with_a_folder_is_said_before_a_request_waits(stage: Stage) -> None:
    stage.directories.owners["/srv/bobs"] = 1002
    failure = await run_to_failure(stage.services.creation.prepare(ALICE_CALLER, replace(order(), data="/srv/bobs")))
    assert isinstance(failure, ForbiddenError)


async def test_a_dry_run_says_that_an_image_would_be_pulled(stage: Stage) -> None:
    creation = await stage.services.creation.dry_run(ALICE_CALLER, order(image="registry.example/other"))
    assert "would be pulled" in creation.warnings[0]
    assert stage.engine.calls["pull_image"] == 0


async def test_a_missing_image_is_pulled_and_its_progress_is_passed_on(stage: Stage) -> None:
    stage.engine.publish("registry.example/other")
    wanted = order(image="registry.example/other", count=0)
    await stage.services.creation.create(ALICE_CALLER, wanted, stage.notify)
    pulls = [message for message in stage.messages if message["kind"] == "pull"]
    assert [message["current_bytes"] for message in pulls] == [None, 1_000_000, 2_000_000, None]
    assert stage.messages[-1]["kind"] == "step"


async def test_an_image_that_is_nowhere_is_not_found_and_nothing_stays(stage: Stage) -> None:
    before = await stage.picture()
    wanted = order(image="registry.example/none")
    failure = await run_to_failure(stage.services.creation.create(ALICE_CALLER, wanted, stage.notify))
    assert isinstance(failure, NotFoundError)
    assert "image create" in (failure.hint or "")
    assert await stage.picture() == before


async def test_an_image_id_is_never_pulled(stage: Stage) -> None:
    wanted = order(image="sha256:" + "0" * 64, count=0)
    failure = await run_to_failure(stage.services.creation.create(ALICE_CALLER, wanted, stage.notify))
    assert isinstance(failure, NotFoundError)
    assert stage.engine.calls["pull_image"] == 0
