"""A real store with the scheduler on top of it, for the rows about durable steps: the engine costs nothing here."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from ds01.adapters.sqlite.store import SqliteStore
from ds01.daemon.services import Services
from ds01.domain.devices.gpu import Inventory
from ds01.domain.request import GpuRequest
from ds01.domain.rules.limit import EffectiveLimits, Limits
from ds01.domain.rules.policy import Policy
from ds01.domain.rules.site import Lifecycle, Site
from ds01.service.allocations import Claim, ClaimOrder
from ds01.service.observation import Observation
from ds01.service.ports import World
from tests.fake_engine import FakeEngine
from tests.fakes import (
    SEAL_KEY,
    FakeAccounts,
    FakeCgroups,
    FakeClock,
    FakeDevices,
    FakeDirectories,
    mig_gpu,
    whole_gpu,
)

FOLDER = "/var/tmp"


@dataclass(frozen=True)
class StoreSite:
    """Services over a real store.

    Attributes:
        services: The use cases.
        store: The store.
        engine: The engine, in memory.
        clock: The time, which stands still.
        devices: The devices.
        observation: The machine: four whole GPUs and four with seven instances each.
        limits: Without quotas.
        policy: Without quotas.
    """

    services: Services
    store: SqliteStore
    engine: FakeEngine
    clock: FakeClock
    devices: FakeDevices
    observation: Observation
    limits: EffectiveLimits
    policy: Policy

    def order(self, name: str, uid: int = 1001) -> ClaimOrder:
        """An order of one device."""
        return ClaimOrder(uid, name, GpuRequest(1, "any"), self.limits, f"ds01.invalid/u{uid}/{name}:1", "{}")

    async def activate(self, claim: Claim) -> None:
        """The container of a claim exists."""
        await self.services.allocations.activate(claim, claim.row.nonce, image="image", actor_uid=claim.row.uid)

    async def release(self, claim: Claim) -> None:
        """The container of a claim is gone."""
        row = replace(claim.row, engine_id=claim.row.nonce)
        await self.services.allocations.forget(row, "removed", actor_uid=claim.row.uid)


@asynccontextmanager
async def store_site(folder: Path, engine: FakeEngine | None = None) -> AsyncIterator[StoreSite]:
    """Services over a new store in a folder."""
    clock = FakeClock()
    engine, devices = engine or FakeEngine(clock=clock), FakeDevices()
    cards = (*(whole_gpu(index) for index in range(4)), *(mig_gpu(index, *[1] * 7) for index in range(4, 8)))
    devices.inventory = Inventory(cards, "560.35.03", (12, 6))
    policy = Policy(
        default_group="lab",
        base=Limits(gpu_hold_after_stop=timedelta(0)),
        site=Site(lifecycle=Lifecycle(mode="enforce")),
    )
    store = await SqliteStore.open(folder / "ds01.db", checkpoint=lambda _step: None)
    world = World(
        engine=engine,
        devices=devices,
        store=store,
        clock=clock,
        accounts=FakeAccounts(),
        directories=FakeDirectories(),
        cgroups=FakeCgroups(),
    )
    services = Services(world, lambda: policy, tuple, seal_key=SEAL_KEY, only_uid=None)
    limits = EffectiveLimits(policy.base, {}, "lab")
    observation = Observation(devices.inventory)
    try:
        yield StoreSite(services, store, engine, clock, devices, observation, limits, policy)
    finally:
        await services.starter.close()
        await store.close()


def own_folder() -> Path:
    """Return a new folder on a disk."""
    return Path(tempfile.mkdtemp(prefix="ds01-bench-", dir=FOLDER))


def remove_folder(folder: Path) -> None:
    """Remove it with what is in it."""
    shutil.rmtree(folder)
