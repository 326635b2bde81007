"""The catalogue as this machine sees it, and pulls of its images before a container needs them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ds01.domain.containers.container import ContainerSummary
from ds01.domain.devices.gpu import Inventory
from ds01.domain.images.catalogue import CatalogueRow, frameworks, is_offered
from ds01.domain.images.image import DEFAULT_TAG, is_image_id, parse_reference
from ds01.domain.images.image_choice import (
    ArchitectureChoice,
    CatalogueChoice,
    choose_architectures,
    choose_image,
    require_framework,
    runs_here,
)
from ds01.domain.images.local_image import LocalImage, local_images
from ds01.domain.user import User
from ds01.errors import BackendError, ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service.images import ImageChoice, ImageOrder, ImageService
from ds01.service.own_images import is_made_from
from ds01.service.ports import Devices, Engine, ImageDetails, Notify

UNKNOWN_GPUS = "the GPUs are unknown, so any CUDA image"


@dataclass(frozen=True, slots=True)
class OfferedRow:
    """A row of the catalogue on this machine.

    Attributes:
        row: The row.
        is_usable: The machine can run it.
        is_chosen: It is what its framework means here without a version.
        is_local: The engine has it; None: unknown.
    """

    row: CatalogueRow
    is_usable: bool
    is_chosen: bool
    is_local: bool | None


@dataclass(frozen=True, slots=True)
class Offer:
    """The catalogue on this machine.

    Attributes:
        architectures: Generations whose images are candidates.
        choices: Framework to what it means here, or to why it means nothing.
        rows: The rows to show.
        left_out: How many more there are with everything.
    """

    architectures: ArchitectureChoice
    choices: dict[str, CatalogueChoice | str]
    rows: tuple[OfferedRow, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class Pull:
    """Outcome of a pull.

    Attributes:
        choice: What was pulled, and why.
        image: As the engine has it now.
        was_current: The engine had this very image before.
    """

    choice: ImageChoice
    image: ImageDetails
    was_current: bool


class CatalogueService:
    """Shows the catalogue and fetches images."""

    def __init__(
        self, engine: Engine, devices: Devices, images: ImageService, rows: Callable[[], Sequence[CatalogueRow]]
    ) -> None:
        self._engine = engine
        self._devices = devices
        self._images = images
        self._rows = rows

    async def offer(
        self, framework: str | None = None, architecture: str | None = None, *, everything: bool = False
    ) -> Offer:
        """Return the catalogue for this machine.

        Args:
            framework: Only this one, in any case.
            architecture: Instead of the machine's.
            everything: Also what the machine cannot run, and discontinued frameworks.

        Raises:
            NotFoundError: No such framework or architecture; the message names the nearest.
        """
        catalogue = self._rows()
        inventory, are_known = await self._inventory()
        candidates = choose_architectures(catalogue, inventory, architecture)
        if not are_known and not candidates.was_asked:
            candidates = replace(candidates, reason=UNKNOWN_GPUS)
        rows = list(catalogue)
        if framework is not None:
            known = require_framework(catalogue, framework)
            rows = [row for row in rows if row.framework == known]
        names = dict.fromkeys(row.framework for row in rows) if everything or framework else frameworks(rows)
        choices = {name: _choose(catalogue, name, inventory, architecture) for name in names}
        if not are_known and not candidates.was_asked:
            choices = {name: _with_reason(choice, UNKNOWN_GPUS) for name, choice in choices.items()}
        local = await self._local_tags()
        choices = {name: self._if_it_can_be_had(choice, local) for name, choice in choices.items()}
        chosen = {choice.row for choice in choices.values() if isinstance(choice, CatalogueChoice)}
        found = [
            OfferedRow(row, runs_here(row, candidates, inventory), row in chosen, _is_local(row, local)) for row in rows
        ]
        shown = [item for item in found if everything or (item.is_usable and (framework or is_offered(item.row)))]
        return Offer(candidates, choices, tuple(shown), len(found) - len(shown))

    def _if_it_can_be_had(self, choice: CatalogueChoice | str, local: frozenset[str] | None) -> CatalogueChoice | str:
        """Return a choice, or why the site does not fetch it: nobody is offered what is refused in the end."""
        if isinstance(choice, str) or _is_local(choice.row, local):
            return choice
        try:
            self._images.require_pullable(choice.row.image)
        except ForbiddenError as refusal:
            return refusal.message
        return choice

    async def local_images(
        self, uid: int, *, with_users: bool = False, of_others: bool = False
    ) -> tuple[LocalImage, ...]:
        """Return the images on this machine that a user may choose from.

        Args:
            uid: The user.
            with_users: Also say which containers were made from those that somebody built; the engine is asked once
                more for it.
            of_others: Also what others built, for administrators.

        Raises:
            BackendError: The engine does not answer.
        """
        names = {str(parse_reference(row.image)): f"{row.framework}-{row.version}" for row in self._rows()}
        found = local_images(await self._engine.list_images(), uid, names, of_others=of_others)
        if not with_users:
            return found
        containers = await self._engine.list_containers()
        return tuple(_with_containers(image, containers) for image in found)

    async def pull(self, user: User, order: ImageOrder, notify: Notify) -> Pull:
        """Fetch an image from its registry, also when the engine has one of that name: names of images move on.

        Raises:
            InvalidRequestError: Neither a framework nor an image is named.
            NotFoundError: No such framework, version or image.
            ForbiddenError: The site does not fetch from its registry.
            BackendError: The pull failed.
        """
        choice, before = await self.preview_pull(user, order)
        image = await self._images.pull(choice, notify)
        return Pull(choice, image, before is not None and before.id == image.id)

    async def preview_pull(self, user: User, order: ImageOrder) -> tuple[ImageChoice, ImageDetails | None]:
        """Return what `pull` would fetch, and the image of that name that is here. Changes nothing.

        Raises:
            Ds01Error: As `pull`, but for what only the registry knows.
        """
        if order.image is not None and is_image_id(order.image):
            raise InvalidRequestError(
                f"{order.image} is an id, and registries know names.", hint="Name the image with its tag."
            )
        inventory, _ = await self._inventory()
        choice = await self._images.choose(order, inventory, user=user)
        self._images.require_pullable(choice.reference)
        return choice, await self._engine.find_image(choice.reference)

    async def _inventory(self) -> tuple[Inventory, bool]:
        """Images can be looked at and fetched while the devices are silent; what is granted then is none."""
        try:
            return await self._devices.read_inventory(), True
        except BackendError:
            return Inventory(), False

    async def _local_tags(self) -> frozenset[str] | None:
        try:
            return frozenset(tag for image in await self._engine.list_images() for tag in image.tags)
        except BackendError:
            return None


def _choose(
    rows: Sequence[CatalogueRow], framework: str, inventory: Inventory, architecture: str | None
) -> CatalogueChoice | str:
    try:
        return choose_image(rows, framework, None, inventory=inventory, architecture=architecture)
    except NotFoundError as missing:
        return missing.message


def _with_reason(choice: CatalogueChoice | str, reason: str) -> CatalogueChoice | str:
    return choice if isinstance(choice, str) else replace(choice, reason=reason)


def _is_local(row: CatalogueRow, tags: frozenset[str] | None) -> bool | None:
    return None if tags is None else str(parse_reference(row.image)) in tags


def _with_containers(local: LocalImage, containers: Sequence[ContainerSummary]) -> LocalImage:
    """Return an image with the containers that were made from it, if somebody built it and it is the newest build."""
    if local.owner_uid is None or not local.reference.endswith(f":{DEFAULT_TAG}"):
        return local
    found = sorted(one.name for one in containers if is_made_from(one, local.id, local.reference))
    return replace(local, containers=tuple(found))
