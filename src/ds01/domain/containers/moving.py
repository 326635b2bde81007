"""Moving a stopped container to other devices: the container that is made in its place, and what that costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ds01.domain import label
from ds01.domain.containers.container import ContainerDetails, ContainerSpec
from ds01.domain.name import EngineName

VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"
NO_DEVICES = "void"
COPIED_BYTES_PER_S = 100 * 1024**2
"""What a disk of a server does at least when an engine copies a writable layer."""
ALWAYS = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Successor:
    """What is different in the container that takes the place of another.

    Attributes:
        engine_name: Its name until it takes over.
        image: Copy of the old one's files.
        gpu_uuids: Its devices.
        allocation_id: Its grant.
        seal: Seal of the grant.
        created_at: Now.
        cdi_device: Name that stands for its devices; empty: they are fixed.
    """

    engine_name: EngineName
    image: str
    gpu_uuids: tuple[str, ...]
    allocation_id: str
    seal: str
    created_at: datetime
    cdi_device: str = ""

    @property
    def fixed_gpus(self) -> tuple[str, ...]:
        """Devices that it has for good."""
        return () if self.cdi_device else self.gpu_uuids


def successor_spec(old: ContainerDetails, new: Successor) -> ContainerSpec:
    """Return the spec of a container that is like another one but for image, devices and grant.

    Everything is taken from what the engine has, so mounts, limits and environment are what they were, also where the
    policy or the order says otherwise by now.
    """
    uid, _, gid = old.user.partition(":")
    fixed = old.fixed
    return ContainerSpec(
        engine_name=new.engine_name,
        image=new.image,
        uid=int(uid),
        gid=int(gid),
        supplementary_gids=fixed.supplementary_gids,
        hostname=fixed.hostname,
        entrypoint=old.entrypoint,
        command=old.command,
        environment={**old.environment, VISIBLE_DEVICES: ",".join(new.fixed_gpus) or NO_DEVICES},
        labels=_labels(old.labels, new),
        mounts=old.mounts,
        gpu_uuids=new.gpu_uuids,
        cdi_device=new.cdi_device,
        limits=old.limits,
        network=fixed.network,
        ports=fixed.ports,
        has_terminal=fixed.has_terminal,
        uses_init=fixed.uses_init,
        working_dir=fixed.working_dir,
        stop_signal=fixed.stop_signal,
    )


def _labels(old: Mapping[str, str], new: Successor) -> dict[str, str]:
    return {
        **old,
        label.ALLOCATION: new.allocation_id,
        label.GPU_UUIDS: ";".join(new.fixed_gpus),
        label.SEAL: new.seal,
        label.CREATED: new.created_at.isoformat(timespec="seconds"),
    }


def can_be_remade(details: ContainerDetails) -> bool:
    """Tell whether DS01 made a container, so that everything about it can be said again."""
    uid, _, gid = details.user.partition(":")
    is_plain = not details.attachment.is_privileged and not details.attachment.device_paths
    return label.is_ours(details.labels) and uid.isdecimal() and gid.isdecimal() and is_plain


def expected_length(size_bytes: int) -> timedelta:
    """Return about how long a move takes.

    Args:
        size_bytes: What the container has written outside of its mounts.
    """
    return ALWAYS + timedelta(seconds=size_bytes // COPIED_BYTES_PER_S)
