"""What is known of a container before it is made: the order as it was looked at, and what the daemon adds."""

from dataclasses import dataclass
from datetime import timedelta

from ds01.domain.name import EngineName
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.user import User
from ds01.service.images import ImageChoice
from ds01.service.mounts import MountOrder
from ds01.service.observation import Observation
from ds01.service.order import CreateOrder
from ds01.service.ports import EngineInfo


@dataclass(frozen=True, slots=True)
class Prepared:
    """An order that was looked at: everything that is decided before anything is changed.

    Attributes:
        order: The order.
        name: Name on the engine.
        info: The engine.
        limits: What applies, lowered to what was asked for.
        observation: Devices and containers.
        choice: The image.
        tag: Private tag that the container is created from.
        cgroup_parent: Where its processes count; empty: nowhere.
        time_limit: Running time of the grant; None: without end.
    """

    order: CreateOrder
    name: EngineName
    info: EngineInfo
    limits: EffectiveLimits
    observation: Observation
    choice: ImageChoice
    tag: str
    cgroup_parent: str
    time_limit: timedelta | None

    def mounts_for(self, user: User) -> MountOrder:
        """Return what is to be mounted."""
        return MountOrder(user, self.order, self.limits.values.mounts)


@dataclass(frozen=True, slots=True)
class Marks:
    """What the daemon puts on every container.

    Attributes:
        seal_key: The daemon's secret.
        timezone: The machine's, for `TZ`; empty: unknown.
    """

    seal_key: bytes
    timezone: str = ""
