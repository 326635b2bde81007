"""Changes MIG through the vendor's binding. Runs in the child process only: any of these calls may hang.

What can be seen to be impossible is refused before the driver is asked, with a reason that a person can act on.
"""

import contextlib
from collections.abc import Iterator
from ctypes import byref, c_uint
from typing import Literal

import pynvml

from ds01.adapters.nvml.calls import NOT_KNOWN, Handle, ask, ask_optional
from ds01.adapters.nvml.instances import mig_devices, read_instance, read_profiles
from ds01.adapters.nvml.sampling import list_processes
from ds01.adapters.nvml.wire import InstanceAnswer, ProfileAnswer, Refusal

_MOST_INSTANCES = 16


class RefusedError(Exception):
    """The change is not made, and nothing was changed."""

    def __init__(self, kind: Literal["not_found", "invalid", "conflict"], text: str, hint: str = "") -> None:
        super().__init__(text)
        self.refusal = Refusal(kind=kind, text=text, hint=hint)


def set_mig_mode(card_uuid: str, *, enabled: bool) -> bool:
    """Turn MIG on or off and return True.

    Source: nvmlDeviceSetMigMode: it succeeds even where the mode stays pending, and says why in `activationStatus`.

    Raises:
        RefusedError: No such card, no MIG, in use.
        pynvml.NVMLError: The driver refused or failed.
    """
    handle, index = _card(card_uuid)
    modes = ask_optional("nvmlDeviceGetMigMode", handle)
    if modes is None:
        raise RefusedError("conflict", f"GPU {index} knows no MIG.", "`ds01 gpus` shows the models.")
    current, pending = (bool(mode) for mode in modes)
    if current == pending == enabled:
        return True
    if current != enabled:
        _require_unused(handle, index, is_cut=current)
    status = ask("nvmlDeviceSetMigMode", handle, int(enabled))
    if status not in {pynvml.NVML_SUCCESS, pynvml.NVML_ERROR_RESET_REQUIRED}:
        with contextlib.suppress(pynvml.NVMLError):  # what is wrong is said in any case
            ask("nvmlDeviceSetMigMode", handle, int(pending))
        error = pynvml.NVMLError(status)
        error.add_note("nvmlDeviceSetMigMode")
        raise error
    return True


def create_instance(card_uuid: str, profile: str, start: int) -> InstanceAnswer:
    """Make a GPU instance with one compute instance as large, and describe the MIG device.

    A GPU instance that lies there already without a compute instance was left by a creation that was broken off: it is
    taken up.

    Raises:
        RefusedError: No such card or profile, MIG is off, the place is taken.
        pynvml.NVMLError: The driver refused or failed.
    """
    handle, index = _card(card_uuid)
    wanted = _wanted_profile(handle, index, card_uuid, profile, start)
    modes = ask_optional("nvmlDeviceGetMigMode", handle)
    if modes is None or not modes[0]:
        raise RefusedError("conflict", f"MIG is off on GPU {index}.", f"Turn it on: `nvidia-smi -i {index} -mig 1`.")
    instance = _left_behind(handle, wanted, start) or _new_instance(handle, index, wanted, start)
    try:
        compute = _new_compute_instance(instance, wanted["compute_slices"])
    except (pynvml.NVMLError, RefusedError):
        with contextlib.suppress(pynvml.NVMLError):  # the first failure is the one to tell
            ask("nvmlGpuInstanceDestroy", instance)
        raise
    ids = int(ask("nvmlGpuInstanceGetInfo", instance).id), int(ask("nvmlComputeInstanceGetInfo", compute).id)
    for slot, mig in mig_devices(handle):
        found = read_instance(handle, slot, mig)
        if (found["gpu_instance_id"], found["compute_instance_id"]) == ids:
            return found
    raise RefusedError("conflict", f"The {profile} on GPU {index} was made, and is gone already.", "Try it again.")


def destroy_instance(mig_uuid: str) -> bool:
    """Destroy a MIG device, and its GPU instance when nothing else is in it; return True.

    Raises:
        RefusedError: There is none of that name, or it is in use.
        pynvml.NVMLError: The driver refused or failed.
    """
    mig = _handle(mig_uuid, f"There is no MIG device {mig_uuid}.")
    card = ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", mig)
    pids = [process.pid for process, _ in list_processes(mig)]
    if pids:
        raise RefusedError("conflict", f"The MIG device {mig_uuid} is in use by {_named(pids)}.", _hint_for(pids))
    instance = ask("nvmlDeviceGetGpuInstanceById", card, ask("nvmlDeviceGetGpuInstanceId", mig))
    compute_id = ask("nvmlDeviceGetComputeInstanceId", mig)
    ask("nvmlComputeInstanceDestroy", ask("nvmlGpuInstanceGetComputeInstanceById", instance, compute_id))
    if not _has_compute_instances(instance):
        ask("nvmlGpuInstanceDestroy", instance)
    return True


