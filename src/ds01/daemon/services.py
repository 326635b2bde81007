"""The use cases, wired to one world: the daemon's with adapters, the tests' with fakes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ds01.domain.catalogue import CatalogueRow
from ds01.domain.policy import Policy
from ds01.service.adoption import AdoptionRules
from ds01.service.allocations import AllocationService
from ds01.service.bell import Bell
from ds01.service.catalogue import CatalogueService
from ds01.service.containers import ContainerService
from ds01.service.creation import CreationService, Marks
from ds01.service.deadlines import DeadlineService
from ds01.service.explanations import ExplanationService
from ds01.service.helper_container import HelperContainers
from ds01.service.images import ImageService
from ds01.service.leftovers import LeftoverService
from ds01.service.limits import LimitService
from ds01.service.observation import Observer
from ds01.service.people import People
from ds01.service.ports import World
from ds01.service.presence import Presence
from ds01.service.queue import QueueService
from ds01.service.reconcile import Reconciler
from ds01.service.reservations import ReservationService
from ds01.service.scheduling import Scheduling
from ds01.service.sessions import SessionService
from ds01.service.situation import plain_boards
from ds01.service.starting import Starter
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
    queue: QueueService
    scheduling: Scheduling
    starter: Starter
    allocations: AllocationService
    deadlines: DeadlineService
    reservations: ReservationService
    bell: Bell
    explanations: ExplanationService


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
    bell = Bell()
    allocations = AllocationService(
        world.store,
        world.clock,
        bell=bell,
        half_life=lambda: policy().site.scheduling.fair_share_half_life,
    )
    scheduling = Scheduling(
        world,
        observer=observer,
        limits=limits,
        people=People(limits, world.clock),
        boards=plain_boards(policy),
    )
    presence = Presence()
    reconciler = Reconciler(
        world,
        observer=observer,
        limits=limits,
        allocations=allocations,
        scheduling=scheduling,
        presence=presence,
        adoption=AdoptionRules(only_uid, seal_key if only_uid is None else None),
    )
    images = ImageService(world.engine, helpers, world.store, catalogue)
    containers = ContainerService(
        world,
        observer=observer,
        limits=limits,
        allocations=allocations,
        scheduling=scheduling,
        presence=presence,
        reconciler=reconciler,
    )
    creation = CreationService(
        world,
        observer=observer,
        limits=limits,
        allocations=allocations,
        scheduling=scheduling,
        images=images,
        presence=presence,
        reconciler=reconciler,
        marks=Marks(seal_key, timezone),
    )
    sessions = SessionService(world.engine, containers, limits, world.accounts)
    usage = UsageService(world, observer, containers)
    offers = CatalogueService(world.engine, world.devices, images, catalogue)
    takeover = TakeoverService(world, observer=observer, limits=limits, presence=presence, only_uid=only_uid)
    leftovers = LeftoverService(world, containers, presence)
    starter = Starter(
        world,
        creation=creation,
        containers=containers,
        allocations=allocations,
        limits=limits,
        presence=presence,
        reconciler=reconciler,
    )
    deadlines = DeadlineService(world, allocations=allocations, limits=limits, presence=presence, bell=bell)
    queue = QueueService(
        world,
        scheduling=scheduling,
        creation=creation,
        containers=containers,
        starter=starter,
        limits=limits,
        observer=observer,
        bell=bell,
    )
    reservations = ReservationService(
        world, scheduling=scheduling, starter=starter, limits=limits, observer=observer, bell=bell
    )
    return Services(
        containers=containers,
        creation=creation,
        sessions=sessions,
        usage=usage,
        limits=limits,
        reconciler=reconciler,
        catalogue=offers,
        takeover=takeover,
        leftovers=leftovers,
        queue=queue,
        scheduling=scheduling,
        starter=starter,
        allocations=allocations,
        deadlines=deadlines,
        reservations=reservations,
        bell=bell,
        explanations=ExplanationService(scheduling, limits, world.clock),
    )
