"""The wizard of `ds01 create` on a real terminal, before a real daemon and engine."""

from collections.abc import Callable

import pytest

from tests.e2e.site import BUSYBOX, Site
from tests.terminal import Terminal

ENTER = "\r"
Start = Callable[..., Terminal]


@pytest.fixture
def start(site: Site) -> Start:
    """Start `ds01 WORDS` as alice on a terminal."""

    def begin(*words: str) -> Terminal:
        argv, environment = site.command(*words)
        return Terminal(argv, {**environment, "TERM": "xterm-256color"}, rows=50)

    return begin


def answer(terminal: Terminal, question: str, keys: str) -> None:
    terminal.wait_for(question)
    terminal.output = b""
    terminal.type(keys)


def test_enter_and_a_name_make_a_container_that_the_printed_command_would_make_too(site: Site, start: Start) -> None:
    with start("create", "--cpu-only", "--guided") as terminal:
        terminal.wait_for("ds01 image create   ->   ds01 create")
        answer(terminal, "Made from what?", ENTER)
        answer(terminal, "Which framework?", "pytorch" + ENTER)
        answer(terminal, "Which version?", ENTER)
        answer(terminal, "Name of the container?", "demo\n")
        for folder in ("workspace", "data", "models"):
            answer(terminal, f"/{folder} inside?", ENTER)
        terminal.wait_for("All right?")
        assert "ds01 create demo Pytorch --cpu-only" in terminal.text()
        assert site.containers() == []
        answer(terminal, "All right?", ENTER)
        assert terminal.wait() == 0, terminal.text()
    assert site.inspect("demo")["State"]["Status"] == "created"
    assert "GPU" not in site.run("list").stdout.splitlines()[1]


def test_a_name_that_is_taken_is_told_and_leaving_creates_nothing(site: Site, running: str, start: Start) -> None:
    with start("create", "--guided", "--image", BUSYBOX, "--cpu-only") as terminal:
        answer(terminal, "Name of the container?", f"{running}\n")
        terminal.wait_for(f"You have a container {running} already")
        terminal.type("\x03")
        assert terminal.wait() == 130
    assert len(site.containers()) == 1
