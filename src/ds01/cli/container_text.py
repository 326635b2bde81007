"""How lists, pickers and messages name what a container has. Part of `ds01 list`, so it imports nothing heavy."""

from __future__ import annotations

TYPE_CHECKING = False  # see client.session
if TYPE_CHECKING:
    from ds01.api.schema import ContainerDocument, GpuGrant

_CUSTOM_FRAMEWORK = "custom-"


def gpu_text(gpus: list[GpuGrant]) -> str:
    """Return the devices of a container as people name them (`0`, `0:1 1g.5gb`); `-` without any.

    One that the machine does not say, or does not have any more, is `unknown`: that is not none.
    """
    return ", ".join(_gpu(gpu) for gpu in gpus) or "-"


def _gpu(gpu: GpuGrant) -> str:
    if gpu["kind"] == "unknown":
        return "unknown"
    address = gpu["address"] or gpu["uuid"]
    return f"{address} {gpu['profile']}" if gpu["profile"] else address


def image_text(container: ContainerDocument) -> str:
    """Return the framework of a container, or its image if it has none of the catalogue."""
    framework = container["framework"]
    return container["image"] if not framework or framework.startswith(_CUSTOM_FRAMEWORK) else framework
