"""Why a request waits: every cause, and what would help. Values only; `why` finds them, `why_text` says them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ds01.domain.scheduling.quota import QuotaExcess, Usage
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.situation import Estimate, Grant
from ds01.domain.scheduling.waiting import Waiting


@dataclass(frozen=True, slots=True)
class NeverCause:
    """The machine, or the policy, can never give it.

    Attributes:
        message: What is said to somebody who asks for it.
        hint: What could be asked for instead.
    """

    message: str
    hint: str | None


@dataclass(frozen=True, slots=True)
class QuotaCause:
    """A quota is reached.

    Attributes:
        excess: Which, with its figures.
        group: The group, where it is the group's.
        members: Who of the group holds what, most first; empty for a user's own quota.
        own: The user's containers that hold something, for a user's own quota.
    """

    excess: QuotaExcess
    group: str = ""
    members: tuple[tuple[int, Usage], ...] = ()
    own: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotBeforeCause:
    """It was asked for later.

    Attributes:
        at: It does not start before.
    """

    at: datetime


@dataclass(frozen=True, slots=True)
class Blocker:
    """Somebody who holds a device that would do.

    Attributes:
        uid: Owner; None: nobody can be named.
        group: The owner's group; empty: not known.
        container_name: The container.
        gpu_uuid: The device; of an instance that is made on demand the place, `GPU-uuid/profile@start`.
        address: The device as people type it, `0` or `0:1`.
        profile: What is held: `full` or a MIG profile.
        since: When it was granted.
        state: State of the grant, or `foreign`.
        until: Its hold, or an unfinished claim, ends then; None: no such end.
        ends_at: End of its time limit; None: nobody knows when it ends.
    """

    uid: int | None
    group: str
    container_name: str
    gpu_uuid: str
    address: str
    profile: str
    since: datetime
    state: str
    until: datetime | None = None
    ends_at: datetime | None = None

    @property
    def free_at(self) -> datetime | None:
        """When the device comes back at the latest; None: nobody knows."""
        known = [moment for moment in (self.until, self.ends_at) if moment is not None]
        return min(known) if known else None


@dataclass(frozen=True, slots=True)
class CapacityCause:
    """Too few devices that would do are free.

    Attributes:
        asked: How many are asked for.
        free: How many of one kind could be taken now at most.
        existing: How many of one kind exist at most.
        blockers: Who holds the others, in the order of the devices.
    """

    asked: int
    free: int
    existing: int
    blockers: tuple[Blocker, ...]


@dataclass(frozen=True, slots=True)
class DeviceCause:
    """A card that might do cannot be used.

    Attributes:
        uuid: The card.
        index: The driver's index.
        model: Product name.
        reason: Why: drained, unhealthy, in use past us, MIG without instances.
    """

    uuid: str
    index: int
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class FixedCause:
    """A container that exists needs the very devices that it was made with.

    Attributes:
        gpus: Those of them that are not free, as people type them.
        blockers: Who holds them.
        gone: Those that the machine does not have any more, or that cannot be used.
    """

    gpus: tuple[str, ...]
    blockers: tuple[Blocker, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReservationCause:
    """Devices are kept for somebody else.

    Attributes:
        reservation: Whose, for when, what.
    """

    reservation: Reservation


class Rank(StrEnum):
    """Why a request comes before another."""

    PROMISE = "promise"
    MOVED = "moved"
    PRIORITY = "priority"
    FAIR_SHARE = "fair_share"
    AGE = "age"


@dataclass(frozen=True, slots=True)
class OrderCause:
    """Somebody is before it.

    Attributes:
        waiting: The other request.
        rank: Why it is before this one.
        starts_now: It gets its devices right now.
    """

    waiting: Waiting
    rank: Rank
    starts_now: bool = False


@dataclass(frozen=True, slots=True)
class PromiseCause:
    """It would fit, and would push back somebody who was promised a start, or who is first.

    Attributes:
        waiting: Who is protected.
        start_at: The start that is kept; None: none is promised, and nobody may be pushed back who is first.
        is_promise: It was promised; else it is an estimate.
    """

    waiting: Waiting
    start_at: datetime | None
    is_promise: bool


Cause = (
    NeverCause
    | QuotaCause
    | NotBeforeCause
    | CapacityCause
    | DeviceCause
    | FixedCause
    | ReservationCause
    | OrderCause
    | PromiseCause
)


class Way(StrEnum):
    """What could be done."""

    FEWER_GPUS = "fewer_gpus"
    OTHER_KIND = "other_kind"
    LESS_MEMORY = "less_memory"
    SHORTER_TIME = "shorter_time"
    SHARED = "shared"
    RESERVATION = "reservation"
    GIVE_BACK = "give_back"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """Something that the planner has really tried, and that works.

    Attributes:
        way: What.
        waiting: The request as it would be asked for; for `give_back` and `wait` as it is.
        grant: What it gets.
        start_at: When: now, or for `wait` the moment.
        given_back: Allocations that end for it: one of the user's own, or those whose end is waited for.
        containers: Their containers, with their owners.
    """

    way: Way
    waiting: Waiting
    grant: Grant
    start_at: datetime
    given_back: tuple[str, ...] = ()
    containers: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer to "why".

    Attributes:
        waiting: The request.
        grant: What it gets now; None: it waits.
        causes: Every cause; empty exactly when it is granted.
        estimate: When it starts; None for a request that does not wait.
        counterfactuals: What would help, best first.
    """

    waiting: Waiting
    grant: Grant | None
    causes: tuple[Cause, ...]
    estimate: Estimate | None
    counterfactuals: tuple[Counterfactual, ...]


@dataclass(frozen=True, slots=True)
class GpuExplanation:
    """Why a device is not grantable.

    Attributes:
        uuid: The device.
        gpu: As people type it.
        is_free: It could be granted now; of a card that is cut into instances, something of it.
        unusable: Why nothing of its card can be granted; empty: it can.
        blockers: Who holds it, its parent, or a part of it.
        reservations: Kept for these, now or soon.
        shares: Into how many parts it is divided; 1: it is exclusive.
        free_shares: How many of them are free.
    """

    uuid: str
    gpu: str
    is_free: bool
    unusable: str
    blockers: tuple[Blocker, ...]
    reservations: tuple[Reservation, ...]
    shares: int = 1
    free_shares: int = 0
