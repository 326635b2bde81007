"""Gives a base that lacks sudo or git one derived image with them, built once, however many people create at a time."""

import asyncio
import io
import logging
import tarfile
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta

from ds01.domain.containers.tools import BASE_LABEL, derived_reference, dockerfile_of
from ds01.domain.images.build_site import BuildSite, Masker
from ds01.errors import BackendError, Ds01Error
from ds01.service.images import ImageService, InnerFiles
from ds01.service.ports import BuildSpec, Engine, ImageDetails, Notify

log = logging.getLogger(__name__)
DEADLINE = timedelta(minutes=10)
MEMORY_BYTES = 2 * 1024**3
NANO_CPUS = 2 * 10**9
_LAST_LINES = 3


@dataclass(frozen=True, slots=True)
class Equipped:
    """An image with what everybody expects inside, as far as that was possible.

    Attributes:
        image: The derived image, or the base itself.
        inner: What it has inside.
        warning: Why something is missing; empty if nothing is.
    """

    image: ImageDetails
    inner: InnerFiles
    warning: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever creates from it should know."""
        no_shell = "The image has no shell: the engine's init is its first process, and AIME's auto-stop will not work."
        found = (self.warning, "" if self.inner.has_shell else no_shell)
        return tuple(text for text in found if text)


class ToolService:
    """Finds or builds derived images. Without a network a container is made without sudo or git, and it is said so."""

    def __init__(self, engine: Engine, images: ImageService, build_site: Callable[[], BuildSite] = BuildSite) -> None:
        self._engine = engine
        self._build_site = build_site
        self._images = images
        self._locks: dict[str, asyncio.Lock] = {}

    async def equip(self, image: ImageDetails, inner: InnerFiles, notify: Notify) -> Equipped:
        """Return the image, or its derived one if it lacks sudo or git and they can be had.

        Args:
            image: The base.
            inner: What the base has inside.
            notify: Is told when a build begins: it takes its time.
        """
        if inner.has_sudo and inner.has_git:
            return Equipped(image, inner)
        dockerfile = dockerfile_of(image.id, image.user, inner.package_manager)
        if dockerfile is None:
            return Equipped(image, inner, f"The image has no {_missing(inner)} and no package manager that is known.")
        # ten people who create at the same moment wait for one build
        async with self._locks.setdefault(image.id, asyncio.Lock()):
            try:
                derived = await self._find(image) or await self._build(image, dockerfile, notify)
                return Equipped(derived, await self._images.look_inside(derived))
            except Ds01Error as failure:
                log.warning("the derived image of %s could not be built: %s", image.id, failure)
                reason = f"The image has no {_missing(inner)}, and it could not be added: {failure.message}"
                return Equipped(image, inner, reason)

    async def _find(self, image: ImageDetails) -> ImageDetails | None:
        found = await self._engine.find_image(derived_reference(image.id))
        return found if found is not None and found.labels.get(BASE_LABEL) == image.id else None

    async def _build(self, image: ImageDetails, dockerfile: str, notify: Notify) -> ImageDetails:
        await notify({"kind": "step", "message": "Adding sudo and git to the image, once for everybody"})
        reference = derived_reference(image.id)
        site = await asyncio.to_thread(self._build_site)
        masker = Masker(site.secrets)
        labels = {BASE_LABEL: image.id}
        spec = BuildSpec(
            reference, labels=labels, arguments=site.arguments, memory_bytes=MEMORY_BYTES, nano_cpus=NANO_CPUS
        )
        printed: list[str] = []
        try:
            async with asyncio.timeout(DEADLINE.total_seconds()):
                async with aclosing(self._engine.build_image(spec, _context(dockerfile))) as steps:
                    async for step in steps:
                        printed += [line for line in step.text.splitlines() if line.strip()]
                        del printed[:-_LAST_LINES]
        except TimeoutError as late:
            raise BackendError(f"its build did not end within {DEADLINE.total_seconds():.0f} s.") from late
        except BackendError as failure:
            said = " / ".join(printed)[-300:]
            raise BackendError(masker.whole(f"{failure.message} ({said})" if said else failure.message)) from None
        built = await self._find(image)
        if built is None:
            raise BackendError("the engine built it and does not have it.")
        return built


@dataclass(frozen=True, slots=True)
class ImageSupply:
    """Where a creation gets its image from.

    Attributes:
        images: Finds, pulls and looks into images.
        tools: Adds what everybody expects inside.
    """

    images: ImageService
    tools: ToolService


def _missing(inner: InnerFiles) -> str:
    names = [name for name, has in (("sudo", inner.has_sudo), ("git", inner.has_git)) if not has]
    return " and no ".join(names)


def _context(dockerfile: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        header = tarfile.TarInfo("Dockerfile")
        header.size = len(dockerfile.encode())
        archive.addfile(header, io.BytesIO(dockerfile.encode()))
    return buffer.getvalue()
