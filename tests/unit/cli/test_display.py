"""The user's display: where it is, the key to it, and that a container reaches it only as long as it is shared."""

import os
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, strategies

from ds01.cli.display import FOLDER_PREFIX, KEY_NAME, SOCKET_NAME, shared_display
from ds01.cli.display_address import FIRST_PORT, DisplayAddress, find_display, key_for
from ds01.errors import ConflictError, InvalidRequestError
from tests.unit.cli.conftest import Ds01, details
from tests.unit.scripted_daemon import UPGRADED, Request, ScriptedDaemon, ok, problem

COOKIE = bytes(range(16))


def entry(number: str, key: bytes = COOKIE, *, family: int = 256, address: str = "host") -> bytes:
    parts = (address.encode(), number.encode(), b"MIT-MAGIC-COOKIE-1", key)
    return struct.pack(">H", family) + b"".join(struct.pack(">H", len(part)) + part for part in parts)


@contextmanager
def x_server() -> Iterator[str]:
    """Something that answers as an X display on TCP does, in capitals; yields what DISPLAY is then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(client,), daemon=True).start()

        def answer(client: socket.socket) -> None:
            with client:
                while data := client.recv(1024):
                    client.sendall(data.upper())

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1] - FIRST_PORT}.0"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("text", "host", "number"),
    [(":0", "", 0), ("unix:1.0", "", 1), ("localhost:10.0", "localhost", 10), ("192.0.2.1:2", "192.0.2.1", 2)],
)
def test_a_display_is_read_as_x_programs_read_it(text: str, host: str, number: int) -> None:
    assert find_display({"DISPLAY": text}) == DisplayAddress(text, host, number)


@pytest.mark.parametrize("text", ["", "0", "host", ":x", ":0.0.0", "/tmp/socket:0", ":123456"])
def test_what_is_no_display_is_refused_with_the_way_to_one(text: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        find_display({"DISPLAY": text})
    assert refused.value.hint


def test_the_key_of_this_display_is_copied_for_whatever_address(tmp_path: Path) -> None:
    authority = tmp_path / "authority"
    authority.write_bytes(entry("1", b"wrong") + entry("", b"any") + entry("10") + b"\1\0\0")
    environment = {"XAUTHORITY": str(authority)}
    assert key_for(DisplayAddress("", "localhost", 10), environment) == entry("", family=0xFFFF, address="")
    assert key_for(DisplayAddress("", "", 5), environment) == entry("", b"any", family=0xFFFF, address="")
    assert key_for(DisplayAddress("", "", 5), {"XAUTHORITY": str(tmp_path / "none")}) == b""


@given(strategies.binary(max_size=200))
def test_no_file_of_keys_is_too_broken_to_be_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("keys") / "authority"
    path.write_bytes(data)
    assert isinstance(key_for(DisplayAddress("", "", 0), {"XAUTHORITY": str(path)}), bytes)


def test_a_shared_display_is_reached_by_its_socket_and_gone_afterwards(tmp_path: Path) -> None:
    deep = tmp_path / ("long-name-" * 10)
    deep.mkdir()
    with x_server() as display:
        with shared_display(str(deep), find_display({"DISPLAY": display}), b"key") as shared:
            folder = deep / shared.folder
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert stat.S_IMODE((folder / KEY_NAME).stat().st_mode) == 0o600
            assert (folder / KEY_NAME).read_bytes() == b"key"
            opened = os.open(folder, os.O_PATH)
            with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
                for client in (first, second):
                    client.settimeout(10)
                    client.connect(f"/proc/self/fd/{opened}/{SOCKET_NAME}")
                    client.sendall(b"hello")
                    assert client.recv(5, socket.MSG_WAITALL) == b"HELLO"
            os.close(opened)
        assert list(deep.iterdir()) == []


def test_a_display_that_does_not_answer_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        number = closed.getsockname()[1] - FIRST_PORT
    with (
        pytest.raises(ConflictError, match="does not answer"),
        shared_display(str(tmp_path), DisplayAddress("x", "127.0.0.1", number), b""),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_command_left_goes_with_the_next_one_and_what_is_in_use_stays(tmp_path: Path) -> None:
    stale, other = tmp_path / f"{FOLDER_PREFIX}dead", tmp_path / "mine"
    for folder in (stale, other):
        folder.mkdir()
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(stale / SOCKET_NAME))
    with x_server() as display:
        address = find_display({"DISPLAY": display})
        here = str(tmp_path)
        with shared_display(here, address, b"") as first, shared_display(here, address, b"") as second:
            assert {path.name for path in tmp_path.iterdir()} == {"mine", first.folder, second.folder}


def script_open(daemon: ScriptedDaemon, workspace: Path, **more: object) -> None:
    started = {"container": details("a", workspace=str(workspace), **more), "was_running": True, "warnings": []}  # type: ignore[arg-type]  # any fields
    daemon.answers["POST /v1/containers/a/start"] = ok({"schema_version": 1, **started})
    created = {"schema_version": 1, "exec_id": "e1", "container": "a", "command": [], "terminal": False}
    daemon.answers["POST /v1/containers/a/exec"] = ok(created)
    daemon.answers["GET /v1/exec/e1"] = ok({"schema_version": 1, "exec_id": "e1", "running": False, "exit_code": 0})

    def serve(_request: Request, connection: socket.socket) -> None:
        connection.sendall(UPGRADED + b"\1\0\0\0\0\0\0\x04103\n")

    daemon.answers["POST /v1/exec/e1/start"] = serve


def bodies(daemon: ScriptedDaemon) -> list[dict[str, object]]:
    return [request.document() for request in daemon.requests if request.path == "/v1/containers/a/exec"]


def test_open_gives_the_program_the_display_and_no_word_of_the_key(
    daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path
) -> None:
    authority = tmp_path / "authority"
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    script_open(daemon, workspace)
    with x_server() as display:
        authority.write_bytes(entry(display.partition(":")[2].removesuffix(".0")))
        words = ("open", "a", "--x11", "--", "plot")
        assert ds01(*words, DISPLAY=display, XAUTHORITY=str(authority)).status == 0
    link, program, unlink = bodies(daemon)
    target = link["command"][4]  # type: ignore[index]  # a list of words
    assert target.startswith("/workspace/.ds01-x11-")
    environment = {"DISPLAY": ":103", "XAUTHORITY": target.removesuffix("X") + KEY_NAME}
    assert (program["command"], program["environment"], program["x11"]) == (["plot"], environment, True)
    assert unlink["command"][4:] == [target, "103"]  # type: ignore[index]  # a list of words
    assert COOKIE not in b"".join(request.body for request in daemon.requests)
    assert list(workspace.iterdir()) == []


def test_without_a_display_or_the_right_to_it_nothing_is_run(
    daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    script_open(daemon, workspace)
    unset = ds01("open", "a", "--x11", "--", "plot")
    assert (unset.status, "DISPLAY is not set" in unset.err) == (125, True)
    assert bodies(daemon) == []
    daemon.answers["POST /v1/containers/a/exec"] = problem(403, "forbidden", "Your containers may not share it.")
    with x_server() as display:
        assert ds01("open", "a", "--x11", "--", "plot", DISPLAY=display).status == 125
    assert len(bodies(daemon)) == 1
    assert list(workspace.iterdir()) == []


def test_a_container_that_was_made_with_it_shares_the_display_when_there_is_one(
    daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path
) -> None:
    script_open(daemon, tmp_path, x11=True)
    assert ds01("open", "a", "--", "plot").status == 0
    assert [body.get("x11", False) for body in bodies(daemon)] == [False]
    with x_server() as display:
        assert ds01("run", "a", "--", "plot", DISPLAY=display).status == 0
    assert [body.get("x11", False) for body in bodies(daemon)] == [False, True, True, True]
