"""`ds01 image update --add`: what is there already is said, refused for scripts, and asked again on a terminal."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ds01.cli.dockerfiles import dockerfile_of
from ds01.domain.images.dockerfile import parse_dockerfile
from ds01.domain.images.dockerfile_change import render_dockerfile
from ds01.domain.images.recipe import ImageRecipe, Tier
from tests.terminal import Terminal
from tests.unit.cli.conftest import Ds01
from tests.unit.scripted_daemon import ScriptedDaemon, ok

ENTER, DOWN = "\r", "\x1b[B"
TEXT = render_dockerfile(ImageRecipe("ubuntu:24.04", "thesis").with_packages(Tier.CUSTOM, ["rich==13"]))
Start = Callable[[], Terminal]


def path_of(house: Path) -> Path:
    return dockerfile_of({"HOME": str(house)}, "thesis")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A home with the Dockerfile of `thesis`."""
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).write_text(TEXT)
    return tmp_path


@pytest.fixture
def update(ds01: Ds01, house: Path) -> Ds01:
    return lambda *words: ds01("image", "update", "thesis", *words, HOME=str(house))


@pytest.fixture
def start(daemon: ScriptedDaemon, house: Path) -> Start:
    def begin() -> Terminal:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DS01_SOCKET": str(daemon.socket_path),
            "HOME": str(house),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
        }
        argv = [sys.executable, "-m", "ds01", "image", "update", "thesis"]
        return Terminal(argv, environment, rows=50, columns=140, cwd=str(house))

    return begin


def let_the_base_have(daemon: ScriptedDaemon, *names: str) -> None:
    found = [{"name": name, "version": "2.8.0"} for name in names]
    daemon.answers["GET /v1/packages"] = ok({"schema_version": 1, "image": "x", "is_here": True, "packages": found})
    empty = {"name": "", "about": "", "pip": [], "apt": []}
    tiers = dict.fromkeys(("base", "system", "jupyter", "data_science"), empty)
    daemon.answers["GET /v1/package_tiers"] = ok({"schema_version": 1, "use_cases": [], **tiers})


def test_what_the_base_or_the_image_has_is_a_yellow_warning_and_asked_again_until_enter(
    start: Start, house: Path, daemon: ScriptedDaemon
) -> None:
    let_the_base_have(daemon, "Torch")
    path_of(house).write_text(TEXT.replace("WORKDIR", "RUN pip install einops\nWORKDIR"))
    before = path_of(house).read_text()
    with start() as terminal:
        terminal.wait_for("What to change?")
        terminal.type(DOWN + ENTER)
        for number, (typed, said) in enumerate(
            (
                ("polars TORCH>=2", "Already installed: TORCH>=2 (the base image has Torch==2.8.0)"),
                ("Rich", "Already installed: Rich (the image has rich==13)"),
                ("einops", "Already installed: einops (another line of the Dockerfile has einops)"),
            ),
            start=1,
        ):
            terminal.wait_for("Packages of Python", times=number)
            terminal.type(f"{typed}\r")
            terminal.wait_for(said)
        assert b"\x1b[33m" in terminal.output, "in yellow"
        terminal.wait_for("Packages of Python", times=4)
        terminal.type("\r")
        terminal.wait_for("What to change?", times=2)
        terminal.type(ENTER)
        terminal.wait_for("The Dockerfile is as it was.")
        terminal.wait_for("Build thesis now?")
        terminal.type("\x03")
        terminal.wait()
    assert path_of(house).read_text() == before


def test_what_the_base_has_is_refused_for_a_script_unless_it_is_allowed(
    update: Ds01, house: Path, daemon: ScriptedDaemon
) -> None:
    let_the_base_have(daemon, "torch")
    refused = update("--add", "polars torch<3")
    assert refused.status == 2
    assert "Already installed: torch<3 (the base image has torch==2.8.0)" in refused.err
    assert path_of(house).read_text() == TEXT
    assert update("--add", "torch<3", "--allow-duplicates").status == 0
    assert update("--add", "torch<4 rich==14").status == 0, "the recipe installs them: they take other bounds"
    recipe = parse_dockerfile(path_of(house).read_text()).recipe
    assert recipe.packages_of(Tier.CUSTOM) == ("rich==14", "torch<4")


def test_a_base_that_nobody_knows_holds_nobody_up_and_it_is_said(update: Ds01, house: Path) -> None:
    outcome = update("--add", "polars")
    assert outcome.status == 0
    assert "What ubuntu:24.04 contains is not known" in outcome.err
    assert "polars" in path_of(house).read_text()
