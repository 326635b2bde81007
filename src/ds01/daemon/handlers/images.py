"""Images: the catalogue, pulls."""

from collections.abc import Mapping

from aiohttp import web

from ds01.api import schema
from ds01.daemon.call import Call
from ds01.daemon.documents import SCHEMA, Names, time_text
from ds01.daemon.identity import Identities
from ds01.daemon.server import Handler
from ds01.daemon.stream_answer import LINES
from ds01.domain.images.image import digest_of
from ds01.domain.images.image_choice import CatalogueChoice
from ds01.domain.images.local_image import LocalImage
from ds01.errors import InvalidRequestError
from ds01.service.catalogue import CatalogueService, OfferedRow, Pull
from ds01.service.images import ImageChoice, ImageOrder
from ds01.service.ports import ImageDetails


class ImageHandlers:
    """Answers for images."""

    def __init__(self, catalogue: CatalogueService, identities: Identities) -> None:
        self._catalogue = catalogue
        self._identities = identities

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {
            "get_catalogue": self.get_catalogue,
            "list_images": self.list_images,
            "pull_image": self.pull_image,
        }

    async def get_catalogue(self, call: Call) -> schema.CatalogueDocument:
        """The catalogue for this machine."""
        query = call.request.query
        offer = await self._catalogue.offer(
            query.get("framework") or None, query.get("architecture") or None, everything=call.flag("all")
        )
        return schema.CatalogueDocument(
            schema_version=SCHEMA,
            architectures=list(offer.architectures.names),
            reason=offer.architectures.reason,
            choices=[_choice_document(name, choice) for name, choice in offer.choices.items()],
            rows=[_row_document(item) for item in offer.rows],
            left_out=offer.left_out,
        )

    async def list_images(self, call: Call) -> schema.ImageList:
        """What this machine has for the caller; for administrators with `all` what others built too."""
        found = await self._catalogue.local_images(
            call.uid, with_users=call.flag("containers"), of_others=call.flag("all") and call.caller.is_admin
        )
        names = Names(await self._identities.names(image.owner_uid for image in found))
        return schema.ImageList(schema_version=SCHEMA, images=[_image_document(image, names) for image in found])

    async def pull_image(self, call: Call) -> schema.PulledImage | web.StreamResponse:
        """Pull; with `Accept: application/x-ndjson` as a stream of progress."""
        body = call.document(schema.PullImageBody)
        order = _order_of(body)
        if body.get("dry_run"):
            return _would_pull(*await self._catalogue.preview_pull(call.caller.user, order))
        if LINES not in call.request.headers.get("Accept", ""):
            return _pulled(await self._catalogue.pull(call.caller.user, order, _ignore))
        stream = await call.begin_stream(LINES)
        pulled = await self._catalogue.pull(call.caller.user, order, stream.send)
        await stream.send({"kind": "result", "image": _pulled(pulled)})
        return await stream.end()


def _order_of(body: schema.PullImageBody) -> ImageOrder:
    reference, framework, version = body.get("reference"), body.get("framework"), body.get("version")
    if reference is not None and (framework is not None or version is not None):
        raise InvalidRequestError(
            "A reference and a framework exclude each other.", hint="Name the image or the framework."
        )
    return ImageOrder(framework, version, reference, body.get("architecture"))


def _image_document(image: LocalImage, names: Names) -> schema.ImageDocument:
    return schema.ImageDocument(
        reference=image.reference,
        name=image.name,
        id=image.id,
        size_bytes=image.size_bytes,
        created_at=time_text(image.created_at),
        framework=image.framework,
        own=image.is_own,
        digest=image.digest,
        bases=list(image.bases),
        containers=list(image.containers),
        owner=names(image.owner_uid),
    )


def _pulled(pull: Pull) -> schema.PulledImage:
    return schema.PulledImage(
        schema_version=SCHEMA,
        reference=pull.choice.reference,
        id=pull.image.id,
        digest=digest_of(pull.image, pull.choice.reference),
        size_bytes=pull.image.size_bytes,
        was_current=pull.was_current,
        reason=pull.choice.reason,
    )


def _would_pull(choice: ImageChoice, image: ImageDetails | None) -> schema.PulledImage:
    return schema.PulledImage(
        schema_version=SCHEMA,
        reference=choice.reference,
        id=image.id if image else "",
        digest=digest_of(image, choice.reference) if image else "",
        size_bytes=image.size_bytes if image else 0,
        was_current=False,
        reason=choice.reason,
    )


def _choice_document(framework: str, choice: CatalogueChoice | str) -> schema.CatalogueChoiceDocument:
    if isinstance(choice, str):
        return schema.CatalogueChoiceDocument(framework=framework, version="", architecture="", image="", reason=choice)
    return schema.CatalogueChoiceDocument(
        framework=framework,
        version=choice.row.version,
        architecture=choice.architecture,
        image=choice.row.image,
        reason=choice.reason,
    )


def _row_document(item: OfferedRow) -> schema.CatalogueRowDocument:
    return schema.CatalogueRowDocument(
        framework=item.row.framework,
        version=item.row.version,
        architectures=list(item.row.architectures),
        image=item.row.image,
        origin=item.row.origin,
        usable=item.is_usable,
        chosen=item.is_chosen,
        local=item.is_local,
    )


async def _ignore(_message: Mapping[str, object]) -> None:
    """Nobody asked for progress."""
