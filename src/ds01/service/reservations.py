"""Reservations: GPUs kept for somebody in a window. Devices are chosen late; nobody is stopped for one."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ds01.domain.access import Caller
from ds01.domain.request import GpuRequest
from ds01.domain.reservation import Reservation


@dataclass(frozen=True, slots=True)
class ReservationOrder:
    """A reservation as somebody wants it.

    Attributes:
        request: How many devices, of which kind.
        start_at: Begin, aware.
        end_at: End, aware.
        name: Name; empty: one is made.
        uid: For this user; None with `group`.
        group: For this group; None with `uid`.
        reason: Why, for people.
    """

    request: GpuRequest
    start_at: datetime
    end_at: datetime
    name: str = ""
    uid: int | None = None
    group: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """Something that takes devices for a time.

    Attributes:
        what: `grant`, `hold`, `foreign`, `reservation` or `promise`.
        gpu_uuid: The device; None: not chosen yet (a reservation, a promise).
        kind: Kind as it was asked for.
        count: Devices.
        uid: Whose; None: nobody can be named, or a group's.
        group: Group of a reservation, or of the user.
        name: Container, reservation or request.
        start_at: From when on.
        end_at: Until when; None: nobody knows.
        is_certain: The end is certain (a time limit, a window); else it is assumed or unknown.
    """

    what: str
    gpu_uuid: str | None
    kind: str
    count: int
    uid: int | None
    group: str
    name: str
    start_at: datetime
    end_at: datetime | None
    is_certain: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is taken from one moment to another.

    Attributes:
        start_at: Begin.
        end_at: End.
        spans: In the order of devices, then of their begin.
    """

    start_at: datetime
    end_at: datetime
    spans: tuple[Span, ...]


class ReservationService:
    """Owns every change of a reservation."""

    async def create(self, caller: Caller, order: ReservationOrder, *, dry_run: bool = False) -> Reservation:
        """Make a reservation, if it can be kept beside everything that is held, promised and reserved already.

        Raises:
            InvalidRequestError: The window is reversed, in the past or too long, the kind or the number cannot exist.
            ForbiddenError: It is for somebody else, and the caller is no administrator.
            QuotaExceededError: A user's own is over the allowance of their group.
            ConflictError: It cannot be kept; `details["conflicts"]` lists what stands in the way, each as
                `{"what", "name", "gpus", "start_at", "end_at"}`.
        """
        raise NotImplementedError

    async def list_(self, *, with_over: bool = False) -> list[Reservation]:
        """Return the reservations that are not over by their begin, the policy's among them.

        Args:
            with_over: Also those that ended.
        """
        raise NotImplementedError

    async def get(self, text: str) -> Reservation:
        """Return one by name or id (or its beginning).

        Raises:
            NotFoundError: There is none.
        """
        raise NotImplementedError

    async def cancel(self, caller: Caller, text: str) -> Reservation:
        """End a reservation now. What was granted inside goes on until its end.

        Raises:
            NotFoundError: There is none.
            ForbiddenError: It is another's, or the policy file's.
            ConflictError: It is over.
        """
        raise NotImplementedError

    async def timeline(self, start_at: datetime | None = None, length: timedelta = timedelta(days=7)) -> Timeline:
        """Return what is taken from a moment on: grants, holds, foreign containers, reservations, promises.

        Args:
            start_at: Begin; None: now.
            length: How far.

        Raises:
            BackendError: Engine or devices are unknown.
        """
        raise NotImplementedError
