"""`ds01 image update`: the editor, the three phases, and containers that are made again, against a scripted daemon."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ds01.cli.commands.image.draft import recipe_lines
from ds01.cli.dockerfiles import dockerfile_of, move_to_trash, write_text
from ds01.domain import label
from ds01.domain.images.conda_package import CondaPackages
from ds01.domain.images.dockerfile import parse_dockerfile
from ds01.domain.images.dockerfile_change import render_dockerfile
from ds01.domain.images.recipe import ImageRecipe, Tier
from ds01.domain.images.recipe_edit import recipe_digest
from tests.terminal import Terminal
from tests.unit.cli.conftest import CREATED, Ds01, catalogue, creation, details
from tests.unit.cli.image_house import BUILT
from tests.unit.cli.test_editor import editor
from tests.unit.cli.test_saving import FFMPEG, RICH, drift
from tests.unit.scripted_daemon import Request, ScriptedDaemon, chunk, line, ok, problem, stream_head

ENTER, DOWN = "\r", "\x1b[B"
RECIPE = ImageRecipe("ubuntu:24.04", "thesis", system=("git",)).with_packages(Tier.CUSTOM, ["rich==13"])
TEXT = "# mine\n" + render_dockerfile(RECIPE)
Start = Callable[..., Terminal]


def own_image(*containers: str, digest: str = "") -> bytes:
    document = {**BUILT, "tags": ["a"], "created_at": None, "framework": "", "use_case": "", "author": ""}
    return ok(
        {**document, "bases": [], "digest": digest, "containers": [f"{name}._.1" for name in containers], "labels": {}}
    )


def recreated(name: str, **more: object) -> dict[str, object]:
    document: dict[str, object] = {
        "schema_version": 1,
        "name": name,
        "dry_run": False,
        "image": "thesis",
        "is_current": False,
        "was_running": False,
        "state": "created",
        "size_bytes": 5,
        "warnings": [],
    }
    return {**document, **more}


def answer_recreate(daemon: ScriptedDaemon, name: str, **more: object) -> None:
    """Plans and carries out; what is asked for is in the daemon's requests."""

    def talk(request: Request, connection: object) -> None:
        is_dry = request.document().get("dry_run", False)
        found = recreated(name, dry_run=is_dry, **more)
        body = ok(found) if is_dry else stream_head() + line({"kind": "result", "recreated": found}) + chunk(b"")
        connection.sendall(body)  # type: ignore[attr-defined]  # a socket

    daemon.answers[f"POST /v1/containers/{name}/recreate"] = talk
    daemon.answers[f"GET /v1/containers/{name}/drift"] = ok({**drift(RICH, FFMPEG), "name": name})


def carried_out(daemon: ScriptedDaemon) -> list[tuple[str, dict[str, object]]]:
    """The containers that were really made again, with the orders."""
    return [
        (request.path.split("/")[3], request.document())
        for request in daemon.requests
        if request.path.endswith("/recreate") and not request.document().get("dry_run")
    ]


@pytest.fixture
def house(tmp_path: Path, daemon: ScriptedDaemon) -> Path:
    """A home with the Dockerfile of `thesis`, and a daemon that builds."""
    found = tmp_path / "home"
    path = dockerfile_of({"HOME": str(found)}, "thesis")
    path.parent.mkdir(parents=True)
    path.write_text(TEXT)
    daemon.answers["POST /v1/images/build"] = stream_head() + line({"kind": "result", "built": BUILT}) + chunk(b"")
    daemon.answers["GET /v1/images/thesis"] = own_image("demo", "other")
    answer_recreate(daemon, "demo")
    answer_recreate(daemon, "other", was_running=True, state="running")
    return found


@pytest.fixture
def update(ds01: Ds01, house: Path) -> Ds01:
    return lambda *words: ds01("image", "update", "thesis", *words, HOME=str(house))


def path_of(house: Path) -> Path:
    return dockerfile_of({"HOME": str(house)}, "thesis")


def test_containers_are_made_again_and_what_is_lost_is_named_before(update: Ds01, daemon: ScriptedDaemon) -> None:
    outcome = update("--add", "polars", "--build", "--recreate", "--stop")
    assert outcome.status == 0, outcome.err
    assert carried_out(daemon) == [
        ("demo", {"image": "thesis", "stop": False}),
        ("other", {"image": "thesis", "stop": True}),
    ]
    assert "not in the Dockerfile: ffmpeg" in outcome.err
    assert "rich==13" not in outcome.err, "the Dockerfile has it"
    assert "/home/alice/.netrc: it looks like a secret" in outcome.err
    build = next(at for at, asked in enumerate(daemon.asked()) if "images/build" in asked)
    assert build < next(at for at, asked in enumerate(daemon.asked()) if "recreate" in asked)


