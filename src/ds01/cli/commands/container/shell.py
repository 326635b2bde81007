"""`ds01 open` and `ds01 exec`: programs in a running container, through the daemon's stream."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ds01.api.schema import ContainerDetailsDocument, ExecBody
from ds01.cli.call import Call
from ds01.cli.commands.container.displaying import X11, sharing
from ds01.cli.commands.container.environment import parse_environment
from ds01.cli.commands.container.power import with_gpus
from ds01.cli.selection import is_active, naming, one_name
from ds01.cli.spec import ASKING, NAME, NO_INPUT, Option, Spec
from ds01.cli.start_failure import NOT_FOUND, NOT_RUNNABLE, StartFailure, read_refusal
from ds01.cli.terminal import (
    STDIN_DESCRIPTOR,
    STDOUT_DESCRIPTOR,
    is_terminal,
    run_on_pipes,
    run_on_terminal,
    terminal_environment,
    window_title,
    write_bytes,
)
from ds01.errors import BackendError, ConflictError, Ds01Error, InvalidRequestError

STATUS_TIMEOUT_S = 10.0
STATUS_PAUSE_S = 0.02
NO_TMUX = 124
_HAS_TMUX = f"command -v tmux >/dev/null 2>&1 || exit {NO_TMUX}; "
KEEP_SHELL = _HAS_TMUX + "exec tmux new-session -A -s ds01"
KEEP_COMMAND = _HAS_TMUX + 'exec tmux new-session -A -s ds01 "$@"'
"""One session for each container: whoever comes again is in it."""
INSIDE = (
    Option("--root", "Run it as root inside the container."),
    Option(
        "-e --env",
        "Set a variable; without a value, yours is passed on.",
        kind="text",
        metavar="NAME[=VALUE]",
        many=True,
    ),
    Option("-w --workdir", "Start in this folder of the container.", kind="text", metavar="FOLDER"),
)


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run in a container.

    Attributes:
        command: Its words; empty for a login shell.
        has_terminal: It gets a terminal.
        reads_stdin: It gets our stdin.
        display: Variables by which it finds the user's display; empty: it has none.
    """

    command: tuple[str, ...] = ()
    has_terminal: bool = False
    reads_stdin: bool = True
    display: Mapping[str, str] = field(default_factory=dict)


def open_(call: Call) -> int:
    """Open a shell in a container, or run a command in it."""
    name = one_name(call, "open")
    with naming(call, name):
        container = ensure_started(call, name)
    if call.tail == []:
        raise InvalidRequestError("No command follows the --.", hint=f"Write {call.command('open', name)} for a shell.")
    if call.flag("keep"):
        if call.flag("x11"):
            raise InvalidRequestError("--keep and --x11 exclude each other: a display goes when you leave.")
        return _open_kept(call, name)
    return run_interactively(call, name, call.tail or (), container)


def _open_kept(call: Call, name: str) -> int:
    """Open a session that goes on when the connection ends. An engine's exec cannot be taken up again; tmux can."""
    if not (is_terminal(STDIN_DESCRIPTOR) and is_terminal(STDOUT_DESCRIPTOR)):
        raise InvalidRequestError("--keep needs a terminal.", hint=f"Use {call.command('exec', name, 'COMMAND')}.")
    script = KEEP_COMMAND if call.tail else KEEP_SHELL
    status = run_program(call, name, Program(("sh", "-c", script, "ds01", *(call.tail or ())), has_terminal=True))
    if status == NO_TMUX:
        raise ConflictError(
            f"{name} has no tmux, so nothing can be kept.",
            hint=f"Install it: {call.command('exec', name, '--', 'sudo', 'apt-get', 'install', 'tmux')}",
        )
    call.screen.note("What runs in this session goes on; Ctrl-B D leaves it.")
    call.screen.suggest(call.command("open", name, "--keep"))
    return 0


def ensure_started(call: Call, name: str) -> ContainerDetailsDocument:
    """Start a container unless it runs, and return it."""
    outcome = call.client.start_container(name)
    if outcome["was_running"]:
        return outcome["container"]  # what it has is no news to somebody who only wants in
    for warning in outcome["warnings"]:
        call.screen.warn(warning)
    call.screen.note(f"Started {name}{with_gpus(outcome['container'])}.")
    return outcome["container"]


def run_interactively(call: Call, name: str, command: Sequence[str], container: ContainerDetailsDocument) -> int:
    """Run a command, or a shell without one, with a terminal if we have one, and with the display if that is wanted.

    Returns:
        The command's exit status; 0 after a shell that a person has left.
    """
    has_terminal = is_terminal(STDIN_DESCRIPTOR) and is_terminal(STDOUT_DESCRIPTOR)
    with sharing(call, name, container) as display:
        status = run_program(call, name, Program(tuple(command), has_terminal=has_terminal, display=display))
    if command or not has_terminal:
        return status
    if _stops_by_itself(call):
        call.screen.note(f"You have left {name}; it stops when nothing else runs in it (stop_on_last_exit).")
        return 0
    call.screen.note(f"You have left {name}; it goes on running.")
    call.screen.suggest(call.command("stop", name))
    return 0


def _stops_by_itself(call: Call) -> bool:
    """Tell whether the policy stops a container after its last shell; who has left wants no error about that."""
    try:
        return bool(call.client.get_limits()["limits"]["stop_on_last_exit"]["value"])
    except (Ds01Error, KeyError):
        return False


