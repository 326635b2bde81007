"""The conventions: help, typos, exit statuses, errors in words and as documents, no traceback, lazy loading."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ds01.cli.group import SpecCommand
from ds01.cli.main import build_cli
from ds01.cli.tree import ENTRIES, NOUNS, SECTIONS, nouns_below, verbs_of
from ds01.errors import EXIT_INTERRUPTED
from tests.unit.cli.conftest import Ds01, container, containers
from tests.unit.cli.wizard_documents import image, images
from tests.unit.scripted_daemon import ScriptedDaemon, http, ok, problem

GOLDEN = Path(__file__).with_name("golden")


def all_commands() -> list[tuple[str, click.Command]]:
    """Return every command by its path."""

    def walk(path: str, group: click.Group) -> list[tuple[str, click.Command]]:
        context = click.Context(group, info_name=path)
        found: list[tuple[str, click.Command]] = []
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            found.append((f"{path} {name}", command))
            if isinstance(command, click.Group):
                found += walk(f"{path} {name}", command)
        return found

    return walk("ds01", build_cli())


def run_program(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DS01_")}
    argv = [sys.executable, "-m", "ds01", *words]
    return subprocess.run(
        argv, env={**clean, **environment}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def test_every_command_has_help_with_examples_that_are_its_own() -> None:
    for path, command in all_commands():
        text = command.help or ""
        if isinstance(command, SpecCommand):
            assert "Examples:\n" in text, path
            assert "ds01 " in text, path
            for option in command.params:
                assert option.name
                assert isinstance(option, click.Argument) or getattr(option, "help", None), (path, option.name)


def test_every_example_names_a_command_and_options_that_exist() -> None:
    for path, command in all_commands():
        if not isinstance(command, SpecCommand):
            continue
        for example in command.spec.examples:
            words = example.partition("  ")[0].partition(" -- ")[0].split()
            if words[0] != "ds01":
                continue
            options = [word for word in words if word.startswith("-")]
            texts = [*(name for param in command.params for name in param.opts)]
            assert all(word in texts for word in options), (path, example)
            group = build_cli()
            _, found, _ = group.resolve_command(click.Context(group, info_name="ds01"), words[1:])
            assert found is not None, (path, example)


def test_every_entry_of_the_table_can_be_typed_at_its_places() -> None:
    paths = {path for path, _ in all_commands()}
    for entry in ENTRIES:
        if entry.noun:
            assert f"ds01 {entry.noun} {entry.verb}" in paths
        shown = {name for _, names in SECTIONS for name in names.split()}
        assert not entry.daily or shown & {*entry.daily, entry.noun}


def test_help_is_shown_without_loading_a_command() -> None:
    code = (
        "import sys; from ds01.cli.main import run; run(['--help'], {})\n"
        "print(*(name for name in sys.modules if 'ds01.cli.commands' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["create", "--help"], ["container", "--help"], ["run", "--help"], ["exec", "--help"]]
)
def test_help_reads_as_it_was_agreed(words: list[str]) -> None:
    name = "-".join(["ds01", *(word for word in words if word != "--help")])
    done = run_program(*words, COLUMNS="80")
    assert done.returncode == 0
    assert done.stdout == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_the_list_is_answered_without_click(daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/containers"] = containers()
    code = (
        "import sys, os; from ds01.cli.main import run; status = run(sys.argv[1:], os.environ)\n"
        "print(status, 'click' in sys.modules)"
    )
    for words in (
        ["list"],
        ["ls", "-a"],
        ["container", "list", "--format", "csv"],
        ["container", "ls", "--format=name", "-q"],
    ):
        argv = [sys.executable, "-I", "-c", code, *words]
        done = subprocess.run(
            argv, capture_output=True, text=True, env={"DS01_SOCKET": str(daemon.socket_path)}, check=True
        )
        assert done.stdout.splitlines()[-1] == "0 False", words


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--help"],
        ["list", "-aq"],
        ["list", "--jsn"],
        ["list", "x"],
        ["list", "--format", "xml"],
        ["list", "--format"],
    ],
)
def test_what_is_unusual_about_a_list_is_answered_by_click(
    words: list[str], daemon: ScriptedDaemon, ds01: Ds01
) -> None:
    daemon.answers["GET /v1/containers"] = containers()
    assert ds01(*words).status == (0 if words[1] in {"--help", "-aq"} else 2)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["lst"], "ds01 list"),
        (["containr"], "ds01 container"),
        (["container", "crate"], "ds01 container create"),
        (["gpu", "lsit"], "ds01 gpu list"),
        (["xyzzy"], "ds01 --help"),
    ],
)
def test_a_mistyped_command_proposes_the_nearest(words: list[str], hint: str, ds01: Ds01) -> None:
    outcome = ds01(*words)
    assert outcome.status == 2
    assert hint in outcome.err
    assert not outcome.out


def test_a_mistyped_option_proposes_the_nearest(ds01: Ds01) -> None:
    outcome = ds01("create", "--memry", "1G")
    assert outcome.status == 2
    assert "--memory" in outcome.err


def test_a_mistyped_container_proposes_the_nearest(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("thesis"))
    daemon.answers["POST /v1/containers/tesis/start"] = problem(
        404, "not_found", "There is no container tesis.", "ds01 list"
    )
    outcome = ds01("start", "tesis")
    assert outcome.status == 3
    assert "Did you mean thesis?" in outcome.err


STATUSES = [
    (400, "invalid_request", 2),
    (403, "forbidden", 4),
    (403, "quota_exceeded", 4),
    (404, "not_found", 3),
    (409, "conflict", 8),
    (409, "no_capacity", 5),
    (502, "backend_failed", 7),
    (504, "backend_timeout", 7),
    (500, "error", 1),
    (500, "of_a_later_version", 1),
]


@pytest.mark.parametrize(("http_status", "code", "status"), STATUSES)
def test_errors_have_their_exit_status_and_say_what_to_do(
    http_status: int, code: str, status: int, daemon: ScriptedDaemon, ds01: Ds01
) -> None:
    daemon.answers["GET /v1/gpus"] = problem(http_status, code, "It went wrong.", "Do this.")
    outcome = ds01("gpus")
    assert (outcome.status, outcome.out) == (status, "")
    assert outcome.err == "✗ It went wrong.\n→ Do this.\n"


def test_with_json_an_error_is_a_problem_document_on_stderr(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/gpus"] = problem(404, "not_found", "Nothing here.", "Do this.")
    outcome = ds01("gpus", "--json")
    assert (outcome.status, outcome.out) == (3, "")
    assert (outcome.problem["code"], outcome.problem["hint"], outcome.problem["exit_status"]) == (
        "not_found",
        "Do this.",
        3,
    )


def test_with_json_a_usage_error_is_a_problem_document_too(ds01: Ds01) -> None:
    assert ds01("create", "--json").problem["code"] == "invalid_request"
    assert ds01("list", "--json", "--foo").problem["code"] == "invalid_request"
    assert ds01("stop", "--json").problem["exit_status"] == 2


def test_a_name_in_another_case_is_proposed(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("My-Project"))
    daemon.answers["POST /v1/containers/MY-PROJECT/stop"] = problem(404, "not_found", "You have no container.")
    assert "Did you mean My-Project?" in ds01("stop", "MY-PROJECT").err


def test_a_daemon_that_is_not_there_is_7_and_no_traceback(tmp_path: Path) -> None:
    done = run_program("list", DS01_SOCKET=str(tmp_path / "none.sock"))
    assert done.returncode == 7
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr


INTERRUPTED_WHILE_LOADING = """
import sys

