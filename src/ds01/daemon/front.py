"""The API on top of the use cases: every route's handler in one server. The daemon and the tests build it here."""

from collections.abc import Callable
from dataclasses import dataclass

from ds01.daemon.audit import Audit
from ds01.daemon.export import EventExport
from ds01.daemon.feed import EventFeed
from ds01.daemon.handlers.catalogue import CatalogueHandlers
from ds01.daemon.handlers.changes import ChangeHandlers
from ds01.daemon.handlers.config import ConfigHandlers
from ds01.daemon.handlers.consoles import ConsoleHandlers
from ds01.daemon.handlers.containers import ContainerHandlers
from ds01.daemon.handlers.events import EventHandlers
from ds01.daemon.handlers.exports import ExportHandlers
from ds01.daemon.handlers.files import FileHandlers
from ds01.daemon.handlers.foreign import ForeignHandlers
from ds01.daemon.handlers.images import ImageHandlers
from ds01.daemon.handlers.machine import MachineHandlers
from ds01.daemon.handlers.mig import MigHandlers
from ds01.daemon.handlers.moving import MoveHandlers
from ds01.daemon.handlers.own_images import OwnImageHandlers
from ds01.daemon.handlers.queue import QueueHandlers, Waiters
from ds01.daemon.handlers.renewal import RenewalHandlers
from ds01.daemon.handlers.reservations import ReservationHandlers
from ds01.daemon.handlers.sessions import SessionHandlers
from ds01.daemon.handlers.upkeep import UpkeepHandlers
from ds01.daemon.handlers.waiting import WaitingHandlers
from ds01.daemon.identity import Identities
from ds01.daemon.request_body import Patience
from ds01.daemon.server import ApiServer
from ds01.daemon.services import Services
from ds01.daemon.site_files import SiteFiles
from ds01.daemon.streams import StreamRelay
from ds01.daemon.viewers import Viewers
from ds01.service.ports import World


@dataclass(frozen=True, slots=True)
class Trail:
    """The audit trail on its way out.

    Attributes:
        feed: Rings when something was recorded; `world.store` rings it.
        export: Appends to the file.
    """

    feed: EventFeed
    export: EventExport


def build_server(
    world: World,
    services: Services,
    files: SiteFiles,
    trail: Trail,
    relay: StreamRelay,
    *,
    only_uid: int | None,
    leave: Callable[[str], None],
    patience: Patience | None = None,
) -> ApiServer:
    """Return the server with all handlers.

    Args:
        world: Everything outside.
        services: The use cases.
        files: What the site's administrator writes.
        trail: The audit trail.
        relay: Takes streams over.
        only_uid: A personal daemon's user; None: a server.
        leave: Ends the daemon, with the reason.
        patience: How long clients may take to send; None: the usual.
    """
    personal = only_uid is not None
    identities = Identities(world.accounts, services.limits, only_uid=only_uid)
    viewers = Viewers(identities, services.limits, lambda: files.policy.current, is_personal=personal)
    waiters = Waiters(services.queue, services.explanations, viewers)
    machine = MachineHandlers(
        world,
        services,
        identities=identities,
        viewers=viewers,
        files=files,
        export=trail.export,
        is_personal=personal,
        leave=leave,
    )
    tables = (
        *_container_handlers(world, services, identities, viewers, waiters, is_personal=personal),
        machine,
        *_queue_handlers(world, services, viewers, waiters),
        *_program_handlers(services, relay, identities, is_personal=personal),
        ForeignHandlers(services.takeover, services.leftovers, services.containers, identities),
        EventHandlers(world.store, world.accounts, identities, trail.feed, is_personal=personal),
        *_change_handlers(services),
        *_site_handlers(files, is_personal=personal),
        *_image_handlers(services, identities),
        *_succession_handlers(world, services),
        *_upkeep_handlers(services, only_uid=only_uid),
    )
    handlers = {name: handler for found in tables for name, handler in found.table().items()}
    return ApiServer(identities, handlers, Audit(world.store, world.clock), patience=patience)


def _container_handlers(
    world: World, services: Services, identities: Identities, viewers: Viewers, waiters: Waiters, *, is_personal: bool
) -> tuple[ContainerHandlers, ExportHandlers]:
    containers = ContainerHandlers(
        services.containers,
        services.creation,
        services.power,
        services.removal,
        world.devices,
        identities,
        waiting=WaitingHandlers(services.queue, services.explanations, viewers),
        waiters=waiters,
        is_personal=is_personal,
    )
    return containers, ExportHandlers(services.exporting, services.importing, containers)


def _upkeep_handlers(services: Services, *, only_uid: int | None) -> tuple[MigHandlers, UpkeepHandlers]:
    upkeep = UpkeepHandlers(services.upkeep, is_personal=only_uid is not None)
    return MigHandlers(services.mig, only_uid=only_uid), upkeep


def _site_handlers(files: SiteFiles, *, is_personal: bool) -> tuple[ConfigHandlers, CatalogueHandlers]:
    config = ConfigHandlers(files, is_personal=is_personal)
    return config, CatalogueHandlers(files.catalogue, is_personal=is_personal)


def _change_handlers(services: Services) -> tuple[ChangeHandlers, FileHandlers]:
    return ChangeHandlers(services.pausing, services.renaming, services.listening), FileHandlers(services.copying)


def _image_handlers(services: Services, identities: Identities) -> tuple[ImageHandlers, OwnImageHandlers]:
    own = OwnImageHandlers(services.building, services.own_images, services.image_rules, services.tiers)
    return ImageHandlers(services.catalogue, identities), own


def _program_handlers(
    services: Services, relay: StreamRelay, identities: Identities, *, is_personal: bool
) -> tuple[SessionHandlers, ConsoleHandlers]:
    sessions = SessionHandlers(services.sessions, services.usage, relay, identities, is_personal=is_personal)
    return sessions, ConsoleHandlers(services.consoles, relay)


def _queue_handlers(
    world: World, services: Services, viewers: Viewers, waiters: Waiters
) -> tuple[QueueHandlers, ReservationHandlers]:
    queueing = QueueHandlers(
        services.queue, services.explanations, waiters, viewers, containers=services.containers, usage=services.usage
    )
    return queueing, ReservationHandlers(services.reservations, viewers, world.accounts, world.clock)


def _succession_handlers(world: World, services: Services) -> tuple[MoveHandlers, RenewalHandlers]:
    return MoveHandlers(services.moving, world.devices), RenewalHandlers(services.drift, services.recreation)
