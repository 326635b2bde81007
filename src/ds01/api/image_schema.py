"""The documents about images. A part of ds01.api.schema."""

from typing import NotRequired, TypedDict


class CatalogueRowDocument(TypedDict):
    """A framework image; `usable`: this machine can run it; `local` is None where the engine does not answer."""

    framework: str
    version: str
    architectures: list[str]
    image: str
    origin: str
    usable: bool
    chosen: bool
    local: bool | None


class CatalogueChoiceDocument(TypedDict):
    """What a framework without a version means here; image is empty where there is none, and the reason says why."""

    framework: str
    version: str
    architecture: str
    image: str
    reason: str


class CatalogueDocument(TypedDict):
    """The catalogue as this machine sees it; `left_out` counts the rows that `all` would add."""

    schema_version: int
    architectures: list[str]
    reason: str
    choices: list[CatalogueChoiceDocument]
    rows: list[CatalogueRowDocument]
    left_out: int


class ImageDocument(TypedDict):
    """An image on this machine; name is what its owner types, `own`: the caller built it."""

    reference: str
    name: str
    id: str
    size_bytes: int
    created_at: str | None
    framework: str
    own: bool


class ImageList(TypedDict):
    """Images on this machine that the caller may choose from: own ones first, newest first."""

    schema_version: int
    images: list[ImageDocument]


class PullImageBody(TypedDict):
    """What to pull: any image's reference, or a framework of the catalogue."""

    reference: NotRequired[str]
    framework: NotRequired[str]
    version: NotRequired[str]
    architecture: NotRequired[str]


class PulledImage(TypedDict):
    """Outcome of a pull; `was_current`: the engine had this very image before."""

    schema_version: int
    reference: str
    id: str
    size_bytes: int
    was_current: bool
    reason: str
