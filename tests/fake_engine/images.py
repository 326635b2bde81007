"""Images of the fake engine, and the registry that it pulls from."""

from collections.abc import AsyncGenerator
from dataclasses import replace

from ds01.errors import ConflictError, InvalidRequestError, NotFoundError
from ds01.service.ports import ImageDetails, PullProgress
from tests.fake_engine.layers import diff_id_of, layer_of
from tests.fake_engine.parts import EngineParts, full_reference
from tests.fake_engine.programs import FileTree
from tests.fake_engine.state import FakeImage


class FakeImages(EngineParts):
    """Images in memory."""

    def add_image(self, reference: str, details: ImageDetails | None = None, *, tree: FileTree | None = None) -> str:
        """Put an image there and return its id."""
        image = self._made(reference, details, tree)
        self.images[image.details.id] = image
        return image.details.id

    def publish(self, reference: str, details: ImageDetails | None = None, *, tree: FileTree | None = None) -> None:
        """Put an image into the registry."""
        self.registry[full_reference(reference)] = self._made(reference, details, tree)

    def _made(self, reference: str, details: ImageDetails | None, tree: FileTree | None) -> FakeImage:
        base = details or ImageDetails(id=f"sha256:{next(self.numbers) + 2**240:064x}", architecture="amd64")
        tags = (full_reference(reference), *base.tags)
        moment = base.created_at or self.ticker.moment()
        size_bytes = base.size_bytes or 2_000_000
        files = tree or FileTree()
        layer = base.layers or (diff_id_of(layer_of(files)),)
        details = replace(base, tags=tags, created_at=moment, size_bytes=size_bytes, layers=layer)
        return FakeImage(details, files, {diff_id_of(layer_of(files)): layer_of(files)})

    async def find_image(self, reference: str) -> ImageDetails | None:
        async with self.call("find_image"):
            try:
                return self.image_of(reference).details
            except NotFoundError:
                return None

    async def list_images(self, *, measures_shared: bool = False) -> list[ImageDetails]:
        async with self.call("list_images"):
            rows = [_row(image.details) for image in self.images.values()]
            return [replace(row, shared_bytes=0 if measures_shared else None) for row in rows]

    async def pull_image(self, reference: str) -> AsyncGenerator[PullProgress, None]:
        wanted = full_reference(reference)
        async with self.call("pull_image", f"pull image {reference}"):
            if wanted not in self.registry:
                raise NotFoundError(f"The fake engine answered: manifest for {wanted} not found: manifest unknown")
            image = self.registry[wanted]
        size_bytes = image.details.size_bytes
        yield PullProgress("", f"Pulling from {reference}")
        for done in (size_bytes // 2, size_bytes):
            yield PullProgress("0123456789ab", "Downloading", done, size_bytes)
        for other in self.images.values():  # the name moves to what the registry has now
            if other is not image:
                other.details = replace(other.details, tags=_without(other.details.tags, wanted))
        self.images[image.details.id] = image
        await self.journal.append("image", "pull", wanted, {"name": wanted.rpartition(":")[0]})
        yield PullProgress("", f"Status: Downloaded newer image for {wanted}")

    async def tag_image(self, image: str, reference: str) -> None:
        async with self.call("tag_image", f"tag image {reference}"):
            target = full_reference(reference)
            if "@" in reference or target.rpartition(":")[0] != target.rpartition(":")[0].lower():
                raise InvalidRequestError(f"The fake engine answered: invalid reference format: {reference}")
            tagged = self.image_of(image)
            for other in self.images.values():
                other.details = replace(other.details, tags=_without(other.details.tags, target))
            tagged.details = replace(tagged.details, tags=(*tagged.details.tags, target))
            await self.journal.append("image", "tag", tagged.details.id, {"name": target})

    async def remove_image(self, reference: str) -> None:
        async with self.call("remove_image", f"remove image {reference}"):
            try:
                image = self.image_of(reference)
            except NotFoundError:
                return
            left = _without(image.details.tags, full_reference(reference))
            users = [user for user in self.containers.values() if user.details.image_id == image.details.id]
            if not left and users:
                raise ConflictError(f"The fake engine answered: conflict: a container is using {reference}")
            image.details = replace(image.details, tags=left)
            await self.journal.append("image", "untag", image.details.id, {"name": image.details.id})
            if not left:
                del self.images[image.details.id]
                await self.journal.append("image", "delete", image.details.id, {"name": image.details.id})


def _without(tags: tuple[str, ...], tag: str) -> tuple[str, ...]:
    return tuple(other for other in tags if other != tag)


def _row(details: ImageDetails) -> ImageDetails:
    return ImageDetails(
        id=details.id,
        tags=details.tags,
        digests=details.digests,
        labels=details.labels,
        size_bytes=details.size_bytes,
        created_at=details.created_at,
    )
