"""Which GPUs a container has, however they were attached.

A container that plain docker or another tool made holds GPUs too. Every way counts: a device request by ids or by
number (docker takes the first N), `all`, a CDI name, `NVIDIA_VISIBLE_DEVICES` where something reads it, a raw device
node. What cannot be understood holds every GPU: a grant that is too careful is noticed, a double one is not.

What does not count, and why:

- `NVIDIA_VISIBLE_DEVICES` under a plain runtime and without a request: nobody reads it.
- The image's value of it beside a request: docker writes the request's after it.
- MIG access nodes (`/dev/nvidia-caps/...`) and control nodes (`/dev/nvidiactl`, `/dev/nvidia-uvm`): without the card's
  own node nothing can compute, and with it every instance of the card is held already.
"""

import posixpath
import re
from dataclasses import dataclass

from ds01.domain.devices.gpu import Gpu, GpuState, Inventory, PhysicalGpu, all_gpus

_CDI_NAME = re.compile(r"(?P<vendor>[\w.-]+)/(?P<kind>[\w.-]+)=(?P<device>.+)")
_TYPE_INDEX = re.compile(r"gpu(?P<gpu>[0-9]+)|mig(?P<mig>[0-9]+:[0-9]+)")
_OLD_MIG_NAME = re.compile(r"MIG-(?P<card>GPU-[^/]+)/(?P<gi>[0-9]{1,5})/(?P<ci>[0-9]{1,5})")
_DEVICE_NODE = re.compile(r"/dev/(?:nvidia|char/195:)(?P<minor>[0-9]+)")
_NO_DEVICE = frozenset({"", "none", "void"})
MANAGED_CDI_KIND = "ds01.io/allocation="
"""What our own CDI names begin with: they stand for whatever their container is granted."""
UNKNOWN_DEVICE = "?"
"""Stands for the devices of a container while the machine does not say which it has."""
_ALL_NODES = frozenset({"/", "/dev", "/dev/char"})
_CONTROL_MINORS = frozenset({254, 255})
"""Minors of major 195 that are no card: modeset and control. Source: NVIDIA's driver, nv-chardev-numbers.h."""

# What the driver `nvidia` of dockerd answers to when a request names no driver. Source: moby, daemon/nvidia_linux.go.
_NVIDIA_CAPABILITIES = frozenset(
    {"gpu", "nvidia", "compute", "compat32", "graphics", "utility", "video", "display", "ngx"}
)
_OTHER_VENDORS = ("amd.com", "intel.com", "habana.ai")
_OTHER_DRIVERS = frozenset({"amd"})
_NVIDIA_KINDS_WITHOUT_GPU = frozenset({"gds", "mofed", "imex-channel", "gdrcopy"})
_PLAIN_RUNTIMES = frozenset({"", "runc", "crun", "youki", "io.containerd.runc.v2", "io.containerd.runc.v1"})


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """One entry of `HostConfig.DeviceRequests`. Source: Engine API 1.41, ContainerCreate.

    Attributes:
        driver: `""`, `nvidia` or `cdi`.
        count: Devices; -1 means all; 0 together with ids.
        device_ids: Indices, UUIDs or CDI names.
        capabilities: Flattened; GPU requests hold `gpu`.
    """

    driver: str = ""
    count: int = 0
    device_ids: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttachmentFacts:
    """What the engine says of a container that decides which GPUs it can reach.

    Attributes:
        requests: Device requests.
        runtime: OCI runtime's name.
        visible_devices: Value of `NVIDIA_VISIBLE_DEVICES` in its environment; None if unset.
        device_paths: Host paths of raw device nodes.
        is_privileged: It sees every device node.
        bound: Devices that its CDI name of ours stands for, as the store says; None: it has none, or nobody knows.
    """

    requests: tuple[DeviceRequest, ...] = ()
    runtime: str = ""
    visible_devices: str | None = None
    device_paths: tuple[str, ...] = ()
    is_privileged: bool = False
    bound: frozenset[str] | None = None

    @property
    def managed_device(self) -> str | None:
        """Its CDI device of ours, whose GPUs change from start to start; None: its devices are fixed."""
        names = (name.strip() for request in self.requests if request.driver == "cdi" for name in request.device_ids)
        return next((name for name in names if name.startswith(MANAGED_CDI_KIND)), None)


