"""The documents about the machine: devices, limits, status. A part of ds01.api.schema."""

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict

from ds01.api.event_schema import EventsStatus


class HolderDocument(TypedDict):
    """Who holds a device."""

    owner_uid: int | None
    owner: str
    container: str
    state: str
    since: str
    until: str | None
    ends_at: NotRequired[str | None]
    shares: NotRequired[int]
    group: NotRequired[str]


class GpuDocument(TypedDict):
    """A device of the machine."""

    uuid: str
    address: str
    parent_uuid: str
    kind: Literal["full", "mig"]
    profile: str
    model: str
    state: str
    free: bool
    reason: str
    memory_bytes: int
    memory_used_bytes: int | None
    utilization_ratio: float | None
    power_w: float | None
    temperature_c: int | None
    energy_j: float | None
    gpu_equivalents: float
    holders: list[HolderDocument]


class GpuList(TypedDict):
    """Devices of the machine in display order."""

    schema_version: int
    driver_version: str
    cuda_version: str
    gpus: list[GpuDocument]


class DrainGpuBody(TypedDict):
    """A device to take out: its UUID, `0`, `0:1`, or `all`; the reason is shown to everybody."""

    gpu: str
    reason: NotRequired[str]


class ResumeGpuBody(TypedDict):
    """A device to let in again: its UUID, `0`, `0:1`, or `all`."""

    gpu: str


class DrainedGpu(TypedDict):
    """A device that was taken out or let in; changed is false if it was so before."""

    uuid: str
    address: str
    changed: bool


class DrainedGpus(TypedDict):
    """What was taken out or let in."""

    schema_version: int
    gpus: list[DrainedGpu]


class LimitValue(TypedDict):
    """One limit: None is unlimited; sizes are bytes, lengths of time are seconds."""

    value: float | str | bool | list[str] | Mapping[str, int | str | None] | None
    origin: str


class UsageDocument(TypedDict):
    """What a user holds."""

    gpus: int
    gpu_equivalents: float
    containers: int


class GroupUsageDocument(TypedDict):
    """What all members of a group hold together."""

    gpus: int
    gpu_equivalents: float


class LimitsDocument(TypedDict):
    """What a user may hold and what a container of theirs may use, with the origin of every value.

    recent_use_s: gpu-equivalent-seconds used lately, halved with every half-life; the less, the earlier in the queue.
    """

    schema_version: int
    uid: int
    user: str
    group: str
    mode: Literal["personal", "server"]
    limits: dict[str, LimitValue]
    usage: UsageDocument
    cgroup_parent: str
    docker_args: list[str]
    not_enforced: list[str]
    aggregate: NotRequired[dict[str, LimitValue]]
    group_quota: NotRequired[dict[str, LimitValue]]
    group_usage: NotRequired[GroupUsageDocument]
    recent_use_s: NotRequired[float]
    fair_share_half_life_s: NotRequired[float]


class EngineStatus(TypedDict):
    """The container engine; version is empty when it does not answer, free_bytes on its disk null when unknown."""

    ok: bool
    message: str
    version: str
    api_version: str
    storage_driver: str
    cgroup_driver: str
    free_bytes: NotRequired[int | None]


class DevicesStatus(TypedDict):
    """The devices; out says of each one that gets no new grants for a reason of its own why that is."""

    ok: bool
    message: str
    gpus: int
    free: int
    out: NotRequired[list[str]]


class PolicyStatus(TypedDict):
    """The policy in force; message says why a newer file is not."""

    ok: bool
    source: str
    message: str


class CatalogueStatus(TypedDict):
    """The catalogue in force; message says what of a site's lists and its table of packages is not, and why."""

    ok: bool
    rows: int
    message: str


class QueueStatus(TypedDict):
    """The queue at a glance: all requests, the caller's, and reservations that are not over."""

    waiting: int
    yours: int
    reservations: int


class StatusDocument(TypedDict):
    """The machine at a glance; the numbers of containers are null while the engine does not say them."""

    schema_version: int
    version: str
    mode: Literal["personal", "server"]
    pid: int
    started_at: str
    engine: EngineStatus
    devices: DevicesStatus
    policy: PolicyStatus
    catalogue: CatalogueStatus
    events: NotRequired[EventsStatus]
    queue: NotRequired[QueueStatus]
    containers: int | None
    containers_running: int | None
    usage: UsageDocument


class ConfigRemark(TypedDict):
    """Something in a policy file that is wrong or should be looked at: where it stands, what it is, the fix."""

    where: str
    message: str
    hint: str


class ConfigValue(TypedDict):
    """One value of the policy: its dotted key, the value as people write it, and where it was set."""

    key: str
    value: str
    origin: str


class ConfigDocument(TypedDict):
    """The policy in force; message says why a newer file is not, not_enforced names what nothing obeys yet."""

    schema_version: int
    source: str
    version: int
    ok: bool
    message: str
    values: list[ConfigValue]
    warnings: list[ConfigRemark]
    not_enforced: list[str]


class ConfigCheckBody(TypedDict):
    """A policy file to look at, with its members files by group, and a table of packages.

    Without a text and a table, the files of the daemon: also its lists of images and what builds are given.
    """

    text: NotRequired[str]
    name: NotRequired[str]
    members: NotRequired[dict[str, str]]
    package_tiers: NotRequired[str]


class ConfigCheck(TypedDict):
    """What is wrong with a policy file: it is not usable when there is an error."""

    schema_version: int
    source: str
    ok: bool
    errors: list[ConfigRemark]
    warnings: list[ConfigRemark]


class ShutdownDocument(TypedDict):
    """The daemon leaves."""

    schema_version: int
    message: str


class OpenApiDocument(TypedDict):
    """The OpenAPI document of this API."""

    openapi: str
    info: dict[str, object]
    paths: dict[str, object]
    components: dict[str, object]
