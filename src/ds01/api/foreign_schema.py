"""Documents about containers that others made: adoption and leftovers. A part of ds01.api.schema."""

from typing import Literal, NotRequired, TypedDict


class AdoptBody(TypedDict):
    """How to adopt a container."""

    dry_run: NotRequired[bool]


class LeftoverDocument(TypedDict):
    """Something of a user's that could go; `id` is an id, an image's tag, or `hold:` with a container's id."""

    id: str
    kind: Literal[
        "stopped",
        "never started",
        "half made",
        "image without a container",
        "build without a name",
        "interrupted export or import",
        "kept GPUs",
    ]
    name: str
    since: str | None
    size_bytes: int | None
    gpus: list[str]


class LeftoverList(TypedDict):
    """Leftovers of a user, oldest first."""

    schema_version: int
    leftovers: list[LeftoverDocument]


class ClearBody(TypedDict):
    """Which leftovers to remove, by `id`; only those that have been at rest for `older_than_s`."""

    items: list[str]
    older_than_s: NotRequired[float]


class ClearedLeftover(TypedDict):
    """What became of one leftover: `problem` says why it is still there."""

    id: str
    name: str
    kind: str
    removed: bool
    size_bytes: int | None
    gpus: list[str]
    problem: NotRequired[str]


class ClearedList(TypedDict):
    """Outcome of a clean-up."""

    schema_version: int
    results: list[ClearedLeftover]
    freed_bytes: int
