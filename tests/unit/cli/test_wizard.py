"""The wizard of `ds01 create` on a real pseudo-terminal: steps, one step back, the command that asks nothing."""

import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.terminal import Terminal
from tests.unit.cli.conftest import Ds01, catalogue, container, containers, details
from tests.unit.cli.wizard_documents import NO_ROOM, creating, furnish, gpu, gpus, image, images, limits
from tests.unit.scripted_daemon import ScriptedDaemon, ok

ENTER, DOWN, UP, CTRL_C, CTRL_D = "\r", "\x1b[B", "\x1b[A", "\x03", "\x04"
STEPS_OF_FRAMEWORK = ("Image", "Framework", "Version", "Name", "Folders", "GPUs", "Summary")
Start = Callable[..., Terminal]


@pytest.fixture
def start(daemon: ScriptedDaemon, tmp_path: Path) -> Start:
    """Start `ds01 WORDS` on a terminal, with a daemon that knows a furnished machine."""
    furnish(daemon)
    folder = tmp_path / "My Work"
    folder.mkdir()

    def begin(*words: str, **environment: str) -> Terminal:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("DS01_", "LC_"))}
        known = {"DS01_SOCKET": str(daemon.socket_path), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        argv = [sys.executable, "-P", "-m", "ds01", *words]
        return Terminal(argv, {**clean, **known, **environment}, cwd=str(folder))

    return begin


def created(daemon: ScriptedDaemon) -> list[dict[str, object]]:
    """Return what was really to be created, without dry runs."""
    asked = [request.document() for request in daemon.requests if request.method == "POST"]
    return [body for body in asked if not body.get("dry_run")]


def answer(terminal: Terminal, question: str, keys: str) -> None:
    """Press keys when a question has come; what was shown before is not looked at."""
    terminal.wait_for(question)
    terminal.output = b""
    terminal.type(keys)


def pass_folders(terminal: Terminal) -> None:
    answer(terminal, "/workspace inside?", ENTER)
    answer(terminal, "/data inside?", ENTER)
    answer(terminal, "/models inside?", ENTER)


def pass_to_gpus(terminal: Terminal, *, name: str = "demo") -> None:
    answer(terminal, "Made from what?", ENTER)
    answer(terminal, "Which framework?", ENTER)
    answer(terminal, "Which version?", ENTER)
    answer(terminal, "Name of the container?", f"{name}\n")
    pass_folders(terminal)


def test_enter_at_every_step_is_the_command_without_options(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers["GET /v1/gpus"] = gpus(gpu("0"), gpu("1"))
    with start("create") as terminal:
        for title in STEPS_OF_FRAMEWORK[:3]:
            answer(terminal, f": {title}", ENTER)
        answer(terminal, "Name of the container? [my-work]", ENTER)
        pass_folders(terminal)
        answer(terminal, "Which GPU?", ENTER)
        answer(terminal, "How many, 1 to 2? [1]", ENTER)
        terminal.wait_for("All right?")
        assert "ds01 create my-work Pytorch\n" in terminal.text()
        answer(terminal, "All right?", ENTER)
        assert terminal.wait() == 0
        assert "ds01 open my-work" in terminal.text()
    assert created(daemon) == [{"name": "my-work", "interface": "cli", "framework": "Pytorch"}]


def test_a_container_is_made_from_a_framework_or_an_image_that_is_here_and_none_is_built(
    daemon: ScriptedDaemon, start: Start
) -> None:
    with start("create") as terminal:
        terminal.wait_for("Made from what?")
        terminal.wait_for("an image that is here")
        offered = terminal.text().rpartition("Made from what?")[2].splitlines()[1:]
        assert [line.strip(" »") for line in offered if line.strip()] == [
            "a framework, ready for this machine",
            "an image that is here (1 of your own)",
        ]
        answer(terminal, "Made from what?", DOWN + ENTER)
        terminal.wait_for("Which image?")
        terminal.wait_for("ubuntu:24.04")
        answer(terminal, "thesis", ENTER)
        answer(terminal, "Name of the container?", "demo\n")
        pass_folders(terminal)
        answer(terminal, "Which GPU?", ENTER)
        answer(terminal, "How many", ENTER)
        answer(terminal, "All right?", ENTER)
        assert terminal.wait() == 0
    assert [body["image"] for body in created(daemon)] == ["ds01.invalid/u1001/thesis:latest"]
    assert {request.path for request in daemon.requests if request.method == "POST"} == {"/v1/containers"}


def test_the_summary_says_what_comes_the_limits_and_the_reasons(start: Start) -> None:
    with start("create") as terminal:
        pass_to_gpus(terminal)
        answer(terminal, "You hold 1 of 3 GPUs, 0.14 of 1.5 gpu-equivalents.", UP + UP + ENTER)  # back, no GPU
        terminal.wait_for("All right?")
        shown = terminal.text()
        for fact in ("Pytorch, the newest for this machine", "~/workspace/demo", "GPUs           none", "32G", "4096"):
            assert fact in shown
        assert "GPU 0:1 is free and the smallest that fits" in shown
        assert "ds01 create demo Pytorch --cpu-only" in shown


def test_every_step_can_be_taken_back_to_the_first(daemon: ScriptedDaemon, start: Start) -> None:
    with start("create") as terminal:
        pass_to_gpus(terminal)
        answer(terminal, "Which GPU?", UP + ENTER)
        answer(terminal, "/workspace inside?", ENTER)
        answer(terminal, "/data inside?", "<\n")
        answer(terminal, "/workspace inside?", "<\n")
        answer(terminal, "Name of the container?", "<\n")
        answer(terminal, "Which version?", UP + ENTER)
        answer(terminal, "Which framework?", UP + ENTER)
        answer(terminal, "Made from what?", DOWN + ENTER)
        answer(terminal, "Which image?", ENTER)
        answer(terminal, "Name of the container?", "other\n")
        pass_folders(terminal)
        answer(terminal, "Which GPU?", UP + UP + ENTER)
        answer(terminal, "All right?", UP + ENTER)
        answer(terminal, "Which GPU?", UP + UP + ENTER)
        answer(terminal, "All right?", ENTER)
        assert terminal.wait() == 0
    (body,) = created(daemon)
    assert body == {
        "name": "other",
        "interface": "cli",
        "image": "ds01.invalid/u1001/thesis:latest",
        "gpu": {"count": 0},
    }


def test_what_is_not_free_can_wait_in_the_queue_or_be_chosen_anew(daemon: ScriptedDaemon, start: Start) -> None:
    with start("create") as terminal:
        pass_to_gpus(terminal)
        answer(terminal, "Which GPU?", DOWN + DOWN + ENTER)
        answer(terminal, "How many, 1 to 2?", "2\n")
        answer(terminal, "None is free now.", DOWN + ENTER)
        answer(terminal, "Which GPU?", ENTER)
        answer(terminal, "How many, 1 to 2?", "1\n")
        answer(terminal, "None is free now.", ENTER)
        terminal.wait_for("All right?")
        assert "ds01 create demo Pytorch --gpu-kind full --wait=" not in terminal.text()
        assert "ds01 create demo Pytorch --gpu-kind full --wait" in terminal.text()
        answer(terminal, "All right?", ENTER)
        assert terminal.wait() == 0
    (body,) = created(daemon)
    assert (body["gpu"], body["wait"]) == ({"kind": "full"}, True)


def test_answers_that_cannot_be_are_asked_for_again(start: Start, tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    with start("create") as terminal:
        answer(terminal, "Made from what?", ENTER)
        answer(terminal, "Which framework?", ENTER)
        answer(terminal, "Which version?", ENTER)
        answer(terminal, "Name of the container?", "old\n")
        terminal.wait_for("You have a container old already")
        answer(terminal, "Name of the container?", "My Thesis\n")
        terminal.wait_for("The name becomes my-thesis")
        answer(terminal, "/workspace inside?", ENTER)
        answer(terminal, "/data inside?", "/nowhere/at/all\n")
        terminal.wait_for("/nowhere/at/all is not a folder that you can see.")
        answer(terminal, "/data inside?", f"{tmp_path}/sets\n")
        answer(terminal, "/models inside?", ENTER)
        answer(terminal, "Which GPU?", ENTER)
        answer(terminal, "How many, 1 to 3?", "4\n")
        terminal.wait_for("Write a number from 1 to 3")
        answer(terminal, "How many, 1 to 3?", "2\n")
        terminal.wait_for("All right?")
        assert f"ds01 create my-thesis Pytorch --data {tmp_path}/sets --gpus 2" in terminal.text()


ODD_NAMES = {"a; rm -rf /": "a-rm-rf", "'a'": "a", "../x": "x", "http://x.org/a": "http-x-org-a", "-rf": "rf"}
ODD_FOLDERS = ["~nobody-such/x", "/etc/passwd", "http://x.org/a", "a; rm -rf /", "'", "パンダ", "x" * 1000]
ODD_COUNTS = ["0", "-1", "1.5", "abc", "²", "9" * 500, "1 2", "'1'"]


def test_odd_answers_end_in_a_legal_name_a_folder_that_is_there_and_a_number(
    daemon: ScriptedDaemon, start: Start
) -> None:
    with start("create") as terminal:
        for question in ("Made from what?", "Which framework?", "Which version?"):
            answer(terminal, question, ENTER)
        answer(terminal, "Name of the container?", "パンダ\n")
        terminal.wait_for("is not a legal container name")
        for name, mended in ODD_NAMES.items():
            answer(terminal, "Name of the container?", f"{name}\n")
            terminal.wait_for(f"The name becomes {mended}:")
            answer(terminal, "/workspace inside?", "<\n")
        answer(terminal, "Name of the container?", "demo\n")
        answer(terminal, "/workspace inside?", ENTER)
        for folder in ODD_FOLDERS:
            answer(terminal, "/data inside?", f"{folder}\n")
            terminal.wait_for("is not a folder that you can see.")
        answer(terminal, "/data inside?", ENTER)
        answer(terminal, "/models inside?", ENTER)
        answer(terminal, "Which GPU?", ENTER)
        for count in ODD_COUNTS:
            answer(terminal, "How many, 1 to 3?", f"{count}\n")
            terminal.wait_for("Write a number from 1 to 3")
        answer(terminal, "How many, 1 to 3?", "1\n")
        answer(terminal, "All right?", ENTER)
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.text()
    assert created(daemon) == [{"name": "demo", "interface": "cli", "framework": "Pytorch"}]


def test_a_refusal_is_told_before_anything_is_created(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers["POST /v1/containers"] = creating(NO_ROOM)
    with start("create") as terminal:
        pass_to_gpus(terminal)
        answer(terminal, "Which GPU?", ENTER)
        answer(terminal, "How many, 1 to 3?", ENTER)
        terminal.wait_for("No GPU is free.")
        answer(terminal, "It cannot be created so.", DOWN + ENTER)
        answer(terminal, "Which GPU?", CTRL_C)
        assert terminal.wait() == 130
        assert terminal.modes() == terminal.modes_before
    assert created(daemon) == []


@pytest.mark.parametrize(("keys", "status"), [(CTRL_C, 130), (CTRL_D, 1)])
def test_leaving_at_a_line_of_text_creates_nothing(
    keys: str, status: int, daemon: ScriptedDaemon, start: Start
) -> None:
    with start("create") as terminal:
        answer(terminal, "Made from what?", ENTER)
        answer(terminal, "Which framework?", ENTER)
        answer(terminal, "Which version?", ENTER)
        answer(terminal, "Name of the container?", keys)
        assert terminal.wait() == status
        assert "Traceback" not in terminal.text()
    assert created(daemon) == []


def test_guided_opens_with_the_picture_and_explains_what_is_left_to_ask(start: Start) -> None:
    with start("create", "demo", "pytorch", "--cpu-only", "--guided") as terminal:
        terminal.wait_for("Phase 1/2: Folders")
        assert "ds01 image create   ->   ds01 create           ->   ds01 open" in terminal.text()
        terminal.wait_for("they stay when the\ncontainer is removed")
        pass_folders(terminal)
        terminal.wait_for("Phase 2/2: Summary")
        terminal.wait_for("This is what you get.")


def test_a_machine_without_gpus_or_images_is_not_asked_about_them(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers |= {"GET /v1/gpus": gpus(), "GET /v1/images": images()}
    with start("deploy", "--background") as terminal:
        terminal.wait_for("This machine has no GPU")
        answer(terminal, "Phase 1/5: Framework", ENTER)
        answer(terminal, "Which version?", ENTER)
        answer(terminal, "Name of the container?", ENTER)
        pass_folders(terminal)
        terminal.wait_for("All right?")
        assert "--cpu-only" in terminal.text()


def test_without_quota_as_many_as_there_are_can_be_chosen(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers["GET /v1/limits"] = limits(max_gpus=None, max_gpu_equivalents=None)
    with start("create") as terminal:
        pass_to_gpus(terminal)
        terminal.wait_for("You hold 1 of unlimited GPUs.")
        answer(terminal, "Which GPU?", ENTER)
        terminal.wait_for("How many, 1 to 9?")


def test_create_with_a_name_asks_for_the_framework_alone(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers["GET /v1/catalogue"] = catalogue(("Pytorch", "2.8.0"), ("Mxnet", ""), ("Tensorflow", "2.16.1"))
    with start("create", "Über Project") as terminal:
        terminal.wait_for("The name becomes ber-project")
        terminal.wait_for("Which framework?")
        terminal.wait_for("Tensorflow 2.16.1")
        assert "Mxnet" not in terminal.text()
        terminal.type("tensor")
        terminal.wait_for("tensor")
        terminal.type(ENTER)
        assert terminal.wait() == 0
        assert "Pulling" in terminal.text()
        assert "ds01 open ber-project" in terminal.text()
    assert created(daemon) == [{"name": "ber-project", "interface": "cli", "framework": "Tensorflow"}]


def test_one_of_the_list_is_picked_with_what_to_do_with_it(daemon: ScriptedDaemon, start: Start) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("a", "exited"), container("b"))
    daemon.answers["GET /v1/containers/b/processes"] = ok({"schema_version": 1, "name": "b", "processes": []})
    stopped = {"schema_version": 1, "container": details("b", "exited"), "was_running": True, "dry_run": False}
    daemon.answers["POST /v1/containers/b/stop"] = ok({**stopped, "docker_command": "docker stop"})
    with start("list", "-i") as terminal:
        terminal.wait_for("Which container to look at?")
        terminal.type(DOWN + ENTER)
        terminal.wait_for("What shall be done with b?")
        assert "start it" not in terminal.text()
        terminal.type(DOWN + ENTER)
        assert terminal.wait() == 0
        assert "Stopped b." in terminal.text()
    assert [text for text in daemon.asked() if not text.startswith("GET")] == ["POST /v1/containers/b/stop"]
    with start("list", "-i") as terminal:
        terminal.wait_for("Which container to look at?")
        terminal.type(ENTER)
        terminal.wait_for("What shall be done with a?")
        terminal.wait_for("start it")
        terminal.type("noth")
        terminal.wait_for("noth")
        terminal.type(ENTER)
        assert terminal.wait() == 0
    assert [text for text in daemon.asked() if not text.startswith("GET")] == ["POST /v1/containers/b/stop"]


def test_info_shows_every_option_with_what_the_site_has_set(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/limits"] = limits()
    lines = ds01("create", "--info").out.splitlines()
    rows = {" ".join(line.split()): " ".join(below.split()) for line, below in pairwise(lines)}
    assert rows["--memory SIZE at most 32G"] == "Memory, such as 16G."
    assert {"-g, --gpus COUNT at most 3", "--time LENGTH any", "--arch NAME as the machine needs"} <= rows.keys()
    assert rows["--cpu-only"] == "No GPU."
    assert max(map(len, lines)) < 80
    assert daemon.asked() == ["GET /v1/limits"]


def test_concepts_are_explained_without_a_daemon(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    text = ds01("create", "--concepts").out
    assert "MIG instance" in text
    assert "/workspace" in text
    assert daemon.asked() == []


@pytest.mark.parametrize("words", [("create",), ("create", "--guided"), ("create", "a", "pytorch", "--guided")])
def test_without_a_terminal_nothing_is_asked(words: tuple[str, ...], daemon: ScriptedDaemon, ds01: Ds01) -> None:
    furnish(daemon)
    assert ds01(*words).status == 2
    assert daemon.asked() == []


def test_images_are_listed_for_people_and_programs(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/images"] = images(image("thesis"), image("ubuntu:24.04", own=False))
    assert ds01("image", "list").out.split()[8:11] == ["thesis", "Pytorch-2.8.0", "9G"]
    assert ds01("image", "list", "-q").out == "thesis\n"
    everything = ds01("image", "ls", "--all").out.splitlines()
    assert [line.split()[0] for line in everything] == ["IMAGE", "thesis", "ubuntu:24.04"]
    assert everything[2].endswith("everybody's")
    assert [row["name"] for row in ds01("image", "list", "--json").document["images"]] == ["thesis"]
    assert ds01("image", "list", "--format", "csv").out.splitlines()[1].startswith("thesis,ds01.invalid/u1001/thesis:l")
    daemon.answers["GET /v1/images"] = images()
    assert "You have no image of your own." in ds01("image", "list").err
