"""The site's rules about images: whose may be used, and where they may be fetched from. Every use passes here."""

from collections.abc import Callable

from ds01.domain.engine import ImageDetails
from ds01.domain.images.image import is_image_id, parse_reference
from ds01.domain.images.image_access import REGISTRIES_KEY, is_anothers_name, is_visible, require_registry
from ds01.domain.rules.policy import Policy
from ds01.domain.user import User
from ds01.errors import NotFoundError
from ds01.service.ports import Engine


class ImageRules:
    """Judges images before they are used."""

    def __init__(self, engine: Engine, policy: Callable[[], Policy], *, is_personal: bool = False) -> None:
        """Judge by a policy.

        Args:
            engine: Holds the images.
            policy: Returns the policy in force.
            is_personal: There is one user only: an image without a name is theirs too.
        """
        self._engine = engine
        self._policy = policy
        self._is_personal = is_personal

    def require_pullable(self, reference: str) -> None:
        """Raise if the site does not fetch images from this registry.

        Raises:
            ForbiddenError: It does not; the message names the image and the rule.
        """
        site = self._policy().site
        require_registry(reference, site.access.registries, site.origins.get(REGISTRIES_KEY, ""))

    async def find(self, user: User, reference: str) -> ImageDetails | None:
        """Return an image that is here and that this user may use; None: it is not here, and may be fetched.

        Args:
            user: Who wants it; root may use every image.
            reference: A reference or an id.

        Raises:
            InvalidRequestError: It is no reference.
            NotFoundError: It is somebody else's, or an id that is not here.
            ForbiddenError: It is not here, and the site does not fetch from its registry.
            BackendError: The engine does not answer.
        """
        if not is_image_id(reference):
            parse_reference(reference)
        if not user.is_root and is_anothers_name(reference, user.uid):
            raise _hidden(reference)
        found = await self._engine.find_image(reference)
        if found is None:
            if is_image_id(reference):
                raise _hidden(reference)
            self.require_pullable(reference)
            return None
        if not user.is_root and not self._is_usable(found, user.uid):
            raise _hidden(reference)
        return found

    def _is_usable(self, image: ImageDetails, uid: int) -> bool:
        return is_visible(image, uid) or (self._is_personal and not (image.tags or image.digests))


def _hidden(reference: str) -> NotFoundError:
    """What is somebody else's looks as if it were not there."""
    return NotFoundError(
        f"There is no image {reference[:100]} that you may use.",
        hint="`ds01 image list` shows the images that are here.",
    )
