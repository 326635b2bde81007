"""Reads devices through the vendor's binding. Runs in the child process only: any of these calls may hang.

A failing call ends the description of its card only. Errors are the binding's own; the name of the call that failed is
attached as a note, because NVML's texts do not say it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pynvml

from ds01.adapters.nvml.wire import (
    CardAnswer,
    Failure,
    InstanceAnswer,
    InventoryAnswer,
    ProcessAnswer,
    ProcessesAnswer,
    SampleAnswer,
)

MIB = 1 << 20

# The driver or the card does not know the thing asked for: a fact about the device, not a fault of it.
_NOT_KNOWN = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
# Numbers of GPU instance profiles that a card or an older driver does not have.
_NO_SUCH_PROFILE = (*_NOT_KNOWN, pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.NVML_ERROR_NOT_FOUND)
# A card that is gone for good runs no processes; every other failure leaves its processes unknown.
_GONE = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_GPU_NOT_FOUND)
# gpuInstanceId of a process outside MIG. Source: nvml.h, nvmlProcessInfo_t.
_NO_INSTANCE = 0xFFFFFFFF

Handle = Any  # an opaque pointer of the untyped binding


def ask(function: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the binding is untyped
    """Call a function of the binding; an NVMLError carries the function's name as its first note."""
    try:
        return getattr(pynvml, function)(*arguments, **options)
    except pynvml.NVMLError as error:
        error.add_note(function)
        raise


