"""Devices that are as a test says, with the rules of the real ones; tests/contract/test_devices.py runs on both."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from ds01.domain.devices.gpu import DeviceSample, GpuProcess, Inventory, MigInstance, MigProfile, PhysicalGpu
from ds01.domain.devices.gpu_event import DeviceEvent
from ds01.errors import BackendError, ConflictError, ForbiddenError, InvalidRequestError, NotFoundError

GIB = 1024**3
SWITCHES_AT_ONCE = (9, 0)
"""Cards of this compute capability and later change their MIG mode without a reset."""

A100_PROFILES = (
    MigProfile("1g.5gb", 19, 1, 1, 5 * GIB, (0, 1, 2, 3, 4, 5, 6), 7),
    MigProfile("2g.10gb", 14, 2, 2, 10 * GIB, (0, 2, 4), 3),
    MigProfile("3g.20gb", 9, 3, 4, 20 * GIB, (0, 4), 2),
    MigProfile("4g.20gb", 5, 4, 4, 20 * GIB, (0,), 1),
    MigProfile("7g.40gb", 0, 7, 8, 40 * GIB, (0,), 1),
    MigProfile("1g.5gb+me", 20, 1, 1, 5 * GIB, (0, 1, 2, 3, 4, 5, 6), 1),
    MigProfile("1g.10gb", 15, 1, 2, 10 * GIB, (0, 2, 4, 6), 4),
)
"""What an A100 with 40 GB can be cut into. Source: NVIDIA MIG User Guide, A100 profiles."""


def whole_gpu(index: int, model: str = "NVIDIA A100-PCIE-40GB") -> PhysicalGpu:
    """Return a card without MIG."""
    bus = f"00000000:0{index}:00.0"
    return PhysicalGpu(f"GPU-{index}", index, model, 40 * GIB, (8, 0), bus, index, 7, mig_profiles=A100_PROFILES)


def mig_gpu(index: int, *slices: int) -> PhysicalGpu:
    """Return a card in MIG mode with instances of so many slices each, each at the first place that is free."""
    instances: list[MigInstance] = []
    for place, size in enumerate(slices):
        profile = next(one for one in A100_PROFILES if one.compute_slices == size)
        start = next((at for at in profile.placements if _is_free(instances, at, profile.memory_slices)), None)
        name = f"{size}g.{5 * size}gb"
        ids = MigInstance(f"MIG-{index}-{place}", name, 5 * size * GIB, size, place + 1, 0, place)
        instances.append(replace(ids, start=start, memory_slices=profile.memory_slices))
    return replace(whole_gpu(index), mig_enabled=True, mig_pending=True, instances=tuple(instances))


def _is_free(instances: "list[MigInstance] | tuple[MigInstance, ...]", start: int, size: int) -> bool:
    return not any(
        one.start is not None and one.start < start + size and start < one.start + one.memory_slices
        for one in instances
    )


def _free_number(taken: Iterator[int], first: int) -> int:
    used = set(taken)
    return next(number for number in range(first, first + len(used) + 1) if number not in used)


@dataclass
class FakeDevices:
    """Devices that are as a test says.

    Attributes:
        inventory: What there is; changes of MIG change it.
        processes: Who computes where; a device in use cannot be changed.
        samples: Readings.
        failure: Everything fails with this.
        may_change: The daemon has the right to change MIG.
        made: How many instances have been made; their UUIDs count on.
    """

    inventory: Inventory = field(
        default_factory=lambda: Inventory((whole_gpu(0), mig_gpu(1, 3, 1, 1)), "560.35.03", (12, 6))
    )
    processes: list[GpuProcess] = field(default_factory=list)
    samples: dict[str, DeviceSample] = field(default_factory=dict)
    failure: BackendError | None = None
    may_change: bool = True
    made: int = 0
    _reports: "asyncio.Queue[DeviceEvent]" = field(default_factory=asyncio.Queue)

    async def read_inventory(self) -> Inventory:
        self._may_fail()
        return self.inventory

    async def read_samples(self) -> dict[str, DeviceSample]:
        self._may_fail()
        return dict(self.samples)

    async def read_processes(self) -> list[GpuProcess]:
        self._may_fail()
        return list(self.processes)

    async def set_mig_mode(self, card_uuid: str, *, enabled: bool) -> None:
        card = self._changeable(card_uuid)
        if card.slices_total == 0:
            raise ConflictError(f"GPU {card.index} knows no MIG.")
        if card.mig_enabled == card.mig_pending == enabled:
            return
        if card.instances or any(process.gpu_uuid == card.uuid for process in self.processes):
            raise ConflictError(f"GPU {card.index} is in use.")
        is_on = enabled if card.compute_capability >= SWITCHES_AT_ONCE else card.mig_enabled
        self._put(replace(card, mig_enabled=is_on, mig_pending=enabled))

    async def create_instance(self, card_uuid: str, profile: str, start: int) -> MigInstance:
        card = self._changeable(card_uuid)
        wanted = next((one for one in card.mig_profiles if one.name == profile), None)
        if wanted is None or start not in wanted.placements:
            raise InvalidRequestError(f"GPU {card.index} has no {profile} at {start}.")
        if not card.mig_enabled:
            raise ConflictError(f"MIG is off on GPU {card.index}.")
        same = sum(1 for one in card.instances if one.profile == profile)
        if same >= wanted.max_instances or not _is_free(card.instances, start, wanted.memory_slices):
            raise ConflictError(f"The place {start} of GPU {card.index} is taken.")
        self.made += 1
        made = MigInstance(
            uuid=f"MIG-made-{self.made}",
            profile=profile,
            memory_bytes=wanted.memory_bytes,
            compute_slices=wanted.compute_slices,
            gpu_instance_id=_free_number((one.gpu_instance_id for one in card.instances), 1),
            compute_instance_id=0,
            index=_free_number((one.index for one in card.instances), 0),
            start=start,
            memory_slices=wanted.memory_slices,
        )
        self._put(replace(card, instances=tuple(sorted((*card.instances, made), key=lambda one: one.index))))
        return made

    async def destroy_instance(self, mig_uuid: str) -> None:
        card = next((card for card in self.inventory.devices if _has(card, mig_uuid)), None)
        if card is None:
            self._may_fail()
            raise NotFoundError(f"There is no MIG device {mig_uuid}.")
        self._changeable(card.uuid)
        if any(process.gpu_uuid == mig_uuid for process in self.processes):
            raise ConflictError(f"{mig_uuid} is in use.")
        self._put(replace(card, instances=tuple(one for one in card.instances if one.uuid != mig_uuid)))

    async def wait_for_event(self, timeout: timedelta) -> DeviceEvent | None:  # noqa: ASYNC109 - as the port has it
        self._may_fail()
        if not self._reports.empty():
            return self._reports.get_nowait()
        try:
            # not wait_for: before Python 3.12 it swallows a cancellation that comes together with the report
            async with asyncio.timeout(timeout.total_seconds()):
                return await self._reports.get()
        except TimeoutError:
            return None

    async def close(self) -> None:
        """Nothing is open."""

    def report(self, event: DeviceEvent) -> None:
        """Let the driver report something."""
        self._reports.put_nowait(event)

    def reset(self, card_uuid: str) -> None:
        """Reset a card: what is pending takes effect."""
        self.change(card_uuid, lambda card: replace(card, mig_enabled=card.mig_pending, instances=()))

    def change(self, card_uuid: str, how: Callable[[PhysicalGpu], PhysicalGpu]) -> None:
        """Replace a card by what `how` makes of it."""
        self._put(how(next(card for card in self.inventory.devices if card.uuid == card_uuid)))

    def unplug(self, card_uuid: str) -> PhysicalGpu:
        """Take a card out: the driver does not list it any more."""
        gone = next(card for card in self.inventory.devices if card.uuid == card_uuid)
        left = tuple(card for card in self.inventory.devices if card is not gone)
        self.inventory = replace(self.inventory, devices=left)
        return gone

    def _changeable(self, card_uuid: str) -> PhysicalGpu:
        self._may_fail()
        card = next((card for card in self.inventory.devices if card.uuid == card_uuid), None)
        if card is None:
            raise NotFoundError(f"There is no GPU {card_uuid}.")
        if not self.may_change:
            raise ForbiddenError("The daemon may not change MIG.")
        return card

    def _put(self, card: PhysicalGpu) -> None:
        cards = tuple(card if other.uuid == card.uuid else other for other in self.inventory.devices)
        self.inventory = replace(self.inventory, devices=cards)

    def _may_fail(self) -> None:
        if self.failure is not None:
            raise self.failure


def _has(card: PhysicalGpu, mig_uuid: str) -> bool:
    return any(one.uuid == mig_uuid for one in card.instances)
