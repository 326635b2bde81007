"""The images that a build takes from: judged before it starts, and fetched before it starts."""

import asyncio
from collections.abc import Collection, Iterable, Mapping

from ds01.domain.images.build_site import PROXY_ARGUMENTS
from ds01.domain.images.dockerfile_images import FRONTEND, UsedImage, require_undeclared, trigger_images, used_images
from ds01.domain.images.image_access import DEFAULT_REGISTRY, familiar_name, registry_of
from ds01.domain.user import User
from ds01.errors import Ds01Error, ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service.image_rules import ImageRules
from ds01.service.images import ImageChoice, ImageService
from ds01.service.ports import ImageDetails, Notify

KNOWN_FRONTENDS = frozenset({"docker/dockerfile", "docker/dockerfile-upstream"})
"""Frontends that fetch what the Dockerfile says and nothing else. Source: docs.docker.com, custom Dockerfile syntax."""


class BuildImages:
    """Judges and provides what a Dockerfile takes from."""

    def __init__(self, images: ImageService, rules: ImageRules) -> None:
        self._images = images
        self._rules = rules

    async def provide(
        self, user: User, text: str, notify: Notify, *, given: Collection[str] = ()
    ) -> Mapping[str, ImageDetails]:
        """Return the images that a Dockerfile takes from, by reference. Those that are not here are fetched.

        Nothing is fetched before every one of them was judged.

        Args:
            user: Whose build it is.
            text: The Dockerfile.
            notify: Is told how far a pull is.
            given: Names of the build arguments that the site gives: no image may keep them.

        Raises:
            InvalidRequestError: An image cannot be told before the build, or another frontend is asked for.
            NotFoundError: An image is somebody else's, or in no registry.
            ForbiddenError: The site does not fetch from its registry.
            BackendError: The engine or a pull failed.
        """
        await asyncio.to_thread(require_undeclared, text, given)
        used = await asyncio.to_thread(used_images, text, unknown=PROXY_ARGUMENTS)
        found = await self._judged(user, used)
        for image in used:
            if image.reference in found and found[image.reference] is None:
                found[image.reference] = await self._pulled(image, notify)
        provided = {reference: image for reference, image in found.items() if image is not None}
        for base in provided.values():
            _require_silent_triggers(base, given)
            # their images are fetched by the builder, if they are not here
            await self._judged(user, trigger_images(base.triggers))
        return provided

    async def _pulled(self, image: UsedImage, notify: Notify) -> ImageDetails:
        try:
            choice = ImageChoice(image.reference, "", "", "", is_custom=True)
            return await self._images.provide(choice, _as_output(notify))
        except NotFoundError as missing:
            raise _at_line(image, missing) from missing

    async def _judged(self, user: User, used: Iterable[UsedImage]) -> dict[str, ImageDetails | None]:
        found: dict[str, ImageDetails | None] = {}
        for image in used:
            try:
                if image.instruction == FRONTEND:
                    self._require_known_frontend(image.reference)
                elif image.reference not in found:
                    found[image.reference] = await self._rules.find(user, image.reference)
            except (InvalidRequestError, ForbiddenError, NotFoundError) as refusal:
                raise _at_line(image, refusal) from refusal
        return found

    def _require_known_frontend(self, reference: str) -> None:
        name = familiar_name(reference).partition("@")[0].partition(":")[0]
        if name not in KNOWN_FRONTENDS or registry_of(reference) != DEFAULT_REGISTRY:
            raise InvalidRequestError(
                f"the frontend {reference[:100]!r} could take any image from anywhere, so no build uses it.",
                hint="Remove the line `# syntax=`, or write docker/dockerfile:1.",
            )
        self._rules.require_pullable(reference)


def _require_silent_triggers(base: ImageDetails, given: Collection[str]) -> None:
    try:
        require_undeclared("\n".join(base.triggers), given)
    except InvalidRequestError as refusal:
        raise _at_line(UsedImage("", 0, "ONBUILD"), refusal) from refusal


def _at_line(image: UsedImage, refusal: Ds01Error) -> Ds01Error:
    where = f"Line {image.line} of the Dockerfile ({image.instruction})" if image.line else "A trigger of a base image"
    return type(refusal)(f"{where}: {refusal.message}", hint=refusal.hint, details=refusal.details)


def _as_output(notify: Notify) -> Notify:
    """Return a listener that gets a pull as lines of a build's output; how many bytes came is said far too often."""

    async def tell(message: Mapping[str, object]) -> None:
        if message.get("current_bytes") is not None:
            return
        layer, words = message.get("layer"), message.get("message")
        await notify({"kind": "build", "message": f"{layer}: {words}\n" if layer else f"{words}\n"})

    return tell
