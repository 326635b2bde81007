"""What the tests of reconcile share: sites with a hold, the plan's kinds, a death in a creation."""

from dataclasses import replace
from datetime import timedelta

from ds01.domain.containers.plan import ActionKind
from tests.fakes import DEFAULT_LIMITS
from tests.unit.service.stage import Stage, run_to_failure


def stage_with(hold: timedelta | None = timedelta(0), *, only_uid: int | None = None) -> Stage:
    stage = Stage(replace(DEFAULT_LIMITS, gpu_hold_after_stop=hold), only_uid=only_uid)
    stage.add_image()
    return stage


async def kinds(stage: Stage) -> list[ActionKind]:
    return [action.kind for action in await stage.services.reconciler.plan()]


async def die_at(stage: Stage, step: str) -> None:
    """Let the process die at a step of a creation, and start the next one."""
    counted = Stage()
    counted.add_image()
    await counted.create()
    stage.trap.arm(counted.trap.steps.index(step) + 1, stage.trap.die)
    await run_to_failure(stage.create())
    stage.trap.revive()
    stage.boot()
