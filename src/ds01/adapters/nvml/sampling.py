"""Measures devices and lists who computes on them. Runs in the child process only: any of these calls may hang."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pynvml

from ds01.adapters.nvml.calls import Handle, ask, ask_optional, describe_failure, reachable_cards
from ds01.adapters.nvml.instances import mig_devices
from ds01.adapters.nvml.wire import ProcessAnswer, ProcessesAnswer, SampleAnswer

# A card that is gone for good runs no processes; every other failure leaves its processes unknown.
_GONE = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_GPU_NOT_FOUND)
# gpuInstanceId of a process outside MIG. Source: nvml.h, nvmlProcessInfo_t.
_NO_INSTANCE = 0xFFFFFFFF
# The driver keeps samples of a few seconds, several in each; the newest is how it is now.
_WINDOW_S = 2.0
_NO_SAMPLE = (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_SUCCESS)
_UNCORRECTED = (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
# That the GPU idles or that somebody set its clock is no reason to wonder. Source: nvml.h, nvmlClocksEventReason*.
_THROTTLE_REASONS = {
    pynvml.nvmlClocksThrottleReasonSwPowerCap: "power cap",
    pynvml.nvmlClocksThrottleReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksThrottleReasonSyncBoost: "sync boost",
    pynvml.nvmlClocksThrottleReasonSwThermalSlowdown: "temperature",
    pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "temperature, hardware",
    pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "power brake",
}


def read_samples() -> list[SampleAnswer]:
    """Measure every card and MIG device that can be reached.

    Raises:
        pynvml.NVMLError: The library as a whole failed.
    """
    samples: list[SampleAnswer] = []
    for handle, uuid in reachable_cards():
        samples.append(_sample_card(handle, uuid))
        try:
            samples.extend(_sample_instance(mig) for _, mig in mig_devices(handle))
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
        sm_clock_mhz=_whole(_figure(lambda: ask("nvmlDeviceGetClockInfo", handle, pynvml.NVML_CLOCK_SM))),
        throttle_reasons=_throttle_reasons(handle),
        ecc_uncorrected=_whole(_figure(lambda: ask("nvmlDeviceGetTotalEccErrors", handle, *_UNCORRECTED))),
    )


def _throttle_reasons(handle: Handle) -> list[str]:
    """Return why the clock is lower than it could be; older drivers know the call by another name."""
    for function in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
        mask = _figure(partial(ask, function, handle))
        if mask is not None:
            return [reason for bit, reason in _THROTTLE_REASONS.items() if int(mask) & bit]
    return []


def _sample_instance(mig: Handle) -> SampleAnswer:
    """Memory is all that drivers measure for one MIG device; power and temperature belong to the card."""
    return SampleAnswer(
        uuid=str(ask("nvmlDeviceGetUUID", mig)),
        utilization_ratio=None,
        memory_used_bytes=_whole(_figure(lambda: ask("nvmlDeviceGetMemoryInfo", mig).used)),
        power_w=None,
        energy_j=None,
        temperature_c=None,
        sm_clock_mhz=None,
        throttle_reasons=[],
        ecc_uncorrected=None,
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
    migs = [(str(ask("nvmlDeviceGetUUID", mig)), mig) for _, mig in mig_devices(handle)]
    found: dict[tuple[int, str], ProcessAnswer] = {}
    uuid_of_instance: dict[tuple[int, int], str] = {}
    for mig_uuid, mig in migs:
        ids = int(ask("nvmlDeviceGetGpuInstanceId", mig)), int(ask("nvmlDeviceGetComputeInstanceId", mig))
        uuid_of_instance[ids] = mig_uuid
        for process, is_compute in list_processes(mig):
            found.setdefault((process.pid, mig_uuid), _describe_process(process, mig_uuid, is_compute=is_compute))
    for process, is_compute in _processes_of_all_instances(handle) if migs else list_processes(handle):
        ids = (process.gpuInstanceId, process.computeInstanceId)
        place = uuid if ids[0] == _NO_INSTANCE else uuid_of_instance.get(ids, uuid)
        found.setdefault((process.pid, place), _describe_process(process, place, is_compute=is_compute))
    if found and not migs:
        _add_utilization(handle, found.values())
    return list(found.values())


def _add_utilization(handle: Handle, processes: Iterable[ProcessAnswer]) -> None:
    """Say how busy each keeps the card. One without a sample has done nothing lately; some drivers say nothing at all.

    Source: nvml.h, nvmlDeviceGetProcessUtilization: percent since the sample before, time in microseconds since 1970.
    """
    since_us = round((time.time() - _WINDOW_S) * 1e6)
    try:
        samples = ask("nvmlDeviceGetProcessUtilization", handle, since_us)
    except pynvml.NVMLError as error:
        if error.value not in _NO_SAMPLE:
            return
        samples = []
    newest = {sample.pid: sample for sample in sorted(samples, key=lambda sample: int(sample.timeStamp))}
    for process in processes:
        sample = newest.get(process["pid"])
        process["utilization_ratio"] = min(int(sample.smUtil), 100) / 100 if sample is not None else 0.0


def _processes_of_all_instances(handle: Handle) -> list[tuple[Any, bool]]:
    """Ask a card in MIG mode for everybody's processes, which drivers grant to root only.

    It finds those in instances that exist no more; the others were found at their instances.
    """
    try:
        return list_processes(handle)
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
            return []
        raise


def list_processes(handle: Handle) -> list[tuple[Any, bool]]:
    """Return every process and whether it computes, those that do first; a kind not known to a driver has none."""
    return [
        (process, kind != "Graphics")
        for kind in ("Compute", "MPSCompute", "Graphics")
        for process in ask_optional(f"nvmlDeviceGet{kind}RunningProcesses", handle) or []
    ]


def _describe_process(process: Any, uuid: str, *, is_compute: bool) -> ProcessAnswer:  # noqa: ANN401 - a struct
    memory = process.usedGpuMemory
    memory_bytes = None if memory is None else int(memory)
    pid = int(process.pid)
    return ProcessAnswer(
        pid=pid, gpu_uuid=uuid, memory_bytes=memory_bytes, is_compute=is_compute, utilization_ratio=None
    )
