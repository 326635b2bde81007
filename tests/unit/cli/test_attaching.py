"""attach: the keys that leave, what is said first, the exit status, and what is refused before anything is opened."""

import socket
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies

from ds01.cli.leaving import DEFAULT_KEYS, LeavingKeys, parse_keys
from ds01.domain.containers.pid1 import ENTRYPOINT
from ds01.errors import InvalidRequestError
from tests.unit.cli.conftest import Ds01, Start, details
from tests.unit.scripted_daemon import UPGRADED, Request, ScriptedDaemon, ok, problem

CTRL_P, CTRL_Q = "\x10", "\x11"


def script_console(daemon: ScriptedDaemon, command: Sequence[str] = ("cat",)) -> list[bytes]:
    """A main process that echoes what it gets, and ends with status 9 when it gets `end`; returns what it got."""
    got: list[bytes] = []
    daemon.answers["GET /v1/containers/a"] = ok(details("a", command=list(command)))
    daemon.answers["POST /v1/containers/a/resize"] = ok({"schema_version": 1, "name": "a", "rows": 1, "columns": 1})

    def serve(_request: Request, connection: socket.socket) -> None:
        connection.sendall(UPGRADED + b"here\r\n")
        while data := connection.recv(65536):
            got.append(data)
            connection.sendall(b"got " + data.hex().encode() + b"\r\n")
            if b"".join(got).endswith(b"end\r"):
                daemon.answers["GET /v1/containers/a"] = ok(details("a", "exited", exit_code=9, command=list(command)))
                return

    daemon.answers["POST /v1/containers/a/attach"] = serve
    return got


def test_what_is_typed_arrives_and_the_keys_leave_it_running(daemon: ScriptedDaemon, start: Start) -> None:
    got = script_console(daemon)
    with start("container", "attach", "a") as terminal:
        terminal.wait_for("Leave it running with ctrl-p ctrl-q")
        terminal.wait_for("here")  # from here on every key is passed on
        terminal.type("x")
        terminal.wait_for("got 78")
        terminal.type(CTRL_P)
        terminal.type("y")  # no leaving keys, so both arrive
        terminal.wait_for("79")
        terminal.type(CTRL_P + CTRL_Q)
        assert terminal.wait() == 0
        assert "it goes on running" in terminal.text()
        assert terminal.modes() == terminal.modes_before
    assert b"".join(got) == b"x\x10y"


def test_a_main_process_that_ends_passes_its_status(daemon: ScriptedDaemon, start: Start) -> None:
    script_console(daemon)
    with start("container", "attach", "a", "--detach-keys", "ctrl-x") as terminal:
        terminal.wait_for("Leave it running with ctrl-x")
        terminal.wait_for("here")
        terminal.type(CTRL_P + CTRL_Q + "end\r")
        assert terminal.wait() == 9
        assert "ended with status 9" in terminal.text()


def test_of_our_own_main_process_it_says_that_programs_run_in_open(daemon: ScriptedDaemon, start: Start) -> None:
    script_console(daemon, ENTRYPOINT)
    with start("container", "attach", "a") as terminal:
        terminal.wait_for("The main process of a only waits")
        terminal.wait_for("ds01 container open a")
        terminal.wait_for("here")
        terminal.type(CTRL_P + CTRL_Q)
        assert terminal.wait() == 0


def test_without_a_terminal_one_can_only_watch(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    got = script_console(daemon)
    refused = ds01("container", "attach", "a")
    assert refused.status == 125
    assert "--no-stdin a" in refused.err
    assert daemon.asked() == ["GET /v1/containers/a"]

    def speak(_request: Request, connection: socket.socket) -> None:
        connection.sendall(UPGRADED + b"line of the console\r\n")
        daemon.answers["GET /v1/containers/a"] = ok(details("a", "exited", exit_code=3))

    daemon.answers["POST /v1/containers/a/attach"] = speak
    watched = ds01("container", "attach", "--no-stdin", "a")
    assert (watched.status, watched.out) == (3, "line of the console\r\n")
    assert daemon.requests[2].target == "/v1/containers/a/attach"
    assert got == []


def test_outputs_of_a_main_process_without_a_terminal_stay_apart(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers/a"] = ok(details("a", terminal=False))

    def speak(_request: Request, connection: socket.socket) -> None:
        connection.sendall(UPGRADED + b"\1\0\0\0\0\0\0\3out\2\0\0\0\0\0\0\3err")
        daemon.answers["GET /v1/containers/a"] = ok(details("a", "exited", exit_code=0, terminal=False))

    daemon.answers["POST /v1/containers/a/attach"] = speak
    seen = ds01("attach", "--no-stdin", "a")
    assert (seen.status, seen.out) == (0, "out")
    assert "err" in seen.err


def test_own_failures_are_125_and_open_nothing(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers/a"] = ok(details("a"))
    daemon.answers["POST /v1/containers/a/attach"] = problem(409, "conflict", "a is paused.")
    assert ds01("attach", "-n", "a").status == 125
    daemon.requests.clear()
    wrong = ds01("attach", "-n", "--detach-keys", "strg-p", "a")
    assert (wrong.status, "'strg-p' is not a key" in wrong.err, daemon.requests) == (125, True, [])


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (DEFAULT_KEYS, b"\x10\x11"),
        ("ctrl-a", b"\x01"),
        ("Ctrl-Z,x", b"\x1ax"),
        ("ctrl-@,ctrl-_", b"\0\x1f"),
        ("-", b"-"),
    ],
)
def test_keys_are_written_as_docker_writes_them(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["", "ctrl-", "ctrl-1", "ab", "ctrl-p,", "é", "\n", "ctrl-pp"])
def test_what_is_no_key_is_named(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not a key"):
        parse_keys(text)


@given(strategies.lists(strategies.binary(max_size=6)), strategies.sampled_from([b"\x10\x11", b"a", b"aab", b"abab"]))
def test_nothing_is_lost_however_it_comes_in_pieces(pieces: list[bytes], keys: bytes) -> None:
    leaving, passed, typed = LeavingKeys(keys), b"", b""
    for piece in pieces:
        passed += leaving.pass_on(piece)
        typed += piece
        assert leaving.were_typed == (keys in typed)
        if leaving.were_typed:
            assert passed == typed[: typed.index(keys)]
            return
        assert typed.startswith(passed)
        assert len(typed) - len(passed) < len(keys)


@given(strategies.lists(strategies.sampled_from([b"a", b"b", b"ab", b"ba", b"x"])))
def test_the_keys_are_found_also_after_a_false_beginning(pieces: list[bytes]) -> None:
    leaving = LeavingKeys(b"aab")
    passed = b"".join(leaving.pass_on(piece) for piece in [*pieces, b"x", b"aaab"] if not leaving.were_typed)
    assert leaving.were_typed
    assert b"aab" not in passed
