"""Framings inside the engine's streams: output of a program without a terminal, and lines of JSON."""

from collections.abc import AsyncGenerator, AsyncIterator
from enum import IntEnum

from ds01.adapters.docker.document import Document, parse_json
from ds01.adapters.docker.translation import printable
from ds01.errors import BackendError

_HEADER_BYTES = 8
_MAX_LINE_BYTES = 8 * 1024**2


class OutputKind(IntEnum):
    """Which of its outputs a program wrote to. Source: Engine API 1.41, ContainerAttach, "Stream format"."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ENGINE_ERROR = 3


async def demultiplex(stream: AsyncIterator[bytes]) -> AsyncGenerator[tuple[OutputKind, bytes], None]:
    """Yield the pieces of a multiplexed stream with their kind; frames are never collected, whatever their size.

    Raises:
        BackendError: The stream is broken, or the engine reports an error in it.
    """
    head, kind, left = b"", OutputKind.STDOUT, 0
    async for chunk in stream:
        data = memoryview(chunk)
        while data:
            if left == 0:
                wanted = _HEADER_BYTES - len(head)
                head, data = head + bytes(data[:wanted]), data[wanted:]
                if len(head) == _HEADER_BYTES:
                    kind, left, head = *_parse_header(head), b""
                continue
            piece, data = bytes(data[:left]), data[left:]
            left -= len(piece)
            if kind is OutputKind.ENGINE_ERROR:
                words = printable(piece.decode("utf-8", "replace"))
                raise BackendError(f"The container engine broke the output off: {words}")
            yield kind, piece
    if left or head:
        raise BackendError("The output of the container ended in the middle of a frame.")


def _parse_header(header: bytes) -> tuple[OutputKind, int]:
    if header[1:4] != b"\0\0\0" or header[0] > OutputKind.ENGINE_ERROR:
        raise BackendError("The output of the container is not in the engine's frames.")
    return OutputKind(header[0]), int.from_bytes(header[4:], "big")


async def json_lines(stream: AsyncIterator[bytes], where: str) -> AsyncGenerator[Document, None]:
    """Yield the documents of a stream with one on each line.

    Args:
        stream: The stream.
        where: What it is, for messages.

    Raises:
        BackendError: A line is not JSON, too long, or the stream ends within one.
    """
    rest = bytearray()
    async for chunk in stream:
        searched = len(rest)
        rest += chunk
        while (end := rest.find(b"\n", searched)) >= 0:
            line = bytes(rest[:end]).strip()
            del rest[: end + 1]
            searched = 0
            if line:
                yield parse_json(line, where)
        if len(rest) > _MAX_LINE_BYTES:
            raise BackendError(f"The engine's answer to {where} has a line without an end.")
    if rest.strip():
        raise BackendError(f"The engine's answer to {where} ended in the middle of a line.")
