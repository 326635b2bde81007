"""Containers of others: found by their owner, opened with their own account, adopted, and cleared away."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ds01.domain import label
from ds01.domain.containers.container import ContainerDetails, ContainerState, ResourceLimits
from ds01.domain.name import EngineName
from ds01.domain.user import User
from ds01.errors import BackendError, ConflictError, ForbiddenError, NoCapacityError, NotFoundError
from ds01.service.leftovers import LeftoverKind
from ds01.service.sessions import SessionOrder
from ds01.service.takeover import limits_to_set
from tests.fake_engine import FileTree
from tests.fakes import DEFAULT_LIMITS, FakeAccounts
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import ADMIN_CALLER, ALICE_CALLER, BOB_CALLER, Stage

GIB = 1024**3
AGES_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.add_image()
    return stage


class BrokenAccounts(FakeAccounts):
    """A directory server that does not answer."""

    def find_user_by_name(self, name: str) -> User | None:
        raise BackendError(f"no answer about {name}")


def aime_made(
    name: str,
    *,
    state: ContainerState = ContainerState.RUNNING,
    uuid: str = "GPU-0",
    labels: Mapping[str, str] | None = None,
) -> ContainerDetails:
    """Return a container as AIME's tool makes it."""
    found = docker_made(name, state=state, uuid=uuid)
    owned = {label.OWNER: "alice", label.USER: "alice"} if labels is None else labels
    return replace(found, labels=owned, entrypoint=(), command=("bash", "-c", "bash"), user="1001:1001")


async def test_a_bare_name_is_found_by_the_login_in_its_label_and_by_nobody_else(stage: Stage) -> None:
    stage.engine.add_container(aime_made("ancient"))
    assert (await stage.services.containers.get_details(1001, "ancient")).name == "ancient"
    with pytest.raises(NotFoundError):
        await stage.services.containers.get_details(1002, "ancient")
    views = await stage.services.containers.list_views()
    assert [(view.name, view.uid) for view in views] == [("ancient", 1001)]


async def test_a_bare_name_beside_one_with_a_uid_is_called_by_its_id(stage: Stage) -> None:
    stage.engine.add_container(aime_made("demo"))
    stage.engine.add_container(aime_made("demo._.1001"))
    names = {view.summary.name: view.name for view in await stage.services.containers.list_views()}
    bare = next(found.details.id for found in stage.engine.containers.values() if found.details.name == "demo")
    assert names == {"demo": bare[:12], "demo._.1001": "demo"}
    assert (await stage.services.containers.get_details(1001, "demo")).name == "demo._.1001"


async def test_a_program_in_anothers_container_gets_its_account_even_if_that_is_not_inside(stage: Stage) -> None:
    stage.engine.add_container(aime_made("demo._.1001"), tree=FileTree({"/bin/bash": b""}))
    session = await stage.services.sessions.prepare(ALICE_CALLER, 1001, "demo", SessionOrder())
    spec = stage.engine.execs[session.exec_id].spec
    assert (spec.command, spec.user) == (("bash",), "1001:1001")
    assert (spec.environment["HOME"], spec.environment["USER"]) == ("/", "alice")
    assert spec.environment["PATH"].startswith("/.local/bin:")


async def test_adoption_books_the_devices_and_sets_the_limits(stage: Stage) -> None:
    found = stage.engine.add_container(aime_made("demo._.1001"))
    adopted = await stage.services.takeover.adopt(ALICE_CALLER, 1001, "demo", dry_run=False)
    assert not adopted.was_managed
    assert await stage.held() == {"GPU-0": "demo"}
    assert found.details.limits.memory_bytes == stage.policy.base.memory
    assert (await stage.events())[-1] == "container.adopted"
    await stage.reconcile()
    await stage.require_settled()
    again = await stage.services.takeover.adopt(ALICE_CALLER, 1001, "demo", dry_run=False)
    assert again.was_managed


async def test_a_dry_run_of_an_adoption_changes_nothing(stage: Stage) -> None:
    stage.engine.add_container(aime_made("demo._.1001"))
    before = await stage.picture()
    adopted = await stage.services.takeover.adopt(ALICE_CALLER, 1001, "demo", dry_run=True)
    assert adopted.limits.memory_bytes
    assert await stage.picture() == before


