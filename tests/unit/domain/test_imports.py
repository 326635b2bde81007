"""What people import: requirements files, environments of conda, projects. Each problem says its line and the fix."""

from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from ds01.domain.images.conda_package import CondaPackages
from ds01.domain.images.environment_file import Path, import_environment
from ds01.domain.images.import_text import Import, decode_text, require_whole
from ds01.domain.images.project_file import import_project
from ds01.domain.images.recipe import ImageRecipe, RequirementsFile
from ds01.domain.images.requirements_file import import_requirements
from ds01.errors import InvalidRequestError
from tests.unit.domain.recipes import file_lines

HASH = "sha256:" + "0f" * 32
OTHER = "sha512:" + "a1" * 64


def read(text: str, files: Mapping[str, str] | None = None) -> Import:
    return import_requirements(text, "requirements.txt", (files or {}).get)


def environment(document: Mapping[str, object], files: Mapping[str, str] | None = None) -> Import:
    lines: dict[Path, int] = {("dependencies", 0): 4, ("dependencies", 1): 5, ("dependencies", 1, "pip", 0): 6}
    return import_environment(document, "environment.yml", lines.get, (files or {}).get)


@given(st.lists(file_lines, max_size=6))
def test_lines_are_read_and_make_a_recipe(lines: list[str]) -> None:
    found = read("\n".join(lines))
    assert found.problems == ()
    if found.lines:
        recipe = ImageRecipe("a", requirements=RequirementsFile(found.lines))
        assert recipe.requirements is not None
        assert recipe.requirements.lines == found.lines
        assert read("\n".join(found.lines)).lines == found.lines


def test_a_file_is_read_as_pip_reads_it() -> None:
    text = (
        "\ufeff# made by hand\r\n--index-url https://x.org/simple  # ours\r\n\r\nnumpy>=1.26 # fast\r\n"
        f"six==1.16 \\\r\n    --hash={HASH} \\\r\n    --hash {OTHER}\r\n"
        'tomli; python_version < "3.11"\r\n-f https://x.org/files\r\n--pre\r\n'
        "foo @ https://x.org/foo.whl#sha256=00\r\n"
        "git+https://x.org/bar.git#egg=bar\r\n-e git+https://x.org/baz.git@v1#egg=baz\r\n"
    )
    found = read(text)
    assert found.problems == ()
    assert found.lines == (
        "--index-url https://x.org/simple",
        "numpy>=1.26",
        f"six==1.16 --hash={HASH} --hash={OTHER}",
        'tomli; python_version < "3.11"',
        "--find-links https://x.org/files",
        "--pre",
        "foo @ https://x.org/foo.whl#sha256=00",
        "bar @ git+https://x.org/bar.git",
        "baz @ git+https://x.org/baz.git@v1",
    )
    assert [note.place for note in found.notes] == ["requirements.txt:13"]
    assert [package.key for package in found.packages] == ["numpy", "six", "tomli", "foo", "bar", "baz"]


def test_other_files_are_included_and_constraints_only_bind() -> None:
    files = {
        "more/base.txt": "pandas\n-r deep.txt\n-c limits.txt\n",
        "more/deep.txt": "scipy\n",
        "more/limits.txt": "urllib3<2\n--pre\n",
    }
    found = read("-r more/base.txt\n--constraint=more/limits.txt\nnumpy\n", files)
    assert found.lines == ("pandas", "scipy", "numpy")
    assert found.constraints == ("urllib3<2",)
    assert found.problems == ()
    nested = read("-c limits.txt", {"limits.txt": "-r more.txt\n", "more.txt": "numpy<2\n"})
    assert (nested.lines, nested.constraints) == ((), ("numpy<2",))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("numpy; rm -rf /", "not a package"),
        ("-r gone.txt", "no file"),
        ("-r https://x.org/r.txt", "fetched anew"),
        ("-e .", "folder of yours"),
        ("./local", "sees none"),
        ("numpy @ file:///croot/numpy", "URL"),
        ("pandas=1", "not a package"),
        ("--trusted-host a b", "not an option"),
        ("--index-url file:///x", "URL"),
        ("--extra-index-url https://me:pw@x.org/", "password"),
        ("--unknown", "not an option"),
        ("six==1 --hash=md5:00", "not a hash"),
        ("six --global-option=x", "--global-option"),
        ("-r requirements.txt", "includes itself"),
    ],
)
def test_what_cannot_be_taken_is_said_with_its_line(line: str, word: str) -> None:
    found = read(f"numpy\n\n# c\n{line}\nscipy\n")
    assert found.lines == ("numpy", "scipy")
    (problem,) = found.problems
    assert problem.place == "requirements.txt:4"
    assert word in problem.problem
    assert problem.hint
    with pytest.raises(InvalidRequestError, match=r"requirements\.txt:4"):
        require_whole(found, "requirements.txt")


