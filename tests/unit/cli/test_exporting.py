"""`ds01 container export` and `import`: files that are whole or not there, and checked before anything is made."""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Generator
from pathlib import Path

import pytest
import zstandard

from ds01.cli.call import Call, Process
from ds01.cli.compression import CompressedWriter, checked_size, read_content
from ds01.cli.export_file import read_file, upload_of, write_export
from ds01.cli.lost_answer import tell_what_became
from ds01.domain.containers.export import HEADER_NAME, ORDER_NAME, ExportedBase, ExportHeader, layer_entry
from ds01.errors import ConflictError, DaemonUnreachableError, Ds01Error, InvalidRequestError
from tests.fake_engine.layers import diff_id_of, pack
from tests.unit.cli.conftest import Ds01, container
from tests.unit.scripted_daemon import ScriptedDaemon, http, ok, problem

LAYER = pack({"opt/tool": b"installed" * 1000}, uid=1001)
BASE = ExportedBase("registry/pytorch:latest", "sha256:" + "a" * 64, "", ("sha256:" + "b" * 64,))
HEADER = ExportHeader(
    "demo", "ds01", (*BASE.layers, diff_id_of(LAYER)), BASE, 1001, 1001, order={"gpu": {"count": 0}, "framework": "x"}
)
SENT = pack({HEADER_NAME: HEADER.to_text().encode(), layer_entry(diff_id_of(LAYER)): LAYER})
PLAN = {
    "schema_version": 1,
    "name": "demo",
    "base": BASE.reference,
    "size_bytes": len(LAYER),
    "workspace": None,
    "warnings": [],
    "docker_command": "docker commit x",
}
CREATED = {"schema_version": 1, "dry_run": False, "docker_command": "", "reasons": [], "warnings": []}


def sent() -> Generator[bytes, None, None]:
    yield SENT


def serve(daemon: ScriptedDaemon, data: bytes = SENT, workspace: Path | None = None) -> None:
    daemon.answers["GET /v1/containers/demo/export"] = ok({**PLAN, "workspace": str(workspace) if workspace else None})
    daemon.answers["POST /v1/containers/demo/export"] = http(200, data, kind="application/octet-stream")
    daemon.answers["POST /v1/imports"] = ok(CREATED)


def sent_members(daemon: ScriptedDaemon) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(daemon.requests[-1].body), mode="r:") as archive:
        found = {member.name: archive.extractfile(member) for member in archive}
        return {name: content.read() if content else b"" for name, content in found.items()}


def test_what_is_exported_is_imported_as_it_was(daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path) -> None:
    serve(daemon)
    path = tmp_path / "demo.ds01.tar.zst"
    assert ds01("container", "export", "demo", str(path)).status == 0
    assert [item.name for item in tmp_path.iterdir() if item.name.startswith("demo.")] == [path.name]
    plain = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=False).read()
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        assert archive.getnames() == [HEADER_NAME, layer_entry(diff_id_of(LAYER))]
    assert ds01("container", "import", str(path), "--name", "copy", "--gpus", "2").status == 0
    found = sent_members(daemon)
    assert list(found) == [ORDER_NAME, HEADER_NAME, layer_entry(diff_id_of(LAYER))]
    assert found[layer_entry(diff_id_of(LAYER))] == LAYER
    assert json.loads(found[ORDER_NAME]) == {
        "name": "copy",
        "interface": "cli",
        "framework": "x",
        "gpu": {"count": 2},
    }


