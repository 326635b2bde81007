"""Whether an image was built from its Dockerfile as that is now."""

from ds01.cli.call import Call
from ds01.cli.dockerfiles import find_dockerfile, read_text
from ds01.domain.images.recipe_edit import recipe_digest
from ds01.errors import Ds01Error, InvalidRequestError, NotFoundError

NEWER = "newer than the image"


def state_of(text: str, digest: str) -> str:
    """Return how a Dockerfile and an image stand to each other, in words.

    Args:
        text: The Dockerfile.
        digest: Digest of the one that the image was built from; empty: it does not say.
    """
    if not digest:
        return "unknown"
    return "as built" if recipe_digest(text) == digest else NEWER


def dockerfile_state(call: Call, name: str, digest: str) -> tuple[str, str]:
    """Return the Dockerfile of an image and its state; an empty path and `none` where there is none.

    Raises:
        Ds01Error: The Dockerfile cannot be read.
    """
    try:
        path = find_dockerfile(call.environment, name)
    except (NotFoundError, InvalidRequestError):
        return "", "none"
    return str(path), state_of(read_text(path), digest)


def hint_if_newer(call: Call, name: str, digest: str) -> None:
    """Tell a person whose Dockerfile was changed after its image was built. What cannot be read is no hint."""
    try:
        _, state = dockerfile_state(call, name, digest)
    except Ds01Error:
        return
    if state == NEWER:
        tell_newer(call, name)


def tell_newer(call: Call, name: str) -> None:
    """Tell a person whose Dockerfile was changed after its image was built what to do."""
    call.screen.tell(f"The Dockerfile of {name} is newer than the image: ds01 image build {name}")
