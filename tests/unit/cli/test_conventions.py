"""What every verb for containers keeps to: it is there, programs can ask it, it asks people, it can only plan."""

from typing import cast

import click
import pytest

from ds01.cli.group import SpecCommand
from ds01.cli.main import build_cli
from ds01.cli.spec import DRY_RUN, JSON, NAME, NAMES, Option, Spec
from ds01.cli.tree import verbs_of
from tests.unit.cli.conftest import Ds01, Start, container, containers
from tests.unit.scripted_daemon import ScriptedDaemon

CTRL_C = "\x03"
SESSIONS = {"open", "exec", "attach", "run"}
"""A program's bytes are all that they print."""
CHANGES = {
    *("create", "run", "start", "stop", "restart", "pause", "unpause", "rename", "remove", "cleanup", "deploy"),
    *("retire", "save", "export", "import", "cp", "adopt"),
}
READS = {"list", "stats", "logs", "inspect", "top", "ports"}
PICKS_FROM = {
    "start": "exited",
    "unpause": "paused",
    "rename": "exited",
    "adopt": "running",
}
"""State of the containers that a verb without NAME offers; the others offer running ones."""
WITHOUT_NAME = {"stats", "list", "cleanup"}
"""Without NAME they are about all."""


def specs() -> dict[str, Spec]:
    """Return the declaration of every verb for containers."""
    group = build_cli()
    noun = group.get_command(click.Context(group, info_name="ds01"), "container")
    assert isinstance(noun, click.Group)
    context = click.Context(noun, info_name="container")
    return {verb: cast("SpecCommand", noun.get_command(context, verb)).spec for verb in noun.list_commands(context)}


SPECS = specs()
NAMED = sorted(
    {verb for verb, spec in SPECS.items() if {NAME, NAMES} & set(spec.arguments)} - WITHOUT_NAME | {"run"},
)


def has(verb: str, option: Option) -> bool:
    """Tell whether a verb takes an option, whatever it says of it."""
    return set(option.names) <= {name for own in SPECS[verb].options for name in own.names}


def test_every_verb_is_there_and_belongs_to_one_kind() -> None:
    assert set(SPECS) == SESSIONS | CHANGES | READS
    assert {"rm", "ls"} <= set(verbs_of("container"))


@pytest.mark.parametrize("verb", sorted(set(SPECS) - SESSIONS))
def test_what_prints_data_prints_it_as_json(verb: str) -> None:
    assert has(verb, JSON)


@pytest.mark.parametrize("verb", sorted(CHANGES))
def test_what_changes_something_can_only_say_so(verb: str) -> None:
    assert has(verb, DRY_RUN)


@pytest.mark.parametrize("verb", sorted(SPECS))
def test_what_may_ask_can_be_told_not_to(verb: str) -> None:
    if verb not in {"list", "stats"}:
        assert any("--no-input" in option.names for option in SPECS[verb].options)
    if verb in CHANGES - {"cp"}:
        assert any("--yes" in option.names for option in SPECS[verb].options)


@pytest.mark.parametrize("verb", NAMED)
def test_without_a_name_and_without_a_terminal_it_is_a_usage_error(
    verb: str, daemon: ScriptedDaemon, ds01: Ds01
) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("one"), container("two"))
    refused = ds01("container", verb)
    assert refused.status == (125 if SPECS[verb].passes_status else 2)
    assert "NAME is missing" in refused.err
    assert f"ds01 container {verb} NAME" in refused.err
    assert [asked for asked in daemon.asked() if not asked.startswith("GET")] == []


@pytest.mark.parametrize("verb", sorted(set(NAMED) - SESSIONS))
def test_with_json_the_error_is_a_document(verb: str, ds01: Ds01) -> None:
    refused = ds01("container", verb, "--json")
    assert refused.problem["exit_status"] == (125 if SPECS[verb].passes_status else 2)
    assert refused.out == ""


@pytest.mark.parametrize("verb", NAMED)
def test_without_a_name_a_terminal_offers_those_that_fit(verb: str, daemon: ScriptedDaemon, start: Start) -> None:
    fitting = PICKS_FROM.get(verb, "running")
    rows = [container(name, fitting, managed=verb != "adopt") for name in ("this-one", "that-one")]
    daemon.answers["GET /v1/containers"] = containers(*rows, container("dead-one", "dead"))
    with start("container", verb) as terminal:
        terminal.wait_for("that-one")
        assert "this-one" in terminal.text()
        assert "Which container" in terminal.text()
        terminal.type(CTRL_C)
        assert terminal.wait() in {130, 125 if SPECS[verb].passes_status else 130}
    assert daemon.asked() == ["GET /v1/containers"]
