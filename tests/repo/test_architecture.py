"""What the architecture rests on: imports point down, and no program of others is copied into the repository."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ds01.cli.tree import ENTRIES
from tests.repo.tree import ROOT, files, modules

PREDECESSORS = {"mlc.py", "mlc-patched.py", "mlc-create-wrapper.sh", "get_resource_limits.py", "gpu_allocator.py"}


def test_every_import_points_down() -> None:
    # in a process of its own: it silences every logger there is, and tests after it listen to some
    program = Path(sys.executable).with_name("lint-imports")
    command = [str(program), "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


LEAST_STATEMENTS = 4
"""A body that is shorter says little: two may be alike by chance."""


def find_copies(sources: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the places of functions that have the same body; `sources` are names and texts."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, text in sources:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "__init__":
                body = node.body[1:] if ast.get_docstring(node) else node.body
                if sum(isinstance(part, ast.stmt) for stated in body for part in ast.walk(stated)) >= LEAST_STATEMENTS:
                    found[ast.dump(ast.Module(body, []))].append(f"{name}: {node.name}")
    return [places for places in found.values() if len(places) > 1]


def test_no_function_of_the_product_is_written_twice() -> None:
    sources = ((str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in modules("src"))
    assert find_copies(sources) == []


def test_a_function_that_is_written_twice_is_found() -> None:
    body = "    a = x\n    b = a\n    c = b\n    return c\n"
    twice = [("one.py", f"def f(x):\n{body}"), ("two.py", f'async def g(x):\n    """Says."""\n{body}')]
    assert find_copies(twice) == [["one.py: f", "two.py: g"]]
    assert find_copies([*twice[:1], ("two.py", "def g(x):\n    return x\n")]) == []


ENTANGLED = {
    "image": ("creation", "wizard", "draft", "basis"),
    "container": ("creation", "wizard", "request", "gpu_question"),
}
"""What `image create` and `container create` consist of."""


def test_making_an_image_and_making_a_container_know_nothing_of_each_other() -> None:
    for noun, names in ENTANGLED.items():
        (other,) = set(ENTANGLED) - {noun}
        for name in names:
            text = (ROOT / "src" / "ds01" / "cli" / "commands" / noun / f"{name}.py").read_text(encoding="utf-8")
            nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
            imported = [node.module or "" for node in nodes]
            assert f"ds01.cli.commands.{other}" not in {".".join(module.split(".")[:4]) for module in imported}, name


def test_every_command_stands_in_a_module_of_its_noun() -> None:
    homes = {noun: {entry.module for entry in ENTRIES if entry.noun == noun} for noun in ENTANGLED}
    homes["image"].remove("container.saving")  # one `save` under both nouns
    for noun, found in homes.items():
        assert found
        assert {module for module in found if not module.startswith(f"{noun}.")} == set(), noun


FRAMEWORKS = {"torch", "tensorflow", "jax"}


def test_neither_the_product_nor_its_tests_need_a_framework() -> None:
    for path in modules("src", "dev", "tests"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not FRAMEWORKS & {name.partition(".")[0] for name in names}, path


def test_no_program_of_the_predecessors_is_copied_or_drawn_in() -> None:
    assert not (ROOT / ".gitmodules").exists()
    assert [path for path in files() if path.name in PREDECESSORS] == []
    assert [path for path in files() if path.name == "ml_images.repo"] == []
