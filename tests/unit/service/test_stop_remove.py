"""Stopping, removing and giving back: verified afterwards, and the books follow."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.client.calls import ACTING_TIMEOUT_S
from ds01.domain import label
from ds01.domain.containers.container import ContainerDetails, ContainerState
from ds01.domain.containers.pid1 import SCRIPT, STOP_EXIT_STATUS, signal_others
from ds01.domain.rules.site import Lifecycle, StopGrace
from ds01.errors import BackendError, ConflictError, NotFoundError
from ds01.service.ports import ExecSpec
from ds01.service.power import MAX_GRACE
from tests.fake_engine import FakeProcess
from tests.fake_engine.programs import our_pid1
from tests.fakes import DEFAULT_LIMITS
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import ADMIN_CALLER, ALICE_CALLER, IMAGE, Stage, order, run_to_failure, until


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.add_image()
    return stage


async def test_an_idle_container_is_stopped_without_a_program_of_ours_inside(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()
    asked = stage.engine.calls["create_exec"]
    stopped = await stage.services.power.stop(ALICE_CALLER, 1001, "demo")
    assert stopped.was_running
    assert stage.engine.containers[container].details.state == "exited"
    assert stage.engine.calls["create_exec"] == asked
    assert await stage.states() == {"demo": "held"}


async def test_programs_get_their_signal_from_root_before_the_engine_is_asked(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()
    users: list[str] = []

    async def signal(process: FakeProcess) -> int:
        users.append(process.user)
        return 0

    async def train(process: FakeProcess) -> int:
        await process.read()
        return 0

    stage.engine.programs[signal_others(1001)] = signal
    stage.engine.programs["train"] = train
    running = await stage.engine.create_exec(container, ExecSpec(("train",), has_stdin=True))
    stream = await stage.engine.start_exec(running, has_terminal=False)
    await stage.stop()
    stream.close()
    assert users == ["0:0"]


async def test_a_container_that_ends_while_it_is_looked_at_is_stopped(stage: Stage) -> None:
    await stage.create()
    await stage.start()
    stage.engine.fail_next("list_processes", ConflictError("is not running"))
    await stage.stop()
    assert await stage.states() == {"demo": "held"}


def test_the_command_line_waits_out_the_longest_grace() -> None:
    assert timedelta(seconds=ACTING_TIMEOUT_S) > MAX_GRACE + timedelta(minutes=5)


async def test_no_grace_asks_no_program(stage: Stage) -> None:
    await stage.create()
    await stage.start()
    await stage.services.power.stop(ALICE_CALLER, 1001, "demo", timedelta(0))
    assert stage.engine.calls["list_processes"] == 0


async def test_a_container_that_runs_on_is_an_error(stage: Stage) -> None:
    await stage.create()
    await stage.start()
    stage.engine.ignored.add("stop_container")
    failure = await run_to_failure(stage.stop())
    assert isinstance(failure, BackendError)
    assert "still runs" in failure.message
    assert await stage.states() == {"demo": "active"}


async def test_a_stop_of_a_stopped_container_settles_what_was_left_open(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()
    await stage.engine.end_pid1(container, exit_code=3)
    stopped = await stage.services.power.stop(ALICE_CALLER, 1001, "demo")
    assert not stopped.was_running
    assert await stage.states() == {"demo": "held"}


async def test_a_never_started_container_keeps_its_grant_when_it_is_stopped(stage: Stage) -> None:
    await stage.create()
    await stage.stop()
    assert await stage.states() == {"demo": "active"}


async def test_a_container_of_docker_that_removes_itself_is_stopped(stage: Stage) -> None:
    details = docker_made("tmp._.1001", state=ContainerState.RUNNING)
    stage.engine.add_container(details)
    stage.engine.removed_when_stopped.add(details.id)
    stopped = await stage.services.power.stop(ALICE_CALLER, 1001, "tmp")
    assert stopped.was_running
    assert await stage.events() == ["container.stopped"]


async def test_every_event_says_who_stopped_and_removed_it(stage: Stage) -> None:
    await stage.create()
    await stage.start()
    await stage.services.power.stop(ADMIN_CALLER, 1001, "demo")
    await stage.services.removal.remove(ADMIN_CALLER, 1001, "demo", force=False)
    events = await stage.store.read(lambda transaction: transaction.list_events())
    by_admin = [event.name for event in events if event.actor_uid == 0]
    assert by_admin == ["container.stopped", "allocation.held", "allocation.released", "container.removed"]
    assert {event.uid for event in events} == {1001}


async def test_a_running_container_is_removed_only_by_force(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()
    failure = await run_to_failure(stage.remove())
    assert isinstance(failure, ConflictError)
    assert "ds01 stop demo" in (failure.hint or "")
    assert container in stage.engine.containers
    await stage.remove(force=True)
    assert stage.engine.containers == {}
    assert await stage.held() == {}


async def test_a_removal_takes_the_private_tag_and_leaves_image_and_workspace(stage: Stage) -> None:
    await stage.create()
    removed = await stage.services.removal.remove(ALICE_CALLER, 1001, "demo", force=False)
    assert len(removed.released) == 1
    tags = [tag for image in stage.engine.images.values() for tag in image.details.tags]
    assert tags == [f"{IMAGE}:latest"]
    assert "/home/alice/workspace/demo" in stage.directories.owners


async def test_an_image_given_by_its_id_is_not_deleted_with_its_last_name() -> None:
    stage = Stage(only_uid=ALICE_CALLER.uid)
    image_id = stage.add_image("registry.example/built:1")
    stage.engine.images[image_id].details = replace(stage.engine.images[image_id].details, tags=())
    await stage.services.creation.create(ALICE_CALLER, order(image=image_id, count=0), stage.notify)
    await stage.remove()
    assert image_id in stage.engine.images


async def test_a_tag_that_the_engine_keeps_does_not_hold_the_grant(stage: Stage) -> None:
    await stage.create()
    stage.engine.fail_next("remove_image", ConflictError("a container is using it"))
    await stage.remove()
    assert await stage.held() == {}


async def test_a_container_of_docker_keeps_its_image(stage: Stage) -> None:
    details: ContainerDetails = replace(docker_made("old._.1001"), image=f"{IMAGE}:latest")
    stage.engine.add_container(details)
    await stage.remove("old")
    assert details.id not in stage.engine.containers
    assert await stage.engine.find_image(IMAGE) is not None
    assert (await stage.events()) == ["container.removed"]


async def test_a_removal_is_verified(stage: Stage) -> None:
    await stage.create()
    stage.engine.ignored.add("remove_container")
    failure = await run_to_failure(stage.remove())
    assert isinstance(failure, BackendError)
    assert "still there" in failure.message
    assert await stage.states() == {"demo": "active"}


async def test_a_dead_creation_is_cleared_when_its_name_is_removed(stage: Stage) -> None:
    stage.trap.arm(30, stage.trap.die)
    await run_to_failure(stage.create())
    stage.trap.revive()
    stage.boot()
    assert isinstance(await run_to_failure(stage.remove()), NotFoundError)
    assert await stage.held() == {}


async def test_the_devices_of_a_stopped_container_can_be_given_back(stage: Stage) -> None:
    await stage.create(kind="full")
    await stage.start()
    assert isinstance(await run_to_failure(release(stage)), ConflictError)
    await stage.stop()
    assert await release(stage) == ("GPU-0",)
    assert await release(stage) == ()
    assert await stage.held() == {}


async def test_what_was_never_started_or_not_made_by_us_gives_nothing_back(stage: Stage) -> None:
    await stage.create()
    assert isinstance(await run_to_failure(release(stage)), ConflictError)
    stage.engine.add_container(docker_made("old._.1001"))
    assert isinstance(await run_to_failure(release(stage, "old")), ConflictError)
    assert isinstance(await run_to_failure(release(stage, "none")), NotFoundError)


async def release(stage: Stage, name: str = "demo") -> tuple[str, ...]:
    return await stage.services.removal.release(ALICE_CALLER, 1001, name)


async def test_the_hold_of_a_user_whose_account_is_gone_is_the_defaults(stage: Stage) -> None:
    container = await stage.create(kind="full")
    await stage.start()
    stage.accounts._users.clear()
    await stage.engine.end_pid1(container)
    await stage.reconcile()
    assert await stage.states() == {"demo": "held"}
    stage.clock.advance(DEFAULT_LIMITS.gpu_hold_after_stop or timedelta(0))
    await stage.reconcile()
    assert await stage.held() == {}


async def test_the_list_makes_one_request_to_the_engine_and_one_to_the_store(stage: Stage) -> None:
    for number in range(5):
        await stage.create(f"c{number}", count=number % 2)
        stage.clock.advance(timedelta(seconds=1))
    stage.trap.arm(0, None)
    views = await stage.services.containers.list_views()
    assert sorted(stage.trap.steps) == ["engine list_containers", "engine list_containers done", "store read"]
    assert [view.row.name for view in views if view.row] == ["c4", "c3", "c2", "c1", "c0"]
    assert [bool(view.allocation and view.allocation.gpu_uuids) for view in views] == [False, True, False, True, False]


async def test_our_short_lived_containers_are_not_listed(stage: Stage) -> None:
    stage.engine.add_container(docker_made("ds01-helper-0123456789abcdef._.0"))
    assert await stage.services.containers.list_views() == []


@pytest.mark.parametrize(
    ("labels", "seconds"),
    [
        ({}, 20),
        ({"aime.mlc.USER": "alice"}, 20),
        ({"com.docker.compose.project": "web"}, 7),
        ({"devcontainer.local_folder": "/home/alice/web"}, 5),
    ],
)
async def test_the_policys_grace_for_what_made_the_container_counts(
    stage: Stage, labels: dict[str, str], seconds: int
) -> None:
    graces = StopGrace(default=timedelta(seconds=20), compose=timedelta(seconds=7), devcontainer=timedelta(seconds=5))
    site = replace(stage.policy.site, lifecycle=Lifecycle(stop_grace=graces))
    stage.policy = replace(stage.policy, site=site)
    details = docker_made("tool._.1001", state=ContainerState.RUNNING)
    stage.engine.add_container(replace(details, labels={**details.labels, **labels}))
    await stage.services.power.stop(ALICE_CALLER, 1001, "tool")
    await stage.services.power.start(ALICE_CALLER, 1001, "tool")
    await stage.services.power.stop(ALICE_CALLER, 1001, "tool", timedelta(seconds=3))
    assert stage.engine.graces == [timedelta(seconds=seconds), timedelta(seconds=3)]


async def test_an_idle_container_of_ours_is_removed_without_being_asked_to_stop(stage: Stage) -> None:
    await stage.create()
    await stage.start()
    await stage.remove(force=True)
    assert stage.engine.graces == []
    assert stage.engine.containers == {}


async def test_a_busy_container_and_one_whose_first_process_is_a_program_are_asked_first(stage: Stage) -> None:
    container = await stage.create()
    await stage.start()

    async def train(process: FakeProcess) -> int:
        await process.read()
        return 0

    stage.engine.programs["train"] = train
    running = await stage.engine.create_exec(container, ExecSpec(("train",), has_stdin=True))
    stream = await stage.engine.start_exec(running, has_terminal=False)
    await until(lambda: stage.engine.execs[running].has_started)
    await stage.remove(force=True)
    stream.close()
    made = docker_made("tool._.1001", state=ContainerState.RUNNING)
    stage.engine.add_container(replace(made, entrypoint=("python", "train.py")))
    await stage.remove("tool", force=True)
    assert len(stage.engine.graces) == 2
    await stage.engine.close()


async def test_a_container_of_an_earlier_version_of_ours_is_stopped_checked_and_removed_as_one_of_this(
    stage: Stage,
) -> None:
    earlier = SCRIPT.replace("0.1001", "0.1")
    stage.engine.programs[earlier] = our_pid1
    container = await stage.create()
    found = stage.engine.containers[container]
    labels = {**found.details.labels, label.USER: "alice"}
    found.details = replace(found.details, entrypoint=("sh", "-c", earlier), command=("bash",), labels=labels)
    await stage.start()
    assert stage.engine.calls["run_exec"] == 1, "the first start is checked"
    await stage.services.power.stop(ALICE_CALLER, 1001, "demo")
    assert found.details.exit_code == STOP_EXIT_STATUS
    assert stage.engine.calls["kill_container"] == 0, "it is no shell that ignores TERM"
    await stage.start()
    asked = len(stage.engine.graces)
    await stage.remove(force=True)
    assert len(stage.engine.graces) == asked, "it is idle, so it is not asked to stop"
