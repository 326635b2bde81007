"""Files that are there whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ds01.cli.whole_file import whole_file

KILLED = """\
import os, signal, sys
from ds01.cli.whole_file import whole_file
with whole_file(sys.argv[1]) as target:
    target.write(b"half")
    target.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("is_nameless", [True, False])
def test_it_has_its_name_when_it_is_whole_and_only_its_owner_reads_it(tmp_path: Path, *, is_nameless: bool) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with whole_file(str(path), is_nameless=is_nameless) as target:
        target.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("is_nameless", [True, False])
def test_a_failure_leaves_what_was_there(tmp_path: Path, *, is_nameless: bool) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def break_off() -> None:
        with whole_file(str(path), is_nameless=is_nameless) as target:
            target.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_writer_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "file")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == []


def test_a_relative_path_is_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with whole_file("file") as target:
        target.write(b"new")
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("is_nameless", [True, False])
def test_what_cannot_be_written_is_an_error_of_the_system(tmp_path: Path, *, is_nameless: bool) -> None:
    (tmp_path / "taken.part").write_text("theirs")
    for path, kind in ((tmp_path / "no" / "folder", FileNotFoundError), (tmp_path / "taken", FileExistsError)):
        with pytest.raises(kind), whole_file(str(path), is_nameless=is_nameless):
            raise AssertionError("it was opened")
    assert (tmp_path / "taken.part").read_text() == "theirs"
