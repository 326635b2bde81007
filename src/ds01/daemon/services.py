"""The use cases, wired to one world: the daemon's with adapters, the tests' with fakes."""

from functools import cached_property

from ds01.daemon.foundations import Foundations
from ds01.service.adoption import AdoptionRules
from ds01.service.build_images import BuildImages
from ds01.service.building import BuildService
from ds01.service.catalogue import CatalogueService
from ds01.service.consoles import ConsoleService
from ds01.service.containers import ContainerService
from ds01.service.copying import CopyService
from ds01.service.creation import CreationService
from ds01.service.deadlines import DeadlineService
from ds01.service.drift import DriftService
from ds01.service.explanations import ExplanationService
from ds01.service.exporting import ExportService
from ds01.service.importing import ImportService
from ds01.service.last_exit import LastExit
from ds01.service.leftovers import LeftoverService
from ds01.service.limit_refresh import LimitRefresh
from ds01.service.listening import ListeningService
from ds01.service.moving import MoveService
from ds01.service.own_images import OwnImageService
from ds01.service.pausing import PauseService
from ds01.service.pip_config import PipConfigLender
from ds01.service.power import PowerService
from ds01.service.preparation import Marks
from ds01.service.queue import QueueService
from ds01.service.reconcile import Reconciler
from ds01.service.recreation import RecreationService
from ds01.service.removal import RemovalService
from ds01.service.renaming import RenameService
from ds01.service.reservations import ReservationService
from ds01.service.sessions import SessionService
from ds01.service.starting import Starter
from ds01.service.succession import Succession
from ds01.service.takeover import TakeoverService
from ds01.service.tools import ImageSupply, ToolService
from ds01.service.usage import UsageService


class Services(Foundations):
    """The use cases, each made when it is first asked for; whatever needs another names it here and nowhere else."""

    @cached_property
    def limit_refresh(self) -> LimitRefresh:
        """Gives containers that exist what a new policy changes."""
        return LimitRefresh(self._world, self.limits, self._presence)

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
            late_binding=self.late_binding,
        )
        reconciler.keep(self.mig.recover, self.instances.reconcile, self.late_binding.reconcile)
        reconciler.keep(self._helpers.clear, self.temporary_images.clear)  # a container keeps its image
        return reconciler

    @cached_property
    def image_supply(self) -> ImageSupply:
        """Where containers get their images from; one derived image is built at a time, whoever needs it."""
        return ImageSupply(self.images, ToolService(self._world.engine, self.images, self._around.build_site))

    @cached_property
    def building(self) -> BuildService:
        """Builds of people's own images."""
        return BuildService(
            self._world,
            self.limits,
            self._rows,
            self.tiers,
            images=BuildImages(self.images, self.image_rules),
            pip_config=PipConfigLender(self._world.engine, self.temporary_images),
            site=self._around.build_site,
        )

    @cached_property
    def own_images(self) -> OwnImageService:
        """Images that people built."""
        return OwnImageService(self._world, self._helpers)

    @cached_property
    def containers(self) -> ContainerService:
        """Containers that exist."""
        return ContainerService(self._world, observer=self._observer, late_binding=self.late_binding)

    @cached_property
    def power(self) -> PowerService:
        """Starts and stops."""
        return PowerService(
            self._world,
            self.containers,
            observer=self._observer,
            limits=self.limits,
            allocations=self.allocations,
            scheduling=self.scheduling,
            presence=self._presence,
            reconciler=self.reconciler,
            provision=self.provision,
        )

    @cached_property
    def removal(self) -> RemovalService:
        """Removals."""
        return RemovalService(
            self._world,
            self.containers,
            allocations=self.allocations,
            reconciler=self.reconciler,
            presence=self._presence,
        )

    @cached_property
    def creation(self) -> CreationService:
        """Makes containers."""
        return CreationService(
            self._world,
            limits=self.limits,
            allocations=self.allocations,
            scheduling=self.scheduling,
            supply=self.image_supply,
            presence=self._presence,
            reconciler=self.reconciler,
            provision=self.provision,
            marks=Marks(self._seal_key, self._around.timezone),
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
            late_binding=self.late_binding,
            only_uid=self._only_uid,
        )

    @cached_property
    def leftovers(self) -> LeftoverService:
        """What lies about."""
        return LeftoverService(self._world, self.containers, self.removal, self._presence, self.temporary_images)

    @cached_property
    def starter(self) -> Starter:
        """Carries out what the scheduler has granted."""
        return Starter(
            self._world,
            creation=self.creation,
            power=self.power,
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
    def drift(self) -> DriftService:
        """What was installed in containers."""
        return DriftService(self._world, self.containers, self._helpers)

    @cached_property
    def succession(self) -> Succession:
        """Containers that take the place of others."""
        return Succession(
            self._world,
            containers=self.containers,
            allocations=self.allocations,
            reconciler=self.reconciler,
            presence=self._presence,
            late_binding=self.late_binding,
        )

    @cached_property
    def moving(self) -> MoveService:
        """Containers whose GPUs are taken go on with others."""
        return MoveService(
            self._world,
            succession=self.succession,
            allocations=self.allocations,
            scheduling=self.scheduling,
            limits=self.limits,
            provision=self.provision,
            drift=self.drift,
            seal_key=self._seal_key,
        )

    @cached_property
    def recreation(self) -> RecreationService:
        """Containers that are made again from newer images."""
        return RecreationService(
            self._world,
            succession=self.succession,
            supply=self.image_supply,
            limits=self.limits,
            timezone=self._around.timezone,
        )

    @cached_property
    def renaming(self) -> RenameService:
        """Other names for containers."""
        return RenameService(self._world, self.containers, self._presence)

    @cached_property
    def exporting(self) -> ExportService:
        """Containers as files."""
        return ExportService(self._world, self.containers, self._presence, self.temporary_images)

    @cached_property
    def importing(self) -> ImportService:
        """Containers from files."""
        return ImportService(
            self._world,
            self.creation,
            self.images,
            self.temporary_images,
            rules=self.image_rules,
            room=self.disk_room,
        )
