"""The index of the seeds is complete, readable by programs, and honest: what is done has a test that exists."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "docs" / "reference" / "seeds.md"

COLUMNS = ("id", "seed", "ours", "decision", "part", "status", "test")
STATUSES = ("done", "planned")
PARTS = range(1, 12)
NO_TEST = "-"

DOCUMENTS = (
    "MLC Code Usage Audit: AIME mlc.py vs DS01 mlc-patched.py",
    "AIME Framework v2 - Complete Audit",
    "DS01 + AIME v2 Integration - TODO List",
    "mlc-patched.py - Custom Image Support Strategy",
    "DS01 Infrastructure Layer - Complete Audit",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the index: a thing the seeds ask for, and what became of it."""

    line: int
    document: str
    cells: tuple[str, ...]

    @property
    def seed_id(self) -> str:
        """The row's stable id."""
        return self.cells[0]

    def cell(self, column: str) -> str:
        """Return the text of a column; only for rows that have all columns."""
        return self.cells[COLUMNS.index(column)]


def parse_index(text: str) -> list[Row]:
    """Return every row whose first cell looks like an id, under the document that it stands in."""
    rows: list[Row] = []
    document = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("## "):
            document = line[3:].strip()
        elif re.match(r"\|\s*S\w*\d", line):
            inner = line.strip().removeprefix("|").removesuffix("|")
            rows.append(Row(number, document, tuple(cell.strip() for cell in inner.split("|"))))
    return rows


def find_problems(rows: list[Row], root: Path) -> list[str]:
    """Return one sentence for each thing that is wrong with the rows; `root` is where test paths start."""
    problems = [
        f"{name} stands in {count} rows" for name, count in Counter(r.seed_id for r in rows).items() if count > 1
    ]
    for row in rows:
        problems.extend(f"line {row.line}, {row.seed_id}: {problem}" for problem in _row_problems(row, root))
    return problems


def _row_problems(row: Row, root: Path) -> Iterator[str]:
    if len(row.cells) != len(COLUMNS):
        yield f"{len(row.cells)} columns instead of {len(COLUMNS)}"
        return
    yield from (f"column {column} is empty" for column in COLUMNS if not row.cell(column))
    if not re.fullmatch(r"S\d{4}", row.seed_id):
        yield "the id is not S and four digits"
    if not re.fullmatch(r"kept(: .+)?|changed: .+|dropped: .+", row.cell("decision")):
        yield f"decision {row.cell('decision')!r} is not kept, changed: why or dropped: why"
    if row.cell("part") not in {str(part) for part in PARTS}:
        yield f"there is no part {row.cell('part')!r}"
    if row.cell("status") not in STATUSES:
        yield f"unknown status {row.cell('status')!r}"
    if row.cell("status") == "done" and row.cell("test") == NO_TEST:
        yield "is done, but has no test"
    if row.cell("test") not in {"", NO_TEST}:
        yield from _test_problems(row.cell("test"), root)


def _test_problems(cell: str, root: Path) -> Iterator[str]:
    for reference in (part.strip().strip("`") for part in cell.split(",")):
        path, separator, name = reference.partition("::")
        if not separator:
            yield f"test {reference!r} is not path::name"
        elif not (root / path).is_file():
            yield f"test file {path} does not exist"
        elif name not in names_of_tests((root / path).read_text(encoding="utf-8")):
            yield f"there is no test {name} in {path}"


def names_of_tests(source: str) -> set[str]:
    """Return the names of the tests in a file: functions, and methods as Class::method."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{name}" for name in _test_functions(node.body)}
    return names | _test_functions(ast.parse(source).body)


def _test_functions(statements: list[ast.stmt]) -> set[str]:
    functions = (node for node in statements if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


GOOD = "| S0001 | `mlc open` | `ds01 open` | kept | 1 | planned | - |"


def problems_of(*lines: str, root: Path = ROOT) -> str:
    """Return the problems of an index with these rows, as one text."""
    return "\n".join(find_problems(parse_index("\n".join(("## A document", *lines))), root))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with one test file in it."""
    source = (
        "def test_it_opens():\n    assert True\n\nclass TestList:\n    async def test_it_lists(self):\n        pass\n"
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_open.py").write_text(source, encoding="utf-8")
    return tmp_path


def test_every_row_of_the_index_is_sound() -> None:
    assert find_problems(parse_index(INDEX.read_text(encoding="utf-8")), ROOT) == []


def test_the_index_covers_all_five_documents() -> None:
    rows = parse_index(INDEX.read_text(encoding="utf-8"))
    assert tuple(dict.fromkeys(row.document for row in rows)) == DOCUMENTS


def test_every_line_of_a_table_is_either_a_head_or_a_row() -> None:
    text = INDEX.read_text(encoding="utf-8").partition(f"## {DOCUMENTS[0]}")[2]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {"| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)}
    assert [line for line in lines if line not in heads and not re.match(r"\| S\d{4} \|", line)] == []


def test_a_sound_row_has_no_problem() -> None:
    assert problems_of(GOOD) == ""


def test_a_row_that_is_done_without_a_test_is_found() -> None:
    assert "S0001: is done, but has no test" in problems_of(GOOD.replace("planned", "done"))


def test_a_test_that_exists_is_accepted(tree: Path) -> None:
    done = GOOD.replace(
        "planned | -", "done | tests/test_open.py::test_it_opens, `tests/test_open.py::TestList::test_it_lists`"
    )
    assert problems_of(done, root=tree) == ""


def test_a_test_file_that_does_not_exist_is_found(tree: Path) -> None:
    done = GOOD.replace("planned | -", "done | tests/test_close.py::test_it_opens")
    assert "test file tests/test_close.py does not exist" in problems_of(done, root=tree)


def test_a_test_function_that_does_not_exist_is_found(tree: Path) -> None:
    done = GOOD.replace("planned | -", "done | tests/test_open.py::test_it_closes")
    assert "there is no test test_it_closes in tests/test_open.py" in problems_of(done, root=tree)


def test_a_test_named_without_a_function_is_found(tree: Path) -> None:
    done = GOOD.replace("planned | -", "done | tests/test_open.py")
    assert "is not path::name" in problems_of(done, root=tree)


def test_a_wrong_test_is_found_on_a_planned_row_too(tree: Path) -> None:
    planned = GOOD.replace("planned | -", "planned | tests/test_close.py::test_it_opens")
    assert "test file tests/test_close.py does not exist" in problems_of(planned, root=tree)


def test_an_unknown_status_is_found() -> None:
    assert "unknown status 'soon'" in problems_of(GOOD.replace("planned", "soon"))


def test_an_id_that_stands_twice_is_found() -> None:
    assert "S0001 stands in 2 rows" in problems_of(GOOD, GOOD)


def test_a_missing_column_is_found() -> None:
    assert "6 columns instead of 7" in problems_of(GOOD.replace(" kept |", ""))


def test_a_pipe_within_a_cell_is_found() -> None:
    assert "8 columns instead of 7" in problems_of(GOOD.replace("mlc open", "mlc open | cat"))


def test_an_empty_cell_is_found() -> None:
    assert "column ours is empty" in problems_of(GOOD.replace("`ds01 open`", " "))


def test_a_decision_without_a_reason_is_found() -> None:
    assert "decision 'dropped'" in problems_of(GOOD.replace("kept", "dropped"))


def test_a_part_that_does_not_exist_is_found() -> None:
    assert "there is no part '12'" in problems_of(GOOD.replace("| 1 |", "| 12 |"))


def test_an_id_of_another_form_is_found() -> None:
    assert "the id is not S and four digits" in problems_of(GOOD.replace("S0001", "S1"))
