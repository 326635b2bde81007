"""The command line on a real pseudo-terminal: questions, pickers, progress, raw mode that is always undone."""

import signal
import socket
import threading

import pytest

from tests.unit.cli.conftest import Start, container, containers, details
from tests.unit.cli.waiting_documents import estimate, queue, request
from tests.unit.scripted_daemon import UPGRADED, Request, ScriptedDaemon, line, ok, stream_head

STOPPED = {
    "schema_version": 1,
    "container": details("a", "exited"),
    "was_running": True,
    "dry_run": False,
    "docker_command": "docker stop",
}
REMOVED = {
    "schema_version": 1,
    "name": "a",
    "workspace": "/home/alice/workspace/a",
    "gpus_released": ["GPU-1"],
    "dry_run": False,
    "docker_command": "docker rm",
}
ENTER, DOWN, CTRL_C, CTRL_D = "\r", "\x1b[B", "\x03", "\x04"


def script_processes(daemon: ScriptedDaemon, *commands: str) -> None:
    rows = [{"pid": 100 + number, "user": "alice", "command": command} for number, command in enumerate(commands)]
    daemon.answers["GET /v1/containers/a/processes"] = ok({"schema_version": 1, "name": "a", "processes": rows})


def acts(daemon: ScriptedDaemon) -> list[str]:
    return [text for text in daemon.asked() if not text.startswith("GET")]


def test_stop_shows_the_programs_that_end_before_it_asks(daemon: ScriptedDaemon, start: Start) -> None:
    script_processes(daemon, "python train.py")
    daemon.answers["POST /v1/containers/a/stop"] = ok(STOPPED)
    with start("stop", "a") as terminal:
        terminal.wait_for("Stop a? [y/N]")
        assert "python train.py" in terminal.text()
        terminal.type("y\n")
        assert terminal.wait() == 0
        assert "Stopped a." in terminal.text()
        assert "ds01 start a" in terminal.text()
    assert acts(daemon) == ["POST /v1/containers/a/stop"]


def test_a_no_or_the_end_of_input_changes_nothing(daemon: ScriptedDaemon, start: Start) -> None:
    script_processes(daemon, "python train.py")
    for answer in ("\n", "n\n", CTRL_D):
        with start("stop", "a") as terminal:
            terminal.wait_for("Stop a? [y/N]")
            terminal.type(answer)
            assert terminal.wait() == 1
    with start("stop", "a") as terminal:
        terminal.wait_for("Stop a? [y/N]")
        terminal.type(CTRL_C)
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.text()
    assert acts(daemon) == []


@pytest.mark.parametrize("flag", ["-y", "-s", "--no-input", "--json"])
def test_a_question_that_is_answered_or_forbidden_is_not_asked(flag: str, daemon: ScriptedDaemon, start: Start) -> None:
    script_processes(daemon, "python train.py")
    daemon.answers["POST /v1/containers/a/stop"] = ok(STOPPED)
    with start("stop", flag, "a") as terminal:
        assert terminal.wait() == 0
        assert "[y/N]" not in terminal.text()


