"""The queue: requests that wait for their GPUs. Each has a durable place until it is granted, cancelled or gives up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ds01.domain.access import Caller
from ds01.domain.queue import QueueEntry
from ds01.domain.situation import Estimate, Situation
from ds01.service.creation import Creation
from ds01.service.order import CreateOrder
from ds01.service.ports import Notify


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A request as people see it.

    Attributes:
        entry: The request.
        estimate: Place and start, while it waits; None: it does not wait (any more), or the devices are unknown.
    """

    entry: QueueEntry
    estimate: Estimate | None


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a request that somebody waited for.

    Attributes:
        entry: Done, failed, cancelled or expired; `entry.reason` says why.
        creation: Outcome of its creation; None: not a creation, not done, or done before this daemon was started.
        failure: What the creation or start failed with; None: nothing, or before this daemon was started.
    """

    entry: QueueEntry
    creation: Creation | None
    failure: Exception | None


class QueueService:
    """Owns every change of a request that people ask for."""

    async def enqueue_creation(
        self, caller: Caller, order: CreateOrder, *, gives_up_after: timedelta | None = None
    ) -> QueueEntry:
        """Put an order into the queue, durably, and let the queue be served at once.

        What could never be granted is refused. If its GPUs are free now, it comes back granted (see `follow`).

        Args:
            caller: Who asks; the container is made as this user, whether or not the client still waits.
            order: The order; `time_limit`, `not_before`, `reservation` and `is_exclusive` are parts of it.
            gives_up_after: It leaves the queue then; None: it waits without end.

        Raises:
            InvalidRequestError: It can never fit, or is malformed.
            QuotaExceededError: The policy can never allow it.
            ConflictError: The user has a container, or a waiting request, of that name.
            NotFoundError: No such image, framework or reservation.
        """
        raise NotImplementedError

    async def enqueue_start(
        self, caller: Caller, uid: int, name: str, *, gives_up_after: timedelta | None = None
    ) -> QueueEntry:
        """Put the start of a container that exists into the queue: it waits for the very devices it was made with.

        Raises:
            NotFoundError: The user has no such container.
            ConflictError: It runs, it was not made by DS01, or waits already.
            NoCapacityError: A device of it is gone: waiting would not help.
        """
        raise NotImplementedError

    async def follow(self, request_id: str, notify: Notify) -> Ended:
        """Wait until a request has ended, saying whatever changes; leaving early leaves the request in its place.

        Messages: `{"kind": "waiting", "request", "place", "of", "promised_at", "estimated_at", "assumption", "reason"}`
        (times ISO 8601 or None; without an estimate nobody can say), `{"kind": "granted", "request", "gpus": [...]}`,
        and those of a creation (`step`, pulls).

        Raises:
            NotFoundError: There is no such request.
        """
        raise NotImplementedError

    async def list_(self, *, uid: int | None = None, with_ended: bool = False) -> list[QueueItem]:
        """Return the requests in the order in which they are served; those that ended come after, newest first.

        Args:
            uid: Only of this user.
            with_ended: Also what failed, expired or was cancelled within the last day.
        """
        raise NotImplementedError

    async def find(self, text: str, *, uid: int | None = None) -> QueueItem | None:
        """Return a request by its id (or its beginning, 4 digits or more), or the open one of a container's name.

        Args:
            text: Id or name.
            uid: Only of this user; a name needs it.
        """
        raise NotImplementedError

    async def cancel(self, caller: Caller, text: str, *, uid: int | None = None) -> QueueEntry:
        """Take a request out of the queue. One that is granted and being made is broken off and undone.

        Args:
            caller: Its owner, or an administrator.
            text: Id or container's name.
            uid: Whose request is meant by a name; None: the caller's.

        Raises:
            NotFoundError: No such request, or another's.
            ConflictError: It has ended.
        """
        raise NotImplementedError

    async def move(self, caller: Caller, text: str, place: int, *, reason: str = "") -> list[QueueItem]:
        """Give a request another place; promises that it so takes from others end, with an event each.

        Args:
            caller: An administrator.
            text: Id of the request.
            place: New place from 1.
            reason: Why, for the events.

        Raises:
            ForbiddenError: Not an administrator.
            NotFoundError: No such request waits.
            InvalidRequestError: No such place.
        """
        raise NotImplementedError

    async def situation(self) -> tuple[Situation, Mapping[str, QueueEntry]]:
        """Return the scheduler's whole world now, and the open requests by id: what `why` explains.

        Raises:
            BackendError: Engine or devices are unknown.
        """
        raise NotImplementedError

    async def history(self, request_id: str) -> Sequence[object]:
        """Return the events of one request, oldest first."""
        raise NotImplementedError
