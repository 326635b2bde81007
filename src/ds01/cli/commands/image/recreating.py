"""Containers that were made from an image and are made again from its newest build: the third phase of an update."""

from collections.abc import Generator
from contextlib import closing
from typing import cast

from ds01.api.schema import DriftDocument, ProgressMessage, RecreatedContainer
from ds01.cli.call import Call
from ds01.cli.drift import drift_of
from ds01.cli.progress import follow_to_result
from ds01.cli.prompts import confirm
from ds01.cli.spec import Option
from ds01.domain.images.installed import lost_changes
from ds01.domain.images.recipe import ImageRecipe
from ds01.errors import ConflictError, DaemonUnreachableError, Ds01Error, NotFoundError
from ds01.units import format_size

RECREATE = Option("--recreate", "Make the containers of the image again from its newest build.")
STOP = Option("--stop", "With --recreate: also those that run; they are stopped and run again afterwards.")
_CANCELLED = "Cancelled: the container is left as it was."


def containers_of(call: Call, image: str) -> list[str]:
    """Return the names of one's containers that were made from an own image; none if there is no such image."""
    try:
        found = call.client.get_image(image)["containers"]
    except NotFoundError:
        return []
    return [name.rpartition("._.")[0] or name for name in found]


def recreate_containers(call: Call, image: str, recipe: ImageRecipe) -> tuple[int, list[RecreatedContainer]]:
    """Make every container of an image again that is not of its newest build; one that fails stops no other.

    Args:
        call: The command; --dry-run only says what would be done.
        image: Short name of the image.
        recipe: What the image has now.

    Returns:
        0 or the exit status of the first failure, and what was done.
    """
    status, done = 0, []
    names = containers_of(call, image)
    if not names:
        call.screen.tell(f"No container was made from {image}.")
    for name in names:
        try:
            outcome = _recreate_one(call, name, image, recipe)
        except Ds01Error as failure:
            status = status or failure.exit_status
            call.process.report(failure)
            continue
        if outcome is not None:
            done.append(outcome)
    return status, done


def _recreate_one(call: Call, name: str, image: str, recipe: ImageRecipe) -> RecreatedContainer | None:
    plan = call.client.recreate_container(name, {"image": image, "dry_run": True})
    if plan["is_current"]:
        call.screen.tell(f"{name} is of the newest build of {image} already.")
        return None
    if plan["was_running"] and not call.flag("stop") and not call.must_confirm:
        raise ConflictError(f"{name} is {plan['state']}.", hint="Stop it first, or add --stop.")
    _tell_loss(call, name, plan, recipe)
    if call.flag("dry_run"):
        call.screen.tell(f"Would make {name} again from {image}.")
        return plan
    stops = " It is stopped for that and runs again afterwards." if plan["was_running"] else ""
    if call.must_confirm and not confirm(f"Make {name} again from {image}?{stops}"):
        call.screen.note(f"{name} was left as it is.")
        return None
    messages = call.client.stream_recreate(name, {"image": image, "stop": plan["was_running"]})
    with closing(cast("Generator[ProgressMessage]", messages)) as steps:
        last = follow_to_result(call, steps, cancelled=_CANCELLED)
    if "recreated" not in last:
        raise DaemonUnreachableError("ds01d did not say how the re-creation ended.", hint="Look with ds01 list")
    for warning in last["recreated"]["warnings"]:
        call.screen.warn(warning)
    call.screen.success(f"Made {name} again from {image}.")
    return last["recreated"]


def _tell_loss(call: Call, name: str, plan: RecreatedContainer, recipe: ImageRecipe) -> None:
    """Name what goes with the old container, to everybody; what is not known is said to be so."""
    tell = call.screen.tell
    tell(f"{name}: what was written outside of its mounted folders goes ({format_size(plan['size_bytes'])}).")
    try:
        found: DriftDocument = call.client.get_drift(name)
    except Ds01Error as failure:
        call.screen.warn(f"What was installed in {name} is not known: {failure.message}")
        return
    lost = [change.line for change in lost_changes(recipe, drift_of(found))]
    if lost:
        tell(f"  not in the Dockerfile: {', '.join(lost)}  (keep them: ds01 save {name})")
    for one in found["left_out"]:
        tell(f"  {one['what']}: {one['reason']}")
    for note in found["notes"]:
        call.screen.warn(note)
    tell("  Its name, folders, options, limits and GPUs stay.")
