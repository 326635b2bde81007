"""exec, open and run without a terminal: streams, exit statuses, what is asked of the daemon."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import CREATED, Ds01, container, containers, creation, details
from tests.unit.scripted_daemon import UPGRADED, Request, ScriptedDaemon, chunk, ok, problem, read_request, stream_head


def program(daemon: ScriptedDaemon, *words: str, stdin: bytes | None = b"") -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "DS01_SOCKET": str(daemon.socket_path), "TERM": "xterm", "LANG": "C.UTF-8"}
    argv = [sys.executable, "-m", "ds01", *words]
    return subprocess.run(argv, env=environment, input=stdin, capture_output=True, check=False, timeout=30)


def script_exec(daemon: ScriptedDaemon, exit_code: int = 0) -> None:
    """A program that echoes its stdin as frames, then says something on stderr."""

    def serve(_request: Request, connection: socket.socket) -> None:
        connection.sendall(UPGRADED)
        while data := connection.recv(65536):
            connection.sendall(b"\1\0\0\0" + len(data).to_bytes(4, "big") + data)
        connection.sendall(b"\2\0\0\0\0\0\0\4oops")

    created = {"schema_version": 1, "exec_id": "e1", "container": "a", "command": [], "terminal": False}
    status = {"schema_version": 1, "exec_id": "e1", "running": False, "exit_code": exit_code}
    daemon.answers["POST /v1/containers/a/exec"] = ok(created)
    daemon.answers["POST /v1/exec/e1/start"] = serve
    daemon.answers["GET /v1/exec/e1"] = ok(status)


def test_exec_passes_stdin_its_end_both_outputs_and_the_status(daemon: ScriptedDaemon) -> None:
    script_exec(daemon, exit_code=42)
    data = os.urandom(3_000_000)
    done = program(daemon, "exec", "a", "--", "cat", "--json", "-h", stdin=data)
    assert (done.returncode, done.stdout, done.stderr) == (42, data, b"oops")
    body = next(request.document() for request in daemon.requests if request.path == "/v1/containers/a/exec")
    assert body == {"terminal": False, "stdin": True, "environment": {}, "command": ["cat", "--json", "-h"]}


def test_exec_takes_options_before_the_name_only(daemon: ScriptedDaemon) -> None:
    script_exec(daemon)
    words = ["exec", "-n", "-i", "--root", "-w", "/tmp", "-e", "A=1", "a", "ls", "-n"]
    assert program(daemon, *words, stdin=b"unread").stdout == b""
    body = next(request.document() for request in daemon.requests if request.path == "/v1/containers/a/exec")
    assert body == {
        "terminal": False,
        "stdin": False,
        "environment": {"A": "1"},
        "command": ["ls", "-n"],
        "as_root": True,
        "working_dir": "/tmp",
    }


def test_own_failures_of_exec_and_run_are_125(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/containers/a/exec"] = problem(404, "not_found", "There is no container a.")
    daemon.answers["POST /v1/containers/a/start"] = problem(404, "not_found", "There is no container a.")
    daemon.answers["GET /v1/containers"] = containers()
    assert ds01("exec", "a", "ls").status == 125
    assert ds01("exec", "a").status == 125
    assert ds01("exec", "-t", "a", "ls").status == 125
    assert ds01("run", "a", "--", "ls").status == 125
    assert ds01("run", "--rm", "a").status == 125
    assert ds01("open", "a", "--", "ls").status == 125
    assert ds01("open", "a").status == 3


def test_an_output_that_is_cut_off_is_not_success(daemon: ScriptedDaemon) -> None:
    script_exec(daemon)
    daemon.answers["POST /v1/exec/e1/start"] = UPGRADED + b"\1\0\0\0\0\0\0\x09half"
    done = program(daemon, "exec", "a", "cat")
    assert (done.returncode, done.stdout) == (125, b"half")


@pytest.mark.parametrize("redirection", ["<&-", "<&- 2>&-", ">&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_does_not_become_the_way_to_the_daemon(
    redirection: str, daemon: ScriptedDaemon
) -> None:
    script_exec(daemon, exit_code=42)
    daemon.answers["POST /v1/exec/e1/start"] = UPGRADED + b"\1\0\0\0\0\0\0\4done"
    argv = ["bash", "-c", f'exec "$@" {redirection}', "bash", sys.executable, "-m", "ds01", "exec", "a", "cat"]
    environment = {**os.environ, "DS01_SOCKET": str(daemon.socket_path)}
    done = subprocess.run(argv, env=environment, capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (42, b"" if ">&-" in redirection.split() else b"done")
    assert done.stderr == b""


@pytest.mark.parametrize("words", [("exec", "a", "cat"), ("logs", "a")])
def test_bytes_that_have_no_room_are_an_error_in_words(words: tuple[str, ...], daemon: ScriptedDaemon) -> None:
    script_exec(daemon)
    daemon.answers["POST /v1/exec/e1/start"] = UPGRADED + b"\1\0\0\0\0\0\0\4done"
    daemon.answers["GET /v1/containers/a/logs"] = stream_head("application/octet-stream") + chunk(b"done") + chunk(b"")
    with open("/dev/full", "wb") as full:
        environment = {**os.environ, "DS01_SOCKET": str(daemon.socket_path)}
        argv = [sys.executable, "-m", "ds01", *words]
        done = subprocess.run(argv, env=environment, stdout=full, stderr=subprocess.PIPE, check=False, timeout=30)
    assert done.returncode == (125 if words[0] == "exec" else 1)
    assert "The output could not be written: No space left on device." in done.stderr.decode()


@pytest.mark.parametrize(
    ("cause", "status", "said"),
    [
        (b'exec: "pyton": executable file not found in $PATH', 127, "There is no program pyton in a."),
        (b'exec: "pyton": permission denied', 126, "pyton cannot be run in a: permission denied."),
        (b'chdir to cwd ("/no") set in config.json failed: no such file or directory', 126, "no folder /no in a."),
    ],
)
def test_a_program_that_cannot_be_started_is_a_message_and_no_data(
    cause: bytes, status: int, said: str, daemon: ScriptedDaemon
) -> None:
    script_exec(daemon, exit_code=126)  # the engine's status for every reason
    line = b"OCI runtime exec failed: exec failed: unable to start container process: " + cause + b": unknown\r\n"
    daemon.answers["POST /v1/exec/e1/start"] = UPGRADED + b"\1\0\0\0" + len(line).to_bytes(4, "big") + line
    done = program(daemon, "exec", "a", "pyton")
    assert (done.returncode, done.stdout) == (status, b"")
    assert said in done.stderr.decode()
    assert "ds01 exec a -- " in done.stderr.decode()


def test_a_program_that_says_what_the_engine_would_say_is_shown(daemon: ScriptedDaemon) -> None:
    script_exec(daemon, exit_code=1)
    line = b"OCI runtime exec failed: of a log file\n"
    daemon.answers["POST /v1/exec/e1/start"] = UPGRADED + b"\1\0\0\0" + len(line).to_bytes(4, "big") + line
    done = program(daemon, "exec", "a", "grep", "OCI", "log")
    assert (done.returncode, done.stdout, done.stderr) == (1, line, b"")


def test_run_creates_starts_runs_and_removes(daemon: ScriptedDaemon) -> None:
    script_exec(daemon, exit_code=3)
    daemon.answers["POST /v1/containers"] = creation({**CREATED, "warnings": []})
    daemon.answers["POST /v1/containers/a/start"] = ok(
        {"schema_version": 1, "container": details("a"), "was_running": False, "warnings": []}
    )
    daemon.answers["DELETE /v1/containers/a"] = ok({"schema_version": 1, "name": "a"})
    done = program(daemon, "run", "--rm", "a", "pytorch", "--cpu-only", "--", "cat", stdin=b"hi")
    assert (done.returncode, done.stdout) == (3, b"hi")
    acts = [text for text in daemon.asked() if not text.startswith("GET")]
    assert acts == [
        "POST /v1/containers",
        "POST /v1/containers/a/start",
        "POST /v1/containers/a/exec",
        "POST /v1/exec/e1/start",
        "DELETE /v1/containers/a?force=true",
    ]


def test_run_without_rm_keeps_the_container(daemon: ScriptedDaemon) -> None:
    script_exec(daemon)
    daemon.answers["POST /v1/containers"] = creation({**CREATED, "warnings": []})
    daemon.answers["POST /v1/containers/a/start"] = ok(
        {"schema_version": 1, "container": details("a"), "was_running": False, "warnings": []}
    )
    assert program(daemon, "run", "a", "pytorch", "--", "cat").returncode == 0
    assert not any(text.startswith("DELETE") for text in daemon.asked())


def test_a_command_that_ends_early_does_not_wait_for_stdin(daemon: ScriptedDaemon) -> None:
    def serve(_request: Request, connection: socket.socket) -> None:
        connection.sendall(UPGRADED + b"\1\0\0\0\0\0\0\4done")

    script_exec(daemon)
    daemon.answers["POST /v1/exec/e1/start"] = serve
    reading, writing = os.pipe()
    try:
        environment = {**os.environ, "DS01_SOCKET": str(daemon.socket_path)}
        argv = [sys.executable, "-m", "ds01", "exec", "a", "true"]
        done = subprocess.run(argv, env=environment, stdin=reading, capture_output=True, check=False, timeout=20)
    finally:
        os.close(reading)
        os.close(writing)
    assert (done.returncode, done.stdout) == (0, b"done")


def test_the_workspace_of_a_deleted_folder_is_an_error_in_words(daemon: ScriptedDaemon, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        "import os, sys; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1])\n"
        "os.execv(sys.executable, [sys.executable, '-P', '-m', 'ds01', *sys.argv[2:]])"
    )
    argv = [sys.executable, "-c", code, str(gone), "create", "a", "pytorch", "-w", "here"]
    environment = {**os.environ, "DS01_SOCKET": str(daemon.socket_path)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "does not exist any more" in done.stderr


def test_a_start_of_all_where_nothing_is_stopped_says_so(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("a"))
    outcome = ds01("start", "--all")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "You have no stopped container.\n")


def test_requests_are_read_whole(daemon: ScriptedDaemon) -> None:
    """The scripted daemon itself: a body that comes in pieces is one request."""
    near, far = socket.socketpair()
    with near, far:
        near.sendall(b"POST /x HTTP/1.1\r\nContent-Length: 4\r\n\r\n{}")
        near.sendall(b"  ")
        request = read_request(far)
    assert request is not None
    assert request.body == b"{}  "


def test_logs_pass_every_byte(daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/containers/a/logs"] = (
        stream_head("application/octet-stream") + chunk(bytes(range(256))) + chunk(b"")
    )
    done = program(daemon, "logs", "a", "--tail", "5", "-t")
    assert (done.returncode, done.stdout) == (0, bytes(range(256)))
    assert daemon.asked() == ["GET /v1/containers/a/logs?tail=5&timestamps=true"]
