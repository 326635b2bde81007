"""What programs get of `ds01 image create`, and words that mean the same in capitals."""

from pathlib import Path

import pytest

from ds01.cli.dockerfiles import dockerfile_of
from ds01.domain.images.recipe_edit import recipe_digest
from tests.unit.cli.conftest import Ds01
from tests.unit.cli.image_house import BUILT
from tests.unit.scripted_daemon import ScriptedDaemon, ok

pytest_plugins = ("tests.unit.cli.image_fixtures",)


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


FACTS = {"size_bytes": 1024**3, "created_at": None, "framework": "", "own": True, "id": "sha256:" + "a" * 64}
IMAGES = [
    {
        **FACTS,
        "reference": "ds01.invalid/u1/thesis:latest",
        "name": "thesis",
        "digest": recipe_digest("FROM ubuntu:24.04\n"),
        "bases": ["ubuntu:24.04"],
        "containers": ["chapter._.1", "draft._.1"],
    },
    {
        **FACTS,
        "reference": "ds01.invalid/u1/thesis:20260101-000000",
        "name": "thesis:20260101-000000",
        "digest": "0" * 64,
        "bases": ["ubuntu:22.04"],
        "containers": [],
    },
]


def test_the_list_says_of_each_image_its_base_who_uses_it_and_how_its_dockerfile_stands(
    make: Ds01, house: Path, daemon: ScriptedDaemon
) -> None:
    daemon.answers["GET /v1/images"] = ok({"schema_version": 1, "images": IMAGES})
    path = dockerfile_of({"HOME": str(house)}, "thesis")
    path.parent.mkdir()
    path.write_text("FROM ubuntu:24.04\n")
    heading, newest, earlier = make("list").out.splitlines()
    columns = [heading.index(name) for name in ("BASE", "USED BY", "DOCKERFILE")]
    assert [newest[column:].split("  ")[0] for column in columns] == ["ubuntu:24.04", "chapter, draft", "as built"]
    assert [earlier[column:].split("  ")[0] for column in columns] == ["ubuntu:22.04", "-", "none"]
    assert "containers=true" in daemon.requests[-1].target
    path.write_text("FROM ubuntu:26.04\n")
    changed = make("list")
    assert changed.out.splitlines()[1][columns[2] :].split()[0] == "newer"
    assert "ds01 image build thesis" in changed.err
    [row, _] = make("list", "--json").document["images"]
    assert row == {**IMAGES[0], "dockerfile": str(path), "dockerfile_state": "newer than the image"}
    names, first, _ = (line.split(",") for line in make("list", "--format", "csv").out.splitlines())
    found = dict(zip(names, first, strict=True))
    assert (found["bases"], found["containers"]) == ("ubuntu:24.04", "chapter._.1 draft._.1")
    assert found["dockerfile"] == str(path)
    path.unlink()
    path.mkdir()
    assert "none" in make("list").out


def test_the_list_of_all_says_whose_each_image_is(make: Ds01, daemon: ScriptedDaemon) -> None:
    theirs = {**IMAGES[0], "own": False, "owner": "bob", "containers": ["run._.2"]}
    nobodys = {**IMAGES[1], "own": False, "owner": "", "name": "ubuntu:24.04"}
    images = [{**IMAGES[0], "owner": "alice"}, theirs, nobodys]
    daemon.answers["GET /v1/images"] = ok({"schema_version": 1, "images": images})
    assert [line.split()[-1] for line in make("list", "--all").out.splitlines()] == [
        "WHOSE",
        "yours",
        "bob",
        "everybody's",
    ]
    assert "all=true" in daemon.requests[-1].target
    assert len(make("list").out.splitlines()) == 2
    assert "all=true" not in daemon.requests[-1].target


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[dependency-groups]\ndev = ['pytest']\n"),
        ("requirements.txt", "# later\n"),
        ("environment.yml", "name: x\n"),
    ],
)
def test_a_file_that_lists_no_packages_is_said_to_be_so(make: Ds01, house: Path, name: str, text: str) -> None:
    (house / name).write_text(text)
    outcome = make("create", "thesis", "-f", "pytorch", "-r", str(house / name), "--dry-run")
    assert outcome.status == 0
    assert f"{name} lists no packages for the image" in outcome.err
