"""`ds01 admin catalogue`: AIME's list beside the catalogue, and the drop-in that takes its rows over."""

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from ds01.cli.dropin import write_dropin
from ds01.errors import ConflictError, ForbiddenError
from tests.unit.cli.conftest import Ds01, Start
from tests.unit.scripted_daemon import Request, ScriptedDaemon, ok

ROUTE = "POST /v1/catalogue/compare"
NOBODY = 65534
TEXT = "Pytorch, 9.0, [CUDA_ADA], aimehub/pytorch-9.0\n"


def change(kind: str = "new", **more: object) -> dict[str, object]:
    return {
        "kind": kind,
        "framework": "Pytorch",
        "version": "9.0",
        "architectures": ["CUDA_ADA"],
        "image": "aimehub/pytorch-9.0",
        "before": "",
        "origin": "",
        "in_force": False,
        **more,
    }


def comparison(path: Path, *changes: dict[str, object], text: str = TEXT, **more: object) -> bytes:
    document = {"schema_version": 1, "source": "ml_images.repo", "changes": list(changes), "skipped": 0, "remarks": []}
    return ok({**document, "path": str(path), "text": text, **more})


@pytest.fixture
def dropin(tmp_path: Path) -> Path:
    return tmp_path / "config" / "catalogue.d" / "00-aime.repo"


@pytest.fixture
def aime(tmp_path: Path) -> Path:
    folder = tmp_path / "AIME folder"
    folder.mkdir()
    (folder / "ml_images.repo").write_text(TEXT, encoding="utf-8")
    return folder


def then_in_force(daemon: ScriptedDaemon, dropin: Path, *changes: dict[str, object]) -> None:
    """Answer the first time with changes, and then as if they counted."""
    answers = iter([comparison(dropin, *changes), comparison(dropin, text="")])

    def answer(_: Request, connection: socket.socket) -> None:
        connection.sendall(next(answers))

    daemon.answers[ROUTE] = answer


def test_a_folder_is_read_by_the_client_and_every_difference_is_shown(
    ds01: Ds01, daemon: ScriptedDaemon, dropin: Path, aime: Path
) -> None:
    kept = change("kept", version="8.0", before="registry.example/own", origin="site.csv:3")
    gone = change("gone", version="1.0", image="aimehub/old", before="aimehub/old")
    daemon.answers[ROUTE] = comparison(dropin, change(), change("changed", before="aimehub/was"), kept, gone)
    outcome = ds01("admin", "catalogue", "diff", str(aime))
    assert outcome.status == 0
    assert daemon.requests[-1].document() == {"text": TEXT, "name": "ml_images.repo"}
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["CHANGE", "new", "changed", "kept", "gone"]
    assert "aimehub/was" in outcome.out
    assert "registry.example/own (site.csv:3)" in outcome.out
    assert not dropin.parent.exists()


def test_without_a_folder_the_daemon_takes_the_one_of_the_policy(
    ds01: Ds01, daemon: ScriptedDaemon, dropin: Path
) -> None:
    daemon.answers[ROUTE] = comparison(dropin, change(in_force=True), remarks=["x:2: odd."], skipped=3)
    outcome = ds01("admin", "catalogue", "diff")
    assert daemon.requests[-1].document() == {}
    assert "They count already" in outcome.err
    assert "x:2: odd. The row is skipped." in outcome.err
    assert "2 more rows are skipped" in outcome.err


def test_json_is_the_document(ds01: Ds01, daemon: ScriptedDaemon, dropin: Path) -> None:
    daemon.answers[ROUTE] = comparison(dropin, change())
    outcome = ds01("admin", "catalogue", "diff", "--json")
    assert outcome.document["changes"] == [change()]


def test_an_update_writes_the_file_whole_for_everybody_to_read_and_looks_whether_it_counts(
    ds01: Ds01, daemon: ScriptedDaemon, dropin: Path, aime: Path
) -> None:
    then_in_force(daemon, dropin, change())
    outcome = ds01("admin", "catalogue", "update", str(aime), "-y")
    assert outcome.status == 0, outcome.err
    assert dropin.read_text(encoding="utf-8") == TEXT
    assert stat.S_IMODE(dropin.stat().st_mode) == 0o644
    assert os.listdir(dropin.parent) == [dropin.name]
    assert [request.document() for request in daemon.requests if request.path == ROUTE.split()[1]] == [
        {"text": TEXT, "name": "ml_images.repo"}
    ] * 2


