"""Everything that the scheduler looks at, and what it answers with. Values only; the decisions are in `schedule`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ds01.domain.allocation import Allocation
from ds01.domain.devices.position import Position
from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.rules.site import Scheduling
from ds01.domain.scheduling.board import Board
from ds01.domain.scheduling.occupancy import ForeignContainer
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.waiting import Waiting


@dataclass(frozen=True, slots=True)
class Person:
    """What the scheduler knows of a user.

    Attributes:
        uid: The user.
        limits: What applies to the user.
        containers: Containers of the user that exist or are being made; those that wait are not counted here.
        recent_use_s: Gpu-equivalent-seconds used lately, halved with every half-life.
        is_admin: An administrator.
    """

    uid: int
    limits: EffectiveLimits
    containers: int = 0
    recent_use_s: float = 0.0
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class GroupRules:
    """What all members of a group have together.

    Attributes:
        max_gpus: Devices that they may hold; None: unlimited.
        max_gpu_equivalents: Compute that they may hold; None: unlimited.
        shares: Their part of the machine against other groups' in the fair order.
        recent_use_s: Gpu-equivalent-seconds that they used lately, halved with every half-life.
        origins: Name of a quota to `file:line`.
    """

    max_gpus: int | None = None
    max_gpu_equivalents: float | None = None
    shares: float = 1.0
    recent_use_s: float = 0.0
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Situation:
    """The scheduler's whole world at one moment.

    Attributes:
        now: The moment.
        board: Cards and positions.
        allocations: Grants that are not released.
        foreign: Containers with devices that are not ours. They end nobody knows when.
        waiting: Everything that waits, in any order.
        reservations: Those that are not over, policy's included.
        people: Everybody who waits or holds something, by uid.
        groups: Rules of groups that have any, by name.
        rules: How those who wait are served.
        release_margin: A grant whose time limit ends gives its devices back so much later at the latest.
        names_holders: Refusals may name the containers of others (the site's `access.show_holders`).
    """

    now: datetime
    board: Board
    allocations: tuple[Allocation, ...] = ()
    foreign: tuple[ForeignContainer, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    people: Mapping[int, Person] = field(default_factory=dict)
    groups: Mapping[str, GroupRules] = field(default_factory=dict)
    rules: Scheduling = field(default_factory=Scheduling)
    release_margin: timedelta = timedelta(minutes=2)
    names_holders: bool = True


@dataclass(frozen=True, slots=True)
class TakenPosition:
    """A position of a card.

    Attributes:
        card_uuid: The card.
        position: What is taken of it.
    """

    card_uuid: str
    position: Position


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request gets now.

    Attributes:
        waiting: The request.
        positions: One for each device asked for; empty for a request without GPUs.
        reason: Why these, in one phrase.
    """

    waiting: Waiting
    positions: tuple[TakenPosition, ...]
    reason: str

    @property
    def equivalents(self) -> float:
        """What the grant weighs."""
        return sum(taken.position.equivalents for taken in self.positions)


@dataclass(frozen=True, slots=True)
class Estimate:
    """When a waiting request starts, as far as one can say.

    Attributes:
        start_at: The moment; None: nobody can say (its quota, a device that is gone).
        is_promise: It is the latest start, whatever else comes; else it rests on `assumption`.
        assumption: What it rests on, in words; empty for a promise.
        place: Place in the order of those who wait, from 1.
    """

    start_at: datetime | None
    is_promise: bool
    assumption: str
    place: int


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass over the queue decides.

    Attributes:
        grants: What starts now, in the order of granting.
        promises: Request id to the latest start, for every request that has or now gets a promise.
        broken: Promises that cannot be kept (a device was lost), request id to the reason.
        order: Ids of those that still wait, in their order.
        wake_at: When the pass must run again although nothing happens (a limit, a window, `not_before`); None: never.
    """

    grants: tuple[Grant, ...]
    promises: Mapping[str, datetime]
    broken: Mapping[str, str]
    order: tuple[str, ...]
    wake_at: datetime | None
