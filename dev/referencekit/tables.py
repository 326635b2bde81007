"""Markdown tables, and the pages with registries of their own: errors, events, labels, limits."""

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import timedelta

from ds01.domain.event import EVENTS
from ds01.domain.label import LABELS
from ds01.domain.rules.limit import Limits
from ds01.domain.rules.policy import BUILT_IN_LIMITS, PERSONAL_LIMITS
from ds01.errors import Ds01Error, all_error_classes
from ds01.units import format_size_exact

NONE = "-"


def format_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table. A pipe in a cell is escaped, a line break becomes a blank."""
    heads = list(columns)
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines.extend("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows)
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|") or NONE


def code(text: str) -> str:
    """Return the text as inline code, or the sign for nothing."""
    return f"`{text}`" if text else NONE


def first_sentence(documented: object) -> str:
    """Return the first paragraph of a docstring as one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def attributes_of(documented: object) -> dict[str, str]:
    """Return the `Attributes:` section of a docstring: name to meaning."""
    text = (inspect.getdoc(documented) or "").partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        head = re.match(r"    (\w+): (.*)", line)
        if head:
            name = head[1]
            found[name] = head[2]
        elif line.startswith("        ") and name:
            found[name] += " " + line.strip()
        else:
            break
    return found


def error_table() -> str:
    """Return the table of error codes, parents first."""
    rows = []
    for error_class in all_error_classes():
        parent = error_class.__base__ if error_class is not Ds01Error else None
        rows.append(
            (
                code(error_class.code),
                code(error_class.__name__),
                code(parent.__name__) if parent else NONE,
                str(error_class.http_status or NONE),
                str(error_class.exit_status),
                first_sentence(error_class),
            )
        )
    return format_table(("code", "class", "is a", "HTTP", "exit", "meaning"), rows)


def event_table() -> str:
    """Return the table of events."""
    return format_table(
        ("event", "details", "seen by", "meaning"),
        (
            (
                code(kind.name),
                ", ".join(code(name) for name in kind.fields) or NONE,
                "everybody" if kind.is_public else "the user concerned, administrators",
                kind.meaning,
            )
            for kind in EVENTS.values()
        ),
    )


def label_table() -> str:
    """Return the table of labels."""
    return format_table(("label", "meaning"), ((code(name), meaning) for name, meaning in LABELS.items()))


def limit_table() -> str:
    """Return the table of limits with the defaults of both modes."""
    meanings = attributes_of(Limits)
    return format_table(
        ("key", "default with a policy file", "default in personal mode", "meaning"),
        (
            (
                code(item.name),
                code(format_value(getattr(BUILT_IN_LIMITS, item.name))),
                code(format_value(getattr(PERSONAL_LIMITS, item.name))),
                meanings[item.name],
            )
            for item in fields(Limits)
        ),
    )


def format_value(value: object) -> str:
    """Return a limit as a person would write it in the policy file."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return f"{int(value.total_seconds()) // 60}m"
    if isinstance(value, int) and value >= 1024**2:
        return format_size_exact(value).upper()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_ulimit(item)}" for name, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)


def _ulimit(value: object) -> str:
    return "unlimited" if value == -1 else format_value(value)
