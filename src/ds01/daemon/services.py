"""The use cases, wired to one world: the daemon's with adapters, the tests' with fakes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ds01.domain.catalogue import CatalogueRow
from ds01.domain.policy import Policy
from ds01.service.adoption import AdoptionRules
from ds01.service.allocations import AllocationService
from ds01.service.catalogue import CatalogueService
from ds01.service.containers import ContainerService
from ds01.service.copying import CopyService
from ds01.service.creation import CreationService
from ds01.service.helper_container import HelperContainers
from ds01.service.images import ImageService
from ds01.service.leftovers import LeftoverService
from ds01.service.limits import LimitService
from ds01.service.listening import ListeningService
from ds01.service.observation import Observer
from ds01.service.pausing import PauseService
from ds01.service.ports import World
from ds01.service.presence import Presence
from ds01.service.reconcile import Reconciler
from ds01.service.renaming import RenameService
from ds01.service.sessions import SessionService
from ds01.service.takeover import TakeoverService
from ds01.service.usage import UsageService


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases, wired to one world."""

    containers: ContainerService
    creation: CreationService
    sessions: SessionService
    usage: UsageService
    limits: LimitService
    reconciler: Reconciler
    catalogue: CatalogueService
    takeover: TakeoverService
    leftovers: LeftoverService
    copying: CopyService
    listening: ListeningService
    pausing: PauseService
    renaming: RenameService


def build_services(
    world: World,
    policy: Callable[[], Policy],
    catalogue: Callable[[], Sequence[CatalogueRow]],
    *,
    seal_key: bytes,
    only_uid: int | None,
    timezone: str = "",
) -> Services:
    """Return the use cases for a world. Tests build them with fakes by the same function.

    Args:
        world: Everything outside.
        policy: Returns the policy in force.
        catalogue: Returns the rows of framework images in force.
        seal_key: The daemon's secret.
        only_uid: A personal daemon's user; None: a server, which adopts only what is sealed.
        timezone: The machine's, for `TZ` inside containers; empty: unknown.
    """
    observer = Observer(world.engine, world.devices)
    helpers = HelperContainers(world.engine, world.clock)
    limits = LimitService(helpers, policy, world.accounts)
    allocations = AllocationService(world.store, world.clock)
    presence = Presence()
    adoption = AdoptionRules(only_uid, seal_key if only_uid is None else None)
    reconciler = Reconciler(
        world, observer=observer, limits=limits, allocations=allocations, presence=presence, adoption=adoption
    )
    images = ImageService(world.engine, helpers, world.store, catalogue)
    containers = ContainerService(
        world, observer=observer, limits=limits, allocations=allocations, presence=presence, reconciler=reconciler
    )
    creation = CreationService(
        world,
        observer=observer,
        limits=limits,
        allocations=allocations,
        images=images,
        presence=presence,
        reconciler=reconciler,
        seal_key=seal_key,
        timezone=timezone,
    )
    return Services(
        containers=containers,
        creation=creation,
        sessions=SessionService(world.engine, containers, limits, world.accounts),
        usage=UsageService(world, observer, containers),
        limits=limits,
        reconciler=reconciler,
        catalogue=CatalogueService(world.engine, world.devices, images, catalogue),
        takeover=TakeoverService(world, observer=observer, limits=limits, presence=presence, only_uid=only_uid),
        leftovers=LeftoverService(world, containers, presence),
        copying=CopyService(world.engine, containers, limits),
        listening=ListeningService(world.engine, containers),
        pausing=PauseService(world, containers, presence),
        renaming=RenameService(world, containers, presence),
    )
