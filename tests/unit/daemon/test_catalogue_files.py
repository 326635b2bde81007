"""The catalogue in force: a site's lists are read again when they change, and a broken one never takes effect."""

import os
from pathlib import Path

import pytest

from ds01.config.catalogue import AIME_LIST, DROPIN_FOLDER, MAX_DROPINS, read_shipped_catalogue
from ds01.daemon.catalogue_files import CatalogueFiles

SHIPPED_ROWS = read_shipped_catalogue()
GOOD = "Pytorch,9.0,CUDA_ADA,registry.example/p:9\n"


def write(path: Path, text: str | bytes, mode: int = 0o644) -> None:
    """Replace a file as an editor does: a new file under the old name."""
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_name("new")
    fresh.write_bytes(text.encode() if isinstance(text, str) else text)
    fresh.chmod(mode)
    fresh.rename(path)


def own_images(found: CatalogueFiles) -> list[str]:
    return [row.image for row in found.current if row.origin != "shipped"]


def problem_of(found: CatalogueFiles) -> str:
    return found.problem or ""


def test_without_a_folder_the_shipped_rows_count(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        found = CatalogueFiles(folder)
        assert found.current == SHIPPED_ROWS
        assert problem_of(found) == ""
        assert not found.reload_if_changed()


def test_a_new_drop_in_counts_once_and_goes_with_its_file(tmp_path: Path) -> None:
    found = CatalogueFiles(tmp_path)
    path = tmp_path / DROPIN_FOLDER / "site.csv"
    write(path, GOOD)
    assert found.reload_if_changed()
    assert own_images(found) == ["registry.example/p:9"]
    assert not found.reload_if_changed()
    path.unlink()
    assert found.reload_if_changed()
    assert found.current == SHIPPED_ROWS


def test_a_later_drop_in_wins_and_other_files_are_no_lists(tmp_path: Path) -> None:
    folder = tmp_path / DROPIN_FOLDER
    write(folder / "10-a.csv", GOOD)
    write(folder / "20-b.repo", "Pytorch, 9.0, [CUDA_ADA], registry.example/later\n")
    for name in (".hidden.csv", "site.csv~", "README"):
        write(folder / name, "no rows at all\n")
    found = CatalogueFiles(tmp_path)
    assert own_images(found) == ["registry.example/later"]
    assert problem_of(found) == ""


def test_a_broken_edit_keeps_the_last_good_rows_and_is_said_until_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / DROPIN_FOLDER / "site.csv"
    write(path, GOOD)
    found = CatalogueFiles(tmp_path)
    write(path, GOOD + "Pytorch,9.1,CUDA_ADA\n")
    assert not found.reload_if_changed()
    assert own_images(found) == ["registry.example/p:9"]
    assert "site.csv:2" in problem_of(found)
    assert "last good" in problem_of(found)
    write(path, "Pytorch,9.1,CUDA_ADA,registry.example/p:91\n")
    assert found.reload_if_changed()
    assert problem_of(found) == ""
    assert own_images(found) == ["registry.example/p:91"]


def test_a_file_that_is_broken_from_the_start_spoils_no_other(tmp_path: Path) -> None:
    folder = tmp_path / DROPIN_FOLDER
    write(folder / "bad.csv", "nothing\n")
    write(folder / "good.csv", GOOD)
    found = CatalogueFiles(tmp_path)
    assert own_images(found) == ["registry.example/p:9"]
    assert "bad.csv:1" in problem_of(found)


@pytest.mark.parametrize(
    ("text", "mode", "word"),
    [
        (GOOD, 0o666, "everybody"),
        (b"\xff\xfe", 0o644, "UTF-8"),
        (b"#" * (1024**2 + 1), 0o644, "larger"),
    ],
)
def test_a_file_that_cannot_be_trusted_or_read_does_not_count(
    tmp_path: Path, text: str | bytes, mode: int, word: str
) -> None:
    write(tmp_path / DROPIN_FOLDER / "site.csv", text, mode)
    found = CatalogueFiles(tmp_path)
    assert found.current == SHIPPED_ROWS
    assert word in problem_of(found)


def test_mended_rights_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / DROPIN_FOLDER / "site.csv"
    write(path, GOOD, 0o666)
    found = CatalogueFiles(tmp_path)
    path.chmod(0o644)
    assert found.reload_if_changed()
    assert problem_of(found) == ""


def test_a_pipe_among_the_drop_ins_does_not_stop_the_daemon(tmp_path: Path) -> None:
    (tmp_path / DROPIN_FOLDER).mkdir()
    os.mkfifo(tmp_path / DROPIN_FOLDER / "pipe.csv")
    found = CatalogueFiles(tmp_path)
    assert "is not a file" in problem_of(found)


def test_a_live_aime_list_adds_its_new_rows_below_the_sites_own(tmp_path: Path) -> None:
    aime = tmp_path / "aime"
    write(
        aime / AIME_LIST, "Pytorch, 3.0, [CUDA_ADA], aimehub/pytorch-3.0\nbroken\nPytorch, 9.0, [CUDA_ADA], aimehub/x"
    )
    write(tmp_path / DROPIN_FOLDER / "site.csv", GOOD)
    found = CatalogueFiles(tmp_path, lambda: str(aime))
    assert own_images(found) == ["aimehub/pytorch-3.0", "registry.example/p:9"]
    assert problem_of(found) == ""  # AIME's list is not the site's to mend: its broken row is skipped


def test_a_live_aime_list_that_is_missing_is_said(tmp_path: Path) -> None:
    found = CatalogueFiles(tmp_path, lambda: str(tmp_path / "nowhere"))
    assert found.current == SHIPPED_ROWS
    assert AIME_LIST in problem_of(found)


def test_another_folder_of_aime_counts_at_the_next_look_and_none_takes_its_rows_away(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write(tmp_path / name / AIME_LIST, f"Pytorch, 3.0, [CUDA_ADA], aimehub/{name}")
    named: list[str | None] = [None]
    found = CatalogueFiles(tmp_path, lambda: named[-1])
    assert own_images(found) == []
    for name in ("first", "second"):
        named.append(str(tmp_path / name))
        assert found.reload_if_changed()
        assert own_images(found) == [f"aimehub/{name}"]
        assert found.without_aime() == SHIPPED_ROWS
    named.append(None)
    assert found.reload_if_changed()
    assert found.current == SHIPPED_ROWS
    assert found.aime_list is None


def test_a_folder_of_aime_that_the_policy_leaves_out_goes_although_the_drop_ins_cannot_be_listed(
    tmp_path: Path,
) -> None:
    write(tmp_path / "aime" / AIME_LIST, "Pytorch, 3.0, [CUDA_ADA], aimehub/x")
    named: list[str | None] = [str(tmp_path / "aime")]
    found = CatalogueFiles(tmp_path, lambda: named[-1])
    (tmp_path / DROPIN_FOLDER).mkdir()
    for number in range(MAX_DROPINS + 1):
        (tmp_path / DROPIN_FOLDER / f"{number}.csv").touch()
    named.append(None)
    assert found.reload_if_changed()
    assert (found.current, DROPIN_FOLDER in problem_of(found)) == (SHIPPED_ROWS, True)
