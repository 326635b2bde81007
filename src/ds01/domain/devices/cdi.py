"""Late binding: a container is made with one device name of ours, and what that name stands for is written at a start.

The name is a CDI device (Container Device Interface). The site's NVIDIA spec says what every GPU needs: device nodes,
libraries, hooks. Our spec of a container is that of the granted devices, copied whole, under the container's own name.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ds01.domain.devices.attachment import MANAGED_CDI_KIND
from ds01.domain.devices.gpu import Inventory, PhysicalGpu, find_card
from ds01.errors import BackendError

NVIDIA_KIND = "nvidia.com/gpu"
OWN_KIND = MANAGED_CDI_KIND.removesuffix("=")
GRANT_VARIABLE = "DS01_BOUND_GRANT"
GPUS_VARIABLE = "DS01_BOUND_GPUS"
LEAST_VERSION = (0, 5, 0)
"""Device names may begin with a digit from this version on. Source: CDI, SPEC.md, released versions."""
_NODE = re.compile(r"/dev/nvidia(?P<minor>[0-9]+)")
_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})")
_GENERATE = "nvidia-ctk cdi generate --device-name-strategy=uuid --output=FILE"

Edits = Mapping[str, object]
"""`containerEdits` of a spec: what is done to a container. Source: CDI, SPEC.md."""


@dataclass(frozen=True, slots=True)
class CdiSpec:
    """One spec file.

    Attributes:
        source: Its path, for messages.
        version: `cdiVersion`.
        kind: Vendor and class, such as `nvidia.com/gpu`.
        devices: Name to what that device needs.
        edits: What every device of the file needs.
        rank: Of its folder; the engine takes a device from the highest.
    """

    source: str
    version: str
    kind: str
    devices: Mapping[str, Edits]
    edits: Edits
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Binding:
    """What a container's name stands for.

    Attributes:
        device_id: The part of the name behind the `=`; fixed when the container is made.
        grant_id: The grant it is bound to now.
        gpu_uuids: Its devices.
    """

    device_id: str
    grant_id: str
    gpu_uuids: tuple[str, ...]


def device_name(device_id: str) -> str:
    """Return the CDI device that a container is made with."""
    return f"{MANAGED_CDI_KIND}{device_id}"


def spec_document(binding: Binding, specs: Sequence[CdiSpec], inventory: Inventory) -> dict[str, object]:
    """Return the spec that lets a container have its granted devices, and nothing else.

    Args:
        binding: Whose, and which devices.
        specs: The specs of the folders that the engine reads.
        inventory: Devices of the machine.

    Raises:
        BackendError: No spec says what a device needs, or it says it of another device than the driver does.
    """
    found = [_find(uuid, specs, inventory) for uuid in binding.gpu_uuids]
    marks: Edits = {"env": [f"{GRANT_VARIABLE}={binding.grant_id}", f"{GPUS_VARIABLE}={';'.join(binding.gpu_uuids)}"]}
    edits = merge_edits([*(spec.edits for spec, _ in found), *(device for _, device in found), marks])
    return {
        "cdiVersion": ".".join(str(part) for part in max([LEAST_VERSION, *(_version(spec) for spec, _ in found)])),
        "kind": OWN_KIND,
        "devices": [{"name": binding.device_id, "containerEdits": edits}],
    }


def read_binding(document: Mapping[str, object], device_id: str) -> Binding | None:
    """Return what a spec of ours binds; None if it is none of ours, or not of this name."""
    devices = document.get("devices")
    if document.get("kind") != OWN_KIND or not isinstance(devices, list) or len(devices) != 1:
        return None
    device = devices[0]
    edits = device.get("containerEdits") if isinstance(device, Mapping) and device.get("name") == device_id else None
    lines = edits.get("env") if isinstance(edits, Mapping) else None
    if not isinstance(lines, list):
        return None
    variables = dict(line.split("=", 1) for line in lines if isinstance(line, str) and "=" in line)
    if GRANT_VARIABLE not in variables:
        return None
    uuids = tuple(uuid for uuid in variables.get(GPUS_VARIABLE, "").split(";") if uuid)
    return Binding(device_id, variables[GRANT_VARIABLE], uuids)


def merge_edits(several: Iterable[Edits]) -> dict[str, object]:
    """Return edits that do what all of these do. Lists follow each other, each entry once.

    Raises:
        BackendError: Two of them want something different where only one can be had.
    """
    merged: dict[str, object] = {}
    for edits in several:
        for key, value in edits.items():
            before = merged.get(key)
            if isinstance(value, list) and (before is None or isinstance(before, list)):
                entries = list(before or [])
                entries += [entry for entry in value if entry not in entries]
                merged[key] = entries
            elif before is None:
                merged[key] = value
            elif before != value:
                raise BackendError(f"Two GPUs cannot be had together: their CDI specs differ in {key!r}.")
    return merged


def _find(uuid: str, specs: Sequence[CdiSpec], inventory: Inventory) -> tuple[CdiSpec, Edits]:
    card = find_card(inventory, uuid)
    if card is None:
        raise BackendError(f"The GPU {uuid} that was granted is not there any more.", hint="`ds01 gpus`")
    usable = [spec for spec in specs if spec.kind == NVIDIA_KIND]
    for name in _names(uuid, card):
        named = [(spec, spec.devices[name]) for spec in usable if name in spec.devices]
        highest = max((spec.rank for spec, _ in named), default=0)
        chosen = [pair for pair in named if pair[0].rank == highest]
        if len(chosen) > 1:
            files = " and ".join(spec.source for spec, _ in chosen)
            raise BackendError(f"Both {files} say what {NVIDIA_KIND}={name} is.", hint="Remove one of the two files.")
        if chosen:
            _require_same_card(chosen[0], name, card, is_named_by_uuid=name == uuid)
            return chosen[0]
    raise BackendError(
        f"No CDI spec of this machine says what the GPU {uuid} needs.",
        hint=f"Let NVIDIA's toolkit write it: {_GENERATE}, in a folder that the engine reads.",
    )


def _names(uuid: str, card: PhysicalGpu) -> Iterator[str]:
    """A UUID means one device for ever. An instance's index may be another's after the next change of the layout."""
    yield uuid
    if uuid == card.uuid:
        yield str(card.index)
        yield f"gpu{card.index}"


def _require_same_card(found: tuple[CdiSpec, Edits], name: str, card: PhysicalGpu, *, is_named_by_uuid: bool) -> None:
    """A spec is written once, and the driver may count the cards anew: its nodes must be those of the card."""
    spec, edits = found
    minors = set(_minors(edits))
    is_proven = minors == {card.minor} if minors else is_named_by_uuid
    if not is_proven:
        nodes = ", ".join(f"/dev/nvidia{minor}" for minor in sorted(minors)) or "no card"
        raise BackendError(
            f"{spec.source} is out of date: its {name} is {nodes}, and the driver says /dev/nvidia{card.minor}.",
            hint=f"Write it again: {_GENERATE}",
        )


def _minors(edits: Edits) -> Iterator[int]:
    nodes = edits.get("deviceNodes")
    for node in nodes if isinstance(nodes, list) else ():
        match = _NODE.fullmatch(str(node.get("path", ""))) if isinstance(node, Mapping) else None
        if match is not None:
            yield int(match["minor"])


def _version(spec: CdiSpec) -> tuple[int, int, int]:
    match = _VERSION.fullmatch(spec.version)
    if match is None:
        raise BackendError(f"{spec.source} has the CDI version {spec.version!r}, which is none.")
    return int(match[1]), int(match[2]), int(match[3])