def test_an_import_takes_the_settings_of_a_creation(daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path) -> None:
    serve(daemon)
    path = tmp_path / "demo.ds01.tar.zst"
    ds01("container", "export", "demo", str(path))
    limits = ("--cpus", "0.5", "--memory", "1G", "--memory-swap", "2G", "--shm-size", "64M", "--pids-limit", "4096")
    words = (*limits, "-e", "A=1", "-p", "8888", "--time", "8h", "--no-wait", "--exclusive", "--cpu-only")
    assert ds01("container", "import", str(path), "--name", "copy", *words).status == 0
    order = json.loads(sent_members(daemon)[ORDER_NAME])
    assert order["cpus"] == 0.5
    assert [order[name] for name in ("memory_bytes", "memory_swap_bytes", "shm_size_bytes")] == [2**30, 2**31, 2**26]
    assert (order["pids_limit"], order["environment"], order["gpu"]) == (4096, {"A": "1"}, {"count": 0})
    assert [port["container_port"] for port in order["ports"]] == [8888]
    assert (order["time_limit_s"], order["exclusive"], order.get("wait", False)) == (28800.0, True, False)
    before = len(daemon.requests)
    assert ds01("container", "import", str(path), "--memory", "16").status == 2
    assert len(daemon.requests) == before


def test_a_dry_run_makes_nothing(daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path) -> None:
    serve(daemon)
    path = tmp_path / "demo.ds01.tar.zst"
    outcome = ds01("container", "export", "demo", str(path), "--dry-run", "--json")
    assert (outcome.document["dry_run"], outcome.document["size_bytes"]) == (True, len(LAYER))
    assert not path.exists()
    ds01("container", "export", "demo", str(path))
    outcome = ds01("container", "import", str(path), "--dry-run", "--json")
    assert outcome.document["base"] == BASE.reference
    assert not [asked for asked in daemon.asked() if "imports" in asked]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no tar",
        pack({HEADER_NAME: HEADER.to_text().encode()}),
        pack({HEADER_NAME: HEADER.to_text().encode(), layer_entry(diff_id_of(LAYER)): LAYER[:-512]}),
        SENT[: len(SENT) // 2],
    ],
    ids=["empty", "no tar", "no layer", "wrong layer", "cut off"],
)
def test_what_does_not_come_whole_leaves_no_file(
    daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path, data: bytes
) -> None:
    serve(daemon, data)
    outcome = ds01("container", "export", "demo", str(tmp_path / "out" / ".." / "x.zst"))
    assert outcome.status != 0
    outcome = ds01("container", "export", "demo", str(tmp_path / "x.zst"))
    assert outcome.status != 0
    assert "Traceback" not in outcome.err
    assert not list(tmp_path.glob("x.zst*"))


def test_a_file_that_is_there_is_not_replaced_unasked(daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path) -> None:
    serve(daemon)
    path = tmp_path / "x.zst"
    path.write_text("mine")
    assert ds01("container", "export", "demo", str(path)).status == 8
    assert path.read_text() == "mine"
    serve(daemon, b"no tar")
    assert ds01("container", "export", "demo", str(path), "--yes").status != 0
    assert path.read_text() == "mine", "a failed export took the old file away"
    serve(daemon)
    assert ds01("container", "export", "demo", str(path), "--yes").status == 0
    assert checked_size(str(path))


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    workspace = tmp_path / "home"
    (workspace / "sub").mkdir(parents=True)
    (workspace / "sub" / "file").write_text("data")
    (workspace / "link").symlink_to("sub/file")
    path = tmp_path / "demo.ds01.tar.zst"
    write_export(str(path), sent, workspace=str(workspace), warn=print)
    return path


def test_every_changed_byte_is_found(exported: Path, tmp_path: Path) -> None:
    whole = exported.read_bytes()
    broken = tmp_path / "broken"
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        broken.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(Ds01Error):
            read_file(str(broken))
        broken.write_bytes(whole[:place])
        with pytest.raises(Ds01Error):
            read_file(str(broken))


def test_a_bomb_is_not_unpacked_beyond_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    data = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    path.write_bytes(data)
    with pytest.raises(InvalidRequestError, match="unpacks to more"):
        for _ in read_content(str(path), 1000):
            pass


