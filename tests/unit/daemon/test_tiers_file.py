"""A site's table of packages: it replaces the shipped one, and a broken edit never takes effect."""

import logging
from pathlib import Path

import pytest

from ds01.config.package_tiers import TIERS_FILE, read_shipped_package_tiers
from ds01.daemon.tiers_file import TiersFile
from tests.unit.daemon.test_catalogue_files import write

GOOD = '[jupyter]\npip = ["jupyterlab>=4"]\n[use_case.bio]\nabout = "Sequences"\npip = ["biopython"]\n'
BROKEN = '[jupyter]\nabout = "x"\npip = [\n  "good",\n  "a; rm",\n]\n'


def test_without_a_file_the_shipped_table_counts(tmp_path: Path) -> None:
    found = TiersFile(tmp_path / "missing")
    assert (found.current, found.problem) == (read_shipped_package_tiers(), None)


def test_a_sites_table_replaces_the_shipped_one_and_goes_with_its_file(tmp_path: Path) -> None:
    found = TiersFile(tmp_path)
    write(tmp_path / TIERS_FILE, GOOD)
    assert found.reload_if_changed()
    assert not found.reload_if_changed()
    assert found.current.jupyter.pip == ("jupyterlab>=4",)
    assert list(found.current.use_cases) == ["bio"]
    (tmp_path / TIERS_FILE).unlink()
    assert found.reload_if_changed()
    assert found.current == read_shipped_package_tiers()


def test_the_last_good_table_stays_while_the_file_is_broken(tmp_path: Path) -> None:
    write(tmp_path / TIERS_FILE, GOOD)
    found = TiersFile(tmp_path)
    write(tmp_path / TIERS_FILE, BROKEN)
    assert not found.reload_if_changed()
    assert found.current.jupyter.pip == ("jupyterlab>=4",)
    assert (found.problem or "").startswith(f"{TIERS_FILE}:5: [jupyter]")
    assert "last good content stays" in (found.problem or "")
    write(tmp_path / TIERS_FILE, GOOD.replace("4", "5"))
    assert found.reload_if_changed()
    assert found.problem is None


def test_a_daemon_that_starts_with_a_broken_table_says_file_and_line_and_offers_the_shipped_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / TIERS_FILE, BROKEN)
    with caplog.at_level(logging.WARNING):
        found = TiersFile(tmp_path)
    assert found.current == read_shipped_package_tiers()
    assert f"{TIERS_FILE}:5: [jupyter]" in caplog.text
    assert "the shipped table counts" in caplog.text
