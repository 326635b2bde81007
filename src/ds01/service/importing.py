"""A container from a file: its layers become an image, the image a container of whoever imports it, or nothing is made.

Every layer's name is its checksum. The engine makes nothing before it has read the manifest, which is the last entry
and is sent only when everything before it was found right.
"""

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from ds01.domain.containers.export import (
    HEADER_NAME,
    MAX_DOCUMENT_BYTES,
    ORDER_NAME,
    ExportedBase,
    ExportHeader,
    diff_id_of,
    parse_header,
    plain_config,
)
from ds01.domain.event import Event
from ds01.domain.label import RESERVED_PREFIXES
from ds01.domain.name import EngineName, parse_container_name
from ds01.domain.rules.access import Caller
from ds01.domain.user import User
from ds01.errors import BackendError, InvalidRequestError, NotFoundError
from ds01.service.creation import Creation, CreationService
from ds01.service.disk_room import DiskRoom, require_room
from ds01.service.image_layers import plain_layers
from ds01.service.image_rules import ImageRules
from ds01.service.images import ImageChoice, ImageOrder, ImageService
from ds01.service.layer_stream import OwnerChange, reown
from ds01.service.order import CreateOrder
from ds01.service.ports import ImageDetails, Notify, World
from ds01.service.tar_stream import BLOCK_BYTES, Part, TarEntry, header_of, parts_of
from ds01.service.temporary_images import TemporaryImages

MAX_BYTES = 256 * 1024**3
"""Largest layer that is taken."""
_EMPTY_TIME = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class _Work:
    """One import: who, what, under which name it is loaded, and the room on the engine's disk (None: unknown)."""

    caller: Caller
    header: ExportHeader
    reference: str
    free_bytes: int | None


class ImportService:
    """Imports."""

    def __init__(
        self,
        world: World,
        creation: CreationService,
        images: ImageService,
        temporary: TemporaryImages,
        *,
        rules: ImageRules,
        room: DiskRoom,
    ) -> None:
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._creation = creation
        self._images = images
        self._temporary = temporary
        self._rules = rules
        self._room = room

    async def import_(
        self, caller: Caller, archive: AsyncIterator[bytes], order_of: Callable[[bytes], CreateOrder], notify: Notify
    ) -> Creation:
        """Make a container of what comes: an order, a header, the layers.

        Args:
            caller: Whose it becomes.
            archive: A plain tar.
            order_of: Reads the order, the archive's first entry.
            notify: Is told how far it is.

        Raises:
            InvalidRequestError: The archive is damaged, hostile or of a newer DS01; nothing is made.
            ConflictError: The engine's disk has no room for it; nothing is made.
            NoCapacityError: Too few GPUs are free, which is looked at before the layers are read; nothing is made.
            Ds01Error: As a creation; everything that was made is undone.
        """
        async with aclosing(parts_of(archive)) as parts:
            order = order_of(await _document(parts, ORDER_NAME))
            header = parse_header(await _document(parts, HEADER_NAME))
            plan = await self._creation.prepare(caller, replace(order, image=_stand_in(order)))
            await self._creation.require_grantable(caller, plan)
            base = await self._provide_base(caller.user, header.base, notify)
            name = EngineName(parse_container_name(order.name), caller.uid)
            free_bytes = await self._room.free_bytes()
            async with self._temporary.named("import", name) as reference:
                await notify({"kind": "step", "message": "Loading the layers"})
                work = _Work(caller, header, reference, free_bytes)
                async with aclosing(self._below(base)) as below, aclosing(_loadable(parts, work, below)) as pieces:
                    await self._engine.load_images(pieces)
                await self._require_loaded(reference, len(header.layers))
                imported = replace(order, image=replace(order.image, image=reference, is_internal=True))
                creation = await self._creation.create(caller, imported, notify)
        await self._record(caller, order, header)
        source = f"imported from a file of {header.origin}, {len(header.included)} layers"
        return replace(creation, reasons=(source, *creation.reasons[1:]))

    async def _provide_base(self, user: User, base: ExportedBase | None, notify: Notify) -> ImageDetails | None:
        """Return the base, found here by its id or name, or pulled. A name can mean another image by now.

        What the file says is anybody's word: a base that is somebody else's is not here.
        """
        if base is None:
            return None
        for reference in (base.image_id, base.reference):
            with suppress(NotFoundError):
                found = await self._rules.find(user, reference)
                if found is not None and found.layers == base.layers:
                    return found
        wanted = base.digest or base.reference
        hint = "Export it again with --with-base, or load that image first."
        try:
            pulled = await self._images.pull(ImageChoice(wanted, "", "", "", is_custom=True), notify)
        except (NotFoundError, BackendError) as failure:
            raise NotFoundError(
                f"The file needs the image {base.reference}, which is not here and cannot be pulled: {failure.message}",
                hint=hint,
            ) from failure
        if pulled.layers != base.layers:
            raise NotFoundError(f"{base.reference} is another image now than the one that the file needs.", hint=hint)
        return pulled

    async def _below(self, base: ImageDetails | None) -> AsyncGenerator[bytes, None]:
        """Yield the layers of the base, for an engine that takes no image without them.

        A storage driver finds by itself the layers that it has; containerd's image store wants every one.
        """
        if base is None or not (await self._engine.get_info()).has_containerd_store:
            return
        async with aclosing(plain_layers(self._engine, base.id, base.layers, frozenset(base.layers))) as layers:
            async for layer in layers:
                yield header_of(TarEntry(_place_of(layer.diff_id), size_bytes=layer.size_bytes))
                async for piece in layer.content:
                    yield piece
                yield bytes(-layer.size_bytes % BLOCK_BYTES)

    async def _require_loaded(self, reference: str, layers: int) -> None:
        found = await self._engine.find_image(reference)
        if found is None or len(found.layers) != layers:
            raise BackendError("The engine loaded the file and does not have its image.", hint="Try again.")

    async def _record(self, caller: Caller, order: CreateOrder, header: ExportHeader) -> None:
        event = Event(
            "container.imported",
            self._clock.now(),
            actor_uid=caller.uid,
            uid=caller.uid,
            container=order.name,
            details={"origin": header.origin},
        )
        await self._store.write(lambda transaction: transaction.append_event(event))


