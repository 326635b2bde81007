"""From the child's answers to the domain's values, and from NVML's failures to errors a person can act on."""

from collections.abc import Mapping

from ds01.adapters.nvml.wire import (
    CardAnswer,
    Failure,
    InstanceAnswer,
    InventoryAnswer,
    ProcessesAnswer,
    ProfileAnswer,
    ReportAnswer,
    SampleAnswer,
)
from ds01.domain.devices.gpu import (
    DeviceSample,
    GpuLink,
    GpuProcess,
    Inventory,
    LinkKind,
    MigInstance,
    MigProfile,
    PhysicalGpu,
)
from ds01.domain.devices.gpu_event import DeviceEvent, DeviceEventKind
from ds01.errors import BackendError

_ANY_HINT = "Run `nvidia-smi` on the host; it asks the same library."

# By nvmlReturn_t. Source: nvml.h.
_HINTS: Mapping[int, str] = {
    4: "The daemon must be allowed to open /dev/nvidiactl: `ls -l /dev/nvidia*`.",
    9: "Load the driver: `modprobe nvidia`, then look at `dmesg | grep -i nvrm`.",
    12: "Install the driver's library libnvidia-ml.so.1 (Debian: libnvidia-ml1), then run `nvidia-smi`.",
    15: "A GPU fell off the bus: `dmesg | grep -i xid`. It comes back after a reboot.",
    18: "The driver was upgraded while its old module is loaded: reboot, or unload and load the nvidia modules.",
}


def failure_text(failure: Failure) -> str:
    """Return a failure in one phrase, with the call and the code."""
    return f"{failure['text']} ({failure['call']}, NVML error {failure['code']})"


def failure_error(failure: Failure) -> BackendError:
    """Return the error for a failure of the library as a whole."""
    return BackendError(
        f"The GPUs are unknown: {failure_text(failure)}.",
        hint=_HINTS.get(failure["code"], _ANY_HINT),
        details={"nvml_call": failure["call"], "nvml_code": failure["code"]},
    )


def to_inventory(answer: InventoryAnswer, known: Mapping[int, PhysicalGpu]) -> Inventory:
    """Return the inventory.

    Args:
        answer: What the child read.
        known: Cards by index as they were when they last answered, to name those that do not any more.
    """
    major, minor = answer["cuda_version"]
    return Inventory(
        devices=tuple(_to_card(card, _identify(card, answer, known)) for card in answer["cards"]),
        driver_version=answer["driver_version"],
        cuda_version=(major, minor),
    )


def _identify(card: CardAnswer, answer: InventoryAnswer, known: Mapping[int, PhysicalGpu]) -> PhysicalGpu | None:
    """Return what this card was when it last answered; None if it never did.

    A card that does not even tell its UUID is the one that had its index, unless that one answers somewhere else.
    """
    if "uuid" in card:
        return next((before for before in known.values() if before.uuid == card["uuid"]), None)
    before = known.get(card["index"])
    answering = {other["uuid"] for other in answer["cards"] if "uuid" in other}
    return before if before is not None and before.uuid not in answering else None


def _to_card(card: CardAnswer, before: PhysicalGpu | None) -> PhysicalGpu:
    """Return one card; what a faulty one no longer tells is what it last told.

    A card that never told its UUID gets a name of the same kind that no real one can have: it must not be hidden.
    """
    failure = card.get("fault")
    if before is None:
        before = PhysicalGpu(
            uuid=f"GPU-unreadable-{card['index']}", index=card["index"], model="unknown", memory_bytes=0
        )
    major, minor = card.get("compute_capability", before.compute_capability)
    instances, profiles = card.get("instances"), card.get("mig_profiles")
    return PhysicalGpu(
        uuid=card.get("uuid", before.uuid),
        index=card["index"],
        model=card.get("model", before.model),
        memory_bytes=card.get("memory_bytes", before.memory_bytes),
        compute_capability=(major, minor),
        bus_id=card.get("bus_id", before.bus_id),
        minor=card.get("minor", before.minor),
        slices_total=card.get("slices_total", before.slices_total),
        mig_enabled=card.get("mig_enabled", before.mig_enabled),
        mig_pending=card.get("mig_pending", before.mig_pending),
        instances=before.instances if instances is None else tuple(map(to_instance, instances)),
        fault=card.get("illness") if failure is None else failure_text(failure),
        mig_profiles=before.mig_profiles if profiles is None else tuple(map(_to_profile, profiles)),
        links=_links(card, before),
    )


def _links(card: CardAnswer, before: PhysicalGpu) -> tuple[GpuLink, ...]:
    """Return the links of a card; to one that fails now, and of one that fails itself, they are what they were."""
    told = {uuid: GpuLink(uuid, LinkKind(kind)) for uuid, kind in card.get("links", [])}
    kept = {link.uuid: link for link in before.links}
    order = list(LinkKind)
    return tuple(sorted((kept | told).values(), key=lambda link: order.index(link.kind)))


def to_instance(instance: InstanceAnswer) -> MigInstance:
    """Return one MIG device."""
    return MigInstance(**instance)


def _to_profile(profile: ProfileAnswer) -> MigProfile:
    return MigProfile(
        name=profile["name"],
        id=profile["id"],
        compute_slices=profile["compute_slices"],
        memory_slices=profile["memory_slices"],
        memory_bytes=profile["memory_bytes"],
        placements=tuple(profile["placements"]),
        max_instances=profile["max_instances"],
    )


def to_event(report: ReportAnswer) -> DeviceEvent:
    """Return what the driver reports."""
    return DeviceEvent(
        kind=DeviceEventKind(report["kind"]),
        gpu_uuid=report["gpu_uuid"],
        code=report["code"],
        gpu_instance_id=report["gpu_instance_id"],
    )


def to_samples(answers: list[SampleAnswer]) -> dict[str, DeviceSample]:
    """Return readings by UUID."""
    return {answer["uuid"]: _to_sample(answer) for answer in answers}


def _to_sample(answer: SampleAnswer) -> DeviceSample:
    return DeviceSample(
        uuid=answer["uuid"],
        utilization_ratio=answer["utilization_ratio"],
        memory_used_bytes=answer["memory_used_bytes"],
        power_w=answer["power_w"],
        energy_j=answer["energy_j"],
        temperature_c=answer["temperature_c"],
        sm_clock_mhz=answer["sm_clock_mhz"],
        throttle_reasons=tuple(answer["throttle_reasons"]),
        ecc_uncorrected=answer["ecc_uncorrected"],
    )


def to_processes(answer: ProcessesAnswer) -> list[GpuProcess]:
    """Return the processes on devices.

    Raises:
        BackendError: Those of a card are unknown; to leave them out would make it look idle.
    """
    failure = answer.get("failure")
    if failure is not None:
        raise BackendError(
            f"The processes on the GPUs are unknown: {failure_text(failure)}.",
            hint=_HINTS.get(failure["code"], _ANY_HINT),
            details={"nvml_call": failure["call"], "nvml_code": failure["code"]},
        )
    return [GpuProcess(**process) for process in answer["processes"]]
