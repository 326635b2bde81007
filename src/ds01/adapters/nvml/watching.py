"""Waits for what the driver reports, in a thread of the child process beside the one that answers questions."""

import contextlib
import threading
from collections.abc import Callable

import pynvml

from ds01.adapters.nvml.calls import Handle, ask, describe_failure, reachable_cards
from ds01.adapters.nvml.wire import ReportAnswer

WAIT_MS = 1000
AFTER_LOSS_S = 5.0
"""A set with a lost card answers at once, again and again: the next look must not be at once."""

# Source: nvml.h, nvmlEventType*.
_KINDS = {
    pynvml.nvmlEventTypeXidCriticalError: "xid",
    pynvml.nvmlEventTypeDoubleBitEccError: "ecc",
    pynvml.nvmlEventMigConfigChange: "mig_changed",
    pynvml.nvmlEventTypeDramRetirementFailure: "health",
    pynvml.nvmlEventTypeGpuUnavailableError: "health",
    pynvml.nvmlEventTypeGpuRecoveryAction: "health",
}
_WANTED = sum(_KINDS)
_NO_INSTANCE = 0xFFFFFFFF


class Watcher:
    """Hears the reports of all cards that answer. NVML may be called from several threads."""

    def __init__(self, tell: Callable[[ReportAnswer], None]) -> None:
        """Prepare.

        Args:
            tell: Takes a report, in the thread of the watcher.
        """
        self._tell = tell
        self._cards: set[str] = set()
        self._set: Handle | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Event()

    def watch(self) -> bool:
        """Hear the cards that are there now. Called again, it takes up those that came since.

        Returns:
            Whether any card reports.

        Raises:
            pynvml.NVMLError: The library as a whole failed.
        """
        cards = {uuid: handle for handle, uuid in reachable_cards()}
        is_alive = self._thread is not None and self._thread.is_alive()
        if cards.keys() == self._cards and is_alive:
            return True
        heard = ask("nvmlEventSetCreate")
        registered = [uuid for uuid, handle in cards.items() if _register(handle, heard)]
        if not registered:
            ask("nvmlEventSetFree", heard)
            return False
        self._set, self._cards = heard, set(cards)
        self._changed.set()
        if not is_alive:
            self._thread = threading.Thread(target=self._listen, daemon=True, name="nvml-events")
            self._thread.start()
        return True

    def _listen(self) -> None:
        heard = self._set
        while True:
            if heard is not self._set:
                with contextlib.suppress(pynvml.NVMLError):  # what it still had is not worth an end
                    ask("nvmlEventSetFree", heard)
                heard = self._set
            self._changed.clear()
            try:
                data = ask("nvmlEventSetWait", heard, WAIT_MS)
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_TIMEOUT:
                    continue
                if error.value != pynvml.NVML_ERROR_GPU_IS_LOST:
                    self._tell(ReportAnswer(failure=describe_failure(error)))
                    return
                self._tell(ReportAnswer(kind="lost", gpu_uuid=None, code=None, gpu_instance_id=None))
                self._changed.wait(AFTER_LOSS_S)
                continue
            self._tell(_described(data))


def _register(handle: Handle, heard: Handle) -> bool:
    """Add what a card can report of what we want; a card that reports nothing, or fails, is watched by comparing."""
    try:
        known = ask("nvmlDeviceGetSupportedEventTypes", handle) & _WANTED
        if known:
            ask("nvmlDeviceRegisterEvents", handle, known, heard)
    except pynvml.NVMLError:
        return False
    return bool(known)


def _described(data: Handle) -> ReportAnswer:
    try:
        uuid = str(ask("nvmlDeviceGetUUID", data.device))
    except pynvml.NVMLError:
        uuid = None  # it fell off the bus, which is what it reports
    kind = _KINDS.get(data.eventType, "health")
    return ReportAnswer(
        kind=kind,
        gpu_uuid=uuid,
        code=int(data.eventData) if kind == "xid" else None,
        gpu_instance_id=None if data.gpuInstanceId == _NO_INSTANCE else int(data.gpuInstanceId),
    )
