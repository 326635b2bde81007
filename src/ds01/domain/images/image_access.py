"""Whose an image is, and where images may come from: the rules that every use of an image obeys.

Names on the engine are shared by everybody. A name alone says little: the engine also finds images by their ids and by
the first digits of them. So an image is judged twice, by the name that was written and by what the engine found.
"""

from collections.abc import Sequence

from ds01.domain.engine import ImageDetails
from ds01.domain.images.image import is_private_tag, parse_reference
from ds01.domain.images.image_name import REGISTRY, parse_own_image
from ds01.domain.name import parse_engine_name
from ds01.errors import ForbiddenError

DEFAULT_REGISTRY = "docker.io"
REGISTRIES_KEY = "access.registries"
_OTHER_NAMES_OF_THE_DEFAULT = frozenset({"index.docker.io", "registry-1.docker.io"})
_DEFAULT_PREFIXES = ("docker.io/", "index.docker.io/")
_OFFICIAL = "library/"


def registry_of(reference: str) -> str:
    """Return the host that an image is pulled from, in small letters.

    Source: distribution/reference, splitDockerDomain: the part before the first slash is a host if it holds a dot, a
    colon or a capital, or is localhost.

    Args:
        reference: A reference that `parse_reference` takes.
    """
    first, slash, _ = parse_reference(reference).repository.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    host = first.lower() if is_host else DEFAULT_REGISTRY
    return DEFAULT_REGISTRY if host in _OTHER_NAMES_OF_THE_DEFAULT else host


def familiar_name(reference: str) -> str:
    """Return a reference as the engine shows it: without the default registry and its folder of official images."""
    for prefix in _DEFAULT_PREFIXES:
        if reference.startswith(prefix):
            return reference.removeprefix(prefix).removeprefix(_OFFICIAL)
    return reference


def require_registry(reference: str, registries: Sequence[str] | None, origin: str = "") -> None:
    """Raise if an image may not be pulled at this site.

    Args:
        reference: The image.
        registries: Hosts that images may come from; None: any.
        origin: File and line of that rule; empty: unknown.

    Raises:
        ForbiddenError: The message names the image and the rule, the hint the way out.
    """
    if reference.startswith(f"{REGISTRY}/"):
        raise ForbiddenError(
            f"{reference} is a name of this machine's own: no registry has it.",
            hint="`ds01 image list` shows the images that are here.",
        )
    registry = registry_of(reference)
    if registries is None or registry in registries:
        return
    rule = f"{REGISTRIES_KEY}{f' in {origin}' if origin else ''}"
    allowed = ", ".join(registries) or "none at all"
    raise ForbiddenError(
        f"{reference} comes from {registry}, and this site fetches images from these registries only: {allowed} "
        f"({rule}).",
        hint="Take an image that is here (`ds01 image list`), or ask your administrator to allow the registry.",
        details={"image": reference, "registry": registry, "rule": REGISTRIES_KEY},
    )


def is_anothers_name(reference: str, uid: int) -> bool:
    """Tell whether a name can only mean something of somebody else's, or of the machine's own."""
    name = familiar_name(reference)
    own = parse_own_image(name.partition("@")[0])
    if own is not None:
        return own.uid != uid
    return name.startswith(f"{REGISTRY}/") or _holder_of(name) not in {None, uid}


def is_visible(image: ImageDetails, uid: int) -> bool:
    """Tell whether an image has a name that everybody may use, or one of this user's own.

    One without any name is a left-over of somebody's build or container, and nobody can say whose: it has none.
    """
    return any(not is_anothers_name(name, uid) for name in (*image.tags, *image.digests))


def _holder_of(reference: str) -> int | None:
    """Return whose container a private tag was made for; None: it is none."""
    tag = reference.rpartition(":")[2]
    found = parse_engine_name(tag) if is_private_tag(reference) else None
    return found.uid if found is not None else None
