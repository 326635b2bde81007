"""Images: find, list, pull, tag, remove."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from ds01.adapters.docker.address import image_path, require_reference, split_reference
from ds01.adapters.docker.calls import SLOW, EngineCalls
from ds01.adapters.docker.document import Document
from ds01.adapters.docker.parse import parse_image, parse_image_row, parse_pull_progress
from ds01.adapters.docker.session import Call
from ds01.adapters.docker.translation import printable
from ds01.errors import BackendError, Ds01Error, InvalidRequestError, NotFoundError
from ds01.service.ports import ImageDetails, PullProgress

_KNOWS_SHARED_SIZE = (1, 42)
_MISSING_WORDS = ("not found", "manifest unknown", "does not exist", "no such image", "pull access denied")


class ImageCalls(EngineCalls):
    """The images of the engine."""

    async def find_image(self, reference: str) -> ImageDetails | None:
        """Return an image that the engine has, or None."""
        try:
            return parse_image(await self.session.read(Call("GET", image_path(reference, "json"))))
        except NotFoundError:
            return None

    async def list_images(self, *, measures_shared: bool = False) -> list[ImageDetails]:
        """Return the images that the engine has (configuration fields are left empty).

        Source: Engine API 1.42, ImageList, `shared-size`; before that SystemDataUsage, which measures all else too.
        """
        if measures_shared and await self.session.api_version() < _KNOWS_SHARED_SIZE:
            usage = await self.session.read(Call("GET", "/system/df", deadline=SLOW))
            return [parse_image_row(row) for row in usage.items("Images")]
        query = {"shared-size": "1"} if measures_shared else {}
        rows = await self.session.read(Call("GET", "/images/json", query))
        return [parse_image_row(row) for row in rows.entries()]

    async def pull_image(self, reference: str) -> AsyncGenerator[PullProgress, None]:
        """Pull an image and yield its progress; a reference without a tag means `latest`, never every tag.

        Raises:
            NotFoundError: The registry has no such image, or shows it to others only.
            BackendError: The registry cannot be reached, or broke off.
        """
        repository, tag = split_reference(reference)
        self.checkpoint(f"engine: pull image {reference}")
        # the head comes with the first progress, so the registry's own time-outs go first
        call = Call("POST", "/images/create", {"fromImage": repository, "tag": tag}, deadline=SLOW)
        async with aclosing(self.stream_documents(call)) as documents:
            async for document in documents:
                _raise_pull_error(document, reference)
                yield parse_pull_progress(document)

    async def tag_image(self, image: str, reference: str) -> None:
        """Give an image a further name."""
        path = image_path(image, "tag")
        repository, tag = split_reference(reference)
        if "@" in reference:
            raise InvalidRequestError(f"{reference!r} names a digest, which cannot be given as a name.")
        self.checkpoint(f"engine: tag image {reference}")
        await self.session.change(Call("POST", path, {"repo": repository, "tag": tag}))

    async def remove_image(self, reference: str) -> None:
        """Remove a tag, and the image when it was the last; one that is gone already is fine."""
        path = image_path(require_reference(reference))
        self.checkpoint(f"engine: remove image {reference}")
        try:
            await self.session.change(Call("DELETE", path, {"force": "0", "noprune": "0"}, deadline=SLOW))
        except NotFoundError:
            return


def _raise_pull_error(document: Document, reference: str) -> None:
    words = document.child("errorDetail").text("message", default="") or document.text("error", default="")
    if not words:
        return
    kind: type[Ds01Error] = BackendError
    if any(word in words.lower() for word in _MISSING_WORDS):
        kind = NotFoundError
    raise kind(f"The image {reference} could not be pulled: {printable(words)}")