async def test_a_device_that_another_holds_is_a_reason_against_adoption(stage: Stage) -> None:
    await stage.create("first", kind="full", caller=BOB_CALLER)
    stage.engine.add_container(aime_made("late._.1001"))
    with pytest.raises(NoCapacityError, match="first"):
        await stage.services.takeover.adopt(ALICE_CALLER, 1001, "late", dry_run=False)
    assert "late" not in (await stage.states())


async def test_a_stopped_container_is_adopted_without_devices(stage: Stage) -> None:
    await stage.create("first", kind="full", caller=BOB_CALLER)
    stage.engine.add_container(aime_made("late._.1001", state=ContainerState.EXITED))
    await stage.services.takeover.adopt(ALICE_CALLER, 1001, "late", dry_run=False)
    assert await stage.held() == {"GPU-0": "first"}
    with pytest.raises(NoCapacityError, match="first"):
        await stage.start("late")


async def test_what_contradicts_is_adopted_by_an_administrator_only(stage: Stage) -> None:
    stage.engine.add_container(aime_made("demo._.1001", labels={label.OWNER: "bob"}))
    with pytest.raises(ForbiddenError, match="bob"):
        await stage.services.takeover.adopt(ALICE_CALLER, 1001, "demo", dry_run=False)
    await stage.services.takeover.adopt(ADMIN_CALLER, 1001, "demo", dry_run=False)


async def test_a_container_of_nobody_gets_its_owner_from_an_administrator(stage: Stage) -> None:
    stage.engine.add_container(aime_made("web", labels={}))
    with pytest.raises(NotFoundError):
        await stage.services.takeover.adopt(ALICE_CALLER, 1001, "web", dry_run=False)
    await stage.services.takeover.adopt(ADMIN_CALLER, 1001, "web", dry_run=False)
    assert (await stage.services.containers.get_details(1001, "web")).name == "web"
    with pytest.raises(ConflictError, match="1001"):
        await stage.services.takeover.adopt(ADMIN_CALLER, 1002, "web", dry_run=False)


def test_adoption_only_lowers_limits() -> None:
    allowed = ResourceLimits(nano_cpus=4, memory_bytes=8 * GIB, memory_swap_bytes=8 * GIB, pids_limit=100)
    assert limits_to_set(ResourceLimits(), allowed) == allowed
    lower = ResourceLimits(nano_cpus=2, memory_bytes=GIB, memory_swap_bytes=GIB, pids_limit=10)
    assert limits_to_set(lower, allowed) == ResourceLimits()
    assert limits_to_set(ResourceLimits(memory_bytes=GIB), allowed).memory_bytes == GIB
    assert limits_to_set(ResourceLimits(), ResourceLimits()) == ResourceLimits()


async def test_only_what_is_at_rest_and_ones_own_is_offered(stage: Stage) -> None:
    stage.engine.add_container(aime_made("stopped._.1001", state=ContainerState.EXITED))
    stage.engine.add_container(aime_made("fresh._.1001", state=ContainerState.CREATED))
    stage.engine.add_container(aime_made("half._.1001", state=ContainerState.EXITED, labels={}))
    stage.engine.add_container(aime_made("busy._.1001"))
    stage.engine.add_container(aime_made("bobs._.1002", state=ContainerState.EXITED, labels={}))
    at_once = await stage.services.leftovers.find(1001, older_than=timedelta(0))
    assert {(item.name, item.kind) for item in at_once} == {
        ("stopped", LeftoverKind.STOPPED),
        ("fresh", LeftoverKind.NEVER_STARTED),
        ("half", LeftoverKind.HALF_MADE),
    }


async def test_what_mlc_may_still_be_making_is_left_alone(stage: Stage) -> None:
    found = stage.engine.add_container(aime_made("half._.1001", state=ContainerState.EXITED, labels={}))
    found.change(finished_at=stage.clock.now())
    assert await stage.services.leftovers.find(1001) == []
    stage.clock.advance(timedelta(minutes=11))
    assert [item.name for item in await stage.services.leftovers.find(1001)] == ["half"]


