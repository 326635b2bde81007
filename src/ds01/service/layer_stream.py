"""Layers of images that are given to another owner while they pass: in bounded memory, and exactly as long as before.

The length of a layer has to be said before its content, so owners are written over in place. A layer in which the old
owner does not occur keeps its bytes, and so its diff id: the engine shares it. Source: pax(1), GNU tar manual.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from ds01.errors import InvalidRequestError
from ds01.service.tar_stream import (
    BLOCK_BYTES,
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    HARD_LINK,
    PIECE_BYTES,
    Source,
    TarEntry,
    number_of,
    read_entry,
)

_UID, _GID, _CHECKSUM, _SIZE = slice(108, 116), slice(116, 124), slice(148, 156), slice(124, 136)
_LARGEST_OCTAL = 0o7777777
_PAX, _LONG = b"x", (b"L", b"K", b"g")
_SET_ASIDE = {b"uid": b"UID", b"gid": b"GID"}
"""Names that no reader knows, of the same length: the number in the header counts then."""
MAX_ENTRIES = 5_000_000


@dataclass(frozen=True, slots=True)
class OwnerChange:
    """Whose files become whose.

    Attributes:
        old_uid: Owner in the archive.
        old_gid: Group in the archive.
        uid: Owner here.
        gid: Group here.
    """

    old_uid: int
    old_gid: int
    uid: int
    gid: int


async def reown(layer: AsyncIterator[bytes], change: OwnerChange | None) -> AsyncGenerator[bytes, None]:
    """Yield a layer with its files given to another owner; every entry is looked at.

    Args:
        layer: A plain tar.
        change: Whose files become whose; None: only look.

    Raises:
        InvalidRequestError: No tar, cut off, or an entry that may not be in a layer: one that climbs out, or a device.
    """
    source = Source(layer)
    count = 0
    while (entry := await read_entry(source)) is not None:
        count += 1
        if count > MAX_ENTRIES:
            raise InvalidRequestError(f"A layer has more than {MAX_ENTRIES} entries.")
        require_harmless(entry)
        yield _patched(source.header, entry, change) if change is not None else bytes(source.header)
        left = -(-entry.size_bytes // BLOCK_BYTES) * BLOCK_BYTES
        while left:
            piece = await source.read_some(min(left, PIECE_BYTES))
            left -= len(piece)
            yield piece
    yield bytes(source.header)
    async for piece in source.rest():
        if any(piece):
            raise InvalidRequestError("A layer goes on behind its end.", hint="Make the file again.")
        yield piece


def require_harmless(entry: TarEntry) -> None:
    """Raise if an entry may not be in a layer.

    Raises:
        InvalidRequestError: It leads out of the root, or is a device.
    """
    paths = [entry.name, *([entry.link_target] if entry.kind == HARD_LINK else [])]
    for path in paths:
        if path.startswith("/") or ".." in path.split("/"):
            raise InvalidRequestError(f"{path[:200]!r} in the file leads out of the container.")
    # a whiteout of overlay file systems is the device 0:0
    if entry.kind in {CHARACTER_DEVICE, BLOCK_DEVICE} and entry.device != (0, 0):
        raise InvalidRequestError(
            f"{entry.name[:200]!r} in the file is a device.", hint="Remove it in the container and export it again."
        )


def _patched(header: bytearray, entry: TarEntry, change: OwnerChange) -> bytes:
    uid = change.uid if entry.uid == change.old_uid else entry.uid
    gid = change.gid if entry.gid == change.old_gid else entry.gid
    if (uid, gid) == (entry.uid, entry.gid):
        return bytes(header)
    found = bytearray(header)
    position = 0
    while (kind := bytes(found[position + 156 : position + 157])) == _PAX or kind in _LONG:
        size = number_of(bytes(found[position : position + BLOCK_BYTES][_SIZE]))
        start = position + BLOCK_BYTES
        if kind == _PAX:
            found[start : start + size] = _without_owner(bytes(found[start : start + size]))
        position = start + -(-size // BLOCK_BYTES) * BLOCK_BYTES
    block = found[position : position + BLOCK_BYTES]
    block[_UID], block[_GID], block[_CHECKSUM] = _number(uid), _number(gid), b" " * 8
    block[_CHECKSUM] = b"%06o\0 " % sum(block)
    found[position : position + BLOCK_BYTES] = block
    return bytes(found)


def _without_owner(records: bytes) -> bytes:
    """Return pax records of the same length in which owners are not said any more."""
    found = b""
    while records:
        length = int(records.partition(b" ")[0])
        record, records = records[:length], records[length:]
        head, _, rest = record.partition(b" ")
        key, _, value = rest.partition(b"=")
        found += head + b" " + _SET_ASIDE.get(key, key) + b"=" + value
    return found


def _number(value: int) -> bytes:
    return b"%07o\0" % value if value <= _LARGEST_OCTAL else b"\x80" + value.to_bytes(7, "big")
