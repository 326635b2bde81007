"""Documents of the engine -> values of the domain."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from ds01.adapters.docker.document import Document
from ds01.adapters.docker.moment import format_cursor, moment_of_nanoseconds
from ds01.domain.containers.container import (
    ContainerDetails,
    ContainerState,
    ContainerSummary,
    FixedSettings,
    Mount,
    PublishedPort,
    ResourceLimits,
)
from ds01.domain.devices.attachment import AttachmentFacts, DeviceRequest
from ds01.errors import BackendError
from ds01.service.ports import EngineEvent, EngineInfo, ExecState, ImageDetails, PullProgress

_NO_TAG = "<none>"
_NANO = 10**9
_CONTAINERD_STORE = ["driver-type", "io.containerd.snapshotter.v1"]
_BRIDGES = frozenset({"default", "bridge"})


def parse_info(info: Document, api_version: tuple[int, int]) -> EngineInfo:
    """Return what the engine says of itself.

    Source: Engine API 1.41, SystemInfo; `CDISpecDirs` from 1.44 on, empty where CDI is off.
    """
    return EngineInfo(
        id=info.text("ID", default=""),
        name=info.text("Name"),
        version=info.text("ServerVersion"),
        api_version=api_version,
        cpus=info.number("NCPU"),
        memory_bytes=info.number("MemTotal"),
        cgroup_driver=info.text("CgroupDriver"),
        cgroup_version=2 if info.text("CgroupVersion", default="1") == "2" else 1,
        storage_driver=info.text("Driver"),
        runtimes=tuple(sorted(info.child("Runtimes").mapping())),
        cdi_folders=info.texts("CDISpecDirs"),
        has_containerd_store=_CONTAINERD_STORE in [fact.value for fact in info.items("DriverStatus")],
        data_root=info.text("DockerRootDir", default=""),
    )


def parse_summary(row: Document) -> ContainerSummary:
    """Return one row of the list. Source: Engine API 1.41, ContainerList."""
    names = row.texts("Names")  # empty while it is being removed; longer ones are links of other containers
    own = [name for name in names if name.count("/") == 1]
    mounts = [mount for mount in row.items("Mounts") if mount.text("Type", default="") == "bind"]
    return ContainerSummary(
        id=row.text("Id"),
        name=own[0].removeprefix("/") if own else "",
        image=row.text("Image"),
        state=parse_state(row),
        status=row.text("Status", default=""),
        created_at=_moment(row, "Created", row.number("Created") * _NANO),
        labels=row.text_map("Labels"),
        mounts={mount.text("Destination"): mount.text("Source") for mount in mounts},
    )


def parse_state(document: Document, key: str = "State") -> ContainerState:
    """Return a state.

    Raises:
        BackendError: One we do not know, which is never "not running".
    """
    text = document.text(key)
    try:
        return ContainerState(text)
    except ValueError as error:
        raise BackendError(f"The engine says that a container is {text[:40]!r} ({document.where}).") from error


def parse_details(document: Document) -> ContainerDetails:
    """Return one container. Source: Engine API 1.41, ContainerInspect."""
    config, state = document.child("Config"), document.child("State")
    status = parse_state(state, "Status")
    started_at = state.optional_moment("StartedAt")
    has_ended = started_at is not None and not status.has_processes
    environment = parse_environment(config.texts("Env"))
    return ContainerDetails(
        id=document.text("Id"),
        name=document.text("Name").removeprefix("/"),
        image_id=document.text("Image"),
        image=config.text("Image", default=""),
        state=status,
        exit_code=state.number("ExitCode") if has_ended else None,
        error=state.text("Error", default=""),
        is_oom_killed=state.flag("OOMKilled", default=False),
        pid=state.number("Pid", default=0),
        created_at=document.moment("Created"),
        started_at=started_at,
        finished_at=state.optional_moment("FinishedAt"),
        labels=config.text_map("Labels"),
        environment=environment,
        user=config.text("User", default=""),
        entrypoint=config.texts("Entrypoint"),
        mounts=_mounts(document),
        limits=_limits(document.child("HostConfig")),
        attachment=_attachment(document.child("HostConfig"), environment),
        ip_address=_ip_address(document.child("NetworkSettings")),
        raw=document.mapping(),
        command=config.texts("Cmd"),
        fixed=_fixed(config, document.child("HostConfig")),
    )


def _fixed(config: Document, host: Document) -> FixedSettings:
    network = host.text("NetworkMode", default="")
    return FixedSettings(
        hostname=config.text("Hostname", default=""),
        supplementary_gids=tuple(int(gid) for gid in host.texts("GroupAdd") if gid.isascii() and gid.isdigit()),
        network="" if network in _BRIDGES else network,
        ports=tuple(_ports(host.child("PortBindings"))),
        has_terminal=config.flag("Tty", default=False),
        uses_init=host.flag("Init", default=False),
        working_dir=config.text("WorkingDir", default=""),
        stop_signal=config.text("StopSignal", default=""),
    )


def _ports(bindings: Document) -> Iterator[PublishedPort]:
    for key in bindings.mapping():
        number, _, protocol = key.partition("/")
        for binding in bindings.items(key) if number.isascii() and number.isdigit() else ():
            host_port = binding.text("HostPort", default="")
            yield PublishedPort(int(number), int(host_port) if host_port.isdecimal() else 0, protocol or "tcp")


def parse_environment(lines: tuple[str, ...]) -> dict[str, str]:
    """Return variables by name; one without `=` is unset and left out."""
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _mounts(document: Document) -> tuple[Mount, ...]:
    return tuple(
        Mount(source=mount.text("Source"), target=mount.text("Destination"), is_read_only=not mount.flag("RW"))
        for mount in document.items("Mounts")
        if mount.text("Type", default="") == "bind"
    )


def _limits(host: Document) -> ResourceLimits:
    return ResourceLimits(
        nano_cpus=_nano_cpus(host),
        memory_bytes=host.number("Memory", default=0),
        memory_swap_bytes=max(host.number("MemorySwap", default=0), 0),
        shm_size_bytes=host.number("ShmSize", default=0),
        pids_limit=max(host.number("PidsLimit", default=0), 0),
        cgroup_parent=host.text("CgroupParent", default=""),
        ulimits={limit.text("Name"): limit.number("Hard") for limit in host.items("Ulimits")},
        storage_bytes=_storage(host.text_map("StorageOpt").get("size", "0")),
    )


def _nano_cpus(host: Document) -> int:
    """A quota and a period are the older way to say the same."""
    nano_cpus, period = host.number("NanoCpus", default=0), host.number("CpuPeriod", default=0)
    quota = host.number("CpuQuota", default=0)
    if nano_cpus == 0 and quota > 0:
        return quota * _NANO // (period or 100_000)
    return nano_cpus


def _storage(size: str) -> int:
    """Ours are bytes; others write what they like, which is for display only."""
    return int(size) if size.isascii() and size.isdigit() else 0


def _attachment(host: Document, environment: Mapping[str, str]) -> AttachmentFacts:
    return AttachmentFacts(
        requests=tuple(_device_request(request) for request in host.items("DeviceRequests")),
        runtime=host.text("Runtime", default=""),
        visible_devices=environment.get("NVIDIA_VISIBLE_DEVICES"),
        device_paths=tuple(device.text("PathOnHost") for device in host.items("Devices")),
        is_privileged=host.flag("Privileged", default=False),
    )


def _device_request(request: Document) -> DeviceRequest:
    capabilities = [name.as_text() for group in request.items("Capabilities") for name in group.entries()]
    return DeviceRequest(
        driver=request.text("Driver", default=""),
        count=request.number("Count", default=0),
        device_ids=request.texts("DeviceIDs"),
        capabilities=tuple(dict.fromkeys(capabilities)),
    )


def _ip_address(settings: Document) -> str:
    networks = settings.child("Networks")
    for name in networks.mapping():
        if address := networks.child(name).text("IPAddress", default=""):
            return address
    return settings.text("IPAddress", default="")


def parse_image(document: Document) -> ImageDetails:
    """Return one image. Source: Engine API 1.41, ImageInspect."""
    config = document.child("Config")
    return ImageDetails(
        id=document.text("Id"),
        tags=_named(document.texts("RepoTags")),
        digests=_named(document.texts("RepoDigests")),
        labels=config.text_map("Labels"),
        environment=parse_environment(config.texts("Env")),
        user=config.text("User", default=""),
        entrypoint=config.texts("Entrypoint"),
        command=config.texts("Cmd"),
        stop_signal=config.text("StopSignal", default=""),
        size_bytes=document.number("Size"),
        created_at=document.optional_moment("Created"),
        architecture=document.text("Architecture", default=""),
        working_dir=config.text("WorkingDir", default=""),
        layers=document.child("RootFS").texts("Layers"),
        triggers=config.texts("OnBuild"),
    )


def parse_image_row(row: Document) -> ImageDetails:
    """Return one row of the list. Source: Engine API 1.41, ImageList."""
    created_s = row.number("Created", default=0)
    shared_bytes = row.number("SharedSize", default=-1)
    return ImageDetails(
        id=row.text("Id"),
        tags=_named(row.texts("RepoTags")),
        digests=_named(row.texts("RepoDigests")),
        labels=row.text_map("Labels"),
        size_bytes=row.number("Size"),
        created_at=_moment(row, "Created", created_s * _NANO) if created_s > 0 else None,
        shared_bytes=shared_bytes if shared_bytes >= 0 else None,
    )


def _named(references: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(reference for reference in references if _NO_TAG not in reference)


def parse_exec(document: Document) -> ExecState:
    """Return the state of an exec. Source: Engine API 1.41, ExecInspect."""
    is_running = document.flag("Running")
    return ExecState(
        id=document.text("ID"),
        container_id=document.text("ContainerID"),
        is_running=is_running,
        exit_code=None if is_running else document.optional_number("ExitCode"),
        pid=document.number("Pid", default=0),
    )


def parse_event(document: Document) -> EngineEvent:
    """Return one event. Source: Engine API 1.41, SystemEvents."""
    actor, nanoseconds = document.child("Actor"), document.number("timeNano")
    return EngineEvent(
        kind=document.text("Type"),
        action=document.text("Action"),
        actor_id=actor.text("ID", default=""),
        attributes=actor.text_map("Attributes"),
        at=_moment(document, "timeNano", nanoseconds),
        cursor=format_cursor(nanoseconds),
    )


def _moment(document: Document, key: str, nanoseconds: int) -> datetime:
    try:
        return moment_of_nanoseconds(nanoseconds)
    except ValueError as error:
        raise document.optional(key).wrong("a time") from error


def parse_pull_progress(document: Document) -> PullProgress:
    """Return one step of a pull. Source: Engine API 1.41, ImageCreate (the stream is described by its client only)."""
    detail = document.child("progressDetail")
    return PullProgress(
        layer=document.text("id", default=""),
        status=document.text("status", default=""),
        current_bytes=detail.optional_number("current"),
        total_bytes=detail.optional_number("total"),
    )


def parse_processes(document: Document) -> list[Mapping[str, str]]:
    """Return processes as column title to text. Source: Engine API 1.41, ContainerTop."""
    titles = document.texts("Titles")
    rows = [[cell.as_text() for cell in row.entries()] for row in document.items("Processes")]
    if any(len(row) != len(titles) for row in rows):
        raise BackendError(f"The engine's list of processes has rows without {len(titles)} columns ({document.where}).")
    return [dict(zip(titles, row, strict=True)) for row in rows]