def ask_optional(function: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the binding is untyped
    """Call a function of the binding; None where card or driver do not know the thing asked for."""
    try:
        return ask(function, *arguments, **options)
    except pynvml.NVMLError as error:
        if error.value in _NOT_KNOWN:
            return None
        raise


def describe_failure(error: pynvml.NVMLError) -> Failure:
    """Return an error of the binding as it is sent to the daemon."""
    notes = getattr(error, "__notes__", ["NVML"])
    return Failure(call=str(notes[0]), code=int(error.value), text=str(error).rstrip("."))


def read_inventory() -> InventoryAnswer:
    """Describe the driver and every card.

    Raises:
        pynvml.NVMLError: The library as a whole failed.
    """
    cuda = int(ask("nvmlSystemGetCudaDriverVersion_v2"))  # 1000 * major + 10 * minor
    return InventoryAnswer(
        driver_version=str(ask("nvmlSystemGetDriverVersion")),
        cuda_version=(cuda // 1000, cuda % 1000 // 10),
        cards=[_read_card(index) for index in range(ask("nvmlDeviceGetCount"))],
    )


def _read_card(index: int) -> CardAnswer:
    """Describe one card; at the first failing call the rest is left out and the failure said."""
    card = CardAnswer(index=index)
    try:
        handle = ask("nvmlDeviceGetHandleByIndex", index)
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
        card["slices_total"] = _read_slices_total(handle) if mode is not None else 0
        card["instances"] = [_read_instance(slot, mig) for slot, mig in _mig_devices(handle)] if current else []
    except pynvml.NVMLError as error:
        card["fault"] = describe_failure(error)
    return card


def _read_slices_total(handle: Handle) -> int:
    """Return the compute slices of a card: those of the largest instance it can be cut into; 0 if it does not say."""
    slices = [_read_profile_slices(handle, number) for number in range(pynvml.NVML_GPU_INSTANCE_PROFILE_COUNT)]
    return max(slices, default=0)


def _read_profile_slices(handle: Handle, number: int) -> int:
    """Return the compute slices of one kind of GPU instance; 0 if the card has no such kind.

    Source: nvmlDeviceGetGpuInstanceProfileInfoV; drivers before R515 have only the first layout of the answer.
    """
    for version in (2, 1):
        try:
            return int(ask("nvmlDeviceGetGpuInstanceProfileInfo", handle, number, version=version).sliceCount)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                continue
            if error.value in _NO_SUCH_PROFILE:
                return 0
            raise
    return 0


def _mig_devices(handle: Handle) -> Iterator[tuple[int, Handle]]:
    """Yield index and handle of the MIG devices of a card; indices may have gaps."""
    for slot in range(ask_optional("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        try:
            yield slot, ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, slot)
        except pynvml.NVMLError as error:
            if error.value not in {pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_NOT_SUPPORTED}:
                raise


def _read_instance(slot: int, mig: Handle) -> InstanceAnswer:
    attributes = ask("nvmlDeviceGetAttributes", mig)
    slices = int(attributes.gpuInstanceSliceCount)
    memory_mib = int(attributes.memorySizeMB)
    # The name is "<model> MIG <profile>"; a driver that leaves the profile out is given the name it would have.
    _, _, profile = str(ask("nvmlDeviceGetName", mig)).partition(" MIG ")
    return InstanceAnswer(
        uuid=str(ask("nvmlDeviceGetUUID", mig)),
        profile=profile or f"{slices}g.{-(-memory_mib // 1024)}gb",
        memory_bytes=memory_mib * MIB,
        compute_slices=slices,
        gpu_instance_id=int(ask("nvmlDeviceGetGpuInstanceId", mig)),
        compute_instance_id=int(ask("nvmlDeviceGetComputeInstanceId", mig)),
        index=slot,
    )


def _reachable_cards() -> Iterator[tuple[Handle, str]]:
    """Yield handle and UUID of the cards that answer to their name."""
    for index in range(ask("nvmlDeviceGetCount")):
        try:
            handle = ask("nvmlDeviceGetHandleByIndex", index)
            uuid = str(ask("nvmlDeviceGetUUID", handle))
        except pynvml.NVMLError:
            continue  # the inventory says what is wrong with it; a sample has no place for that
        yield handle, uuid


def read_samples() -> list[SampleAnswer]:
    """Measure every card and MIG device that can be reached.

    Raises:
        pynvml.NVMLError: The library as a whole failed.
    """
    samples: list[SampleAnswer] = []
    for handle, uuid in _reachable_cards():
        samples.append(_sample_card(handle, uuid))
        try:
            samples.extend(_sample_instance(mig) for _, mig in _mig_devices(handle))
        except pynvml.NVMLError:
            continue  # no figures for the instances of a card that fails, which is not the same as zero
    return samples


def _figure(read: Callable[[], Any], scale: float = 1.0) -> float | None:
    """Return a measured figure, or None when the device does not have it or fails to give it."""
    try:
        return float(read()) * scale
    except pynvml.NVMLError:
        return None


def _whole(figure: float | None) -> int | None:
    return None if figure is None else round(figure)


def _sample_card(handle: Handle, uuid: str) -> SampleAnswer:
    return SampleAnswer(
        uuid=uuid,
        utilization_ratio=_figure(lambda: ask("nvmlDeviceGetUtilizationRates", handle).gpu, 0.01),
        memory_used_bytes=_whole(_figure(lambda: ask("nvmlDeviceGetMemoryInfo", handle).used)),
        power_w=_figure(lambda: ask("nvmlDeviceGetPowerUsage", handle), 0.001),
        energy_j=_figure(lambda: ask("nvmlDeviceGetTotalEnergyConsumption", handle), 0.001),
        temperature_c=_whole(_figure(lambda: ask("nvmlDeviceGetTemperature", handle, pynvml.NVML_TEMPERATURE_GPU))),
    )


def _sample_instance(mig: Handle) -> SampleAnswer:
    """Memory is all that drivers measure for one MIG device; power and temperature belong to the card."""
    return SampleAnswer(
        uuid=str(ask("nvmlDeviceGetUUID", mig)),
        utilization_ratio=None,
        memory_used_bytes=_whole(_figure(lambda: ask("nvmlDeviceGetMemoryInfo", mig).used)),
        power_w=None,
        energy_j=None,
        temperature_c=None,
    )


def read_processes() -> ProcessesAnswer:
    """List the processes on all cards but those that are gone, and say whether another card failed.

    Raises:
        pynvml.NVMLError: The library as a whole failed.
    """
    answer = ProcessesAnswer(processes=[])
    for index in range(ask("nvmlDeviceGetCount")):
        try:
            answer["processes"].extend(_processes_on_card(ask("nvmlDeviceGetHandleByIndex", index)))
        except pynvml.NVMLError as error:
            if error.value not in _GONE:
                answer["failure"] = describe_failure(error)
    return answer


def _processes_on_card(handle: Handle) -> list[ProcessAnswer]:
    uuid = str(ask("nvmlDeviceGetUUID", handle))
    migs = [(str(ask("nvmlDeviceGetUUID", mig)), mig) for _, mig in _mig_devices(handle)]
    found: dict[tuple[int, str], ProcessAnswer] = {}
    uuid_of_instance: dict[tuple[int, int], str] = {}
    for mig_uuid, mig in migs:
        ids = int(ask("nvmlDeviceGetGpuInstanceId", mig)), int(ask("nvmlDeviceGetComputeInstanceId", mig))
        uuid_of_instance[ids] = mig_uuid
        for process in _processes_on(mig):
            found[process.pid, mig_uuid] = _describe_process(process, mig_uuid)
    for process in _processes_of_all_instances(handle) if migs else _processes_on(handle):
        ids = (process.gpuInstanceId, process.computeInstanceId)
        place = uuid if ids[0] == _NO_INSTANCE else uuid_of_instance.get(ids, uuid)
        found.setdefault((process.pid, place), _describe_process(process, place))
    return list(found.values())


def _processes_of_all_instances(handle: Handle) -> list[Any]:
    """Ask a card in MIG mode for everybody's processes, which drivers grant to root only.

    It finds those in instances that exist no more; the others were found at their instances.
    """
    try:
        return _processes_on(handle)
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
            return []
        raise


def _processes_on(handle: Handle) -> list[Any]:
    """Return compute, graphics and MPS processes; a kind that the driver does not know has none."""
    return [
        process
        for kind in ("Compute", "Graphics", "MPSCompute")
        for process in ask_optional(f"nvmlDeviceGet{kind}RunningProcesses", handle) or []
    ]


def _describe_process(process: Any, uuid: str) -> ProcessAnswer:  # noqa: ANN401 - a struct of the untyped binding
    memory = process.usedGpuMemory
    return ProcessAnswer(pid=int(process.pid), gpu_uuid=uuid, memory_bytes=None if memory is None else int(memory))
