"""`ds01 start`, `stop` and `restart`."""

from ds01.api.schema import ContainerDetailsDocument, ProcessRow, StopContainerBody, StoppedContainer
from ds01.cli.call import Call
from ds01.cli.commands.container.listing import gpu_text
from ds01.cli.commands.container.moving import MOVE, require_one_way, start_or_move
from ds01.cli.commands.container.waiting import START_OPTIONS
from ds01.cli.prompts import confirm
from ds01.cli.screen import clean
from ds01.cli.selection import for_each, is_active, is_any, is_inactive, some_names
from ds01.cli.spec import ASKING, DRY_RUN, JSON, NAMES, Option, Spec
from ds01.domain.pid1 import is_idle_loop
from ds01.errors import ConflictError, InvalidRequestError, NotFoundError
from ds01.units import parse_duration

SHOWN_PROCESSES = 5
GRACE = Option("-t --time --grace", "How long programs may take to end, such as 30s.", kind="text", metavar="DURATION")
_FORCE = Option("-f --force", "End programs at once, without asking: what they have not saved is lost.")


def start(call: Call) -> int:
    """Start containers."""
    require_one_way(call)
    names = some_names(call, "start", fits=is_inactive, kind="stopped")
    status = for_each(call, names, lambda name: start_one(call, name))
    if len(names) == 1 and not status:
        call.screen.suggest(call.command("open", names[0]))
    return status


def start_one(call: Call, name: str) -> dict[str, object] | None:
    """Start one container and say what came of it; None: its owner would not have it moved."""
    outcome = start_or_move(call, name)
    if outcome is None:
        return None
    for warning in outcome["warnings"]:
        call.screen.warn(warning)
    if outcome["was_running"]:
        call.done(f"{name} was running already{with_gpus(outcome['container'])}.", name)
    else:
        container = outcome["container"]
        call.done(f"Started {name}{with_gpus(container)}. State: {container['state']}.", name)
    return dict(outcome)


def with_gpus(container: ContainerDetailsDocument) -> str:
    """Return ` with GPU 0`, or nothing for a container without."""
    gpus = container["gpus"]
    if not gpus:
        return ""
    return f" with GPU{'s' if len(gpus) > 1 else ''} {gpu_text(gpus)}"


def stop(call: Call) -> int:
    """Stop containers."""
    body = _stop_body(call)
    names = some_names(call, "stop", fits=is_active, kind="running")
    was_typed = bool(call.texts("names"))
    if call.flag("all") and not names:
        call.screen.tell("You have no running container.")
    status = for_each(call, names, lambda name: _stop_one(call, name, body, was_typed=was_typed))
    if len(names) == 1 and not status and not body.get("dry_run"):
        call.screen.suggest(call.command("start", names[0]))
    return status


def grace_of(call: Call) -> StopContainerBody:
    """Return how to stop, as it was typed.

    Raises:
        InvalidRequestError: No duration; or a time for programs that get none.
    """
    grace = call.text("grace")
    if call.flag("force"):
        if grace is not None:
            raise InvalidRequestError("--time and --force exclude each other.", hint="Leave one of them out.")
        return {"grace_s": 0.0}
    return {} if grace is None else {"grace_s": parse_duration(grace).total_seconds()}


def _stop_body(call: Call) -> StopContainerBody:
    body = grace_of(call)
    if call.flag("dry_run"):
        body["dry_run"] = True
    return body


def _stop_one(call: Call, name: str, body: StopContainerBody, *, was_typed: bool) -> dict[str, object] | None:
    if (
        call.must_confirm
        and not call.flag("force")
        and not body.get("dry_run")
        and not _may_stop(name, programs_of(call, name), was_typed=was_typed)
    ):
        call.screen.note(f"{name} was left as it is.")
        return None
    outcome = call.client.stop_container(name, body)
    if outcome["dry_run"]:
        _say_plan(call, name, outcome)
    elif outcome["was_running"]:
        call.done(f"Stopped {name}.", name)
    else:
        call.done(f"{name} was not running.", name)
    return dict(outcome)


def _say_plan(call: Call, name: str, outcome: StoppedContainer) -> None:
    call.screen.tell(f"Would stop {name}." if outcome["was_running"] else f"{name} is not running: nothing to do.")
    if outcome["was_running"] and not call.flag("json"):
        call.screen.data(outcome["docker_command"])


def programs_of(call: Call, name: str) -> list[ProcessRow]:
    """Return what a user started in a container; nothing if it does not run."""
    try:
        found = call.client.list_processes(name)["processes"]
    except (NotFoundError, ConflictError):
        return []  # what is asked next says it better
    return [process for process in found if not is_idle_loop(process["command"])]


def describe_programs(programs: list[ProcessRow]) -> str:
    """Return running programs as lines for a question."""
    lines = [f"  {process['pid']}  {clean(process['command'])[:100]}" for process in programs[:SHOWN_PROCESSES]]
    if len(programs) > SHOWN_PROCESSES:
        lines.append(f"  and {len(programs) - SHOWN_PROCESSES} more")
    return "\n".join(lines)


def _may_stop(name: str, programs: list[ProcessRow], *, was_typed: bool) -> bool:
    """Nothing is lost by stopping an idle container that was named."""
    if not programs:
        return was_typed or confirm(f"Stop {name}?")
    count = "This program ends" if len(programs) == 1 else f"These {len(programs)} programs end"
    return confirm(f"{count} when {name} stops:\n{describe_programs(programs)}\nStop {name}?")


def restart(call: Call) -> int:
    """Stop containers and start them again."""
    names = some_names(call, "restart", fits=is_any)
    was_typed = bool(call.texts("names"))
    return for_each(call, names, lambda name: _restart_one(call, name, was_typed=was_typed))


def _restart_one(call: Call, name: str, *, was_typed: bool) -> dict[str, object] | None:
    if call.must_confirm and not _may_stop(name, programs_of(call, name), was_typed=was_typed):
        call.screen.note(f"{name} was left as it is.")
        return None
    call.client.stop_container(name, _stop_body(call))
    return start_one(call, name)


START = Spec(
    start,
    examples=(
        "ds01 start my-project  start it; its GPUs are checked, or granted anew",
        "ds01 start my-project --wait  wait in the queue while its GPU is taken",
        "ds01 start my-project --move  go on with another GPU when its own is taken",
        "ds01 start  pick from your stopped ones",
    ),
    arguments=(NAMES,),
    options=(Option("-a --all", "All of your stopped containers."), *START_OPTIONS, MOVE, JSON, *ASKING),
)
STOP = Spec(
    stop,
    examples=(
        "ds01 stop my-project  programs get SIGTERM and time to save",
        "ds01 stop my-project --time 2m  more time",
        "ds01 stop --all  every one of yours",
    ),
    details="On a terminal it shows the programs that would end, and asks. Files stay, inside and in the workspace.",
    arguments=(NAMES,),
    options=(Option("-a --all", "All of your running containers."), GRACE, _FORCE, DRY_RUN, JSON, *ASKING),
)
RESTART = Spec(
    restart,
    examples=("ds01 restart my-project  stop it and start it again",),
    arguments=(NAMES,),
    options=(GRACE, JSON, *ASKING),
)
