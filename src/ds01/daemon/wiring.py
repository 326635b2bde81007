"""Puts adapters, services and handlers together. The only place that knows them all."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from ds01.adapters.docker.engine import DockerEngine
from ds01.adapters.linux.accounts import LinuxAccounts
from ds01.adapters.linux.cdi_files import LinuxCdi
from ds01.adapters.linux.cgroup import LinuxCgroups
from ds01.adapters.linux.directories import LinuxDirectories
from ds01.adapters.linux.filesystem import find_free_bytes
from ds01.adapters.linux.helper_process import HelperProcesses
from ds01.adapters.nvml.devices import NvmlDevices
from ds01.adapters.sqlite.store import SqliteStore
from ds01.api.location import DATABASE_NAME, Location
from ds01.config.build_site import read_build_site
from ds01.config.cdi_file import parse_cdi_spec
from ds01.daemon.boot import read_boot
from ds01.daemon.catalogue_files import CatalogueFiles
from ds01.daemon.checkpoint import checkpoint_from
from ds01.daemon.clock import SystemClock
from ds01.daemon.deadline_loop import DeadlineLoop
from ds01.daemon.device_loop import DeviceLoop
from ds01.daemon.event_documents import names_of
from ds01.daemon.export import EventExport
from ds01.daemon.feed import AnnouncingStore, EventFeed
from ds01.daemon.front import Trail, build_server
from ds01.daemon.identity import Identities
from ds01.daemon.key import cdi_tag, read_or_make_key
from ds01.daemon.loops import EventLoop, ReconcileLoop, WatchLoop
from ds01.daemon.policy_file import PolicyFile
from ds01.daemon.scheduler_loop import SchedulerLoop
from ds01.daemon.server import ApiServer
from ds01.daemon.services import Services
from ds01.daemon.site_files import SiteFiles
from ds01.daemon.streams import StreamRelay
from ds01.daemon.surroundings import Surroundings
from ds01.daemon.tiers_file import TiersFile
from ds01.daemon.timezone import read_timezone
from ds01.domain.rules.policy import Policy, personal_policy
from ds01.errors import InvalidRequestError
from ds01.service.ports import Accounts, Checkpoint, World

log = logging.getLogger(__name__)
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
        scheduler: The loop that serves the queue.
        deadlines: The loop that does what falls due.
        devices: The loop that follows the devices.
        watch: The loop that looks after the daemon itself.
        export: The loop that appends events to their file.
        feed: Rings when something was recorded.
        world: Engine, devices, store.
        policy: The policy in force.
        services: The use cases.
    """

    server: ApiServer
    relay: StreamRelay
    reconcile: ReconcileLoop
    events: EventLoop
    scheduler: SchedulerLoop
    deadlines: DeadlineLoop
    devices: DeviceLoop
    watch: WatchLoop
    export: EventExport
    feed: EventFeed
    world: World
    policy: PolicyFile
    services: Services

    async def close(self) -> None:
        """End the streams and what is carried out by itself, then let go of everything."""
        await self.relay.close()
        await self.services.starter.close()
        await self.services.deadlines.close()
        await self.services.last_exit.close()
        await self.world.devices.close()
        await self.world.engine.close()
        await self.world.store.close()
        await self.world.directories.close()


async def open_world(location: Location, environment: Mapping[str, str], checkpoint: Checkpoint) -> World:
    """Return the real world.

    Raises:
        BackendError: The store cannot be opened, or the engine that is named cannot be used.
    """
    engine = DockerEngine(environment.get("DOCKER_HOST"), checkpoint=checkpoint)
    store = await SqliteStore.open(location.state / DATABASE_NAME, checkpoint=checkpoint)
    return World(
        engine=engine,
        devices=NvmlDevices(),
        store=store,
        clock=SystemClock(),
        accounts=LinuxAccounts(),
        directories=LinuxDirectories(
            forbidden=() if location.is_personal else forbidden_folders(location),
            helpers=HelperProcesses(keeps_one_ready=True),
        ),
        cgroups=LinuxCgroups(),
    )


