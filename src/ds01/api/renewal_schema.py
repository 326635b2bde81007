"""Documents about what was installed in containers, and about containers made again. A part of ds01.api.schema."""

from typing import TypedDict


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