def test_files_that_include_each_other_end() -> None:
    found = read("-r a.txt\nnumpy\n", {"a.txt": "-r b.txt\nscipy\n", "b.txt": "-r a.txt\n"})
    assert found.lines == ("scipy", "numpy")
    assert [problem.place for problem in found.problems] == ["b.txt:1"]


def test_a_file_of_another_kind_is_too_long() -> None:
    found = read("numpy\n" * 10_001)
    assert "more than" in found.problems[-1].problem


def test_text_is_decoded_as_editors_save_it() -> None:
    assert decode_text("\ufeffé".encode(), "r") == "é"
    assert decode_text("numpy\r\n".encode("utf-16"), "r") == "numpy\r\n"
    for raw, word in ((b"a\n\xff", "r:2"), (b"a\0", "not a text"), (b"a" * 5_000_000, "4 MiB")):
        with pytest.raises(InvalidRequestError, match=word):
            decode_text(raw, "r")


def test_an_environment_is_split_between_conda_and_pip() -> None:
    found = environment(
        {
            "name": "thesis",
            "channels": ["conda-forge", "nodefaults"],
            "dependencies": ["python=3.11", "pip", "gdal >=3.8", {"pip": ["rich>=13", "-r more.txt", "--pre"]}],
            "variables": {"MODE": "fast", "LEVEL": 3},
            "prefix": "/home/bob/miniconda3/envs/thesis",
        },
        {"more.txt": "polars\n"},
    )
    assert found.conda == CondaPackages(("gdal>=3.8",), ("conda-forge", "nodefaults"))
    assert found.lines == ("rich>=13", "polars", "--pre")
    assert found.env == (("MODE", "fast"), ("LEVEL", "3"))
    assert found.problems == ()
    assert [note.problem.partition(" ")[0] for note in found.notes] == ["python=3.11", "pip"]


@pytest.mark.parametrize(
    ("document", "place", "word"),
    [
        ({"dependencies": ["a b c d"]}, "environment.yml:4", "not a package of conda"),
        ({"dependencies": ["a", {"pip": ["x y!"]}]}, "environment.yml:6", "not a package for pip"),
        ({"dependencies": ["a", {"npm": ["x"]}]}, "environment.yml:5", "npm"),
        ({"dependencies": {"a": 1}}, "environment.yml", "not a list"),
        ({"dependencies": ["a", {"pip": "x"}]}, "environment.yml", "not a list"),
        ({"dependencies": [None]}, "environment.yml:4", "not a text"),
        ({"dependencies": [True]}, "environment.yml:4", "not a text"),
        ({"channels": ["$x"]}, "environment.yml", "not a channel"),
        ({"variables": {"A B": "x"}}, "environment.yml", "not a name"),
        ({"variables": {"A": "x\ny"}}, "environment.yml", "line break"),
        ({"variables": ["x"]}, "environment.yml", "not a set"),
        ({"packages": []}, "environment.yml", "not a key"),
    ],
)
def test_what_no_environment_says_is_named(document: Mapping[str, object], place: str, word: str) -> None:
    (problem,) = environment(document).problems
    assert problem.place == place
    assert word in problem.problem