def forbidden_folders(location: Location) -> tuple[str, ...]:
    """Return what nobody gets into a container: the folders of this daemon and of the engine."""
    folders = (location.state, location.config, location.log_folder, *ENGINE_FOLDERS)
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
    policy = await _read_policy(location, LinuxAccounts(), uid)
    files = _site_files(location, policy, uid)
    key = read_or_make_key(location.state)
    checkpoint = checkpoint_from(environment)
    world = await open_world(location, environment, checkpoint)
    feed, store = EventFeed(), world.store
    world = replace(world, store=AnnouncingStore(store, feed))
    only_uid = uid if personal else None
    cdi = None if personal else LinuxCdi(parse_cdi_spec, tag=cdi_tag(key), checkpoint=checkpoint)
    services = _services(world, files, key, only_uid, cdi)
    names = partial(names_of, Identities(world.accounts, services.limits, only_uid=only_uid))
    export = EventExport(location.log_folder, store, feed, names, clock=world.clock, checkpoint=checkpoint)
    relay = StreamRelay()
    server = build_server(world, services, files, Trail(feed, export), relay, only_uid=only_uid, leave=leave)
    loops = _loops(world, services)
    watch = WatchLoop(
        files,
        world,
        server,
        relay,
        socket_path=location.socket,
        is_personal=personal,
        leave=leave,
    )
    watch.attend(changed=services.bell.ring, is_needed=loops.is_needed, refresh=services.limit_refresh.apply)
    return Daemon(
        server=server,
        relay=relay,
        reconcile=loops.reconcile,
        events=_events(world, services, loops.reconcile),
        scheduler=loops.scheduler,
        deadlines=loops.deadlines,
        devices=DeviceLoop(world.devices, services.upkeep, world.clock, loops.reconcile.wake),
        watch=watch,
        export=export,
        feed=feed,
        world=world,
        policy=policy,
        services=services,
    )


def _services(world: World, files: SiteFiles, key: bytes, only_uid: int | None, cdi: LinuxCdi | None) -> Services:
    return Services(
        world,
        lambda: files.policy.current,
        lambda: files.catalogue.current,
        seal_key=key,
        only_uid=only_uid,
        surroundings=_surroundings(files, cdi),
    )


def _surroundings(files: SiteFiles, cdi: LinuxCdi | None) -> Surroundings:
    return Surroundings(
        timezone=read_timezone(),
        boot=read_boot(),
        tiers=lambda: files.tiers.current,
        build_site=files.build_site,
        free_bytes=find_free_bytes,
        cdi=cdi,
    )


def _site_files(location: Location, policy: PolicyFile, uid: int) -> SiteFiles:
    """Return what the administrator wrote; the log says now what is wrong with what builds are given."""
    owner_uid = None if location.is_personal else uid
    files = SiteFiles(
        policy,
        CatalogueFiles(location.config, lambda: policy.current.site.catalogue.aime_dir),
        TiersFile(location.config),
        partial(read_build_site, owner_uid=owner_uid),
    )
    try:
        files.build_site()
    except InvalidRequestError as failure:
        log.warning("policy: builds will fail: %s", failure.message)
    return files


@dataclass(frozen=True, slots=True)
class _Loops:
    """The loops that grant, and take back what was granted."""

    reconcile: ReconcileLoop
    scheduler: SchedulerLoop
    deadlines: DeadlineLoop

    def is_needed(self) -> bool:
        """Somebody waits, or something falls due: a personal daemon stays."""
        return self.scheduler.is_needed or self.deadlines.next_at is not None


def _loops(world: World, services: Services) -> _Loops:
    bell, clock = services.bell, world.clock
    reconcile = ReconcileLoop(services.reconciler, bell)
    scheduler = SchedulerLoop(services.scheduling, services.starter, bell, clock)
    deadlines = DeadlineLoop(services.deadlines, bell, clock, wake_reconcile=reconcile.wake)
    return _Loops(reconcile, scheduler, deadlines)


def _events(world: World, services: Services, reconcile: ReconcileLoop) -> EventLoop:
    ended = services.last_exit.ended
    return EventLoop(world.engine, services.limits, reconcile, world.clock, session_ended=ended)


async def _read_policy(location: Location, accounts: Accounts, uid: int) -> PolicyFile:
    """Return the policy; a directory server may take a while to say who its names are."""

    def find_uid(name: str) -> int | None:
        user = accounts.find_user_by_name(name)
        return user.uid if user is not None else None

    return await asyncio.to_thread(
        PolicyFile,
        location.config,
        personal_policy() if location.is_personal else Policy(),
        find_uid=find_uid,
        owner_uid=None if location.is_personal else uid,
    )
