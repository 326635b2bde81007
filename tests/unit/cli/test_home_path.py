"""Folders in tables: those below one's home are written with `~`."""

from tests.unit.cli.conftest import Ds01, container, containers, details
from tests.unit.scripted_daemon import ScriptedDaemon, ok


def test_folders_below_ones_home_are_short_in_tables_and_whole_in_json(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("a"))
    daemon.answers["GET /v1/containers/a"] = ok(details("a", data="/home/alice2/sets", models="/home/alice"))
    for words in (("list", "--detailed"), ("inspect", "a")):
        shown = ds01(*words, HOME="/home/alice/").out
        facts = dict(line.split(maxsplit=1) for line in shown.splitlines())
        assert (facts["workspace"], facts["data"], facts["models"]) == ("~/workspace/a", "/home/alice2/sets", "~")
    assert ds01("inspect", "a", "--json", HOME="/home/alice").document["workspace"] == "/home/alice/workspace/a"
    assert "/home/alice/workspace/a" in ds01("inspect", "a", HOME="/").out, "everything is below /"
