"""Every document that crosses the socket, as TypedDicts: the client imports nothing but `typing`.

Times are ISO 8601 text with a zone, lengths of time are seconds, sizes are bytes, None is "unlimited" or "unknown" as
the field says. Fields never change their meaning; new ones may come.
"""

from typing import Literal, NotRequired, TypedDict

from ds01.api.change_schema import (
    ExportPlan as ExportPlan,
    MoveContainerBody as MoveContainerBody,
    MovedContainer as MovedContainer,
    PathDocument as PathDocument,
    PausedContainer as PausedContainer,
    PortList as PortList,
    PortRow as PortRow,
    RenameBody as RenameBody,
    RenamedContainer as RenamedContainer,
    WrittenArchive as WrittenArchive,
)
from ds01.api.event_schema import (
    EventDocument as EventDocument,
    EventList as EventList,
    EventMessage as EventMessage,
)
from ds01.api.foreign_schema import (
    AdoptBody as AdoptBody,
    ClearBody as ClearBody,
    ClearedLeftover as ClearedLeftover,
    ClearedList as ClearedList,
    LeftoverDocument as LeftoverDocument,
    LeftoverList as LeftoverList,
)
from ds01.api.image_schema import (
    BuiltImage as BuiltImage,
    CatalogueChangeDocument as CatalogueChangeDocument,
    CatalogueChoiceDocument as CatalogueChoiceDocument,
    CatalogueComparison as CatalogueComparison,
    CatalogueDocument as CatalogueDocument,
    CatalogueListBody as CatalogueListBody,
    CatalogueRowDocument as CatalogueRowDocument,
    DeletedImage as DeletedImage,
    ImageDocument as ImageDocument,
    ImageList as ImageList,
    OwnImageDocument as OwnImageDocument,
    PackageDocument as PackageDocument,
    PackageList as PackageList,
    PackageTierDocument as PackageTierDocument,
    PackageTierList as PackageTierList,
    PulledImage as PulledImage,
    PullImageBody as PullImageBody,
)
from ds01.api.machine_schema import (
    CatalogueStatus as CatalogueStatus,
    ConfigCheck as ConfigCheck,
    ConfigCheckBody as ConfigCheckBody,
    ConfigDocument as ConfigDocument,
    ConfigRemark as ConfigRemark,
    ConfigValue as ConfigValue,
    DevicesStatus as DevicesStatus,
    DrainedGpu as DrainedGpu,
    DrainedGpus as DrainedGpus,
    DrainGpuBody as DrainGpuBody,
    EngineStatus as EngineStatus,
    GpuDocument as GpuDocument,
    GpuList as GpuList,
    GroupUsageDocument as GroupUsageDocument,
    HolderDocument as HolderDocument,
    LimitsDocument as LimitsDocument,
    LimitValue as LimitValue,
    OpenApiDocument as OpenApiDocument,
    PolicyStatus as PolicyStatus,
    QueueStatus as QueueStatus,
    ResumeGpuBody as ResumeGpuBody,
    ShutdownDocument as ShutdownDocument,
    StatusDocument as StatusDocument,
    UsageDocument as UsageDocument,
)
from ds01.api.mig_schema import (
    MigCardDocument as MigCardDocument,
    MigLayoutBody as MigLayoutBody,
    MigPlanDocument as MigPlanDocument,
    MigStepDocument as MigStepDocument,
)
from ds01.api.queue_schema import (
    AffectedPromise as AffectedPromise,
    BlockerDocument as BlockerDocument,
    CancelledRequest as CancelledRequest,
    CancelledReservation as CancelledReservation,
    CauseDocument as CauseDocument,
    CounterfactualDocument as CounterfactualDocument,
    EstimateDocument as EstimateDocument,
    MoveBody as MoveBody,
    MovedRequest as MovedRequest,
    QueueList as QueueList,
    RequestDocument as RequestDocument,
    ReservationBody as ReservationBody,
    ReservationDocument as ReservationDocument,
    ReservationList as ReservationList,
    ReservationOutcome as ReservationOutcome,
    SpanDocument as SpanDocument,
    TimelineDocument as TimelineDocument,
    TimelineRow as TimelineRow,
    WaitingDocument as WaitingDocument,
    WhyDocument as WhyDocument,
)
from ds01.api.renewal_schema import (
    DriftDocument as DriftDocument,
    LeftOutDocument as LeftOutDocument,
    PackageChangeDocument as PackageChangeDocument,
    RecreateContainerBody as RecreateContainerBody,
    RecreatedContainer as RecreatedContainer,
)
from ds01.api.session_schema import (
    ConsoleSize as ConsoleSize,
    ExecBody as ExecBody,
    ExecCreated as ExecCreated,
    ExecStatus as ExecStatus,
    GpuReading as GpuReading,
    ProcessList as ProcessList,
    ProcessRow as ProcessRow,
    ResizeBody as ResizeBody,
    StatsDocument as StatsDocument,
    StatsList as StatsList,
)

