"""From the services' values to the documents of the wire."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime, timedelta

from ds01.api import schema
from ds01.domain import label
from ds01.domain.allocation import Allocation
from ds01.domain.containers.container import ContainerDetails, ResourceLimits
from ds01.domain.containers.origin import origin_of
from ds01.domain.devices.gpu import Gpu, Inventory
from ds01.domain.images.image import original_repository
from ds01.domain.reasons.why_text import Viewer
from ds01.domain.rules.limit import BUILT_IN_ORIGIN, EffectiveLimits, Limits
from ds01.domain.rules.policy import LimitLayer
from ds01.domain.scheduling.occupancy import Holder
from ds01.service.containers import ContainerView
from ds01.service.usage import ContainerReading, DeviceView, HeldDevice

SCHEMA = schema.SCHEMA_VERSION


class Names:
    """Names of users by uid, for people; the number where the machine knows none."""

    def __init__(self, known: Mapping[int, str]) -> None:
        self._known = known

    def __call__(self, uid: int | None) -> str:
        """Return the name of a user."""
        return "" if uid is None else self._known.get(uid, str(uid))


def time_text(moment: datetime | None) -> str | None:
    """Return a moment as ISO 8601 with its zone, to the second."""
    return moment.isoformat(timespec="seconds") if moment is not None else None


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def container_document(
    view: ContainerView, attached: Iterable[str], gpus: Mapping[str, Gpu], names: Names
) -> schema.ContainerDocument:
    """Return one row of a list.

    Args:
        view: The container.
        attached: Devices that it has without a grant.
        gpus: The machine's devices by UUID.
        names: Names of users.
    """
    summary = view.summary
    uuids = view.allocation.gpu_uuids if view.allocation else attached
    document = schema.ContainerDocument(
        name=view.name,
        id=summary.id,
        owner_uid=view.uid if view.uid is not None else -1,
        owner=names(view.uid),
        state=summary.state.value,
        status=summary.status,
        origin=origin_of(summary.labels, summary.name).value,
        managed=view.row is not None,
        image=_shown_image(summary.image, summary.labels),
        framework=summary.labels.get(label.FRAMEWORK, ""),
        created_at=_moment(summary.created_at),
        gpus=[grant_document(gpus.get(uuid, uuid)) for uuid in uuids],
        allocation_id=view.allocation.id if view.allocation else None,
        allocation_state=view.allocation.state.value if view.allocation else None,
        workspace=summary.mounts.get("/workspace"),
    )
    if view.doubt:
        document["owner_doubt"] = view.doubt
    return document


def _shown_image(image: str, labels: Mapping[str, str]) -> str:
    """The private tag is a detail: people see the image they asked for."""
    custom = labels.get(label.CUSTOM_IMAGE)
    if custom:
        return custom
    repository, _, tag = image.rpartition(":")
    return original_repository(repository) if "._." in tag else image


def grant_document(gpu: Gpu | str) -> schema.GpuGrant:
    """Return one device of a container; one that the machine does not have, or say, is known by its UUID only."""
    if isinstance(gpu, str):
        return schema.GpuGrant(uuid=gpu, address="?", kind="unknown", profile="", memory_bytes=0, gpu_equivalents=0.0)
    return schema.GpuGrant(
        uuid=gpu.uuid,
        address=gpu.address,
        kind=gpu.kind.value,
        profile=gpu.profile,
        memory_bytes=gpu.memory_bytes,
        gpu_equivalents=round(gpu.equivalents, 6),
    )


def details_document(
    details: ContainerDetails,
    *,
    uid: int,
    owner: str,
    allocation: Allocation | None,
    is_managed: bool,
    devices: Iterable[Gpu | str],
) -> schema.ContainerDetailsDocument:
    """Return one container with everything."""
    parsed = details.parsed_name
    labels = details.labels
    mounts = {mount.target: mount.source for mount in details.mounts}
    return schema.ContainerDetailsDocument(
        name=parsed.name if parsed else details.name,
        id=details.id,
        owner_uid=uid,
        owner=owner,
        state=details.state.value,
        status=details.state.value,
        origin=origin_of(labels, details.name).value,
        managed=is_managed,
        image=_shown_image(details.image, labels),
        framework=labels.get(label.FRAMEWORK, ""),
        created_at=_moment(details.created_at),
        gpus=[grant_document(device) for device in devices],
        allocation_id=allocation.id if allocation else None,
        allocation_state=allocation.state.value if allocation else None,
        workspace=mounts.get("/workspace"),
        engine_name=details.name,
        image_id=details.image_id,
        started_at=time_text(details.started_at),
        finished_at=time_text(details.finished_at),
        exit_code=details.exit_code,
        error=details.error,
        data=mounts.get("/data"),
        models=mounts.get("/models"),
        limits=limits_of_container(details.limits),
        labels=dict(labels),
        ip_address=details.ip_address,
        command=[*details.entrypoint, *details.command],
        terminal=details.fixed.has_terminal,
        x11=labels.get(label.X11) == "true",
    )


def limits_of_container(limits: ResourceLimits) -> schema.LimitsOfContainer:
    """Return the engine's limits; its 0 is our None."""
    return schema.LimitsOfContainer(
        cpus=limits.nano_cpus / 1e9 if limits.nano_cpus else None,
        memory_bytes=limits.memory_bytes or None,
        memory_swap_bytes=limits.memory_swap_bytes or None,
        shm_size_bytes=limits.shm_size_bytes or None,
        pids=limits.pids_limit or None,
        cgroup_parent=limits.cgroup_parent,
        ulimits=dict(limits.ulimits),
    )


