"""Images: from what a user typed to an image that the engine has, and the accounts inside it."""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from ds01.domain.containers.account import AccountFiles
from ds01.domain.containers.tools import PACKAGE_MANAGERS
from ds01.domain.devices.gpu import Inventory
from ds01.domain.images.catalogue import CatalogueRow, find_framework, frameworks
from ds01.domain.images.image import DEFAULT_TAG, is_image_id, parse_reference
from ds01.domain.images.image_choice import choose_image
from ds01.domain.images.image_name import meant_images, nearest_images, parse_own_image
from ds01.domain.images.local_image import local_images
from ds01.domain.user import User, handle
from ds01.errors import (
    BackendError,
    BackendTimeoutError,
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
)
from ds01.service.fact import FactKind
from ds01.service.helper_container import HelperContainers
from ds01.service.image_rules import ImageRules
from ds01.service.ports import Engine, ImageDetails, Notify, Store

log = logging.getLogger(__name__)
ACCOUNT_CACHE_SIZE = 256
INNER_FILES = FactKind("image-inside", places=2048)
NAMELESS_IMAGES = "ds01.invalid/image-"
"""Repository of the private tags of images that were given by their id, see `domain.image.private_tag`."""
_PASSWD, _GROUP, _SHADOW = "/etc/passwd", "/etc/group", "/etc/shadow"
_SUDOERS, _BASH, _SH, _GIT, _SUDO = "/etc/sudoers.d", "/bin/bash", "/bin/sh", "/usr/bin/git", "/usr/bin/sudo"


@dataclass(frozen=True, slots=True)
class ImageOrder:
    """What the user wants as image.

    Attributes:
        framework: Name of the catalogue; None with `image` alone.
        version: Its version; None: the newest.
        image: Any image's reference; wins over the catalogue.
        architecture: Overrides what follows from the machine.
        is_internal: The daemon loads the image itself, under a name of its own: no rule of the site applies.
    """

    framework: str | None = None
    version: str | None = None
    image: str | None = None
    architecture: str | None = None
    is_internal: bool = False


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """What is taken.

    Attributes:
        reference: Reference or id.
        framework_label: `Pytorch-2.8.0-aime`, or `custom-latest`.
        architecture: CUDA generation; empty for images that are not of the catalogue.
        reason: Why this one.
        is_custom: It is not of the catalogue.
    """

    reference: str
    framework_label: str
    architecture: str
    reason: str
    is_custom: bool


@dataclass(frozen=True, slots=True)
class InnerFiles:
    """What an image has inside, as far as the account of the user needs it.

    Attributes:
        accounts: Account files.
        has_shell: /bin/sh exists, so our PID 1 can run.
        has_git: git is there.
        has_sudo: sudo is there.
        package_manager: Path of its package manager; empty: none that is known.
    """

    accounts: AccountFiles
    has_shell: bool
    has_git: bool
    has_sudo: bool = True
    package_manager: str = ""


USUAL_INSIDE = InnerFiles(AccountFiles(has_sudoers_dir=True, has_bash=True), has_shell=True, has_git=True)
"""What most images have: for a dry run, which looks into none."""


