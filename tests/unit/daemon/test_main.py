"""The daemon's process: where its files are, one of it, its socket, and how it leaves."""

import argparse
import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from ds01.api.location import Location, find_location
from ds01.daemon import main
from ds01.daemon.main import Serving, location_of, open_socket, parse_arguments, serve, take_lock
from ds01.daemon.wiring import forbidden_folders
from ds01.errors import BackendError, ConflictError, ForbiddenError
from tests.unit.daemon.house import read_answer

ENVIRONMENT = {"HOME": "/home/alice", "XDG_STATE_HOME": "/state", "DS01_SOCKET": "/elsewhere.sock"}


def options(*words: str) -> argparse.Namespace:
    return parse_arguments(list(words))


def test_without_options_the_daemon_is_where_its_clients_look() -> None:
    found = location_of(options(), ENVIRONMENT, 1001)
    expected = find_location({"HOME": "/home/alice", "XDG_STATE_HOME": "/state"}, 1001)
    assert found == expected, "the client's variable does not move the daemon"


def test_options_move_everything(tmp_path: Path) -> None:
    words = ("--socket", "a.sock", "--state", str(tmp_path), "--config", "/etc/elsewhere")
    found = location_of(options(*words), ENVIRONMENT, 0)
    assert found == Location(Path.cwd() / "a.sock", tmp_path, Path("/etc/elsewhere"), is_personal=False)
    assert location_of(options("--personal", "--socket", "/a.sock"), ENVIRONMENT, 0).is_personal


def test_of_two_daemons_with_one_state_folder_the_second_is_told(tmp_path: Path) -> None:
    first = take_lock(tmp_path)
    with pytest.raises(ConflictError) as caught:
        take_lock(tmp_path)
    assert str(tmp_path) in caught.value.message
    os.close(first)
    os.close(take_lock(tmp_path))


def test_a_lock_that_is_a_link_or_nowhere_is_an_error_and_not_another_daemon(tmp_path: Path) -> None:
    (tmp_path / "daemon.lock").symlink_to(tmp_path / "target")
    with pytest.raises(BackendError):
        take_lock(tmp_path)
    with pytest.raises(BackendError):
        take_lock(tmp_path / "missing")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_a_socket_has_its_rights_before_anybody_can_find_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "api.sock"
    with open_socket(path, mode):
        assert stat.S_IMODE(path.stat().st_mode) == mode
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert [found.name for found in tmp_path.iterdir()] == ["api.sock"]


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    open_socket(path, 0o600).close()
    with open_socket(path, 0o600), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_what_is_no_socket_is_never_replaced(tmp_path: Path) -> None:
    mistyped = tmp_path / "resource-limits.yaml"
    mistyped.write_text("version: 2\n", encoding="utf-8")
    with pytest.raises(BackendError, match="is no socket"):
        open_socket(mistyped, 0o666)
    assert mistyped.read_text(encoding="utf-8") == "version: 2\n"
    assert [found.name for found in tmp_path.iterdir()] == ["resource-limits.yaml"]


def test_a_socket_that_cannot_be_made_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BackendError):
        open_socket(tmp_path / "missing" / "api.sock", 0o600)
    with pytest.raises(BackendError):
        open_socket(tmp_path / ("x" * 200), 0o600)
    blocked = tmp_path / "folder"
    blocked.mkdir()
    (blocked / "file").touch()
    with pytest.raises(BackendError):
        open_socket(blocked, 0o600)
    assert [found.name for found in tmp_path.iterdir()] == ["folder"]


def location(tmp_path: Path, *, personal: bool) -> Location:
    for name in ("state", "config"):
        (tmp_path / name).mkdir(mode=0o700, exist_ok=True)
    return Location(tmp_path / "api.sock", tmp_path / "state", tmp_path / "config", is_personal=personal)


def environment(tmp_path: Path) -> dict[str, str]:
    return {"DOCKER_HOST": f"unix://{tmp_path}/no-engine.sock"}


async def ask(path: Path, method: str, target: str) -> Any:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    try:
        return (await read_answer(reader)).document
    finally:
        writer.close()


async def until_it_answers(path: Path) -> None:
    async with asyncio.timeout(60):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 - a file has no event, and looking takes no time
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("personal", [True, False])
async def test_the_daemon_serves_without_an_engine_and_leaves_when_it_is_told(tmp_path: Path, personal: bool) -> None:
    place = location(tmp_path, personal=personal)
    serving = Serving()
    task = asyncio.ensure_future(serving.run(place, environment(tmp_path), os.getuid()))
    await until_it_answers(place.socket)
    status = await ask(place.socket, "GET", "/v1/status")
    assert status["mode"] == ("personal" if personal else "server")
    assert status["engine"]["ok"] is False
    assert "no-engine.sock" in status["engine"]["message"]
    assert stat.S_IMODE(place.socket.stat().st_mode) == (0o600 if personal else 0o666)
    serving.leave("a test asked")
    serving.leave("too late")
    await asyncio.wait_for(task, 60)
    assert serving.reason == "a test asked"
    assert not place.socket.exists()
    assert (place.state / "seal.key").exists()


async def test_a_daemon_does_not_remove_the_socket_of_its_successor(tmp_path: Path) -> None:
    place = location(tmp_path, personal=False)
    serving = Serving()
    task = asyncio.ensure_future(serving.run(place, environment(tmp_path), os.getuid()))
    await until_it_answers(place.socket)
    with open_socket(place.socket, 0o600):
        serving.leave("a test asked")
        await asyncio.wait_for(task, 60)
        assert place.socket.exists()


async def test_a_client_ends_a_personal_daemon(tmp_path: Path) -> None:
    place = location(tmp_path, personal=True)
    task = asyncio.ensure_future(Serving().run(place, environment(tmp_path), os.getuid()))
    await until_it_answers(place.socket)
    assert "message" in await ask(place.socket, "POST", "/v1/shutdown")
    await asyncio.wait_for(task, 60)


def test_a_second_daemon_of_one_folder_does_not_start(tmp_path: Path) -> None:
    place = location(tmp_path, personal=False)
    lock = take_lock(place.state)
    words = options("--socket", str(place.socket), "--state", str(place.state), "--config", str(place.config))
    before = os.umask(0o022)
    try:
        with pytest.raises(ConflictError):
            serve(words, environment(tmp_path))
    finally:
        os.umask(before)
        os.close(lock)
    assert not place.socket.exists()


def test_a_state_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "real")
    words = options("--socket", str(tmp_path / "api.sock"), "--state", str(tmp_path / "state"))
    before = os.umask(0o022)
    try:
        with pytest.raises(ForbiddenError):
            serve(words, environment(tmp_path))
    finally:
        os.umask(before)


def test_the_folders_of_daemon_and_engine_are_for_no_container(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "state").symlink_to(real)
    place = Location(tmp_path / "api.sock", tmp_path / "state", tmp_path / "config", is_personal=False)
    assert {str(real), str(tmp_path / "config"), os.path.realpath("/var/lib/docker")} <= set(forbidden_folders(place))


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.parse_arguments(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("ds01d ")
