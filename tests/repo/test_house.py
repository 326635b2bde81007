"""House rules that no other tool checks: names, sizes, docstrings, leftovers, links, and pages that must be there."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repo.tree import CODE_FOLDERS, ROOT, modules, pages, shown, texts

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
FORBIDDEN_NAMES = frozenset({"util", "utils", "common", "helper", "helpers", "base", "manager", "misc", "core"})
DECISION_HEADINGS = ["Context", "Decision", "Consequences", "Alternatives considered"]

# written in two halves, so that this file does not find itself
LEFTOVERS = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
MACHINE_PATHS = re.compile(r"(?<![\w~.-])/wo" + r"rk/(main|shared|\.)|\.\./sha" + r"red\b|ds01-" + r"brief")

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def find_leftovers(text: str) -> list[str]:
    """Return the lines that say that something is not finished."""
    return [line.strip() for line in text.splitlines() if LEFTOVERS.search(line)]


def find_machine_paths(text: str) -> list[str]:
    """Return the lines that name a path of the machine on which the project was written."""
    return [line.strip() for line in text.splitlines() if MACHINE_PATHS.search(line)]


def find_long_functions(source: str) -> list[str]:
    """Return the functions with more lines than allowed, decorators not counted."""
    return [
        f"{node.name}: {_length(node)} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, FunctionNode) and _length(node) > MAX_FUNCTION_LINES
    ]


def _length(node: FunctionNode) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def find_undocumented(source: str) -> list[str]:
    """Return the public modules, classes and functions without a docstring."""
    tree = ast.parse(source)
    missing = [] if ast.get_docstring(tree) else ["the module itself"]
    return missing + [name for name, node in _public(tree.body, "") if not ast.get_docstring(node)]


def _public(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, FunctionNode | ast.ClassDef]]:
    for node in body:
        if isinstance(node, FunctionNode | ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body, f"{prefix}{node.name}.")


def find_processes(source: str, programs: set[str]) -> list[str]:
    """Return the calls that start one of these programs: by `subprocess`, asyncio or the exec family."""
    starting = re.compile(
        r"(^|\.)(run|call|check_call|check_output|Popen|system|popen|create_subprocess_\w+|exec[lv]\w*|spawn\w+)$"
    )
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [
        ast.unparse(call)
        for call in calls
        if starting.search(ast.unparse(call.func)) and programs & set(_first_words(call))
    ]


def _first_words(call: ast.Call) -> Iterator[str]:
    for argument in call.args[:2]:
        first = argument.elts[0] if isinstance(argument, ast.List | ast.Tuple) and argument.elts else argument
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield from (re.split(r"[-.]", Path(word).name)[0] for word in first.value.split()[:1])


def find_broken_links(page: Path) -> list[str]:
    """Return the relative links of a page that lead nowhere: no such file, or no such heading in it."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        aim = (page.parent / name).resolve() if name else page
        if not aim.exists() or (anchor and anchor not in anchors(aim.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


def anchors(text: str) -> set[str]:
    """Return the anchors that the headings of a page make."""
    headings = re.findall(r"^#+ (.+)$", _without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _without_code(text: str) -> str:
    return re.sub(
        r"```.*?```|`[^`\n]*`",
        lambda match: "" if match[0].startswith("```") else match[0][1:-1],
        text,
        flags=re.DOTALL,
    )


def make_targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def commands_in(page: str) -> set[str]:
    """Return the make targets that a page tells people to run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", text, re.MULTILINE))


def test_no_file_names_a_path_of_one_machine() -> None:
    found = {shown(path): lines for path, text in texts() if (lines := find_machine_paths(text))}
    assert found == {}


def test_no_file_says_that_something_is_left_to_do() -> None:
    quoting = {"docs/reference/seeds.md", "tests/repo/test_seeds.py"}  # the design documents call their sections so
    found = {
        shown(path): lines for path, text in texts() if shown(path) not in quoting and (lines := find_leftovers(text))
    }
    assert found == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    parts = {shown(path): set(path.relative_to(ROOT).with_suffix("").parts) for path in modules(*CODE_FOLDERS)}
    assert [name for name, found in parts.items() if found & FORBIDDEN_NAMES] == []


def test_no_module_is_longer_than_four_hundred_lines() -> None:
    lengths = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules(*CODE_FOLDERS)}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_MODULE_LINES} == {}


def test_no_function_is_longer_than_sixty_lines() -> None:
    found = {shown(path): find_long_functions(path.read_text(encoding="utf-8")) for path in modules(*CODE_FOLDERS)}
    assert {name: functions for name, functions in found.items() if functions} == {}


def test_everything_public_in_the_product_is_documented() -> None:
    found = {shown(path): find_undocumented(path.read_text(encoding="utf-8")) for path in modules("src")}
    assert {name: missing for name, missing in found.items() if missing} == {}


def test_no_process_of_docker_or_mlc_is_ever_started() -> None:
    found = {
        shown(path): find_processes(path.read_text(encoding="utf-8"), {"docker", "mlc"}) for path in modules("src")
    }
    assert {name: calls for name, calls in found.items() if calls} == {}


def test_every_relative_link_leads_somewhere() -> None:
    found = {shown(page): find_broken_links(page) for page in pages()}
    assert {name: links for name, links in found.items() if links} == {}


def test_every_decision_has_its_four_headings_and_fits_on_a_page() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").iterdir())
    assert [page.name[:5] for page in decisions] == [f"{number:04}-" for number in range(1, len(decisions) + 1)]
    for page in decisions:
        text = page.read_text(encoding="utf-8")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == DECISION_HEADINGS, page.name
        assert text.startswith(f"# {page.name[:4]}. "), page.name
        assert len(text.splitlines()) <= 70, page.name


def test_the_changelog_has_an_unreleased_section_with_something_in_it() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[Unreleased\]\n\n### \w+\n\n- ", text, re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_of_a_page_exists(page: str) -> None:
    assert commands_in(page) - make_targets() == set()


def test_the_readme_names_its_two_commands() -> None:
    assert {"demo", "test"} <= commands_in("README.md")


def test_the_table_of_chosen_parts_lists_what_the_project_depends_on_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {
        re.split(r"[<>=!~ ]", text)[0]
        for text in [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    }
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Chosen parts")[2]
    cells = " ".join(line.split("|")[2] for line in text.splitlines() if line.startswith("| ") and line.count("|") == 5)
    assert {name for name in wanted if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", cells)} == set()
    later = {"textual", "prometheus-client", "dbus-fast"}
    assert {name for name in later - wanted if name in cells} == set()


def test_the_checks_find_what_they_look_for(tmp_path: Path) -> None:
    assert find_leftovers("x = 1  # TO" + "DO later\ny = 2\n") == ["x = 1  # TO" + "DO later"]
    assert find_leftovers("mktemp ds01.XX" + "XXXX") == []
    assert find_machine_paths("see /wo" + "rk/main/x\nsee ~/work/main\n") == ["see /wo" + "rk/main/x"]
    assert find_long_functions("def f():\n" + "    x = 1\n" * 60) == ["f: 61 lines"]
    assert find_long_functions("def f():\n" + "    x = 1\n" * 59) == []
    assert find_undocumented("class A:\n    def f(self): ...\n    def _g(self): ...\n") == [
        "the module itself",
        "A",
        "A.f",
    ]
    started = "subprocess.run(['docker', 'ps'])\nos.system('mlc-create x')\nrun(['git', 'docker'])\nlog('docker', 1)\n"
    assert find_processes(started, {"docker", "mlc"}) == [
        "subprocess.run(['docker', 'ps'])",
        "os.system('mlc-create x')",
    ]
    (tmp_path / "other.md").write_text("# A heading, of `two` words\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#a-heading-of-two-words) [c](none.md) [d](other.md#none) "
        "[e](https://x.org) [f](#here)\n",
        encoding="utf-8",
    )
    assert find_broken_links(page) == ["none.md", "other.md#none", "#here"]
