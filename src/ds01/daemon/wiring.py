"""Puts adapters, services and handlers together. The only place that knows them all."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ds01.adapters.docker.engine import DockerEngine
from ds01.adapters.linux.accounts import LinuxAccounts
from ds01.adapters.linux.cgroup import LinuxCgroups
from ds01.adapters.linux.directories import LinuxDirectories
from ds01.adapters.nvml.devices import NvmlDevices
from ds01.adapters.sqlite.store import SqliteStore
from ds01.api.location import DATABASE_NAME, Location
from ds01.daemon.audit import Audit
from ds01.daemon.checkpoint import checkpoint_from
from ds01.daemon.clock import SystemClock
from ds01.daemon.handlers.containers import ContainerHandlers
from ds01.daemon.handlers.foreign import ForeignHandlers
from ds01.daemon.handlers.machine import MachineHandlers
from ds01.daemon.handlers.sessions import SessionHandlers
from ds01.daemon.identity import Identities
from ds01.daemon.key import read_or_make_key
from ds01.daemon.loops import EventLoop, ReconcileLoop, WatchLoop
from ds01.daemon.policy_file import PolicyFile
from ds01.daemon.server import ApiServer
from ds01.daemon.services import build_services, read_catalogue
from ds01.daemon.streams import StreamRelay
from ds01.daemon.timezone import read_timezone
from ds01.domain.policy import Policy, personal_policy
from ds01.service.ports import World

ENGINE_FOLDERS = ("/var/lib/docker", "/var/lib/containerd")
Leave = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Daemon:
    """Everything that runs.

    Attributes:
        server: The API.
        relay: Open streams.
        reconcile: The loop that repairs.
        events: The loop that follows the engine.
        watch: The loop that looks after the daemon itself.
        world: Engine, devices, store.
    """

    server: ApiServer
    relay: StreamRelay
    reconcile: ReconcileLoop
    events: EventLoop
    watch: WatchLoop
    world: World

    async def close(self) -> None:
        """End the streams, then let go of everything."""
        await self.relay.close()
        await self.world.devices.close()
        await self.world.engine.close()
        await self.world.store.close()


async def open_world(location: Location, environment: Mapping[str, str]) -> World:
    """Return the real world.

    Raises:
        BackendError: The store cannot be opened, or the engine that is named cannot be used.
    """
    checkpoint = checkpoint_from(environment)
    engine = DockerEngine(environment.get("DOCKER_HOST"), checkpoint=checkpoint)
    store = await SqliteStore.open(location.state / DATABASE_NAME, checkpoint=checkpoint)
    return World(
        engine=engine,
        devices=NvmlDevices(),
        store=store,
        clock=SystemClock(),
        accounts=LinuxAccounts(),
        directories=LinuxDirectories(forbidden=() if location.is_personal else forbidden_folders(location)),
        cgroups=LinuxCgroups(),
    )


def forbidden_folders(location: Location) -> tuple[str, ...]:
    """Return what nobody gets into a container: the folders of this daemon and of the engine."""
    folders = (location.state, location.config, *ENGINE_FOLDERS)
    return tuple(os.path.realpath(folder) for folder in folders)


async def wire(location: Location, environment: Mapping[str, str], uid: int, leave: Leave) -> Daemon:
    """Make a daemon.

    Args:
        location: Where its files are.
        environment: Variables: `DOCKER_HOST`, `DS01_CRASH_AT`.
        uid: User it runs as.
        leave: Ends the daemon, with the reason.

    Raises:
        InvalidRequestError: The policy is broken.
        BackendError: The store cannot be opened.
    """
    personal = location.is_personal
    policy = PolicyFile(location.config, personal_policy() if personal else Policy())
    key = read_or_make_key(location.state)
    world = await open_world(location, environment)
    only_uid = uid if personal else None
    services = build_services(
        world, lambda: policy.current, read_catalogue(), seal_key=key, only_uid=only_uid, timezone=read_timezone()
    )
    identities = Identities(world.accounts, services.limits, only_uid=only_uid)
    relay = StreamRelay()
    machine = MachineHandlers(
        world,
        services.limits,
        services.containers,
        services.usage,
        identities=identities,
        policy=policy,
        is_personal=personal,
        leave=leave,
    )
    sessions = SessionHandlers(services.sessions, services.usage, relay, identities, is_personal=personal)
    containers = ContainerHandlers(
        services.containers, services.creation, world.devices, identities, is_personal=personal
    )
    foreign = ForeignHandlers(services.takeover, services.leftovers, services.containers, identities)
    handlers = {**containers.table(), **foreign.table(), **sessions.table(), **machine.table()}
    server = ApiServer(identities, handlers, Audit(world.store, world.clock))
    reconcile = ReconcileLoop(services.reconciler)
    watch = WatchLoop(policy, world, server, relay, socket_path=location.socket, is_personal=personal, leave=leave)
    events = EventLoop(world.engine, services.limits, reconcile, world.clock)
    return Daemon(server, relay, reconcile, events, watch, world)
