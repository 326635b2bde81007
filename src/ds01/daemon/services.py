"""The use cases, wired to one world: the daemon's with adapters, the tests' with fakes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ds01.config.mig_tables import table_of_card
from ds01.domain.catalogue import CatalogueRow
from ds01.domain.policy import Policy
from ds01.service.adoption import AdoptionRules
from ds01.service.allocations import AllocationService
from ds01.service.bell import Bell
from ds01.service.catalogue import CatalogueService
from ds01.service.containers import ContainerService
from ds01.service.creation import CreationService, Marks
from ds01.service.deadlines import DeadlineService
from ds01.service.dynamic_instances import DynamicInstances, OnDemandCards
from ds01.service.explanations import ExplanationService
from ds01.service.helper_container import HelperContainers
from ds01.service.images import ImageService
from ds01.service.leftovers import LeftoverService
from ds01.service.limits import LimitService
from ds01.service.mig import MigService
from ds01.service.observation import Observer
from ds01.service.people import People
from ds01.service.ports import World
from ds01.service.presence import Presence
from ds01.service.queue import QueueService
from ds01.service.reconcile import Reconciler
from ds01.service.reservations import ReservationService
from ds01.service.scheduling import Scheduling
from ds01.service.sessions import SessionService
from ds01.service.situation import mig_boards
from ds01.service.starting import Starter
from ds01.service.takeover import TakeoverService
from ds01.service.upkeep import UpkeepService
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
    mig: MigService
    instances: DynamicInstances
    upkeep: UpkeepService
    explanations: ExplanationService


@dataclass(frozen=True, slots=True)
class Ground:
    """What every use case stands on."""

    observer: Observer
    helpers: HelperContainers
    limits: LimitService
    bell: Bell
    upkeep: UpkeepService
    allocations: AllocationService
    scheduling: Scheduling
    presence: Presence
    instances: DynamicInstances


def lay_ground(world: World, policy: Callable[[], Policy], *, boot: str = "") -> Ground:
    """Return what grants, limits and observations need.

    Args:
        world: Everything outside.
        policy: Returns the policy in force.
        boot: The kernel's name of the present boot; empty: unknown.
    """
    observer = Observer(world.engine, world.devices)
    helpers = HelperContainers(world.engine, world.clock)
    limits = LimitService(helpers, policy, world.accounts)
    bell = Bell()
    upkeep = UpkeepService(world, bell, boot=boot)
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
        boards=mig_boards(policy, upkeep.unusable, OnDemandCards(table_of_card)),
    )
    return Ground(
        observer=observer,
        helpers=helpers,
        limits=limits,
        bell=bell,
        upkeep=upkeep,
        allocations=allocations,
        scheduling=scheduling,
        presence=Presence(),
        instances=DynamicInstances(world, observer=observer, tables=table_of_card),
    )


def build_services(
    world: World,
    policy: Callable[[], Policy],
    catalogue: Callable[[], Sequence[CatalogueRow]],
    *,
    seal_key: bytes,
    only_uid: int | None,
    timezone: str = "",
    boot: str = "",
) -> Services:
    """Return the use cases for a world. Tests build them with fakes by the same function.

    Args:
        world: Everything outside.
        policy: Returns the policy in force.
        catalogue: Returns the rows of framework images in force.
        seal_key: The daemon's secret.
        only_uid: A personal daemon's user; None: a server, which adopts only what is sealed.
        timezone: The machine's, for `TZ` inside containers; empty: unknown.
        boot: The kernel's name of the present boot; empty: unknown.
    """
    ground = lay_ground(world, policy, boot=boot)
    limits, observer = ground.limits, ground.observer
    reconciler = _reconciler(world, ground, AdoptionRules(only_uid, seal_key if only_uid is None else None))
    mig = MigService(world, observer=observer, instances=ground.instances, tables=table_of_card)
    reconciler.keep(mig.recover, ground.instances.reconcile)
    images = ImageService(world.engine, ground.helpers, world.store, catalogue)
    containers = _containers(world, ground, reconciler)
    creation = _creation(world, ground, reconciler, images, Marks(seal_key, timezone))
    starter = _starter(world, ground, reconciler, containers, creation)
    return Services(
        containers=containers,
        creation=creation,
        sessions=SessionService(world.engine, containers, limits, world.accounts),
        usage=UsageService(world, observer, containers, ground.upkeep),
        limits=limits,
        reconciler=reconciler,
        catalogue=CatalogueService(world.engine, world.devices, images, catalogue),
        takeover=_takeover(world, ground, only_uid),
        leftovers=LeftoverService(world, containers, ground.presence),
        queue=_queue(world, ground, containers, creation, starter),
        scheduling=ground.scheduling,
        starter=starter,
        allocations=ground.allocations,
        deadlines=_deadlines(world, ground),
        reservations=_reservations(world, ground, starter),
        bell=ground.bell,
        mig=mig,
        instances=ground.instances,
        upkeep=ground.upkeep,
        explanations=ExplanationService(ground.scheduling, ground.limits, world.clock),
    )


def _reconciler(world: World, ground: Ground, adoption: AdoptionRules) -> Reconciler:
    return Reconciler(
        world,
        observer=ground.observer,
        limits=ground.limits,
        allocations=ground.allocations,
        scheduling=ground.scheduling,
        presence=ground.presence,
        adoption=adoption,
    )


def _containers(world: World, ground: Ground, reconciler: Reconciler) -> ContainerService:
    return ContainerService(
        world,
        observer=ground.observer,
        limits=ground.limits,
        allocations=ground.allocations,
        scheduling=ground.scheduling,
        presence=ground.presence,
        reconciler=reconciler,
    )


def _creation(
    world: World, ground: Ground, reconciler: Reconciler, images: ImageService, marks: Marks
) -> CreationService:
    return CreationService(
        world,
        limits=ground.limits,
        allocations=ground.allocations,
        scheduling=ground.scheduling,
        images=images,
        presence=ground.presence,
        reconciler=reconciler,
        instances=ground.instances,
        marks=marks,
    )


def _takeover(world: World, ground: Ground, only_uid: int | None) -> TakeoverService:
    return TakeoverService(
        world, observer=ground.observer, limits=ground.limits, presence=ground.presence, only_uid=only_uid
    )


def _starter(
    world: World, ground: Ground, reconciler: Reconciler, containers: ContainerService, creation: CreationService
) -> Starter:
    return Starter(
        world,
        creation=creation,
        containers=containers,
        allocations=ground.allocations,
        limits=ground.limits,
        presence=ground.presence,
        reconciler=reconciler,
    )


def _queue(
    world: World, ground: Ground, containers: ContainerService, creation: CreationService, starter: Starter
) -> QueueService:
    return QueueService(
        world,
        scheduling=ground.scheduling,
        creation=creation,
        containers=containers,
        starter=starter,
        limits=ground.limits,
        observer=ground.observer,
        bell=ground.bell,
    )


def _deadlines(world: World, ground: Ground) -> DeadlineService:
    return DeadlineService(
        world, allocations=ground.allocations, limits=ground.limits, presence=ground.presence, bell=ground.bell
    )


def _reservations(world: World, ground: Ground, starter: Starter) -> ReservationService:
    return ReservationService(
        world,
        scheduling=ground.scheduling,
        starter=starter,
        limits=ground.limits,
        observer=ground.observer,
        bell=ground.bell,
    )
