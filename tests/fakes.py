"""Fakes of every port but engine and store (tests/fake_engine, tests/fake_store), and a world made of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ds01.config.catalogue import read_shipped_catalogue
from ds01.daemon.services import Services
from ds01.domain.rules.limit import Limits
from ds01.domain.rules.policy import Policy
from ds01.domain.user import Group, User
from ds01.errors import ForbiddenError, NotFoundError
from ds01.service.ports import ResolvedDirectory, World
from tests.fake_devices import FakeDevices, mig_gpu, whole_gpu
from tests.fake_engine import FakeEngine
from tests.fake_store import MemoryStore

__all__ = ["FakeDevices", "mig_gpu", "whole_gpu"]
GIB = 1024**3
BEGINNING = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ALICE = User(1001, 1001, "alice", (Group(1001, "alice"), Group(5000, "lab")), "/home/alice", "/bin/bash")
BOB = User(1002, 1002, "bob", (Group(1002, "bob"),), "/home/bob", "/bin/bash")
ROOT = User(0, 0, "root", (Group(0, "root"),), "/root", "/bin/bash")
SEAL_KEY = bytes(32)


class FakeClock:
    """Time that only moves when a test says so, or when somebody sleeps."""

    def __init__(self, now: datetime = BEGINNING) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    async def sleep(self, length: timedelta) -> None:
        self.advance(length)

    def advance(self, length: timedelta) -> None:
        self._now += length


class FakeAccounts:
    """Some users."""

    def __init__(self, users: Iterable[User] = (ALICE, BOB, ROOT)) -> None:
        self._users = {user.uid: user for user in users}

    def get_user(self, uid: int) -> User:
        if uid not in self._users:
            raise NotFoundError(f"The uid {uid} has no account.")
        return self._users[uid]

    def find_user_by_name(self, name: str) -> User | None:
        return next((user for user in self._users.values() if user.name == name), None)


class FakeDirectories:
    """Directories by path: their owner decides who may enter."""

    def __init__(self) -> None:
        self.owners: dict[str, int] = {}
        self.read_only: set[str] = set()

    async def resolve(self, user: User, path: str, *, create: bool) -> ResolvedDirectory:
        owner = self.owners.get(path)
        if owner is None:
            if not create:
                raise NotFoundError(f"{path} does not exist.")
            self.owners[path] = user.uid
            return ResolvedDirectory(path, was_created=True, is_writable=True)
        if owner != user.uid:
            raise ForbiddenError(f"{user.name} may not enter {path}.")
        return ResolvedDirectory(path, was_created=False, is_writable=path not in self.read_only)

    async def discard(self, user: User, path: str) -> None:
        self.owners.pop(path, None)

    async def close(self) -> None:
        pass


@dataclass
class FakeCgroups:
    """Containers by pid."""

    containers: dict[int, str] = field(default_factory=dict)

    def container_of(self, pid: int) -> str | None:
        return self.containers.get(pid)


@dataclass
class FakeWorld:
    """Everything outside, in memory, and the services on top of it."""

    engine: FakeEngine
    devices: FakeDevices
    store: MemoryStore
    clock: FakeClock
    directories: FakeDirectories
    cgroups: FakeCgroups
    services: Services
    policy: Policy

    @property
    def world(self) -> World:
        return World(
            engine=self.engine,
            devices=self.devices,
            store=self.store,
            clock=self.clock,
            accounts=FakeAccounts(),
            directories=self.directories,
            cgroups=self.cgroups,
        )


DEFAULT_LIMITS = Limits(
    max_gpus=2,
    max_gpu_equivalents=2.0,
    max_gpus_per_container=2,
    max_cpus=4,
    memory=8 * GIB,
    memory_swap=8 * GIB,
    shm_size=GIB,
    pids_limit=4096,
    max_containers=5,
    gpu_hold_after_stop=timedelta(minutes=15),
)


def make_world(limits: Limits = DEFAULT_LIMITS, *, only_uid: int | None = None) -> FakeWorld:
    """Return a world with one whole and one cut GPU, an engine with no image, and a site's policy."""
    clock = FakeClock()
    engine, devices, store = FakeEngine(clock=clock), FakeDevices(), MemoryStore()
    directories, cgroups = FakeDirectories(), FakeCgroups()
    policy = Policy(default_group="student", base=limits)
    world = World(
        engine=engine,
        devices=devices,
        store=store,
        clock=clock,
        accounts=FakeAccounts(),
        directories=directories,
        cgroups=cgroups,
    )
    services = Services(world, lambda: policy, read_shipped_catalogue, seal_key=SEAL_KEY, only_uid=only_uid)
    return FakeWorld(engine, devices, store, clock, directories, cgroups, services, policy)
