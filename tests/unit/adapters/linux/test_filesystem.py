import shutil
from pathlib import Path

import pytest

from ds01.adapters.linux.filesystem import (
    find_free_bytes,
    find_network_file_system,
    is_network_path,
    read_free_bytes,
)


def test_a_local_directory_is_no_network_path(tmp_path: Path) -> None:
    assert not is_network_path(tmp_path)
    assert find_network_file_system(Path("/proc")) is None


def test_what_does_not_exist_yet_is_judged_where_it_would_be_made(tmp_path: Path) -> None:
    assert not is_network_path(tmp_path / "not" / "yet" / "there")
    assert read_free_bytes(tmp_path / "not" / "yet") > 0


def test_the_free_space_is_what_users_have_left(tmp_path: Path) -> None:
    # Another process may write meanwhile, so not to the byte.
    assert read_free_bytes(tmp_path) == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_a_folder_of_another_machine_has_no_known_room(tmp_path: Path) -> None:
    assert find_free_bytes(str(tmp_path)) == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert find_free_bytes(str(tmp_path / "none")) is None
