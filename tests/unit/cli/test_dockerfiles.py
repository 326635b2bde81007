"""Dockerfiles of a person on the disk: found, replaced and kept, whatever stands in their place."""

import os
import stat
from pathlib import Path

import pytest

from ds01.cli.dockerfiles import dockerfile_of, find_dockerfile, write_text
from ds01.errors import ConflictError, Ds01Error, NotFoundError


def test_a_link_stays_one_and_the_file_that_it_leads_to_is_changed(tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    real, link = tmp_path / "repository" / "Dockerfile", tmp_path / "thesis.Dockerfile"
    real.write_text("FROM a\n")
    link.symlink_to("repository/Dockerfile")
    backup = write_text(link, "FROM b\n", replaces=True)
    assert link.is_symlink()
    assert real.read_text() == "FROM b\n"
    assert backup is not None
    assert (backup.parent, backup.is_symlink(), backup.read_text()) == (tmp_path, False, "FROM a\n")
    assert os.listdir(real.parent) == ["Dockerfile"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_a_file_keeps_its_rights_and_a_new_one_can_be_read_by_all(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "Dockerfile"
    write_text(path, "FROM a\n", replaces=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.chmod(mode)
    backup = write_text(path, "FROM b\n", replaces=True)
    assert backup is not None
    assert {stat.S_IMODE(one.stat().st_mode) for one in (path, backup)} == {mode}


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    folder, pipe, device = tmp_path / "folder", tmp_path / "pipe", tmp_path / "null"
    folder.mkdir()
    os.mkfifo(pipe)
    device.symlink_to("/dev/null")
    before = sorted(os.listdir(tmp_path))
    for path in (folder, pipe, device):
        with pytest.raises(ConflictError, match="is no file"):
            write_text(path, "FROM a\n", replaces=True)
    assert sorted(os.listdir(tmp_path)) == before
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("mine")
    (tmp_path / "nowhere").symlink_to("gone/Dockerfile")
    before = sorted(os.listdir(tmp_path))
    for path in (tmp_path / "a file" / "Dockerfile", tmp_path / ("n" * 300), tmp_path / "nowhere"):
        with pytest.raises(Ds01Error) as failure:
            write_text(path, "FROM a\n", replaces=True)
        assert str(path) in failure.value.message
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    "text", ["n" * 300, "n" * 5000, "/" + "n" * 300, "a\0b", "loop/Dockerfile", "~nobody-at-all/x"]
)
def test_a_name_that_no_file_can_have_is_not_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(NotFoundError) as missing:
        find_dockerfile({"HOME": str(tmp_path)}, text.replace("loop", str(tmp_path / "loop")))
    assert len(missing.value.message) < 300


def test_a_mistyped_name_gets_the_nearest(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    write_text(dockerfile_of(environment, "thesis"), "FROM a\n", replaces=False)
    with pytest.raises(NotFoundError) as missing:
        find_dockerfile(environment, "thesys")
    assert missing.value.hint == "Did you mean thesis?"