def test_an_update_keeps_the_file_before(ds01: Ds01, daemon: ScriptedDaemon, dropin: Path, aime: Path) -> None:
    dropin.parent.mkdir(parents=True)
    dropin.write_text("# before\n", encoding="utf-8")
    then_in_force(daemon, dropin, change())
    outcome = ds01("admin", "catalogue", "update", str(aime), "--json")
    assert outcome.document["path"] == str(dropin)
    assert dropin.read_text(encoding="utf-8") == TEXT
    assert dropin.with_name("00-aime.repo.bak").read_text(encoding="utf-8") == "# before\n"


def test_a_dry_run_and_an_update_without_new_rows_write_nothing(
    ds01: Ds01, daemon: ScriptedDaemon, dropin: Path, aime: Path
) -> None:
    daemon.answers[ROUTE] = comparison(dropin, change())
    assert ds01("admin", "catalogue", "update", str(aime), "--dry-run").status == 0
    daemon.answers[ROUTE] = comparison(dropin, text="")
    outcome = ds01("admin", "catalogue", "update", str(aime), "-y")
    assert outcome.status == 0
    assert "has every row of ml_images.repo" in outcome.err
    assert not dropin.parent.exists()


def test_on_a_terminal_it_asks_and_a_no_writes_nothing(
    start: Start, daemon: ScriptedDaemon, dropin: Path, aime: Path
) -> None:
    daemon.answers[ROUTE] = comparison(dropin, change())
    with start("admin", "catalogue", "update", str(aime)) as terminal:
        terminal.wait_for("Write the new and changed rows to")
        terminal.type("n\r")
        assert terminal.wait() == 1
    assert not dropin.parent.exists()


def test_on_a_terminal_a_diff_says_how_to_take_the_rows_over(
    start: Start, daemon: ScriptedDaemon, dropin: Path, aime: Path
) -> None:
    daemon.answers[ROUTE] = comparison(dropin, change())
    with start("admin", "catalogue", "diff", str(aime / "ml_images.repo")) as terminal:
        terminal.wait_for("ds01 admin catalogue update '")
        assert terminal.wait() == 0


def test_rows_that_do_not_count_afterwards_are_an_error(
    ds01: Ds01, daemon: ScriptedDaemon, dropin: Path, aime: Path
) -> None:
    daemon.answers[ROUTE] = comparison(dropin, change())
    outcome = ds01("admin", "catalogue", "update", str(aime), "-y")
    assert outcome.status == 8
    assert "its rows do not count" in outcome.err


def test_odd_files_are_refused_before_the_daemon_is_asked(ds01: Ds01, daemon: ScriptedDaemon, aime: Path) -> None:
    assert ds01("admin", "catalogue", "diff", str(aime / "none")).status == 3
    os.mkfifo(aime / "pipe")
    (aime / "huge").write_bytes(b"#" * (256 * 1024 + 1))
    (aime / "latin").write_bytes(b"# ok\n\xe9\n")
    for name, said in (
        ("pipe", "is not a file"),
        ("huge", "larger than 256 KiB"),
        ("latin", "latin:2: the file is no"),
    ):
        outcome = ds01("admin", "catalogue", "diff", str(aime / name))
        assert outcome.status == 2
        assert said in outcome.err
    assert not [request for request in daemon.requests if request.target.startswith("/v1/catalogue")]


def test_without_the_right_to_write_nothing_changes_and_sudo_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:  # not pytest's, which nobody else may enter
        folder = Path(name)
        folder.chmod(0o555)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                if os.getuid() == 0:  # root may write everywhere
                    os.setresuid(NOBODY, NOBODY, NOBODY)
                os.write(writer, refusal_of(folder / "catalogue.d" / "00-aime.repo").encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, encoding="utf-8") as answer:
            said = answer.read()
        os.waitpid(child, 0)
        assert "sudo ds01 admin catalogue update" in said
        assert os.listdir(folder) == []


def refusal_of(path: Path) -> str:
    """Write a drop-in and return how that is refused; empty if it is not."""
    try:
        write_dropin(str(path), TEXT)
    except ForbiddenError as refused:
        return str(refused.hint)
    return ""


def test_a_file_that_cannot_be_written_leaves_no_new_folder(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="too long"):
        write_dropin(str(tmp_path / "catalogue.d" / ("a" * 300)), TEXT)
    assert os.listdir(tmp_path) == []


def test_what_is_in_the_way_is_named_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "00-aime.repo"
    path.mkdir()
    with pytest.raises(ConflictError, match="Is a directory"):
        write_dropin(str(path), TEXT)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(ConflictError, match="it is not a file"):
        write_dropin(str(path), TEXT)
    path.unlink()
    part = tmp_path / "00-aime.repo.part"
    part.write_text("somebody's", encoding="utf-8")
    with pytest.raises(ConflictError, match=r"00-aime\.repo\.part is there already"):
        write_dropin(str(path), TEXT)
    assert os.listdir(tmp_path) == [part.name]
