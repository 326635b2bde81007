"""Pausing and renaming: verified afterwards, all or nothing, and finished by reconcile after a crash."""

import pytest

from ds01.domain.containers.container import ContainerState
from ds01.domain.images.image import is_private_tag
from ds01.errors import BackendError, ConflictError, Ds01Error, InvalidRequestError, NotFoundError
from tests.fake_engine import FakeProcess
from tests.fake_engine.state import FakeContainer
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, IMAGE, Stage, fail_once, run_to_failure


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.add_image()
    return stage


async def rename(stage: Stage, old: str = "demo", new: str = "thesis") -> None:
    await stage.services.renaming.rename(ALICE_CALLER, 1001, old, new)


def engine_names(stage: Stage) -> set[str]:
    return {container.details.name for container in stage.engine.containers.values()}


async def row_names(stage: Stage) -> set[str]:
    rows = await stage.store.read(lambda transaction: transaction.list_containers())
    return {row.name for row in rows}


async def private_tags(stage: Stage) -> set[str]:
    return {tag for image in await stage.engine.list_images() for tag in image.tags if is_private_tag(tag)}


async def test_a_paused_container_keeps_its_gpu_and_goes_on(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()
    held = await stage.held()
    pausing = stage.services.pausing
    assert not (await pausing.pause(ALICE_CALLER, 1001, "demo")).was_so
    assert (await pausing.pause(ALICE_CALLER, 1001, "demo")).was_so
    assert stage.engine.containers[container].details.state is ContainerState.PAUSED
    assert await stage.held() == held
    assert not (await pausing.unpause(ALICE_CALLER, 1001, "demo")).was_so
    assert stage.engine.containers[container].details.state is ContainerState.RUNNING
    assert [name for name in await stage.events() if "pause" in name] == ["container.paused", "container.unpaused"]


async def test_a_plan_of_a_pause_freezes_nothing_and_refuses_what_a_pause_would(stage: Stage) -> None:
    pausing = stage.services.pausing
    container = await stage.create(count=0)
    assert isinstance(await run_to_failure(pausing.pause(ALICE_CALLER, 1001, "demo", dry_run=True)), ConflictError)
    await stage.start()
    events = await stage.events()
    assert not (await pausing.pause(ALICE_CALLER, 1001, "demo", dry_run=True)).was_so
    assert (await pausing.unpause(ALICE_CALLER, 1001, "demo", dry_run=True)).was_so
    assert stage.engine.containers[container].details.state is ContainerState.RUNNING
    assert await stage.events() == events


async def test_what_does_not_run_is_not_paused(stage: Stage) -> None:
    await stage.create()
    for act in (stage.services.pausing.pause, stage.services.pausing.unpause):
        with pytest.raises(ConflictError, match="does not run"):
            await act(ALICE_CALLER, 1001, "demo")
    with pytest.raises(NotFoundError):
        await stage.services.pausing.pause(BOB_CALLER, 1002, "demo")


async def test_a_pause_that_did_nothing_is_a_failure(stage: Stage) -> None:
    await stage.create()
    await stage.start()

    stage.engine.ignored.add("pause_container")
    with pytest.raises(BackendError, match="is running and should be paused"):
        await stage.services.pausing.pause(ALICE_CALLER, 1001, "demo")


async def test_a_renamed_container_keeps_files_grant_and_private_tag(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()
    await stage.stop()
    held = set(await stage.held())
    await rename(stage)
    details = await stage.services.containers.get_details(1001, "thesis")
    assert details.id == container
    assert engine_names(stage) == {"thesis._.1001"}
    assert await row_names(stage) == {"thesis"}
    assert await stage.held() == dict.fromkeys(held, "thesis")
    assert await private_tags(stage) == {f"{IMAGE}:thesis._.1001"}
    with pytest.raises(NotFoundError):
        await stage.services.containers.get_details(1001, "demo")
    await stage.start("thesis")
    await stage.stop("thesis")
    await stage.remove("thesis")
    assert await private_tags(stage) == set()
    assert await stage.held() == {}


async def test_only_a_stopped_container_of_ours_gets_a_free_and_proper_name(stage: Stage) -> None:
    await stage.create()
    await stage.create("other", count=0)
    with pytest.raises(ConflictError, match="already"):
        await rename(stage, new="other")
    for bad in ("", "a/b", "../x", "a" * 60):
        with pytest.raises(InvalidRequestError):
            await rename(stage, new=bad)
    await stage.start()
    with pytest.raises(ConflictError, match="is running"):
        await rename(stage)
    await rename(stage, "other", "other")
    foreign = docker_made("theirs._.1001")
    stage.engine.containers[foreign.id] = FakeContainer(foreign)
    with pytest.raises(ConflictError, match="not made by DS01"):
        await rename(stage, "theirs")
    assert engine_names(stage) == {"demo._.1001", "other._.1001", foreign.name}


async def test_a_dry_run_changes_nothing(stage: Stage) -> None:
    await stage.create()
    before = await stage.picture()
    renamed = await stage.services.renaming.rename(ALICE_CALLER, 1001, "demo", "thesis", dry_run=True)
    assert str(renamed.engine_name) == "thesis._.1001"
    assert await stage.picture() == before


async def steps_of_a_renaming() -> int:
    counted = Stage()
    counted.add_image()
    await counted.create()
    counted.trap.arm(0, None)
    await rename(counted)
    return len(counted.trap.steps)


async def test_a_renaming_that_fails_anywhere_leaves_one_name_and_says_so() -> None:
    for number in range(1, await steps_of_a_renaming() + 1):
        stage = Stage()
        stage.add_image()
        await stage.create()
        stage.trap.arm(number, fail_once)
        failure = await run_to_failure(rename(stage))
        stage.trap.arm(0, None)
        assert failure is None or isinstance(failure, Ds01Error)
        await stage.reconcile()
        names = await row_names(stage)
        assert names in ({"demo"}, {"thesis"}), number
        assert {name.partition("._.")[0] for name in engine_names(stage)} == names
        assert await private_tags(stage) == {f"{IMAGE}:{name}._.1001" for name in names}, number
        await stage.start(names.pop())


async def test_a_daemon_that_dies_anywhere_in_a_renaming_finds_the_old_or_the_new_name() -> None:
    for number in range(1, await steps_of_a_renaming() + 1):
        stage = Stage()
        stage.add_image()
        await stage.create()
        stage.trap.arm(number, stage.trap.die)
        await run_to_failure(rename(stage))
        stage.trap.revive()
        stage.boot()
        await stage.reconcile()
        names = await row_names(stage)
        assert names in ({"demo"}, {"thesis"}), number
        assert {name.partition("._.")[0] for name in engine_names(stage)} == names
        assert set((await stage.held()).values()) == names
        assert await private_tags(stage) == {f"{IMAGE}:{name}._.1001" for name in names}, number


async def test_a_plain_docker_rename_is_followed(stage: Stage) -> None:
    container = await stage.create()
    await stage.engine.rename_container(container, "thesis._.1001")
    await stage.reconcile()
    assert await row_names(stage) == {"thesis"}
    assert set((await stage.held()).values()) == {"thesis"}
    await stage.reconcile()
    assert (await stage.events()).count("container.renamed") == 1


async def test_a_docker_rename_to_somebody_elses_name_moves_no_grant(stage: Stage) -> None:
    container = await stage.create()
    await stage.engine.rename_container(container, "thesis._.1002")
    await stage.reconcile()
    assert await row_names(stage) == {"demo"}
    assert set((await stage.held()).values()) == {"demo"}


async def test_ports_are_read_without_any_right_inside(stage: Stage) -> None:
    await stage.create()
    users: list[str] = []

    async def cat(process: FakeProcess) -> int:
        users.append(process.user)
        await process.write("0: 00000000:22B8 00000000:0000 0A 0:0\n")
        return 0

    stage.engine.programs["cat"] = cat
    with pytest.raises(ConflictError, match="does not run"):
        await stage.services.listening.read(1001, "demo")
    await stage.start()
    found = await stage.services.listening.read(1001, "demo")
    assert [(port.port, port.is_local) for port in found.ports] == [(8888, False)]
    assert users == ["65534:65534"]
    with pytest.raises(NotFoundError):
        await stage.services.listening.read(1002, "demo")
