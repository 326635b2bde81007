"""YAML files of the caller's own."""

import pytest
from hypothesis import given, strategies as st

from ds01.cli.yaml_file import parse_yaml
from ds01.domain.images.environment_file import import_environment
from ds01.errors import InvalidRequestError

ENVIRONMENT = """\
# made by conda env export
name: thesis
channels:
  - conda-forge
dependencies:
  - gdal=3.8
  - not a package at all
  - pip:
      - rich
      - "numpy; rm -rf /"
variables:
  OK: 1
  NOT OK: 2
"""


def test_problems_of_an_environment_say_their_line() -> None:
    document, line_of = parse_yaml(ENVIRONMENT, "environment.yml")
    found = import_environment(document, "environment.yml", line_of, lambda _: None)
    assert (found.conda.specs, found.lines, found.env) == (("gdal=3.8",), ("rich",), (("OK", "1"),))
    assert sorted(problem.place for problem in found.problems) == [
        "environment.yml:10",
        "environment.yml:13",
        "environment.yml:7",
    ]


def test_windows_line_ends_and_an_empty_file_are_fine() -> None:
    document, line_of = parse_yaml("\ufeffname: x\r\ndependencies:\r\n- a\r\n", "e.yml")
    assert (document["dependencies"], line_of(("dependencies", 0))) == (["a"], 3)
    assert line_of(("gone", 1)) is None
    assert dict(parse_yaml("# nothing\n", "e.yml")[0]) == {}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1", "e.yml:1"),
        ("a: 1\na: 2\n", "e.yml:2"),
        ("- a\n", "e.yml:1"),
        ("text", "e.yml:1"),
        ("a:\n\t- b\n", "e.yml:2"),
        ("a: !!timestamp x\n", "e.yml"),
        ("? a: {b: 1}\n", "e.yml"),
        ("a: !!set b\n", "e.yml"),
        ("[" * 300, "e.yml"),
        ("#" * 1_100_000, "e.yml"),
    ],
)
def test_what_is_no_set_of_keys_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_yaml(text, "e.yml")
    assert caught.value.message.startswith(place)
    assert caught.value.hint


def test_nothing_in_a_file_is_run() -> None:
    document, line_of = parse_yaml("dependencies: [!!python/object/apply:os.system ['exit 9']]\n", "e.yml")
    found = import_environment(document, "e.yml", line_of, lambda _: None)
    assert [problem.place for problem in found.problems] == ["e.yml:1"]


@given(st.text("ab:-[]{}'\"\n #&*!|>%@\t", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        document, line_of = parse_yaml(text, "e.yml")
    except InvalidRequestError:
        return
    import_environment(document, "e.yml", line_of, lambda _: None)
