"""The parts that the use cases of the daemon share."""

from collections.abc import Callable, Sequence
from functools import cached_property

from ds01.config.mig_tables import table_of_card
from ds01.daemon.surroundings import Surroundings
from ds01.domain.images.catalogue import CatalogueRow
from ds01.domain.rules.policy import Policy
from ds01.service.allocations import AllocationService
from ds01.service.bell import Bell
from ds01.service.disk_room import DiskRoom
from ds01.service.dynamic_instances import DynamicInstances, OnDemandCards
from ds01.service.helper_container import HelperContainers
from ds01.service.image_rules import ImageRules
from ds01.service.images import ImageService
from ds01.service.late_binding import LateBinding
from ds01.service.limits import LimitService
from ds01.service.mig import MigService
from ds01.service.observation import Observer
from ds01.service.people import People
from ds01.service.ports import World
from ds01.service.presence import Presence
from ds01.service.provision import Provision
from ds01.service.scheduling import Scheduling
from ds01.service.situation import mig_boards
from ds01.service.temporary_images import TemporaryImages
from ds01.service.upkeep import UpkeepService


class Foundations:
    """What several use cases stand on, each made when it is first asked for."""

    def __init__(
        self,
        world: World,
        policy: Callable[[], Policy],
        catalogue: Callable[[], Sequence[CatalogueRow]],
        *,
        seal_key: bytes,
        only_uid: int | None,
        surroundings: Surroundings | None = None,
    ) -> None:
        """Stand on a world.

        Args:
            world: Everything outside.
            policy: Returns the policy in force.
            catalogue: Returns the rows of framework images in force.
            seal_key: The daemon's secret.
            only_uid: A personal daemon's user; None: a server, which adopts only what is sealed.
            surroundings: What else is known of the machine and its site; None: nothing.
        """
        self._world = world
        self._policy = policy
        self._rows = catalogue
        self._seal_key = seal_key
        self._only_uid = only_uid
        self._around = surroundings or Surroundings()
        self._observer = Observer(world.engine, world.devices, find_bound=self._find_bound)
        self._helpers = HelperContainers(world.engine, world.clock, key=seal_key)
        self._presence = Presence()
        self.tiers = self._around.tiers
        self.disk_room = DiskRoom(world.engine, self._around.free_bytes)
        self.bell = Bell()

    @cached_property
    def limits(self) -> LimitService:
        """What applies to whom."""
        return LimitService(self._helpers, self._policy, self._world.accounts)

    @cached_property
    def late_binding(self) -> LateBinding:
        """GPUs that containers get at each start."""
        return LateBinding(
            self._world,
            self._around.cdi,
            limits=self.limits,
            settings=lambda: self._policy().site.late_binding,
            find_attachment=self._observer.find_attachment,
        )

    @cached_property
    def provision(self) -> Provision:
        """How granted devices come into containers."""
        return Provision(self.instances, self.late_binding)

    async def _find_bound(self, engine_id: str, name: str) -> frozenset[str] | None:
        return await self.late_binding.find_gpus(engine_id, name)

    @cached_property
    def upkeep(self) -> UpkeepService:
        """Drained and unhealthy devices."""
        return UpkeepService(self._world, self.bell, boot=self._around.boot)

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
    def image_rules(self) -> ImageRules:
        """Whose images may be used, and where they may be fetched from."""
        return ImageRules(self._world.engine, self._policy, is_personal=self._only_uid is not None)

    @cached_property
    def images(self) -> ImageService:
        """Finds, pulls and looks into images."""
        return ImageService(self._world.engine, self._helpers, self._world.store, self._rows, self.image_rules)

    @cached_property
    def temporary_images(self) -> TemporaryImages:
        """Images that exist only while a container is exported or imported."""
        return TemporaryImages(self._world, only_uid=self._only_uid)
