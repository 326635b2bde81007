"""Compressed files, written and read as a stream; the one owner of zstandard.

A file that we write ends with a skippable frame (RFC 8878, section 3.1.2), which other readers pass over. It says the
SHA-256 of everything before it and the length of the content: so a file is checked before a byte of it is unpacked, and
nothing is unpacked beyond that length.
"""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import struct
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO, cast

import zstandard

from ds01.errors import InvalidRequestError

PIECE_BYTES = 1024**2
LEVEL = 3
MAX_WINDOW_BYTES = 128 * 1024**2
MAX_RATIO = 1000
"""A file that does not say its length may become this many times as long, and a gigabyte."""
FREE_BYTES = 1024**3
_MAGIC, _FRAME_BYTES = 0x184D2A5E, 256
_HEAD = struct.Struct("<II")


class CompressedWriter:
    """Writes a file that says its own checksum."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self._compressor = zstandard.ZstdCompressor(LEVEL, write_checksum=True).compressobj()

    def write(self, data: bytes) -> int:
        """Write some of the content; return how much."""
        self.size_bytes += len(data)
        self._put(self._compressor.compress(data))
        return len(data)

    def finish(self) -> None:
        """Write the end."""
        self._put(self._compressor.flush())
        document = {"sha256": self._hash.hexdigest(), "size_bytes": self.size_bytes}
        text = json.dumps(document).encode().ljust(_FRAME_BYTES - _HEAD.size)
        self._target.write(_HEAD.pack(_MAGIC, len(text)) + text)

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        self._target.write(data)


def checked_size(path: str) -> int | None:
    """Return the length of the content of a file that says its own checksum; None where a file says none.

    Raises:
        InvalidRequestError: It is not the file that was written.
    """
    with open(path, "rb") as source:
        length = source.seek(0, os.SEEK_END) - _FRAME_BYTES
        if length < 0:
            return None
        source.seek(length)
        frame = source.read(_FRAME_BYTES)
        if _HEAD.unpack(frame[: _HEAD.size]) != (_MAGIC, _FRAME_BYTES - _HEAD.size):
            return None
        try:
            document = json.loads(frame[_HEAD.size :])
            wanted, size_bytes = str(document["sha256"]), int(document["size_bytes"])
        except (ValueError, KeyError, TypeError) as broken:
            raise damaged(path) from broken
        source.seek(0)
        found = hashlib.sha256()
        while length and (piece := source.read(min(length, PIECE_BYTES))):
            found.update(piece)
            length -= len(piece)
    if found.hexdigest() != wanted:
        raise damaged(path)
    return size_bytes


def damaged(path: str) -> InvalidRequestError:
    """Return the error for a file that is not as it was written."""
    return InvalidRequestError(f"{path} is damaged: its checksum is wrong.", hint="Copy it again, or export it again.")


def read_content(path: str, size_bytes: int | None, room_bytes: int | None = None) -> Iterator[bytes]:
    """Yield what is in a file: of zstd, gzip, bzip2, xz, or as it is.

    Args:
        path: The file.
        size_bytes: Length of the content; None: it does not say.
        room_bytes: The most that can be used of one that does not say; None: unknown.

    Raises:
        InvalidRequestError: It is damaged, cut off, or grows without measure.
    """
    limit = size_bytes if size_bytes is not None else os.path.getsize(path) * MAX_RATIO + FREE_BYTES
    if size_bytes is None and room_bytes is not None:
        limit = min(limit, room_bytes)
    done = 0
    try:
        with open(path, "rb") as source, closing(_opened(source)) as content:
            while piece := content.read(PIECE_BYTES):
                done += len(piece)
                if done > limit:
                    raise InvalidRequestError(f"{path} unpacks to more than {limit} bytes: it is not taken.")
                yield piece
    except (zstandard.ZstdError, OSError, EOFError, lzma.LZMAError) as broken:
        raise InvalidRequestError(f"{path} cannot be unpacked: {broken}.", hint="Copy it again.") from broken
    if size_bytes is not None and done != size_bytes:
        raise InvalidRequestError(f"{path} is cut off.", hint="Copy it again.")


def _opened(source: BinaryIO) -> BinaryIO:
    start = source.read(6)
    source.seek(0)
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        return cast("BinaryIO", decompressor.stream_reader(source, read_across_frames=True, closefd=False))
    if start.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=source))
    if start.startswith(b"BZh"):
        return cast("BinaryIO", bz2.BZ2File(source))
    if start == b"\xfd7zXZ\0":
        return cast("BinaryIO", lzma.LZMAFile(source))
    return source
