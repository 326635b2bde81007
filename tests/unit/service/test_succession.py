"""A container that takes another's place gives way to an owner who starts the old one past us meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ds01.domain.containers.container import ContainerState
from ds01.errors import ConflictError
from ds01.service.helper_container import is_helper_name
from tests.unit.service.stage import Stage, until
from tests.unit.service.test_moving import move, moves, private_tags, taken
from tests.unit.service.test_recreation import built_anew, recreate

Act = Callable[[Stage], Awaitable[object]]


@pytest.mark.parametrize(("prepare", "act"), [(taken, move), (built_anew, recreate)], ids=["move", "recreation"])
async def test_an_old_container_that_is_started_meanwhile_is_the_one_that_stays(
    prepare: Callable[[], Awaitable[Stage]], act: Act
) -> None:
    stage = await prepare()
    old = await stage.services.containers.get_details(1001, "demo")
    tags = await private_tags(stage)
    gate, before = stage.engine.hold("create_container"), stage.engine.calls["create_container"]
    acting = asyncio.ensure_future(act(stage))
    await until(lambda: stage.engine.calls["create_container"] > before)
    await stage.engine.start_container(old.id)
    gate.set()
    with pytest.raises(ConflictError, match="started past DS01"):
        await acting
    stays = await stage.services.containers.get_details(1001, "demo")
    assert (stays.id, stays.state) == (old.id, ContainerState.RUNNING)
    assert not [found for found in stage.engine.containers.values() if is_helper_name(found.details.name)]
    assert (await private_tags(stage), await moves(stage)) == (tags, 0)
