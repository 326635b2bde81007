"""The table of who works inside what is what the end-to-end suite runs: no more, no less."""

from tests.e2e.people import BASES, matrix_table
from tests.repo.tree import ROOT


def test_the_user_matrix_is_the_one_that_the_suite_runs() -> None:
    text = (ROOT / "docs/reference/user-matrix.md").read_text(encoding="utf-8")
    written = [line for line in text.splitlines() if line.startswith("|")]
    described = ["| base | what it is |", "| --- | --- |", *(f"| {base.name} | {base.what} |" for base in BASES)]
    assert written == [*described, *matrix_table()]
