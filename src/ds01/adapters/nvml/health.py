"""Reads what a card itself says is wrong with it. Runs in the child process only."""

import pynvml

from ds01.adapters.nvml.calls import Handle, ask_if_told

# Source: nvml.h, nvmlDeviceGpuRecoveryAction_t.
_ACTIONS = {
    pynvml.NVML_GPU_RECOVERY_ACTION_GPU_RESET: "the driver asks for a reset of it",
    pynvml.NVML_GPU_RECOVERY_ACTION_NODE_REBOOT: "the driver asks for a reboot",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_P2P: "the driver asks to end its traffic with other GPUs",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET: "the driver asks to end what runs on it and reset it",
}


def read_illness(handle: Handle) -> str | None:
    """Return why a card must not get new work, in one phrase; None if it says nothing of the kind.

    A row or page of memory that waits to be replaced needs a reset; until then the broken one is in use.

    Source: NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, nvmlDeviceGetRemappedRows, nvmlDeviceGetRetiredPagesPendingStatus;
    NVIDIA, "GPU Memory Error Management".
    """
    action = _recovery_action(handle)
    if action:
        return _ACTIONS.get(action, f"the driver asks for the recovery action {action}")
    rows = ask_if_told("nvmlDeviceGetRemappedRows", handle)
    if rows is not None:
        _, _, is_pending, has_failed = rows
        if has_failed:
            return "a broken row of its memory could not be replaced"
        if is_pending:
            return "a broken row of its memory waits for a reset to be replaced"
    if ask_if_told("nvmlDeviceGetRetiredPagesPendingStatus", handle):
        return "a broken page of its memory waits for a reset to be retired"
    return None


def _recovery_action(handle: Handle) -> int:
    """Return what the driver wants done; 0 if that is nothing, or if it is too old to say."""
    fields = ask_if_told("nvmlDeviceGetFieldValues", handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    if not fields or fields[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return 0
    return int(fields[0].value.uiVal)
