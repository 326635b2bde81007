"""The kept output of a build: bounded, and its end is never what is left out."""

import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from ds01.cli.build_log import BuildLog, new_log
from ds01.errors import Ds01Error


def logged(folder: Path, lines: list[str], limit: int) -> list[str]:
    with BuildLog(folder / "a.log", limit=limit) as log:
        for line in lines:
            log.add(line)
    return log.path.read_text(encoding="utf-8").splitlines()


def test_what_fits_is_kept_whole(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(10)]
    assert logged(tmp_path, lines, 1000) == lines


def test_of_too_much_the_beginning_and_the_end_are_kept_and_the_gap_is_said(tmp_path: Path) -> None:
    kept = logged(tmp_path, [f"{number:03}" for number in range(100)], 40)
    first, last = [f"{number:03}" for number in range(5)], [f"{number:03}" for number in range(95, 100)]
    assert kept == [*first, "[... 90 lines are left out ...]", *last]


@given(st.lists(st.text("ab", max_size=30), max_size=60), st.integers(80, 200))
def test_a_log_is_bounded_and_has_the_last_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], limit: int
) -> None:
    kept = logged(tmp_path_factory.mktemp("log"), lines, limit)
    assert sum(len(line) + 1 for line in kept) <= limit + 60
    assert kept[-1:] == lines[-1:]
    left_out = [line for line in kept if line.startswith("[...")]
    assert len(kept) - len(left_out) + (int(left_out[0].split()[1]) if left_out else 0) == len(lines)


def test_the_oldest_logs_go(tmp_path: Path) -> None:
    folder = tmp_path / "ds01" / "builds"
    folder.mkdir(parents=True)
    for number in range(5):
        path = folder / f"old-{number}.log"
        path.write_text("x", encoding="utf-8")
        os.utime(path, (number, number))
    with new_log({"XDG_STATE_HOME": str(tmp_path)}, "thesis", most=3) as log:
        log.add("x")
    assert sorted(path.name for path in folder.iterdir()) == ["old-3.log", "old-4.log", log.path.name]


def test_a_line_is_in_the_file_as_soon_as_it_was_said(tmp_path: Path) -> None:
    with BuildLog(tmp_path / "a.log") as log:
        log.add("Step 1/2")
        assert log.path.read_text(encoding="utf-8") == "Step 1/2\n"


def test_builds_of_one_name_that_begin_together_have_logs_of_their_own(tmp_path: Path) -> None:
    logs = [new_log({"XDG_STATE_HOME": str(tmp_path)}, "thesis") for _ in range(3)]
    for number, log in enumerate(logs):
        with log:
            log.add(str(number))
    assert [log.path.read_text(encoding="utf-8") for log in logs] == ["0\n", "1\n", "2\n"]


def test_a_log_that_another_build_removed_meanwhile_holds_none_up(tmp_path: Path) -> None:
    folder = tmp_path / "ds01" / "builds"
    folder.mkdir(parents=True)
    for number in range(5):
        (folder / f"gone-{number}.log").symlink_to("removed")
    with new_log({"XDG_STATE_HOME": str(tmp_path)}, "thesis", most=3) as log:
        log.add("x")
    assert log.path.read_text(encoding="utf-8") == "x\n"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "ds01").write_text("", encoding="utf-8")
    with pytest.raises(Ds01Error, match="ds01/builds") as caught:
        new_log({"XDG_STATE_HOME": str(tmp_path)}, "thesis")
    assert caught.value.hint == "The output of a build is kept there."
