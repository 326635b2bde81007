"""Layers of images as plain tars, from engines that keep them in containerd's image store."""

import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest
import zstandard

from ds01.domain.containers.export import HEADER_NAME, layer_entry, parse_header
from ds01.errors import BackendError
from ds01.service.image_layers import plain_layers
from tests.fake_engine import FakeEngine
from tests.fake_engine.layers import diff_id_of, pack
from tests.unit.service.stage import Stage
from tests.unit.service.test_exporting import export, import_, members, pieces_of, prepared

LAYERS = [pack({"a": b"first" * 5000}), pack({"b": bytes(3_000_000)}), pack({"c": b"third"})]
DIFF_IDS = [diff_id_of(layer) for layer in LAYERS]
Compress = Callable[[bytes], bytes]


def in_two(data: bytes) -> bytes:
    return gzip.compress(data[:700]) + gzip.compress(data[700:])


def archive(blobs: Sequence[bytes]) -> bytes:
    """Return an image as containerd's store gives it. Observed: Engine 26.1, `docker save`."""
    names = [f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}" for blob in blobs]
    manifest = [{"Config": "blobs/sha256/" + "0" * 64, "RepoTags": ["x:1"], "Layers": names}]
    files = dict(sorted([*zip(names, blobs, strict=True), ("blobs/sha256/" + "0" * 64, b"{}")]))
    return pack({**files, "index.json": b"{}", "manifest.json": json.dumps(manifest).encode(), "oci-layout": b"{}"})


def engine_with(data: bytes) -> FakeEngine:
    engine = FakeEngine()
    engine.info = replace(engine.info, has_containerd_store=True)

    def save(_references: Sequence[str]) -> AsyncIterator[bytes]:
        return pieces_of(data)

    engine.save_images = save  # type: ignore[assignment,method-assign]
    return engine


async def read(engine: FakeEngine, wanted: Sequence[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    async with aclosing(plain_layers(engine, "x:1", DIFF_IDS, wanted)) as layers:
        async for layer in layers:
            found[layer.diff_id] = b"".join([piece async for piece in layer.content])
            assert len(found[layer.diff_id]) == layer.size_bytes
    return found


@pytest.mark.parametrize("pack_up", [bytes, gzip.compress, in_two])
async def test_layers_come_plain_however_they_are_kept(pack_up: Compress) -> None:
    engine = engine_with(archive([pack_up(LAYERS[0]), gzip.compress(LAYERS[1]), LAYERS[2]]))
    assert await read(engine, DIFF_IDS) == dict(zip(DIFF_IDS, LAYERS, strict=True))
    assert await read(engine, DIFF_IDS[2:]) == {DIFF_IDS[2]: LAYERS[2]}
    assert await read(engine, []) == {}


@pytest.mark.parametrize(
    ("blobs", "words"),
    [
        ([zstandard.ZstdCompressor().compress(LAYERS[0]), *LAYERS[1:]], "zstd"),
        ([gzip.compress(LAYERS[0])[:-20], *LAYERS[1:]], "cut off"),
        ([gzip.compress(LAYERS[0])[:20] + b"\xff" * 100, *LAYERS[1:]], "cannot be unpacked"),
        (LAYERS[:2], "every layer"),
    ],
    ids=["zstd", "cut off", "damaged", "missing"],
)
async def test_what_cannot_be_given_is_said(blobs: Sequence[bytes], words: str) -> None:
    with pytest.raises(BackendError, match=words):
        await read(engine_with(archive(blobs)), DIFF_IDS)


async def test_a_container_goes_through_an_engine_with_containerds_store() -> None:
    stage = await prepared()
    plain = members(await export(stage))
    keep_in_containerds_store(stage)
    found = members(await export(stage))
    header = parse_header(found[HEADER_NAME])
    assert header.base is not None
    assert found[layer_entry(header.included[0])] == plain[layer_entry(header.included[0])]
    loaded: list[bytes] = []
    load = stage.engine.load_images

    async def remember(pieces: AsyncIterator[bytes]) -> tuple[str, ...]:
        loaded.append(b"".join([piece async for piece in pieces]))
        return await load(pieces_of(loaded[0]))

    stage.engine.load_images = remember  # type: ignore[assignment,method-assign]
    assert (await import_(stage, found)).details is not None
    sent = members(loaded[0])
    (manifest,) = json.loads(sent["manifest.json"])
    assert set(manifest["Layers"]) <= set(sent), "this store takes no image without the layers of its base"


def keep_in_containerds_store(stage: Stage) -> None:
    stage.engine.info = replace(stage.engine.info, has_containerd_store=True)

    def save(references: Sequence[str]) -> AsyncIterator[bytes]:
        image = stage.engine.image_of(references[0])
        return pieces_of(archive([gzip.compress(image.blobs[layer]) for layer in image.details.layers]))

    stage.engine.save_images = save  # type: ignore[assignment,method-assign]
