"""Framings inside the engine's streams."""

import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, strategies as st

from ds01.adapters.docker.framing import OutputKind, demultiplex, json_lines
from ds01.errors import BackendError


def frame(kind: int, data: bytes) -> bytes:
    return bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


async def cut(data: bytes, places: list[int]) -> AsyncIterator[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    for start, end in itertools.pairwise(edges):
        if start != end:
            yield data[start:end]


async def outputs(data: bytes, places: list[int]) -> dict[OutputKind, bytes]:
    found = {OutputKind.STDOUT: b"", OutputKind.STDERR: b""}
    async for kind, piece in demultiplex(cut(data, places)):
        assert piece
        found[kind] += piece
    return found


CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(frames=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=8), places=CUTS)
async def test_output_is_told_apart_however_it_is_cut(frames: list[tuple[int, bytes]], places: list[int]) -> None:
    found = await outputs(b"".join(frame(kind, data) for kind, data in frames), places)
    assert found[OutputKind.STDOUT] == b"".join(data for kind, data in frames if kind == 1)
    assert found[OutputKind.STDERR] == b"".join(data for kind, data in frames if kind == 2)


async def test_a_large_frame_is_passed_on_before_it_is_complete() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield frame(1, b"")[:4] + (2**32 - 1).to_bytes(4, "big")
        while True:
            yield b"x" * 1000

    pieces = demultiplex(endless())
    assert [await anext(pieces) for _ in range(3)] == [(OutputKind.STDOUT, b"x" * 1000)] * 3
    await pieces.aclose()


@pytest.mark.parametrize("data", [frame(1, b"hello")[:-1], b"\x01\0\0"])
async def test_an_end_within_a_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(BackendError, match="middle of a frame"):
        await outputs(data, [])


@pytest.mark.parametrize("data", [b"plain text, not frames", frame(4, b"x"), b"\x01\0\x01\0\0\0\0\x01x"])
async def test_what_is_not_framed_is_an_error(data: bytes) -> None:
    with pytest.raises(BackendError, match="not in the engine's frames"):
        await outputs(data, [])


async def test_an_error_of_the_engine_within_the_output_is_an_error() -> None:
    with pytest.raises(BackendError, match="disk full"):
        await outputs(frame(1, b"hello") + frame(3, b"disk full"), [])


@given(numbers=st.lists(st.integers(), max_size=8), places=CUTS)
async def test_documents_are_read_wherever_the_pieces_are_cut(numbers: list[int], places: list[int]) -> None:
    data = b"".join(f'{{"n": {number}}}\r\n'.encode() for number in numbers)
    found = [line.number("n") async for line in json_lines(cut(data, places), "/events")]
    assert found == numbers


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"n": 1}\n{"n"', "middle of a line"),
        (b"{]\n", "not JSON"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b"x" * (8 * 1024**2 + 1), "line without an end"),
    ],
)
async def test_a_broken_line_is_an_error(data: bytes, words: str) -> None:
    with pytest.raises(BackendError, match=words):
        _ = [line async for line in json_lines(cut(data, []), "/events")]