async def test_what_a_stopped_container_keeps_can_go_without_it() -> None:
    stage = Stage(replace(DEFAULT_LIMITS, gpu_hold_after_stop=timedelta(hours=1)))
    stage.add_image()
    container = await stage.create(kind="full")
    leftovers = stage.services.leftovers
    assert [item.kind for item in await leftovers.find(1001)] == [LeftoverKind.NEVER_STARTED], "it is not kept yet"
    await stage.start()
    await stage.stop()
    held = {item.kind: item for item in await leftovers.find(1001)}
    assert set(held) == {LeftoverKind.STOPPED, LeftoverKind.HOLD}
    assert (held[LeftoverKind.HOLD].gpu_uuids, held[LeftoverKind.HOLD].size_bytes) == (("GPU-0",), 0)
    [outcome] = await leftovers.clear(ALICE_CALLER, 1001, [held[LeftoverKind.HOLD].id])
    assert outcome.problem is None
    assert container in stage.engine.containers
    assert await stage.held() == {}
    await stage.start()
    await stage.stop()
    both = await leftovers.clear(ALICE_CALLER, 1001, [item.id for item in await leftovers.find(1001)])
    assert [outcome.problem for outcome in both] == [None, None], "first what it keeps, then itself"
    assert await stage.states() == {}


async def test_images_that_nothing_needs_are_offered_to_whom_they_belong(stage: Stage) -> None:
    def add(*tags: str, maintainer: str = "", created_at: datetime = AGES_AGO) -> str:
        labels = {label.MAINTAINER: maintainer, label.CUSTOM_IMAGE: "thesis"} if maintainer else {}
        image = stage.engine.images[stage.engine.add_image("made")]
        image.details = replace(image.details, tags=tags, labels=labels, created_at=created_at)
        return image.details.id

    add(maintainer="alice")
    bobs = add(maintainer="bob")
    tagged = add("ds01.invalid/u1001/thesis:latest", maintainer="alice")
    add(f"ds01.invalid/export-{'a' * 16}:demo._.1001")
    theirs = add(f"ds01.invalid/import-{'b' * 16}:demo._.1002")
    async with stage.services.temporary_images.named("export", EngineName("busy", 1001)) as busy:
        exported = add(busy)
        found = await stage.services.leftovers.find(1001)
    assert {item.kind for item in found} == {LeftoverKind.UNTAGGED, LeftoverKind.TEMPORARY}
    outcomes = await stage.services.leftovers.clear(ALICE_CALLER, 1001, [item.id for item in found])
    assert [outcome.problem for outcome in outcomes] == [None, None]
    assert {bobs, tagged, theirs} <= set(stage.engine.images)
    assert exported not in stage.engine.images
    fresh = add(maintainer="alice", created_at=stage.clock.now())
    assert await stage.services.leftovers.find(1001) == [], "it may still be in the making"
    stage.clock.advance(timedelta(hours=1))
    assert [item.id for item in await stage.services.leftovers.find(1001)] == [fresh]
    stage.engine.add_container(replace(docker_made("mine"), image=fresh))
    assert await stage.services.leftovers.find(1001) == [], "a container was made from it"


async def test_one_leftover_that_cannot_go_does_not_keep_the_others(stage: Stage) -> None:
    first = stage.engine.add_container(aime_made("first._.1001", state=ContainerState.EXITED))
    second = stage.engine.add_container(aime_made("second._.1001", state=ContainerState.EXITED))
    running = stage.engine.add_container(aime_made("running._.1001"))
    ids = [running.details.id, first.details.id, second.details.id]
    outcomes = await stage.services.leftovers.clear(ALICE_CALLER, 1001, ids, older_than=timedelta(0))
    assert [outcome.problem is None for outcome in outcomes] == [False, True, True]
    assert [found.details.name for found in stage.engine.containers.values()] == ["running._.1001"]


async def test_while_the_accounts_fail_names_with_a_uid_are_still_listed(stage: Stage) -> None:
    stage.engine.add_container(aime_made("demo._.1001"))
    stage.engine.add_container(aime_made("ancient"))
    stage.accounts = BrokenAccounts()
    stage.boot()
    views = await stage.services.containers.list_views()
    assert {view.name: view.uid for view in views} == {"demo": 1001, "ancient": None}
