"""The wizard asks for the CUDA generation where the choice leads to other images that this machine runs."""

import json
import socket
from typing import cast
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, strategies as st

from ds01.api.schema import CatalogueDocument
from ds01.cli.commands.container.architecture_question import offered_architectures, rows_for
from tests.unit.cli.conftest import Start
from tests.unit.cli.test_wizard import DOWN, ENTER, UP, answer, created, pass_folders
from tests.unit.cli.wizard_documents import furnish, gpus
from tests.unit.scripted_daemon import Request, ScriptedDaemon, ok

ADA, AMPERE, BLACKWELL = "CUDA_ADA", "CUDA_AMPERE", "CUDA_BLACKWELL"
ROWS = (
    ("2.8.0-ada", (ADA,), True),
    ("2.9.0", (AMPERE,), False),
    ("2.8.0", (AMPERE,), True),
    ("2.7.0", (AMPERE,), True),
    ("3.0", (BLACKWELL,), False),
)
"""Version, generations, and whether the driver runs it: 2.9.0 needs a newer one."""


def document(asked: str | None, rows: tuple[tuple[str, tuple[str, ...], bool], ...] = ROWS) -> dict[str, object]:
    """Return what the daemon answers about Pytorch on a machine that runs ADA and AMPERE."""
    names = [ADA, AMPERE] if asked is None else [asked]
    fitting = [row for row in rows if set(row[1]) & set(names) and (row[2] or asked is not None)]
    newest = next(row for name in names for row in fitting if name in row[1])
    shown = [
        {
            "framework": "Pytorch",
            "version": version,
            "architectures": list(architectures),
            "image": f"aimehub/pytorch-{version}",
            "origin": "shipped",
            "usable": (version, architectures, runs) in fitting,
            "chosen": (version, architectures, runs) == newest,
            "local": None,
        }
        for version, architectures, runs in rows
    ]
    reason = f"newest for {newest[1][0]}"
    image = f"aimehub/pytorch-{newest[0]}"
    choice = {"framework": "Pytorch", "version": newest[0], "architecture": newest[1][0], "image": image}
    choices = [{**choice, "reason": reason}]
    return {"schema_version": 1, "architectures": names, "reason": "", "choices": choices, "rows": shown, "left_out": 0}


def several_generations(request: Request, connection: socket.socket) -> None:
    asked = parse_qs(urlsplit(request.target).query).get("architecture", [None])[0]
    connection.sendall(ok(document(asked)))


@pytest.fixture(autouse=True)
def machine(daemon: ScriptedDaemon) -> None:
    furnish(daemon)
    daemon.answers["GET /v1/catalogue"] = several_generations


def test_enter_takes_what_the_machine_needs_and_types_no_generation(daemon: ScriptedDaemon, start: Start) -> None:
    with start("create", "--data", "/") as terminal:
        answer(terminal, "Made from what?", ENTER)
        answer(terminal, "Which framework?", ENTER)
        terminal.wait_for("CUDA_AMPERE")
        shown = terminal.text().rpartition("Which CUDA generation?")[2].splitlines()[1:]
        lines = [line.strip(" »") for line in shown if line.strip()]
        assert lines[:3] == ["CUDA_ADA  (as this machine needs)", "CUDA_AMPERE", "back"]
        answer(terminal, "Which CUDA generation?", ENTER)
        answer(terminal, "2.8.0-ada  (newest for this machine", ENTER)
        answer(terminal, "Name of the container?", "demo\n")
        answer(terminal, "Which GPU?", ENTER)
        answer(terminal, "How many", ENTER)
        terminal.wait_for("All right?")
        assert "--arch" not in terminal.text()
        answer(terminal, "All right?", ENTER)
        assert terminal.wait() == 0
    (body,) = created(daemon)
    assert (body["framework"], "architecture" in body, "version" in body) == ("Pytorch", False, False)


