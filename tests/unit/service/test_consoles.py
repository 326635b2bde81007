"""Main processes: who may type into one."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ds01.domain.containers.container import ContainerState
from ds01.errors import ConflictError, ForbiddenError, NotFoundError
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import ADMIN_CALLER, ALICE_CALLER, BOB_CALLER, Stage


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    stage.add_image()
    await stage.create(count=0)
    await stage.start()
    stage.engine.add_container(docker_made("theirs._.1001", state=ContainerState.RUNNING))
    yield stage
    await stage.engine.close()


async def test_a_main_process_of_another_user_is_typed_into_only_with_sudo(stage: Stage) -> None:
    attach = stage.services.consoles.attach
    (await attach(ALICE_CALLER, 1001, "theirs", has_stdin=True)).close()
    stage.policy = replace(stage.policy, base=replace(stage.policy.base, sudo=False))
    with pytest.raises(ForbiddenError, match="not yours to type into"):
        await attach(ALICE_CALLER, 1001, "theirs", has_stdin=True)
    for stream in (
        await attach(ALICE_CALLER, 1001, "theirs", has_stdin=False),
        await attach(ALICE_CALLER, 1001, "demo", has_stdin=True),
        await attach(ADMIN_CALLER, 1001, "theirs", has_stdin=True),
    ):
        stream.close()


async def test_only_the_owners_running_container_is_attached_to(stage: Stage) -> None:
    attach = stage.services.consoles.attach
    with pytest.raises(NotFoundError):
        await attach(BOB_CALLER, 1002, "demo", has_stdin=False)
    await stage.services.power.stop(ALICE_CALLER, 1001, "demo")
    with pytest.raises(ConflictError, match="does not run"):
        await attach(ALICE_CALLER, 1001, "demo", has_stdin=False)
    await stage.services.consoles.resize(1001, "demo", rows=24, columns=80)
