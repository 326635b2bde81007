"""Files of a container <-> one plain tar.

Never compressed: the engine would run the container's own unpacker as root for some formats. Source: CVE-2026-41567.
"""

import io
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime

from ds01.errors import BackendError, ConflictError, InvalidRequestError
from ds01.service.ports import FileEntry
from ds01.units import format_size

# Fixed, so that the same entries give the same bytes; not 1970, which zip and make cannot handle.
_MODIFIED_S = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
_MAX_ID = 2**32 - 2
_BLOCK_BYTES = 512


def pack(entries: Sequence[FileEntry]) -> bytes:
    """Return entries as a tar with paths below its root.

    Raises:
        InvalidRequestError: A path is not absolute and plain, or an owner is not a number of an account.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive:
        for entry in entries:
            archive.addfile(_header(entry), io.BytesIO(entry.content or b""))
    return buffer.getvalue()


def _header(entry: FileEntry) -> tarfile.TarInfo:
    # "./" first: a name that began with the magic number of a packed format would be taken for one.
    header = tarfile.TarInfo(f".{require_plain_path(entry.path)}")
    header.type = tarfile.DIRTYPE if entry.content is None else tarfile.REGTYPE
    header.size = len(entry.content or b"")
    header.mode = entry.mode & 0o7777
    if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
        raise InvalidRequestError(f"{entry.path!r} cannot belong to {entry.uid}:{entry.gid}.")
    header.uid, header.gid = entry.uid, entry.gid
    header.mtime = _MODIFIED_S
    return header


def require_plain_path(path: str) -> str:
    """Return an absolute path without dot segments, empty segments and characters that cannot be in a path.

    Raises:
        InvalidRequestError: It is another one.
    """
    segments = path.split("/")[1:]
    if not path.startswith("/") or "\0" in path or any(segment in {"", ".", ".."} for segment in segments):
        raise InvalidRequestError(f"{path[:200]!r} is not an absolute, plain path inside a container.")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{path[:200]!r} is not UTF-8.") from error
    return path


async def without_padding(archive: bytes | AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield a tar without what is behind its end mark of two empty blocks.

    Writers fill up to a round size. The engine stops reading at the mark, and where bytes of a request are left unread
    it never learns that its client has left: a build would go on for nobody.

    Raises:
        InvalidRequestError: It is no tar.
    """
    waiting = bytearray()
    content_left = 0
    async for piece in _pieces(archive):
        waiting += piece
        while waiting:
            if content_left:
                done = min(content_left, len(waiting))
                yield bytes(waiting[:done])
                content_left -= done
            elif len(waiting) < _BLOCK_BYTES:
                break
            else:
                header, done = bytes(waiting[:_BLOCK_BYTES]), _BLOCK_BYTES
                if not any(header):
                    yield bytes(2 * _BLOCK_BYTES)
                    return
                yield header
                content_left = _content_bytes(header)
            del waiting[:done]
    yield bytes(waiting)  # it ends without a mark: the engine says what is wrong with it


def _content_bytes(header: bytes) -> int:
    """Return how many bytes follow a header, whole blocks. Source: pax(1), ustar header; GNU tar, base-256 numbers."""
    field = header[124:136]
    try:
        size = int.from_bytes(field[1:], "big") if field[0] & 0x80 else int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise InvalidRequestError("The archive is no tar: an entry has no size.") from error
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


async def _pieces(archive: bytes | AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    if isinstance(archive, bytes):
        yield archive
        return
    async for piece in archive:
        yield piece


def unpack_file(data: bytes, *, limit_bytes: int) -> bytes | None:
    """Return the content of the first entry of a tar if it is a regular file, else None.

    Args:
        data: The tar.
        limit_bytes: Largest content.

    Raises:
        BackendError: It is no tar.
        ConflictError: The file is larger.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            member = archive.next()
            if member is None or not member.isreg():
                return None
            if member.size > limit_bytes:  # a sparse entry claims more than it holds
                raise ConflictError(f"The file {member.name!r} is larger than {format_size(limit_bytes)}.")
            content = archive.extractfile(member)
            return None if content is None else content.read()
    except tarfile.TarError as error:
        raise BackendError(f"The engine's archive is broken: {error}.") from error