def test_what_there_is_no_room_for_is_refused_before_it_is_unpacked(
    daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path, exported: Path
) -> None:
    free = shutil.disk_usage(Path.home()).free
    says_so, does_not = tmp_path / "says-so", tmp_path / "does-not"
    with says_so.open("wb") as target:
        writer = CompressedWriter(target)
        writer.size_bytes = 2 * free
        writer.finish()
    does_not.write_bytes(zstandard.ZstdCompressor().compress(bytes(50_000_000)))
    status = json.loads(bytes(daemon.answers["GET /v1/status"]).partition(b"\r\n\r\n")[2])  # type: ignore[arg-type]
    for path, engine_bytes, code, words in (
        (says_so, 1000, 8, "there is room for"),
        (does_not, 1000 - free, 2, "unpacks to more than"),
        (exported, 10**9, 0, "Every checksum is right"),
    ):
        status["engine"]["free_bytes"] = engine_bytes
        daemon.answers["GET /v1/status"] = ok(status)
        outcome = ds01("container", "import", str(path), "--dry-run")
        assert (outcome.status, words in outcome.err) == (code, True), outcome.err
    assert not [asked for asked in daemon.asked() if "imports" in asked]


def test_a_newer_file_is_said_to_be_newer(tmp_path: Path) -> None:
    newer = {**json.loads(HEADER.to_text()), "schema": 2}
    path = tmp_path / "newer"
    with path.open("wb") as target:
        writer = CompressedWriter(target)
        writer.write(pack({HEADER_NAME: json.dumps(newer).encode()}))
        writer.finish()
    with pytest.raises(InvalidRequestError, match="has schema 2"):
        read_file(str(path))


def test_the_workspace_goes_along_and_goes_again_with_a_failure(
    daemon: ScriptedDaemon, ds01: Ds01, exported: Path, tmp_path: Path
) -> None:
    serve(daemon)
    there = tmp_path / "there"
    daemon.answers["POST /v1/imports"] = problem(409, "no_capacity", "All GPUs are taken.")
    refused = ds01("container", "import", str(exported), "--workspace", str(there))
    assert refused.status == 5
    for way in ("ds01 gpus", "ds01 reservation create", "--reservation NAME", f"import {exported} --cpu-only"):
        assert way in refused.err
    assert not there.exists()
    serve(daemon)
    there.mkdir()
    (there / "mine").write_text("mine")
    assert ds01("container", "import", str(exported), "--workspace", str(there)).status == 8
    assert [item.name for item in there.iterdir()] == ["mine"]
    (there / "mine").unlink()
    assert ds01("container", "import", str(exported), "--workspace", str(there)).status == 0
    assert (there / "sub" / "file").read_text() == "data"
    assert (there / "link").readlink() == Path("sub/file")
    assert json.loads(sent_members(daemon)[ORDER_NAME])["workspace"] == str(there)


def docker_saved(*, images: int = 1) -> bytes:
    config = {"architecture": "amd64", "config": {"Env": ["A=b"], "Volumes": {"/x": {}}}}
    config["rootfs"] = {"type": "layers", "diff_ids": [diff_id_of(LAYER)] * 2}
    manifest = {"Config": "c.json", "RepoTags": ["site/My_Image:1"], "Layers": ["1/layer.tar", "1/layer.tar"]}
    return pack(
        {
            "1/layer.tar": LAYER,
            "c.json": json.dumps(config).encode(),
            "manifest.json": json.dumps([manifest] * images).encode(),
        }
    )