def limit_values(limits: EffectiveLimits) -> dict[str, schema.LimitValue]:
    """Return every limit with its origin."""
    return {
        item.name: schema.LimitValue(
            value=_plain(getattr(limits.values, item.name)), origin=limits.origins.get(item.name, "built-in")
        )
        for item in fields(Limits)
    }


def layer_values(layer: LimitLayer, names: Iterable[str]) -> dict[str, schema.LimitValue]:
    """Return the values of a section, of which those that it does not set are unlimited."""
    return {
        name: schema.LimitValue(value=_plain(layer.values.get(name)), origin=layer.origins.get(name, BUILT_IN_ORIGIN))
        for name in names
    }


def _plain(value: object) -> "float | str | bool | list[str] | dict[str, int] | dict[str, str | None] | None":
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a limit cannot be a {type(value).__name__}")


def gpu_document(view: DeviceView, viewer: Viewer) -> schema.GpuDocument:
    """Return one device with its reading, and its holders as far as the viewer may know them."""
    gpu, sample = view.gpu, view.sample
    is_seen = all(viewer.sees_user(holder.uid) for holder in view.holders)
    return schema.GpuDocument(
        uuid=gpu.uuid,
        address=gpu.address,
        parent_uuid=gpu.parent_uuid,
        kind=gpu.kind.value,
        profile=gpu.profile,
        model=gpu.model,
        state=view.state.value,
        free=view.is_free,
        reason=view.reason if is_seen else "held",
        memory_bytes=gpu.memory_bytes,
        memory_used_bytes=sample.memory_used_bytes if sample else None,
        utilization_ratio=sample.utilization_ratio if sample else None,
        power_w=sample.power_w if sample else None,
        temperature_c=sample.temperature_c if sample else None,
        energy_j=sample.energy_j if sample else None,
        gpu_equivalents=round(gpu.equivalents, 6),
        holders=[_holder_document(holder, viewer) for holder in view.holders],
    )


def _holder_document(holder: Holder, viewer: Viewer) -> schema.HolderDocument:
    is_seen = viewer.sees_user(holder.uid)
    return schema.HolderDocument(
        owner_uid=holder.uid if is_seen else None,
        owner=viewer.name_of(holder.uid) if is_seen and holder.uid is not None else "",
        container=holder.container_name if is_seen else "",
        state=holder.state,
        since=_moment(holder.since),
        until=time_text(holder.until),
        ends_at=time_text(holder.ends_at),
        shares=holder.shares,
        group=holder.group if viewer.sees_group(holder.uid) else "",
    )


def gpu_list(inventory: Inventory, views: Iterable[DeviceView], viewer: Viewer) -> schema.GpuList:
    """Return the devices of the machine."""
    return schema.GpuList(
        schema_version=SCHEMA,
        driver_version=inventory.driver_version,
        cuda_version=".".join(map(str, inventory.cuda_version)) if inventory.devices else "",
        gpus=[gpu_document(view, viewer) for view in views],
    )


def stats_document(reading: ContainerReading, owner: str) -> schema.StatsDocument:
    """Return one reading."""
    stats = reading.stats
    parsed = reading.details.parsed_name
    return schema.StatsDocument(
        name=parsed.name if parsed else reading.details.name,
        owner=owner,
        cpu_ratio=stats.cpu_ratio,
        memory_used_bytes=stats.memory_used_bytes,
        memory_limit_bytes=stats.memory_limit_bytes,
        network_rx_bytes=stats.network_rx_bytes,
        network_tx_bytes=stats.network_tx_bytes,
        block_read_bytes=stats.block_read_bytes,
        block_write_bytes=stats.block_write_bytes,
        pids=stats.pids,
        gpus=[_gpu_reading(held) for held in reading.devices],
        gpu_memory_used_bytes=reading.gpu_memory_bytes,
    )


def _gpu_reading(held: HeldDevice) -> schema.GpuReading:
    gpu, sample, own = held.gpu, held.sample, held.own
    return schema.GpuReading(
        uuid=gpu if isinstance(gpu, str) else gpu.uuid,
        address="?" if isinstance(gpu, str) else gpu.address,
        utilization_ratio=sample.utilization_ratio if sample else None,
        own_utilization_ratio=own.utilization_ratio if own else None,
        memory_used_bytes=sample.memory_used_bytes if sample else None,
        own_memory_used_bytes=own.memory_bytes if own else None,
        memory_bytes=None if isinstance(gpu, str) else gpu.memory_bytes,
    )
