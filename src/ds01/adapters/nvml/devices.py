"""The `Devices` port over NVML: one child process, deadlines, and a new child after a while when one failed."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ds01.adapters.nvml.pci import PCI_DEVICES, has_nvidia_gpu
from ds01.adapters.nvml.process import ChildProcess
from ds01.adapters.nvml.translation import failure_error, to_inventory, to_processes, to_samples
from ds01.adapters.nvml.wire import (
    LIBRARY_NOT_FOUND,
    Answer,
    InventoryAnswer,
    ProcessesAnswer,
    Reading,
    SampleAnswer,
)
from ds01.domain.gpu import DeviceSample, GpuProcess, Inventory, PhysicalGpu
from ds01.errors import BackendError


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the adapter waits, in seconds.

    Attributes:
        answer_s: For an answer of a child that has answered before.
        first_answer_s: For the first answer of a child, which loads the library: without persistence mode the driver
            then wakes every card, which takes seconds for each.
        retry_s: After a failure, before another child is tried; doubled with each further failure.
        longest_retry_s: Limit of that.
    """

    answer_s: float = 5.0
    first_answer_s: float = 30.0
    retry_s: float = 1.0
    longest_retry_s: float = 60.0


class NvmlDevices:
    """NVIDIA devices, read by a child process that is started at the first question.

    While devices fail, questions are answered at once with the failure until it is time for another try.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        pci_devices: Path = PCI_DEVICES,
        patience: Patience | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is started.

        Args:
            environment: Variables of the child; None for those of this process.
            pci_devices: Where the kernel lists PCI devices.
            patience: Deadlines and waiting times.
            monotonic: A clock in seconds that never goes back.
        """
        self._environment = environment
        self._pci_devices = pci_devices
        self._patience = patience or Patience()
        self._monotonic = monotonic
        self._turn = asyncio.Lock()
        self._child: ChildProcess | None = None
        self._child_has_answered = False
        self._stuck: list[ChildProcess] = []
        self._failures = 0
        self._last_failure: BackendError | None = None
        self._retry_at = 0.0
        self._known: dict[int, PhysicalGpu] = {}
        self._closed = False

    async def read_inventory(self) -> Inventory:
        """Return every device. No library and no device on the PCI bus is a known empty inventory.

        A card that fails is there, with its fault and what it told before.

        Raises:
            BackendTimeoutError: The driver does not answer.
            BackendError: The devices are unknown for another reason.
        """
        value = await self._read("inventory")
        if value is None:
            return Inventory()
        inventory = to_inventory(cast("InventoryAnswer", value), self._known)
        self._known = {card.index: card for card in inventory.devices}
        return inventory

    async def read_samples(self) -> dict[str, DeviceSample]:
        """Return one reading by device UUID, whole cards and MIG instances; none for a device that fails.

        Raises:
            BackendTimeoutError: The driver does not answer.
            BackendError: The devices are unknown for another reason.
        """
        return to_samples(cast("list[SampleAnswer]", await self._read("samples") or []))

    async def read_processes(self) -> list[GpuProcess]:
        """Return the processes that use devices, those on a card that fell off the bus left out.

        Raises:
            BackendTimeoutError: The driver does not answer.
            BackendError: The processes of at least one card are unknown: to leave them out would make it look idle.
        """
        value = await self._read("processes")
        return [] if value is None else to_processes(cast("ProcessesAnswer", value))

    async def release(self) -> None:
        """End the child, so that nothing of ours holds the devices (before a MIG change); a read starts another."""
        async with self._turn:
            await self._end_child()

    async def close(self) -> None:
        """End the child for good, in the middle of a question if need be."""
        self._closed = True
        if self._child is not None:
            self._child.kill()
        await self.release()

    async def _read(self, read: Reading) -> object | None:
        """Return the value of an answer, or None when the machine is known to have no NVIDIA GPU."""
        async with self._turn:
            self._require_time_to_try()
            try:
                answer = await self._ask(read)
                value = self._value_of(answer)
            except BackendError as failure:
                await self._note_failure(failure)
                raise
            self._failures = 0
            self._last_failure = None
            return value

    def _require_time_to_try(self) -> None:
        if self._closed:
            raise _closing()
        wait_s = self._retry_at - self._monotonic()
        if self._last_failure is not None and wait_s > 0:
            last = self._last_failure
            raise type(last)(
                f"{last.message} Next try in {wait_s:.0f} s.", hint=last.hint, details=last.details
            ) from last

    async def _ask(self, read: Reading) -> Answer:
        if self._child is None:
            self._reap()
            self._child = await ChildProcess.start(self._environment)
            self._child_has_answered = False
            if self._closed:
                raise _closing()
        patience = self._patience
        deadline_s = patience.answer_s if self._child_has_answered else patience.first_answer_s
        answer = await self._child.ask(read, deadline_s=deadline_s)
        self._child_has_answered = True
        return answer

    def _value_of(self, answer: Answer) -> object | None:
        failure = answer.get("failure")
        if failure is None:
            return answer["value"]
        if failure["code"] == LIBRARY_NOT_FOUND and not has_nvidia_gpu(self._pci_devices):
            return None  # the child stays: it finds the library once a driver is installed
        raise failure_error(failure)

    async def _note_failure(self, failure: BackendError) -> None:
        """End the child and set the time of the next try."""
        patience = self._patience
        wait_s = min(patience.retry_s * 2**self._failures, patience.longest_retry_s)
        self._failures = min(self._failures + 1, 32)  # enough doublings for any limit; keeps the number small
        self._last_failure = failure
        await self._end_child()
        self._retry_at = self._monotonic() + wait_s

    async def _end_child(self) -> None:
        """End the child; one that does not die, or that nobody waited for to the end, is reaped at the next start."""
        child, self._child = self._child, None
        if child is not None:
            self._stuck.append(child)
            await child.end()
        self._reap()

    def _reap(self) -> None:
        self._stuck = [child for child in self._stuck if not child.is_gone()]


def _closing() -> BackendError:
    return BackendError("The GPUs are not read any more: the daemon is closing.")
