"""The API on top of the use cases: every route's handler in one server. The daemon and the tests build it here."""

from collections.abc import Callable
from dataclasses import dataclass

from ds01.daemon.audit import Audit
from ds01.daemon.catalogue_files import CatalogueFiles
from ds01.daemon.handlers.config import ConfigHandlers
from ds01.daemon.handlers.containers import ContainerHandlers
from ds01.daemon.handlers.foreign import ForeignHandlers
from ds01.daemon.handlers.images import ImageHandlers
from ds01.daemon.handlers.machine import MachineHandlers
from ds01.daemon.handlers.sessions import SessionHandlers
from ds01.daemon.identity import Identities
from ds01.daemon.policy_file import PolicyFile
from ds01.daemon.server import ApiServer
from ds01.daemon.services import Services
from ds01.daemon.streams import StreamRelay
from ds01.service.ports import World


@dataclass(frozen=True, slots=True)
class SiteFiles:
    """Files of the site's administrator, each with its last good reading.

    Attributes:
        policy: resource-limits.yaml.
        catalogue: Shipped rows and drop-ins.
    """

    policy: PolicyFile
    catalogue: CatalogueFiles


def build_server(
    world: World,
    services: Services,
    files: SiteFiles,
    relay: StreamRelay,
    *,
    only_uid: int | None,
    leave: Callable[[str], None],
) -> ApiServer:
    """Return the server with all handlers.

    Args:
        world: Everything outside.
        services: The use cases.
        files: What the site's administrator writes.
        relay: Takes streams over.
        only_uid: A personal daemon's user; None: a server.
        leave: Ends the daemon, with the reason.
    """
    personal = only_uid is not None
    identities = Identities(world.accounts, services.limits, only_uid=only_uid)
    machine = MachineHandlers(
        world,
        services.limits,
        services.containers,
        services.usage,
        identities=identities,
        policy=files.policy,
        catalogue=files.catalogue,
        is_personal=personal,
        leave=leave,
    )
    sessions = SessionHandlers(services.sessions, services.usage, relay, identities, is_personal=personal)
    containers = ContainerHandlers(
        services.containers, services.creation, world.devices, identities, is_personal=personal
    )
    images = ImageHandlers(services.catalogue)
    config = ConfigHandlers(files.policy, is_personal=personal)
    foreign = ForeignHandlers(services.takeover, services.leftovers, services.containers, identities)
    tables = (containers, foreign, sessions, machine, images, config)
    handlers = {name: handler for found in tables for name, handler in found.table().items()}
    return ApiServer(identities, handlers, Audit(world.store, world.clock))
