"""From an order and everything decided about it to the container's spec."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ds01.domain.containers.account import SHELL_SETUP, InnerAccount
from ds01.domain.containers.container import ContainerSpec, ResourceLimits
from ds01.domain.containers.moving import NO_DEVICES, VISIBLE_DEVICES
from ds01.domain.containers.pid1 import ENTRYPOINT
from ds01.domain.label import LabelFacts, build_labels, cleaned_inherited
from ds01.domain.name import EngineName
from ds01.domain.request import format_request
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.user import User
from ds01.service.images import ImageChoice
from ds01.service.mounts import OpenedMounts
from ds01.service.order import CreateOrder
from ds01.service.ports import FileEntry, ImageDetails
from ds01.service.tools import Equipped

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CACHE = "/workspace/.cache"
MAX_HOSTNAME = 63


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything that a spec is made of.

    Attributes:
        order: The order.
        user: Owner.
        engine_name: Name on the engine.
        choice: Image that was chosen.
        image: The image; None when it is not here yet (dry run).
        tag: Private tag it is created from.
        account: Account inside; None when the image is not here yet.
        has_shell: The image can run our PID 1.
        limits: Effective limits.
        cgroup_parent: Cgroup of the owner.
        mounts: Directories.
        gpu_uuids: Devices granted.
        cdi_device: Name that stands for them; empty: they are fixed.
        allocation_id: Grant.
        nonce: Nonce of the row.
        seal: Seal.
        created_at: Now.
        timezone: The machine's, such as `Europe/Berlin`; empty: unknown.
    """

    order: CreateOrder
    user: User
    engine_name: EngineName
    choice: ImageChoice
    image: ImageDetails | None
    tag: str
    account: InnerAccount | None
    has_shell: bool
    limits: EffectiveLimits
    cgroup_parent: str
    mounts: OpenedMounts
    gpu_uuids: tuple[str, ...]
    allocation_id: str
    nonce: str
    seal: str
    created_at: datetime
    timezone: str = ""
    cdi_device: str = ""


def build_spec(blueprint: Blueprint) -> ContainerSpec:
    """Return the spec of a container."""
    user = blueprint.user
    name = blueprint.engine_name.name
    return ContainerSpec(
        engine_name=blueprint.engine_name,
        image=blueprint.tag,
        uid=user.uid,
        gid=user.gid,
        supplementary_gids=user.supplementary_gids,
        hostname=name.replace("_", "-").strip("-")[:MAX_HOSTNAME] or "container",
        entrypoint=ENTRYPOINT if blueprint.has_shell else (),
        environment=_environment(blueprint),
        labels=_labels(blueprint),
        mounts=blueprint.mounts.mounts,
        gpu_uuids=blueprint.gpu_uuids,
        cdi_device=blueprint.cdi_device,
        limits=resource_limits(blueprint.limits, blueprint.cgroup_parent),
        network="host" if blueprint.limits.values.network == "host" else "",
        ports=blueprint.order.ports,
        uses_init=not blueprint.has_shell,
        # our PID 1 listens to TERM, whatever the image wanted for its own
        stop_signal="SIGTERM" if blueprint.has_shell else "",
    )


def resource_limits(limits: EffectiveLimits, cgroup_parent: str) -> ResourceLimits:
    """Return limits in the engine's terms."""
    values = limits.values
    return ResourceLimits(
        nano_cpus=round((values.max_cpus or 0) * 1_000_000_000),
        memory_bytes=values.memory or 0,
        memory_swap_bytes=values.memory_swap or 0,
        shm_size_bytes=values.shm_size or 0,
        pids_limit=values.pids_limit or 0,
        cgroup_parent=cgroup_parent,
        ulimits=dict(values.ulimits),
    )


def _environment(blueprint: Blueprint) -> dict[str, str]:
    inherited = dict(blueprint.image.environment) if blueprint.image else {}
    account = blueprint.account
    home = account.home if account else f"/home/{blueprint.user.uid}"
    found = {
        "HOME": home,
        "USER": account.name if account else str(blueprint.user.uid),
        "LOGNAME": account.name if account else str(blueprint.user.uid),
        "SHELL": account.shell if account else "/bin/sh",
        "PATH": f"{home}/.local/bin:{inherited.get('PATH') or DEFAULT_PATH}",
        "LANG": inherited.get("LANG") or "C.UTF-8",
        "HF_HOME": f"{CACHE}/huggingface",
        "TORCH_HOME": f"{CACHE}/torch",
        "XDG_CACHE_HOME": CACHE,
        "DS01_CONTAINER": blueprint.engine_name.name,
        **({"TZ": blueprint.timezone} if blueprint.timezone else {}),
        **_shell_setup(account, inherited),
        **blueprint.order.environment,
    }
    # without a device request the image's own "all" would decide; with one, the engine sets it
    fixed = () if blueprint.cdi_device else blueprint.gpu_uuids
    found[VISIBLE_DEVICES] = ",".join(fixed) or NO_DEVICES
    return found


def _shell_setup(account: InnerAccount | None, inherited: Mapping[str, str]) -> dict[str, str]:
    """Where a shell that is not bash finds its prompt. Source: POSIX, sh, `ENV`."""
    if account is None or account.shell.endswith("bash") or "ENV" in inherited:
        return {}
    return {"ENV": f"{account.home}/{SHELL_SETUP}"}


def _labels(blueprint: Blueprint) -> dict[str, str]:
    inherited = cleaned_inherited(blueprint.image.labels) if blueprint.image else {}
    mounts = blueprint.mounts
    facts = LabelFacts(
        owner=blueprint.user,
        engine_name=blueprint.engine_name,
        architecture=blueprint.choice.architecture,
        workspace=mounts.workspace,
        data=mounts.data,
        models=mounts.models,
        framework=blueprint.choice.framework_label,
        gpus_text=str(blueprint.order.request.count),
        allocation_id=blueprint.allocation_id,
        gpu_uuids=() if blueprint.cdi_device else blueprint.gpu_uuids,
        request=format_request(blueprint.order.request),
        seal=blueprint.seal,
        nonce=blueprint.nonce,
        interface=blueprint.order.interface,
        group=blueprint.limits.group,
        created_at=blueprint.created_at,
        custom_image=blueprint.choice.reference if blueprint.choice.is_custom else "",
        shares_display=blueprint.order.shares_display,
    )
    return {**inherited, **build_labels(facts)}


def file_entries(account: InnerAccount) -> list[FileEntry]:
    """Return the account's files as the engine takes them."""
    return [
        FileEntry(
            path=item.path,
            content=None if item.content is None else item.content.encode("utf-8", "surrogateescape"),
            mode=item.mode,
            uid=item.uid,
            gid=item.gid,
        )
        for item in account.files
    ]


def warnings_of(equipped: Equipped, account: InnerAccount, mounts: OpenedMounts) -> tuple[str, ...]:
    """Return what a user should know about the inside of a new container."""
    inner = equipped.inner
    found = [equipped.warning] if equipped.warning else []
    if not inner.has_shell:
        found.append(
            "The image has no shell: the engine's init is its first process, and AIME's auto-stop will not work."
        )
    if not account.has_sudo and inner.has_sudo:
        found.append("There is no sudo in this container: the site does not allow it.")
    return (*found, *mounts.warnings)
