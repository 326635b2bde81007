"""Tar archives that are changed while they pass: entry by entry, in bounded memory, whatever their length.

What a person sends is unpacked by the engine as root. So every header is read, checked and written anew: nothing of an
archive reaches the engine that was not understood here. Source: pax(1) (ustar and pax headers), GNU tar manual
(long names, base-256 numbers).
"""

import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from ds01.errors import InvalidRequestError

BLOCK_BYTES = 512
PIECE_BYTES = 256 * 1024
MAX_EXTENSION_BYTES = 1024**2
MAX_NAME_BYTES = 4096
MAX_NUMBER = 2**63 - 1
REGULAR, HARD_LINK, SYMLINK, DIRECTORY = b"0", b"1", b"2", b"5"
CHARACTER_DEVICE, BLOCK_DEVICE, FIFO = b"3", b"4", b"6"
_REGULAR_TOO = (b"\0", b"7")
_PAX, _GLOBAL_PAX, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"
_KNOWN = frozenset({REGULAR, HARD_LINK, SYMLINK, DIRECTORY, CHARACTER_DEVICE, BLOCK_DEVICE, FIFO})
_OWN_RECORDS = frozenset({"path", "linkpath", "size", "uid", "gid", "mtime", "uname", "gname", "atime", "ctime"})


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One entry of an archive.

    Attributes:
        name: Its path as the archive says it.
        kind: Type flag: REGULAR, HARD_LINK, SYMLINK, DIRECTORY, a device or FIFO.
        size_bytes: Bytes that follow; 0 for what has none.
        mode: Permission bits, with set-user-id and the like.
        uid: Owner.
        gid: Group.
        modified_s: Time of the last change, seconds since 1970.
        link_target: Of links.
        device: Major and minor number of devices.
        records: Further pax records, such as extended attributes.
    """

    name: str
    kind: bytes = REGULAR
    size_bytes: int = 0
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    modified_s: float = 0.0
    link_target: str = ""
    device: tuple[int, int] = (0, 0)
    records: Mapping[str, str] = field(default_factory=dict)


Change = Callable[[TarEntry], TarEntry | None]
"""Returns an entry as it shall be; None leaves it out. Its size stays."""


async def rewrite(archive: AsyncIterator[bytes], change: Change) -> AsyncGenerator[bytes, None]:
    """Yield an archive with every entry changed.

    Args:
        archive: A plain tar.
        change: May raise InvalidRequestError for an entry that must not be there.

    Raises:
        InvalidRequestError: It is no tar, is cut off, or has entries of an unknown kind.
    """
    source = Source(archive)
    while (entry := await read_entry(source)) is not None:
        changed = change(entry)
        if changed is not None:
            yield header_of(changed)
        left = -(-entry.size_bytes // BLOCK_BYTES) * BLOCK_BYTES
        while left:
            piece = await source.read_some(min(left, PIECE_BYTES))
            left -= len(piece)
            if changed is not None:
                yield piece
    yield bytes(2 * BLOCK_BYTES)
    await source.exhaust()


class Source:
    """Bytes of an archive, in the pieces that are asked for.

    Attributes:
        header: The blocks of the entry that was read last, as they came.
    """

    def __init__(self, archive: AsyncIterator[bytes]) -> None:
        self.header = bytearray()
        self._archive = archive
        self._buffer = bytearray()

    async def read_block(self) -> bytes | None:
        """Return one block; None where the archive ends before it."""
        while len(self._buffer) < BLOCK_BYTES:
            piece = await anext(self._archive, b"")
            if not piece:
                return None
            self._buffer += piece
        return self._take(BLOCK_BYTES)

    async def read_exactly(self, size: int) -> bytes:
        """Return this many bytes.

        Raises:
            InvalidRequestError: There are fewer.
        """
        pieces: list[bytes] = []
        while size:
            piece = await self.read_some(size)
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    async def read_some(self, limit: int) -> bytes:
        """Return at least one byte, and at most `limit`.

        Raises:
            InvalidRequestError: There are no more.
        """
        if not self._buffer:
            self._buffer += await anext(self._archive, b"")
        if not self._buffer:
            raise InvalidRequestError("The archive is cut off.", hint="Make it again.")
        return self._take(limit)

    async def exhaust(self) -> None:
        """Read what stands behind the end mark, so that its sender is not cut off."""
        async for _ in self._archive:
            pass

    async def rest(self) -> AsyncGenerator[bytes, None]:
        """Yield what stands behind the end mark."""
        if self._buffer:
            yield self._take(len(self._buffer))
        async for piece in self._archive:
            yield piece

    def _take(self, limit: int) -> bytes:
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return data


Part = tuple[TarEntry, AsyncGenerator[bytes, None]]


async def parts_of(archive: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
    """Yield the entries of an archive with their contents; what is not read of a content is passed over.

    Raises:
        InvalidRequestError: It is no tar, is cut off, or has entries of an unknown kind.
    """
    source = Source(archive)
    while (entry := await read_entry(source)) is not None:
        content = content_of(source, entry.size_bytes)
        yield entry, content
        async for _ in content:
            pass
    await source.exhaust()


async def content_of(source: Source, size: int) -> AsyncGenerator[bytes, None]:
    """Yield the content of the entry that was read last, without what fills its last block.

    Raises:
        InvalidRequestError: It is cut off.
    """
    left = size
    while left:
        piece = await source.read_some(min(left, PIECE_BYTES))
        left -= len(piece)
        yield piece
    await source.read_exactly(-size % BLOCK_BYTES)


async def read_entry(source: Source) -> TarEntry | None:
    """Return the next entry; None at the end mark. Its content comes next in the source.

    Raises:
        InvalidRequestError: It is no tar, is cut off, or has an entry of an unknown kind.
    """
    records: dict[str, str] = {}
    source.header.clear()
    while True:
        block = await source.read_block()
        if block is None:
            raise InvalidRequestError("The archive has no end, or is no tar.", hint="Make it again.")
        source.header += block
        if not any(block):
            return None
        _require_checksum(block)
        kind, size = block[156:157], number_of(block[124:136])
        if kind not in {_PAX, _GLOBAL_PAX, _LONG_NAME, _LONG_LINK}:
            return _entry(block, kind, records)
        if size > MAX_EXTENSION_BYTES:
            raise InvalidRequestError(f"The archive has a header of {size} bytes.")
        padded = await source.read_exactly(-(-size // BLOCK_BYTES) * BLOCK_BYTES)
        source.header += padded
        content = padded[:size]
        if kind == _PAX:
            records.update(_pax_records(content))
        elif kind != _GLOBAL_PAX:
            records["path" if kind == _LONG_NAME else "linkpath"] = _text(content)


def _entry(block: bytes, kind: bytes, records: Mapping[str, str]) -> TarEntry:
    kind = REGULAR if kind in _REGULAR_TOO else kind
    name, prefix = _text(block[:100]), _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    name = records.get("path", f"{prefix}/{name}" if prefix else name)
    # an old archive says by a slash that an entry is a folder
    kind = DIRECTORY if kind == REGULAR and name.endswith("/") else kind
    if kind not in _KNOWN or any(record.startswith("GNU.sparse") for record in records):
        raise InvalidRequestError(f"The archive holds {name[:200]!r} in a form that is not supported.")
    size = _whole(records["size"]) if "size" in records else number_of(block[124:136])
    entry = TarEntry(
        name=name,
        kind=kind,
        size_bytes=size if kind == REGULAR else 0,
        mode=number_of(block[100:108]) & 0o7777,
        uid=_whole(records["uid"]) if "uid" in records else number_of(block[108:116]),
        gid=_whole(records["gid"]) if "gid" in records else number_of(block[116:124]),
        modified_s=float(number_of(block[136:148])),
        link_target=records.get("linkpath", _text(block[157:257])),
        device=(number_of(block[329:337]), number_of(block[337:345])) if kind in {b"3", b"4"} else (0, 0),
        records={key: value for key, value in records.items() if key not in _OWN_RECORDS},
    )
    for path in (entry.name, entry.link_target):
        if len(path.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES or "\0" in path:
            raise InvalidRequestError("The archive holds a path that is too long, or has a NUL in it.")
    if kind != REGULAR and size:
        raise InvalidRequestError(f"The archive says that {name[:200]!r} has content, and it is no file.")
    return entry


def header_of(entry: TarEntry) -> bytes:
    """Return the blocks of an entry; its content has to follow, filled up to whole blocks."""
    header = tarfile.TarInfo(entry.name)
    header.type, header.size, header.mode = entry.kind, entry.size_bytes, entry.mode
    header.uid, header.gid, header.mtime = entry.uid, entry.gid, int(entry.modified_s)
    header.linkname = entry.link_target if entry.kind in {HARD_LINK, SYMLINK} else ""
    header.devmajor, header.devminor = entry.device
    header.pax_headers = dict(entry.records)
    return header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _require_checksum(block: bytes) -> None:
    # the sum of all bytes, with blanks in place of the checksum itself
    if sum(block[:148]) + sum(block[156:]) + 8 * 0x20 != number_of(block[148:156]):
        raise InvalidRequestError("The archive is damaged, or is no plain tar.", hint="Make it again, uncompressed.")


def number_of(data: bytes) -> int:
    """Return a number of a header: octal, or base-256.

    Raises:
        InvalidRequestError: It is none, too large, or below 0.
    """
    if data[0] & 0x80:
        value = int.from_bytes(data[1:], "big")
        if data[0] != 0x80 or value > MAX_NUMBER:
            raise InvalidRequestError("The archive holds a number that is too large or below 0.")
        return value
    text = data.split(b"\0", 1)[0].strip(b" ")
    if text and not all(0x30 <= digit <= 0x37 for digit in text):
        raise InvalidRequestError("The archive is damaged: a number is none.")
    return int(text or b"0", 8)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > MAX_NUMBER:
        raise InvalidRequestError(f"The archive holds the number {text[:40]!r}, which is none.")
    return int(text)


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _pax_records(content: bytes) -> dict[str, str]:
    """Return the records of a pax header: length, blank, key=value, end of line; the length counts itself."""
    found: dict[str, str] = {}
    while content:
        length_text, blank, _ = content.partition(b" ")
        if not blank or not length_text.isdigit() or len(length_text) > 7:
            raise InvalidRequestError("The archive is damaged: a pax record has no length.")
        record, content = content[len(length_text) + 1 : int(length_text)], content[int(length_text) :]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals or not record.endswith(b"\n"):
            raise InvalidRequestError("The archive is damaged: a pax record is none.")
        found[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
    return found
