"""`make bench`: measure every row, or one; exit with 1 if a gate fails."""

import argparse
import importlib
import sys
from pathlib import Path

from tests.bench.figure import Figure

ROWS = {
    1: "tests.bench.row01_mig_orders",
    2: "tests.bench.row02_mig_churn",
    3: "tests.bench.row03_jobs",
    4: "tests.bench.row04_promises",
    5: "tests.bench.row05_list",
    7: "tests.bench.row07_store",
    8: "tests.bench.row08_pass",
    9: "tests.bench.row09_freed",
    10: "tests.bench.row10_create",
    12: "tests.bench.row12_crash",
    14: "tests.bench.row14_recipes",
}


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--row", type=int, choices=sorted(ROWS), help="only this row")
    parser.add_argument("--json", metavar="FILE", help="write one JSON object a row; 1 or - prints them")
    options = parser.parse_args()
    figures: list[Figure] = []
    for number in [options.row] if options.row else sorted(ROWS):
        figures += importlib.import_module(ROWS[number]).measure()
    lines = [figure.json() for figure in figures]
    if options.json in {"1", "-"}:
        sys.stdout.write("\n".join(lines) + "\n")
    else:
        sys.stdout.write("\n".join(figure.line() for figure in figures) + "\n")
    if options.json and options.json not in {"1", "-"}:
        Path(options.json).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(any(figure.verdict == "FAILED" for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