def test_another_generation_is_taken_with_its_images_that_run_here(daemon: ScriptedDaemon, start: Start) -> None:
    with start("create") as terminal:
        answer(terminal, "Made from what?", ENTER)
        answer(terminal, "Which framework?", ENTER)
        answer(terminal, "Which CUDA generation?", DOWN + ENTER)
        terminal.wait_for("2.7.0")
        assert "2.9.0" not in terminal.text(), "the driver does not run it"
        answer(terminal, "Which version?", UP + ENTER)  # back, and the same again
        answer(terminal, "Which CUDA generation?", DOWN + ENTER)
        answer(terminal, "Which version?", ENTER)
        answer(terminal, "Name of the container?", "demo\n")
        pass_folders(terminal)
        answer(terminal, "Which GPU?", UP + UP + ENTER)
        terminal.wait_for("All right?")
        assert "ds01 create demo Pytorch 2.8.0 --arch CUDA_AMPERE --cpu-only" in terminal.text()
        answer(terminal, "All right?", ENTER)
        assert terminal.wait() == 0
    (body,) = created(daemon)
    assert (body["architecture"], body["version"]) == (AMPERE, "2.8.0")


@pytest.mark.parametrize("words", [("--cpu-only",), ("--arch", AMPERE)])
def test_who_takes_no_gpu_or_has_said_which_is_not_asked(words: tuple[str, ...], start: Start) -> None:
    with start("create", *words) as terminal:
        answer(terminal, "Made from what?", ENTER)
        terminal.wait_for("Which framework?")
        terminal.type(ENTER)
        terminal.wait_for("Which version?")
        assert "Which CUDA generation?" not in terminal.text()


def test_what_the_environment_says_and_a_machine_without_gpus_ask_nothing_either(
    daemon: ScriptedDaemon, start: Start
) -> None:
    with start("create", DS01_ARCH=AMPERE) as terminal:
        answer(terminal, "Made from what?", ENTER)
        terminal.wait_for("Which framework?")
        terminal.type(ENTER)
        terminal.wait_for("Which version?")
        assert "Which CUDA generation?" not in terminal.text()
    daemon.answers["GET /v1/gpus"] = gpus()
    with start("create") as terminal:
        answer(terminal, "Made from what?", ENTER)
        terminal.wait_for("Which framework?")
        terminal.type(ENTER)
        terminal.wait_for("Which version?")
        assert "Which CUDA generation?" not in terminal.text()


def test_guided_explains_the_question(start: Start) -> None:
    with start("create", "--guided") as terminal:
        answer(terminal, "Made from what?", ENTER)
        answer(terminal, "Which framework?", ENTER)
        terminal.wait_for("Which CUDA generation?")
        assert "several CUDA generations that run here" in terminal.text()


ROW = st.tuples(
    st.sampled_from(["1", "2", "3", "4"]),
    st.lists(st.sampled_from([ADA, AMPERE, BLACKWELL]), min_size=1, unique=True).map(tuple),
    st.booleans(),
)


@given(st.lists(ROW, max_size=6))
def test_each_offered_generation_has_images_of_its_own_that_run_here(
    found: list[tuple[str, tuple[str, ...], bool]],
) -> None:
    rows = (("0", (ADA,), True), *dict.fromkeys(found))
    here = cast("CatalogueDocument", document(None, rows))
    names = offered_architectures(here)
    assert names[0] == ADA
    of_each = [frozenset(row["version"] for row in rows_for(here, here, name)[0]) for name in names]
    images = [
        frozenset(row["image"] for row in here["rows"] if row["usable"] and name in row["architectures"])
        for name in names
    ]
    assert all(of_each)
    assert len(set(images)) == len(names)
    assert BLACKWELL not in names


def test_images_for_several_generations_alike_are_no_question() -> None:
    rows = (("1", (ADA, AMPERE), True), ("2", (ADA, AMPERE), True))
    assert offered_architectures(cast("CatalogueDocument", json.loads(json.dumps(document(None, rows))))) == (ADA,)
