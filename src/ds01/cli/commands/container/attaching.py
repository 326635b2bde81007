"""`ds01 container attach`: the console of a container's main process."""

import time

from ds01.api.schema import ContainerDetailsDocument
from ds01.cli.call import Call
from ds01.cli.leaving import DEFAULT_KEYS, LeavingKeys, parse_keys
from ds01.cli.selection import is_active, naming, one_name
from ds01.cli.spec import NAME, NO_INPUT, Option, Spec
from ds01.cli.terminal import (
    STDIN_DESCRIPTOR,
    STDOUT_DESCRIPTOR,
    is_terminal,
    run_on_pipes,
    run_on_terminal,
    window_title,
)
from ds01.client.wire import Connection
from ds01.domain.containers.pid1 import is_idle_loop
from ds01.errors import BackendError, Ds01Error, InvalidRequestError

STATUS_TIMEOUT_S = 10.0
STATUS_PAUSE_S = 0.05


def attach(call: Call) -> int:
    """Connect this terminal with the main process; its exit status if it ends meanwhile, 0 after leaving it."""
    keys = LeavingKeys(parse_keys(call.text("detach_keys") or DEFAULT_KEYS))
    name = one_name(call, "attach to", fits=is_active, kind="running")
    with naming(call, name):
        container = call.client.get_container(name)
        types = not call.flag("no_stdin")
        _require_terminal(call, container, types=types)
        stream = call.client.attach_container(name, stdin=types)
    try:
        _say_what_is_there(call, container, types=types)
        _connect(call, container, stream, keys)
    finally:
        stream.close()
    if keys.were_typed:
        call.screen.note(f"You have left the console of {name}; it goes on running.")
        return 0
    return _exit_status(call, container)


def _require_terminal(call: Call, container: ContainerDetailsDocument, *, types: bool) -> None:
    has_terminal = is_terminal(STDIN_DESCRIPTOR) and is_terminal(STDOUT_DESCRIPTOR)
    if types and container["terminal"] and not has_terminal:
        raise InvalidRequestError(
            f"{container['name']} has a terminal, and there is none here.",
            hint=f"Only watch it: {call.command('attach', '--no-stdin', container['name'])}",
        )


def _say_what_is_there(call: Call, container: ContainerDetailsDocument, *, types: bool) -> None:
    name = container["name"]
    if is_idle_loop(" ".join(container["command"])):
        call.screen.note(f"The main process of {name} only waits: it shows nothing and runs nothing.")
        call.screen.note(f"Programs run in a shell of their own: {call.command('open', name)}")
    if not (types and container["terminal"]):
        call.screen.note(f"Ctrl-C ends this and leaves {name} running.")
    else:
        shown = (call.text("detach_keys") or DEFAULT_KEYS).replace(",", " ")
        call.screen.note(f"Leave it running with {shown}.")


def _connect(call: Call, container: ContainerDetailsDocument, stream: Connection, keys: LeavingKeys) -> None:
    types = not call.flag("no_stdin")
    if not (types and container["terminal"]):
        run_on_pipes(stream, reads_stdin=types, is_framed=not container["terminal"])
        return
    name = container["name"]

    def resize(rows: int, columns: int) -> bool:
        try:
            call.client.resize_container(name, rows, columns)
        except Ds01Error:
            return False  # a wrong size is an annoyance and no reason to end anything
        return True

    with window_title(name, call.environment):
        run_on_terminal(stream, resize, leaving=keys)


def _exit_status(call: Call, before: ContainerDetailsDocument) -> int:
    """Return the status with which it ended; the stream may end a moment earlier than the engine says so."""
    name = before["name"]
    deadline = time.monotonic() + STATUS_TIMEOUT_S
    while time.monotonic() < deadline:
        container = call.client.get_container(name)
        if container["id"] != before["id"] or container["started_at"] != before["started_at"]:
            break
        if container["exit_code"] is not None:
            call.screen.note(f"{name} has ended with status {container['exit_code']}.")
            return container["exit_code"]
        time.sleep(STATUS_PAUSE_S)
    message = f"The console of {name} has ended, and the exit status of its main process is not known."
    raise BackendError(message, hint=f"Look at it: {call.command('inspect', name)}")


ATTACH = Spec(
    attach,
    examples=(
        "ds01 container attach web  what its main process shows, and what you type reaches it",
        "ds01 container attach --no-stdin web  only watch",
        "ds01 container attach --detach-keys ctrl-x,x web  other keys to leave it",
    ),
    details=(
        f"As docker attach: {DEFAULT_KEYS.replace(',', ' ')} leaves it running, and if it ends meanwhile, its exit "
        "status is ours. In containers that ds01 made the main process only waits for programs: a shell is ds01 open."
    ),
    arguments=(NAME,),
    options=(
        Option(
            "--detach-keys", f"Keys that leave it running, {DEFAULT_KEYS} if not given.", kind="text", metavar="KEYS"
        ),
        Option("-n --no-stdin", "Only watch: nothing that you type reaches it."),
        NO_INPUT,
    ),
    passes_status=True,
)
