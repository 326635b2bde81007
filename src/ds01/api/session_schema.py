"""The documents about programs in containers and what they use. A part of ds01.api.schema."""

from typing import NotRequired, TypedDict


class ExecBody(TypedDict):
    """A program to run in a running container; without a command, a login shell. x11: it gets the user's display."""

    command: NotRequired[list[str]]
    as_root: NotRequired[bool]
    environment: NotRequired[dict[str, str]]
    working_dir: NotRequired[str]
    terminal: NotRequired[bool]
    stdin: NotRequired[bool]
    x11: NotRequired[bool]


class ExecCreated(TypedDict):
    """A prepared program; start it at /v1/exec/{exec_id}/start."""

    schema_version: int
    exec_id: str
    container: str
    command: list[str]
    terminal: bool


class ExecStatus(TypedDict):
    """State of a program."""

    schema_version: int
    exec_id: str
    running: bool
    exit_code: int | None


class ResizeBody(TypedDict):
    """Size of a terminal."""

    rows: int
    columns: int


class ConsoleSize(TypedDict):
    """Size that the terminal of a container's main process has now."""

    schema_version: int
    name: str
    rows: int
    columns: int


class ProcessRow(TypedDict):
    """A process of a container."""

    pid: int
    user: str
    command: str


class ProcessList(TypedDict):
    """Processes of a running container."""

    schema_version: int
    name: str
    processes: list[ProcessRow]


class GpuReading(TypedDict):
    """What a device of a container does now, and how much of it the container's own programs; None: it is not known.

    One that the machine does not say has the address `?`; if not even its UUID is known, that is `?` too.
    """

    uuid: str
    address: str
    utilization_ratio: float | None
    own_utilization_ratio: float | None
    memory_used_bytes: int | None
    own_memory_used_bytes: int | None
    memory_bytes: int | None


class StatsDocument(TypedDict):
    """One reading of a running container."""

    name: str
    owner: str
    cpu_ratio: float | None
    memory_used_bytes: int
    memory_limit_bytes: int
    network_rx_bytes: int | None
    network_tx_bytes: int | None
    block_read_bytes: int
    block_write_bytes: int
    pids: int
    gpus: list[GpuReading]
    gpu_memory_used_bytes: int | None


class StatsList(TypedDict):
    """Readings of running containers."""

    schema_version: int
    containers: list[StatsDocument]
