"""The images that the engine has, as one user sees them: their own, and those that belong to nobody.

Names are many: private tags of containers, derived images and other users' own are not for anybody to choose from.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ds01.domain import label
from ds01.domain.engine import ImageDetails
from ds01.domain.images.image import is_private_tag
from ds01.domain.images.image_name import REGISTRY, parse_own_image

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LocalImage:
    """A name of an image that the engine has.

    Attributes:
        reference: What a container is created from.
        name: As its owner types it; of others the reference.
        id: `sha256:...`.
        size_bytes: Size with all layers.
        created_at: When it was built; None if it does not say.
        framework: Framework and version such as `Pytorch-2.8.0-aime`; empty if unknown.
        is_own: The user built it.
        digest: Digest of the Dockerfile that it was built from; empty if unknown.
        bases: References that it was built from; none if it does not say.
        containers: Names on the engine of the containers made from it; only of the newest build of somebody's image.
        owner_uid: Who built it; None: it is nobody's.
    """

    reference: str
    name: str
    id: str
    size_bytes: int
    created_at: datetime | None
    framework: str
    is_own: bool
    digest: str = ""
    bases: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    owner_uid: int | None = None


def local_images(
    images: Iterable[ImageDetails], uid: int, frameworks: Mapping[str, str], *, of_others: bool = False
) -> tuple[LocalImage, ...]:
    """Return the images that a user may choose from: own ones first, each part newest first.

    Args:
        images: What the engine has.
        uid: The user.
        frameworks: References of the catalogue to their framework and version.
        of_others: Also what others built, for administrators.
    """
    found = [
        _local(image, reference, uid, frameworks)
        for image in images
        for reference in image.tags
        if is_for(uid, reference) or (of_others and _is_somebodys(reference))
    ]
    found.sort(key=lambda local: local.reference)
    found.sort(key=lambda local: (local.is_own, local.created_at or _LONG_AGO), reverse=True)
    return tuple(found)


def is_for(uid: int, reference: str) -> bool:
    """Tell whether a name is one for this user to choose."""
    own = parse_own_image(reference)
    if own is not None:
        return own.uid == uid and not is_private_tag(reference)
    return not reference.startswith(f"{REGISTRY}/") and not is_private_tag(reference)


def _is_somebodys(reference: str) -> bool:
    return parse_own_image(reference) is not None and not is_private_tag(reference)


def _local(image: ImageDetails, reference: str, uid: int, frameworks: Mapping[str, str]) -> LocalImage:
    own = parse_own_image(reference)
    is_own = own is not None and own.uid == uid
    name = reference if own is None else own.name if own.tag == "latest" else f"{own.name}:{own.tag}"
    framework = image.labels.get(label.FRAMEWORK) or frameworks.get(reference, "")
    digest = image.labels.get(label.RECIPE, "")
    bases = tuple(text.partition("=")[0] for text in image.labels.get(label.BASES, "").split(";") if text)
    facts = (image.id, image.size_bytes, image.created_at, framework)
    owner_uid = None if own is None else own.uid
    return LocalImage(reference, name, *facts, is_own=is_own, digest=digest, bases=bases, owner_uid=owner_uid)
