"""Images of people's own: builds, what is in them, deletion; and the packages that are offered for them."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import IO

from aiohttp import web

from ds01.api import schema
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA
from ds01.daemon.request_body import PIECE_BYTES
from ds01.daemon.server import Handler
from ds01.daemon.stream_answer import LINES
from ds01.domain import label
from ds01.domain.images.image import is_image_id, parse_reference
from ds01.domain.images.package_tier import PackageTier, PackageTiers
from ds01.errors import BackendError, ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service.building import Build, BuildOrder, BuildService
from ds01.service.image_rules import ImageRules
from ds01.service.own_images import FoundImage, OwnImageService
from ds01.service.ports import ImageDetails

MAX_CONTEXT_BYTES = 2 * 1024**3
_KEPT_IN_MEMORY_BYTES = 8 * 1024**2
_HEX_DIGITS = frozenset("0123456789abcdef")
_DIGEST_LENGTH = 64


class OwnImageHandlers:
    """Answers for images of people's own."""

    def __init__(
        self, building: BuildService, images: OwnImageService, rules: ImageRules, tiers: Callable[[], PackageTiers]
    ) -> None:
        self._building = building
        self._images = images
        self._rules = rules
        self._tiers = tiers

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {
            "build_image": self.build_image,
            "get_image": self.get_image,
            "delete_image": self.delete_image,
            "list_packages": self.list_packages,
            "get_package_tiers": self.get_package_tiers,
        }

    async def build_image(self, call: Call) -> schema.BuiltImage | web.StreamResponse:
        """Build. The whole context is here before the engine is asked: a slow client holds no build."""
        order = _order_of(call)
        self._building.name_of(order.name)
        with tempfile.SpooledTemporaryFile(max_size=_KEPT_IN_MEMORY_BYTES) as kept:
            await _keep(call, kept)
            context = partial(_pieces, kept)
            if LINES not in call.request.headers.get("Accept", ""):
                return _built(order.name, await self._building.build(call.caller, order, context, _ignore))
            stream = await call.begin_stream(LINES)
            build = await self._building.build(call.caller, order, context, stream.send)
            await stream.send({"kind": "result", "built": _built(order.name, build)})
            return await stream.end()

    async def get_image(self, call: Call) -> schema.OwnImageDocument:
        """One image."""
        return _document(await self._images.get(call.caller.user, call.name))

    async def delete_image(self, call: Call) -> schema.DeletedImage:
        """Delete one."""
        dry_run = call.flag("dry_run")
        found = await self._images.delete(call.caller, call.name, force=call.flag("force"), dry_run=dry_run)
        return schema.DeletedImage(
            schema_version=SCHEMA,
            name=found.own.name,
            tags=list(found.tags),
            containers=list(found.containers),
            dry_run=dry_run,
        )

    async def list_packages(self, call: Call) -> schema.PackageList:
        """What is installed in an image."""
        text = call.request.query.get("image", "")
        reference, image = await self._find(call, text)
        packages = await self._images.packages(image) if image is not None else None
        return schema.PackageList(
            schema_version=SCHEMA,
            image=reference,
            is_here=image is not None,
            packages=None
            if packages is None
            else [schema.PackageDocument(name=one.name, version=one.version) for one in packages],
        )

    async def get_package_tiers(self, _call: Call) -> schema.PackageTierList:
        """The table."""
        tiers = await asyncio.to_thread(self._tiers)
        return schema.PackageTierList(
            schema_version=SCHEMA,
            base=_tier(tiers.base),
            system=_tier(tiers.system),
            jupyter=_tier(tiers.jupyter),
            data_science=_tier(tiers.data_science),
            use_cases=[_tier(tier) for tier in tiers.use_cases.values()],
        )

    async def _find(self, call: Call, text: str) -> tuple[str, ImageDetails | None]:
        """Return an image and what it is called on the engine: the caller's own by its short name, else as it is."""
        with suppress(NotFoundError):
            found = await self._images.get(call.caller.user, text)
            return found.reference, found.image
        reference = text if is_image_id(text) else str(parse_reference(text))
        with suppress(ForbiddenError):  # it is not here, and looking at it fetches nothing
            return reference, await self._rules.find(call.caller.user, reference)
        return reference, None


def _order_of(call: Call) -> BuildOrder:
    query = call.request.query
    digest = query.get("digest", "")
    if digest and (len(digest) != _DIGEST_LENGTH or not _HEX_DIGITS.issuperset(digest)):
        raise InvalidRequestError("The digest is not the SHA-256 of a Dockerfile: 64 hex digits.")
    dockerfile = query.get("dockerfile", "Dockerfile")
    if dockerfile.startswith("/") or ".." in dockerfile.split("/") or not dockerfile.isprintable():
        raise InvalidRequestError(f"{dockerfile[:100]!r} is no path in the context.", hint="Write it without / and ..")
    return BuildOrder(
        query.get("name", ""),
        dockerfile,
        digest,
        ignores_cache=call.flag("no_cache"),
        uses_buildkit=call.flag("buildkit"),
    )


async def _keep(call: Call, kept: IO[bytes]) -> None:
    size = 0
    async with aclosing(call.pieces()) as pieces:
        async for piece in pieces:
            size += len(piece)
            if size > MAX_CONTEXT_BYTES:
                raise InvalidRequestError(
                    "The folder of the Dockerfile is larger than 2 GiB.",
                    hint="Name what it does not need in .dockerignore.",
                )
            try:
                await asyncio.to_thread(kept.write, piece)
            except OSError as failure:
                raise BackendError(
                    f"The daemon cannot keep the build's context: {failure.strerror}.", hint="Tell the administrator."
                ) from failure


async def _pieces(kept: IO[bytes]) -> AsyncIterator[bytes]:
    await asyncio.to_thread(kept.seek, 0)
    while piece := await asyncio.to_thread(kept.read, PIECE_BYTES):
        yield piece


def _built(name: str, build: Build) -> schema.BuiltImage:
    return schema.BuiltImage(
        schema_version=SCHEMA,
        name=name,
        reference=build.reference,
        dated=build.dated,
        id=build.image.id,
        size_bytes=build.image.size_bytes,
    )


def _document(found: FoundImage) -> schema.OwnImageDocument:
    image, labels = found.image, found.image.labels
    return schema.OwnImageDocument(
        schema_version=SCHEMA,
        name=found.own.name,
        reference=found.reference,
        id=image.id,
        tags=list(found.tags),
        size_bytes=image.size_bytes,
        created_at=image.created_at.isoformat() if image.created_at else None,
        framework=labels.get(label.FRAMEWORK, ""),
        use_case=labels.get(label.USE_CASE, ""),
        author=labels.get(label.MAINTAINER, ""),
        digest=labels.get(label.RECIPE, ""),
        bases=[text for text in labels.get(label.BASES, "").split(";") if text],
        containers=list(found.containers),
        labels=dict(labels),
    )


def _tier(tier: PackageTier) -> schema.PackageTierDocument:
    return schema.PackageTierDocument(name=tier.name, about=tier.about, pip=list(tier.pip), apt=list(tier.apt))


async def _ignore(_message: Mapping[str, object]) -> None:
    """Nobody asked for progress."""
