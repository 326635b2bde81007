"""Documents about containers that exist: pausing, renaming, ports, files. A part of ds01.api.schema."""

from typing import NotRequired, TypedDict


class PausedContainer(TypedDict):
    """Outcome of a pause or of its end; `state` is the container's state afterwards, with dry_run as it is now."""

    schema_version: int
    name: str
    state: str
    was_so: bool
    dry_run: bool
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


class MoveContainerBody(TypedDict):
    """How to start a container on other GPUs than those it was made with; dry_run: only say what that would be."""

    dry_run: NotRequired[bool]


class MovedContainer(TypedDict):
    """A container that runs on other GPUs, or with dry_run would; `gpus` leaves out those made with the grant."""

    schema_version: int
    name: str
    dry_run: bool
    size_bytes: int
    expected_s: float
    gpus: list[str]
    reason: str
    warnings: list[str]


class PortRow(TypedDict):
    """A TCP port of a container; `local`: it listens on the container's loopback address only."""

    port: int
    listening: bool
    local: bool
    host_ports: list[int]


class PortList(TypedDict):
    """Ports on which something listens, or that are published."""

    schema_version: int
    name: str
    ip_address: str
    ports: list[PortRow]


class PathDocument(TypedDict):
    """A path inside a container; `link_target` is where a link leads, empty for what is none."""

    schema_version: int
    path: str
    exists: bool
    is_directory: bool
    is_regular: bool
    size_bytes: int
    link_target: str


class WrittenArchive(TypedDict):
    """Outcome of an unpacked archive."""

    schema_version: int
    name: str
    path: str


class ExportPlan(TypedDict):
    """What an export would write; `base` is left out of it and empty where the file has every layer."""

    schema_version: int
    name: str
    base: str
    size_bytes: int
    workspace: str | None
    warnings: list[str]
    docker_command: str
