"""What lies about and is a user's own: containers at rest, the GPUs that they keep, images that nothing names."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from ds01.domain import label
from ds01.domain.allocation import AllocationState
from ds01.domain.containers.container import ContainerDetails, ContainerState
from ds01.domain.containers.origin import is_half_made, may_be_half_made
from ds01.domain.images.image import is_private_tag
from ds01.domain.name import parse_engine_name
from ds01.domain.rules.access import Caller
from ds01.errors import ConflictError, Ds01Error, NotFoundError
from ds01.service.containers import ContainerService, ContainerView
from ds01.service.images import drop_private_tag
from ds01.service.ports import ImageDetails, World
from ds01.service.presence import Presence
from ds01.service.removal import RemovalService
from ds01.service.temporary_images import TemporaryImages, is_temporary

SETTLING = timedelta(minutes=10)
"""AIME's `mlc create` may still be at work on what is younger than this."""
PARALLEL_READINGS = 4
HOLD_PREFIX = "hold:"
_AT_REST = frozenset({ContainerState.CREATED, ContainerState.EXITED, ContainerState.DEAD})


class LeftoverKind(StrEnum):
    """Why something is offered."""

    STOPPED = "stopped"
    NEVER_STARTED = "never started"
    HALF_MADE = "half made"
    TAG = "image without a container"
    UNTAGGED = "build without a name"
    TEMPORARY = "interrupted export or import"
    HOLD = "kept GPUs"


_IMAGES = frozenset({LeftoverKind.TAG, LeftoverKind.UNTAGGED, LeftoverKind.TEMPORARY})
_UNSURE = _IMAGES | {LeftoverKind.HALF_MADE}
"""It may still be in the making."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that could go.

    Attributes:
        id: Full id of a container or an image, a tag, or `hold:` with the full id of a container.
        kind: Why it is offered.
        name: Name for people.
        since: End of its last run, else its creation; None: unknown.
        size_bytes: What its removal frees: of a container what was written in it, of an image what no other image
            has; None: it could not be measured.
        gpu_uuids: Devices that it holds.
        keeps: It holds them only because it ran before: they can be given back, and it stays.
    """

    id: str
    kind: LeftoverKind
    name: str
    since: datetime | None
    size_bytes: int | None
    gpu_uuids: tuple[str, ...] = ()
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class Cleared:
    """What became of one leftover.

    Attributes:
        leftover: It.
        problem: Why it is still there; None: it is gone.
    """

    leftover: Leftover
    problem: Ds01Error | None = None