def exec_(call: Call) -> int:
    """Run a command in a running container."""
    name = one_name(call, "run a command in", fits=is_active, kind="running")
    if not call.tail:
        hint = f"Write {call.command('exec', name, 'COMMAND')}; a shell: {call.command('open', name)}"
        raise InvalidRequestError("No command was given.", hint=hint)
    wants_terminal = call.flag("tty")
    if wants_terminal and not is_terminal(STDIN_DESCRIPTOR):
        raise InvalidRequestError(
            "-t needs a terminal, and stdin is none.", hint="Leave -t out: stdin, stdout and stderr are passed."
        )
    program = Program(tuple(call.tail), has_terminal=wants_terminal, reads_stdin=not call.flag("no_stdin"))
    with naming(call, name):
        return run_program(call, name, program)


def run_program(call: Call, name: str, program: Program) -> int:
    """Run a program in a running container, connected to our own streams; return its exit status.

    Raises:
        Ds01Error: It could not be started, or its exit status is not known.
    """
    client = call.client
    exec_id = client.create_exec(name, _exec_body(call, program))["exec_id"]
    stream = client.start_exec(exec_id)
    failure = StartFailure()
    try:
        if program.has_terminal:
            with window_title(name, call.environment):
                run_on_terminal(stream, lambda rows, columns: _resize(call, exec_id, rows, columns), failure=failure)
        else:
            run_on_pipes(stream, reads_stdin=program.reads_stdin, failure=failure)
    finally:
        stream.close()
    status = _exit_status(call, exec_id)
    if status in {NOT_RUNNABLE, NOT_FOUND} and failure.reason():
        return _say_refusal(call, name, program, failure.reason())
    write_bytes(STDOUT_DESCRIPTOR, failure.give_up())
    return status


def _say_refusal(call: Call, name: str, program: Program, reason: str) -> int:
    """Say why a program could not be started, and return the exit status for that."""
    word = program.command[0] if program.command else "the shell"
    refusal = read_refusal(reason, word, name)
    if refusal.absent_folder:
        hint = f"Make it first: {call.command('exec', name, '--', 'mkdir', '-p', shlex.quote(refusal.absent_folder))}"
    elif refusal.program_is_absent:
        hint = f"See where it is looked for: {call.command('exec', name, '--', 'env')}"
    else:
        hint = f"Look at it: {call.command('exec', name, '--', 'ls', '-l', shlex.quote(word))}"
    call.screen.failure(refusal.message, hint)
    return refusal.status


def _exec_body(call: Call, program: Program) -> ExecBody:
    environment = terminal_environment(call.environment) if program.has_terminal else {}
    environment.update(program.display)
    environment.update(parse_environment(call.texts("env"), call.environment))
    body: ExecBody = {"terminal": program.has_terminal, "stdin": program.reads_stdin, "environment": environment}
    if program.command:
        body["command"] = list(program.command)
    if program.display:
        body["x11"] = True
    if call.flag("root"):
        body["as_root"] = True
    working_dir = call.text("workdir")
    if working_dir is not None:
        body["working_dir"] = working_dir
    return body


def _resize(call: Call, exec_id: str, rows: int, columns: int) -> bool:
    """A wrong size is an annoyance and no reason to end a session, so a failure only means: again."""
    try:
        call.client.resize_exec(exec_id, rows, columns)
    except Ds01Error:
        return False
    return True


def _exit_status(call: Call, exec_id: str) -> int:
    deadline = time.monotonic() + STATUS_TIMEOUT_S
    while True:
        status = call.client.get_exec(exec_id)
        if not status["running"] and status["exit_code"] is not None:
            return status["exit_code"]
        if time.monotonic() > deadline:
            message = "The program's stream has ended, and its exit status is not known."
            raise BackendError(message, hint="It may still run: look with `ds01 top`.")
        time.sleep(STATUS_PAUSE_S)


OPEN = Spec(
    open_,
    examples=(
        "ds01 open my-project  a shell; the container is started if needed",
        "ds01 open  pick one of yours",
        "ds01 open my-project -- python train.py  one command, with its exit status",
        "ds01 open my-project --x11 -- python plot.py  its windows come to your own display",
        "ds01 open my-project --keep  a session that outlives the connection (tmux in the container)",
    ),
    details="Many shells can be open at once. Leaving a shell neither stops nor removes anything.",
    arguments=(NAME,),
    options=(
        Option("-k --keep", "Open a tmux session that goes on when you leave, or take yours up again."),
        X11,
        *INSIDE,
        *ASKING,
    ),
    tail="dashes",
)
EXEC = Spec(
    exec_,
    examples=(
        "ds01 exec my-project nvidia-smi  one command",
        "ds01 exec -t my-project htop  with a terminal",
        "tar c data | ds01 exec my-project -- tar x  with our stdin",
    ),
    details="The exit status is the command's; 125 means that it could not be run. Our options stand before NAME.",
    arguments=(NAME,),
    options=(
        Option("-i --interactive", "Pass stdin on: always done, accepted as docker's flag."),
        Option("-t --tty", "Give it a terminal."),
        Option("-n --no-stdin", "Do not read stdin, for loops that read it themselves."),
        *INSIDE,
        NO_INPUT,
    ),
    tail="rest",
    passes_status=True,
)
