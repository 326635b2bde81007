"""`ds01 cp`: where files go, as docker cp has it."""

import io
import socket
import tarfile
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Ds01, details
from tests.unit.scripted_daemon import Request, ScriptedDaemon, ok


def path_document(path: str, *, exists: bool = True, is_directory: bool = False, link_target: str = "") -> bytes:
    return ok(
        {
            "schema_version": 1,
            "path": path,
            "exists": exists,
            "is_directory": is_directory,
            "is_regular": exists and not is_directory,
            "size_bytes": 3,
            "link_target": link_target,
        }
    )


def test_cp_sends_a_file_to_the_folder_that_is_there(daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"abc")
    daemon.answers["GET /v1/containers/a/path"] = path_document("/workspace", is_directory=True)
    written = {"schema_version": 1, "name": "a", "path": "/workspace"}
    daemon.answers["POST /v1/containers/a/archive"] = ok(written)
    assert ds01("cp", str(tmp_path / "model.pt"), "a:/workspace").status == 0
    with tarfile.open(fileobj=io.BytesIO(daemon.requests[-1].body), mode="r:") as sent:
        assert [member.name for member in sent] == ["model.pt"]
    daemon.answers["GET /v1/containers/a/path"] = path_document("x", exists=False)
    assert ds01("cp", str(tmp_path / "model.pt"), "a:new.pt").status == 0
    with tarfile.open(fileobj=io.BytesIO(daemon.requests[-1].body), mode="r:") as sent:
        assert [member.name for member in sent] == ["new.pt"]


@pytest.mark.parametrize(
    ("there", "folder", "name"),
    [
        (path_document("/srv/real"), "%2Fsrv", "real"),
        (path_document("/srv/real", is_directory=True), "%2Fsrv%2Freal", "model.pt"),
        (path_document("/srv/real", exists=False), "%2Fsrv", "real"),
    ],
    ids=["a file", "a folder", "nothing"],
)
def test_cp_to_a_link_goes_where_the_link_leads(
    there: bytes, folder: str, name: str, daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path
) -> None:
    (tmp_path / "model.pt").write_bytes(b"abc")

    def look(request: Request, connection: socket.socket) -> None:
        is_link = "link" in request.target
        connection.sendall(path_document("/tmp/link", link_target="/srv/real") if is_link else there)

    daemon.answers["GET /v1/containers/a/path"] = look
    daemon.answers["POST /v1/containers/a/archive"] = ok({"schema_version": 1, "name": "a", "path": "/srv"})
    assert ds01("cp", str(tmp_path / "model.pt"), "a:/tmp/link").status == 0
    assert daemon.asked()[-1] == f"POST /v1/containers/a/archive?path={folder}"
    with tarfile.open(fileobj=io.BytesIO(daemon.requests[-1].body), mode="r:") as sent:
        assert [member.name for member in sent] == [name]


def test_cp_of_a_device_alone_is_an_error(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers/a/path"] = path_document("/tmp", is_directory=True)
    outcome = ds01("cp", "/dev/zero", "a:/tmp")
    assert (outcome.status, "/dev/zero is a pipe, a socket or a device" in outcome.err) == (2, True)
    assert [asked for asked in daemon.asked() if asked.startswith("POST")] == []


def test_cp_fetches_a_folder_under_the_name_that_was_typed(daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        header = tarfile.TarInfo("results/one")
        header.size = 3
        archive.addfile(header, io.BytesIO(b"one"))
    daemon.answers["GET /v1/containers/a/path"] = path_document("x", is_directory=True)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
    data = buffer.getvalue()
    daemon.answers["GET /v1/containers/a/archive"] = head % len(data) + data
    assert ds01("cp", "a:results", str(tmp_path / "mine")).status == 0
    assert (tmp_path / "mine" / "one").read_bytes() == b"one"
    assert ds01("cp", "a:results", str(tmp_path)).status == 0
    assert (tmp_path / "results" / "one").read_bytes() == b"one"


@pytest.mark.parametrize(
    "words",
    [("cp",), ("cp", "x"), ("cp", "a:/x", "b:/y"), ("cp", "/x", "/y"), ("cp", "", "a:/x"), ("cp", "/nowhere", "a:x")],
)
def test_cp_needs_one_path_inside_and_one_outside(words: tuple[str, ...], daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers/a/path"] = path_document("x", exists=False)
    outcome = ds01(*words)
    assert outcome.status in {2, 3}
    assert "Traceback" not in outcome.err


def test_cp_only_says_what_it_would_copy_after_every_check(daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(b"abc")
    daemon.answers["GET /v1/containers/a"] = ok(details("a"))
    daemon.answers["GET /v1/containers/a/path"] = path_document("/workspace", is_directory=True)
    outcome = ds01("cp", "--dry-run", str(tmp_path / "a file"), "a:")
    assert (outcome.status, outcome.out) == (0, f"docker cp '{tmp_path}/a file' a._.1001:/workspace\n")
    outcome = ds01("cp", "--dry-run", "--json", "a:results/.", str(tmp_path))
    assert (outcome.document["dry_run"], outcome.document["archive_bytes"]) == (True, 0)
    assert ds01("cp", "--dry-run", "a:x", str(tmp_path / "no" / "folder")).status == 3
    assert ds01("cp", "--dry-run", "-", "a:/x").status == 0
    assert [asked for asked in daemon.asked() if "archive" in asked] == []


def test_cp_tells_programs_how_much_it_was(daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"abc")
    daemon.answers["GET /v1/containers/a/path"] = path_document("/workspace", is_directory=True)
    daemon.answers["POST /v1/containers/a/archive"] = ok({"schema_version": 1, "name": "a", "path": "/workspace"})
    outcome = ds01("cp", "--json", str(tmp_path / "model.pt"), "a:/workspace")
    assert outcome.document["archive_bytes"] == len(daemon.requests[-1].body) > 512
    refused = ds01("cp", "--json", "a:/workspace", "-")
    assert (refused.status, refused.out) == (2, "")
