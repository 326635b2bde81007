"""Documents about what was installed in containers, and about containers made again. A part of ds01.api.schema."""

from typing import NotRequired, TypedDict


class PackageChangeDocument(TypedDict):
    """A package that a container has otherwise than its image.

    `tool` is pip, apt or conda; `before` is empty where the image has none or it is not known; `line` is what a recipe
    says, empty for what was removed.
    """

    tool: str
    name: str
    before: str
    after: str
    line: str


class LeftOutDocument(TypedDict):
    """What a Dockerfile does not bring back: a path or a package, and why."""

    what: str
    reason: str


class DriftDocument(TypedDict):
    """What was installed and removed in a container since it was made.

    `base` is the image that it was made from, empty where that has no name any more; `own_image` its short name where
    it is the owner's own, else empty; `framework` is the image's, empty without. `notes` say what
    could not be found out.
    """

    schema_version: int
    name: str
    state: str
    base: str
    own_image: str
    framework: str
    size_bytes: int
    changes: list[PackageChangeDocument]
    left_out: list[LeftOutDocument]
    notes: list[str]


class RecreateContainerBody(TypedDict):
    """How to make a container again; image: as its owner types it, without it the own image that it was made from.

    `stop`: one that runs is stopped for it and runs again afterwards; dry_run: only say what that would be.
    """

    image: NotRequired[str]
    stop: NotRequired[bool]
    dry_run: NotRequired[bool]


class RecreatedContainer(TypedDict):
    """A container that was made again from another image, or with dry_run would be.

    `is_current`: it was made from this very image already, and nothing was done; `size_bytes`: what it had written
    outside of its mounts, which is gone then.
    """

    schema_version: int
    name: str
    dry_run: bool
    image: str
    is_current: bool
    was_running: bool
    state: str
    size_bytes: int
    warnings: list[str]
