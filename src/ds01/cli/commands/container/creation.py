"""`ds01 create`."""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import cast

from ds01.api.schema import ContainerDetailsDocument, CreateContainerBody, CreatedContainer, ProgressMessage
from ds01.cli.call import Call
from ds01.cli.commands.container.explanation import CONCEPTS, INFO, explain
from ds01.cli.commands.container.power import with_gpus
from ds01.cli.commands.container.request import ARGUMENTS, GUIDED, OPTIONS, creation_body
from ds01.cli.commands.container.waiting import detached_text, hinting_at_waiting, say_place, watched, watches
from ds01.cli.commands.container.wizard import completed
from ds01.cli.container_text import image_text
from ds01.cli.image_state import hint_if_newer
from ds01.cli.preference import with_preferences
from ds01.cli.progress import follow
from ds01.cli.spec import ASKING, DRY_RUN, JSON, Option, Spec
from ds01.domain.images.image_name import parse_own_image
from ds01.domain.label import CUSTOM_IMAGE, RECIPE

VERBOSE = Option("-v --verbose", "Print every step, without a terminal too.")


def create(call: Call) -> int:
    """Create a container, or say what would be created."""
    if explain(call):
        return 0
    call = completed(with_preferences(call, OPTIONS))
    body = creation_body(call)
    if call.flag("dry_run"):
        _print_plan(call, call.client.create_container({**body, "dry_run": True}))
        return 0
    outcome = create_with_progress(call, body) if watches(call, body) else call.client.create_container(body)
    if call.flag("json"):
        call.screen.document(outcome)
    request = outcome.get("request")
    if request is not None:
        say_place(call, body["name"], request)
        return 0
    container = outcome.get("container")
    call.done(f"Created {body['name']}{_facts(container)}.", body["name"])
    _hint_at_newer_dockerfile(call, container)
    call.screen.suggest(call.command("open", body["name"]))
    return 0


def create_with_progress(call: Call, body: CreateContainerBody) -> CreatedContainer:
    """Create a container, show what goes on and what is worth a warning.

    Raises:
        WaitTimeoutError: The time to wait is over.
        Ds01Error: It failed, and what was made is undone.
    """
    name, waits = body["name"], body.get("wait", False)
    messages = cast("Generator[ProgressMessage]", call.client.stream_creation(body))
    with closing(messages), hinting_at_waiting(call):
        if waits:
            outcome = follow(call, watched(call, name, messages), cancelled=detached_text(name))
        else:
            outcome = follow(call, messages)
    for warning in outcome["warnings"]:
        call.screen.warn(warning)
    return outcome


def say_creation_plan(call: Call, body: CreateContainerBody, heading: str) -> None:
    """Print what a creation that is part of another command would be, and change nothing."""
    plan = call.client.create_container({**body, "dry_run": True})
    if call.flag("json"):
        call.screen.document(plan)
        return
    call.screen.tell(heading)
    for reason in plan["reasons"]:
        call.screen.tell(f"  {reason}")
    for warning in plan["warnings"]:
        call.screen.tell(f"  note: {warning}")
    call.screen.data(plan["docker_command"])


def _hint_at_newer_dockerfile(call: Call, container: ContainerDetailsDocument | None) -> None:
    """A container of an own image does not have what its Dockerfile got after the last build."""
    labels = container["labels"] if container is not None else {}
    own = parse_own_image(labels.get(CUSTOM_IMAGE, ""))
    if own is not None:
        hint_if_newer(call, own.name, labels.get(RECIPE, ""))


def _facts(container: ContainerDetailsDocument | None) -> str:
    if container is None:
        return ""
    return f" from {image_text(container)}{with_gpus(container)}"


def _print_plan(call: Call, plan: CreatedContainer) -> None:
    if call.flag("json"):
        call.screen.document(plan)
        return
    for line in _plan_lines(plan):
        call.screen.tell(line)
    if plan["docker_command"]:
        call.screen.data(plan["docker_command"])


def _plan_lines(plan: CreatedContainer) -> Iterator[str]:
    yield "Nothing was created. This would be done:"
    for reason in plan["reasons"]:
        yield f"  {reason}"
    for warning in plan["warnings"]:
        yield f"  note: {warning}"
    if plan["docker_command"]:
        yield "The docker command with the same effect:"


CREATE = Spec(
    create,
    examples=(
        "ds01 create  answer questions, one after the other; --guided explains them",
        "ds01 create my-project pytorch  the newest PyTorch for this machine, one GPU",
        "ds01 create my-project pytorch 2.8.0 -g 2 -d /data/imagenet  a version, two GPUs, a data folder",
        "ds01 create my-project --image ubuntu:24.04 --cpu-only  any image, no GPU",
        "ds01 create my-project pytorch --time 8h --wait  wait in the queue for a GPU; it goes back after 8 hours",
        "ds01 create my-project pytorch --dry-run  only say what would be done",
    ),
    details=(
        "The container is created and not started. Resource options lower what your limits give; more is refused. "
        "Ctrl-C undoes what was made; with --wait the request stays in the queue, and the same command "
        "returns to it. On a terminal, what is missing is asked."
    ),
    arguments=ARGUMENTS,
    options=(*OPTIONS, GUIDED, INFO, CONCEPTS, DRY_RUN, VERBOSE, JSON, *ASKING),
)
