"""The devices that a container has, for people and for checks."""

from ds01.domain.attachment import AttachmentFacts, attached_gpus
from ds01.domain.container import ContainerDetails
from ds01.domain.gpu import Gpu, Inventory, all_gpus


def may_reach_devices(facts: AttachmentFacts) -> bool:
    """Something is attached that could be a GPU."""
    is_listed = facts.visible_devices not in {None, "", "void", "none"}
    return bool(facts.requests or facts.device_paths or is_listed)


def devices_in(details: ContainerDetails, inventory: Inventory | None) -> tuple[Gpu | str, ...]:
    """Return the devices of a container in display order.

    Args:
        details: The container.
        inventory: Devices of the machine; None: unknown. A device that is not in it is named by its UUID alone.
    """
    if inventory is None:
        if details.attachment.bound is not None:
            return tuple(sorted(details.attachment.bound))
        return tuple(uuid for request in details.attachment.requests for uuid in request.device_ids)
    uuids = attached_gpus(details.attachment, inventory)
    known = [gpu for gpu in all_gpus(inventory) if gpu.uuid in uuids]
    missing = sorted(uuids - {gpu.uuid for gpu in known})
    return (*known, *missing)
