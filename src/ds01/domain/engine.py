"""What the engine says and is told, beside containers: itself, images, programs, events, files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself. Source: Engine API 1.41, SystemInfo.

    Attributes:
        id: The engine's own id.
        name: Host name.
        version: Version of the server.
        api_version: Highest API version it speaks.
        cpus: CPUs of the machine.
        memory_bytes: Memory of the machine.
        cgroup_driver: systemd, cgroupfs or none.
        cgroup_version: 1 or 2.
        storage_driver: Such as overlay2.
        runtimes: Names of OCI runtimes.
        cdi_folders: Folders where it reads device specs, the later ones win; empty: it has no CDI, or has it off.
        has_containerd_store: It keeps its images in containerd's image store, compressed, not in a storage driver's.
        data_root: Folder on the engine's machine where it keeps its images; empty: it does not say.
    """

    id: str
    name: str
    version: str
    api_version: tuple[int, int]
    cpus: int
    memory_bytes: int
    cgroup_driver: str
    cgroup_version: int
    storage_driver: str
    runtimes: tuple[str, ...] = ()
    cdi_folders: tuple[str, ...] = ()
    has_containerd_store: bool = False
    data_root: str = ""


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """An image that the engine has. Source: Engine API 1.41, ImageInspect.

    Attributes:
        id: `sha256:...`.
        tags: References that name it.
        digests: References with digests.
        labels: Labels.
        environment: Variables of its configuration.
        user: User of its configuration.
        entrypoint: Entrypoint of its configuration.
        command: Command of its configuration.
        stop_signal: Stop signal of its configuration; empty without.
        size_bytes: Size.
        shared_bytes: How much of it other images have too; None: it was not measured.
        created_at: When it was built; None if it does not say.
        architecture: Such as amd64.
        working_dir: Working directory of its configuration.
        layers: Diff ids of its layers, lowest first; empty in lists.
        triggers: Instructions that a build from it carries out first (ONBUILD).
    """

    id: str
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    stop_signal: str = ""
    size_bytes: int = 0
    created_at: datetime | None = None
    architecture: str = ""
    working_dir: str = ""
    layers: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    shared_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One step of an image pull.

    Attributes:
        layer: Short id of the layer; empty for a message about the whole.
        status: The engine's words, such as `Downloading`.
        current_bytes: Done so far; None if it does not say.
        total_bytes: Size of the layer; None if it does not say.
    """

    layer: str
    status: str
    current_bytes: int | None = None
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """An image to build.

    Attributes:
        tag: Its name.
        dockerfile: Path of the Dockerfile in the context.
        labels: Labels.
        arguments: Build arguments.
        network: Network of its steps; empty: the engine's default, `none`: none.
        memory_bytes: Memory of a step; 0: unlimited. Memory and swap together are the same.
        nano_cpus: CPUs of a step, in billionths; 0: unlimited.
        cgroup_parent: Cgroup of its steps; empty: the engine's.
        ignores_cache: Every step is run anew.
        uses_buildkit: BuildKit does it instead of the classic builder.
    """

    tag: str
    dockerfile: str = "Dockerfile"
    labels: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    memory_bytes: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    ignores_cache: bool = False
    uses_buildkit: bool = False


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """One piece of a build's output.

    Attributes:
        text: What the step printed, or what the builder says of it.
        image_id: Id of the image, at the end; empty before.
    """

    text: str
    image_id: str = ""


@dataclass(frozen=True, slots=True)
class PathStat:
    """What a path inside a container is. Source: Engine API 1.41, ContainerArchive, X-Docker-Container-Path-Stat.

    Attributes:
        name: Last segment.
        is_directory: A directory.
        is_regular: A regular file.
        size_bytes: Size of a regular file.
        link_target: Absolute target inside the container, all links on the way resolved; empty if it is no link.
    """

    name: str
    is_directory: bool
    is_regular: bool
    size_bytes: int
    link_target: str = ""


@dataclass(frozen=True, slots=True)
class ExecSpec:
    """A program to run in a running container.

    Attributes:
        command: Program and arguments.
        user: `uid:gid`; empty: the container's own.
        environment: Further variables.
        working_dir: Directory; empty: the container's own.
        has_terminal: It gets a terminal; its output is then one raw stream.
        has_stdin: Its stdin is open.
    """

    command: tuple[str, ...]
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    has_terminal: bool = False
    has_stdin: bool = False


@dataclass(frozen=True, slots=True)
class ExecState:
    """State of an exec. Source: Engine API 1.41, ExecInspect.

    Attributes:
        id: Its id.
        container_id: Container it runs in.
        is_running: It runs.
        exit_code: Exit status; None while it runs.
        pid: Host pid; 0 when unknown.
    """

    id: str
    container_id: str
    is_running: bool
    exit_code: int | None
    pid: int


@dataclass(frozen=True, slots=True)
class ExecResult:
    """Outcome of a program that was run to its end.

    Attributes:
        exit_code: Exit status.
        stdout: Output, bytes that are not UTF-8 replaced.
        stderr: Errors.
    """

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something that happened on the engine. Source: Engine API 1.41, SystemEvents.

    Attributes:
        kind: container, image, network, volume, daemon.
        action: create, start, die, destroy, rename, ... (`exec_start: ...` comes with its command).
        actor_id: Id of the object.
        attributes: Labels, name, image, exitCode, ...
        at: When, to the nanosecond kept as text in `cursor`.
        cursor: Moment as the engine counts it (`seconds.nanoseconds`), for resuming.
    """

    kind: str
    action: str
    actor_id: str
    attributes: Mapping[str, str]
    at: datetime
    cursor: str


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One entry of a tar that is put into or read from a container.

    Attributes:
        path: Absolute path inside.
        content: Bytes of a regular file; None for a directory.
        mode: Permission bits.
        uid: Owner.
        gid: Group.
    """

    path: str
    content: bytes | None
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


class FileChangeKind(StrEnum):
    """What happened to a path of a container since it was made."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class FileChange:
    """A path that differs between a container and its image. Source: Engine API 1.41, ContainerChanges.

    Attributes:
        path: Absolute path inside. A folder that is gone stands for everything below it.
        kind: What happened; a folder in which something else happened is CHANGED.
    """

    path: str
    kind: FileChangeKind
