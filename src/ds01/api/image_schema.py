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


class CatalogueListBody(TypedDict):
    """A list in AIME's form to compare with the catalogue; without a text, the one that the policy names."""

    text: NotRequired[str]
    name: NotRequired[str]


class CatalogueChangeDocument(TypedDict):
    """A difference. `kind` is new, changed, kept (a row of the site's own stays) or gone (no longer in the list).

    `before` is the catalogue's image and `origin` where it is from; `in_force`: the catalogue names `image` already.
    """

    kind: str
    framework: str
    version: str
    architectures: list[str]
    image: str
    before: str
    origin: str
    in_force: bool


class CatalogueComparison(TypedDict):
    """How a list differs from the catalogue; `path` and `text`: the file that takes new and changed rows over.

    The text is empty where there are none. `skipped` rows of the list cannot be read; `remarks` are about the first.
    """

    schema_version: int
    source: str
    changes: list[CatalogueChangeDocument]
    skipped: int
    remarks: list[str]
    path: str
    text: str


class ImageDocument(TypedDict):
    """An image on this machine; name: what its owner types, `own`: the caller built it, `digest`: of its Dockerfile.

    `bases`: what it was built from. `containers`: names on the engine of those made from it, where asked for and
    somebody built it. `owner`: who built it, empty for what is nobody's.
    """

    reference: str
    name: str
    id: str
    size_bytes: int
    created_at: str | None
    framework: str
    own: bool
    digest: str
    bases: list[str]
    containers: list[str]
    owner: str


class ImageList(TypedDict):
    """Images on this machine that the caller may choose from: own ones first, newest first."""

    schema_version: int
    images: list[ImageDocument]


class PullImageBody(TypedDict):
    """What to pull: any image's reference, or a framework of the catalogue; `dry_run`: only say what that would be."""

    reference: NotRequired[str]
    framework: NotRequired[str]
    version: NotRequired[str]
    architecture: NotRequired[str]
    dry_run: NotRequired[bool]


class PulledImage(TypedDict):
    """Outcome of a pull; `was_current`: the engine had this very image before; `digest`: the registry's.

    Of a dry run, id and digest are those of an image of that name that is here, and empty without one.
    """

    schema_version: int
    reference: str
    id: str
    digest: str
    size_bytes: int
    was_current: bool
    reason: str


class BuiltImage(TypedDict):
    """Outcome of a build; `dated` is a name that the next build does not take."""

    schema_version: int
    name: str
    reference: str
    dated: str
    id: str
    size_bytes: int


class OwnImageDocument(TypedDict):
    """An image of somebody's own; `digest`: SHA-256 of the Dockerfile it was built from, empty where unknown.

    `bases`: images that it was built from, as `name=digest`.
    """

    schema_version: int
    name: str
    reference: str
    id: str
    tags: list[str]
    size_bytes: int
    created_at: str | None
    framework: str
    use_case: str
    author: str
    digest: str
    bases: list[str]
    containers: list[str]
    labels: dict[str, str]


class DeletedImage(TypedDict):
    """What was deleted, or would be; with the names of the containers that were made from it."""

    schema_version: int
    name: str
    tags: list[str]
    containers: list[str]
    dry_run: bool


class PackageDocument(TypedDict):
    """An installed package of Python."""

    name: str
    version: str


class PackageList(TypedDict):
    """What pip says of an image; `is_here`: the engine has it; packages is None where there is no pip."""

    schema_version: int
    image: str
    is_here: bool
    packages: list[PackageDocument] | None


class PackageTierDocument(TypedDict):
    """One tier: what it is for, its packages of Python and of the system."""

    name: str
    about: str
    pip: list[str]
    apt: list[str]


class PackageTierList(TypedDict):
    """The table; the use cases are in the order of the file."""

    schema_version: int
    base: PackageTierDocument
    system: PackageTierDocument
    jupyter: PackageTierDocument
    data_science: PackageTierDocument
    use_cases: list[PackageTierDocument]