def test_one_that_runs_is_left_alone_unless_it_may_be_stopped(update: Ds01, daemon: ScriptedDaemon) -> None:
    outcome = update("--recreate")
    assert outcome.status == 8
    assert "other is running" in outcome.err
    assert [name for name, _ in carried_out(daemon)] == ["demo"]
    assert update("--stop").status == 2


def test_a_dry_run_makes_nothing_again_and_writes_nothing(update: Ds01, house: Path, daemon: ScriptedDaemon) -> None:
    outcome = update("--add", "polars", "--build", "--recreate", "--stop", "--dry-run", "--json")
    assert outcome.status == 0, outcome.err
    assert carried_out(daemon) == []
    assert [one["name"] for one in outcome.document["recreated"]] == ["demo", "other"]
    assert "polars" in outcome.document["text"]
    assert not [asked for asked in daemon.asked() if "build" in asked]
    assert path_of(house).read_text() == TEXT


def test_one_that_is_current_is_left_alone_and_one_that_fails_stops_no_other(
    update: Ds01, daemon: ScriptedDaemon
) -> None:
    answer_recreate(daemon, "other", is_current=True)
    daemon.answers["POST /v1/containers/demo/recreate"] = problem(409, "conflict", "demo was not made by DS01.")
    outcome = update("--recreate", "--json")
    assert outcome.status == 8, "that of the first failure"
    assert "newest build" in outcome.err
    assert "not made by DS01" in outcome.err
    assert carried_out(daemon) == [], "the first refused its plan, the second needs nothing"


def test_without_containers_or_image_nothing_is_made_again(update: Ds01, daemon: ScriptedDaemon) -> None:
    del daemon.answers["GET /v1/images/thesis"]
    outcome = update("--recreate")
    assert outcome.status == 0
    assert "No container was made from thesis" in outcome.err


def test_a_build_that_fails_leaves_the_containers(update: Ds01, daemon: ScriptedDaemon) -> None:
    daemon.answers["POST /v1/images/build"] = problem(500, "error", "the build failed")
    assert update("--build", "--recreate").status == 1
    assert carried_out(daemon) == []


def test_an_editor_and_questions_need_a_person(update: Ds01) -> None:
    assert "nobody is there" in update("--edit").err
    assert update("--guided", "--add", "x").status == 2
    assert update("--guided").status == 2


@pytest.fixture
def start(daemon: ScriptedDaemon, house: Path) -> Start:
    def begin(*words: str, editor: str = "false", name: str = "thesis") -> Terminal:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DS01_SOCKET": str(daemon.socket_path),
            "HOME": str(house),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "EDITOR": editor,
        }
        argv = [sys.executable, "-m", "ds01", "image", "update", *([name] if name else []), *words]
        return Terminal(argv, environment, rows=50, columns=140, cwd=str(house))

    return begin


def test_the_dockerfile_is_edited_and_the_one_before_is_kept(start: Start, house: Path, tmp_path: Path) -> None:
    command = editor(tmp_path, "open(path, 'w').write(text.replace('rich==13', 'rich==14'))")
    with start("--edit", editor=command) as terminal:
        terminal.wait_for("+ rich==14")
        assert terminal.wait() == 0
    assert parse_dockerfile(path_of(house).read_text()).recipe.packages_of(Tier.CUSTOM) == ("rich==14",)
    [backup] = path_of(house).parent.glob("*.bak")
    assert backup.read_text() == TEXT


def test_an_editor_that_ends_badly_leaves_the_dockerfile(start: Start, house: Path) -> None:
    with start("--edit", editor="false") as terminal:
        terminal.wait_for("nothing was changed")
        assert terminal.wait() == 1
    assert path_of(house).read_text() == TEXT
    assert not list(path_of(house).parent.glob("*.bak"))


