"""The use cases, wired to one world: the daemon's with adapters, the tests' with fakes."""

from collections.abc import Callable, Sequence
from functools import cached_property

from ds01.config.mig_tables import table_of_card
from ds01.config.package_tiers import read_shipped_package_tiers
from ds01.domain.catalogue import CatalogueRow
from ds01.domain.package_tier import PackageTiers
from ds01.domain.policy import Policy
from ds01.service.adoption import AdoptionRules
from ds01.service.allocations import AllocationService
from ds01.service.bell import Bell
from ds01.service.building import BuildService
from ds01.service.catalogue import CatalogueService
from ds01.service.consoles import ConsoleService
from ds01.service.containers import ContainerService
from ds01.service.copying import CopyService
from ds01.service.creation import CreationService, Marks
from ds01.service.deadlines import DeadlineService
from ds01.service.dynamic_instances import DynamicInstances, OnDemandCards
from ds01.service.explanations import ExplanationService
from ds01.service.exporting import ExportService
from ds01.service.helper_container import HelperContainers
from ds01.service.images import ImageService
from ds01.service.importing import ImportService
from ds01.service.last_exit import LastExit
from ds01.service.leftovers import LeftoverService
from ds01.service.limits import LimitService
from ds01.service.listening import ListeningService
from ds01.service.mig import MigService
from ds01.service.moving import MoveService
from ds01.service.observation import Observer
from ds01.service.own_images import OwnImageService
from ds01.service.pausing import PauseService
from ds01.service.people import People
from ds01.service.ports import World
from ds01.service.presence import Presence
from ds01.service.queue import QueueService
from ds01.service.reconcile import Reconciler
from ds01.service.renaming import RenameService
from ds01.service.reservations import ReservationService
from ds01.service.scheduling import Scheduling
from ds01.service.sessions import SessionService
from ds01.service.situation import mig_boards
from ds01.service.starting import Starter
from ds01.service.takeover import TakeoverService
from ds01.service.temporary_images import TemporaryImages
from ds01.service.upkeep import UpkeepService
from ds01.service.usage import UsageService


