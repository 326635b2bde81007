"""Questions that are left: by Ctrl-C in any moment, and by the end of the input."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal import Terminal
from tests.unit.cli.image_house import furnished_house
from tests.unit.scripted_daemon import ScriptedDaemon

# an interrupt that the read does not notice, as one that comes just before it
LATE = """
import _thread, pathlib, sys, threading, time
from ds01.cli.prompts import ask_text

def interrupt():
    while not pathlib.Path(sys.argv[1]).exists():
        time.sleep(0.01)
    _thread.interrupt_main()

threading.Thread(target=interrupt, daemon=True).start()
try:
    ask_text("Which?")
except KeyboardInterrupt:
    print("left")
"""


def test_an_interrupt_in_the_moment_before_the_answer_is_read_is_obeyed(tmp_path: Path) -> None:
    with Terminal([sys.executable, "-c", LATE, str(tmp_path / "now")], os.environ) as terminal:
        terminal.wait_for("Which?")
        (tmp_path / "now").touch()
        terminal.wait_for("left")
        assert terminal.wait() == 0


@pytest.fixture
def asked(daemon: ScriptedDaemon, tmp_path: Path) -> Iterator[Terminal]:
    """`ds01 image create` on a terminal."""
    house = furnished_house(daemon, tmp_path)
    known = {"DS01_SOCKET": str(daemon.socket_path), "HOME": str(house), "TERM": "xterm", "LANG": "C.UTF-8"}
    environment = {**known, "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    with Terminal([sys.executable, "-m", "ds01", "image", "create", "--no-build"], environment) as terminal:
        yield terminal


@pytest.mark.parametrize(
    "question", ["Name of the image?", "Which image (repository:tag)?", "More packages of Python?"]
)
def test_the_end_of_the_input_leaves_the_questions_and_writes_nothing(
    question: str, asked: Terminal, tmp_path: Path
) -> None:
    answers = {"Name of the image?": "thesis\r", "Which framework?": "\r"}
    if "repository" in question:
        answers["Which framework?"] = "\x1b[B\r"
    answers |= dict.fromkeys(("Go on?", "Jupyter?", "Data science?", "What is it for?"), "\r")
    for asked_before, keys in answers.items():
        if asked_before == question or (asked_before == "Go on?" and "repository" in question):
            break
        asked.wait_for(asked_before)
        asked.output = b""
        asked.type(keys)
    asked.wait_for(question)
    asked.type("\x04")
    assert asked.wait() == 1
    assert "Cancelled: nothing was changed." in asked.text()
    assert not (tmp_path / "home" / "dockerfiles").exists()
