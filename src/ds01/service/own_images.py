"""Images that people built: found by their short names, looked into, deleted."""

from dataclasses import dataclass
from datetime import timedelta

from ds01.domain import label
from ds01.domain.containers.container import ContainerSpec, ContainerSummary
from ds01.domain.event import Event
from ds01.domain.images.image import is_private_tag, original_repository
from ds01.domain.images.image_name import OwnImage, meant_images, nearest_images, parse_own_image
from ds01.domain.images.installed import InstalledPackage, parse_pip_list
from ds01.domain.name import EngineName
from ds01.domain.rules.access import Caller
from ds01.domain.user import User, handle
from ds01.errors import BackendError, ConflictError, InvalidRequestError, NotFoundError
from ds01.service.helper_container import HelperContainers
from ds01.service.ports import Engine, ImageDetails, World

_PIP = ("python3", "-m", "pip", "list", "--format", "json", "--disable-pip-version-check", "--no-input")
_PIP_DEADLINE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image of somebody's own.

    Attributes:
        own: Whose, and its name.
        reference: As the engine has it.
        image: The image.
        tags: All names of this person's for it and its earlier builds, without the private ones of containers.
        containers: Names on the engine of the containers made from it.
    """

    own: OwnImage
    reference: str
    image: ImageDetails
    tags: tuple[str, ...]
    containers: tuple[str, ...]


class OwnImageService:
    """What people do with their own images."""

    def __init__(self, world: World, helpers: HelperContainers) -> None:
        self._engine: Engine = world.engine
        self._store = world.store
        self._clock = world.clock
        self._helpers = helpers

    async def get(self, user: User, text: str) -> FoundImage:
        """Return an image by what its owner types.

        Raises:
            NotFoundError: There is none; the hint names the nearest.
        """
        for reference in meant_images(text, user.uid, handle(user.uid, user.name)):
            own = parse_own_image(reference)
            if own is None or own.uid != user.uid:
                continue  # another's image is hidden
            image = await self._engine.find_image(reference)
            if image is not None:
                return await self._found(own, reference, image)
        raise await self._missing(user, text)

    async def _found(self, own: OwnImage, reference: str, image: ImageDetails) -> FoundImage:
        repository = reference.rpartition(":")[0]
        tags = tuple(
            tag
            for other in await self._engine.list_images()
            for tag in other.tags
            if tag.rpartition(":")[0] == repository and not is_private_tag(tag)
        )
        users = sorted(
            container.name
            for container in await self._engine.list_containers()
            if is_made_from(container, image.id, reference)
        )
        # the one that it is found by goes last: a deletion that was broken off can be typed again
        return FoundImage(own, reference, image, tuple(sorted(tags, key=lambda tag: tag == reference)), tuple(users))

    async def _missing(self, user: User, text: str) -> NotFoundError:
        owned = [parse_own_image(tag) for image in await self._engine.list_images() for tag in image.tags]
        names = sorted({own.name for own in owned if own is not None and own.uid == user.uid})
        near = nearest_images(text, names)
        hint = f"Did you mean {near[0]}?" if near else "Build it: `ds01 image build`; `ds01 image list` shows yours."
        return NotFoundError(f"You have no image {text[:80]!r}.", hint=hint)

    async def delete(self, caller: Caller, text: str, *, force: bool = False, dry_run: bool = False) -> FoundImage:
        """Delete an image with its earlier builds. Nothing else of the engine's is touched.

        Args:
            caller: Whose it is.
            text: Its name as typed.
            force: Also one that containers use: they keep what they were made from, under a name of their own.
            dry_run: Only say what would go.

        Raises:
            NotFoundError: There is none.
            ConflictError: A container uses it; the message names them.
        """
        found = await self.get(caller.user, text)
        if found.containers and not force:
            users = ", ".join(name.rpartition("._.")[0] or name for name in found.containers)
            raise ConflictError(
                f"{found.own.name} is used by {users}.",
                hint=f"Remove the containers first: `ds01 rm {users.replace(',', '')}`, or add --force.",
                details={"containers": list(found.containers)},
            )
        if dry_run:
            return found
        for tag in found.tags:
            await self._engine.remove_image(tag)
        event = Event(
            "image.deleted",
            self._clock.now(),
            uid=caller.uid,
            actor_uid=caller.uid,
            details={"image": found.own.name, "tags": list(found.tags)},
        )
        await self._store.write(lambda transaction: transaction.append_event(event))
        return found

    async def packages(self, image: ImageDetails) -> tuple[InstalledPackage, ...] | None:
        """Return what pip says is installed in an image; None: it has no Python with pip, or cannot say.

        Its Python runs in a container without network, GPU and files of anybody.

        Raises:
            BackendError: The engine failed.
        """
        spec = ContainerSpec(
            EngineName("packages", 0),
            image.id,
            0,
            0,
            entrypoint=_PIP,
            environment={"NVIDIA_VISIBLE_DEVICES": "void", "PIP_NO_COLOR": "1"},
            network="none",
            has_terminal=False,
            working_dir="/",
        )
        try:
            result = await self._helpers.run(spec, deadline=_PIP_DEADLINE)
            if result.exit_code:
                return None
            start = result.stdout.find("[{")
            end = result.stdout.rfind("}]")
            return tuple(parse_pip_list(result.stdout[start : end + 2]).values()) if 0 <= start < end else ()
        except (BackendError, InvalidRequestError) as failure:  # engines blame whoever asked, or themselves
            if "executable file not found" in failure.message or "no such file" in failure.message:
                return None
            raise


def is_made_from(container: ContainerSummary, image_id: str, reference: str) -> bool:
    """Tell whether a container was made from an image or an earlier build of it; a moved one has a copy of its own."""
    repository = reference.rpartition(":")[0]
    asked_for = container.labels.get(label.CUSTOM_IMAGE, "")
    return container.image in {image_id, reference} or repository in {
        original_repository(container.image.rpartition(":")[0]),
        asked_for.rpartition(":")[0],
    }