class Interruption:
    def find_spec(self, name, path, target=None):
        if name == "ds01.cli.screen":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interruption())
from ds01.__main__ import main
main()
"""


def test_an_interruption_while_the_program_is_loaded_shows_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE_LOADING], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_INTERRUPTED, "", "")


def test_a_bug_is_one_line_unless_it_is_to_be_seen(daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/containers"] = ok({"schema_version": 1, "containers": [{}]})
    done = run_program("list", DS01_SOCKET=str(daemon.socket_path))
    assert done.returncode == 1
    assert "DS01_DEBUG=1" in done.stderr
    assert "Traceback" not in done.stderr
    shown = run_program("list", DS01_SOCKET=str(daemon.socket_path), DS01_DEBUG="1")
    assert "Traceback" in shown.stderr


@pytest.mark.parametrize("words", [("list",), ("image", "list", "--all")], ids=["quick", "by click"])
def test_a_reader_that_leaves_early_is_no_error_message(words: tuple[str, ...], daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/containers"] = containers(*(container(f"c{number}") for number in range(3000)))
    daemon.answers["GET /v1/images"] = images(*(image(f"i{number}", own=False) for number in range(5000)))
    argv = [sys.executable, "-m", "ds01", *words]
    environment = {**os.environ, "DS01_SOCKET": str(daemon.socket_path)}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(timeout=20), process.stderr.read()) == (141, "")


def test_a_slow_reader_gets_everything(daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/containers"] = containers(*(container(f"c{number}") for number in range(3000)))
    for unbuffered in ("", "1"):
        done = run_program("list", "-q", DS01_SOCKET=str(daemon.socket_path), PYTHONUNBUFFERED=unbuffered)
        assert done.stdout.splitlines()[-1] == "c2999"


def test_garbage_from_the_socket_is_an_error_in_words(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers"] = b"\xff\xfe not http at all\r\n\r\n"
    outcome = ds01("list")
    assert outcome.status == 7
    assert "not HTTP" in outcome.err


def test_what_others_wrote_cannot_drive_the_terminal(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/gpus"] = http(500, "\x1b]0;owned\x07\x9b2J".encode(), kind="text/plain")
    outcome = ds01("gpus")
    assert "\x1b" not in outcome.err
    assert "\x07" not in outcome.err
    assert "\x9b" not in outcome.err


def test_streams_that_are_closed_are_survived(daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/containers"] = containers()
    for redirection in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        argv = ["bash", "-c", f"{sys.executable} -m ds01 list {redirection}"]
        done = subprocess.run(
            argv,
            env={**os.environ, "DS01_SOCKET": str(daemon.socket_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (redirection, done.stderr)


@pytest.mark.parametrize("words", [("list",), ("list", "--json"), ("help", "gpu"), ("--help",), ("completion", "bash")])
def test_an_output_that_has_no_room_is_an_error_in_words(words: tuple[str, ...], daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/containers"] = containers(*(container(f"c{number}") for number in range(300)))
    environment = {**os.environ, "DS01_SOCKET": str(daemon.socket_path)}
    argv = [sys.executable, "-m", "ds01", *words]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(argv, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "could not be written: No space left on device." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("place", ["/dev/full", ">(true)"])
def test_a_message_that_reaches_nobody_leaves_the_exit_status_as_it_is(place: str, tmp_path: Path) -> None:
    argv = ["bash", "-c", f"{sys.executable} -m ds01 nosuch 2>{' ' if place[0] == '>' else ''}{place}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


def test_an_empty_name_is_said_before_anything_is_asked(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    for words in (("stop", ""), ("rm", "-y", ""), ("inspect", ""), ("image", "delete", "-y", ""), ("why", "")):
        outcome = ds01(*words)
        assert outcome.status == 2, words
        assert "is empty" in outcome.err, words
    assert daemon.requests == []


def test_what_is_not_utf8_is_named(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    outcome = ds01("create", "mine", "pytorch", "-w", "/tmp/\udce4bc")
    assert outcome.status == 2
    assert "'/tmp/\\xe4bc' is not UTF-8." in outcome.err


def test_a_locale_without_letters_is_survived(daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/gpus"] = problem(404, "not_found", "Nicht gefunden: ü.")
    done = run_program("gpus", DS01_SOCKET=str(daemon.socket_path), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 3
    assert done.stderr.startswith("x Nicht gefunden: ")


def test_every_verb_has_one_meaning() -> None:
    for noun in ("", *NOUNS):
        assert verbs_of(noun) or nouns_below(noun)
    spellings = [(entry.noun, name) for entry in ENTRIES for name in (entry.verb, *entry.aliases)]
    assert len(spellings) == len(set(spellings))
    daily = [name for entry in ENTRIES for name in entry.daily]
    assert len(daily) == len(set(daily))