@pytest.mark.parametrize("pack_up", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_archives_of_docker_are_known_by_their_content(
    daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path, pack_up: object
) -> None:
    serve(daemon)
    path = tmp_path / "odd name!.tar"
    path.write_bytes(pack_up(docker_saved()))  # type: ignore[operator]  # all three are functions of bytes
    assert ds01("container", "import", str(path)).status == 0
    found = sent_members(daemon)
    header = json.loads(found[HEADER_NAME])
    assert json.loads(found[ORDER_NAME]) == {"name": "My_Image", "interface": "cli"}
    assert (header["origin"], header["config"], header["uid"]) == ("docker save", {"Env": ["A=b"]}, None)
    assert found[layer_entry(diff_id_of(LAYER))] == LAYER
    root = pack({"etc/passwd": b"root:x:0:0::/:/bin/sh\n", "bin/sh": b""})
    path.write_bytes(pack_up(root))  # type: ignore[operator]  # as above
    assert ds01("container", "import", str(path)).status == 0
    found = sent_members(daemon)
    assert json.loads(found[HEADER_NAME])["origin"] == "docker export"
    assert found[f"layers/{hashlib.sha256(root).hexdigest()}.tar"] == root


def test_what_is_no_container_is_refused(tmp_path: Path, ds01: Ds01) -> None:
    path = tmp_path / "x"
    bad = docker_saved().replace(b"installed", b"intrusion", 1)
    for content in (pack({"src/main.py": b"x"}), b"", b"text", docker_saved(images=2), docker_saved(images=0), bad):
        path.write_bytes(content)
        outcome = ds01("container", "import", str(path))
        assert outcome.status == 2, content[:50]
        assert "Traceback" not in outcome.err
    assert ds01("container", "import", str(tmp_path / "none")).status == 3
    assert ds01("container", "import").status == 2


def test_a_file_that_another_export_writes_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x.part").write_text("theirs")
    with pytest.raises(ConflictError, match="is there already"):
        write_export(str(tmp_path / "x"), sent, workspace=None, warn=print)
    assert (tmp_path / "x.part").read_text() == "theirs"


def test_an_upload_is_what_was_looked_through(exported: Path) -> None:
    file = read_file(str(exported))
    assert file.has_workspace
    exported.write_bytes(exported.read_bytes()[:-300])
    with pytest.raises(InvalidRequestError):
        for _ in upload_of(file, {}):
            pass


@pytest.mark.parametrize(
    ("found", "stays", "words"),
    [
        (problem(404, "not_found", "There is no container copy."), False, "Nothing of copy was made"),
        (ok(container("copy", "created", managed=True)), True, "copy was made all the same"),
    ],
    ids=["old", "new"],
)
def test_an_import_whose_answer_never_came_says_what_became_of_it(
    daemon: ScriptedDaemon, ds01: Ds01, exported: Path, tmp_path: Path, found: bytes, words: str, *, stays: bool
) -> None:
    folder = tmp_path / "there"
    daemon.answers["POST /v1/imports"] = b""
    daemon.answers["GET /v1/containers/copy"] = found
    outcome = ds01("container", "import", str(exported), "--name", "copy", "--workspace", str(folder))
    assert outcome.status == 7
    assert words in outcome.err
    assert (folder / "sub" / "file").exists() is stays
    assert (str(folder) in outcome.err) is stays


def test_what_nobody_knows_is_not_taken_for_nothing(daemon: ScriptedDaemon) -> None:
    half_made = ok(container("copy", "created", managed=False))
    call = Call(Process({"DS01_SOCKET": str(daemon.socket_path)}), {})
    for answer in (half_made, problem(502, "backend", "The engine does not answer."), b""):
        daemon.answers["GET /v1/containers/copy"] = answer
        lost = DaemonUnreachableError("ds01d closed the connection.")
        assert tell_what_became(call, "copy", lost, patience_s=0)
        assert lost.details["was_made"] is None
        assert "is unknown" in str(lost.hint)


def test_an_import_without_a_daemon_does_not_wait_for_one(ds01: Ds01, exported: Path, tmp_path: Path) -> None:
    outcome = ds01("container", "import", str(exported), DS01_SOCKET=str(tmp_path / "none"))
    assert outcome.status == 7
    assert "Waiting" not in outcome.err
    assert ds01("container", "import", str(exported), "--dry-run", DS01_SOCKET=str(tmp_path / "none")).status == 0
