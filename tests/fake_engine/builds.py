"""Builds, commits and archives of the fake engine."""

import io
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace

from ds01.adapters.docker.tar import require_plain_path
from ds01.domain.images.image import parse_reference
from ds01.errors import BackendError, BuildStepError, InvalidRequestError, NotFoundError
from ds01.service.ports import BuildProgress, BuildSpec, Checkpoint, Clock, ImageDetails, PathStat
from tests.fake_engine.layers import diff_id_of, layer_of, loaded, pack, saved
from tests.fake_engine.parts import EngineParts, full_reference, pass_every_checkpoint
from tests.fake_engine.programs import FileTree
from tests.fake_engine.state import FakeImage

BuildStep = Callable[[FileTree], None]
"""What a RUN does to the files; it may raise BackendError."""


class FakeBuilds(EngineParts):
    """Images that are made here. A RUN does what `build_steps` has for its text, or else `every_step`."""

    def __init__(self, *, checkpoint: Checkpoint = pass_every_checkpoint, clock: Clock | None = None) -> None:
        super().__init__(checkpoint=checkpoint, clock=clock)
        self.build_steps: dict[str, BuildStep] = {}
        self.every_step: BuildStep = _do_nothing
        self.unpacked: list[bytes] = []
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
                tree, base = self._begin(rest.strip())
            elif word == "RUN":
                try:
                    self.build_steps.get(rest.strip(), self.every_step)(tree)
                except BackendError as failure:
                    raise BuildStepError(failure.message) from failure
        made = self._keep(replace(base, labels={**base.labels, **spec.labels}), tree, spec.tag)
        yield BuildProgress("", image_id=made)

    async def commit_container(self, container: str, reference: str, *, pause: bool = True) -> str:
        async with self.call("commit_container", f"commit container {container}"):
            parse_reference(reference)
            found = self.look_up(container)
            assert pause in {True, False}
            uid = int(found.details.user.partition(":")[0] or 0)
            return self._keep(self._base(found.details.image_id).details, found.tree.copy(), reference, uid=uid)

    async def save_images(self, references: Sequence[str]) -> AsyncGenerator[bytes, None]:
        async with self.call("save_images"):
            found = [self.image_of(reference) for reference in references]
        data = saved(found[0])
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]

    async def load_images(self, archive: AsyncIterator[bytes]) -> tuple[str, ...]:
        data = b"".join([piece async for piece in archive])
        async with self.call("load_images", "load images"):
            image = loaded(data, list(self.images.values()))
            for other in self.images.values():  # the names move to what was loaded
                left = tuple(name for name in other.details.tags if name not in image.details.tags)
                other.details = replace(other.details, tags=left)
            image.details = replace(image.details, created_at=self.ticker.moment())
            self.images[image.details.id] = image
            return image.details.tags or (image.details.id,)

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
            self.unpacked.append(b"".join([piece async for piece in archive]))
            entries = _unpack(self.unpacked[-1])
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
            packed = pack({name[len(parent) + 1 :]: tree.files[name] for name in inside})
        for start in range(0, len(packed), 4096):
            yield packed[start : start + 4096]

    def _begin(self, reference: str) -> tuple[FileTree, ImageDetails]:
        if reference == "scratch":
            return FileTree(), ImageDetails("")
        found = self._base(reference)
        return found.tree.copy(), found.details

    def _base(self, reference: str) -> FakeImage:
        try:
            return self.image_of(reference)
        except NotFoundError as missing:
            raise BuildStepError(f"The fake engine answered: manifest for {reference} not found") from missing

    def _keep(self, base: ImageDetails, tree: FileTree, reference: str, *, uid: int = 0) -> str:
        below = self.images[base.id] if base.id else FakeImage(base)
        layer = layer_of(tree, below.tree, uid=uid)
        blobs = {**below.blobs, diff_id_of(layer): layer}
        identifier = f"sha256:{next(self.numbers) + 2**240:064x}"
        tag = full_reference(reference)
        for other in self.images.values():
            other.details = replace(other.details, tags=tuple(name for name in other.details.tags if name != tag))
        details = replace(base, id=identifier, tags=(tag,), digests=(), created_at=self.ticker.moment())
        details = replace(details, layers=(*base.layers, diff_id_of(layer)))
        self.images[identifier] = FakeImage(details, tree, blobs)
        return identifier


def _do_nothing(_tree: FileTree) -> None:
    """A command that changes no file."""


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
