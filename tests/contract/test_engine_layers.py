"""What exports and imports rest on: archives of images by their layers, on the fake engine and on the real one."""

import hashlib
import io
import json
import tarfile
from contextlib import aclosing

import pytest

from ds01.domain.containers.container import ContainerSpec
from ds01.domain.name import EngineName
from ds01.errors import Ds01Error, InvalidRequestError
from ds01.service.layer_stream import OwnerChange, reown
from ds01.service.ports import FileEntry
from ds01.service.tar_stream import parts_of
from tests.contract.engine_bench import IMAGE, Bench
from tests.contract.test_engine_builds import pieces_of
from tests.fake_engine.layers import pack

pytest_plugins = ("tests.contract.engine_fixtures",)
KEPT, LOADED = "ds01.invalid/contract:kept", "ds01.invalid/contract:loaded"


async def kept_layers(bench: Bench) -> tuple[tuple[str, ...], dict[str, bytes]]:
    """Layers of a container's image, lowest first, and what of the engine's archive is one of them."""
    spec = ContainerSpec(EngineName("kept", 0), IMAGE, 1001, 1001, entrypoint=("sh",), network="none", working_dir="/")
    container = await bench.engine.create_container(spec)
    try:
        await bench.engine.put_files(container, [FileEntry("/opt/mine", b"installed", uid=1001, gid=1001)])
        await bench.engine.commit_container(container, KEPT)
    finally:
        await bench.engine.remove_container(container, force=True)
    made = await bench.engine.find_image(KEPT)
    assert made is not None
    found: dict[str, bytes] = {}
    async with aclosing(bench.engine.save_images([KEPT])) as saved, aclosing(parts_of(saved)) as parts:
        async for _entry, content in parts:
            data = b"".join([piece async for piece in content])
            diff_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
            if diff_id in made.layers:
                found[diff_id] = data
    await bench.engine.remove_image(KEPT)
    return made.layers, found


def archive_of(layers: list[str], files: dict[str, bytes]) -> bytes:
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": layers}}
    places = [f"{layer.removeprefix('sha256:')}/layer.tar" for layer in layers]
    manifest = [{"Config": "config.json", "RepoTags": [LOADED], "Layers": places}]
    return pack(
        {
            **{f"{layer.removeprefix('sha256:')}/layer.tar": data for layer, data in files.items()},
            "config.json": json.dumps(config).encode(),
            "manifest.json": json.dumps(manifest).encode(),
        }
    )


async def test_layers_that_the_engine_has_need_not_be_in_what_is_loaded(bench: Bench) -> None:
    layers, found = await kept_layers(bench)
    base = await bench.engine.find_image(IMAGE)
    assert base is not None
    assert layers[: len(base.layers)] == base.layers
    (own,) = layers[len(base.layers) :]
    pieces = [piece async for piece in reown(pieces_of(found[own]), OwnerChange(1001, 1001, 70000, 1_700_000_000))]
    changed = b"".join(pieces)
    new = f"sha256:{hashlib.sha256(changed).hexdigest()}"
    assert new != own
    assert await bench.engine.load_images(pieces_of(archive_of([*base.layers, new], {new: changed}))) == (LOADED,)
    made = await bench.engine.find_image(LOADED)
    assert made is not None
    assert made.layers == (*base.layers, new)
    spec = ContainerSpec(EngineName("loaded", 0), LOADED, 0, 0, entrypoint=("sh",), network="none", working_dir="/")
    container = await bench.engine.create_container(spec)
    try:
        assert await bench.engine.read_file(container, "/opt/mine") == b"installed"
    finally:
        await bench.engine.remove_container(container, force=True)
        await bench.engine.remove_image(LOADED)


@pytest.mark.parametrize("how", ["missing", "other"])
async def test_a_layer_that_is_missing_or_another_one_is_not_loaded(bench: Bench, how: str) -> None:
    layer = pack({"file": b"x"})
    name = f"sha256:{'1' * 64}"
    files = {} if how == "missing" else {name: layer}
    with pytest.raises(Ds01Error):
        await bench.engine.load_images(pieces_of(archive_of([name], files)))
    assert await bench.engine.find_image(LOADED) is None


async def test_a_layer_with_one_path_twice_is_not_loaded_and_the_file_is_to_blame(bench: Bench) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for content in (b"first", b"second"):
            entry = tarfile.TarInfo("file")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    layer = buffer.getvalue()
    name = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    with pytest.raises(InvalidRequestError, match="twice"):
        await bench.engine.load_images(pieces_of(archive_of([name], {name: layer})))
    assert await bench.engine.find_image(LOADED) is None
