"""Documents to bytes and back, strictly: unknown fields, wrong types and duplicate keys are refused by name."""

import json
import math
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, TypeVar, cast, get_args, get_type_hints, is_typeddict

import msgspec

from ds01.errors import InvalidRequestError

MAX_BODY_BYTES = 1024**2
MAX_DIGITS = 20
Document = TypeVar("Document")
_ENCODER = msgspec.json.Encoder()


def encode(document: object) -> bytes:
    """Return a document as JSON. Text that is not Unicode (a path with Latin-1 bytes) is sent with `?` in its place."""
    try:
        return _ENCODER.encode(document)
    except UnicodeEncodeError:
        return json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def decode(body: bytes, document: type[Document]) -> Document:
    """Return the body as the document it shall be.

    Raises:
        InvalidRequestError: Not JSON, a field that is unknown, missing, repeated or of the wrong type.
    """
    try:
        plain = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except UnicodeDecodeError as failure:
        raise InvalidRequestError("The request is not UTF-8.") from failure
    except RecursionError as failure:
        raise InvalidRequestError("The request is nested too deeply.") from failure
    except ValueError as failure:
        raise InvalidRequestError(f"The request is not JSON: {failure}.") from failure
    _require_text(plain)
    _require_known(plain, document, "")
    try:
        return msgspec.convert(plain, document)
    except msgspec.ValidationError as failure:
        raise InvalidRequestError(f"The request does not fit: {failure}.") from failure


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Parsers differ on repeated keys, and every difference is a hole: none is accepted."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not a number here")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large")
    return value


def _bounded(text: str) -> int:
    """Engine and store count in 64 bits."""
    value = int(text) if len(text) <= MAX_DIGITS else 2**64
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{text[:40]} is too large")
    return value


def _require_text(plain: object) -> None:
    r"""Refuse what no name, path or argument can be: half a character (`\ud800`, also a byte of Latin-1) and NUL."""
    for text in _strings(plain):
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InvalidRequestError(
                "The request holds text that is not Unicode, or a NUL.", hint="Give the file or folder another name."
            )


def _strings(plain: object) -> Iterator[str]:
    waiting = [plain]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value


def _require_known(plain: object, document: Any, where: str) -> None:  # noqa: ANN401 - a type expression
    if isinstance(plain, list) and get_args(document):
        for number, item in enumerate(plain):
            _require_known(item, get_args(document)[0], f"{where}{number}.")
        return
    if not (is_typeddict(document) and isinstance(plain, dict)):
        return
    hints = get_type_hints(document)
    for key, value in cast("dict[str, object]", plain).items():
        if key not in hints:
            near = get_close_matches(key, list(hints), n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known fields: {', '.join(sorted(hints))}."
            raise InvalidRequestError(f"The field {where + key!r} is unknown.", hint=hint)
        _require_known(value, hints[key], f"{where}{key}.")