SCHEMA_VERSION = 1


class Problem(TypedDict):
    """An error (RFC 9457). `code` is for programs, `hint` says what to do next."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    exit_status: int
    hint: NotRequired[str]
    details: NotRequired[dict[str, object]]


class GpuRequestBody(TypedDict):
    """What is asked for in GPUs."""

    count: NotRequired[int]
    kind: NotRequired[str]
    memory_bytes: NotRequired[int]


class PortBody(TypedDict):
    """A port to publish on the host's loopback address; host_port 0: the engine picks one."""

    container_port: int
    host_port: NotRequired[int]
    protocol: NotRequired[Literal["tcp", "udp"]]


class CreateContainerBody(TypedDict):
    """A new container: of a framework of the catalogue, or of any image."""

    name: str
    framework: NotRequired[str]
    version: NotRequired[str]
    image: NotRequired[str]
    architecture: NotRequired[str]
    workspace: NotRequired[str]
    data: NotRequired[str]
    models: NotRequired[str]
    gpu: NotRequired[GpuRequestBody]
    cpus: NotRequired[float]
    memory_bytes: NotRequired[int]
    memory_swap_bytes: NotRequired[int]
    shm_size_bytes: NotRequired[int]
    pids_limit: NotRequired[int]
    cgroup_parent: NotRequired[str]
    environment: NotRequired[dict[str, str]]
    ports: NotRequired[list[PortBody]]
    x11: NotRequired[bool]
    interface: NotRequired[Literal["cli", "api", "mlc"]]
    time_limit_s: NotRequired[float]
    wait: NotRequired[bool]
    wait_s: NotRequired[float]
    not_before: NotRequired[str]
    reservation: NotRequired[str]
    exclusive: NotRequired[bool]
    dry_run: NotRequired[bool]


class GpuGrant(TypedDict):
    """One device of a container.

    Of the kind `unknown` is one that the machine does not have any more, or does not say while its driver fails: only
    its UUID means something then, and `?` there stands for all that the container may have.
    """

    uuid: str
    address: str
    kind: Literal["full", "mig", "unknown"]
    profile: str
    memory_bytes: int
    gpu_equivalents: float


class LimitsOfContainer(TypedDict):
    """Limits as the engine enforces them; None is unlimited."""

    cpus: float | None
    memory_bytes: int | None
    memory_swap_bytes: int | None
    shm_size_bytes: int | None
    pids: int | None
    cgroup_parent: str
    ulimits: dict[str, int]


class ContainerDocument(TypedDict):
    """A container as its owner sees it."""

    name: str
    id: str
    owner_uid: int
    owner: str
    state: str
    status: str
    origin: Literal["ds01", "mlc", "docker", "compose", "devcontainer"]
    managed: bool
    image: str
    framework: str
    created_at: str
    gpus: list[GpuGrant]
    allocation_id: str | None
    allocation_state: str | None
    workspace: str | None
    gpu_doubt: NotRequired[str]
    owner_doubt: NotRequired[str]


