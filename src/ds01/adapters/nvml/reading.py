"""Reads what there is through the vendor's binding. Runs in the child process only: any of these calls may hang.

A failing call ends the description of its card only. Errors are the binding's own; the name of the call that failed is
attached as a note, because NVML's texts do not say it.
"""

import pynvml

from ds01.adapters.nvml.calls import Handle, ask, ask_optional, describe_failure
from ds01.adapters.nvml.health import read_illness
from ds01.adapters.nvml.instances import mig_devices, read_instance, read_profiles, slices_of
from ds01.adapters.nvml.links import read_links
from ds01.adapters.nvml.wire import CardAnswer, InventoryAnswer


def read_inventory() -> InventoryAnswer:
    """Describe the driver and every card.

    Raises:
        pynvml.NVMLError: The library as a whole failed.
    """
    cuda = int(ask("nvmlSystemGetCudaDriverVersion_v2"))  # 1000 * major + 10 * minor
    cards: list[CardAnswer] = []
    healthy: list[tuple[Handle, str, bool]] = []
    for index in range(ask("nvmlDeviceGetCount")):
        card = CardAnswer(index=index)
        cards.append(card)
        try:
            handle = ask("nvmlDeviceGetHandleByIndex", index)
            _read_card(handle, card)
        except pynvml.NVMLError as error:
            card["fault"] = describe_failure(error)
        else:
            healthy.append((handle, card["uuid"], card["mig_enabled"]))
    links = read_links(healthy)
    for card in cards:
        card["links"] = links.get(card.get("uuid", ""), [])
    return InventoryAnswer(
        driver_version=str(ask("nvmlSystemGetDriverVersion")),
        cuda_version=(cuda // 1000, cuda % 1000 // 10),
        cards=cards,
    )


def _read_card(handle: Handle, card: CardAnswer) -> None:
    """Describe one card; at the first failing call the rest is left out."""
    card["uuid"] = str(ask("nvmlDeviceGetUUID", handle))
    card["model"] = str(ask("nvmlDeviceGetName", handle))
    card["memory_bytes"] = int(ask("nvmlDeviceGetMemoryInfo", handle).total)
    card["bus_id"] = str(ask("nvmlDeviceGetPciInfo", handle).busId)
    card["minor"] = ask_optional("nvmlDeviceGetMinorNumber", handle)
    major, minor = ask_optional("nvmlDeviceGetCudaComputeCapability", handle) or (0, 0)
    card["compute_capability"] = (int(major), int(minor))
    mode = ask_optional("nvmlDeviceGetMigMode", handle)
    current, pending = mode or (0, 0)
    card["mig_enabled"], card["mig_pending"] = bool(current), bool(pending)
    card["mig_profiles"] = read_profiles(handle, card["uuid"]) if mode is not None else []
    card["slices_total"] = slices_of(card["mig_profiles"])
    card["instances"] = [read_instance(handle, slot, mig) for slot, mig in mig_devices(handle)] if current else []
    illness = read_illness(handle)
    if illness is not None:
        card["illness"] = illness
