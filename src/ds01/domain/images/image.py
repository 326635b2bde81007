"""Images: references, ids, and the private tags that containers are created from."""

import re
from dataclasses import dataclass

from ds01.domain.engine import ImageDetails
from ds01.domain.name import EngineName, parse_engine_name
from ds01.errors import InvalidRequestError

_REFERENCE = re.compile(
    r"(?P<repository>(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::\d{1,5})?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}")
_MOVED = re.compile(r"-moved-[0-9a-f]{8}$")
_RENEWED = re.compile(r"-renewed-[0-9a-f]{8}$")
MAX_REFERENCE_LENGTH = 255
DEFAULT_TAG = "latest"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A parsed image reference.

    Attributes:
        repository: Registry and path.
        tag: Tag; None with a digest only.
        digest: `sha256:...`; None without.
    """

    repository: str
    tag: str | None
    digest: str | None

    def __str__(self) -> str:
        text = self.repository
        if self.tag is not None:
            text += f":{self.tag}"
        return text + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> ImageReference:
    """Return the parts of an image reference; without tag and digest the tag is `latest`.

    Raises:
        InvalidRequestError: `text` is not a reference.
    """
    match = _REFERENCE.fullmatch(text) if len(text) <= MAX_REFERENCE_LENGTH else None
    if match is None:
        raise InvalidRequestError(
            f"{text[:100]!r} is not an image reference.",
            hint="Write repository:tag in lower case, such as aimehub/pytorch-2.8.0-cuda12.6.3.",
        )
    tag = match["tag"] or (None if match["digest"] else DEFAULT_TAG)
    return ImageReference(repository=match["repository"], tag=tag, digest=match["digest"])


def is_image_id(text: str) -> bool:
    """Tell whether the text is an image id (at least 12 hex digits) rather than a name."""
    return _IMAGE_ID.fullmatch(text) is not None


def digest_of(image: ImageDetails, reference: str) -> str:
    """Return which image a name means now: `sha256:...` of its registry, else the image's id.

    Args:
        image: The image.
        reference: The name; an image can be known to several registries.
    """
    if not is_image_id(reference):
        repository = parse_reference(reference).repository.removeprefix("docker.io/").removeprefix("library/")
        for known in image.digests:
            name, _, digest = known.partition("@")
            if name.removeprefix("docker.io/").removeprefix("library/") == repository:
                return digest
    return image.id


def private_tag(image: str, engine_name: EngineName) -> str:
    """Return the free tag a container is created from: `<repo>:<name>._.<uid>`.

    AIME's `mlc remove` deletes the image that a container names. With a tag of its own, that costs nothing but the tag.
    The tag of an image that has one other than `latest` goes into the repository part.
    """
    if is_image_id(image):
        return f"ds01.invalid/image-{image.removeprefix('sha256:')[:12]}:{engine_name}"
    reference = parse_reference(image)
    repository = reference.repository
    if reference.tag not in {None, DEFAULT_TAG}:
        repository += "-" + (re.sub(r"[^a-z0-9]+", "-", str(reference.tag).lower()).strip("-") or "tag")
    elif reference.digest is not None:
        repository += "-" + reference.digest.removeprefix("sha256:")[:12]
    return f"{repository}:{engine_name}"


def moved_tag(tag: str, engine_name: EngineName, mark: str) -> str:
    """Return the private tag of a copy of a container's own files: `<repo>-moved-<mark>:<name>._.<uid>`.

    Args:
        tag: The private tag that the container was created from.
        engine_name: Its name on the engine.
        mark: 8 hex digits, so that the old tag and the new one can both be there.
    """
    # the prefix of images without a name says that their last tag is never removed; a copy goes with its container
    repository = tag.rpartition(":")[0].removeprefix("ds01.invalid/")
    return f"{original_repository(repository)}-moved-{mark}:{engine_name}"


def original_repository(repository: str) -> str:
    """Return the repository of a private tag as it was before its container was moved or made again."""
    return _RENEWED.sub("", _MOVED.sub("", repository))


def renewed_tag(image: str, engine_name: EngineName, mark: str) -> str:
    """Return the private tag for a container that is made again, while the tag of the old one is still needed.

    Args:
        image: Reference or id of the image.
        engine_name: The container's name on the engine.
        mark: 8 hex digits, so that the old tag and the new one can both be there.
    """
    repository = private_tag(image, engine_name).rpartition(":")[0]
    return f"{original_repository(repository)}-renewed-{mark}:{engine_name}"


def is_moved_tag(reference: str) -> bool:
    """Tell whether the tag names the copy of a container's own files that a move has made."""
    return is_private_tag(reference) and _MOVED.search(reference.rpartition(":")[0]) is not None


def is_private_tag(reference: str) -> bool:
    """Tell whether the tag was made for one container: such tags are hidden and go with it."""
    _, _, tag = reference.rpartition(":")
    return parse_engine_name(tag) is not None
