"""From a change that was not made to the error that says why."""

from ds01.adapters.nvml.translation import failure_error, failure_text
from ds01.adapters.nvml.wire import Failure, Refusal
from ds01.errors import BackendError, ConflictError, Ds01Error, ForbiddenError, InvalidRequestError, NotFoundError

# nvmlReturn_t of what a change is refused with; anything else leaves the state unknown. Source: nvml.h.
_NOT_SUPPORTED = 3
_NO_PERMISSION = 4
_IN_USE = 19
_INSUFFICIENT_RESOURCES = 23

_CLASSES = {"not_found": NotFoundError, "invalid": InvalidRequestError, "conflict": ConflictError}


def refusal_error(refusal: Refusal) -> Ds01Error:
    """Return the error for a change that the child saw to be impossible."""
    return _CLASSES[refusal["kind"]](refusal["text"], hint=refusal["hint"] or None)


def change_error(failure: Failure) -> Ds01Error:
    """Return the error for a change that the driver did not make."""
    said = failure_text(failure)
    code = failure["code"]
    if code == _NO_PERMISSION:
        return ForbiddenError(
            f"The driver does not let this daemon change MIG: {said}.",
            hint="It must run as root: `systemctl status ds01d`.",
        )
    if code == _IN_USE:
        return ConflictError(
            f"The GPU is in use, so MIG was not changed: {said}.",
            hint="Stop what uses or watches it, monitoring too: `fuser -v /dev/nvidia*`.",
        )
    if code == _INSUFFICIENT_RESOURCES:
        return ConflictError(
            f"There is no room for the MIG instance: {said}.", hint="See what is there: `nvidia-smi mig -lgi`."
        )
    if code == _NOT_SUPPORTED:
        return ConflictError(f"The GPU or its driver cannot do that: {said}.", hint="`nvidia-smi mig -lgip`")
    error = failure_error(failure)
    return BackendError(f"MIG was not changed, or only in part: {said}.", hint=error.hint, details=error.details)
