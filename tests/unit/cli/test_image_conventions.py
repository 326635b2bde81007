"""What every command about images has in common: one walk over all of them."""

import json
import os
import socket
import sys
from importlib import import_module
from pathlib import Path

import pytest

from ds01.cli import complete
from ds01.cli.dockerfiles import dockerfile_of
from ds01.cli.spec import Spec
from ds01.cli.tree import ENTRIES, PACKAGE, Entry
from tests.terminal import Terminal
from tests.unit.cli.conftest import Ds01, catalogue
from tests.unit.scripted_daemon import ScriptedDaemon, ok, problem

VERBS = tuple(entry for entry in ENTRIES if entry.noun == "image")
CHANGING = ("create", "build", "update", "delete", "pull", "save")
NAMES = [entry.verb for entry in VERBS]
BODY = {"reference": "aimehub/pytorch-2.8.0", "size_bytes": 0, "was_current": False, "reason": "newest", "digest": ""}


def spec_of(entry: Entry) -> Spec:
    found = getattr(import_module(f"{PACKAGE}.{entry.module}"), entry.attribute)
    assert isinstance(found, Spec)
    return found


def image(name: str, *, own: bool = True) -> dict[str, object]:
    reference = f"ds01.invalid/u1/{name}:latest" if own else name
    facts = {"reference": reference, "name": name, "id": "sha256:" + "a" * 64, "framework": "", "own": own}
    return {**facts, "size_bytes": 1024, "created_at": None}


@pytest.fixture
def images(daemon: ScriptedDaemon) -> ScriptedDaemon:
    """A daemon with two own images, a shared one, and a catalogue."""
    found = [image("thesis"), image("tokens"), image("ubuntu:24.04", own=False)]
    daemon.answers["GET /v1/images"] = ok({"schema_version": 1, "images": found})
    daemon.answers["GET /v1/catalogue"] = catalogue(("Pytorch", "2.8.0"), ("Tensorflow", "2.16.1"))
    return daemon


def keep_dockerfile(home: Path, name: str, text: str = "FROM ubuntu\n") -> Path:
    path = dockerfile_of({"HOME": str(home)}, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("entry", VERBS, ids=NAMES)
def test_every_command_has_json_and_what_changes_something_has_a_dry_run(entry: Entry) -> None:
    names = {name for option in spec_of(entry).options for name in option.names}
    assert "--json" in names
    assert ("--dry-run" in names) is (entry.verb in CHANGING)


@pytest.mark.parametrize("entry", VERBS, ids=NAMES)
def test_every_command_that_can_ask_can_be_told_not_to(entry: Entry) -> None:
    names = {name for option in spec_of(entry).options for name in option.names}
    source = Path(str(import_module(f"{PACKAGE}.{entry.module}").__file__)).read_text(encoding="utf-8")
    asks = any(word in source for word in ("confirm(", "one_image(", "some_images(", "one_dockerfile(", "ask_draft("))
    assert ("--no-input" in names) is asks
    if "confirm(" in source:
        assert {"--yes", "--script"} <= names


@pytest.mark.parametrize("entry", VERBS, ids=NAMES)
def test_every_name_is_completed(entry: Entry) -> None:
    for argument in spec_of(entry).arguments[:1]:
        assert argument.completes


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["image", "inspect", "t"], {"thesis", "tokens"}),
        (["image", "delete", ""], {"thesis", "tokens"}),
        (["image", "packages", ""], {"thesis", "tokens", "ubuntu:24.04"}),
        (["image", "pull", "py"], {"pytorch"}),
        (["image", "create", "new", "--framework", "t"], {"tensorflow"}),
        (["image", "create", "new", "--base", "ubu"], {"ubuntu:24.04"}),
        (["image", "catalogue", "--framework", ""], {"pytorch", "tensorflow"}),
        (["image", "build", ""], {"kept"}),
        (["image", "update", "k"], {"kept"}),
        (["create", "new", "t"], {"thesis", "tokens", "tensorflow"}),
        (["create", "new", "--image", ""], {"thesis", "tokens", "ubuntu:24.04"}),
        (["run", "--image", "to"], {"tokens"}),
    ],
)
@pytest.mark.usefixtures("images")
def test_the_tab_key_offers_images(words: list[str], wanted: set[str], ds01: Ds01, tmp_path: Path) -> None:
    keep_dockerfile(tmp_path, "kept")
    outcome = ds01("__complete", *words, HOME=str(tmp_path))
    assert (outcome.status, set(outcome.out.split()), outcome.err) == (0, wanted, "")


