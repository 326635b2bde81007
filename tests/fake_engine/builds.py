"""Builds, commits and archives of the fake engine."""

import io
import json
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace

from ds01.adapters.docker.tar import require_plain_path
from ds01.domain.image import parse_reference
from ds01.errors import BackendError, InvalidRequestError, NotFoundError
from ds01.service.ports import BuildProgress, BuildSpec, Checkpoint, Clock, ImageDetails, PathStat
from tests.fake_engine.parts import EngineParts, full_reference, pass_every_checkpoint
from tests.fake_engine.programs import FileTree
from tests.fake_engine.state import FakeImage

BuildStep = Callable[[FileTree], None]
"""What a RUN does to the files; it may raise BackendError."""


class FakeBuilds(EngineParts):
    """Images that are made here. A RUN does what `build_steps` has for its text, or nothing."""

    def __init__(self, *, checkpoint: Checkpoint = pass_every_checkpoint, clock: Clock | None = None) -> None:
        super().__init__(checkpoint=checkpoint, clock=clock)
        self.build_steps: dict[str, BuildStep] = {}
        self.archives: dict[str, FakeImage] = {}
        self.built_specs: list[BuildSpec] = []

    async def build_image(
        self, spec: BuildSpec, context: bytes | AsyncIterator[bytes]
    ) -> AsyncGenerator[BuildProgress, None]:
        async with self.call("build_image", f"build image {spec.tag}"):
            self.built_specs.append(spec)
            files = _unpack(context if isinstance(context, bytes) else b"".join([piece async for piece in context]))
            dockerfile = files.get(spec.dockerfile)
            if dockerfile is None:
                raise InvalidRequestError(f"The fake engine answered: Cannot locate Dockerfile: {spec.dockerfile}")
            lines = dockerfile.decode().replace("\\\n", " ").splitlines()
        steps = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        tree, base = FileTree(), ImageDetails("")
        for number, step in enumerate(steps, 1):
            yield BuildProgress(f"Step {number}/{len(steps)} : {step}\n")
            word, _, rest = step.partition(" ")
            if word == "FROM":
                found = self._base(rest.strip())
                tree, base = found.tree.copy(), found.details
            elif word == "RUN" and rest.strip() in self.build_steps:
                self.build_steps[rest.strip()](tree)
        made = self._keep(replace(base, labels={**base.labels, **spec.labels}), tree, spec.tag)
        yield BuildProgress("", image_id=made)

    async def commit_container(self, container: str, reference: str, *, pause: bool = True) -> str:
        async with self.call("commit_container", f"commit container {container}"):
            parse_reference(reference)
            found = self.look_up(container)
            assert pause in {True, False}
            return self._keep(self._base(found.details.image_id).details, found.tree.copy(), reference)

    async def save_images(self, references: Sequence[str]) -> AsyncGenerator[bytes, None]:
        async with self.call("save_images"):
            found = [self.image_of(reference) for reference in references]
        for image in found:
            self.archives[image.details.id] = FakeImage(image.details, image.tree)
        yield json.dumps([image.details.id for image in found]).encode()

    async def load_images(self, archive: AsyncIterator[bytes]) -> tuple[str, ...]:
        data = b"".join([piece async for piece in archive])
        async with self.call("load_images", "load images"):
            try:
                images = [self.archives[identifier] for identifier in json.loads(data)]
            except (ValueError, KeyError) as error:
                raise BackendError("The fake engine answered: invalid tar header") from error
            for image in images:
                self.images[image.details.id] = image
            return tuple(image.details.tags[0] if image.details.tags else image.details.id for image in images)

    async def find_path(self, container: str, path: str) -> PathStat | None:
        async with self.call("find_path"):
            tree = self.look_up(container).tree
            name = path.rpartition("/")[2]
            if path in tree.links:
                return PathStat(name, is_directory=False, is_regular=False, size_bytes=0, link_target=tree.links[path])
            if path != "/" and path not in tree.files:
                return None
            content = None if path == "/" else tree.files[path]
            return PathStat(
                name or "/",
                is_directory=content is None,
                is_regular=content is not None,
                size_bytes=len(content or b""),
            )

    async def put_archive(self, container: str, path: str, archive: AsyncIterator[bytes]) -> None:
        async with self.call("put_archive", f"put an archive into container {container}"):
            tree = self.look_up(container).tree
            target = tree.resolve(path if path == "/" else require_plain_path(path))
            if target is None:
                raise NotFoundError(f"The fake engine answered: Could not find the file {path}")
            if target != "/" and tree.files[target] is not None:
                raise InvalidRequestError("The fake engine answered: extraction point is not a directory")
            entries = _unpack(b"".join([piece async for piece in archive]))
            for name, content in entries.items():
                there = f"{target.rstrip('/')}/{name}"
                if there in tree.files and (tree.files[there] is None) != (content is None):
                    raise InvalidRequestError("The fake engine answered: cannot overwrite directory with non-directory")
                tree.put(there, content)

    async def stream_archive(self, container: str, path: str) -> AsyncGenerator[bytes, None]:
        async with self.call("stream_archive"):
            tree = self.look_up(container).tree
            if path != "/" and path not in tree.files:
                raise NotFoundError(f"The fake engine answered: Could not find the file {path}")
            parent = path.rpartition("/")[0]
            inside = [name for name in tree.files if name == path or name.startswith(f"{path.rstrip('/')}/")]
            packed = _pack({name[len(parent) + 1 :]: tree.files[name] for name in inside})
        for start in range(0, len(packed), 4096):
            yield packed[start : start + 4096]

    def _base(self, reference: str) -> FakeImage:
        try:
            return self.image_of(reference)
        except NotFoundError as missing:
            raise BackendError(f"The fake engine answered: manifest for {reference} not found") from missing

    def _keep(self, base: ImageDetails, tree: FileTree, reference: str) -> str:
        identifier = f"sha256:{next(self.numbers) + 2**240:064x}"
        tag = full_reference(reference)
        for other in self.images.values():
            other.details = replace(other.details, tags=tuple(name for name in other.details.tags if name != tag))
        details = replace(base, id=identifier, tags=(tag,), digests=(), created_at=self.ticker.moment())
        self.images[identifier] = FakeImage(details, tree)
        return identifier


def _unpack(data: bytes) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                found[member.name.removeprefix("./")] = content.read() if content else None
    except tarfile.TarError as error:
        raise InvalidRequestError("The fake engine answered: invalid tar header") from error
    return found


def _pack(files: dict[str, bytes | None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            header.size = len(content or b"")
            archive.addfile(header, io.BytesIO(content or b""))
    return buffer.getvalue()
