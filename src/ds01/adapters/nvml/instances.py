"""Reads what a card can be cut into, and into what it is cut. Runs in the child process only."""

import math
from collections.abc import Iterator
from ctypes import byref, c_uint

import pynvml

from ds01.adapters.nvml.calls import MIB, NOT_KNOWN, Handle, ask, ask_if_told, ask_optional
from ds01.adapters.nvml.wire import InstanceAnswer, ProfileAnswer

# Numbers of GPU instance profiles that a card or an older driver does not have.
_NO_SUCH_PROFILE = (*NOT_KNOWN, pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.NVML_ERROR_NOT_FOUND)
_WITH_MEDIA = pynvml.NVML_GPU_INSTANCE_PROFILE_1_SLICE_REV1

# What a card can be cut into never changes while its driver is loaded, and to ask it all takes dozens of calls.
_known_profiles: dict[str, list[ProfileAnswer]] = {}


def read_profiles(handle: Handle, uuid: str) -> list[ProfileAnswer]:
    """Describe what a card can be cut into; empty if the driver does not say."""
    key = f"{uuid} {ask('nvmlDeviceGetMemoryInfo', handle).total}"
    known = _known_profiles.get(key)
    if known is not None:
        return known
    found = [_read_profile(handle, number) for number in range(pynvml.NVML_GPU_INSTANCE_PROFILE_COUNT)]
    profiles = [profile for profile in found if profile is not None]
    if profiles and all(profile["placements"] for profile in profiles):
        _known_profiles[key] = profiles
    return profiles


def slices_of(profiles: list[ProfileAnswer]) -> int:
    """Return the compute slices of a card: those of the largest instance; 0 if it does not say."""
    return max((profile["compute_slices"] for profile in profiles), default=0)


def _read_profile(handle: Handle, number: int) -> ProfileAnswer | None:
    """Describe one kind of GPU instance; None if the card has no such kind.

    Source: nvmlDeviceGetGpuInstanceProfileInfoV; drivers before R515 have only the first layout of the answer.
    """
    for version in (2, 1):
        try:
            info = ask("nvmlDeviceGetGpuInstanceProfileInfo", handle, number, version=version)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                continue
            if error.value in _NO_SUCH_PROFILE:
                return None
            raise
        slices, memory_mib = int(info.sliceCount), int(info.memorySizeMB)
        told = str(info.name).removeprefix("MIG ") if version > 1 else ""
        media = "+me" if number == _WITH_MEDIA else ""
        places = _read_places(handle, int(info.id))
        return ProfileAnswer(
            name=told or f"{slices}g.{math.ceil(memory_mib / 1024)}gb{media}",
            id=int(info.id),
            compute_slices=slices,
            memory_slices=max((size for _, size in places), default=0),
            memory_bytes=memory_mib * MIB,
            placements=[start for start, _ in places],
            max_instances=int(info.instanceCount),
        )
    return None


def _read_places(handle: Handle, profile_id: int) -> list[tuple[int, int]]:
    """Return first memory slice and number of memory slices of every place; empty if the driver does not say.

    Source: nvmlDeviceGetGpuInstancePossiblePlacements_v2, which lists taken places too.
    """
    count = c_uint(0)
    function = "nvmlDeviceGetGpuInstancePossiblePlacements"
    if ask_if_told(function, handle, profile_id, None, byref(count)) is None or count.value == 0:
        return []
    places = (pynvml.c_nvmlGpuInstancePlacement_t * count.value)()
    ask(function, handle, profile_id, places, byref(count))
    return sorted((int(place.start), int(place.size)) for place in places[: count.value])


def mig_devices(handle: Handle) -> Iterator[tuple[int, Handle]]:
    """Yield index and handle of the MIG devices of a card; indices may have gaps."""
    for slot in range(ask_optional("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        try:
            yield slot, ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, slot)
        except pynvml.NVMLError as error:
            if error.value not in {pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_NOT_SUPPORTED}:
                raise


def read_instance(handle: Handle, slot: int, mig: Handle) -> InstanceAnswer:
    """Describe one MIG device of a card."""
    attributes = ask("nvmlDeviceGetAttributes", mig)
    slices = int(attributes.gpuInstanceSliceCount)
    memory_mib = int(attributes.memorySizeMB)
    # The name is "<model> MIG <profile>"; a driver that leaves the profile out is given the name it would have.
    _, _, profile = str(ask("nvmlDeviceGetName", mig)).partition(" MIG ")
    gpu_instance_id = int(ask("nvmlDeviceGetGpuInstanceId", mig))
    # Only root may ask where an instance lies.
    instance = ask_if_told("nvmlDeviceGetGpuInstanceById", handle, gpu_instance_id)
    place = ask("nvmlGpuInstanceGetInfo", instance).placement if instance is not None else None
    return InstanceAnswer(
        uuid=str(ask("nvmlDeviceGetUUID", mig)),
        profile=profile or f"{slices}g.{math.ceil(memory_mib / 1024)}gb",
        memory_bytes=memory_mib * MIB,
        compute_slices=slices,
        gpu_instance_id=gpu_instance_id,
        compute_instance_id=int(ask("nvmlDeviceGetComputeInstanceId", mig)),
        index=slot,
        start=int(place.start) if place is not None else None,
        memory_slices=int(place.size) if place is not None else 0,
    )