def test_the_use_cases_are_completed(ds01: Ds01, daemon: ScriptedDaemon) -> None:
    tier = {"name": "", "about": "", "pip": [], "apt": []}
    tiers = dict.fromkeys(("base", "system", "jupyter", "data_science"), tier)
    cases = [{**tier, "name": "cv"}, {**tier, "name": "nlp"}]
    daemon.answers["GET /v1/package_tiers"] = ok({"schema_version": 1, **tiers, "use_cases": cases})
    assert ds01("__complete", "image", "create", "x", "--type", "").out.split() == ["cv", "nlp"]


@pytest.mark.parametrize("entry", VERBS, ids=NAMES)
def test_the_tab_key_is_silent_when_the_daemon_is_off_or_says_nothing(entry: Entry, ds01: Ds01, tmp_path: Path) -> None:
    assert complete.TIMEOUT_S <= 0.1
    words = ("__complete", "image", entry.verb, "")
    outcome = ds01(*words, DS01_SOCKET=str(tmp_path / "none.sock"), HOME=str(tmp_path))
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")
    deaf = tmp_path / "deaf.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(deaf))
        listening.listen()
        outcome = ds01(*words, DS01_SOCKET=str(deaf), HOME=str(tmp_path))
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


@pytest.mark.parametrize("verb", ["inspect", "packages", "delete", "build", "update", "pull", "create"])
@pytest.mark.usefixtures("images")
def test_without_a_terminal_a_missing_name_is_an_error_with_the_next_step(
    verb: str, ds01: Ds01, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keep_dockerfile(tmp_path, "kept")
    outcome = ds01("image", verb, HOME=str(tmp_path))
    assert outcome.status in {2, 3}
    assert f"ds01 image {verb}" in outcome.err
    assert "to packages" not in outcome.err
    refused = ds01("image", verb, "--json", HOME=str(tmp_path))
    assert refused.status == outcome.status
    assert refused.problem["hint"]
    assert refused.out == ""


def on_terminal(images: ScriptedDaemon, home: Path, *words: str) -> Terminal:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DS01_SOCKET": str(images.socket_path),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
    }
    return Terminal([sys.executable, "-m", "ds01", "image", *words], environment, rows=24, columns=100, cwd=str(home))


@pytest.mark.parametrize("verb", ["inspect", "packages", "delete", "build", "update"])
def test_on_a_terminal_a_missing_name_is_picked_from_a_list(verb: str, images: ScriptedDaemon, tmp_path: Path) -> None:
    keep_dockerfile(tmp_path, "thesis")
    keep_dockerfile(tmp_path, "tokens")
    with on_terminal(images, tmp_path, verb) as terminal:
        terminal.wait_for("tokens")
        act = "list the packages of" if verb == "packages" else verb
        assert f"to {act}?" in terminal.text()
        terminal.type("\x03")
        assert terminal.wait() == 130


def test_several_images_are_picked_with_space_and_each_is_asked_for(images: ScriptedDaemon, tmp_path: Path) -> None:
    kept = {name: keep_dockerfile(tmp_path, name) for name in ("thesis", "tokens")}
    for name in kept:
        images.answers[f"DELETE /v1/images/{name}"] = ok(
            {"schema_version": 1, "name": name, "tags": ["a", "b"], "containers": [], "dry_run": False}
        )
    with on_terminal(images, tmp_path, "delete") as terminal:
        terminal.wait_for("Which images to delete?")
        terminal.wait_for("tokens")
        terminal.type(" \x1b[B \r")
        terminal.wait_for("Delete the image thesis and its 2 tags?")
        terminal.type("n\r")
        terminal.wait_for("thesis was left as it is")
        terminal.wait_for("Delete the image tokens and its 2 tags?")
        terminal.type("y\r")
        terminal.wait_for("Deleted tokens.")
        assert terminal.wait() == 1, "one of them is still there"
    assert [path.exists() for path in kept.values()] == [True, False]
    real = [asked for asked in images.asked() if asked.startswith("DELETE") and "dry_run" not in asked]
    assert real == ["DELETE /v1/images/tokens"]


