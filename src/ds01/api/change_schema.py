"""Documents about containers that exist: pausing, renaming, ports. A part of ds01.api.schema."""

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
