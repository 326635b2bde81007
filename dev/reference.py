"""Write the generated tables of docs/reference from the product's registries, or check that they are current.

    python -m dev.reference           writes
    python -m dev.reference --check   exits 1 and names the pages that are stale

Everything outside the markers is written by hand and stays.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from dev.referencekit import commands, settings, tables, wire
from ds01.config.json_schema import policy_schema

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
SCHEMA_NAME = "resource-limits.schema.json"
BLOCK = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end of generated -->)", re.DOTALL)

Block = Callable[[], str]

PAGES: Mapping[str, Mapping[str, Block]] = {
    "api.md": {"routes": wire.route_table, "parameters": wire.parameter_table, "documents": wire.document_tables},
    "cli.md": {"commands": commands.command_table, "details": commands.command_sections},
    "config.md": {"limits": tables.limit_table, "site": settings.site_table, "renamed": settings.renamed_table},
    "errors.md": {"errors": tables.error_table},
    "events.md": {"events": tables.event_table},
    "labels.md": {"labels": tables.label_table},
}


class PageError(Exception):
    """A page does not have the markers that its generated blocks need."""


def render_page(text: str, blocks: Mapping[str, Block]) -> str:
    """Return the page with every block made anew.

    Raises:
        PageError: A block has no markers in the page, or the page has markers of an unknown block.
    """
    found = [match["name"] for match in BLOCK.finditer(text)]
    if sorted(found) != sorted(blocks):
        raise PageError(f"has blocks {sorted(found)} instead of {sorted(blocks)}")
    return BLOCK.sub(lambda match: f"{match[1]}\n{blocks[match['name']]()}\n\n{match[3]}", text)


def find_stale_pages(folder: Path = FOLDER) -> dict[str, str]:
    """Return what the pages that are not current should say, by file name."""
    stale: dict[str, str] = {}
    schema = json.dumps(policy_schema(), indent=2, sort_keys=True) + "\n"
    path = folder / SCHEMA_NAME
    if not path.exists() or path.read_text(encoding="utf-8") != schema:
        stale[SCHEMA_NAME] = schema
    for name, blocks in PAGES.items():
        text = (folder / name).read_text(encoding="utf-8")
        rendered = render_page(text, blocks)
        if rendered != text:
            stale[name] = rendered
    return stale


def main() -> int:
    """Write or check the pages and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dev.reference", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a page is stale")
    options = parser.parse_args()
    stale = find_stale_pages()
    for name, text in stale.items():
        if options.check:
            print(f"docs/reference/{name} is stale: run python -m dev.reference", file=sys.stderr)
        else:
            (FOLDER / name).write_text(text, encoding="utf-8")
            print(f"docs/reference/{name} written")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
