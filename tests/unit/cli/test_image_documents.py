"""What programs get of `ds01 image create`, and words that mean the same in capitals."""

from pathlib import Path

import pytest

from ds01.cli.dockerfiles import dockerfile_of
from tests.unit.cli.conftest import Ds01
from tests.unit.cli.image_house import BUILT, furnished_house
from tests.unit.scripted_daemon import ScriptedDaemon

NOON = "1769860800"


@pytest.fixture
def house(daemon: ScriptedDaemon, tmp_path: Path) -> Path:
    """A home folder, and a daemon that knows the catalogue and the tiers."""
    return furnished_house(daemon, tmp_path)


@pytest.fixture
def make(ds01: Ds01, house: Path) -> Ds01:
    """Run `ds01 image WORDS` with that home."""
    return lambda *words: ds01("image", *words, HOME=str(house), SOURCE_DATE_EPOCH=NOON)


def test_programs_get_the_same_facts_of_a_dry_run_and_of_a_build(make: Ds01, house: Path) -> None:
    words = ("create", "thesis", "-f", "pytorch", "--json")
    planned = make(*words, "--dry-run").document
    assert planned["dry_run"]
    assert not dockerfile_of({"HOME": str(house)}, "thesis").exists()
    done = make(*words, "--build").document
    assert planned["text"] == dockerfile_of({"HOME": str(house)}, "thesis").read_text()
    assert {key: planned[key] for key in ("schema_version", "name", "dockerfile")} == {
        "schema_version": 1,
        "name": "thesis",
        "dockerfile": done["dockerfile"],
    }
    assert done["built"] == BUILT


@pytest.mark.parametrize(("typed", "meant"), [("Default", "default"), ("SKIP", "skip"), (" skip ", "skip")])
def test_the_words_for_a_tier_are_read_in_capitals_too(make: Ds01, typed: str, meant: str) -> None:
    words = ("create", "thesis", "-f", "pytorch", "--dry-run")
    outcome = make(*words, "--jupyter", typed, "--data-science", typed)
    assert outcome.status == 0
    assert outcome.out == make(*words, "--jupyter", meant, "--data-science", meant).out