class ImageService:
    """Finds, pulls and looks into images."""

    def __init__(
        self,
        engine: Engine,
        helpers: HelperContainers,
        store: Store,
        catalogue: Callable[[], Sequence[CatalogueRow]],
        rules: ImageRules,
    ) -> None:
        self._engine = engine
        self._rules = rules
        self._helpers = helpers
        self._store = store
        self._catalogue = catalogue
        self._inner: OrderedDict[str, InnerFiles] = OrderedDict()
        self._looking = asyncio.Lock()

    async def choose(self, order: ImageOrder, inventory: Inventory, *, user: User | None = None) -> ImageChoice:
        """Return the image for an order.

        A single word that is no framework is taken as a local image if there is one of that name: the user's own first.

        Args:
            order: What is wanted.
            inventory: Devices and driver.
            user: Whose images short names mean; others' are hidden. None: nobody's.

        Raises:
            InvalidRequestError: Neither a framework nor an image is named.
            NotFoundError: No such framework, version or local image; a single word is one that is not here where the
                site does not fetch it.
            ForbiddenError: It is not here, and the site does not fetch from its registry.
        """
        choice = await self._choose(order, inventory, user)
        if user is not None and not order.is_internal:
            try:
                await self._rules.find(user, choice.reference)
            except ForbiddenError as refusal:
                if not choice.is_custom or "/" in choice.reference:
                    raise
                raise await self._not_here(choice.reference, user, refusal) from refusal
        return choice

    async def _not_here(self, word: str, user: User, refusal: ForbiddenError) -> NotFoundError:
        """Whoever typed a single word meant an image by its name, and thought of no registry."""
        here = local_images(await self._engine.list_images(), user.uid, {})
        names = dict.fromkeys(local.name.removesuffix(f":{DEFAULT_TAG}") for local in here)
        near = nearest_images(word.removesuffix(f":{DEFAULT_TAG}"), list(names))
        known = [name.lower() for name in frameworks(self._catalogue())]
        hints = [f"Did you mean {' or '.join(near)}?"] if near else []
        hints += [
            f"Did you mean the framework {name}? Type it without --image." for name in nearest_images(word, known)
        ]
        hints.append("`ds01 image list` shows what is here; an image of your own is made with `ds01 image create`.")
        return NotFoundError(
            f"There is no image {word} here. {refusal.message}", hint="\n".join(hints), details=refusal.details
        )

    async def _choose(self, order: ImageOrder, inventory: Inventory, user: User | None) -> ImageChoice:
        if order.image is not None:
            return self._custom(order, await self._find_own(order.image, user) or order.image)
        if order.framework is None:
            raise InvalidRequestError(
                "Neither a framework nor an image is named.",
                hint="Name one: `ds01 create my-project pytorch`, or --image REF.",
            )
        rows = self._catalogue()
        if find_framework(rows, order.framework) is None and order.version is None:
            own = await self._find_own(order.framework, user)
            if own is not None:
                return self._custom(replace(order, image=own, framework=None), own)
            local = await self._find_local(order.framework)
            if local is not None:
                return self._custom(order, order.framework)
        choice = choose_image(
            rows, order.framework, order.version, inventory=inventory, architecture=order.architecture
        )
        label = f"{choice.row.framework}-{choice.row.version}"
        return ImageChoice(choice.row.image, label, choice.architecture, choice.reason, is_custom=False)

    async def _find_own(self, text: str, user: User | None) -> str | None:
        """Return the reference of a user's own image by its short name, or None.

        Raises:
            NotFoundError: It is another's.
        """
        if user is None or is_image_id(text):
            return None
        given = parse_own_image(text)
        if given is not None and given.uid != user.uid and not user.is_root:
            raise NotFoundError(f"You have no image {text[:80]!r}.", hint="`ds01 image list` shows yours.")
        for reference in meant_images(text, user.uid, handle(user.uid, user.name)):
            if parse_own_image(reference) is not None and await self._engine.find_image(reference) is not None:
                return reference
        return None

    def _custom(self, order: ImageOrder, image: str) -> ImageChoice:
        if not is_image_id(image):
            parse_reference(image)
        named_framework = order.framework if order.image is not None and order.framework else "custom"
        label = f"{named_framework}-{order.version or 'latest'}"
        return ImageChoice(
            image, label, (order.architecture or "").upper(), f"image {image} was asked for", is_custom=True
        )

    async def _find_local(self, text: str) -> ImageDetails | None:
        try:
            parse_reference(text)
        except InvalidRequestError:
            return None
        return await self._engine.find_image(text)

    async def provide(self, choice: ImageChoice, notify: Notify) -> ImageDetails:
        """Return the image, pulled when the engine does not have it: looked up locally first.

        Raises:
            NotFoundError: Neither the engine nor the registry has it, or the registry cannot be asked for an image that
                is not of the catalogue.
            BackendError: The pull failed.
        """
        found = await self._engine.find_image(choice.reference)
        if found is not None:
            return found
        if is_image_id(choice.reference):
            raise NotFoundError(
                f"The engine has no image {choice.reference}.", hint="`docker images` shows what is there."
            )
        has_begun = False

        async def tell(message: Mapping[str, object]) -> None:
            nonlocal has_begun
            has_begun |= bool(message.get("layer"))
            await notify(message)

        try:
            return await self.pull(choice, tell)
        except BackendTimeoutError:
            raise
        except BackendError as failure:
            if has_begun or not choice.is_custom:
                raise
            await self._engine.get_info()  # an engine that went away knows of no image, which is another matter
            # mostly a name that was mistyped, and no registry that is down
            raise NotFoundError(
                f"There is no image {choice.reference} here, and it could not be fetched: {failure.message}",
                hint="`ds01 image list` shows what is here; an image of your own is made with `ds01 image create`.",
            ) from failure

    def require_pullable(self, reference: str) -> None:
        """Raise if the site does not fetch from the registry of an image.

        Raises:
            ForbiddenError: It does not; the message names the image and the rule.
        """
        self._rules.require_pullable(reference)

    async def pull(self, choice: ImageChoice, notify: Notify) -> ImageDetails:
        """Return the image as its registry has it now. Layers that the engine has are not fetched again.

        Raises:
            ForbiddenError: The site does not fetch from that registry.
            NotFoundError: The registry does not have it.
            BackendError: The pull failed.
        """
        self.require_pullable(choice.reference)
        await notify({"kind": "step", "message": f"Pulling {choice.reference}"})
        try:
            async with aclosing(self._engine.pull_image(choice.reference)) as steps:
                async for step in steps:
                    await notify(
                        {
                            "kind": "pull",
                            "layer": step.layer,
                            "message": step.status,
                            "current_bytes": step.current_bytes,
                            "total_bytes": step.total_bytes,
                        }
                    )
        except NotFoundError as missing:
            hint = (
                "Check the name; an image of your own is made with `ds01 image create`." if choice.is_custom else None
            )
            raise NotFoundError(f"There is no image {choice.reference} in its registry.", hint=hint) from missing
        except BackendError as failure:
            raise BackendError(
                f"{choice.reference} could not be pulled: {failure.message}", hint=failure.hint
            ) from failure
        pulled = await self._engine.find_image(choice.reference)
        if pulled is None:
            raise BackendError(f"The engine pulled {choice.reference} and does not have it.", hint="Try again.")
        return pulled

    async def look_inside(self, image: ImageDetails) -> InnerFiles:
        """Return what the image has inside; read once for each image id and kept."""
        known = await self.find_inside(image)
        if known is None:
            async with self._looking:  # twenty creations of a new image look once
                known = await self.find_inside(image)
                if known is None:
                    known = await self._read_inside(image)
                    text = _to_text(known)
                    await self._store.write(lambda transaction: INNER_FILES.remember(transaction, image.id, text))
                    self._keep(image, known)
        return known

    async def find_inside(self, image: ImageDetails) -> InnerFiles | None:
        """Return what is remembered of the image's inside, or None. Asks the engine for nothing."""
        known = self._inner.get(image.id)
        if known is None:
            remembered = await self._store.read(lambda transaction: INNER_FILES.recall(transaction, image.id))
            if remembered is None:
                return None
            known = _from_text(remembered)
        self._keep(image, known)
        return known

    def _keep(self, image: ImageDetails, inner: InnerFiles) -> None:
        self._inner[image.id] = inner
        self._inner.move_to_end(image.id)
        while len(self._inner) > ACCOUNT_CACHE_SIZE:
            self._inner.popitem(last=False)

    async def _read_inside(self, image: ImageDetails) -> InnerFiles:
        files, existing = await self._helpers.read_files(
            image.id, (_PASSWD, _GROUP, _SHADOW), (_SUDOERS, _BASH, _SH, _GIT, _SUDO, *PACKAGE_MANAGERS)
        )

        def text(path: str) -> str:
            return files.get(path, b"").decode("utf-8", "surrogateescape")

        has_sudo = {_SUDOERS, _SUDO} <= existing
        accounts = AccountFiles(text(_PASSWD), text(_GROUP), text(_SHADOW), has_sudo, _BASH in existing)
        manager = next((path for path in PACKAGE_MANAGERS if path in existing), "")
        return InnerFiles(accounts, _SH in existing, _GIT in existing, has_sudo, manager)