PROJECT = """\
[project]
name = "x"
requires-python = ">=3.11"
dependencies = [
    "numpy>=1.26",
    "torch",
]

[project.optional-dependencies]
Plots = ["matplotlib"]

[dependency-groups]
dev = ["pytest", {include-group = "lint"}]
lint = ["ruff"]
"""


def test_a_project_gives_its_dependencies_extras_and_groups() -> None:
    assert import_project(PROJECT, "pyproject.toml").lines == ("numpy>=1.26", "torch")
    found = import_project(PROJECT.replace("\n", "\r\n"), "pyproject.toml", extras=["plots"], groups=["dev"])
    assert found.lines == ("numpy>=1.26", "torch", "matplotlib", "pytest", "ruff")
    assert [note.place for note in found.notes] == ["pyproject.toml:3"]
    for changes in ({"extras": ["x"]}, {"groups": ["x"]}):
        with pytest.raises(InvalidRequestError, match="has no"):
            import_project(PROJECT, "pyproject.toml", **changes)


def test_problems_of_a_project_say_their_line() -> None:
    found = import_project(PROJECT.replace('"torch"', '"torch 2"'), "pyproject.toml")
    assert [(problem.place, problem.hint) for problem in found.problems] == [("pyproject.toml:6", "Write: torch==2")]
    dynamic = import_project('[project]\nname = "x"\ndynamic = ["dependencies"]\n', "pyproject.toml")
    assert [problem.place for problem in dynamic.problems] == ["pyproject.toml:3"]
    odd = import_project('[project]\ndependencies = "numpy"\n', "pyproject.toml")
    assert "not a list" in odd.problems[0].problem
    loop = import_project('[dependency-groups]\na = [{include-group = "a"}]\n', "pyproject.toml", groups=["a"])
    assert "includes itself" in loop.problems[0].problem
    for text in ("[project\n", "a = " + "9" * 5000, "a = " + "[" * 5000):
        with pytest.raises(InvalidRequestError, match=r"pyproject\.toml"):
            import_project(text, "pyproject.toml")


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ('"^1.2.3"', "a<2,>=1.2.3"),
        ('"^0.2"', "a<0.3,>=0.2"),
        ('"^0.0.3"', "a<0.0.4,>=0.0.3"),
        ('"^0"', "a<1,>=0"),
        ('"~1.2"', "a<1.3,>=1.2"),
        ('"~1"', "a<2,>=1"),
        ('"~=1.2"', "a~=1.2"),
        ('"*"', "a"),
        ('"1.2"', "a==1.2"),
        ('">=1,<2"', "a<2,>=1"),
        ('{version = "^2", extras = ["b"], markers = "python_version < \'4\'"}', 'a[b]<3,>=2; python_version < "4"'),
        ('{git = "https://x.org/a.git", tag = "v1"}', "a @ git+https://x.org/a.git@v1"),
    ],
)
def test_bounds_of_poetry_become_those_of_pip(wanted: str, line: str) -> None:
    text = f'[tool.poetry.dependencies]\npython = "^3.11"\na = {wanted}\n'
    found = import_project(text, "pyproject.toml")
    assert (found.problems, found.lines) == ((), (line,))


@pytest.mark.parametrize("wanted", ['{path = "../a"}', '"^1 || ^2"', "3"])
def test_what_only_poetry_can_do_is_named(wanted: str) -> None:
    found = import_project(f"[tool.poetry.dependencies]\na = {wanted}\n", "pyproject.toml")
    assert [problem.place for problem in found.problems] == ["pyproject.toml:2"]


@given(st.text(max_size=80))
def test_no_text_breaks_a_reader(text: str) -> None:
    read(text)
    environment({text: text, "dependencies": [text], "channels": [text], "variables": {text: text}})
    with suppress(InvalidRequestError):
        import_project(text, "pyproject.toml")
