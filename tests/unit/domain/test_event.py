"""The registry of events, and that the services keep to it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ds01
from ds01.domain.event import EVENTS, Event, names_matching
from ds01.errors import InvalidRequestError
from tests.unit.domain.machines import START

SOURCES = Path(ds01.__file__).parent
MODULES = sorted([*(SOURCES / "service").glob("*.py"), *(SOURCES / "daemon").rglob("*.py")])


def test_an_event_has_only_the_fields_of_its_kind() -> None:
    Event("policy.changed", START, details={"source": "x"})
    with pytest.raises(ValueError, match=r"policy\.changed has no field sauce"):
        Event("policy.changed", START, details={"sauce": "x"})
    with pytest.raises(KeyError):
        Event("policy.changd", START)


def test_names_are_a_noun_and_a_verb_and_everything_is_said() -> None:
    for name, kind in EVENTS.items():
        assert name == kind.name
        assert name.count(".") == 1
        assert kind.meaning.endswith(".")
        assert len(set(kind.fields)) == len(kind.fields)


def calls(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, ast.Call]]:
    """Yield every call that makes an event with a constant name, with the function it stands in."""
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "").lower().endswith("event") and node.args:
                    yield function, node


def details_of(call: ast.Call) -> ast.expr | None:
    """Return what is given as details: by keyword, or as the last of four arguments of a local `_event`."""
    named = next((keyword.value for keyword in call.keywords if keyword.arg == "details"), None)
    return named if named is not None or len(call.args) < 4 else call.args[3]


def keys_of(value: ast.expr, function: ast.AST) -> Iterator[str]:
    """Yield the keys of a literal, or of the literal that a local name stands for."""
    if isinstance(value, ast.Dict):
        for key, item in zip(value.keys, value.values, strict=True):
            if key is None:
                yield from keys_of(item, function)
            elif isinstance(key, ast.Constant):
                yield str(key.value)
    elif isinstance(value, ast.Name):
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == value.id for target in node.targets):
                yield from keys_of(node.value, function)


def test_every_event_of_the_services_is_registered_with_its_fields() -> None:
    used: set[str] = set()
    for module in MODULES:
        for function, call in calls(ast.parse(module.read_text(encoding="utf-8"))):
            name = call.args[0]
            if not isinstance(name, ast.Constant):
                continue
            where = f"{module.name}:{call.lineno}"
            assert name.value in EVENTS, where
            used.add(str(name.value))
            details = details_of(call)
            unknown = set(keys_of(details, function) if details is not None else ()) - set(
                EVENTS[str(name.value)].fields
            )
            assert not unknown, f"{where}: {name.value!r} has no {unknown}"
    assert len(used) >= 8  # the search finds something


def test_a_pattern_means_a_kind_or_all_that_begin_so() -> None:
    assert names_matching("policy.changed") == {"policy.changed"}
    assert names_matching("policy.*") == {"policy.changed", "policy.rejected"}
    assert names_matching("*") == EVENTS.keys()


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [("container.creatd", "container.created?"), ("policy", "policy.*?"), ("", "policy.*"), ("%.x*", "policy.*")],
)
def test_a_pattern_that_means_nothing_is_refused_with_what_was_meant(pattern: str, hint: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        names_matching(pattern)
    assert hint in (refusal.value.hint or "")