async def drop_private_tag(engine: Engine, tag: str) -> None:
    """Remove the tag that a container was created from.

    An image that was given by its id may have no other name: removing its last one would delete the image, which is its
    owner's, so that tag stays. One that the engine keeps for another container stays too.
    """
    image = await engine.find_image(tag) if tag.startswith(NAMELESS_IMAGES) else None
    if image is not None and not [other for other in (*image.tags, *image.digests) if other != tag]:
        log.info("the tag %s stays: it is the only name of its image", tag)
        return
    try:
        await engine.remove_image(tag)
    except ConflictError as refusal:
        log.warning("the tag %s stays: %s", tag, refusal)


def _to_text(inner: InnerFiles) -> str:
    accounts = inner.accounts
    return json.dumps(
        {
            "passwd": accounts.passwd,
            "group": accounts.group,
            "shadow": accounts.shadow,
            "has_sudoers_dir": accounts.has_sudoers_dir,
            "has_bash": accounts.has_bash,
            "has_shell": inner.has_shell,
            "has_git": inner.has_git,
            "has_sudo": inner.has_sudo,
            "package_manager": inner.package_manager,
        }
    )


def _from_text(text: str) -> InnerFiles:
    document = json.loads(text)
    own = {name: document.pop(name) for name in ("has_shell", "has_git", "has_sudo", "package_manager")}
    return InnerFiles(AccountFiles(**document), **own)