class Services:
    """The use cases, each made when it is first asked for; whatever needs another names it here and nowhere else."""

    def __init__(
        self,
        world: World,
        policy: Callable[[], Policy],
        catalogue: Callable[[], Sequence[CatalogueRow]],
        *,
        seal_key: bytes,
        only_uid: int | None,
        timezone: str = "",
        boot: str = "",
        tiers: Callable[[], PackageTiers] = read_shipped_package_tiers,
    ) -> None:
        """Wire the use cases to a world.

        Args:
            world: Everything outside.
            policy: Returns the policy in force.
            catalogue: Returns the rows of framework images in force.
            seal_key: The daemon's secret.
            only_uid: A personal daemon's user; None: a server, which adopts only what is sealed.
            timezone: The machine's, for `TZ` inside containers; empty: unknown.
            boot: The kernel's name of the present boot; empty: unknown.
            tiers: Returns the table of packages that images are offered.
        """
        self._world = world
        self._policy = policy
        self._rows = catalogue
        self._seal_key = seal_key
        self._only_uid = only_uid
        self._timezone = timezone
        self._boot = boot
        self.tiers = tiers
        self._observer = Observer(world.engine, world.devices)
        self._helpers = HelperContainers(world.engine, world.clock)
        self._presence = Presence()
        self.bell = Bell()

    @cached_property
    def limits(self) -> LimitService:
        """What applies to whom."""
        return LimitService(self._helpers, self._policy, self._world.accounts)

    @cached_property
    def upkeep(self) -> UpkeepService:
        """Drained and unhealthy devices."""
        return UpkeepService(self._world, self.bell, boot=self._boot)

    @cached_property
    def allocations(self) -> AllocationService:
        """Every change of a grant."""
        return AllocationService(
            self._world.store,
            self._world.clock,
            bell=self.bell,
            half_life=lambda: self._policy().site.scheduling.fair_share_half_life,
        )

    @cached_property
    def scheduling(self) -> Scheduling:
        """Who gets which device, and when."""
        return Scheduling(
            self._world,
            observer=self._observer,
            limits=self.limits,
            people=People(self.limits, self._world.clock),
            boards=mig_boards(self._policy, self.upkeep.unusable, OnDemandCards(table_of_card)),
        )

    @cached_property
    def instances(self) -> DynamicInstances:
        """MIG instances that are made for a grant and go with it."""
        return DynamicInstances(self._world, observer=self._observer, tables=table_of_card)

    @cached_property
    def mig(self) -> MigService:
        """Layouts of cards."""
        return MigService(self._world, observer=self._observer, instances=self.instances, tables=table_of_card)

    @cached_property
    def reconciler(self) -> Reconciler:
        """Makes rows, grants, containers and instances agree."""
        reconciler = Reconciler(
            self._world,
            observer=self._observer,
            limits=self.limits,
            allocations=self.allocations,
            scheduling=self.scheduling,
            presence=self._presence,
            adoption=AdoptionRules(self._only_uid, self._seal_key if self._only_uid is None else None),
        )
        reconciler.keep(self.mig.recover, self.instances.reconcile, self.temporary_images.clear)
        return reconciler

    @cached_property
    def images(self) -> ImageService:
        """Finds, pulls and looks into images."""
        return ImageService(self._world.engine, self._helpers, self._world.store, self._rows)

    @cached_property
    def building(self) -> BuildService:
        """Builds of people's own images."""
        return BuildService(self._world, self.limits, self._rows, self.tiers)

    @cached_property
    def own_images(self) -> OwnImageService:
        """Images that people built."""
        return OwnImageService(self._world, self._helpers)

    @cached_property
    def containers(self) -> ContainerService:
        """Containers that exist."""
        return ContainerService(
            self._world,
            observer=self._observer,
            limits=self.limits,
            allocations=self.allocations,
            scheduling=self.scheduling,
            presence=self._presence,
            reconciler=self.reconciler,
        )

    @cached_property
    def creation(self) -> CreationService:
        """Makes containers."""
        return CreationService(
            self._world,
            limits=self.limits,
            allocations=self.allocations,
            scheduling=self.scheduling,
            images=self.images,
            presence=self._presence,
            reconciler=self.reconciler,
            instances=self.instances,
            marks=Marks(self._seal_key, self._timezone),
        )

    @cached_property
    def sessions(self) -> SessionService:
        """Programs in containers."""
        return SessionService(self._world.engine, self.containers, self.limits, self._world.accounts, self.last_exit)

    @cached_property
    def consoles(self) -> ConsoleService:
        """Main processes of containers, watched and typed into."""
        return ConsoleService(self._world.engine, self.containers, self.limits)

    @cached_property
    def last_exit(self) -> LastExit:
        """Containers whose last session has ended."""
        return LastExit(self._world, allocations=self.allocations, limits=self.limits, presence=self._presence)

    @cached_property
    def usage(self) -> UsageService:
        """What is used now."""
        return UsageService(self._world, self._observer, self.containers, self.upkeep)

    @cached_property
    def catalogue(self) -> CatalogueService:
        """Framework images that this machine can run."""
        return CatalogueService(self._world.engine, self._world.devices, self.images, self._rows)

    @cached_property
    def takeover(self) -> TakeoverService:
        """Containers that others made, taken under management."""
        return TakeoverService(
            self._world,
            observer=self._observer,
            limits=self.limits,
            presence=self._presence,
            only_uid=self._only_uid,
        )

    @cached_property
    def leftovers(self) -> LeftoverService:
        """What lies about."""
        return LeftoverService(self._world, self.containers, self._presence, self.temporary_images)

    @cached_property
    def starter(self) -> Starter:
        """Carries out what the scheduler has granted."""
        return Starter(
            self._world,
            creation=self.creation,
            containers=self.containers,
            allocations=self.allocations,
            limits=self.limits,
            presence=self._presence,
            reconciler=self.reconciler,
        )

    @cached_property
    def deadlines(self) -> DeadlineService:
        """What falls due."""
        return DeadlineService(
            self._world, allocations=self.allocations, limits=self.limits, presence=self._presence, bell=self.bell
        )

    @cached_property
    def queue(self) -> QueueService:
        """Who waits."""
        return QueueService(
            self._world,
            scheduling=self.scheduling,
            creation=self.creation,
            containers=self.containers,
            starter=self.starter,
            limits=self.limits,
            observer=self._observer,
            bell=self.bell,
        )

    @cached_property
    def reservations(self) -> ReservationService:
        """GPUs kept for a time."""
        return ReservationService(
            self._world,
            scheduling=self.scheduling,
            starter=self.starter,
            limits=self.limits,
            observer=self._observer,
            bell=self.bell,
        )

    @cached_property
    def explanations(self) -> ExplanationService:
        """Why somebody waits, and what would help."""
        return ExplanationService(self.scheduling, self.limits, self._world.clock)

    @cached_property
    def copying(self) -> CopyService:
        """Files into containers and out of them."""
        return CopyService(self._world.engine, self.containers, self.limits)

    @cached_property
    def listening(self) -> ListeningService:
        """Ports of containers."""
        return ListeningService(self._world.engine, self.containers)

    @cached_property
    def pausing(self) -> PauseService:
        """Containers that are frozen for a while."""
        return PauseService(self._world, self.containers, self._presence)

    @cached_property
    def moving(self) -> MoveService:
        """Containers whose GPUs are taken go on with others."""
        return MoveService(
            self._world,
            containers=self.containers,
            allocations=self.allocations,
            scheduling=self.scheduling,
            limits=self.limits,
            instances=self.instances,
            reconciler=self.reconciler,
            presence=self._presence,
            seal_key=self._seal_key,
        )

    @cached_property
    def renaming(self) -> RenameService:
        """Other names for containers."""
        return RenameService(self._world, self.containers, self._presence)

    @cached_property
    def temporary_images(self) -> TemporaryImages:
        """Images that exist only while a container is exported or imported."""
        return TemporaryImages(self._world.engine, only_uid=self._only_uid)

    @cached_property
    def exporting(self) -> ExportService:
        """Containers as files."""
        return ExportService(self._world, self.containers, self._presence, self.temporary_images)

    @cached_property
    def importing(self) -> ImportService:
        """Containers from files."""
        return ImportService(self._world, self.creation, self.images, self.temporary_images)
