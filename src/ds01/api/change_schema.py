"""Documents about changes of containers that exist: pausing and renaming. A part of ds01.api.schema."""

from typing import NotRequired, TypedDict


class PausedContainer(TypedDict):
    """Outcome of a pause or of its end; `state` is the container's state afterwards."""

    schema_version: int
    name: str
    state: str
    was_so: bool
    docker_command: str


class RenameBody(TypedDict):
    """The new name."""

    new_name: str
    dry_run: NotRequired[bool]


class RenamedContainer(TypedDict):
    """Outcome of a renaming."""

    schema_version: int
    name: str
    old_name: str
    engine_name: str
    dry_run: bool
    docker_command: str
