"""Containers: what one shall be (spec), what the engine says it is (observed), and the comparison of the two."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ds01.domain.devices.attachment import AttachmentFacts
from ds01.domain.name import EngineName, parse_engine_name


class ContainerState(StrEnum):
    """State of a container, as the engine says it."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"

    @property
    def has_processes(self) -> bool:
        """Something may run inside, so its GPUs are in use."""
        return self in {ContainerState.RUNNING, ContainerState.PAUSED, ContainerState.RESTARTING}


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the host inside the container.

    Attributes:
        source: Resolved host path.
        target: Absolute path inside.
        is_read_only: Writes are refused inside.
    """

    source: str
    target: str
    is_read_only: bool = False


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the container on the host's loopback address.

    Attributes:
        container_port: Port inside.
        host_port: Port on the host; 0: the engine picks one.
        protocol: tcp or udp.
    """

    container_port: int
    host_port: int = 0
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """Limits of one container in the engine's terms.

    Attributes:
        nano_cpus: CPUs times 10^9; 0 is unlimited.
        memory_bytes: 0 is unlimited.
        memory_swap_bytes: Memory and swap together; 0 is unlimited.
        shm_size_bytes: Size of /dev/shm.
        pids_limit: 0 is unlimited.
        cgroup_parent: Empty: the engine's own.
        ulimits: Name to soft and hard value; -1 is unlimited.
        storage_bytes: Writable layer; 0 is unlimited.
    """

    nano_cpus: int = 0
    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    shm_size_bytes: int = 0
    pids_limit: int = 0
    cgroup_parent: str = ""
    ulimits: Mapping[str, int] = field(default_factory=dict)
    storage_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What the engine is asked for.

    Attributes:
        engine_name: `<name>._.<uid>`.
        image: Reference or id the container is created from.
        uid: User inside.
        gid: Primary group inside.
        supplementary_gids: Further groups, by number.
        hostname: Name inside.
        entrypoint: PID 1.
        command: Arguments of PID 1.
        environment: Variables.
        labels: Labels, none with a comma.
        mounts: Directories of the host.
        gpu_uuids: Devices; empty means none visible.
        cdi_device: Name that stands for the devices, so that each start may bring others; empty: they are fixed.
        limits: Limits.
        network: Engine network mode; empty: the default bridge.
        ports: Published ports.
        has_terminal: PID 1 has a terminal and an open stdin.
        uses_init: PID 1 is the engine's init (for images without a shell).
        working_dir: Directory PID 1 and new shells start in.
        stop_signal: Signal that `docker stop` sends to PID 1; empty: the image's own.
    """

    engine_name: EngineName
    image: str
    uid: int
    gid: int
    supplementary_gids: tuple[int, ...] = ()
    hostname: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    gpu_uuids: tuple[str, ...] = ()
    cdi_device: str = ""
    limits: ResourceLimits = field(default_factory=ResourceLimits)
    network: str = ""
    ports: tuple[PublishedPort, ...] = ()
    has_terminal: bool = True
    uses_init: bool = False
    working_dir: str = "/workspace"
    stop_signal: str = ""

    @property
    def device_ids(self) -> tuple[str, ...]:
        """What the engine is told to attach."""
        return (self.cdi_device,) if self.cdi_device else self.gpu_uuids


@dataclass(frozen=True, slots=True)
class ContainerSummary:
    """One row of the engine's list. Source: Engine API 1.41, ContainerList.

    Attributes:
        id: Full id.
        name: Engine name without the slash.
        image: Image reference as created.
        state: State.
        status: The engine's words, such as `Up 3 minutes`.
        created_at: When it was created.
        labels: Labels.
        mounts: Host path by target.
    """

    id: str
    name: str
    image: str
    state: ContainerState
    status: str
    created_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)

    @property
    def parsed_name(self) -> EngineName | None:
        """Parts of the name; None if it is not `<name>._.<uid>`."""
        return parse_engine_name(self.name)


@dataclass(frozen=True, slots=True)
class FixedSettings:
    """What the engine fixed at creation beside limits, mounts and devices: another container made alike needs it.

    Attributes:
        hostname: Name inside.
        supplementary_gids: Further groups, by number; those that are not numbers are left out.
        network: Engine network mode; empty: the default bridge.
        ports: Published ports.
        has_terminal: PID 1 has a terminal and an open stdin.
        uses_init: PID 1 is the engine's init.
        working_dir: Directory PID 1 and new shells start in.
        stop_signal: Signal that `docker stop` sends to PID 1; empty: SIGTERM.
    """

    hostname: str = ""
    supplementary_gids: tuple[int, ...] = ()
    network: str = ""
    ports: tuple[PublishedPort, ...] = ()
    has_terminal: bool = True
    uses_init: bool = False
    working_dir: str = ""
    stop_signal: str = ""


@dataclass(frozen=True, slots=True)
class ContainerDetails:
    """What the engine says of one container. Source: Engine API 1.41, ContainerInspect.

    Attributes:
        id: Full id.
        name: Engine name without the slash.
        image_id: Id of the image.
        image: Reference it was created from.
        state: State.
        exit_code: Exit status of PID 1; None if it never ran or still runs.
        error: The engine's words on why it could not start; empty without.
        is_oom_killed: PID 1 was killed for memory.
        pid: Host pid of PID 1; 0 when not running.
        created_at: When it was created.
        started_at: Last start; None if never.
        finished_at: Last end; None if never.
        labels: Labels.
        environment: Variables.
        user: User of PID 1.
        entrypoint: PID 1.
        mounts: Directories of the host.
        limits: Limits as the engine has them.
        attachment: What decides which GPUs it reaches.
        ip_address: Address on its first network; empty when not running.
        raw: The engine's whole document, for `inspect`.
        command: Arguments of PID 1, or PID 1 itself where there is no entrypoint.
        fixed: What else was fixed at its creation.
    """

    id: str
    name: str
    image_id: str
    image: str
    state: ContainerState
    exit_code: int | None
    error: str
    is_oom_killed: bool
    pid: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    labels: Mapping[str, str]
    environment: Mapping[str, str]
    user: str
    entrypoint: tuple[str, ...]
    mounts: tuple[Mount, ...]
    limits: ResourceLimits
    attachment: AttachmentFacts
    ip_address: str
    raw: Mapping[str, object]
    command: tuple[str, ...] = ()
    fixed: FixedSettings = field(default_factory=FixedSettings)

    @property
    def parsed_name(self) -> EngineName | None:
        """Parts of the name; None if it is not `<name>._.<uid>`."""
        return parse_engine_name(self.name)


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """One reading of a running container. Source: Engine API 1.41, ContainerStats.

    Attributes:
        cpu_total_ns: CPU time used since the start, ns.
        system_cpu_ns: CPU time of the whole machine, ns.
        online_cpus: CPUs of the machine.
        previous_cpu_total_ns: As cpu_total_ns, one cycle earlier; 0 without.
        previous_system_cpu_ns: As system_cpu_ns, one cycle earlier; 0 without.
        memory_used_bytes: Memory without the page cache that can be given back.
        memory_limit_bytes: Limit.
        network_rx_bytes: Received since the start; None with the host's network.
        network_tx_bytes: Sent since the start; None with the host's network.
        block_read_bytes: Read from disks since the start.
        block_write_bytes: Written to disks since the start.
        pids: Processes and threads.
    """

    cpu_total_ns: int
    system_cpu_ns: int
    online_cpus: int
    previous_cpu_total_ns: int
    previous_system_cpu_ns: int
    memory_used_bytes: int
    memory_limit_bytes: int
    network_rx_bytes: int | None
    network_tx_bytes: int | None
    block_read_bytes: int
    block_write_bytes: int
    pids: int

    @property
    def cpu_ratio(self) -> float | None:
        """CPUs in use (1.0 is one whole CPU), as docker computes it; None without two readings."""
        cpu = self.cpu_total_ns - self.previous_cpu_total_ns
        system = self.system_cpu_ns - self.previous_system_cpu_ns
        if self.previous_system_cpu_ns <= 0 or system <= 0 or cpu < 0:
            return None
        return cpu / system * self.online_cpus


def differences(spec: ContainerSpec, observed: ContainerDetails) -> list[str]:
    """Return, in words, everything in which the engine's container is not what was asked for.

    Engines drop what they cannot do with a warning at best: limits are read back and compared, and a difference fails
    the creation.
    """
    found = _limit_differences(spec.limits, observed.limits)
    have = sorted(uuid for request in observed.attachment.requests for uuid in request.device_ids)
    # a request by number holds devices without naming them
    have += [f"{request.count} by number" for request in observed.attachment.requests if request.count]
    if have != sorted(spec.device_ids):
        found.append(f"GPUs: asked for {', '.join(spec.device_ids) or 'none'}, got {', '.join(have) or 'none'}")
    if observed.user != f"{spec.uid}:{spec.gid}":
        found.append(f"user: asked for {spec.uid}:{spec.gid}, got {observed.user or 'root'}")
    for mount in spec.mounts:
        if mount not in observed.mounts:
            found.append(f"mount: {mount.target} is missing or different")
    found.extend(
        f"label {name}: asked for {value!r}, got {observed.labels.get(name)!r}"
        for name, value in spec.labels.items()
        if observed.labels.get(name) != value
    )
    return found


def _limit_differences(wanted: ResourceLimits, have: ResourceLimits) -> list[str]:
    pairs: list[tuple[str, object, object]] = [
        ("cpus", wanted.nano_cpus, have.nano_cpus),
        ("memory", wanted.memory_bytes, have.memory_bytes),
        ("memory and swap", wanted.memory_swap_bytes, have.memory_swap_bytes),
        ("shared memory", wanted.shm_size_bytes, have.shm_size_bytes),
        ("pids", wanted.pids_limit, have.pids_limit),
        ("cgroup parent", wanted.cgroup_parent, have.cgroup_parent),
        ("ulimits", dict(wanted.ulimits), dict(have.ulimits)),
    ]
    return [f"{name}: asked for {asked}, got {got}" for name, asked, got in pairs if asked != got]