def test_remove_says_what_is_lost_and_what_stays(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers["GET /v1/containers/a"] = ok(details("a"))
    script_processes(daemon, "sh")
    daemon.answers["DELETE /v1/containers/a"] = ok(REMOVED)
    with start("rm", "a") as terminal:
        terminal.wait_for("Remove a? [y/N]")
        assert "is lost" in terminal.text()
        assert "/home/alice/workspace/a stays" in terminal.text()
        terminal.type("yes\n")
        assert terminal.wait() == 0
        assert "Its GPU is free again" in terminal.text()
    assert acts(daemon) == ["DELETE /v1/containers/a?force=true"]


def test_the_only_candidate_is_taken_and_said(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("a", "exited"), container("b"))
    started = {"schema_version": 1, "container": details("a"), "was_running": False, "warnings": []}
    daemon.answers["POST /v1/containers/a/start"] = ok(started)
    with start("start") as terminal:
        assert terminal.wait() == 0
        assert "Taking a: it is your only stopped container." in terminal.text()
        assert "Started a with GPU 0." in terminal.text()


def test_several_are_picked_with_space_and_found_by_typing(daemon: ScriptedDaemon, start: Start) -> None:
    names = ("alpha", "beta", "gamma")
    daemon.answers["GET /v1/containers"] = containers(*(container(name) for name in names))
    processes = ok({"schema_version": 1, "name": "x", "processes": []})
    for name in names:
        daemon.answers[f"GET /v1/containers/{name}/processes"] = processes
        daemon.answers[f"POST /v1/containers/{name}/stop"] = ok(STOPPED)
    with start("stop", "--yes") as terminal:
        terminal.wait_for("Which containers to stop?")
        terminal.wait_for("gamma")
        terminal.type(" " + DOWN + DOWN + " " + ENTER)
        assert terminal.wait() == 0
    assert acts(daemon) == ["POST /v1/containers/alpha/stop", "POST /v1/containers/gamma/stop"]


def test_a_picker_that_is_left_changes_nothing(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("a"), container("b"))
    with start("stop") as terminal:
        terminal.wait_for("Which containers to stop?")
        terminal.type(CTRL_C)
        assert terminal.wait() == 130
        assert terminal.modes() == terminal.modes_before
    assert acts(daemon) == []


def test_ctrl_c_during_a_creation_closes_the_connection_and_says_so(daemon: ScriptedDaemon, start: Start) -> None:
    closed = threading.Event()

    def create(_request: Request, connection: socket.socket) -> None:
        pull = {
            "kind": "pull",
            "layer": "x",
            "message": "Downloading",
            "current_bytes": 1024**3,
            "total_bytes": 4 * 1024**3,
        }
        connection.sendall(stream_head() + line(pull))
        if connection.recv(1) == b"":
            closed.set()

    daemon.answers["POST /v1/containers"] = create
    with start("container", "create", "a", "pytorch") as terminal:
        terminal.wait_for("Pulling: 0 of 1 layers, 1G of 4G")
        terminal.type(CTRL_C)
        assert terminal.wait() == 130
        assert "Cancelled: what was made is being undone." in terminal.text()
    assert closed.wait(30)


def test_ctrl_c_during_a_pull_says_how_it_is_resumed(daemon: ScriptedDaemon, start: Start) -> None:
    closed = threading.Event()

    def pull(_request: Request, connection: socket.socket) -> None:
        for layer in ("a", "b"):
            message = {"kind": "pull", "layer": layer, "current_bytes": 1024**2, "total_bytes": 4 * 1024**2}
            connection.sendall((stream_head() if layer == "a" else b"") + line(message))
        if connection.recv(1) == b"":
            closed.set()

    daemon.answers["POST /v1/images/pull"] = pull
    with start("image", "pull", "pytorch", "2.8.0") as terminal:
        terminal.wait_for("Pulling: 0 of 2 layers, 2M of 8M")
        terminal.type(CTRL_C)
        assert terminal.wait() == 130
        assert "ds01 image pull pytorch 2.8.0" in terminal.text()
    assert closed.wait(30)


def test_colour_is_for_terminals_that_want_it(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("a"))
    with start("list") as terminal:
        terminal.wait()
        assert b"\x1b[32mrunning" in terminal.output
    for quiet in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        with start("list", **quiet) as terminal:
            terminal.wait()
            assert b"\x1b" not in terminal.output


def test_a_table_shrinks_to_the_terminal(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("x" * 40, framework="Y" * 60))
    with start("list", "-a") as terminal:
        terminal.wait()
        rows = terminal.text().splitlines()
        assert max(map(len, rows)) == 100
        assert "…" in rows[1]


class Shell:
    """A scripted program with a terminal: notes what it is told, echoes what is typed, leaves at `q`."""

    def __init__(self, daemon: ScriptedDaemon) -> None:
        self.sizes: list[object] = []
        self.resized = threading.Event()
        started = {"schema_version": 1, "container": details("a"), "was_running": True, "warnings": []}
        daemon.answers["POST /v1/containers/a/start"] = ok(started)
        created = {"schema_version": 1, "exec_id": "e1", "container": "a", "command": [], "terminal": True}
        daemon.answers["POST /v1/containers/a/exec"] = ok(created)
        daemon.answers["POST /v1/exec/e1/start"] = self._serve
        daemon.answers["POST /v1/exec/e1/resize"] = self._resize
        status = {"schema_version": 1, "exec_id": "e1", "running": False, "exit_code": 5}
        daemon.answers["GET /v1/exec/e1"] = ok(status)

    def _serve(self, _request: Request, connection: socket.socket) -> None:
        connection.sendall(UPGRADED + b"prompt$ ")
        while data := connection.recv(1000):
            if b"q" in data:
                return
            connection.sendall(b"<" + data.hex().encode() + b">")

    def _resize(self, request: Request, connection: socket.socket) -> None:
        self.sizes.append(request.document())
        self.resized.set()
        connection.sendall(ok({"schema_version": 1}))

    def wait_for_size(self) -> object:
        assert self.resized.wait(10)
        self.resized.clear()
        return self.sizes[-1]


def test_who_leaves_is_told_what_the_policy_does_then(daemon: ScriptedDaemon, start: Start) -> None:
    Shell(daemon)
    value = {"value": True, "origin": "resource-limits.yaml:2"}
    daemon.answers["GET /v1/limits"] = ok({"schema_version": 1, "limits": {"stop_on_last_exit": value}})
    with start("open", "a") as terminal:
        terminal.wait_for("prompt$")
        terminal.type("q")
        assert terminal.wait() == 0
        assert "You have left a; it stops when nothing else runs in it (stop_on_last_exit)." in terminal.text()
        assert "ds01 stop a" not in terminal.text()


def test_open_is_a_raw_terminal_with_a_size_and_a_title(daemon: ScriptedDaemon, start: Start) -> None:
    shell = Shell(daemon)
    with start("open", "a") as terminal:
        terminal.wait_for("prompt$")
        assert shell.wait_for_size() == {"rows": 30, "columns": 100}
        assert terminal.is_raw()
        assert b"\x1b]0;a\x07" in terminal.output
        terminal.type(CTRL_C)
        terminal.wait_for("<03>")
        terminal.resize(50, 120)
        assert shell.wait_for_size() == {"rows": 50, "columns": 120}
        terminal.type("q")
        assert terminal.wait() == 0
        assert "it goes on running" in terminal.text()
        assert terminal.modes() == terminal.modes_before
    body = next(request.document() for request in daemon.requests if request.path == "/v1/containers/a/exec")
    assert body == {"terminal": True, "stdin": True, "environment": {"TERM": "xterm-256color", "LANG": "C.UTF-8"}}


def test_run_of_a_container_that_is_there_starts_it_and_opens_a_shell(daemon: ScriptedDaemon, start: Start) -> None:
    Shell(daemon)
    with start("run", "a") as terminal:
        terminal.wait_for("prompt$")
        assert terminal.is_raw()
        terminal.type("q")
        assert terminal.wait() == 0
    assert acts(daemon)[:2] == ["POST /v1/containers/a/start", "POST /v1/containers/a/exec"]
    assert "POST /v1/containers" not in daemon.asked(), "nothing is created"


def test_what_was_typed_ahead_reaches_the_program(daemon: ScriptedDaemon, start: Start) -> None:
    Shell(daemon)
    with start("open", "a") as terminal:
        terminal.type("ab\n")
        terminal.wait_for("<61620a>")
        terminal.type("q")
        assert terminal.wait() == 0


def test_a_command_after_the_dashes_passes_its_status(daemon: ScriptedDaemon, start: Start) -> None:
    Shell(daemon)
    with start("open", "a", "--", "htop", "-d", "1") as terminal:
        terminal.wait_for("prompt$")
        terminal.type("q")
        assert terminal.wait() == 5
    body = next(request.document() for request in daemon.requests if request.path == "/v1/containers/a/exec")
    assert body["command"] == ["htop", "-d", "1"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_gives_the_terminal_back(
    number: signal.Signals, status: int, daemon: ScriptedDaemon, start: Start
) -> None:
    Shell(daemon)
    with start("exec", "-it", "a", "sh") as terminal:
        terminal.wait_for("prompt$")
        assert terminal.is_raw()
        terminal.process.send_signal(number)
        assert terminal.wait() == status
        assert terminal.modes() == terminal.modes_before


def test_a_daemon_that_dies_gives_the_terminal_back(daemon: ScriptedDaemon, start: Start) -> None:
    Shell(daemon)
    daemon.answers["POST /v1/exec/e1/start"] = UPGRADED + b"prompt$ "
    daemon.answers["GET /v1/exec/e1"] = b"nonsense\r\n\r\n"
    with start("open", "a") as terminal:
        assert terminal.wait() == 7
        assert "Traceback" not in terminal.text()
        assert terminal.modes() == terminal.modes_before


def test_an_exec_without_a_terminal_flag_leaves_the_terminal_alone(daemon: ScriptedDaemon, start: Start) -> None:
    Shell(daemon)

    def serve(_request: Request, connection: socket.socket) -> None:
        connection.sendall(UPGRADED + b"\1\0\0\0\0\0\0\5ready")
        while connection.recv(1000):
            pass
        connection.sendall(b"\2\0\0\0\0\0\0\4done")

    daemon.answers["POST /v1/exec/e1/start"] = serve
    with start("exec", "a", "cat") as terminal:
        terminal.wait_for("ready")
        assert not terminal.is_raw()
        terminal.type(CTRL_D)
        terminal.wait_for("done")
        assert terminal.wait() == 5


def test_watching_ends_with_ctrl_c(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers["GET /v1/stats"] = ok({"schema_version": 1, "containers": []})
    with start("stats", "--watch", "--interval", "1s") as terminal:
        terminal.wait_for("No container is running.")
        terminal.type(CTRL_C)
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.text()


def test_ctrl_c_while_waiting_keeps_the_place_and_says_how_to_return(daemon: ScriptedDaemon, start: Start) -> None:
    gone = threading.Event()

    def wait_in_the_queue(_request: Request, connection: socket.socket) -> None:
        message = {"id": "4f1c", "container": "a", "estimate": estimate(2), "waiting": 3, "reason": "all GPUs are held"}
        connection.sendall(stream_head() + line({"kind": "waiting", "waiting": message}))
        if not connection.recv(1):
            gone.set()

    daemon.answers["POST /v1/containers"] = wait_in_the_queue
    with start("create", "a", "pytorch", "--wait") as terminal:
        terminal.wait_for("a waits: place 2 of 3; it starts by ")
        terminal.type(CTRL_C)
        assert terminal.wait() == 130
        shown = terminal.text()
    assert "keeps its place in the queue" in shown
    assert "ds01 queue cancel a" in shown
    assert "Cancelled" not in shown
    assert "Traceback" not in shown
    assert gone.wait(5)


def test_a_picked_request_is_cancelled_after_a_question(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers["GET /v1/queue"] = queue(request("a"))
    answer = {"schema_version": 1, "id": "4f1c9d2ab7e05836", "container": "a", "owner": "alice"}
    daemon.answers["DELETE /v1/queue/4f1c9d2ab7e05836"] = ok(answer)
    with start("queue", "cancel") as terminal:
        terminal.wait_for("[y/N]")
        assert "Taking a: it is the only one that waits." in terminal.text()
        terminal.type("y\n")
        assert terminal.wait() == 0
        assert "a has left the queue." in terminal.text()