def _stand_in(order: CreateOrder) -> ImageOrder:
    """An image that no registry has, for the checks before anything is loaded."""
    return replace(order.image, image="ds01.invalid/import:pending", is_internal=True)


async def _document(parts: AsyncIterator[Part], name: str) -> bytes:
    entry, content = await anext(parts, (None, None))
    if entry is None or content is None or entry.name != name or entry.size_bytes > MAX_DOCUMENT_BYTES:
        raise InvalidRequestError(f"The archive does not have {name} where it belongs.")
    return b"".join([piece async for piece in content])


async def _loadable(
    parts: AsyncIterator[Part], work: _Work, below: AsyncIterator[bytes]
) -> AsyncGenerator[bytes, None]:
    """Yield the archive that the engine loads: what came, what is below it, and then what says that it is an image.

    Source: Engine API 1.41, ImageLoad; `docker save`, manifest.json.
    """
    header, caller = work.header, work.caller
    change = None
    if header.uid is not None and header.gid is not None:
        change = OwnerChange(header.uid, header.gid, caller.user.uid, caller.user.gid)
        change = None if (header.uid, header.gid) == (change.uid, change.gid) else change
    here: dict[str, str] = {}
    size_bytes = 0
    async for entry, content in parts:
        diff_id = diff_id_of(entry.name)
        if diff_id not in header.included or diff_id in here or diff_id is None:
            raise InvalidRequestError(f"The archive holds {entry.name[:200]!r}, which does not belong there.")
        if entry.size_bytes > MAX_BYTES or entry.size_bytes % BLOCK_BYTES:
            raise InvalidRequestError(f"A layer of {entry.size_bytes} bytes is too large, or is none.")
        size_bytes += entry.size_bytes
        require_room(size_bytes, work.free_bytes)
        yield header_of(TarEntry(_place_of(diff_id), size_bytes=entry.size_bytes))
        came, sent = hashlib.sha256(), hashlib.sha256()
        async with aclosing(reown(_counted(content, came.update), change)) as pieces:
            async for piece in pieces:
                sent.update(piece)
                yield piece
        if f"sha256:{came.hexdigest()}" != diff_id:
            raise InvalidRequestError("The file is damaged: a layer does not have its checksum.", hint="Copy it again.")
        here[diff_id] = f"sha256:{sent.hexdigest()}"
    if len(here) != len(header.included):
        raise InvalidRequestError("The file is cut off: a layer is missing.", hint="Copy it again.")
    async for piece in below:
        yield piece
    lowest = len(header.base.layers) if header.base else 0
    layers = [*header.layers[:lowest], *(here[layer] for layer in header.layers[lowest:])]
    places = [_place_of(layer) for layer in header.layers]
    yield _json_entry("config.json", _config(header, layers))
    yield _json_entry("manifest.json", [{"Config": "config.json", "RepoTags": [work.reference], "Layers": places}])
    yield bytes(2 * BLOCK_BYTES)


async def _counted(content: AsyncIterator[bytes], update: Callable[[bytes], None]) -> AsyncGenerator[bytes, None]:
    async for piece in content:
        update(piece)
        yield piece


def _place_of(diff_id: str) -> str:
    return f"{diff_id.removeprefix('sha256:')}/layer.tar"


def _config(header: ExportHeader, layers: list[str]) -> dict[str, object]:
    config = plain_config(header.config)
    labels = config.get("Labels")
    if isinstance(labels, dict):
        config["Labels"] = {key: value for key, value in labels.items() if not key.startswith(RESERVED_PREFIXES)}
    return {
        "architecture": header.architecture or "amd64",
        "os": "linux",
        "created": header.created_at or _EMPTY_TIME,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": layers},
        "history": [{"created_by": "ds01 container import"} for _ in layers],
    }


def _json_entry(name: str, document: object) -> bytes:
    text = json.dumps(document).encode()
    return header_of(TarEntry(name, size_bytes=len(text))) + text + bytes(-len(text) % BLOCK_BYTES)
