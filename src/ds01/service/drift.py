"""What was installed in a container since it was made, so that it can become lines of a Dockerfile.

Everything is read from files, through the engine, so it is the same for a running container and a stopped one, and
nothing of the container's is run.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ds01.domain import label
from ds01.domain.containers.container import ContainerDetails
from ds01.domain.containers.layer import merged_changes
from ds01.domain.containers.left_behind import LeftFile, files_to_measure, find_big, find_secrets, own_changes
from ds01.domain.containers.tools import BASE_LABEL, REPOSITORY
from ds01.domain.engine import FileChange, FileChangeKind
from ds01.domain.images.image import DEFAULT_TAG, is_moved_tag, is_private_tag, original_repository, private_tag
from ds01.domain.images.image_name import parse_own_image
from ds01.domain.images.installed import Drift, find_drift
from ds01.domain.images.other_record import describe_change, other_records, paths_of
from ds01.domain.images.package_record import (
    SYSTEM_LISTS,
    LayerRecords,
    RecordFiles,
    find_records,
    installed_of,
    is_of_records,
)
from ds01.service.containers import ContainerService
from ds01.service.fact import FactKind
from ds01.service.helper_container import HelperContainers
from ds01.service.ports import ImageDetails, World

EARLIER_LAYERS = FactKind("layers-before-a-move", places=2048)
MAX_REMEMBERED = 20_000
MAX_MEASURED = 400
MAX_RECORD_BYTES = 32 * 1024**2
_FORGOTTEN = "It was moved to other GPUs once, and what had been installed before that is not known any more."


@dataclass(frozen=True, slots=True)
class ContainerDrift:
    """What a container has otherwise than the image that it was made from.

    Attributes:
        details: The container.
        base: Reference of that image, for the FROM of a new Dockerfile; empty: it has no name any more.
        own_image: Short name of that image where it is its owner's own; empty for others.
        size_bytes: What the container has written outside of its mounts.
        drift: Packages.
        left_out: Files that no Dockerfile brings back and that somebody should hear of, with the reason.
        notes: What could not be found out.
    """

    details: ContainerDetails
    base: str
    own_image: str
    size_bytes: int
    drift: Drift
    left_out: tuple[LeftFile, ...]
    notes: tuple[str, ...]

    @property
    def framework(self) -> str:
        """Framework and version of its image; empty for images that are not of the catalogue."""
        found = self.details.labels.get(label.FRAMEWORK, "")
        return "" if found.startswith("custom-") else found


@dataclass(frozen=True, slots=True)
class _Layers:
    """The layers of a container above its image.

    Attributes:
        image_id: The image.
        changes: What they changed.
        notes: What is not known of them.
    """

    image_id: str
    changes: tuple[FileChange, ...]
    notes: tuple[str, ...] = ()


class DriftService:
    """Compares containers with their images."""

    def __init__(self, world: World, containers: ContainerService, helpers: HelperContainers) -> None:
        self._engine = world.engine
        self._store = world.store
        self._containers = containers
        self._helpers = helpers

    async def find(self, uid: int, name: str) -> ContainerDrift:
        """Return the drift of a container.

        Raises:
            NotFoundError: The user has no such container.
            BackendError: The engine does not say; what is installed is then unknown, which is not nothing.
        """
        details = await self._containers.get_details(uid, name)
        layers = await self._layers_of(details)
        image = await self._engine.find_image(layers.image_id)
        records = find_records(layers.changes)
        files, notes = await self._read(details, image, records)
        drift = find_drift(*installed_of(records, files))
        base, own_image = await self._base_of(details, image, uid)
        return ContainerDrift(
            details,
            base,
            own_image,
            await self._engine.measure_container(details.id),
            drift,
            (
                *_other_ways(records),
                *await self._of_other_tools(details, image, layers.changes),
                *await self._find_left(details, layers.changes),
            ),
            (*layers.notes, *notes),
        )

    async def remember(self, details: ContainerDetails, image: str) -> None:
        """Keep what a container has otherwise than its image, before it is made again from a copy of its files.

        Args:
            details: The container.
            image: The copy's private tag.
        """
        layers = await self._layers_of(details)
        if layers.notes:
            return  # what is not known now is not known later
        own = {change.path for change in own_changes(layers.changes)}
        kept = [change for change in layers.changes if change.path in own or is_of_records(change.path)]
        text = json.dumps([layers.image_id, [[change.path, change.kind.value] for change in kept[:MAX_REMEMBERED]]])
        await self._store.write(lambda transaction: EARLIER_LAYERS.remember(transaction, image, text))

    async def _layers_of(self, details: ContainerDetails) -> _Layers:
        changes = tuple(await self._engine.list_changes(details.id))
        if not is_moved_tag(details.image):
            return _Layers(details.image_id, changes)
        text = await self._store.read(lambda transaction: EARLIER_LAYERS.recall(transaction, details.image))
        if text is None:
            return _Layers(details.image_id, changes, (_FORGOTTEN,))
        image_id, rows = json.loads(text)
        earlier = [FileChange(path, FileChangeKind(kind)) for path, kind in rows]
        return _Layers(image_id, merged_changes(earlier, changes))

    async def _read(
        self, details: ContainerDetails, image: ImageDetails | None, records: LayerRecords
    ) -> tuple[RecordFiles, tuple[str, ...]]:
        found: dict[str, str] = {}
        for path in records.paths_to_read():
            text = await self._text_of(details, path)
            if text is not None:
                found[path] = text
        if not records.has_system:
            return RecordFiles(found), ()
        if image is None:
            without = {path: text for path, text in found.items() if path not in SYSTEM_LISTS}
            return RecordFiles(without), ("Its image is gone, so what apt installed since is not known.",)
        lists, _ = await self._helpers.read_files(image.id, SYSTEM_LISTS, ())
        return RecordFiles(found, {path: content.decode("utf-8", "replace") for path, content in lists.items()}), ()

    async def _of_other_tools(
        self, details: ContainerDetails, image: ImageDetails | None, changes: Iterable[FileChange]
    ) -> tuple[LeftFile, ...]:
        """Return what tools installed whose packages no section of a Dockerfile of ours has."""
        found: list[LeftFile] = []
        for record in other_records({change.path for change in changes}):
            paths = paths_of(record)
            now = {path: await self._text_of(details, path) for path in paths}
            before = None
            if image is not None and paths:
                contents, _ = await self._helpers.read_files(image.id, paths, ())
                before = {path: content.decode("utf-8", "replace") for path, content in contents.items()}
            known = {path: text for path, text in now.items() if text is not None}
            found.append(LeftFile(*describe_change(record, before, known)))
        return tuple(found)

    async def _text_of(self, details: ContainerDetails, path: str) -> str | None:
        content = await self._engine.read_file(details.id, path, limit_bytes=MAX_RECORD_BYTES)
        return None if content is None else content.decode("utf-8", "replace")

    async def _find_left(self, details: ContainerDetails, changes: Sequence[FileChange]) -> tuple[LeftFile, ...]:
        mounts = tuple(mount.target for mount in details.mounts)
        own = [
            change
            for change in own_changes(changes)
            if not any(change.path == target or change.path.startswith(f"{target}/") for target in mounts)
        ]
        secrets = find_secrets(own)
        paths = files_to_measure(own, secrets)
        sizes = await self._sizes_of(details, paths[:MAX_MEASURED])
        unmeasured = len(paths) - MAX_MEASURED
        more = (LeftFile(f"{unmeasured} more files", "they are too many to look at"),) if unmeasured > 0 else ()
        return (*secrets, *find_big(sizes), *more)

    async def _sizes_of(self, details: ContainerDetails, paths: Sequence[str]) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for path in paths:
            stat = await self._engine.find_path(details.id, path)
            if stat is not None and stat.is_regular:
                found.append((path, stat.size_bytes))
        return found

    async def _base_of(self, details: ContainerDetails, image: ImageDetails | None, uid: int) -> tuple[str, str]:
        """Return what the container was made from as people name it, and its short name if it is its owner's."""
        reference = details.labels.get(label.CUSTOM_IMAGE, "")
        if not reference and image is not None:
            # the one with sudo and git that we made of it has no recipe of anybody's
            original = await self._engine.find_image(image.labels.get(BASE_LABEL, image.id))
            reference = _shown_name(original, details) if original is not None else ""
        own = parse_own_image(reference)
        return reference, own.name if own is not None and own.uid == uid else ""


def _shown_name(image: ImageDetails, details: ContainerDetails) -> str:
    """Return the name of an image by which a container was made; it may have others."""
    names = [tag for tag in image.tags if not is_private_tag(tag) and not tag.startswith(f"{REPOSITORY}:")]
    name = details.parsed_name
    asked_for = original_repository(details.image.rpartition(":")[0])
    meant = [tag for tag in names if name and private_tag(tag, name).rpartition(":")[0] == asked_for]
    return next(iter(meant or sorted(names) or image.digests), "").removesuffix(f":{DEFAULT_TAG}")


def _other_ways(records: LayerRecords) -> tuple[LeftFile, ...]:
    """What was installed in ways that no section of a Dockerfile of ours has."""
    return (
        *(
            LeftFile(path, "an environment of its own: only what a shell starts with is saved")
            for path in records.environments
        ),
        *(LeftFile(name, "it was installed from a folder, which a build does not see") for name in records.linked),
    )
