"""Files that containers are written to and made from: our own, and those of `docker save` and `docker export`."""

import hashlib
import io
import json
import os
import posixpath
import tarfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import IO, cast

from ds01.cli.archive import PieceReader, Unpacker, Warn, pack
from ds01.cli.compression import CompressedWriter, checked_size, damaged, read_content
from ds01.cli.whole_file import whole_file
from ds01.domain.containers.export import (
    HEADER_NAME,
    MAX_DOCUMENT_BYTES,
    ORDER_NAME,
    WORKSPACE_NAME,
    ExportHeader,
    diff_id_of,
    layer_entry,
    parse_header,
    plain_config,
)
from ds01.errors import ConflictError, InvalidRequestError, NotFoundError
from ds01.units import format_size

_MANIFEST = "manifest.json"
_ROOT_FILES = frozenset({"etc/passwd", "bin/sh", "usr/bin", "etc/os-release", "bin/busybox"})
_BLOCK_BYTES = 512
MAX_TEXTS_BYTES = 16 * MAX_DOCUMENT_BYTES
"""The documents of a foreign archive that are kept while it is looked through."""
_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file that was looked through.

    Attributes:
        path: Where it is.
        header: What it says of itself, or what follows from its content.
        size_bytes: Length of its content.
        is_told: The file itself says this length.
        has_workspace: A workspace is in it.
        places: Diff ids by the names of their entries; empty: the whole content is the one layer.
    """

    path: str
    header: ExportHeader
    size_bytes: int
    is_told: bool = False
    has_workspace: bool = False
    places: Mapping[str, str] = field(default_factory=dict)


def write_export(
    path: str, ask: Callable[[], Generator[bytes, None, None]], *, workspace: str | None, warn: Warn
) -> ExportHeader:
    """Write what the daemon sends, and a workspace, to a file that is there whole or not at all.

    Args:
        path: The file; one that is there is replaced.
        ask: Asks the daemon, once the file can be written, and returns what it sends.
        workspace: A folder to add.
        warn: Is told what of the folder is left out.

    Raises:
        Ds01Error: It cannot be written, or what came is not whole; nothing is left.
    """
    with _said(path), _read_well(), whole_file(path) as target:
        writer = CompressedWriter(target)
        with closing(ask()) as archive:
            header = _write_members(writer, archive, workspace, warn)
        writer.finish()
    return header


def _write_members(
    writer: CompressedWriter, archive: Iterator[bytes], workspace: str | None, warn: Warn
) -> ExportHeader:
    header: ExportHeader | None = None
    missing: set[str] = set()
    with tarfile.open(fileobj=cast("IO[bytes]", writer), mode="w|", format=tarfile.PAX_FORMAT) as target:
        for member, content in _members(archive):
            if header is None:
                text = content.read(MAX_DOCUMENT_BYTES)
                header = parse_header(text)
                missing = set(header.included)
                target.addfile(member, io.BytesIO(text))
                continue
            checked = _Hashed(content)
            target.addfile(member, cast("IO[bytes]", checked))
            if f"sha256:{checked.digest()}" != diff_id_of(member.name):
                raise ConflictError("A layer does not have its checksum.", hint="Try again.")
            missing.discard(f"sha256:{checked.digest()}")
        if header is None or missing:
            raise ConflictError("The daemon did not send everything.", hint="Try again.")
        if workspace is not None:
            for member, content in _members(pack(workspace, WORKSPACE_NAME, warn=warn)):
                target.addfile(member, content if member.isreg() else None)
    return header


class _Hashed:
    """A file that counts while it is read."""

    def __init__(self, source: io.IOBase) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data: bytes = self._source.read(size)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        return self._hash.hexdigest()


def _members(pieces: Iterator[bytes]) -> "Iterator[tuple[tarfile.TarInfo, io.BufferedReader | io.BytesIO]]":
    with (
        _read_well(),
        tarfile.open(fileobj=PieceReader(pieces), mode="r|", encoding="utf-8", errors="surrogateescape") as archive,
    ):
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            yield member, content or io.BytesIO()  # type: ignore[misc]  # IO[bytes] of a regular member
        while next(pieces, b""):
            pass


def _read_through(source: "io.BufferedReader | io.BytesIO") -> Iterator[bytes]:
    with _read_well():
        while piece := source.read(_PIECE_BYTES):
            yield piece


@contextmanager
def _read_well() -> Iterator[None]:
    """Contents are read by whoever is given them, so this surrounds both."""
    try:
        yield
    except tarfile.TarError as error:
        raise InvalidRequestError(f"The archive cannot be read: {error}.", hint="Make it again.") from error


def read_file(path: str, *, room_bytes: int | None = None) -> ReadFile:
    """Look through a file: every checksum, before anything is made of it.

    Args:
        path: The file.
        room_bytes: The most that there is room for here; None: unknown.

    Raises:
        NotFoundError: There is no such file.
        ConflictError: It says that it is longer than there is room for.
        InvalidRequestError: It is damaged, or no container's file.
    """
    with _said(path):
        if not os.path.isfile(path):
            raise NotFoundError(f"There is no file {path}.")
        told = checked_size(path)
    _require_room(path, told, room_bytes)
    size_bytes, layers, has_workspace = 0, _Layers(), False
    header: ExportHeader | None = None

    def counted() -> Iterator[bytes]:
        nonlocal size_bytes
        for piece in read_content(path, told, room_bytes):
            size_bytes += len(piece)
            layers.whole.update(piece)
            yield piece

    with _read_well():
        for member, content in _members(counted()):
            if member.name == HEADER_NAME and header is None and not layers.digests:
                header = parse_header(content.read(MAX_DOCUMENT_BYTES))
                if told is None:
                    raise InvalidRequestError(f"{path} is cut off: its checksum is missing.", hint="Copy it again.")
            elif posixpath.normpath(member.name).split("/")[0] == WORKSPACE_NAME and header is not None:
                has_workspace = True
            else:
                layers.take(member, content)
    if header is not None:
        if {diff_id_of(name) for name in layers.digests} != set(header.included) or layers.wrong_names():
            raise damaged(path)
        return ReadFile(path, header, size_bytes, told is not None, has_workspace)
    return layers.as_foreign(path, size_bytes)


def _require_room(path: str, told: int | None, room_bytes: int | None) -> None:
    if told is not None and room_bytes is not None and told > room_bytes:
        raise ConflictError(
            f"{path} unpacks to {format_size(told)}, and there is room for {format_size(room_bytes)} here.",
            hint="Free some: `ds01 container cleanup`, or ask your administrator.",
        )


class _Layers:
    """What the entries of a file are, by their content."""

    def __init__(self) -> None:
        self.whole = hashlib.sha256()
        self.digests: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._texts: dict[str, bytes] = {}
        self._is_root = False

    def take(self, member: tarfile.TarInfo, content: "io.BufferedReader | io.BytesIO") -> None:
        """Look at one entry."""
        name = posixpath.normpath(member.name)
        self._is_root = self._is_root or name in _ROOT_FILES
        if member.issym():
            self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
        if not member.isreg() or self._is_root:
            return
        found = hashlib.sha256()
        if member.size <= MAX_DOCUMENT_BYTES:
            text = content.read()
            if text[:1] in {b"{", b"["} and sum(map(len, self._texts.values())) < MAX_TEXTS_BYTES:
                self._texts[name] = text
            found.update(text)
        while piece := content.read(_PIECE_BYTES):
            found.update(piece)
        self.digests[name] = found.hexdigest()

    def wrong_names(self) -> bool:
        """Tell whether a layer is not what its name says."""
        return any(diff_id_of(name) != f"sha256:{digest}" for name, digest in self.digests.items())

    def as_foreign(self, path: str, size_bytes: int) -> ReadFile:
        """Return what `docker save` or `docker export` have written."""
        if _MANIFEST in self._texts:
            return self._as_saved(path, size_bytes)
        if not self._is_root:
            raise InvalidRequestError(
                f"{path} holds no container: neither `ds01 container export` nor docker save or export made it."
            )
        if size_bytes % _BLOCK_BYTES:
            raise InvalidRequestError(f"{path} is cut off.", hint="Copy it again.")
        layer = f"sha256:{self.whole.hexdigest()}"
        return ReadFile(path, ExportHeader("", "docker export", (layer,)), size_bytes)

    def _as_saved(self, path: str, size_bytes: int) -> ReadFile:
        try:
            images = json.loads(self._texts[_MANIFEST])
            if len(images) != 1:
                names = ", ".join(str(tag) for image in images for tag in image["RepoTags"] or ())[:500]
                raise InvalidRequestError(
                    f"{path} holds {len(images)} images ({names}), and a container has one.",
                    hint="Save the one alone: docker save IMAGE",
                )
            image = images[0]
            config = json.loads(self._texts[image["Config"]])
            layers = tuple(str(layer) for layer in config["rootfs"]["diff_ids"])
            named = [self._links.get(str(name), str(name)) for name in image["Layers"]]
            tags = image.get("RepoTags") or [""]
            architecture, settings = str(config.get("architecture", "amd64")), dict(config.get("config") or {})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as broken:
            raise InvalidRequestError(f"{path} looks like a file of docker save, and is none.") from broken
        for name, layer in zip(named, layers, strict=False):
            if f"sha256:{self.digests.get(name)}" != layer:
                raise InvalidRequestError(
                    f"{path} is damaged, or its layers are compressed.",
                    hint="Load it with docker load, and name its image: ds01 create NAME --image IMAGE",
                )
        if len(named) != len(layers) or not layers:
            raise InvalidRequestError(f"{path} does not have the layers that it says.")
        name = str(tags[0]).rpartition("/")[2].partition(":")[0]
        header = ExportHeader(name, "docker save", layers, architecture=architecture, config=plain_config(settings))
        return ReadFile(path, header, size_bytes, places=dict(zip(named, layers, strict=True)))


def upload_of(file: ReadFile, order: Mapping[str, object]) -> Iterator[bytes]:
    """Yield what the daemon makes a container of: an order, the header, the layers.

    Raises:
        InvalidRequestError: The file has changed since it was looked through.
    """
    yield from _entry(ORDER_NAME, json.dumps(order).encode())
    yield from _entry(HEADER_NAME, file.header.to_text().encode())
    content = read_content(file.path, file.size_bytes)
    if not file.places and file.header.origin == "docker export":
        yield _head(layer_entry(file.header.layers[0]), file.size_bytes)
        yield from content
    else:
        sent: set[str] = set()
        for member, source in _members(content):
            name = posixpath.normpath(member.name)
            diff_id = file.places.get(name) or (diff_id_of(name) if not file.places else None)
            if diff_id is None or diff_id in sent or not member.isreg():
                continue
            sent.add(diff_id)
            yield _head(layer_entry(diff_id), member.size)
            yield from _read_through(source)
            yield bytes(-member.size % _BLOCK_BYTES)
    yield bytes(2 * _BLOCK_BYTES)


def unpack_workspace(file: ReadFile, folder: str, *, warn: Warn) -> None:
    """Write the workspace of a file into an empty folder of this user.

    Raises:
        Ds01Error: Something cannot be written.
    """

    def chosen() -> Iterator[bytes]:
        for member, source in _members(read_content(file.path, file.size_bytes)):
            if posixpath.normpath(member.name).split("/")[0] != WORKSPACE_NAME:
                continue
            yield member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
            yield from _read_through(source)
            yield bytes(-member.size % _BLOCK_BYTES if member.isreg() else 0)
        yield bytes(2 * _BLOCK_BYTES)

    Unpacker(folder, rename=(WORKSPACE_NAME, ""), warn=warn).unpack(chosen())


def _entry(name: str, text: bytes) -> Iterator[bytes]:
    yield _head(name, len(text)) + text + bytes(-len(text) % _BLOCK_BYTES)


def _head(name: str, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = size
    return header.tobuf(tarfile.PAX_FORMAT)


@contextmanager
def _said(path: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError as failure:
        there = failure.filename or path
        raise ConflictError(
            f"{there} is there already.", hint=f"Remove it if nothing writes it: rm {there}"
        ) from failure
    except OSError as failure:
        raise ConflictError(f"{path} cannot be used: {failure.strerror or failure}.") from failure
