"""JSON documents of the engine, read strictly: what is needed and looks otherwise is an error."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ds01.adapters.docker.moment import parse_moment
from ds01.errors import BackendError


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON value and where it stands.

    A field that is null or missing has its `default`; without one it is an error. Go writes null for every empty list
    and map, so those are empty and never missing.

    Attributes:
        value: The value.
        where: Path of the value, such as `/containers/json[0].State`.
    """

    value: object
    where: str

    def mapping(self) -> Mapping[str, object]:
        """Return it as an object; null is an empty one."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return self.value

    def child(self, key: str) -> "Document":
        """Return an object of this object; a missing one is empty."""
        child = self.optional(key)
        child.mapping()
        return child

    def optional(self, key: str) -> "Document":
        """Return whatever stands under a key; a missing one is null."""
        return Document(self.mapping().get(key), f"{self.where}.{key}")

    def entries(self) -> "list[Document]":
        """Return its entries; null has none."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [Document(entry, f"{self.where}[{index}]") for index, entry in enumerate(self.value)]

    def items(self, key: str) -> "list[Document]":
        """Return the entries of a list; a missing one has none."""
        return self.optional(key).entries()

    def text(self, key: str, *, default: str | None = None) -> str:
        """Return a text."""
        return self.optional(key).as_text(default)

    def as_text(self, default: str | None = None) -> str:
        """Return it as a text."""
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, str):
            raise self.wrong("a text")
        return self.value

    def number(self, key: str, *, default: int | None = None) -> int:
        """Return a whole number."""
        child = self.optional(key)
        if child.value is None and default is not None:
            return default
        if not isinstance(child.value, int) or isinstance(child.value, bool):
            raise child.wrong("a whole number")
        return child.value

    def optional_number(self, key: str) -> int | None:
        """Return a whole number, None for null."""
        return None if self.optional(key).value is None else self.number(key)

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """Return true or false."""
        child = self.optional(key)
        if child.value is None and default is not None:
            return default
        if not isinstance(child.value, bool):
            raise child.wrong("true or false")
        return child.value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; a missing one is empty."""
        return tuple(entry.as_text() for entry in self.items(key))

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object of texts; a missing one is empty."""
        child = self.child(key)
        return {name: child.text(name) for name in child.mapping()}

    def moment(self, key: str) -> datetime:
        """Return a time that must be there."""
        moment = self.optional_moment(key)
        if moment is None:
            raise self.optional(key).wrong("a time")
        return moment

    def optional_moment(self, key: str) -> datetime | None:
        """Return a time, None for a missing, empty or zero one."""
        child = self.optional(key)
        text = child.as_text("")
        try:
            return parse_moment(text) if text else None
        except ValueError as error:
            raise child.wrong("a time") from error

    def wrong(self, wanted: str) -> BackendError:
        """Return the error for a value of another shape."""
        found = "nothing" if self.value is None else f"{json.dumps(self.value)[:80]}"
        return BackendError(f"The engine's answer has {found} at {self.where}, where {wanted} was expected.")


def parse_json(data: bytes | str, where: str) -> Document:
    """Return a JSON document.

    Args:
        data: UTF-8 text.
        where: What it is, for messages.

    Raises:
        BackendError: It is not JSON.
    """
    try:
        return Document(json.loads(data), where)
    except (ValueError, RecursionError) as error:
        raise BackendError(f"The engine's answer to {where} is not JSON: {str(error)[:200]}.") from error
