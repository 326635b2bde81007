"""Tables and relative times."""

from datetime import UTC, datetime, timedelta

import pytest

from ds01.cli.progress import PullProgress
from ds01.cli.screen import clean, clean_lines
from ds01.cli.spec import Option, parse_simple
from ds01.cli.table import fit, relative_time, shrink

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(seconds=1), "just now"),
        (timedelta(seconds=59), "59 seconds ago"),
        (timedelta(seconds=60), "1 minute ago"),
        (timedelta(minutes=119), "1 hour ago"),
        (timedelta(hours=24), "1 day ago"),
        (timedelta(days=13), "1 week ago"),
        (timedelta(days=300), "42 weeks ago"),
        (timedelta(days=800), "2 years ago"),
        (timedelta(seconds=-30), "just now"),
        (timedelta(hours=-3), "in the future"),
    ],
)
def test_times_are_relative(ago: timedelta, text: str) -> None:
    assert relative_time((NOW - ago).isoformat(), NOW) == text


@pytest.mark.parametrize(
    ("text", "shown"), [(None, "-"), ("", "-"), ("soon\x1b", "soon�"), ("2026-01-01T00:00:00", "2026-01-01T00:00:00")]
)
def test_what_is_no_time_is_shown_as_it_is(text: str | None, shown: str) -> None:
    assert relative_time(text, NOW) == shown


def test_the_widest_column_shrinks_first_and_none_below_eight() -> None:
    assert shrink([4, 40, 20], 40) == [4, 18, 18]
    assert shrink([4, 40, 20], 10) == [4, 8, 8]
    assert shrink([1, 2], 40) == [1, 2]


def test_wide_letters_count_double() -> None:
    assert fit("日本語テキスト", 7, "…") == "日本語…"
    assert fit("plain", 5, "…") == "plain"
    assert fit("plain", 4, "~") == "pla~"


def test_control_characters_are_replaced() -> None:
    assert clean("a\x1b[2Jb\nc\u202ed") == "a�[2Jb�c�d"
    assert clean_lines("a\nb\rc") == "a\nb�c"
    assert clean("ü日") == "ü日"


OPTIONS = (Option("-a --all", "x"), Option("--format", "x", kind="choice", choices=("table", "json")))


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], {"all": False, "format": None}),
        (["-a"], {"all": True, "format": None}),
        (["--format=json", "--all"], {"all": True, "format": "json"}),
        (["--format", "table"], {"all": False, "format": "table"}),
        (["--format", "xml"], None),
        (["--format"], None),
        (["--all=yes"], None),
        (["-aa"], None),
        (["x"], None),
        (["--"], None),
        (["--help"], None),
    ],
)
def test_plain_options_are_read_without_click_and_nothing_else_is(
    words: list[str], values: dict[str, object] | None
) -> None:
    assert parse_simple(OPTIONS, words) == values


def test_the_layers_of_a_pull_are_added_up() -> None:
    pull = PullProgress()
    assert pull.text() == "Pulling: asking the registry"
    pull.add({"kind": "pull", "message": "Pulling from aimehub/pytorch"})
    assert pull.text() == "Pulling: Pulling from aimehub/pytorch"
    pull.add({"kind": "pull", "layer": "a", "current_bytes": 1024**2, "total_bytes": 2 * 1024**2})
    pull.add({"kind": "pull", "layer": "b", "current_bytes": 1024**2, "total_bytes": 1024**2})
    pull.add({"kind": "pull", "layer": "c", "message": "Waiting", "current_bytes": None, "total_bytes": None})
    assert pull.text() == "Pulling: 1 of 3 layers, 2M of 3M"
