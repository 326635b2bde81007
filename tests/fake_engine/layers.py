"""Layers of the fake engine's images, and archives of images as `docker save` wrote them before Engine 25."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ds01.errors import BackendError, InvalidRequestError
from ds01.service.ports import ImageDetails
from tests.fake_engine.programs import FileTree
from tests.fake_engine.state import FakeImage


def diff_id_of(layer: bytes) -> str:
    """Return the checksum that names a layer."""
    return f"sha256:{hashlib.sha256(layer).hexdigest()}"


def layer_of(tree: FileTree, below: FileTree | None = None, *, uid: int = 0) -> bytes:
    """Return the files that the tree below does not have, as a tar."""
    known = below.files if below is not None else {}
    new = {path: content for path, content in tree.files.items() if path not in known or known[path] != content}
    return pack({path.lstrip("/"): content for path, content in sorted(new.items())}, uid=uid)


def pack(files: Mapping[str, bytes | None], *, uid: int = 0) -> bytes:
    """Return files as a tar; None is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            header.size, header.uid, header.gid = len(content or b""), uid, uid
            archive.addfile(header, io.BytesIO(content or b""))
    return buffer.getvalue()


def saved(image: FakeImage) -> bytes:
    """Return an image as an archive. The manifest comes last."""
    details = image.details
    config = {
        "architecture": details.architecture,
        "config": {
            "Labels": dict(details.labels),
            "Env": [f"{name}={value}" for name, value in details.environment.items()],
            "User": details.user,
        },
        "rootfs": {"type": "layers", "diff_ids": list(details.layers)},
        "id": details.id,
    }
    digits = [layer.removeprefix("sha256:") for layer in details.layers]
    files: dict[str, bytes | None] = {}
    for number, layer in enumerate(details.layers):
        files[f"{number:02}{digits[number][:20]}/VERSION"] = b"1.0"
        files[f"{number:02}{digits[number][:20]}/layer.tar"] = image.blobs[layer]
    places = [f"{number:02}{text[:20]}/layer.tar" for number, text in enumerate(digits)]
    name = f"{details.id.removeprefix('sha256:')}.json"
    files[name] = json.dumps(config).encode()
    manifest = [{"Config": name, "RepoTags": list(details.tags), "Layers": places}]
    files["manifest.json"] = json.dumps(manifest).encode()
    return pack(files)


def loaded(data: bytes, known: Sequence[FakeImage]) -> FakeImage:
    """Return the image of an archive; layers that the engine has need not be in it.

    Raises:
        InvalidRequestError: A layer has one path twice.
        BackendError: It is none, or a layer is missing or broken.
    """
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member)
                files[member.name] = content.read() if content is not None else b""
        manifest = json.loads(files["manifest.json"])[0]
        text = files[manifest["Config"]]
        config = json.loads(text)
        layers = tuple(config["rootfs"]["diff_ids"])
    except (tarfile.TarError, ValueError, KeyError, IndexError) as error:
        raise BackendError("The fake engine answered: invalid tar header") from error
    here = {layer: blob for image in known for layer, blob in image.blobs.items()}
    blobs: dict[str, bytes] = {}
    tree = FileTree()
    for layer, place in zip(layers, manifest["Layers"], strict=True):
        blob = here.get(layer) or files.get(place)
        if blob is None or diff_id_of(blob) != layer:
            raise BackendError(f"The fake engine answered: invalid diffID for layer {layer}")
        blobs[layer] = blob
        _unpack(blob, tree)
    settings = config["config"]
    details = ImageDetails(
        id=config.get("id") or diff_id_of(text),
        tags=tuple(manifest["RepoTags"] or ()),
        labels=settings.get("Labels") or {},
        environment=dict(item.split("=", 1) for item in settings.get("Env") or ()),
        user=settings.get("User", ""),
        architecture=config["architecture"],
        size_bytes=len(data),
        layers=layers,
    )
    return FakeImage(replace(details), tree, blobs)


def _unpack(layer: bytes, tree: FileTree) -> None:
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:") as archive:
        names = archive.getnames()
        if len(set(names)) < len(names):
            raise InvalidRequestError("A layer of the file has one path twice.")
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            tree.put(f"/{member.name}", content.read() if content is not None else None)
