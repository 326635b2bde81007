"""Dockerfiles by flags and by questions, and builds, against a scripted daemon."""

import io
import os
import signal
import sys
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ds01.cli.dockerfiles import dockerfile_of, login_name
from ds01.domain.images.dockerfile import parse_dockerfile
from ds01.domain.images.recipe import Tier
from tests.terminal import Terminal
from tests.unit.cli.conftest import Ds01, catalogue
from tests.unit.cli.image_house import BUILT, NOON
from tests.unit.scripted_daemon import ScriptedDaemon, chunk, line, ok, problem, stream_head

pytest_plugins = ("tests.unit.cli.image_fixtures",)

"""2026-01-31, 12:00 UTC: a day that does not end between two commands."""
FAILED = {
    "type": "urn:ds01:error:error",
    "title": "T",
    "status": 500,
    "detail": "The build failed at `RUN pip install pandsa`: there is no package pandsa.",
    "hint": "Did you mean pandas?",
    "code": "error",
    "exit_status": 1,
    "details": {"output": ["the last line"]},
}


@pytest.fixture
def keys(daemon: ScriptedDaemon, house: Path) -> Iterator[Terminal]:
    """`ds01 image create thesis` on a terminal."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DS01_SOCKET": str(daemon.socket_path),
        "HOME": str(house),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "SOURCE_DATE_EPOCH": NOON,
    }
    argv = [sys.executable, "-m", "ds01", "image", "create", "thesis", "--guided", "--no-build"]
    with Terminal(argv, environment, rows=24, columns=80) as terminal:
        yield terminal


def written(house: Path) -> str:
    return dockerfile_of({"HOME": str(house)}, "thesis").read_text()


def test_flags_write_a_dockerfile_with_every_block_in_order_and_make_no_container(
    make: Ds01, house: Path, daemon: ScriptedDaemon
) -> None:
    outcome = make("create", "thesis", "-f", "pytorch", "-t", "cv", "-p", "polars>=1", "-s", "ffmpeg")
    assert outcome.status == 0, outcome.err
    recipe = parse_dockerfile(written(house)).recipe
    assert recipe.base == "aimehub/pytorch-2.8.0"
    assert [group.tier for group in recipe.packages] == [
        Tier.JUPYTER,
        Tier.DATA_SCIENCE,
        Tier.USE_CASE,
        Tier.ADDITIONAL,
    ]
    assert recipe.packages_of(Tier.ADDITIONAL) == ("polars>=1",)
    assert "torchvision" not in recipe.packages_of(Tier.USE_CASE)
    assert "ffmpeg" in recipe.system
    assert not [asked for asked in daemon.asked() if asked.startswith("POST")]


BLOCKS = {
    "# System packages": ("git", "curl", "wget", "vim", "htop"),
    "# Jupyter & Interactive": ("jupyter", "jupyterlab", "ipykernel", "ipywidgets", "notebook"),
    "# Core Data Science": ("pandas", "scipy", "scikit-learn", "matplotlib", "seaborn"),
    "# Use case specific packages": ("timm", "albumentations", "opencv-python-headless", "kornia"),
    "# Additional user packages": ("wandb", "'rich>=13'"),
}


def require_blocks(text: str) -> None:
    """Every tier of the seeds is there, in order, with all its packages, and installs something."""
    places = [text.index(f"\n{heading}\nRUN ") for heading in BLOCKS]
    assert places == sorted(places)
    for place, (heading, packages) in zip(places, BLOCKS.items(), strict=True):
        block = text[place:].strip("\n").split("\n\n")[0]
        installed = [line.strip(" \\") for line in block.splitlines()[2:] if not line.lstrip().startswith("&&")]
        assert tuple(installed) == packages, heading
    assert text.count("pip install") == len(BLOCKS) - 1
    assert text.startswith("# Made by ds01")
    assert "\nFROM aimehub/pytorch-2.8.0\n" in text


def test_the_four_tiers_of_the_seeds_are_written_whole_by_flags(make: Ds01, house: Path) -> None:
    assert make("create", "thesis", "-f", "pytorch", "-t", "cv", "-p", "wandb rich>=13").status == 0
    require_blocks(written(house))


def test_the_four_tiers_of_the_seeds_are_written_whole_by_questions(house: Path, keys: Terminal) -> None:
    keys.wait_for("Which framework?")
    keys.type("\r")
    keys.wait_for("Go on?")
    for said in ("aimehub/pytorch-2.8.0 contains", "torch, torchvision", "Jupyter: it lacks jupyter, jupyterlab"):
        assert said in keys.text()
    assert "Data science: it lacks pandas, scipy, scikit-learn, matplotlib, seaborn" in keys.text()
    keys.type("\r")
    for phase, question in (("3/7: Jupyter", "Jupyter?"), ("4/7: Data science", "Data science?")):
        keys.wait_for(f"Phase {phase}")
        keys.output = b""
        keys.wait_for(question)
        keys.type("\r")
    keys.wait_for("Phase 5/7: Use case")
    keys.wait_for("What is it for?")
    keys.type("vision\r")
    keys.wait_for("More packages of Python?")
    keys.type("wandb rich>=13\r")
    for question in ("by apt?", "pyproject.toml?"):
        keys.wait_for(question)
        keys.type("\r")
    keys.wait_for("Write the Dockerfile (phase 1/2)?")
    keys.type("\r")
    assert keys.wait() == 0, keys.text()
    require_blocks(written(house))


def test_the_dockerfile_says_whose_it_is_and_when_it_was_made_to_readers_and_programs(make: Ds01, house: Path) -> None:
    assert make("create", "thesis", "-f", "pytorch").status == 0
    header, _, rest = written(house).partition("\nFROM ")
    assert header.splitlines()[1:] == [
        "# DS01 Custom Image: thesis",
        "# Created: 2026-01-31",
        "# Framework: Pytorch-2.8.0",
        f"# Author: {login_name()}",
    ]
    assert 'LABEL aime.mlc.DS01_CREATED="2026-01-31"\n' in rest


def test_without_a_day_from_outside_it_is_today_and_what_is_no_day_is_refused(ds01: Ds01, house: Path) -> None:
    days = [datetime.now(UTC).date().isoformat()]
    shown = ds01("image", "create", "thesis", "-f", "pytorch", "--dry-run", HOME=str(house)).out
    days.append(datetime.now(UTC).date().isoformat())
    assert parse_dockerfile(shown).recipe.created in days
    for wrong in ("yesterday", "9" * 30):
        words = ("image", "create", "thesis", "-f", "pytorch")
        refused = ds01(*words, HOME=str(house), SOURCE_DATE_EPOCH=wrong)
        assert refused.status == 2
        assert f"SOURCE_DATE_EPOCH {wrong!r}" in refused.err
    assert not (house / "dockerfiles").exists()


def test_a_dry_run_prints_what_would_be_written_and_writes_nothing(make: Ds01, house: Path) -> None:
    shown = make("create", "thesis", "-f", "pytorch", "--dry-run")
    assert not (house / "dockerfiles").exists()
    make("create", "thesis", "-f", "pytorch")
    assert written(house) == shown.out


def test_a_dockerfile_that_is_there_stays_and_with_force_it_is_kept_beside(make: Ds01, house: Path) -> None:
    make("create", "thesis", "-f", "pytorch")
    first = written(house)
    assert make("create", "thesis", "-f", "pytorch", "-p", "rich").status == 8
    assert written(house) == first
    assert make("create", "thesis", "-f", "pytorch", "-p", "rich", "--force").status == 0
    assert "rich" in written(house)
    assert [path.read_text() for path in (house / "dockerfiles").glob("*.bak")] == [first]


@pytest.mark.parametrize(
    "words",
    [
        ("thesis",),
        ("thesis", "-f", "pytorch", "--base", "ubuntu:24.04"),
        ("Thesis!", "-f", "pytorch"),
        ("thesis", "-f", "pytorch", "-t", "cooking"),
        ("thesis", "-f", "pytorch", "-p", "numpy; rm -rf /"),
        ("thesis", "-f", "pytorch", "-p", "NumPy"),
        ("thesis", "-f", "pytorch", "-p", "scikit_learn"),
        ("thesis", "-f", "pytorch", "-p", "./local"),
        ("thesis", "-f", "pytorch", "-p", "a\0b"),
        ("thesis", "-f", "pytorch", "-s", "git; reboot"),
        ("thesis", "-f", "pytorch", "--jupyter", "'"),
        ("thesis", "--base", "Not An Image"),
        ("thesis", "-f", "pytorch", "--guided"),
        ("thesis", "-f", "pytorch", "--build", "--dry-run"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_nothing_is_written(
    words: tuple[str, ...], make: Ds01, house: Path
) -> None:
    outcome = make("create", *words)
    assert outcome.status == 2, outcome.err
    assert "Traceback" not in outcome.err
    assert not (house / "dockerfiles").exists()


def test_duplicates_can_be_allowed_and_versions_of_the_catalogue_be_named(make: Ds01, house: Path) -> None:
    assert make("create", "thesis", "-f", "pytorch 2.8.0", "-p", "numpy<2", "--allow-duplicates").status == 0
    assert "numpy<2" in written(house)
    missing = make("create", "other", "-f", "pytorch 9.9")
    assert missing.status == 3
    assert "2.8.0" in missing.err


def test_a_file_of_packages_is_read_and_one_that_is_missing_is_said(make: Ds01, house: Path) -> None:
    (house / "requirements.txt").write_text("einops>=0.8 # why\n")
    assert make("create", "thesis", "-f", "pytorch", "-r", str(house / "requirements.txt")).status == 0
    assert "einops>=0.8" in written(house)
    assert make("create", "other", "-f", "pytorch", "-r", str(house / "none.txt")).status == 3


def test_questions_with_their_defaults_write_the_same_bytes_as_flags(make: Ds01, house: Path, keys: Terminal) -> None:
    expected = make("create", "thesis", "-f", "pytorch", "-p", "polars>=1", "-s", "ffmpeg", "--dry-run").out
    keys.wait_for("Phase 1/7: Framework")
    keys.wait_for("Your image begins with another one")
    keys.wait_for("Which framework?")
    keys.type("\r")
    for number, question in ((2, "Go on?"), (3, "Jupyter?"), (4, "Data science?"), (5, "What is it for?")):
        keys.wait_for(f"Phase {number}/7")
        keys.wait_for(question)
        keys.type("\r")
    keys.wait_for("More packages of Python")
    keys.type("numpy\r")
    keys.wait_for("Already installed: numpy")
    keys.type("polars>=1\r")
    keys.wait_for("by apt")
    keys.type("ffmpeg\r")
    keys.wait_for("pyproject.toml?")
    keys.type("\r")
    keys.wait_for("Write the Dockerfile")
    keys.type("\r")
    assert keys.wait() == 0, keys.text()
    assert written(house) == expected
    assert "ds01 image build thesis" in keys.text()


def test_no_use_case_can_be_said_and_is_what_no_option_means(make: Ds01) -> None:
    words = ("create", "thesis", "-f", "pytorch", "--dry-run")
    assert make(*words, "-t", "none").out == make(*words).out
    assert "# Use case" not in make(*words).out


def test_the_framework_is_one_of_four_or_any_image_and_its_choice_is_explained(
    daemon: ScriptedDaemon, house: Path, keys: Terminal
) -> None:
    daemon.answers["GET /v1/catalogue"] = catalogue(
        ("Pytorch", "2.8.0"), ("Tensorflow", "2.16.1"), ("JAX", "0.6"), ("Python", "3.12")
    )
    keys.wait_for("another image")
    offered = keys.text().rpartition("Which framework?")[2].splitlines()[1:]
    names = [line.strip(" »").partition(" ")[0] for line in offered if line.strip()]
    assert names == ["Pytorch", "Tensorflow", "JAX", "Python", "another"]
    keys.type("\r")
    keys.wait_for("NVIDIA A100 with a driver for CUDA 12.6; newest for CUDA_ADA")
    keys.wait_for("Go on?")
    keys.type("\x03")
    assert keys.wait() == 130
    assert not (house / "dockerfiles").exists()


def test_one_step_back_asks_again_and_stopping_writes_nothing(house: Path, keys: Terminal) -> None:
    keys.wait_for("Which framework?")
    keys.type("\r")
    keys.wait_for("Go on?")
    keys.type("\x1b[B\r")
    keys.wait_for("Phase 1/7: Framework", times=2)
    keys.type("\x03")
    assert keys.wait() == 130
    assert not (house / "dockerfiles").exists()


def test_an_interrupt_that_comes_as_a_signal_ends_a_question_too(house: Path, keys: Terminal) -> None:
    keys.wait_for("Which framework?")
    keys.process.send_signal(signal.SIGINT)  # as Ctrl-C does until the terminal is in raw mode
    assert keys.wait() == 130
    assert not (house / "dockerfiles").exists()


def test_a_build_sends_the_dockerfile_alone_and_keeps_the_output(
    make: Ds01, house: Path, daemon: ScriptedDaemon
) -> None:
    make("create", "thesis", "-f", "pytorch")
    (house / "dockerfiles" / "secret").write_text("x")
    outcome = make("build", "thesis")
    assert (outcome.status, outcome.out) == (0, "thesis\n")
    request = daemon.requests[-1]
    assert "name=thesis" in request.target
    assert "buildkit" not in request.target
    with tarfile.open(fileobj=io.BytesIO(request.body)) as archive:
        assert archive.getnames() == ["Dockerfile"]
    (log,) = (house / ".local/state/ds01/builds").glob("thesis-*.log")
    assert log.read_text() == "Step 1/1 : FROM x\n done\n"


def test_a_dockerfile_that_copies_gets_its_folder_without_what_is_ignored(
    make: Ds01, house: Path, daemon: ScriptedDaemon
) -> None:
    project = house / "project"
    (project / "src").mkdir(parents=True)
    (project / "Dockerfile").write_text("FROM busybox\nCOPY src /src\nRUN --mount=type=cache,target=/c true\n")
    (project / "src" / "a.py").write_text("a")
    (project / "secret.key").write_text("x")
    (project / ".dockerignore").write_text("*.key\n")
    assert make("build", str(project / "Dockerfile"), "--tag", "mine").status == 0
    request = daemon.requests[-1]
    assert "name=mine" in request.target
    assert "buildkit=true" in request.target
    with tarfile.open(fileobj=io.BytesIO(request.body)) as archive:
        assert sorted(archive.getnames()) == [".dockerignore", "Dockerfile", "Dockerfile.ds01-build", "src", "src/a.py"]


def test_a_build_that_fails_shows_the_last_lines_the_reason_and_where_the_rest_is(
    make: Ds01, daemon: ScriptedDaemon
) -> None:
    make("create", "thesis", "-f", "pytorch")
    daemon.answers["POST /v1/images/build"] = stream_head() + line({"kind": "problem", "problem": FAILED}) + chunk(b"")
    outcome = make("build", "thesis")
    assert outcome.status == 1
    for text in ("the last line", "there is no package pandsa", "Did you mean pandas?", "thesis-"):
        assert text in outcome.err


@pytest.mark.parametrize(("words", "status"), [((), 3), (("nothing",), 3), (("./none/Dockerfile",), 3)])
def test_a_dockerfile_that_is_not_there_is_said(words: tuple[str, ...], status: int, make: Ds01) -> None:
    assert make("build", *words).status == status


def test_an_update_changes_packages_keeps_own_lines_and_the_file_before(make: Ds01, house: Path) -> None:
    make("create", "thesis", "-f", "pytorch", "-p", "rich")
    path = dockerfile_of({"HOME": str(house)}, "thesis")
    path.write_text(path.read_text().replace("WORKDIR", "RUN echo my own line\nWORKDIR"))
    before = path.read_text()
    shown = make("update", "thesis", "--add", "polars>=1", "--remove", "rich", "--dry-run")
    assert path.read_text() == before
    outcome = make("update", "thesis", "--add", "polars>=1", "--remove", "rich")
    assert outcome.status == 0
    assert path.read_text() == shown.out
    assert "RUN echo my own line\n" in shown.out
    assert "rich" not in shown.out
    assert [one.read_text() for one in path.parent.glob("*.bak")] == [before]
    assert make("update", "thesis", "--remove", "rich").status == 3
    assert make("update", "thesis").status == 2
    assert "Nothing to change" in make("update", "thesis", "--add", "polars>=1").err


def test_an_image_is_shown_with_its_dockerfile_and_deleted_with_it(
    make: Ds01, house: Path, daemon: ScriptedDaemon
) -> None:
    make("create", "thesis", "-f", "pytorch")
    document = {**BUILT, "tags": ["a"], "created_at": None, "framework": "", "use_case": "", "author": ""}
    document |= {"digest": "0" * 64, "bases": ["ubuntu=sha256:1"], "containers": ["demo._.1"], "labels": {}}
    daemon.answers["GET /v1/images/thesis"] = ok(document)
    assert make("inspect", "thesis", "--json").document["dockerfile_state"] == "newer than the image"
    daemon.answers["DELETE /v1/images/thesis"] = ok(
        {"schema_version": 1, "name": "thesis", "tags": [], "containers": [], "dry_run": False}
    )
    assert make("delete", "thesis").status == 2
    assert make("delete", "thesis", "--yes").out == "thesis\n"
    assert not dockerfile_of({"HOME": str(house)}, "thesis").exists()
    assert len(list((house / "dockerfiles" / ".trash").iterdir())) == 1
    daemon.answers["DELETE /v1/images/thesis"] = problem(409, "conflict", "thesis is used by demo.")
    assert "demo" in make("delete", "thesis", "--yes").err


def test_a_base_without_pip_is_said_unless_the_image_brings_it(make: Ds01, daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/packages"] = ok({"schema_version": 1, "image": "x", "is_here": True, "packages": None})
    words = ("create", "thesis", "--base", "debian:13", "--dry-run")
    assert "debian:13 has no Python with pip" in make(*words).err
    assert "pip" not in make(*words, "-s", "python3-pip").err
    assert "pip" not in make(*words, "--jupyter", "skip", "--data-science", "skip").err


def test_the_packages_of_an_image_are_printed_as_pip_freezes_them(make: Ds01, daemon: ScriptedDaemon) -> None:
    found = [{"name": "torch", "version": "2.8.0"}]
    daemon.answers["GET /v1/packages"] = ok({"schema_version": 1, "image": "x", "is_here": True, "packages": found})
    assert make("packages", "thesis").out == "torch==2.8.0\n"
    refused = make("create", "thesis", "-f", "pytorch", "-p", "torch<3")
    assert refused.status == 2
    assert "torch==2.8.0" in refused.err