def attached_gpus(facts: AttachmentFacts, inventory: Inventory) -> frozenset[str]:
    """Return the UUIDs of the devices that a container holds.

    A privileged container without any request for GPUs is not counted: AIME's tool makes every container privileged,
    also those for the CPU only, and a machine would look full at once.
    """
    held: set[str] = set()
    for request in facts.requests:
        held |= _requested(request, facts, inventory)
    # docker writes a request's devices into the same variable, behind what was there
    is_overridden = any(_is_nvidia(request) for request in facts.requests)
    if facts.visible_devices is not None and not is_overridden and facts.runtime not in _PLAIN_RUNTIMES:
        held |= _listed(facts.visible_devices.split(","), facts, inventory)
    for path in facts.device_paths:
        held |= _device_node(path, inventory)
    return frozenset(held)


def may_reach_gpus(facts: AttachmentFacts) -> bool:
    """Tell whether something is attached that could be a GPU; without it the devices need not be asked."""
    is_listed = facts.visible_devices is not None and facts.visible_devices not in _NO_DEVICE
    return bool(facts.requests or facts.device_paths or is_listed)


def needed_gpus(facts: AttachmentFacts, inventory: Inventory) -> frozenset[str]:
    """Return the devices that a container cannot run without, of those that it holds.

    One that asked for all or for a number takes the instances of a card in MIG mode. It holds the card as a whole too,
    so that nobody else gets that, but nobody could use it.
    """
    held = attached_gpus(facts, inventory)
    if any(request.device_ids for request in facts.requests):
        return held
    return held - {card.uuid for card in inventory.devices if card.state is GpuState.MIG and card.instances}


def _is_nvidia(request: DeviceRequest) -> bool:
    if request.driver == "nvidia":
        return True
    capabilities = frozenset(request.capabilities)
    return request.driver == "" and (not capabilities or bool(capabilities & _NVIDIA_CAPABILITIES))


def _requested(request: DeviceRequest, facts: AttachmentFacts, inventory: Inventory) -> set[str]:
    if request.driver == "cdi":
        return _listed(list(request.device_ids), facts, inventory)
    if request.driver in _OTHER_DRIVERS:
        return set()
    if not _is_nvidia(request):
        return _everything(inventory)
    if request.device_ids:
        return _listed(list(request.device_ids), facts, inventory)
    if request.count == 0:
        # docker leaves the variable as it is, and NVIDIA's hook reads it
        variable = facts.visible_devices
        return _everything(inventory) if variable is None else _listed(variable.split(","), facts, inventory)
    if not 0 < request.count < len(inventory.devices):
        return _everything(inventory)
    # docker hands out the indices 0 to count-1, whoever else has them
    return _listed([str(index) for index in range(request.count)], facts, inventory)


def _cdi_devices(name: str, facts: AttachmentFacts, inventory: Inventory) -> set[str]:
    if name.startswith(MANAGED_CDI_KIND):
        return _everything(inventory) if facts.bound is None else set(facts.bound)
    match = _CDI_NAME.fullmatch(name)
    if match is None:
        return _everything(inventory)
    vendor, kind, device = match["vendor"], match["kind"], match["device"]
    if vendor in _OTHER_VENDORS or (vendor == "nvidia.com" and kind in _NVIDIA_KINDS_WITHOUT_GPU):
        return set()
    if kind != "gpu":
        return _everything(inventory)
    numbered = _TYPE_INDEX.fullmatch(device)
    return _listed([numbered["gpu"] or numbered["mig"] if numbered else device], facts, inventory)


def _listed(names: list[str], facts: AttachmentFacts, inventory: Inventory) -> set[str]:
    held: set[str] = set()
    for name in (raw.strip() for raw in names):
        if name.lower() in _NO_DEVICE:
            continue
        if name.lower() == "all":
            return _everything(inventory)
        held |= _cdi_devices(name, facts, inventory) if "=" in name else _named(name, inventory)
    return held


