"""The layers of an image as plain tars, however the engine keeps them.

The engine's archive names them differently. With its own store, from Engine 25 on, an entry is named by the diff id;
before, only the manifest says which is which, and it comes last. With containerd's image store entries are named by the
checksum of the compressed layer. A tar says a length before the content, so the plain length of a compressed layer is
found out beforehand. Source: Engine API 1.41, ImageGet; OCI image layout; RFC 1952.
"""

import asyncio
import json
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from ds01.domain.containers.export import MAX_DOCUMENT_BYTES
from ds01.errors import BackendError
from ds01.service.ports import Engine
from ds01.service.tar_stream import PIECE_BYTES, REGULAR, TarEntry, parts_of

_MANIFEST = "manifest.json"
_BLOBS = "blobs/sha256/"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_WITH_GZIP_HEADER = zlib.MAX_WBITS | 16


@dataclass(frozen=True, slots=True)
class PlainLayer:
    """One layer; its content has to be read before the next one comes.

    Attributes:
        diff_id: Checksum of its content.
        size_bytes: Length of its content.
        content: A plain tar.
    """

    diff_id: str
    size_bytes: int
    content: AsyncGenerator[bytes, None]


async def plain_layers(
    engine: Engine, reference: str, layers: Sequence[str], wanted: Collection[str]
) -> AsyncGenerator[PlainLayer, None]:
    """Yield some layers of an image, each once, in no particular order.

    Args:
        engine: The engine.
        reference: The image.
        layers: Its diff ids, lowest first.
        wanted: Those of them that are asked for.

    Raises:
        BackendError: The engine does not give every one, or compressed in a way that is not known here.
    """
    if not wanted:
        return
    is_compressed = (await engine.get_info()).has_containerd_store
    places = await _places(engine, reference, layers, is_named_by_diff_id=not is_compressed)
    sizes = await _plain_sizes(engine, reference, places, wanted) if is_compressed else {}
    missing = set(wanted)
    async with aclosing(engine.save_images([reference])) as saved, aclosing(parts_of(saved)) as parts:
        async for entry, content in parts:
            diff_id = _layer_of(entry, places)
            if diff_id in missing:
                missing.discard(diff_id)
                if diff_id not in sizes:
                    yield PlainLayer(diff_id, entry.size_bytes, content)
                    continue
                async with aclosing(_plain(content)) as plain:
                    yield PlainLayer(diff_id, sizes[diff_id], plain)
    if missing:
        raise BackendError("The engine did not give every layer of the image.", hint="Tell your administrator.")


async def _places(
    engine: Engine, reference: str, layers: Sequence[str], *, is_named_by_diff_id: bool
) -> Mapping[str, str]:
    """Return the diff id of each entry that is a layer."""
    async with aclosing(engine.save_images([reference])) as saved, aclosing(parts_of(saved)) as parts:
        async for entry, content in parts:
            if is_named_by_diff_id and entry.name.startswith(_BLOBS):
                return {_BLOBS + layer.removeprefix("sha256:"): layer for layer in layers}
            if entry.name == _MANIFEST and entry.size_bytes <= MAX_DOCUMENT_BYTES:
                text = b"".join([piece async for piece in content])
                return dict(zip(_named_layers(text), layers, strict=False))
    raise BackendError("The engine's archive of an image has no manifest.", hint="Tell your administrator.")


def _layer_of(entry: TarEntry, places: Mapping[str, str]) -> str:
    return places.get(entry.name, "") if entry.kind == REGULAR else ""


def _named_layers(text: bytes) -> list[str]:
    try:
        found = json.loads(text)[0]["Layers"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as broken:
        raise BackendError("The engine's manifest of an image cannot be read.") from broken
    return [str(item) for item in found] if isinstance(found, list) else []


async def _plain_sizes(
    engine: Engine, reference: str, places: Mapping[str, str], wanted: Collection[str]
) -> dict[str, int]:
    sizes: dict[str, int] = {}
    async with aclosing(engine.save_images([reference])) as saved, aclosing(parts_of(saved)) as parts:
        async for entry, content in parts:
            diff_id = _layer_of(entry, places)
            if diff_id in wanted:
                async with aclosing(_plain(content)) as plain:
                    sizes[diff_id] = sum([len(piece) async for piece in plain])
    return sizes


async def _plain(content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the content of a layer that may be compressed with gzip, in pieces of bounded length.

    Raises:
        BackendError: It is compressed otherwise, or damaged.
    """
    unpacker: zlib._Decompress | None = None
    is_first = True
    async for piece in content:
        if is_first and piece.startswith(_ZSTD):
            raise BackendError("The engine keeps a layer compressed with zstd, which is not known here.")
        if is_first and piece.startswith(_GZIP):
            unpacker = zlib.decompressobj(_WITH_GZIP_HEADER)
        is_first = False
        if unpacker is None:
            yield piece
            continue
        while piece:
            if unpacker.eof:  # a file may consist of several
                unpacker = zlib.decompressobj(_WITH_GZIP_HEADER)
            try:
                yield unpacker.decompress(piece, PIECE_BYTES)
            except zlib.error as broken:
                raise BackendError("The engine gave a layer that cannot be unpacked.") from broken
            piece = unpacker.unused_data or unpacker.unconsumed_tail  # noqa: PLW2901 - what is left of it
            await asyncio.sleep(0)  # unpacking takes the processor, which others want too
    if unpacker is not None:
        yield unpacker.flush()
    if unpacker is not None and not unpacker.eof:
        raise BackendError("The engine gave a layer that is cut off.")
