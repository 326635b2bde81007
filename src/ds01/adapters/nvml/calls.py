"""Calls of the vendor's binding, with the name of the function in every error."""

from collections.abc import Iterator
from typing import Any

import pynvml

from ds01.adapters.nvml.wire import Failure

MIB = 1 << 20

# The driver or the card does not know the thing asked for: a fact about the device, not a fault of it.
NOT_KNOWN = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
# The rest of what a reading may meet without anything being wrong: a driver that tells it to root only.
_NOT_TOLD = (*NOT_KNOWN, pynvml.NVML_ERROR_NO_PERMISSION, pynvml.NVML_ERROR_NOT_FOUND)

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
        if error.value in NOT_KNOWN:
            return None
        raise


def ask_if_told(function: str, *arguments: Any) -> Any:  # noqa: ANN401 - the binding is untyped
    """Call a function of the binding; None where it is not known, not there, or not told to this user."""
    try:
        return ask(function, *arguments)
    except pynvml.NVMLError as error:
        if error.value in _NOT_TOLD:
            return None
        raise


def reachable_cards() -> Iterator[tuple[Handle, str]]:
    """Yield handle and UUID of the cards that answer to their name; the inventory says what is wrong with others."""
    for index in range(ask("nvmlDeviceGetCount")):
        try:
            handle = ask("nvmlDeviceGetHandleByIndex", index)
            uuid = str(ask("nvmlDeviceGetUUID", handle))
        except pynvml.NVMLError:
            continue
        yield handle, uuid


def describe_failure(error: pynvml.NVMLError) -> Failure:
    """Return an error of the binding as it is sent to the daemon."""
    notes = getattr(error, "__notes__", ["NVML"])
    return Failure(call=str(notes[0]), code=int(error.value), text=str(error).rstrip("."))