def test_what_is_no_dockerfile_can_be_edited_further_and_is_not_written(
    start: Start, house: Path, tmp_path: Path
) -> None:
    command = editor(tmp_path, "open(path, 'w').write('FROM x\\n' if text == 'nonsense' else 'nonsense')")
    with start("--edit", editor=command) as terminal:
        terminal.wait_for("Edit it further?")
        assert path_of(house).read_text() == TEXT
        terminal.type("n\r")
        terminal.wait_for("nothing was changed")
    assert path_of(house).read_text() == TEXT
    with start("--edit", editor=command) as terminal:
        terminal.wait_for("Edit it further?")
        terminal.type("y\r")
        assert terminal.wait() == 0
    assert path_of(house).read_text() == "FROM x\n"


def test_three_phases_on_a_terminal(start: Start, house: Path, daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/images/thesis"] = own_image("demo", digest=recipe_digest("another text"))
    found = [{"name": "Torch", "version": "2.8.0"}]
    daemon.answers["GET /v1/packages"] = ok({"schema_version": 1, "image": "x", "is_here": True, "packages": found})
    empty = {"name": "", "about": "", "pip": [], "apt": []}
    tiers = dict.fromkeys(("system", "jupyter", "data_science"), empty)
    base = {**empty, "pip": ["numpy", "torch"]}
    daemon.answers["GET /v1/package_tiers"] = ok({"schema_version": 1, "base": base, "use_cases": [], **tiers})
    with start("--guided") as terminal:
        terminal.wait_for("Phase 1/3: Edit Dockerfile")
        terminal.wait_for(f"Location: {path_of(house)}")
        terminal.wait_for("Custom         rich==13")
        terminal.wait_for("Pre-installed  torch")
        terminal.wait_for("What to change?")
        terminal.type(DOWN + ENTER)
        terminal.wait_for("Packages of Python")
        terminal.type("polars\r")
        terminal.wait_for("What to change?", times=2)
        terminal.type(ENTER)
        terminal.wait_for("Write ")
        terminal.type("y\r")
        terminal.wait_for("Phase 2/3: Rebuild image")
        terminal.wait_for("newer than the image")
        terminal.wait_for("Build thesis now?")
        terminal.type("y\r")
        terminal.wait_for("Phase 3/3: Recreate containers")
        terminal.wait_for("Make demo again from thesis?")
        assert carried_out(daemon) == []
        terminal.type("y\r")
        terminal.wait_for("Made demo again")
        assert terminal.wait() == 0
    assert "polars" in path_of(house).read_text()
    assert [name for name, _ in carried_out(daemon)] == ["demo"]


def test_each_phase_can_be_left_out(start: Start, house: Path, daemon: ScriptedDaemon) -> None:
    with start() as terminal:
        terminal.wait_for("What to change?")
        terminal.type(ENTER)
        terminal.wait_for("Build thesis now?")
        terminal.type("n\r")
        terminal.wait_for("Make demo again from thesis?")
        terminal.type("n\r")
        terminal.wait_for("It is stopped for that")
        terminal.type("n\r")
        terminal.wait()
    assert carried_out(daemon) == []
    assert path_of(house).read_text() == TEXT
    assert not [asked for asked in daemon.asked() if "build" in asked]


def test_without_a_name_a_person_picks_one_of_their_dockerfiles(start: Start, house: Path) -> None:
    with start(name="") as terminal:
        terminal.wait_for("it is your only Dockerfile")
        terminal.wait_for("What to change?")
    project = house / "workspace" / "vision" / "Dockerfile"
    project.parent.mkdir(parents=True)
    project.write_text("FROM x\n")
    with start(name="") as terminal:
        terminal.wait_for("Which Dockerfile to update?")
        terminal.type(DOWN + ENTER)
        terminal.wait_for(f"Location: {project}")


def test_a_mistake_in_a_package_is_said_and_the_question_comes_again(start: Start, house: Path) -> None:
    with start() as terminal:
        terminal.wait_for("What to change?")
        terminal.type(DOWN + ENTER)
        terminal.wait_for("Packages of Python")
        terminal.type("-r x\r")
        terminal.wait_for("Packages of Python", times=2)
        terminal.type("\r")
        terminal.wait_for("What to change?", times=2)
        terminal.type("\x03")
        terminal.wait()
    assert path_of(house).read_text() == TEXT


def test_a_list_says_which_dockerfiles_are_newer(ds01: Ds01, house: Path, daemon: ScriptedDaemon) -> None:
    def listed(digest: str) -> bytes:
        image = {"reference": "r", "name": "thesis", "id": "sha256:1", "size_bytes": 1, "created_at": None}
        return ok({"schema_version": 1, "images": [{**image, "framework": "", "own": True, "digest": digest}]})

    daemon.answers["GET /v1/images"] = listed("0" * 64)
    newer = ds01("image", "list", HOME=str(house))
    assert "Dockerfile of thesis is newer than the image: ds01 image build thesis" in newer.err
    daemon.answers["GET /v1/images"] = listed(recipe_digest(TEXT))
    assert "newer" not in ds01("image", "list", HOME=str(house)).err
    assert "newer" not in ds01("image", "list", "-q", HOME=str(house)).err


def test_a_container_of_an_image_that_is_older_than_its_dockerfile_is_said_so(
    ds01: Ds01, house: Path, daemon: ScriptedDaemon
) -> None:
    def created(digest: str) -> bytes:
        labels = {label.CUSTOM_IMAGE: "ds01.invalid/u1/thesis:latest", label.RECIPE: digest}
        return creation({**CREATED, "container": details("my-project", "created", labels=labels)})

    def create() -> str:
        return ds01("create", "my-project", "--image", "thesis", HOME=str(house)).err

    daemon.answers["POST /v1/containers"] = created("0" * 64)
    assert "Dockerfile of thesis is newer than the image" in create()
    daemon.answers["POST /v1/containers"] = created(recipe_digest(TEXT))
    assert "newer" not in create()
    path_of(house).unlink()
    daemon.answers["POST /v1/containers"] = created("0" * 64)
    assert "newer" not in create()


def test_every_category_of_a_dockerfile_is_shown() -> None:
    recipe = ImageRecipe("ubuntu:24.04", "thesis", system=("git",), conda=CondaPackages(("gdal",)))
    for number, tier in enumerate(Tier):
        recipe = recipe.with_packages(tier, [f"package{number}"])
    shown = recipe_lines(recipe)
    assert [line_[:14].strip() for line_ in shown] == [
        "Base",
        "System",
        "Conda",
        "Core (legacy)",
        "Jupyter",
        "Data science",
        "Use case",
        "Additional",
        "Custom",
    ]
    assert shown[3].endswith("package0")


def test_a_projects_dockerfile_is_written_found_changed_and_stays_when_the_image_is_deleted(
    ds01: Ds01, house: Path, daemon: ScriptedDaemon
) -> None:
    empty = {"name": "", "about": "", "pip": [], "apt": []}
    tiers = dict.fromkeys(("base", "system", "jupyter", "data_science"), empty)
    daemon.answers["GET /v1/package_tiers"] = ok({"schema_version": 1, "use_cases": [], **tiers})
    daemon.answers["GET /v1/packages"] = ok({"schema_version": 1, "image": "x", "is_here": False, "packages": None})
    daemon.answers["GET /v1/catalogue"] = catalogue(("Pytorch", "2.8.0"))
    words = ("image", "create", "vision", "--base", "ubuntu:24.04", "--project-dockerfile", "vision")
    missing = ds01(*words, HOME=str(house))
    assert missing.status == 3
    assert "mkdir" in missing.err
    project = house / "workspace" / "vision"
    project.mkdir(parents=True)
    assert ds01(*words, HOME=str(house)).status == 0
    assert not dockerfile_of({"HOME": str(house)}, "vision").exists()
    assert ds01("image", "update", "vision", "--add", "rich==13", HOME=str(house)).status == 0
    assert "rich==13" in (project / "Dockerfile").read_text()
    assert len(list(project.glob("Dockerfile.*.bak"))) == 1
    daemon.answers["DELETE /v1/images/vision"] = ok(
        {"schema_version": 1, "name": "vision", "tags": [], "containers": [], "dry_run": False}
    )
    assert ds01("image", "delete", "vision", "--yes", HOME=str(house)).status == 0
    assert (project / "Dockerfile").exists()


def test_two_changes_and_two_deletions_in_one_second_keep_every_file(house: Path) -> None:
    path = path_of(house)
    texts = [f"FROM x{number}\n" for number in range(4)]
    backups = [write_text(path, text, replaces=True) for text in texts]
    assert [backup.read_text() for backup in backups if backup] == [TEXT, *texts[:-1]]
    places = [move_to_trash(path)]
    path.write_text("FROM y\n")
    places.append(move_to_trash(path))
    assert [place.read_text() for place in places] == [texts[-1], "FROM y\n"]
