"""Row 9: a GPU is freed, and the start of the next container is issued: the 99th of 100, of 500.

Two containers that were made on one GPU take turns: one runs, the start of the other waits in the queue. Measured is
from the moment at which the release is durable to the call of the engine that starts the other. The store is real, the
engine answers at once. Anchor: one commit with synchronous=FULL on the same disk, and one pass over the same queue in
memory, both measured in between. As in every row the anchor is its median: our slowest of a hundred are compared with
what it usually takes. The median of ours is shown beside it: on a shared machine the slowest are those that had to wait
for the processor.
"""

import asyncio
import statistics
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from ds01.daemon.scheduler_loop import SchedulerLoop
from ds01.domain.devices.gpu import Inventory
from ds01.domain.request import GpuRequest
from ds01.domain.scheduling.schedule import plan_pass
from ds01.service.images import ImageOrder
from ds01.service.order import CreateOrder
from ds01.service.ports import ContainerRow, StoreTransaction
from tests.bench.figure import Figure
from tests.bench.row07_store import PlainCommits
from tests.bench.store_site import StoreSite, own_folder, remove_folder, store_site
from tests.fake_engine import FakeEngine
from tests.fakes import FakeClock, whole_gpu
from tests.unit.service.stage import ALICE_CALLER, IMAGE, Stage

TIMES = 500
WARM_UPS = 20
NAMES = ("even", "odd")
GATE, STRETCH = 10.0, 4.0
LONGEST_MS = 100.0


class WatchedEngine(FakeEngine):
    """Notes when a start is issued."""

    def __init__(self) -> None:
        super().__init__(clock=FakeClock())
        self.started = asyncio.Event()
        self.started_at = 0.0

    async def start_container(self, container: str) -> None:
        self.started_at = time.perf_counter()
        await super().start_container(container)
        self.started.set()


def measure() -> list[Figure]:
    """Return the ratio to the anchor, and the milliseconds."""
    freed_ms, anchor_ms = asyncio.run(_measure())
    p99, half, anchor = _p99(freed_ms), statistics.median(freed_ms), statistics.median(anchor_ms)
    anchor_name = f"one FULL commit and one pass, median (its p99 {_p99(anchor_ms):.2f} ms)"
    return [
        Figure(9, f"freed -> next start, p99 of {TIMES}", p99, "ms", anchor, anchor_name, GATE, STRETCH),
        Figure(9, "the same, median", half, "ms", anchor, anchor_name, GATE, STRETCH),
        Figure(9, "the p99 against its limit", p99, "ms", LONGEST_MS, f"{LONGEST_MS:.0f} ms", 1.0, 0.5),
    ]


def _p99(taken_ms: list[float]) -> float:
    return statistics.quantiles(taken_ms, n=100)[98]


async def _measure() -> tuple[list[float], list[float]]:
    folder = own_folder()
    engine = WatchedEngine()
    try:
        async with store_site(folder, engine) as site:
            commits = PlainCommits(folder / "anchor.db")
            await _prepare(site)
            services = site.services
            loop = SchedulerLoop(services.scheduling, services.starter, services.bell, site.clock)
            running = asyncio.create_task(loop.run())
            freed_ms, anchor_ms = await _take_turns(site, engine, commits)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            commits.close()
    finally:
        remove_folder(folder)
    return freed_ms[WARM_UPS:], anchor_ms[WARM_UPS:]


async def _prepare(site: StoreSite) -> None:
    """Both containers were made on the one GPU, one after the other, and the first runs."""
    site.devices.inventory = Inventory((whole_gpu(0),), "560.35.03", (12, 6))
    Stage.add_image_to(site.engine)
    for name in NAMES:
        order = CreateOrder(name, ImageOrder(image=IMAGE), GpuRequest(1))
        await site.services.creation.create(ALICE_CALLER, order, _ignore)
        await site.services.power.start(ALICE_CALLER, 1001, name)
        await site.services.power.stop(ALICE_CALLER, 1001, name)
    await site.services.power.start(ALICE_CALLER, 1001, NAMES[0])


async def _take_turns(site: StoreSite, engine: WatchedEngine, commits: PlainCommits) -> tuple[list[float], list[float]]:
    freed_ms: list[float] = []
    anchor_ms: list[float] = []
    for number in range(TIMES + WARM_UPS):
        runs, waits = NAMES[number % 2], NAMES[1 - number % 2]
        await site.services.queue.enqueue_start(ALICE_CALLER, 1001, waits)
        situation, _ = await site.services.scheduling.read_situation()
        began = time.perf_counter()
        commits.commit(4)
        plan_pass(replace(situation, allocations=()))
        anchor_ms.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.002)
        engine.started.clear()
        [row] = [row for row in await site.store.read(_containers) if row.name == runs]
        assert row.engine_id is not None
        await engine.stop_container(row.engine_id, grace=timedelta(0))
        await site.services.allocations.settle_stopped(row, timedelta(0), 0)
        freed_at = time.perf_counter()
        await engine.started.wait()
        freed_ms.append((engine.started_at - freed_at) * 1000)
        await site.services.starter.wait()
    return freed_ms, anchor_ms


async def _ignore(_message: object) -> None:
    """Nobody wants to hear of it."""


def _containers(transaction: StoreTransaction) -> list[ContainerRow]:
    return transaction.list_containers()
