"""`ds01 run`: open what is there, or create, start and run in one command."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from ds01.cli.call import Call
from ds01.cli.commands.container.creation import VERBOSE, create_with_progress, say_creation_plan
from ds01.cli.commands.container.request import ARGUMENTS, OPTIONS, creation_body, wants_new
from ds01.cli.commands.container.shell import ensure_started, run_interactively
from ds01.cli.preference import with_preferences
from ds01.cli.selection import naming, one_name
from ds01.cli.spec import ASKING, DRY_RUN, Option, Spec
from ds01.cli.terminal import ended_by_signal
from ds01.errors import InvalidRequestError, NotFoundError


def run(call: Call) -> int:
    """Run a command or a shell, in a container that is there or in a new one."""
    if call.tail == []:
        raise InvalidRequestError("No command follows the --.", hint="Leave -- out for a shell.")
    if wants_new(call):
        return _run_new(call)
    if call.flag("rm"):
        message = "--rm removes what this command has created, and it would create nothing."
        raise InvalidRequestError(message, hint=f"Name a framework: {call.command('run', '--rm', 'NAME', 'pytorch')}")
    name = one_name(call, "run")
    if call.flag("dry_run"):
        with naming(call, name), _offering_creation(call, name):
            return _plan_start(call, name)
    with naming(call, name), _offering_creation(call, name):
        container = ensure_started(call, name)
    return run_interactively(call, name, call.tail or (), container)


def _plan_start(call: Call, name: str) -> int:
    plan = call.client.start_container(name, {"dry_run": True})
    call.screen.tell(f"Would {'' if plan['was_running'] else f'start {name} and '}run {_what(call)} in {name}.")
    if not plan["was_running"]:
        call.screen.data(plan.get("docker_command", ""))
    return 0


def _what(call: Call) -> str:
    return shlex.join(call.tail) if call.tail else "a shell"


@contextmanager
def _offering_creation(call: Call, name: str) -> Iterator[None]:
    """Let an error about a container that does not exist say how this command would make it."""
    try:
        yield
    except NotFoundError as error:
        error.hint = f"Create it, too: {call.command('run', name, 'pytorch')}. Yours: {call.command('list')}"
        raise


def _run_new(call: Call) -> int:
    call = with_preferences(call, OPTIONS)
    body = creation_body(call)
    name = body["name"]
    if call.flag("dry_run"):
        say_creation_plan(call, body, f"Would create {name}, start it and run {_what(call)} in it:")
        return 0
    with ended_by_signal():
        create_with_progress(call, body)
        try:
            container = ensure_started(call, name)
            return run_interactively(call, name, call.tail or (), container)
        finally:
            if call.flag("rm"):
                call.client.remove_container(name, force=True)
                call.screen.note(f"Removed {name}; its workspace stays.")


RUN = Spec(
    run,
    examples=(
        "ds01 run my-project  start it if needed and open a shell",
        "ds01 run my-project -- nvidia-smi  one command in it",
        "ds01 run job-1 pytorch -- python train.py  create, start, run; its exit status; the container stays",
        "ds01 run --rm job-1 pytorch -- python train.py  the same, and remove it afterwards",
    ),
    details="With a framework or --image it creates the container first and takes the options of create.",
    arguments=ARGUMENTS,
    options=(
        Option("--rm", "Remove the created container when the command has ended."),
        *OPTIONS,
        DRY_RUN,
        VERBOSE,
        *ASKING,
    ),
    tail="dashes",
    passes_status=True,
)
