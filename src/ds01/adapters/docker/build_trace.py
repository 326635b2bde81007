"""BuildKit's progress: protocol buffers in the `aux` field of its JSON lines.

Source: moby/buildkit api/services/control/control.proto, StatusResponse: vertexes = 1 (digest = 1, name = 3,
cached = 4, completed = 6, error = 7), logs = 3 (vertex = 1, msg = 4). Protocol Buffers encoding:
varint, 64 bit, length, 32 bit.
"""

import base64
import binascii
from collections.abc import Iterator

from ds01.errors import BackendError

TRACE_ID = "moby.buildkit.trace"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VERTEXES, _LOGS = 1, 3
_DIGEST, _NAME, _CACHED = 1, 3, 4
_LOG_MESSAGE = 4
_MAX_VARINT_BYTES = 10
Value = int | bytes


class BuildTrace:
    """Turns traces into the lines that a person reads; every step is said once."""

    def __init__(self) -> None:
        self._said: set[bytes] = set()

    def texts(self, encoded: str) -> Iterator[str]:
        """Yield what one trace says: `Step: ...` for a step that begins, and what steps print.

        Raises:
            BackendError: It is no such trace.
        """
        try:
            data = base64.b64decode(encoded, validate=True)
            for number, value in _fields(data):
                if number == _VERTEXES and isinstance(value, bytes):
                    yield from self._vertex(value)
                elif number == _LOGS and isinstance(value, bytes):
                    yield from (_text(part) for field, part in _fields(value) if field == _LOG_MESSAGE)
        except (ValueError, IndexError, binascii.Error) as broken:
            raise BackendError("The container engine sent progress of a build that cannot be read.") from broken

    def _vertex(self, data: bytes) -> Iterator[str]:
        found: dict[int, Value] = dict(_fields(data))
        digest, name = found.get(_DIGEST, b""), _text(found.get(_NAME, b""))
        if not isinstance(digest, bytes) or digest in self._said or not name or name.startswith("[internal]"):
            return
        self._said.add(digest)
        yield f"Step {name}{' (cached)' if found.get(_CACHED) else ''}\n"


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            length, position = _varint(data, position)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}[kind] if kind in {_FIXED64, _FIXED32} else -1
        if length < 0 or position + length > len(data):
            raise ValueError("cut off")
        yield number, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(_MAX_VARINT_BYTES):
        byte = data[position + shift]
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position + shift + 1
    raise ValueError("a number without an end")


def _text(value: Value) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