def _named(name: str, inventory: Inventory) -> set[str]:
    """A UUID, its beginning, an index, or a PCI address, as NVIDIA's library takes them."""
    found: set[str] = set()
    for gpu in all_gpus(inventory):
        if name.lower() in {gpu.uuid.lower(), gpu.address} or _is_prefix(name, gpu):
            found |= _with_instances(gpu, inventory)
    for card in inventory.devices:
        if _bus(name) and _bus(name) == _bus(card.bus_id):
            found |= {card.uuid, *(instance.uuid for instance in card.instances)}
        found |= _by_old_mig_name(name, card)
    if found:
        return found
    # a full UUID of a device that is gone, or one of another machine, is nobody else's
    return {name} if _is_whole_uuid(name) else _everything(inventory)


def _is_prefix(name: str, gpu: Gpu) -> bool:
    """Cards may be named by the beginning of their UUID, in any case. Source: libnvidia-container, cli/common.c."""
    is_card = gpu.uuid == gpu.parent_uuid
    return is_card and len(name) > len("GPU-") and gpu.uuid.lower().startswith(name.lower())


def _by_old_mig_name(name: str, card: PhysicalGpu) -> set[str]:
    """`MIG-GPU-<uuid>/<GPU instance>/<compute instance>`, as drivers before R470 said and NVIDIA's tools still take."""
    match = _OLD_MIG_NAME.fullmatch(name)
    if match is None or match["card"].lower() != card.uuid.lower():
        return set()
    ids = (int(match["gi"]), int(match["ci"]))
    exact = {item.uuid for item in card.instances if (item.gpu_instance_id, item.compute_instance_id) == ids}
    return exact or {card.uuid, *(item.uuid for item in card.instances)}


def _is_whole_uuid(name: str) -> bool:
    return name.startswith(("GPU-", "MIG-")) and len(name) > len("GPU-")


def _bus(text: str) -> str:
    """Return a PCI address without leading zeros of its domain, which tools write with four or eight digits."""
    domain, separator, rest = text.lower().partition(":")
    return f"{domain.lstrip('0')}{separator}{rest}" if rest.count(":") == 1 else ""


def _with_instances(gpu: Gpu, inventory: Inventory) -> set[str]:
    """A whole card in MIG mode brings its instances along."""
    if gpu.uuid != gpu.parent_uuid:
        return {gpu.uuid}
    return {other.uuid for other in all_gpus(inventory) if other.parent_uuid == gpu.uuid}


def _device_node(path: str, inventory: Inventory) -> set[str]:
    normal = posixpath.normpath("/" + path.lstrip("/"))
    if normal in _ALL_NODES:
        return _everything(inventory)
    match = _DEVICE_NODE.fullmatch(normal)
    if match is None or int(match["minor"]) in _CONTROL_MINORS:
        return set()
    for card in inventory.devices:
        if card.minor == int(match["minor"]):
            return {card.uuid, *(instance.uuid for instance in card.instances)}
    return _everything(inventory)


def _everything(inventory: Inventory) -> set[str]:
    return {gpu.uuid for gpu in all_gpus(inventory)}


def devices_in(facts: AttachmentFacts, inventory: Inventory | None) -> tuple[Gpu | str, ...]:
    """Return the devices of a container in display order.

    Args:
        facts: What decides which it reaches.
        inventory: Devices of the machine; None: unknown. A device that is not in it is named by its UUID alone; what
            only the machine could say (a number of devices, all of them, an index) is one `UNKNOWN_DEVICE`.
    """
    if inventory is None:
        return tuple(sorted(attached_gpus(facts, _UNKNOWN_MACHINE)))
    uuids = attached_gpus(facts, inventory)
    known = [gpu for gpu in all_gpus(inventory) if gpu.uuid in uuids]
    missing = sorted(uuids - {gpu.uuid for gpu in known})
    return (*known, *missing)


# everything on it is the one device that stands for what nobody knows
_UNKNOWN_MACHINE = Inventory((PhysicalGpu(UNKNOWN_DEVICE, -1, "", 0),))
