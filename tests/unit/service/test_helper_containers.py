"""Helper containers that a dead daemon left are removed, and those of another one when they are old."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from ds01.service.helper_container import is_helper_name
from tests.fake_engine.state import FakeContainer
from tests.unit.service.docker_made import docker_made
from tests.unit.service.stage import ProcessDeathError, Stage, until


async def test_a_helper_of_a_dead_daemon_goes_at_the_next_start_and_anothers_when_it_is_old() -> None:
    stage = Stage()
    made = [f"ds01-helper-{'0' * 16}._.0"]
    stage.engine.add_image("late")
    inspecting = stage.services.images.look_inside(stage.engine.image_of("late").details)
    task = asyncio.ensure_future(inspecting)
    await until(lambda: helpers(stage))
    stage.trap.is_dead = True
    await asyncio.wait({task})
    stage.trap.revive()
    assert isinstance(task.exception(), ProcessDeathError)
    theirs = replace(docker_made(made[0]), created_at=stage.clock.now())
    stage.engine.containers[theirs.id] = FakeContainer(theirs)
    stage.boot()
    await stage.reconcile()
    assert helpers(stage) == made
    stage.clock.advance(timedelta(minutes=11))
    await stage.reconcile()
    assert helpers(stage) == []


def helpers(stage: Stage) -> list[str]:
    names = [found.details.name for found in stage.engine.containers.values()]
    return [name for name in names if is_helper_name(name)]
