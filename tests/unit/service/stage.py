"""A world of fakes in which every call of every port passes one trap: it fails, is cancelled, or the process dies."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from ds01.config.catalogue import read_shipped_catalogue
from ds01.daemon.services import Services
from ds01.daemon.surroundings import Surroundings
from ds01.domain import label
from ds01.domain.devices.gpu import DeviceSample, GpuProcess, Inventory, MigInstance
from ds01.domain.images.build_site import BuildSite
from ds01.domain.request import GpuRequest
from ds01.domain.rules.access import Caller
from ds01.domain.rules.limit import Limits
from ds01.domain.rules.policy import Policy
from ds01.domain.user import User
from ds01.errors import BackendError, Ds01Error
from ds01.service.first_start import QUESTION
from ds01.service.images import ImageOrder
from ds01.service.order import CreateOrder
from ds01.service.ports import ResolvedDirectory, StoreTransaction, World
from tests.fake_cdi import FakeCdi
from tests.fake_engine import FakeEngine, FakeProcess, FileTree
from tests.fake_store import MemoryStore
from tests.fakes import (
    ALICE,
    BOB,
    DEFAULT_LIMITS,
    ROOT,
    SEAL_KEY,
    FakeAccounts,
    FakeCgroups,
    FakeClock,
    FakeDevices,
    FakeDirectories,
)
from tests.unit.service.trap import ProcessDeathError, Trap

__all__ = ["ProcessDeathError", "Trap"]  # what tests take from here beside the stage

Result = TypeVar("Result")
IMAGE = "registry.example/pytorch"
ALICE_CALLER = Caller(ALICE)
BOB_CALLER = Caller(BOB)
ADMIN_CALLER = Caller(ROOT, is_admin=True)
PASSWD = b"root:x:0:0:root:/root:/bin/bash\n"
LATE_TURNS = 60
LOST = BackendError("The answer was lost.")


class TrappedEngine(FakeEngine):
    """Every call is a step before and a step after.

    Attributes:
        ignored: Methods that answer well and do nothing.
        removed_when_stopped: Containers that were made with --rm.
        logs_end: What ends the logs of containers after their first piece; None: nothing.
        graces: What stops were given, one after the other.
    """

    def __init__(self, trap: Trap, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.trap = trap
        self.ignored: set[str] = set()
        self.removed_when_stopped: set[str] = set()
        self.logs_end: Ds01Error | None = None
        self.graces: list[timedelta] = []

    async def stream_logs(
        self, container: str, *, follow: bool = False, tail: int | None = None, timestamps: bool = False
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(super().stream_logs(container, follow=follow, tail=tail, timestamps=timestamps)) as chunks:
            async for chunk in chunks:
                yield chunk
                if self.logs_end is not None:
                    raise self.logs_end

    async def stop_container(self, container: str, *, grace: timedelta) -> None:
        self.graces.append(grace)
        if "stop_container" in self.ignored:
            return
        await super().stop_container(container, grace=grace)
        if container in self.removed_when_stopped:
            del self.containers[container]

    async def pause_container(self, container: str) -> None:
        if "pause_container" not in self.ignored:
            await super().pause_container(container)

    async def remove_container(self, container: str, *, force: bool = False) -> None:
        if "remove_container" not in self.ignored:
            await super().remove_container(container, force=force)

    @asynccontextmanager
    async def call(self, method: str, step: str | None = None) -> AsyncIterator[None]:
        async with super().call(method, step):
            self.trap.pass_(f"engine {method}")
            await asyncio.sleep(0)
            yield
        self.trap.pass_(f"engine {method} done")
        await asyncio.sleep(0)


class TrappedStore(MemoryStore):
    """A write whose caller is cancelled is committed all the same, later than what was asked for after it."""

    def __init__(self, trap: Trap) -> None:
        super().__init__()
        self._trap = trap
        self._late: set[asyncio.Task[object]] = set()

    async def write(self, decide: Callable[[StoreTransaction], Result]) -> Result:
        self._trap.pass_("store write")
        delay = [0]
        commit = asyncio.ensure_future(self._commit(decide, delay))
        try:
            result = await asyncio.shield(commit)
        except asyncio.CancelledError:
            delay[0] = LATE_TURNS
            self._late.add(commit)
            commit.add_done_callback(self._late.discard)
            raise
        self._trap.pass_("store write done")
        await asyncio.sleep(0)
        return result

    async def _commit(self, decide: Callable[[StoreTransaction], Result], delay: list[int]) -> Result:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        while delay[0] > 0:
            delay[0] -= 1
            await asyncio.sleep(0)
        if self._trap.is_dead:
            raise ProcessDeathError
        return await super().write(decide)

    async def settle(self) -> None:
        """Let the late writes happen."""
        while self._late:
            await asyncio.wait(set(self._late))

    async def read(self, query: Callable[[StoreTransaction], Result]) -> Result:
        self._trap.pass_("store read")
        await asyncio.sleep(0)
        return await super().read(query)


class TrappedDevices(FakeDevices):
    """Every call is a step, and its answer another."""

    trap: Trap

    async def read_inventory(self) -> Inventory:
        return await self._pass("devices inventory", super().read_inventory())

    async def read_samples(self) -> dict[str, DeviceSample]:
        return await self._pass("devices samples", super().read_samples())

    async def read_processes(self) -> list[GpuProcess]:
        return await self._pass("devices processes", super().read_processes())

    async def set_mig_mode(self, card_uuid: str, *, enabled: bool) -> None:
        await self._pass("devices mode", super().set_mig_mode(card_uuid, enabled=enabled))

    async def create_instance(self, card_uuid: str, profile: str, start: int) -> MigInstance:
        return await self._pass("devices create", super().create_instance(card_uuid, profile, start))

    async def destroy_instance(self, mig_uuid: str) -> None:
        await self._pass("devices destroy", super().destroy_instance(mig_uuid))

    async def _pass(self, step: str, reading: Coroutine[Any, Any, Result]) -> Result:
        with closing(reading):
            self.trap.pass_(step)
            await asyncio.sleep(0)
            result = await reading
        self.trap.pass_(f"{step} done")
        return result


class TrappedDirectories(FakeDirectories):
    """Every directory that is looked at is a step before, and a step after it was made."""

    def __init__(self, trap: Trap) -> None:
        super().__init__()
        self._trap = trap
        self.is_answer_trapped = False

    async def resolve(self, user: User, path: str, *, create: bool) -> ResolvedDirectory:
        self._trap.pass_("directories resolve")
        await asyncio.sleep(0)
        found = await super().resolve(user, path, create=create)
        if self.is_answer_trapped:
            self._trap.pass_("directories resolve done")
            await asyncio.sleep(0)
        return found

    async def discard(self, user: User, path: str) -> None:
        self._trap.pass_("directories discard")
        await asyncio.sleep(0)
        await super().discard(user, path)


@dataclass
class Stage:
    """The world, and the services of one process in it."""

    limits: Limits = DEFAULT_LIMITS
    only_uid: int | None = None
    trap: Trap = field(default_factory=Trap)
    clock: FakeClock = field(default_factory=FakeClock)
    cgroups: FakeCgroups = field(default_factory=FakeCgroups)
    accounts: FakeAccounts = field(default_factory=FakeAccounts)
    cdi: FakeCdi | None = None

    def __post_init__(self) -> None:
        self.engine = TrappedEngine(self.trap, self.clock)
        self.store = TrappedStore(self.trap)
        self.devices = TrappedDevices()
        self.devices.trap = self.trap
        self.directories = TrappedDirectories(self.trap)
        self.policy = Policy(default_group="student", base=self.limits)
        self.messages: list[dict[str, object]] = []
        self.build_site = BuildSite()
        self.services = self.boot()
        self.engine.programs[QUESTION] = answer_as_owner

    def boot(self) -> Services:
        """Build the services anew, as a restarted daemon does."""
        self.services = Services(
            self.world(),
            lambda: self.policy,
            read_shipped_catalogue,
            seal_key=SEAL_KEY,
            only_uid=self.only_uid,
            surroundings=Surroundings(timezone="Europe/Berlin", build_site=lambda: self.build_site, cdi=self.cdi),
        )
        return self.services

    def world(self) -> World:
        return World(
            engine=self.engine,
            devices=self.devices,
            store=self.store,
            clock=self.clock,
            accounts=self.accounts,
            directories=self.directories,
            cgroups=self.cgroups,
        )

    def add_image(self, reference: str = IMAGE, *, has_shell: bool = True, has_sudo: bool = True) -> str:
        return self.add_image_to(self.engine, reference, has_shell=has_shell, has_sudo=has_sudo)

    @staticmethod
    def add_image_to(
        engine: FakeEngine, reference: str = IMAGE, *, has_shell: bool = True, has_sudo: bool = True
    ) -> str:
        """Give an engine an image with a user's usual things in it."""
        files: dict[str, bytes | None] = {"/etc/passwd": PASSWD, "/etc/group": b"root:x:0:\n"}
        if has_shell:
            files |= {"/bin/sh": b"", "/bin/bash": b"", "/usr/bin/git": b""}
        if has_sudo:
            files |= {"/etc/sudoers.d": None, "/usr/bin/sudo": b""}
        engine.programs[QUESTION] = answer_as_owner
        return engine.add_image(reference, tree=FileTree(files))

    async def notify(self, message: "object") -> None:
        assert isinstance(message, dict)
        self.messages.append(message)

    async def create(
        self, name: str = "demo", *, caller: Caller = ALICE_CALLER, count: int = 1, kind: str = "any"
    ) -> str:
        """Create a container and return its id."""
        creation = await self.services.creation.create(caller, order(name, count=count, kind=kind), self.notify)
        assert creation.details is not None
        return creation.details.id

    async def start(self, name: str = "demo", *, caller: Caller = ALICE_CALLER) -> None:
        await self.services.power.start(caller, caller.uid, name)

    async def stop(self, name: str = "demo", *, caller: Caller = ALICE_CALLER) -> None:
        await self.services.power.stop(caller, caller.uid, name)

    async def remove(self, name: str = "demo", *, caller: Caller = ALICE_CALLER, force: bool = False) -> None:
        await self.services.removal.remove(caller, caller.uid, name, force=force)

    async def reconcile(self) -> None:
        await self.services.reconciler.run()

    async def held(self) -> dict[str, str]:
        """Devices by the container that holds them, from the books."""
        allocations = await MemoryStore.read(self.store, lambda transaction: transaction.list_allocations())
        return {uuid: grant.container_name for grant in allocations for uuid in grant.gpu_uuids}

    async def states(self) -> dict[str, str]:
        """State of every grant by the container's name."""
        allocations = await MemoryStore.read(self.store, lambda transaction: transaction.list_allocations())
        return {grant.container_name: grant.state.value for grant in allocations}

    async def events(self) -> list[str]:
        found = await MemoryStore.read(self.store, lambda transaction: transaction.list_events())
        return [event.name for event in found]

    async def picture(self) -> tuple[object, ...]:
        """Everything that a failed creation must leave as it was; what is only remembered is left out."""
        await self.store.settle()
        rows, allocations = await MemoryStore.read(
            self.store, lambda transaction: (transaction.list_containers(), transaction.list_allocations())
        )
        return (
            sorted(found.details.name for found in self.engine.containers.values()),
            sorted(tag for image in self.engine.images.values() for tag in image.details.tags),
            rows,
            allocations,
            dict(self.directories.owners),
        )

    async def require_sound_books(self) -> None:
        """The invariants that hold at every moment, whatever has crashed before."""
        await self.store.settle()
        rows, allocations = await MemoryStore.read(
            self.store, lambda transaction: (transaction.list_containers(), transaction.list_allocations())
        )
        uuids = [uuid for grant in allocations for uuid in grant.gpu_uuids]
        assert len(uuids) == len(set(uuids)), f"a device is held twice: {sorted(uuids)}"
        cards = {card.uuid: {item.uuid for item in card.instances} for card in self.devices.inventory.devices}
        for parent, instances in cards.items():
            assert not (parent in uuids and instances & set(uuids)), f"{parent} and its instances are held"
        assert {grant.id for grant in allocations} <= {row.allocation_id for row in rows}, "a grant without a row"

    async def require_settled(self) -> None:
        """What holds once reconcile has nothing to do: the books say what the engine says."""
        await self.require_sound_books()
        rows, allocations = await MemoryStore.read(
            self.store, lambda transaction: (transaction.list_containers(), transaction.list_allocations())
        )
        grants = {grant.id: grant for grant in allocations}
        by_id = {found.details.id: found.details for found in self.engine.containers.values()}
        for row in rows:
            assert row.engine_id in by_id, f"{row.name} has a row and no container"
            assert row.engine_id is not None
            details, grant = by_id[row.engine_id], grants.get(row.allocation_id)
            if details.state.has_processes and grant is not None:
                assert grant.state.value == "active", f"{row.name} runs, and its grant is {grant.state}"
        known = {row.engine_id for row in rows}
        for details in by_id.values():
            assert not label.is_ours(details.labels) or details.id in known, f"{details.name} has no row"


def order(name: str = "demo", *, count: int = 1, kind: str = "any", image: str = IMAGE) -> CreateOrder:
    """Return an order of an image that the engine has."""
    return CreateOrder(name=name, image=ImageOrder(image=image), request=GpuRequest(count, kind), interface="cli")


async def answer_as_owner(process: FakeProcess) -> int:
    """The first start's question, answered by a container that was set up right."""
    uid, _, gid = process.user.partition(":")
    await process.write(f"{uid}\n{gid}\n{process.environment['USER']}\nsudo-ok\n")
    return 0


async def until(condition: Callable[[], object]) -> None:
    """Let other tasks go on until something has happened."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - conditions are of fakes, which have no event
            await asyncio.sleep(0)


async def run_to_failure(work: Coroutine[Any, Any, object]) -> BaseException | None:
    """Run something in a task of its own; return what it raised."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task})
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def fail_once() -> None:
    """As a spring: this call fails, and no other."""
    raise LOST


def only_own_errors(failure: BaseException | None) -> bool:
    """A bug would be another kind of exception."""
    return failure is None or isinstance(failure, Ds01Error | asyncio.CancelledError | ProcessDeathError)
