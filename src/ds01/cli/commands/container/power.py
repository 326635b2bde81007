"""`ds01 start`, `stop` and `restart`."""

from ds01.api.schema import ContainerDetailsDocument, ProcessRow, StopContainerBody, StoppedContainer
from ds01.cli.call import Call
from ds01.cli.commands.container.moving import MOVE, require_one_way, start_or_move
from ds01.cli.commands.container.waiting import START_OPTIONS
from ds01.cli.container_text import gpu_text
from ds01.cli.prompts import confirm
from ds01.cli.screen import clean
from ds01.cli.selection import for_each, is_active, is_any, is_inactive, some_names
from ds01.cli.spec import ASKING, DRY_RUN, JSON, NAMES, Option, Spec
from ds01.domain.containers.pid1 import is_idle_loop
from ds01.errors import ConflictError, InvalidRequestError, NotFoundError
from ds01.units import parse_duration

SHOWN_PROCESSES = 5
GRACE = Option("-t --time --grace", "How long programs may take to end, such as 30s.", kind="text", metavar="DURATION")
_FORCE = Option("-f --force", "End programs at once, without asking: what they have not saved is lost.")


def start(call: Call) -> int:
    """Start containers."""
    require_one_way(call)
    names = some_names(call, "start", fits=is_inactive, kind="stopped")
    if call.flag("all") and not names:
        call.screen.tell("You have no stopped container.")
    act = _plan_start if call.flag("dry_run") else start_one
    status = for_each(call, names, lambda name: act(call, name))
    if len(names) == 1 and not status and not call.flag("dry_run"):
        call.screen.suggest(call.command("open", names[0]))
    return status


def _plan_start(call: Call, name: str) -> dict[str, object]:
    outcome = call.client.start_container(name, {"dry_run": True})
    if outcome["was_running"]:
        call.screen.tell(f"{name} runs already: nothing to do.")
    else:
        call.screen.tell(f"Would start {name}{with_gpus(outcome['container'])}.")
        say_docker(call, outcome.get("docker_command", ""))
    return dict(outcome)


def say_docker(call: Call, command: str) -> None:
    """Print the docker command of a plan, unless the whole plan is printed as a document."""
    if command and not call.flag("json"):
        call.screen.data(command)


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
    if call.flag("all") and not names:
        call.screen.tell("You have no running container.")
    status = for_each(call, names, lambda name: _stop_one(call, name, body))
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


def _stop_one(call: Call, name: str, body: StopContainerBody) -> dict[str, object] | None:
    if not body.get("dry_run") and not _may_end(call, name, "Stop"):
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
    if outcome["was_running"]:
        say_docker(call, outcome["docker_command"])


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


def _may_end(call: Call, name: str, verb: str) -> bool:
    """Ask before programs end. Nothing is lost by stopping an idle container that was named."""
    if call.flag("force") or not call.must_confirm:
        return True
    programs = programs_of(call, name)
    if programs:
        count = "This program ends" if len(programs) == 1 else f"These {len(programs)} programs end"
        may = confirm(f"{count} when {name} stops:\n{describe_programs(programs)}\n{verb} {name}?")
    else:
        may = bool(call.texts("names")) or confirm(f"{verb} {name}?")
    if not may:
        call.screen.note(f"{name} was left as it is.")
    return may


def restart(call: Call) -> int:
    """Stop containers and start them again."""
    body = _stop_body(call)
    # --all is every one that runs: a restart of what is at rest would only be a start
    names = some_names(call, "restart", fits=is_active if call.flag("all") else is_any)
    if call.flag("all") and not names:
        call.screen.tell("You have no running container.")
    return for_each(call, names, lambda name: _restart_one(call, name, body))


def _restart_one(call: Call, name: str, body: StopContainerBody) -> dict[str, object] | None:
    is_dry = body.get("dry_run", False)
    if not is_dry and not _may_end(call, name, "Restart"):
        return None
    outcome = call.client.restart_container(name, body)
    for warning in outcome["warnings"]:
        call.screen.warn(warning)
    gpus = with_gpus(outcome["container"])
    if is_dry:
        call.screen.tell(f"Would {'restart' if outcome['was_running'] else 'start'} {name}{gpus}.")
        say_docker(call, outcome["docker_command"])
    else:
        done = "Restarted" if outcome["was_running"] else "Started"
        call.done(f"{done} {name}{gpus}. State: {outcome['container']['state']}.", name)
    return dict(outcome)


START = Spec(
    start,
    examples=(
        "ds01 start my-project  start it; its GPUs are checked, or granted anew",
        "ds01 start my-project --wait  wait in the queue while its GPU is taken",
        "ds01 start my-project --move  go on with another GPU when its own is taken",
        "ds01 start  pick from your stopped ones",
    ),
    arguments=(NAMES,),
    options=(Option("-a --all", "All of your stopped containers."), *START_OPTIONS, MOVE, DRY_RUN, JSON, *ASKING),
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
    examples=(
        "ds01 restart my-project  stop it and start it again; its GPUs stay its own",
        "ds01 restart --all -y  every one of yours that runs",
    ),
    details="Nobody gets its GPUs in between. One that is stopped is only started.",
    arguments=(NAMES,),
    options=(Option("-a --all", "All of your running containers."), GRACE, _FORCE, DRY_RUN, JSON, *ASKING),
)
