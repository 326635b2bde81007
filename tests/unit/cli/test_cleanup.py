"""`ds01 container cleanup` on a terminal: what is asked, in which order, and what is not named twice."""

from tests.unit.cli.conftest import Start
from tests.unit.scripted_daemon import ScriptedDaemon, ok

ENTER, DOWN = "\r", "\x1b[B"


def leftover(identity: str, kind: str, name: str, **more: object) -> dict[str, object]:
    return {"id": identity, "kind": kind, "name": name, "since": None, "size_bytes": 1024**2, "gpus": [], **more}


LEFT = (
    leftover("c1", "stopped", "old-one", gpus=["GPU-1"]),
    leftover("c2", "stopped", "new-one", gpus=["GPU-2"]),
    leftover("hold:c1", "kept GPUs", "old-one", gpus=["GPU-1"], size_bytes=0),
    leftover("hold:c2", "kept GPUs", "new-one", gpus=["GPU-2"], size_bytes=0),
    leftover("sha256:1", "build without a name", "thesis"),
)


def script_leftovers(daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/leftovers"] = ok({"schema_version": 1, "leftovers": list(LEFT)})
    daemon.answers["POST /v1/leftovers/clear"] = ok({"schema_version": 1, "results": [], "freed_bytes": 2 * 1024**2})


def test_cleanup_asks_for_containers_first_and_then_for_what_does_not_go_with_them(
    daemon: ScriptedDaemon, start: Start
) -> None:
    script_leftovers(daemon)
    with start("container", "cleanup") as terminal:
        terminal.wait_for("Which containers shall go?")
        assert "thesis" not in terminal.text()
        terminal.wait_for("new-one")
        assert "old-one  (stopped" in terminal.text()
        assert "frees 1M, frees 1 GPU)" in terminal.text(), "before anything is chosen"
        terminal.type(" " + ENTER)
        terminal.wait_for("Which images and kept GPUs shall go?")
        terminal.wait_for("thesis")
        offered = terminal.text().rpartition("Which images")[2]
        assert "new-one  (kept GPUs" in offered
        assert "old-one  (kept GPUs" not in offered, "it goes with its container"
        terminal.type(DOWN + " " + ENTER)
        assert terminal.wait() == 0
        assert "Freed 2M." in terminal.text()
    assert daemon.requests[-1].document() == {"items": ["c1", "sha256:1"]}


def test_cleanup_of_nothing_changes_nothing_and_of_everything_names_nothing_twice(
    daemon: ScriptedDaemon, start: Start
) -> None:
    script_leftovers(daemon)
    with start("container", "cleanup") as terminal:
        terminal.wait_for("Which containers shall go?")
        terminal.type(ENTER)
        terminal.wait_for("Which images and kept GPUs shall go?")
        terminal.type(ENTER)
        assert terminal.wait() == 1
        assert "Nothing was picked" in terminal.text()
    assert [asked for asked in daemon.asked() if "GET" not in asked] == []
    with start("container", "cleanup", "-y") as terminal:
        assert terminal.wait() == 0
    assert daemon.requests[-1].document() == {"items": ["c1", "c2", "sha256:1"]}
