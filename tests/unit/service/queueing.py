"""A stage whose machine has a queue: what tests of it set up again and again."""

from dataclasses import replace
from datetime import timedelta

from ds01.daemon.services import Services
from ds01.domain.devices.gpu import Inventory
from ds01.domain.rules.access import Caller
from ds01.domain.rules.limit import Limits
from ds01.domain.rules.site import Lifecycle
from ds01.domain.scheduling.queue import QueueEntry
from tests.fake_store import MemoryStore
from tests.fakes import DEFAULT_LIMITS, whole_gpu
from tests.unit.service.stage import ALICE_CALLER, Stage, order

HOURS = timedelta(hours=1)
LIMITS = replace(DEFAULT_LIMITS, gpu_hold_after_stop=timedelta(0), max_gpus=None, max_gpu_equivalents=None)


class QueueStage(Stage):
    """One whole GPU (or more), an image, and the daemon's scheduler by hand."""

    @classmethod
    def with_gpus(cls, number: int = 1, limits: Limits = LIMITS, *, mode: str = "enforce") -> "QueueStage":
        stage = cls(limits)
        stage.devices.inventory = Inventory(tuple(whole_gpu(index) for index in range(number)), "560.35.03", (12, 6))
        site = replace(stage.policy.site, lifecycle=Lifecycle(mode=mode))
        stage.policy = replace(stage.policy, site=site)
        stage.add_image()
        return stage

    async def enqueue(
        self,
        name: str = "waiting",
        *,
        caller: Caller = ALICE_CALLER,
        count: int = 1,
        hours: float | None = None,
        gives_up_after: timedelta | None = None,
        reservation: str | None = None,
    ) -> QueueEntry:
        """Put an order into the queue."""
        wanted = order(name, count=count)
        wanted = replace(wanted, time_limit=hours * HOURS if hours is not None else None, reservation=reservation)
        return await self.services.queue.enqueue_creation(caller, wanted, gives_up_after=gives_up_after)

    async def serve(self) -> None:
        """What the scheduler's loop does once, and what follows from it."""
        served = await self.services.scheduling.run_pass()
        self.services.starter.launch(served.granted)
        await self.services.starter.wait()

    async def restart(self) -> Services:
        """The next process: reboots, recovers, serves."""
        self.boot()
        await self.services.starter.recover()
        return self.services

    async def entries(self) -> dict[str, str]:
        """State of every request by the container's name; of several the latest."""
        found = await MemoryStore.read(self.store, lambda t: [*reversed(t.list_ended()), *t.list_waiting()])
        return {entry.waiting.container_name: entry.state.value for entry in found}

    async def entry(self, name: str = "waiting") -> QueueEntry:
        found = await MemoryStore.read(self.store, lambda t: [*t.list_waiting(), *t.list_ended()])
        return next(entry for entry in found if entry.waiting.container_name == name)

    def names(self) -> list[str]:
        """Containers on the engine."""
        return sorted(found.details.name.partition(".")[0] for found in self.engine.containers.values())
