"""The page of the configuration: the sections about the site, and the names of the predecessors."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from dev.referencekit.tables import attributes_of, code, format_table
from ds01.config.predecessor import DROPPED, DROPPED_SECTIONS, RENAMED, RESERVATION
from ds01.daemon.policy_document import text_of
from ds01.domain.rules.site import Site


def site_table() -> str:
    """Return the table of the keys of the sections about the site, with their defaults."""
    rows = [
        row for item in fields(Site) if item.name != "origins" for row in _rows(item.name, getattr(Site(), item.name))
    ]
    return format_table(("key", "default", "meaning"), rows)


def _rows(path: str, section: object) -> Iterator[tuple[str, str, str]]:
    meanings = attributes_of(type(section))
    assert is_dataclass(section)
    for item in fields(section):
        value = getattr(section, item.name)
        if is_dataclass(value):
            yield from _rows(f"{path}.{item.name}", value)
        else:
            yield code(f"{path}.{item.name}"), code(text_of(item.name, value)), meanings.get(item.name, "")


def renamed_table() -> str:
    """Return the table of what the predecessors' keys are called now, and of those that are dropped."""
    rows = [(code(old), code(new)) for old, new in RENAMED.items()]
    rows += [(code(old), code(f"reservation.{new}")) for old, new in RESERVATION.items()]
    rows += [(code(old), hint) for old, hint in {**DROPPED, **DROPPED_SECTIONS}.items()]
    return format_table(("key of the predecessors", "now"), rows)
