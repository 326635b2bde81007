"""The reference says everything that the product has: whatever has a name in a registry stands in docs/reference."""

import ast
import json
import re
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from dev import reference
from dev.referencekit import commands
from ds01.api.routes import ROUTES
from ds01.cli.main import build_cli
from ds01.cli.tree import ENTRIES
from ds01.config import read_policy
from ds01.config.json_schema import policy_schema
from ds01.domain.event import EVENTS
from ds01.domain.label import LABELS
from ds01.domain.rules.limit import LIMIT_NAMES
from ds01.domain.rules.policy import BUILT_IN_LIMITS
from ds01.domain.rules.site import Site
from ds01.errors import all_error_classes
from tests.repo.tree import ROOT, modules, shown

REFERENCE = ROOT / "docs" / "reference"


def page(name: str) -> str:
    """Return the text of a page of the reference."""
    return (REFERENCE / name).read_text(encoding="utf-8")


def missing_in(name: str, wanted: Iterable[str]) -> list[str]:
    """Return which of these names do not stand in a page as inline code of their own."""
    text = page(name)
    return [word for word in wanted if f"`{word}`" not in text]


def test_the_generated_tables_are_current() -> None:
    assert list(reference.find_stale_pages()) == [], "run python -m dev.reference"


def test_every_error_is_in_the_reference() -> None:
    assert missing_in("errors.md", (error_class.code for error_class in all_error_classes())) == []


def test_every_exit_status_is_explained() -> None:
    rows = set(re.findall(r"^\| (\d+) \| ", page("errors.md"), re.MULTILINE))
    assert {str(error_class.exit_status) for error_class in all_error_classes()} <= rows


