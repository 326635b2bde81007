"""A container as a stream: what it is, and those layers of it that its base does not have."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from ds01.domain.containers.container import ContainerDetails, ContainerState
from ds01.domain.containers.export import HEADER_NAME, ExportedBase, ExportHeader, layer_entry
from ds01.domain.event import Event
from ds01.domain.images.image import is_private_tag
from ds01.domain.name import EngineName
from ds01.domain.rules.access import Caller
from ds01.errors import BackendError, ConflictError, InvalidRequestError
from ds01.service.completion import complete
from ds01.service.containers import ContainerService
from ds01.service.image_layers import plain_layers
from ds01.service.order import CreateOrder
from ds01.service.ports import Engine, ImageDetails, World
from ds01.service.presence import Presence
from ds01.service.tar_stream import BLOCK_BYTES, TarEntry, header_of
from ds01.service.temporary_images import TemporaryImages

NOBODYS_REGISTRY = "ds01.invalid/"


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What an export would write.

    Attributes:
        details: The container.
        base: Image whose layers are left out; None: there is none, or they are wanted.
        size_bytes: Bytes before compression, as far as the engine says.
        workspace: Its folder at /workspace; None without.
        warnings: What the user should know.
    """

    details: ContainerDetails
    base: ExportedBase | None
    size_bytes: int
    workspace: str | None
    warnings: tuple[str, ...]


