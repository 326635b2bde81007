"""Documents about how cards are cut into MIG instances."""

from typing import NotRequired, TypedDict


class MigLayoutBody(TypedDict):
    """A layout file; without `dry_run` it is applied."""

    text: str
    name: NotRequired[str]
    dry_run: NotRequired[bool]


class MigStepDocument(TypedDict):
    """One change of a GPU: `step` in words, `reason` why."""

    step: str
    reason: str


class MigCardDocument(TypedDict):
    """What happens to one GPU, or what was done; nothing is done while `blockers` names anybody.

    `layout` is off, static or dynamic; `needs_reset`: the change of the mode waits for a reset of the GPU.
    """

    uuid: str
    address: str
    model: str
    layout: str
    instances: list[str]
    steps: list[MigStepDocument]
    blockers: list[str]
    needs_reset: bool
    note: str


class MigPlanDocument(TypedDict):
    """The plan of a layout file; `applied` when it was carried out."""

    schema_version: int
    applied: bool
    cards: list[MigCardDocument]