def test_errors_are_defined_in_one_module_only() -> None:
    known = {error_class.__name__ for error_class in all_error_classes()}
    elsewhere = [
        f"{shown(path)}: {node.name}"
        for path in modules("src")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and known & {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    ]
    assert elsewhere == []


def test_every_event_is_in_the_reference() -> None:
    assert missing_in("events.md", EVENTS) == []


def test_every_label_is_in_the_reference() -> None:
    assert missing_in("labels.md", LABELS) == []


def test_every_label_that_the_code_writes_is_in_its_registry() -> None:
    from ds01.domain import label

    prefix = label.PREFIX
    constants = {value for name, value in vars(label).items() if name.isupper() and isinstance(value, str)}
    assert {value for value in constants if value.startswith(prefix)} == set(LABELS)


def test_every_route_is_in_the_reference() -> None:
    assert missing_in("api.md", (f"{route.method} {route.path}" for route in ROUTES)) == []
    assert missing_in("api.md", (parameter.name for route in ROUTES for parameter in route.parameters)) == []


def test_every_error_that_a_route_names_exists() -> None:
    codes = {error_class.code for error_class in all_error_classes()}
    assert {error for route in ROUTES for error in route.errors} <= codes


def test_every_command_is_in_the_reference_with_all_its_spellings() -> None:
    shown_by_help = [" ".join((commands.PROGRAM, *path)) for path, _ in commands.walk(build_cli())]
    assert missing_in("cli.md", shown_by_help) == []
    assert missing_in("cli.md", (name for entry in ENTRIES for name in commands.spellings(entry))) == []


def test_the_guide_on_images_shows_every_command_about_them() -> None:
    text = (ROOT / "docs" / "guide" / "images.md").read_text(encoding="utf-8")
    verbs = [entry.verb for entry in ENTRIES if entry.noun == "image"]
    assert len(verbs) > 5
    assert [verb for verb in verbs if f"ds01 image {verb}" not in text] == []


def test_every_option_of_the_daemon_is_in_the_reference() -> None:
    source = (ROOT / "src" / "ds01" / "daemon" / "main.py").read_text(encoding="utf-8")
    options = re.findall(r"add_argument\(\"(--\w+)\"", source)
    assert {"--socket", "--state", "--config"} <= set(options)
    assert [option for option in options if not re.search(rf"`{option}[ `]", page("cli.md"))] == []


def test_every_command_that_the_readme_shows_exists() -> None:
    typed = re.findall(
        r"(?:^\$ |`)(ds01 [a-z]+(?: [a-z]+)?)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    known = {name for entry in ENTRIES for name in commands.spellings(entry)}
    later = {"ds01 why"}
    assert typed
    assert {line for line in typed if line not in known and " ".join(line.split()[:2]) not in known} - later == set()


def test_every_setting_is_in_the_reference() -> None:
    assert missing_in("config.md", LIMIT_NAMES) == []


def test_the_example_of_the_configuration_is_read_and_has_every_key_with_its_default(tmp_path: Path) -> None:
    example = re.search(r"^```yaml\n(.*?)^```$", page("config.md"), re.DOTALL | re.MULTILINE)
    assert example is not None
    path = tmp_path / "resource-limits.yaml"
    path.write_text(example[1], encoding="utf-8")
    policy = read_policy(path, base=BUILT_IN_LIMITS)
    assert dict(policy.defaults.values) == {name: getattr(BUILT_IN_LIMITS, name) for name in LIMIT_NAMES}
    assert replace(policy.site, origins={}) == Site()
    assert set(policy.site.origins) | {"lifecycle.container_types"} == declared_keys(policy_schema())
    assert not policy.warnings
    assert [group.name for group in policy.groups if group.is_admin] == ["admin"]


def declared_keys(schema: object, path: str = "") -> set[str]:
    """Return the dotted keys of the sections about the site, as the schema for editors has them."""
    assert isinstance(schema, dict)
    found: set[str] = set()
    for key, inner in schema["properties"].items():
        if not path and key not in {item.name for item in fields(Site)}:
            continue
        options = inner.get("anyOf", [inner])
        section = next((option for option in options if "properties" in option), None)
        full = f"{path}{key}"
        found |= declared_keys(section, f"{full}.") if section and key != "container_types" else {full}
    return found


def test_the_schema_for_editors_has_every_key_of_the_example() -> None:
    document = json.loads((REFERENCE / reference.SCHEMA_NAME).read_text(encoding="utf-8"))
    assert document == policy_schema()
    defaults = document["properties"]["defaults"]["anyOf"][0]["properties"]
    assert set(defaults) == {*LIMIT_NAMES, "aggregate"}
    assert defaults["network"] == {"enum": ["own", "host"]}


def test_every_variable_of_the_environment_is_in_the_reference() -> None:
    assert missing_in("environment.md", sorted(variables_used())) == []


def test_every_variable_in_the_reference_is_used() -> None:
    elsewhere = "".join(
        path.read_text(encoding="utf-8")
        for path in (*modules("dev", "tests"), ROOT / "Makefile")
        if path.name != Path(__file__).name
    )
    named = set(re.findall(r"`(DS01_\w+)`", page("environment.md")))
    assert {name for name in named - variables_used() if name not in elsewhere} == set()


def variables_used() -> set[str]:
    """Return the variables `DS01_...` that the product names; labels of that form stand behind a dot."""
    texts = (path.read_text(encoding="utf-8") for path in modules("src"))
    return {name for text in texts for name in re.findall(r"(?<![.\w])DS01_[A-Z_]+\b", text)}


def marked(name: str, content: str) -> str:
    """Return a page with one generated block."""
    return f"Before.\n\n<!-- generated: {name} -->\n{content}\n<!-- end of generated -->\n\nAfter.\n"


def test_writing_a_page_changes_nothing_but_its_block() -> None:
    written = reference.render_page(marked("names", "old"), {"names": lambda: "new"})
    assert written == marked("names", "\nnew\n")
    assert reference.render_page(written, {"names": lambda: "new"}) == written


@pytest.mark.parametrize("text", ["No block.\n", marked("others", ""), marked("names", "") + marked("names", "")])
def test_a_page_with_the_wrong_blocks_is_refused(text: str) -> None:
    with pytest.raises(reference.PageError):
        reference.render_page(text, {"names": lambda: "new"})


def test_a_page_that_was_changed_by_hand_is_found(tmp_path: Path) -> None:
    for name in (*reference.PAGES, reference.SCHEMA_NAME):
        (tmp_path / name).write_text(page(name), encoding="utf-8")
    changed = (tmp_path / "errors.md").read_text(encoding="utf-8").replace("`conflict`", "`conflicts`")
    (tmp_path / "errors.md").write_text(changed, encoding="utf-8")
    assert list(reference.find_stale_pages(tmp_path)) == ["errors.md"]