class LeftoverService:
    """Finds and removes leftovers of one user, and never anything else."""

    def __init__(
        self,
        world: World,
        containers: ContainerService,
        removal: RemovalService,
        presence: Presence,
        temporary_images: TemporaryImages,
    ) -> None:
        self._engine = world.engine
        self._accounts = world.accounts
        self._temporary_images = temporary_images
        self._store = world.store
        self._clock = world.clock
        self._containers = containers
        self._removal = removal
        self._presence = presence

    async def find(self, uid: int, *, older_than: timedelta | None = None) -> list[Leftover]:
        """Return a user's leftovers, oldest first.

        Args:
            uid: The user.
            older_than: Only what has been at rest for longer. None: everything but what may still be in the making.

        Raises:
            BackendError: Engine or store do not answer.
        """
        views = await self._containers.list_views()
        own = [view for view in views if view.uid == uid and self._is_at_rest(view)]
        gate = asyncio.Semaphore(PARALLEL_READINGS)

        async def read(view: ContainerView) -> Leftover | None:
            async with gate:
                return await self._container(view)

        found = [item for item in await asyncio.gather(*(read(view) for view in own)) if item is not None]
        found += [_hold_of(item) for item in found if item.keeps]
        found += await self._images(uid, views)
        now = self._clock.now()
        kept = [item for item in found if _is_due(item, older_than, now)]
        return sorted(kept, key=lambda item: (item.since is not None, item.since or now, item.id))

    def _is_at_rest(self, view: ContainerView) -> bool:
        is_unfinished = view.row.engine_id is None if view.row else label.is_ours(view.summary.labels)
        is_busy = view.uid is not None and self._presence.is_busy(view.uid, view.name)
        return view.summary.state in _AT_REST and not is_unfinished and not is_busy

    async def _container(self, view: ContainerView) -> Leftover | None:
        details = await self._engine.find_container(view.summary.id)
        if details is None:
            return None
        try:
            size_bytes = await self._engine.measure_container(details.id)
        except Ds01Error:
            size_bytes = None
        grant = view.allocation
        held = grant.gpu_uuids if grant and grant.is_holding else ()
        keeps = bool(held) and grant is not None and grant.state is AllocationState.HELD
        since = details.finished_at if details.started_at else details.created_at
        since = since or details.created_at
        return Leftover(details.id, _kind(view, details), view.name, since, size_bytes, held, keeps)

    async def _images(self, uid: int, views: Sequence[ContainerView]) -> list[Leftover]:
        images = await self._engine.list_images(measures_shared=True)
        rows = await self._store.read(lambda transaction: transaction.list_containers())
        login = await self._login_of(uid)
        names = {view.summary.name for view in views}
        used = {row.image for row in rows} | {view.summary.image for view in views}
        found: list[Leftover] = []
        for image in images:
            if _is_untagged_build(image, login) and image.id not in used:
                shown = image.labels[label.CUSTOM_IMAGE]
                found.append(Leftover(image.id, LeftoverKind.UNTAGGED, shown, image.created_at, _freed(image)))
            for tag in image.tags:
                if is_temporary(tag):
                    kind = LeftoverKind.TEMPORARY
                    is_left = _owner_of(tag) == uid and not self._temporary_images.is_in_use(tag)
                else:
                    kind = LeftoverKind.TAG
                    is_left = is_private_tag(tag) and tag not in used and _is_dangling(tag, uid, names)
                if is_left:
                    found.append(Leftover(tag, kind, tag, image.created_at, _freed(image)))
        return found

    async def _login_of(self, uid: int) -> str:
        """Their login name; empty for an account that is gone."""
        try:
            return (await asyncio.to_thread(self._accounts.get_user, uid)).name
        except NotFoundError:
            return ""

    async def clear(
        self, caller: Caller, uid: int, ids: Sequence[str], *, older_than: timedelta | None = None
    ) -> list[Cleared]:
        """Remove leftovers. Each is looked for again, so what is used meanwhile stays; one failure stops no other.

        Raises:
            BackendError: Engine or store do not answer.
        """
        present = {item.id: item for item in await self.find(uid, older_than=older_than)}
        outcomes: list[Cleared] = []
        # what a container keeps goes first: with the container it would be gone already
        for wanted in sorted(dict.fromkeys(ids), key=lambda wanted: not wanted.startswith(HOLD_PREFIX)):
            item = present.get(wanted)
            if item is None:
                gone = Leftover(wanted, LeftoverKind.STOPPED, wanted[:80], None, None)
                outcomes.append(Cleared(gone, ConflictError(f"{wanted[:80]} is not a leftover of yours (any more).")))
                continue
            try:
                await self._remove(caller, uid, item)
            except Ds01Error as problem:
                outcomes.append(Cleared(item, problem))
            else:
                outcomes.append(Cleared(item))
        return outcomes

    async def _remove(self, caller: Caller, uid: int, item: Leftover) -> None:
        if item.kind is LeftoverKind.HOLD:
            await self._removal.release(caller, uid, item.name)
            return
        if item.kind not in _IMAGES:
            await self._removal.remove(caller, uid, item.name, force=False)
            return
        if item.kind is LeftoverKind.TAG:
            await drop_private_tag(self._engine, item.id)
        else:
            await self._engine.remove_image(item.id)
        image = await self._engine.find_image(item.id)
        if image is not None and item.id in {image.id, *image.tags}:
            raise ConflictError(f"{item.id} stays: it is the only name of an image, or a container was made from it.")


def _kind(view: ContainerView, details: ContainerDetails) -> LeftoverKind:
    if view.row is None and may_be_half_made(view.summary) and is_half_made(view.summary, details.command):
        return LeftoverKind.HALF_MADE
    return LeftoverKind.NEVER_STARTED if details.started_at is None else LeftoverKind.STOPPED


def _is_untagged_build(image: ImageDetails, login: str) -> bool:
    """A build that was broken off before it got its name, or whose names went. Labels inform: nobody misses it."""
    return (
        bool(login)
        and not image.tags
        and not image.digests
        and bool(image.labels.get(label.CUSTOM_IMAGE))
        and image.labels.get(label.MAINTAINER) == label.clean_value(login)
    )


def _hold_of(container: Leftover) -> Leftover:
    return replace(container, id=HOLD_PREFIX + container.id, kind=LeftoverKind.HOLD, size_bytes=0)


def _owner_of(tag: str) -> int | None:
    parsed = parse_engine_name(tag.rpartition(":")[2])
    return parsed.uid if parsed is not None else None


def _is_dangling(tag: str, uid: int, names: set[str]) -> bool:
    engine_name = tag.rpartition(":")[2]
    parsed = parse_engine_name(engine_name)
    return parsed is not None and parsed.uid == uid and engine_name not in names


def _freed(image: ImageDetails) -> int | None:
    if len({*image.tags, *image.digests}) > 1:
        return 0
    return None if image.shared_bytes is None else max(image.size_bytes - image.shared_bytes, 0)


def _is_due(item: Leftover, older_than: timedelta | None, now: datetime) -> bool:
    if older_than is None:
        older_than = SETTLING if item.kind in _UNSURE else timedelta(0)
    return item.since is None or now - item.since >= older_than
