"""`ds01 image create --help`, `--info` and `--concepts`: from the shortest to the most."""

from itertools import pairwise
from pathlib import Path

from tests.unit.cli.conftest import Ds01
from tests.unit.scripted_daemon import ScriptedDaemon

pytest_plugins = ("tests.unit.cli.image_fixtures",)


def test_info_shows_every_option_with_what_is_offered_here_and_writes_nothing(make: Ds01, house: Path) -> None:
    outcome = make("create", "thesis", "--info")
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    rows = {" ".join(line.split()): " ".join(below.split()) for line, below in pairwise(lines)}
    assert rows["-f, --framework NAME pytorch"] == "Framework of the catalogue, with a version if you like."
    assert "-t, --type NAME ml, cv, nlp, rl, audio, ts, llm, none" in rows
    assert "--jupyter LIST default: jupyter jupyterlab ipykernel ipywidgets notebook" in rows
    assert "--arch NAME as the machine needs" in rows
    assert rows["--pip-cache"] == "Keep what pip fetches in a cache of BuildKit."
    assert not (house / "dockerfiles").exists()


def test_help_begins_with_examples_and_concepts_are_explained_without_a_daemon(
    make: Ds01, daemon: ScriptedDaemon
) -> None:
    shown = make("create", "--help").out
    assert shown.index("Examples:") < shown.index("Options:")
    assert {"--info", "--concepts", "--guided"} <= set(shown.split())
    assert "The catalogue has images of the usual frameworks" in make("create", "--concepts").out
    assert daemon.asked() == []
