"""Creations that are refused, that race, and that only plan."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from ds01.domain.allocation import CLAIM_DEADLINE
from ds01.domain.containers.container import PublishedPort
from ds01.domain.devices.gpu import Inventory
from ds01.domain.engine import PullProgress
from ds01.domain.request import GpuRequest
from ds01.domain.rules.access import Caller
from ds01.domain.rules.limit import MACHINE_ORIGIN
from ds01.domain.user import User
from ds01.errors import (
    BackendError,
    Ds01Error,
    ForbiddenError,
    InvalidRequestError,
    NoCapacityError,
    NotFoundError,
    QuotaExceededError,
)
from ds01.service.images import ImageOrder
from ds01.service.limits import probe_script
from ds01.service.order import CreateOrder
from tests.fake_engine import FakeProcess
from tests.fakes import ALICE, FakeAccounts
from tests.unit.service.stage import ALICE_CALLER, BOB_CALLER, IMAGE, Stage, order, run_to_failure, until


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.add_image()
    return stage


async def test_a_claim_outlives_its_deadline_while_its_image_is_pulled(stage: Stage) -> None:
    stage.engine.publish("registry.example/other")
    gate = stage.engine.hold("pull_image")
    wanted = order(image="registry.example/other")
    task = asyncio.ensure_future(stage.services.creation.create(ALICE_CALLER, wanted, stage.notify))
    await until(lambda: stage.engine.calls["pull_image"])
    stage.clock.advance(CLAIM_DEADLINE * 3)
    await stage.reconcile()
    assert await stage.states() == {"demo": "claimed"}
    gate.set()
    await task
    assert await stage.states() == {"demo": "active"}


async def test_reconcile_does_not_wait_for_a_creation(stage: Stage) -> None:
    stage.engine.publish("registry.example/other")
    stage.engine.hold("pull_image")
    wanted = order(image="registry.example/other")
    task = asyncio.ensure_future(stage.services.creation.create(ALICE_CALLER, wanted, stage.notify))
    await until(lambda: stage.engine.calls["pull_image"])
    await asyncio.wait_for(stage.reconcile(), 30)
    task.cancel()
    await asyncio.wait({task})


async def test_an_engine_that_cannot_raise_ulimits_gets_what_it_can_set(stage: Stage) -> None:
    refusal = BackendError("The engine answered: error setting rlimit type 8: operation not permitted")
    stage.engine.fail_next("start_container", refusal)

    async def say_limits(process: FakeProcess) -> int:
        await process.write("memlock 8192\nstack unlimited\n")
        return 0

    stage.engine.programs[probe_script(("memlock", "stack"))] = say_limits
    details = stage.engine.containers[await stage.create(count=0)].details
    assert details.limits.ulimits == {"memlock": 8192 * 1024, "stack": 64 * 1024**2}
    info = await stage.engine.get_info()
    limits = stage.services.limits.effective(ALICE, info)
    assert limits.origins["ulimits"] == MACHINE_ORIGIN
    assert limits.values.ulimits["memlock"] == 8192 * 1024


async def test_ulimits_are_tried_once_for_each_engine_start(stage: Stage) -> None:
    await stage.create("first", count=0)
    made = stage.engine.calls["create_container"]
    await stage.create("second", count=0)
    assert stage.engine.calls["create_container"] == made + 1
    stage.services.limits.forget_engine()
    await stage.create("third", count=0)
    assert stage.engine.calls["create_container"] == made + 3


async def test_the_engine_is_asked_who_it_is_once_for_each_of_its_starts(stage: Stage) -> None:
    for name in ("first", "second"):
        await stage.create(name, count=0)
    assert stage.engine.calls["get_info"] == 1
    stage.services.limits.forget_engine()
    await stage.create("third", count=0)
    assert stage.engine.calls["get_info"] == 2


async def test_other_ulimits_are_tried_again(stage: Stage) -> None:
    await stage.create("first", count=0)
    made = stage.engine.calls["create_container"]
    stage.policy = replace(stage.policy, base=replace(stage.policy.base, ulimits={"memlock": -1, "nofile": 1_048_576}))
    await stage.create("second", count=0)
    assert stage.engine.calls["create_container"] == made + 2


async def test_an_engine_that_fails_while_ulimits_are_tried_fails_the_creation(stage: Stage) -> None:
    stage.engine.fail_next("start_container", BackendError("The engine answered: no space left on device"))
    before = await stage.picture()
    assert isinstance(await run_to_failure(stage.create(count=0)), BackendError)
    assert await stage.picture() == before


async def test_an_image_without_a_shell_gets_the_engines_init_and_a_warning(stage: Stage) -> None:
    stage.add_image("registry.example/bare", has_shell=False, has_sudo=False)
    wanted = order(image="registry.example/bare", count=0)
    creation = await stage.services.creation.create(ALICE_CALLER, wanted, stage.notify)
    assert creation.details is not None
    assert creation.details.entrypoint == ()
    assert "no shell" in " ".join(creation.warnings)
    assert "no sudo" in " ".join(creation.warnings)
    assert "--init" in creation.docker_command
    assert stage.engine.calls["start_container"] == 0  # nothing was tried in it


async def test_the_policy_can_deny_sudo(stage: Stage) -> None:
    stage.policy = replace(stage.policy, base=replace(stage.policy.base, sudo=False))
    creation = await stage.services.creation.create(ALICE_CALLER, order(count=0), stage.notify)
    assert creation.details is not None
    assert "/etc/sudoers.d/ds01" not in stage.engine.containers[creation.details.id].tree.files
    assert "no sudo" in " ".join(creation.warnings)


async def test_a_container_is_created_from_a_tag_of_its_own(stage: Stage) -> None:
    details = stage.engine.containers[await stage.create(count=0)].details
    assert details.image == f"{IMAGE}:demo._.1001"
    image = await stage.engine.find_image(IMAGE)
    assert image is not None
    assert image.id == details.image_id
    assert set(image.tags) == {f"{IMAGE}:latest", f"{IMAGE}:demo._.1001"}


async def test_the_container_quota_says_both_figures(stage: Stage) -> None:
    for number in range(5):
        await stage.create(f"c{number}", count=0)
    failure = await run_to_failure(stage.create("sixth", count=0))
    assert isinstance(failure, QuotaExceededError)
    assert failure.details == {"limit": "max_containers", "used": 5, "allowed": 5}


async def test_the_gpu_quota_is_refused_before_capacity(stage: Stage) -> None:
    await stage.create("a")
    await stage.create("b")
    failure = await run_to_failure(stage.create("c"))
    assert isinstance(failure, QuotaExceededError)
    assert "2 of 2 GPUs" in failure.message


async def test_no_free_gpu_says_who_has_it(stage: Stage) -> None:
    await stage.create("mine", kind="full")
    failure = await run_to_failure(stage.create("other", caller=BOB_CALLER, kind="full"))
    assert isinstance(failure, NoCapacityError)
    assert "mine (active)" in failure.message


async def test_an_unknown_kind_is_refused_with_the_nearest(stage: Stage) -> None:
    failure = await run_to_failure(stage.create(kind="1g.5bg"))
    assert isinstance(failure, InvalidRequestError)
    assert "1g.5gb" in (failure.hint or "")


async def test_a_foreign_cgroup_parent_is_refused(stage: Stage) -> None:
    wanted = replace(order(), cgroup_parent="ds01-u1002.slice")
    failure = await run_to_failure(stage.services.creation.create(ALICE_CALLER, wanted, stage.notify))
    assert isinstance(failure, QuotaExceededError)
    fine = replace(order(), cgroup_parent="ds01-u1001.slice")
    await stage.services.creation.create(ALICE_CALLER, fine, stage.notify)


async def test_a_workspace_of_somebody_else_is_refused_and_nothing_stays(stage: Stage) -> None:
    stage.directories.owners["/home/bob/secret"] = 1002
    before = await stage.picture()
    wanted = replace(order(), data="/home/bob/secret")
    failure = await run_to_failure(stage.services.creation.create(ALICE_CALLER, wanted, stage.notify))
    assert isinstance(failure, Ds01Error)
    assert failure.code == "forbidden"
    assert await stage.picture() == before


async def test_unknown_gpus_block_a_grant_and_not_a_container_without_one(stage: Stage) -> None:
    stage.devices.failure = BackendError("NVML does not answer.")
    failure = await run_to_failure(stage.create())
    assert isinstance(failure, BackendError)
    await stage.create("cpu", count=0)
    catalogue = CreateOrder("framework", ImageOrder("pytorch"), GpuRequest(0))
    creation = await stage.services.creation.dry_run(ALICE_CALLER, catalogue)
    assert "unknown" in creation.reasons[0]
    assert "no GPU here" not in creation.reasons[0]


async def test_a_machine_known_to_have_no_gpu_says_how_to_go_on(stage: Stage) -> None:
    stage.devices.inventory = Inventory()
    failure = await run_to_failure(stage.create())
    assert isinstance(failure, InvalidRequestError)
    assert "--cpu-only" in (failure.hint or "")


@pytest.mark.parametrize("login", ["204214", "alice.b@school.lan", "SCHOOL\\alice", "Ж"])
async def test_login_names_of_every_kind_get_a_container(login: str) -> None:
    user = User(1_700_000_001, 1_700_000_001, login, (), f"/home/{login}", "/bin/bash")
    stage = Stage(accounts=FakeAccounts([user]))
    stage.add_image()
    caller = Caller(user)
    details = stage.engine.containers[await stage.create(caller=caller, count=0)].details
    assert details.user == "1700000001:1700000001"
    await stage.start(caller=caller)
    assert stage.engine.containers[details.id].details.state == "running"


async def test_an_account_that_is_looked_into_once_is_remembered_over_restarts(stage: Stage) -> None:
    await stage.create("first", count=0)
    reads = stage.engine.calls["read_file"]
    assert reads > 0
    stage.boot()
    await stage.create("second", count=0)
    assert stage.engine.calls["read_file"] == reads


async def test_a_grant_is_not_taken_from_a_creation_by_the_passing_of_time(stage: Stage) -> None:
    await stage.create()
    stage.clock.advance(timedelta(days=30))
    await stage.reconcile()
    assert await stage.states() == {"demo": "active"}


async def test_a_container_that_shares_the_display_is_made_only_where_the_policy_allows_it(stage: Stage) -> None:
    wanted = replace(order(count=0), shares_display=True)
    before = await stage.picture()
    refused = await run_to_failure(stage.services.creation.create(ALICE_CALLER, wanted, stage.notify))
    assert isinstance(refused, ForbiddenError)
    assert await stage.picture() == before
    stage.policy = replace(stage.policy, base=replace(stage.policy.base, devices=("x11",)))
    made = await stage.services.creation.create(ALICE_CALLER, wanted, stage.notify)
    assert made.details is not None
    assert made.details.labels["aime.mlc.DS01_X11"] == "true"
    assert CreateOrder.from_text(wanted.to_text()).shares_display


async def no_such_host(reference: str) -> AsyncIterator[PullProgress]:
    """As a registry that cannot be reached."""
    if reference:
        raise BackendError("dial tcp: no such host")
    yield PullProgress("", "")


async def test_an_image_that_is_not_here_and_cannot_be_asked_for_is_not_found() -> None:
    stage = Stage()

    stage.engine.pull_image = no_such_host  # type: ignore[assignment,method-assign]
    listed = CreateOrder(name="demo", image=ImageOrder(framework="pytorch"), request=GpuRequest(1, "any"))
    with pytest.raises(NotFoundError, match=r"no image lab/typo here.*no such host") as caught:
        await stage.services.creation.create(ALICE_CALLER, order("demo", image="lab/typo"), stage.notify)
    assert "ds01 image create" in (caught.value.hint or "")
    with pytest.raises(BackendError, match="could not be pulled"):  # of the catalogue: the name is right
        await stage.services.creation.create(ALICE_CALLER, listed, stage.notify)
    assert stage.engine.containers == {}


async def test_an_engine_that_goes_away_while_it_asks_a_registry_says_nothing_of_the_image() -> None:
    stage = Stage()

    async def end(reference: str) -> AsyncIterator[PullProgress]:
        stage.engine.unreachable = BackendError("The engine is down.")
        async for step in no_such_host(reference):
            yield step

    stage.engine.pull_image = end  # type: ignore[assignment,method-assign]
    with pytest.raises(BackendError, match="engine is down"):
        await stage.services.creation.create(ALICE_CALLER, order("demo", image="lab/typo"), stage.notify)


async def test_a_port_of_the_host_is_given_once(stage: Stage) -> None:
    twice = replace(order(), ports=(PublishedPort(80, 18080), PublishedPort(81, 18080)))
    with pytest.raises(InvalidRequestError, match="port 18080 is given twice"):
        await stage.services.creation.create(ALICE_CALLER, twice, stage.notify)
    assert stage.engine.containers == {}
    fine = (PublishedPort(80, 18080), PublishedPort(80, 18080, "udp"), PublishedPort(81), PublishedPort(82))
    await stage.services.creation.create(ALICE_CALLER, replace(order(), ports=fine), stage.notify)