class ExportService:
    """Exports. Everything that is made for it is gone at its end, whatever that is."""

    def __init__(
        self, world: World, containers: ContainerService, presence: Presence, temporary: TemporaryImages
    ) -> None:
        self._engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._containers = containers
        self._presence = presence
        self._temporary = temporary

    async def plan(self, uid: int, name: str, *, with_base: bool = False) -> ExportPlan:
        """Say what an export would write. Changes nothing.

        Raises:
            NotFoundError: The user has no such container.
            ConflictError: It is just being removed or made.
        """
        details = await self._containers.get_details(uid, name)
        if details.state in {ContainerState.REMOVING, ContainerState.DEAD, ContainerState.RESTARTING}:
            raise ConflictError(f"{name} is {details.state}.", hint="Try again in a moment.")
        image = await self._image_of(details)
        base = None if with_base else await find_base(self._engine, image)
        size_bytes = await self._engine.measure_container(details.id)
        if base is None:
            size_bytes += image.size_bytes
        else:
            own = await self._engine.find_image(base.image_id)
            size_bytes += max(0, image.size_bytes - (own.size_bytes if own else 0))
        mounted = next((mount.source for mount in details.mounts if mount.target == "/workspace"), None)
        return ExportPlan(details, base, size_bytes, mounted, _warnings(details, base, with_base=with_base))

    async def export(
        self, caller: Caller, uid: int, name: str, *, with_base: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Yield the container as a tar: a header, then its layers under their diff ids.

        A running container is frozen while its files are kept, not while they are sent.

        Raises:
            NotFoundError: The user has no such container.
            BackendError: The engine failed; what was made is removed.
        """
        plan = await self.plan(uid, name, with_base=with_base)
        image = await self._image_of(plan.details)
        order = await self._order_of(plan.details)
        async with self._temporary.named("export", EngineName(name, uid)) as reference:
            async with self._presence.working_on(uid, name):
                await self._engine.commit_container(plan.details.id, reference)
            made = await self._engine.find_image(reference)
            if made is None or not made.layers:
                raise BackendError(f"The engine kept {name} and does not have it.", hint="Try again.")
            owner, _, group = plan.details.user.partition(":")
            header = ExportHeader(
                name=name,
                origin="ds01",
                layers=made.layers,
                base=plan.base if plan.base and made.layers[: len(plan.base.layers)] == plan.base.layers else None,
                uid=int(owner) if owner.isdigit() else None,
                gid=int(group) if group.isdigit() else None,
                architecture=made.architecture,
                config=_config_of(image),
                order=portable_order(order) if order else {},
                created_at=self._clock.now().isoformat(),
            )
            async with aclosing(self._stream(reference, header)) as pieces:
                async for piece in pieces:
                    yield piece
            await complete(self._record(caller, uid, name, header))

    async def _image_of(self, details: ContainerDetails) -> ImageDetails:
        image = await self._engine.find_image(details.image_id)
        if image is None:
            raise BackendError(f"The engine does not have the image of {details.name}.", hint="Try again.")
        return image

    async def _order_of(self, details: ContainerDetails) -> CreateOrder | None:
        row = await self._containers.find_row(details)
        try:
            return CreateOrder.from_text(row.spec) if row is not None else None
        except InvalidRequestError:  # of a row that reconcile has rebuilt: nothing is known of the order
            return None

    async def _stream(self, reference: str, header: ExportHeader) -> AsyncGenerator[bytes, None]:
        text = header.to_text().encode()
        yield header_of(TarEntry(HEADER_NAME, size_bytes=len(text))) + text + bytes(-len(text) % BLOCK_BYTES)
        layers = plain_layers(self._engine, reference, header.layers, frozenset(header.included))
        async with aclosing(layers):
            async for layer in layers:
                yield header_of(TarEntry(layer_entry(layer.diff_id), size_bytes=layer.size_bytes))
                async for piece in layer.content:
                    yield piece
                yield bytes(-layer.size_bytes % BLOCK_BYTES)
        yield bytes(2 * BLOCK_BYTES)

    async def _record(self, caller: Caller, uid: int, name: str, header: ExportHeader) -> None:
        details = {"base": header.base.reference if header.base else ""}
        event = Event(
            "container.exported", self._clock.now(), actor_uid=caller.uid, uid=uid, container=name, details=details
        )
        await self._store.write(lambda transaction: transaction.append_event(event))


async def find_base(engine: Engine, image: ImageDetails) -> ExportedBase | None:
    """Return the image below another one that others can have too: the one with the most of its layers, or None.

    Of several with the same layers, one of a registry comes first, then the very image: others may differ in labels.
    """
    best: ExportedBase | None = None
    best_rank = (0, False, False)
    for row in await engine.list_images():
        names = [tag for tag in row.tags if not is_private_tag(tag) and not tag.startswith(NOBODYS_REGISTRY)]
        if not names and not row.digests:
            continue
        found = await engine.find_image(row.id)
        if found is None or not found.layers or image.layers[: len(found.layers)] != found.layers:
            continue
        digest = next(iter(found.digests), "")
        base = ExportedBase(names[0] if names else digest, found.id, digest, found.layers)
        rank = (len(base.layers), bool(digest), found.id == image.id)
        if rank > best_rank:
            best, best_rank = base, rank
    return best


def portable_order(order: CreateOrder) -> dict[str, object]:
    """Return what of an order is wanted elsewhere too, as the API has it: no folder and no limit of this machine."""
    gpu = order.request
    found: dict[str, object] = {"gpu": {"count": gpu.count}}
    if gpu.count:
        found["gpu"] = {"count": gpu.count, "kind": gpu.kind}
        if gpu.memory_bytes is not None:
            found["gpu"] = {"count": gpu.count, "kind": gpu.kind, "memory_bytes": gpu.memory_bytes}
    named = {"framework": order.image.framework, "version": order.image.version}
    found |= {key: value for key, value in named.items() if value is not None}
    if order.environment:
        found["environment"] = dict(order.environment)
    if order.ports:
        found["ports"] = [{"container_port": port.container_port, "protocol": port.protocol} for port in order.ports]
    return found


def _config_of(image: ImageDetails) -> dict[str, object]:
    """The image's configuration, not the container's: that holds its owner's account."""
    config: dict[str, object] = {
        "Env": [f"{key}={value}" for key, value in image.environment.items()],
        "Cmd": list(image.command),
        "Entrypoint": list(image.entrypoint),
        "WorkingDir": image.working_dir,
        "User": image.user,
        "Labels": dict(image.labels),
        "StopSignal": image.stop_signal,
    }
    return {key: value for key, value in config.items() if value}


def _warnings(details: ContainerDetails, base: ExportedBase | None, *, with_base: bool) -> tuple[str, ...]:
    found: list[str] = []
    if details.state is ContainerState.RUNNING:
        found.append("It runs: its programs are frozen for a moment, and what they have in memory is not in the file.")
    if base is None and not with_base:
        found.append("No image here is its base, so the file has every layer.")
    if base is not None and not base.digest:
        found.append(f"{base.reference} was never in a registry: a machine that does not have it needs --with-base.")
    return tuple(found)