def test_of_several_images_one_that_cannot_go_stops_no_other(
    ds01: Ds01, images: ScriptedDaemon, tmp_path: Path
) -> None:
    images.answers["DELETE /v1/images/thesis"] = problem(409, "conflict", "thesis is used by demo.")
    images.answers["DELETE /v1/images/tokens"] = ok(
        {"schema_version": 1, "name": "tokens", "tags": [], "containers": [], "dry_run": False}
    )
    outcome = ds01("image", "delete", "thesis", "tokens", "--yes", "--json", HOME=str(tmp_path))
    assert outcome.status == 8
    assert "thesis is used by demo" in outcome.err
    assert [one["name"] for one in outcome.document["results"]] == ["tokens"]


def test_by_force_an_image_in_use_goes_and_who_uses_it_is_named(
    ds01: Ds01, images: ScriptedDaemon, tmp_path: Path
) -> None:
    document = {"schema_version": 1, "name": "tokens", "tags": ["a"], "containers": ["demo._.1001"], "dry_run": False}
    images.answers["DELETE /v1/images/tokens"] = ok(document)
    outcome = ds01("image", "delete", "tokens", "--force", "--yes", HOME=str(tmp_path))
    assert (outcome.status, outcome.out) == (0, "tokens\n")
    assert "tokens is used by demo: they stay" in outcome.err
    assert "DELETE /v1/images/tokens?force=true" in images.asked()


def test_the_picked_image_is_the_one_that_is_shown(images: ScriptedDaemon, tmp_path: Path) -> None:
    images.answers["GET /v1/packages"] = ok({"schema_version": 1, "image": "x", "is_here": True, "packages": None})
    with on_terminal(images, tmp_path, "packages") as terminal:
        terminal.wait_for("tokens")
        terminal.type("\x1b[B\r")
        assert terminal.wait() == 0
    assert images.requests[-1].target.endswith("?image=tokens")


def test_a_dry_run_of_a_build_says_the_docker_command_and_asks_no_daemon(ds01: Ds01, tmp_path: Path) -> None:
    path = keep_dockerfile(tmp_path, "thesis")
    nowhere = {"DS01_SOCKET": str(tmp_path / "none.sock"), "HOME": str(tmp_path)}
    reference = f"ds01.invalid/u{os.getuid()}/thesis:latest"
    outcome = ds01("image", "build", "thesis", "--dry-run", **nowhere)
    assert outcome.out == f"DOCKER_BUILDKIT=0 docker build --tag {reference} - < {path}\n"
    copies = keep_dockerfile(tmp_path, "copies", "FROM ubuntu\nCOPY x /\nRUN --mount=type=cache,target=/c make\n")
    document = ds01("image", "build", "copies", "--dry-run", "--json", **nowhere).document
    assert document["context"] == str(copies.parent)
    assert document["buildkit"]
    assert document["command"].startswith("DOCKER_BUILDKIT=1 docker build --tag")


@pytest.mark.parametrize("is_here", [True, False])
def test_a_dry_run_of_a_pull_says_what_would_be_fetched(is_here: bool, ds01: Ds01, images: ScriptedDaemon) -> None:
    images.answers["POST /v1/images/pull"] = ok({"schema_version": 1, "id": "sha256:1" if is_here else "", **BODY})
    outcome = ds01("image", "pull", "pytorch", "--dry-run")
    assert outcome.out == "docker pull aimehub/pytorch-2.8.0\n"
    assert ("it is not here" in outcome.err) is not is_here
    assert json.loads(images.requests[-1].body) == {"framework": "pytorch", "dry_run": True}
    assert ds01("image", "pull", "pytorch", "--dry-run", "--json").document["dry_run"]


@pytest.mark.parametrize("option", ["--script", "--no-input", "--json"])
def test_create_asks_nothing_for_scripts(option: str, images: ScriptedDaemon, tmp_path: Path) -> None:
    with on_terminal(images, tmp_path, "create", option) as terminal:
        assert terminal.wait() == 2
    assert not (tmp_path / "dockerfiles").exists()
