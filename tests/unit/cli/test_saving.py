"""`ds01 save`, and the offer before a removal, against a scripted daemon."""

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
from tests.unit.cli.conftest import Ds01, container, containers, details
from tests.unit.scripted_daemon import ScriptedDaemon, ok, problem

BASE = "aimehub/pytorch-2.8.0"
Drift = dict[str, object]


def change(tool: str, name: str, before: str, after: str, line: str) -> dict[str, str]:
    return {"tool": tool, "name": name, "before": before, "after": after, "line": line}


RICH = change("pip", "rich", "", "13", "rich==13")
NUMPY = change("pip", "numpy", "1.26", "2.1", "numpy==2.1")
FFMPEG = change("apt", "ffmpeg", "", "7", "ffmpeg")
GONE = change("pip", "gone", "1", "", "")
SECRET = {"what": "/home/alice/.netrc", "reason": "it looks like a secret"}


def drift(*changes: dict[str, str], own: str = "", **more: object) -> Drift:
    return {
        "schema_version": 1,
        "name": "demo",
        "state": "exited",
        "base": f"ds01.invalid/u1/{own}:latest" if own else BASE,
        "own_image": own,
        "framework": "" if own else "Pytorch-2.8.0",
        "size_bytes": 5,
        "changes": list(changes),
        "left_out": [SECRET],
        "notes": [],
        **more,
    }


@pytest.fixture
def house(tmp_path: Path) -> Path:
    found = tmp_path / "home"
    found.mkdir()
    return found


def path_of(house: Path, name: str = "demo") -> Path:
    return dockerfile_of({"HOME": str(house)}, name)