class ContainerDetailsDocument(ContainerDocument):
    """A container with everything that one row of a list leaves out."""

    engine_name: str
    image_id: str
    started_at: str | None
    finished_at: str | None
    exit_code: int | None
    error: str
    data: str | None
    models: str | None
    limits: LimitsOfContainer
    labels: dict[str, str]
    ip_address: str
    command: list[str]
    terminal: bool
    x11: bool
    inspect: NotRequired[dict[str, object]]


class AdoptedContainer(TypedDict):
    """Outcome of an adoption, or with dry_run what it would be."""

    schema_version: int
    container: ContainerDetailsDocument
    was_managed: bool
    dry_run: bool
    docker_command: str
    reasons: list[str]
    warnings: list[str]


class ContainerList(TypedDict):
    """Containers, newest first, and the caller's requests that wait."""

    schema_version: int
    containers: list[ContainerDocument]
    waiting: NotRequired[list[RequestDocument]]


class CreatedContainer(TypedDict):
    """Outcome of a creation, or with dry_run what it would be; a request that waits has no container yet."""

    schema_version: int
    container: NotRequired[ContainerDetailsDocument]
    request: NotRequired[RequestDocument]
    dry_run: bool
    docker_command: str
    reasons: list[str]
    warnings: list[str]


class StartContainerBody(TypedDict):
    """How to start a container whose GPUs are granted anew; wait: it may wait for them."""

    wait: NotRequired[bool]
    wait_s: NotRequired[float]
    dry_run: NotRequired[bool]


class StartedContainer(TypedDict):
    """Outcome of a start; request: it does not run yet, it waits for its GPUs; dry_run: it is a plan."""

    schema_version: int
    container: ContainerDetailsDocument
    was_running: bool
    warnings: list[str]
    request: NotRequired[RequestDocument]
    dry_run: NotRequired[bool]
    docker_command: NotRequired[str]


class ProgressMessage(TypedDict):
    """One line of a long request's stream; `kind` says which of the other fields are there.

    A result is in `result` for a new container, in `started` for a start, in `moved` for a move, in `recreated` for a
    re-creation, in `image` for a pull, in `built` for a build, whose messages are pieces of its output. `waiting` says
    the request's place whenever that changes; after `gave_up` its place is gone, because its time to wait is over.
    """

    kind: Literal["step", "pull", "build", "waiting", "gave_up", "result", "problem"]
    message: NotRequired[str]
    layer: NotRequired[str]
    current_bytes: NotRequired[int | None]
    total_bytes: NotRequired[int | None]
    waiting: NotRequired[WaitingDocument]
    result: NotRequired[CreatedContainer]
    started: NotRequired[StartedContainer]
    image: NotRequired[PulledImage]
    moved: NotRequired[MovedContainer]
    recreated: NotRequired[RecreatedContainer]
    built: NotRequired[BuiltImage]
    problem: NotRequired[Problem]


class StopContainerBody(TypedDict):
    """How to stop; without grace_s the policy's grace."""

    grace_s: NotRequired[float]
    dry_run: NotRequired[bool]


class StoppedContainer(TypedDict):
    """Outcome of a stop."""

    schema_version: int
    container: ContainerDetailsDocument
    was_running: bool
    dry_run: bool
    docker_command: str


class RestartedContainer(StoppedContainer):
    """Outcome of a restart; was_running is how it was before."""

    warnings: list[str]


class RemovedContainer(TypedDict):
    """Outcome of a removal; the workspace stays."""

    schema_version: int
    name: str
    workspace: str | None
    gpus_released: list[str]
    dry_run: bool
    docker_command: str


class ReleasedGpus(TypedDict):
    """Outcome of giving back the GPUs of a stopped container."""

    schema_version: int
    name: str
    gpus_released: list[str]
