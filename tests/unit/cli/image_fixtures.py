"""What tests of the commands about images share."""

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Ds01
from tests.unit.cli.image_house import NOON, furnished_house
from tests.unit.scripted_daemon import ScriptedDaemon


@pytest.fixture
def house(daemon: ScriptedDaemon, tmp_path: Path) -> Path:
    """A home folder, and a daemon that knows the catalogue and the tiers."""
    return furnished_house(daemon, tmp_path)


@pytest.fixture
def make(ds01: Ds01, house: Path) -> Ds01:
    """Run `ds01 image WORDS` with that home."""
    return lambda *words: ds01("image", *words, HOME=str(house), SOURCE_DATE_EPOCH=NOON)
