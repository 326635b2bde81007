"""The `Devices` port over NVML: one child process, deadlines, and a new child after a while when one failed."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

from ds01.adapters.nvml.pci import PCI_DEVICES, has_nvidia_gpu
from ds01.adapters.nvml.process import ChildProcess
from ds01.adapters.nvml.refusal import change_error, refusal_error
from ds01.adapters.nvml.translation import (
    failure_error,
    to_event,
    to_instance,
    to_inventory,
    to_processes,
    to_samples,
)
from ds01.adapters.nvml.wire import (
    LIBRARY_NOT_FOUND,
    Answer,
    Arguments,
    InstanceAnswer,
    InventoryAnswer,
    ProcessesAnswer,
    Question,
    SampleAnswer,
)
from ds01.domain.devices.gpu import DeviceSample, GpuProcess, Inventory, MigInstance, PhysicalGpu
from ds01.domain.devices.gpu_event import DeviceEvent
from ds01.errors import BackendError, NotFoundError


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the adapter waits, in seconds.

    Attributes:
        answer_s: For an answer of a child that has answered before.
        first_answer_s: For the first answer of a child, which loads the library: without persistence mode the driver
            then wakes every card, which takes seconds for each.
        change_s: For a change of MIG, during which the driver may reset the card.
        retry_s: After a failure, before another child is tried; doubled with each further failure.
        longest_retry_s: Limit of that.
    """

    answer_s: float = 5.0
    first_answer_s: float = 30.0
    change_s: float = 60.0
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

    async def set_mig_mode(self, card_uuid: str, *, enabled: bool) -> None:
        """Turn MIG on or off; a card that needs a reset for it is pending afterwards.

        Raises:
            NotFoundError: There is no such card.
            ConflictError: It is in use, has instances, or knows no MIG.
            ForbiddenError: The daemon may not.
            BackendError: The driver failed: the state is unknown.
        """
        await self._change("set_mig_mode", {"card_uuid": card_uuid, "enabled": enabled})

    async def create_instance(self, card_uuid: str, profile: str, start: int) -> MigInstance:
        """Make a GPU instance with one compute instance that covers it, and return the MIG device.

        Raises:
            NotFoundError: There is no such card.
            InvalidRequestError: The card has no such profile, or it cannot begin there.
            ConflictError: MIG is off, or the place is taken.
            ForbiddenError: The daemon may not.
            BackendError: The driver failed: the state is unknown.
        """
        made = await self._change("create_instance", {"card_uuid": card_uuid, "profile": profile, "start": start})
        return to_instance(cast("InstanceAnswer", made))

    async def destroy_instance(self, mig_uuid: str) -> None:
        """Destroy a MIG device, and its GPU instance when that was the last one in it.

        Raises:
            NotFoundError: There is no such MIG device.
            ConflictError: Processes use it.
            ForbiddenError: The daemon may not.
            BackendError: The driver failed: the state is unknown.
        """
        await self._change("destroy_instance", {"mig_uuid": mig_uuid})

    async def wait_for_event(self, timeout: timedelta) -> DeviceEvent | None:  # noqa: ASYNC109 - as the port has it
        """Wait for the next report of the driver; None when none came in time, or when MIG was changed meanwhile.

        Raises:
            BackendTimeoutError: The driver does not answer.
            BackendError: The devices are unknown for another reason.
        """
        async with self._turn:
            is_reporting = await self._exchange("watch")
            child = self._child
        if not is_reporting or child is None:
            await asyncio.sleep(timeout.total_seconds())
            return None
        try:
            report = await child.next_report(timeout.total_seconds())
        except BackendError:
            if child is self._child or self._closed:
                raise
            return None
        if report is None:
            return None
        failure = report.get("failure")
        if failure is not None:
            raise failure_error(failure)
        return to_event(report)

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

    async def _read(self, question: Question) -> object | None:
        """Return the value of an answer, or None when the machine is known to have no NVIDIA GPU."""
        async with self._turn:
            return await self._exchange(question)

    async def _exchange(self, question: Question) -> object | None:
        self._require_time_to_try()
        try:
            value = self._value_of(await self._ask(question))
        except BackendError as failure:
            await self._note_failure(failure)
            raise
        self._forget_failures()
        return value

    async def _change(self, question: Question, arguments: Arguments) -> object:
        """Let a new child change something: one that has read or listens may hold what is to be changed."""
        async with self._turn:
            self._require_time_to_try()
            await self._end_child()
            try:
                answer = await self._ask(question, arguments)
                refusal, failure = answer.get("refusal"), answer.get("failure")
                if refusal is not None:
                    raise refusal_error(refusal)
                if failure is not None and not self._has_no_gpu(failure["code"]):
                    raise change_error(failure)
            except BackendError as unknown:
                await self._note_failure(unknown)
                raise
            self._forget_failures()
            if failure is not None:
                raise NotFoundError("This machine has no NVIDIA GPU.", hint="`ds01 gpus` shows the devices.")
            return answer["value"]

    def _forget_failures(self) -> None:
        self._failures = 0
        self._last_failure = None

    def _require_time_to_try(self) -> None:
        if self._closed:
            raise _closing()
        wait_s = self._retry_at - self._monotonic()
        if self._last_failure is not None and wait_s > 0:
            last = self._last_failure
            raise type(last)(
                f"{last.message} Next try in {wait_s:.0f} s.", hint=last.hint, details=last.details
            ) from last

    async def _ask(self, question: Question, change: Arguments | None = None) -> Answer:
        if self._child is None:
            self._reap()
            self._child = await ChildProcess.start(self._environment)
            self._child_has_answered = False
            if self._closed:
                raise _closing()
        patience = self._patience
        deadline_s = patience.answer_s if self._child_has_answered else patience.first_answer_s
        if change is not None:
            deadline_s += patience.change_s
        answer = await self._child.ask(question, change, deadline_s=deadline_s)
        self._child_has_answered = True
        return answer

    def _value_of(self, answer: Answer) -> object | None:
        failure = answer.get("failure")
        if failure is None:
            return answer["value"]
        if self._has_no_gpu(failure["code"]):
            return None  # the child stays: it finds the library once a driver is installed
        raise failure_error(failure)

    def _has_no_gpu(self, failure_code: int) -> bool:
        return failure_code == LIBRARY_NOT_FOUND and not has_nvidia_gpu(self._pci_devices)

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
