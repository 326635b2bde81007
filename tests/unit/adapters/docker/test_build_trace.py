"""BuildKit's progress, decoded."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from ds01.adapters.docker.build_trace import BuildTrace
from ds01.errors import BackendError


def field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def trace(*parts: bytes) -> str:
    return base64.b64encode(b"".join(parts)).decode()


def vertex(name: str, *, cached: bool = False) -> bytes:
    flag = b"\x20\x01" if cached else b""
    return field(1, field(1, b"sha256:" + name.encode()) + field(3, name.encode()) + flag)


def test_steps_are_said_once_and_what_they_print_follows() -> None:
    found = BuildTrace()
    log = field(3, field(1, b"sha256:a") + field(4, b"hello\n"))
    assert list(found.texts(trace(vertex("[1/2] FROM x", cached=True), vertex("[internal] load metadata")))) == [
        "Step [1/2] FROM x (cached)\n"
    ]
    assert list(found.texts(trace(vertex("[1/2] FROM x"), log))) == ["hello\n"]


@pytest.mark.parametrize("text", ["***", trace(b"\x0a"), trace(b"\x0a\x7f"), trace(b"\xff" * 12), trace(b"\x0b")])
def test_what_is_no_trace_is_the_engines_failure(text: str) -> None:
    with pytest.raises(BackendError):
        list(BuildTrace().texts(text))


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(BackendError):
        assert all(isinstance(text, str) for text in BuildTrace().texts(trace(data)))