def _handle(uuid: str, missing: str) -> Handle:
    try:
        return ask("nvmlDeviceGetHandleByUUID", uuid)
    except pynvml.NVMLError as error:
        if error.value in {pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT}:
            raise RefusedError("not_found", missing, "`ds01 gpus` shows the devices.") from error
        raise


def _card(uuid: str) -> tuple[Handle, int]:
    """Return a card and its index, which is what people call it by."""
    handle = _handle(uuid, f"There is no GPU {uuid}.")
    return handle, int(ask("nvmlDeviceGetIndex", handle))


def _require_unused(handle: Handle, index: int, *, is_cut: bool) -> None:
    if is_cut and any(True for _ in mig_devices(handle)):
        raise RefusedError(
            "conflict", f"GPU {index} has MIG instances.", f"Destroy them first: `nvidia-smi mig -i {index} -dci`."
        )
    pids = [process.pid for process, _ in list_processes(handle)]
    if pids:
        raise RefusedError("conflict", f"GPU {index} is in use by {_named(pids)}.", _hint_for(pids))


def _named(pids: list[int]) -> str:
    return ("the process " if len(set(pids)) == 1 else "the processes ") + ", ".join(map(str, sorted(set(pids))))


def _hint_for(pids: list[int]) -> str:
    return f"See whose it is: `ps -o user,pid,cmd -p {','.join(map(str, sorted(set(pids))))}`."


def _wanted_profile(handle: Handle, index: int, uuid: str, name: str, start: int) -> ProfileAnswer:
    profiles = read_profiles(handle, uuid)
    wanted = next((profile for profile in profiles if profile["name"] == name), None)
    if wanted is None:
        known = ", ".join(profile["name"] for profile in profiles) or "nothing"
        raise RefusedError("invalid", f"GPU {index} cannot be cut into {name}.", f"It can be cut into: {known}.")
    if start not in wanted["placements"]:
        places = ", ".join(map(str, wanted["placements"]))
        raise RefusedError("invalid", f"A {name} cannot begin at {start} on GPU {index}.", f"It can at: {places}.")
    return wanted


def _instances_of(handle: Handle, profile: ProfileAnswer) -> Iterator[Handle]:
    count = c_uint(_MOST_INSTANCES)
    found = (pynvml.c_nvmlGpuInstance_t * _MOST_INSTANCES)()
    ask("nvmlDeviceGetGpuInstances", handle, profile["id"], found, byref(count))
    yield from found[: count.value]


def _left_behind(handle: Handle, profile: ProfileAnswer, start: int) -> Handle | None:
    for instance in _instances_of(handle, profile):
        if ask("nvmlGpuInstanceGetInfo", instance).placement.start == start and not _has_compute_instances(instance):
            return instance
    return None


def _new_instance(handle: Handle, index: int, profile: ProfileAnswer, start: int) -> Handle:
    place = pynvml.c_nvmlGpuInstancePlacement_t(start, profile["memory_slices"])
    try:
        return ask("nvmlDeviceCreateGpuInstanceWithPlacement", handle, profile["id"], byref(place))
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_INSUFFICIENT_RESOURCES:
            raise RefusedError(
                "conflict",
                f"There is no room for a {profile['name']} at {start} on GPU {index}.",
                f"See what is there: `nvidia-smi mig -i {index} -lgi`.",
            ) from error
        raise


def _compute_profiles(instance: Handle) -> Iterator[tuple[int, int]]:
    """Yield id and slices of the compute instances that fit into a GPU instance."""
    for number in range(pynvml.NVML_COMPUTE_INSTANCE_PROFILE_COUNT):
        try:
            info = ask(
                "nvmlGpuInstanceGetComputeInstanceProfileInfo",
                instance,
                number,
                pynvml.NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED,
                version=1,
            )
        except pynvml.NVMLError as error:
            if error.value in {*NOT_KNOWN, pynvml.NVML_ERROR_INVALID_ARGUMENT}:
                continue
            raise
        yield int(info.id), int(info.sliceCount)


def _new_compute_instance(instance: Handle, slices: int) -> Handle:
    profile_id = next((number for number, size in _compute_profiles(instance) if size == slices), None)
    if profile_id is None:
        raise RefusedError("conflict", f"The driver knows no compute instance of {slices} slices.")
    return ask("nvmlGpuInstanceCreateComputeInstance", instance, profile_id)


def _has_compute_instances(instance: Handle) -> bool:
    for profile_id, _ in _compute_profiles(instance):
        count = c_uint(_MOST_INSTANCES)
        found = (pynvml.c_nvmlComputeInstance_t * _MOST_INSTANCES)()
        ask("nvmlGpuInstanceGetComputeInstances", instance, profile_id, found, byref(count))
        if count.value:
            return True
    return False
