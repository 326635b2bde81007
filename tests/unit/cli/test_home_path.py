"""Paths of one's own home are short for people and whole for programs."""

import pytest
from hypothesis import given, strategies as st

from ds01.cli.home_path import short_home_path
from tests.unit.cli.conftest import Ds01, containers, details
from tests.unit.scripted_daemon import ScriptedDaemon, ok

HOME = "/home/alice"


@pytest.mark.parametrize(
    ("path", "home", "shown"),
    [
        ("/home/alice/workspace/a", HOME, "~/workspace/a"),
        ("/home/alice", HOME, "~"),
        ("/home/alice/x", "/home/alice/", "~/x"),
        ("/home/alice2/x", HOME, "/home/alice2/x"),
        ("/data/home/alice/x", HOME, "/data/home/alice/x"),
        ("/data/x", HOME, "/data/x"),
        ("/data/x", "/", "/data/x"),
        ("/data/x", "//", "/data/x"),
        ("/data/x", "", "/data/x"),
        ("data/x", "data", "data/x"),
    ],
)
def test_only_the_callers_own_home_is_shortened_and_only_at_a_folders_end(path: str, home: str, shown: str) -> None:
    assert short_home_path(path, {"HOME": home}) == shown


def test_without_a_home_a_path_stays() -> None:
    assert short_home_path("/home/alice/x", {}) == "/home/alice/x"


folders = st.from_regex(r"(/[a-z0-9~]{1,4}){1,3}", fullmatch=True)


@given(folders, folders, st.from_regex(r"[a-z0-9~]{1,4}(/[a-z]{1,3})?", fullmatch=True))
def test_a_shell_that_puts_the_home_back_gets_the_path_again(home: str, inside: str, rest: str) -> None:
    shown = short_home_path(home + inside, {"HOME": home})
    assert shown[0] == "~"
    assert home + shown[1:] == home + inside
    assert short_home_path(home + rest, {"HOME": home}) == home + rest


def test_lists_and_facts_of_containers_are_short_and_their_documents_whole(ds01: Ds01, daemon: ScriptedDaemon) -> None:
    document = details("a", data="/home/alice/data", models="/home/alice2/models")
    daemon.answers["GET /v1/containers"] = containers(document)
    daemon.answers["GET /v1/containers/a"] = ok({"schema_version": 1, **document})
    for words in (["inspect", "a"], ["list", "--detailed"]):
        shown = ds01(*words, HOME=HOME).out
        assert "  ~/workspace/a\n" in shown
        assert "  ~/data\n" in shown
        assert "  /home/alice2/models\n" in shown
    assert ds01("inspect", "a", "--json", HOME=HOME).document["workspace"] == "/home/alice/workspace/a"
    assert "/home/alice/workspace/a" in ds01("list", "--detailed", "--json", HOME=HOME).out