def keep(house: Path, recipe: ImageRecipe) -> Path:
    path = path_of(house, recipe.name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("# mine\n" + render_dockerfile(recipe))
    return path


@pytest.fixture
def save(ds01: Ds01, house: Path, daemon: ScriptedDaemon) -> Ds01:
    daemon.answers["GET /v1/containers/demo/drift"] = ok(drift(RICH, NUMPY, FFMPEG, GONE))
    daemon.answers["GET /v1/containers"] = containers(container("demo"))
    return lambda *words: ds01(*words, HOME=str(house), SOURCE_DATE_EPOCH="86400")


def test_what_was_installed_becomes_a_dockerfile_on_the_containers_image(save: Ds01, house: Path) -> None:
    outcome = save("save", "demo")
    assert outcome.status == 0, outcome.err
    recipe = parse_dockerfile(path_of(house).read_text()).recipe
    assert (recipe.base, recipe.name, recipe.framework) == (BASE, "demo", "Pytorch-2.8.0")
    assert recipe.packages_of(Tier.CUSTOM) == ("rich==13", "numpy==2.1")
    assert recipe.system == ("ffmpeg",)
    assert recipe.created == "1970-01-02"
    for said in ("+ rich==13", "~ numpy==2.1", "was 1.26", "- gone 1", "/home/alice/.netrc: it looks like a secret"):
        assert said in outcome.err
    assert "gone: it was removed, but the recipe does not install it" in outcome.err
    assert outcome.out == f"{path_of(house)}\n"


def test_it_can_be_said_in_all_four_ways(save: Ds01, house: Path) -> None:
    for words in (("save",), ("container", "save"), ("image", "save")):
        outcome = save(*words, "demo", "--dry-run")
        assert outcome.status == 0, outcome.err
        assert "rich==13" in outcome.out
    assert not path_of(house).exists()


def test_saving_twice_changes_nothing_the_second_time(save: Ds01, house: Path) -> None:
    save("save", "demo")
    text = path_of(house).read_text()
    outcome = save("save", "demo")
    assert outcome.status == 0
    assert "says already" in outcome.err
    assert path_of(house).read_text() == text
    assert [path.name for path in path_of(house).parent.iterdir()] == [path_of(house).name], "no backup of nothing"


def test_a_container_of_an_own_image_changes_that_images_dockerfile_and_keeps_a_backup(
    save: Ds01, house: Path, daemon: ScriptedDaemon
) -> None:
    kept = keep(house, ImageRecipe("ubuntu:24.04", "thesis").with_packages(Tier.USE_CASE, ["numpy<2", "gone"]))
    before = kept.read_text()
    daemon.answers["GET /v1/containers/demo/drift"] = ok(drift(RICH, NUMPY, GONE, own="thesis"))
    outcome = save("save", "demo", "--json")
    assert outcome.status == 0, outcome.err
    document = outcome.document
    assert (document["image"], document["dockerfile"], document["changed"]) == ("thesis", str(kept), True)
    assert Path(document["backup"]).read_text() == before
    text = kept.read_text()
    assert text.startswith("# mine\n"), "lines of one's own stay"
    recipe = parse_dockerfile(text).recipe
    assert recipe.packages_of(Tier.USE_CASE) == ("numpy==2.1",)
    assert recipe.packages_of(Tier.CUSTOM) == ("rich==13",)
    assert document["left_out"] == [SECRET]


def test_an_own_image_whose_dockerfile_is_gone_is_said_and_nothing_is_written(
    save: Ds01, house: Path, daemon: ScriptedDaemon
) -> None:
    daemon.answers["GET /v1/containers/demo/drift"] = ok(drift(RICH, own="thesis"))
    outcome = save("save", "demo")
    assert outcome.status == 3
    assert "--image thesis-more" in outcome.err
    assert not (house / "dockerfiles").exists()
    on_top = save("save", "demo", "--image", "thesis-more")
    assert on_top.status == 0
    assert "FROM ds01.invalid/u1/thesis:latest" in path_of(house, "thesis-more").read_text()


def test_a_dockerfile_of_the_name_that_is_of_another_image_is_left_alone(save: Ds01, house: Path) -> None:
    kept = keep(house, ImageRecipe("ubuntu:24.04", "demo"))
    before = kept.read_text()
    outcome = save("save", "demo")
    assert outcome.status == 8
    assert "--image NAME" in outcome.err
    assert kept.read_text() == before
    assert save("save", "demo", "--dockerfile", str(kept)).status == 0, "named by its path it is meant"
    assert "rich==13" in kept.read_text()


def test_a_dockerfile_on_the_same_image_spelled_otherwise_is_the_one(save: Ds01, house: Path) -> None:
    kept = keep(house, ImageRecipe(f"{BASE}:latest", "demo"))
    assert save("save", "demo").status == 0
    assert "rich==13" in kept.read_text()


def test_the_dockerfile_of_a_project_can_be_meant(save: Ds01, house: Path) -> None:
    missing = save("save", "demo", "--project-dockerfile", "vision")
    assert missing.status == 3
    (house / "workspace" / "vision").mkdir(parents=True)
    assert save("save", "demo", "--project-dockerfile", "vision").status == 0
    assert "rich==13" in (house / "workspace" / "vision" / "Dockerfile").read_text()


def test_nothing_is_written_where_nothing_was_installed(save: Ds01, house: Path, daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/containers/demo/drift"] = ok(drift())
    outcome = save("save", "demo")
    assert outcome.status == 0
    assert "Nothing was installed in demo" in outcome.err
    assert not (house / "dockerfiles").exists()


def test_an_image_without_a_name_begins_no_dockerfile(save: Ds01, daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/containers/demo/drift"] = ok(drift(RICH, base=""))
    outcome = save("save", "demo")
    assert outcome.status == 3
    assert "no name any more" in outcome.err


def test_without_a_terminal_the_container_is_named(save: Ds01) -> None:
    outcome = save("save")
    assert outcome.status == 2
    assert "NAME is missing" in outcome.err
    for words in (("save",), ("image", "save")):
        assert "Write ds01 save NAME" in save(*words).err
    assert save("save", "demo", "--build", "--dry-run").status == 2


def test_an_image_is_not_a_container(save: Ds01) -> None:
    outcome = save("image", "save", "thesis")
    assert outcome.status == 3
    assert "name the container" in outcome.err


@pytest.fixture
def removing(daemon: ScriptedDaemon) -> ScriptedDaemon:
    outcome = {
        "schema_version": 1,
        "name": "demo",
        "workspace": "/w",
        "gpus_released": [],
        "dry_run": False,
        "docker_command": "docker rm",
    }
    daemon.answers["DELETE /v1/containers/demo"] = ok(outcome)
    daemon.answers["GET /v1/containers/demo"] = ok(details("demo", "exited"))
    return daemon


@pytest.mark.parametrize("verb", ["rm", "retire"])
def test_a_script_is_not_asked_and_saves_only_when_told(
    verb: str, save: Ds01, house: Path, removing: ScriptedDaemon
) -> None:
    assert save(verb, "demo", "--yes").status == 0
    assert "GET /v1/containers/demo/drift" not in removing.asked()
    assert not path_of(house).exists()
    outcome = save(verb, "demo", "--save", "--yes")
    assert outcome.status == 0, outcome.err
    assert "rich==13" in path_of(house).read_text()
    assert save(verb, "demo", "--save", "--no-save").status == 2


@pytest.mark.parametrize("verb", ["rm", "retire"])
def test_what_cannot_be_saved_is_not_removed(verb: str, save: Ds01, removing: ScriptedDaemon) -> None:
    removing.answers["GET /v1/containers/demo/drift"] = problem(502, "backend_failed", "busy")
    assert save(verb, "demo", "--save").status != 0
    removing.answers["GET /v1/containers/demo/drift"] = ok(drift(RICH, notes=["something is not known"]))
    outcome = save(verb, "demo", "--save")
    assert outcome.status == 1
    assert "something is not known" in outcome.err
    assert not [asked for asked in removing.asked() if asked.startswith(("DELETE", "POST"))]


Start = Callable[..., Terminal]


@pytest.fixture
def start(daemon: ScriptedDaemon, house: Path) -> Start:
    def begin(*words: str) -> Terminal:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DS01_SOCKET": str(daemon.socket_path),
            "HOME": str(house),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
        }
        return Terminal([sys.executable, "-m", "ds01", *words], environment, rows=40, columns=120)

    return begin


@pytest.mark.usefixtures("save")
def test_on_a_terminal_a_removal_offers_to_save_first(start: Start, house: Path, removing: ScriptedDaemon) -> None:
    with start("rm", "demo") as terminal:
        terminal.wait_for("Save this to")
        terminal.type("y\r")
        terminal.wait_for("Remove demo?")
        assert "rich==13" in path_of(house).read_text()
        assert not [asked for asked in removing.asked() if asked.startswith("DELETE")]
        terminal.type("n\r")
        terminal.wait()
    assert not [asked for asked in removing.asked() if asked.startswith("DELETE")]


@pytest.mark.usefixtures("save")
def test_a_drift_that_cannot_be_read_is_said_and_the_removal_still_asks(start: Start, removing: ScriptedDaemon) -> None:
    del removing.answers["GET /v1/containers/demo/drift"]
    with start("retire", "demo") as terminal:
        terminal.wait_for("cannot be saved")
        terminal.wait_for("Remove demo?")
        terminal.type("y\r")
        terminal.wait_for("Retired demo")


@pytest.mark.usefixtures("save", "removing")
def test_a_person_who_wants_no_offer_gets_none(start: Start) -> None:
    with start("rm", "demo", "--no-save") as terminal:
        terminal.wait_for("Remove demo?")
        assert "Save this" not in terminal.text()
        terminal.type("y\r")
        terminal.wait_for("Removed demo")


@pytest.mark.usefixtures("save")
def test_on_a_terminal_the_only_container_is_taken_and_the_write_is_asked_for(start: Start, house: Path) -> None:
    with start("save") as terminal:
        terminal.wait_for("Taking demo")
        terminal.wait_for("Write ")
        terminal.type("n\r")
        terminal.wait_for("Cancelled")
    assert not path_of(house).exists()
