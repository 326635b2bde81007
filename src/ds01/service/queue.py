"""The queue: requests that wait for their GPUs. Each has a durable place until it is granted, cancelled or gives up."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from ds01.domain.rules.access import Caller, container_not_found
from ds01.domain.scheduling.queue import KEPT_AFTER_END, Purpose, QueueEntry, QueueState, end_entry, request_not_found
from ds01.domain.scheduling.queue_move import Affected, Place
from ds01.domain.scheduling.reservation_choice import choose_reservation
from ds01.domain.scheduling.reservation_life import policy_reservations
from ds01.domain.scheduling.situation import Estimate, Situation
from ds01.errors import ConflictError, ForbiddenError, InvalidRequestError
from ds01.service.bell import Bell
from ds01.service.completion import complete
from ds01.service.containers import ContainerService
from ds01.service.creation import Creation, CreationService
from ds01.service.decisions import name_taken, require_usable
from ds01.service.granting import request_event
from ds01.service.limits import LimitService
from ds01.service.observation import Observation, Observer, granted_rows
from ds01.service.order import CreateOrder
from ds01.service.outlook import Outlook, Outlooks
from ds01.service.ports import Notify, StoreTransaction, World
from ds01.service.progress import Story
from ds01.service.queue_entries import Move, find_entry
from ds01.service.regranting import newcomer_of
from ds01.service.scheduling import Check, Round, Scheduling, restart_of
from ds01.service.situation import View
from ds01.service.starting import Starter

LONGEST_LOOK = timedelta(seconds=30)
LONGEST_WAIT = timedelta(days=365)


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
class Moved:
    """A request that an administrator gave another place.

    Attributes:
        item: It, at its new place.
        promises: Promises of others that this has changed.
    """

    item: QueueItem
    promises: tuple[Affected, ...]


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

    def __init__(
        self,
        world: World,
        *,
        scheduling: Scheduling,
        creation: CreationService,
        containers: ContainerService,
        starter: Starter,
        limits: LimitService,
        observer: Observer,
        bell: Bell,
    ) -> None:
        self._store = world.store
        self._clock = world.clock
        self._scheduling = scheduling
        self._creation = creation
        self._containers = containers
        self._starter = starter
        self._limits = limits
        self._observer = observer
        self._bell = bell
        self._outlooks = Outlooks(scheduling, bell, world.clock)

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
        _require_valid_wait(gives_up_after)
        prepared = await self._creation.prepare(caller, order)
        now = self._clock.now()
        waiting = replace(
            self._creation.claim_order(caller, prepared).waiting(now),
            id=secrets.token_hex(8),
            gives_up_at=now + gives_up_after if gives_up_after is not None else None,
        )
        entry = QueueEntry(waiting, Purpose.CREATE, order.to_text(), QueueState.WAITING, now, image=prepared.tag)

        def check(transaction: StoreTransaction, situation: Situation) -> QueueEntry:
            if transaction.find_container(entry.uid, waiting.container_name) is not None:
                raise name_taken(waiting.container_name)
            reservation = choose_reservation(situation, waiting, order.reservation)
            return replace(entry, waiting=replace(waiting, reservation=reservation))

        return await self._enqueue(caller, entry, prepared.observation, check)

    async def enqueue_start(
        self, caller: Caller, uid: int, name: str, *, gives_up_after: timedelta | None = None
    ) -> QueueEntry:
        """Put the start of a container that exists into the queue: it waits for the very devices it was made with.

        One that is bound late waits for whatever its request allows.

        Raises:
            NotFoundError: The user has no such container.
            ConflictError: It runs, it was not made by DS01, it needs no GPU that it has not, or it waits already.
            NoCapacityError: A device of it is gone: waiting would not help.
        """
        _require_valid_wait(gives_up_after)
        details = await self._containers.get_details(uid, name)
        if details.state.has_processes:
            raise ConflictError(f"{name} is {details.state}.", hint=f"Open it: `ds01 open {name}`.")
        row = await self._containers.find_row(details)
        allocation = await self._containers.find_allocation(row)
        if row is None or allocation is None:
            raise ConflictError(f"{name} was not made by DS01: it cannot wait for GPUs.", hint=f"`ds01 start {name}`")
        if allocation.is_holding or not allocation.gpu_uuids:
            raise ConflictError(f"{name} need not wait: nothing it needs is another's.", hint=f"`ds01 start {name}`")
        limits = await self._limits.owner_limits(uid)
        granted = await self._store.read(granted_rows)
        observation = (await self._observer.observe(granted)).for_start_of(details.id)
        now = self._clock.now()
        if details.attachment.managed_device is None:
            require_usable(name, allocation.gpu_uuids, observation.inventory)
            waiting = restart_of(allocation, limits, now)
        else:
            waiting = newcomer_of(row, allocation, limits, now)
        if gives_up_after is not None:
            waiting = replace(waiting, gives_up_at=now + gives_up_after)
        entry = QueueEntry(waiting, Purpose.START, "", QueueState.WAITING, now)

        def check(transaction: StoreTransaction, situation: Situation) -> QueueEntry:
            present = transaction.find_container(uid, waiting.container_name)
            if present is None or present.nonce != row.nonce:
                raise container_not_found(name)
            reservation = choose_reservation(situation, waiting, None)
            return replace(entry, waiting=replace(waiting, reservation=reservation))

        return await self._enqueue(caller, entry, observation, check)

    async def _enqueue(self, caller: Caller, entry: QueueEntry, observation: Observation, check: Check) -> QueueEntry:
        self._starter.progress.of(entry.id)
        return await complete(self._enqueue_and_launch(caller, entry, observation, check))

    async def _enqueue_and_launch(
        self, caller: Caller, entry: QueueEntry, observation: Observation, check: Check
    ) -> QueueEntry:
        served = await self._scheduling.enqueue(entry, observation, actor_uid=caller.uid, check=check)
        self._starter.launch(served.granted)
        self._bell.ring()
        present = await self._store.read(lambda transaction: transaction.find_waiting(entry.id))
        return present or entry

    async def follow(self, request_id: str, notify: Notify) -> Ended:
        """Wait until a request has ended, saying whatever changes; leaving early leaves the request in its place.

        Messages: `{"kind": "waiting", "request", "place", "of", "promised_at", "estimated_at", "assumption", "reason"}`
        (times ISO 8601 or None; without an estimate nobody can say), `{"kind": "granted", "request", "gpus": [...]}`,
        and those of a creation (`step`, pulls).

        Raises:
            NotFoundError: There is no such request.
        """
        told, last = 0, None
        while True:
            story = self._starter.progress.of(request_id)
            ticket = story.bell.ticket()
            entry = await self._store.read(lambda transaction: transaction.find_waiting(request_id))
            if entry is None:
                raise request_not_found(request_id)
            for message in story.since(told):
                await notify(message)
            told = story.told
            if not entry.state.is_open and not self._starter.is_under_way(request_id):
                return _ended(entry, story)
            if entry.state is QueueState.WAITING:
                message = await self._waiting_message(entry)
                if message != last:
                    await notify(message)
                last = message
            await story.bell.wait(ticket, LONGEST_LOOK)

    async def _waiting_message(self, entry: QueueEntry) -> dict[str, object]:
        outlook = await self._outlooks.look()
        estimate = outlook.estimates.get(entry.id) if outlook is not None else None
        start_at = estimate.start_at.isoformat(timespec="seconds") if estimate and estimate.start_at else None
        is_promise = estimate is not None and estimate.is_promise
        return {
            "kind": "waiting",
            "request": entry.id,
            "place": estimate.place if estimate is not None else None,
            "of": len(outlook.estimates) if outlook is not None else None,
            "promised_at": start_at if is_promise else None,
            "estimated_at": None if is_promise else start_at,
            "assumption": estimate.assumption if estimate is not None else "",
            "reason": entry.reason,
        }

    async def list_(self, *, uid: int | None = None, with_ended: bool = False) -> list[QueueItem]:
        """Return the requests in the order in which they are served; those that ended come after, newest first.

        Args:
            uid: Only of this user.
            with_ended: Also what failed, expired or was cancelled within the last day.
        """
        waiting, ended = await self._store.read(
            lambda transaction: (transaction.list_waiting(), transaction.list_ended() if with_ended else [])
        )
        is_any_waiting = any(entry.state is QueueState.WAITING for entry in waiting)
        outlook = await self._outlooks.look() if is_any_waiting else None
        estimates = outlook.estimates if outlook is not None else {}
        items = [QueueItem(entry, estimates.get(entry.id)) for entry in waiting]
        items.sort(key=lambda item: (item.entry.state is QueueState.WAITING, _place_of(item)))
        oldest = self._clock.now() - KEPT_AFTER_END
        shown = [entry for entry in ended if entry.state is not QueueState.DONE and entry.changed_at >= oldest]
        items += [QueueItem(entry, None) for entry in shown]
        return [item for item in items if uid is None or item.entry.uid == uid]

    async def find(self, text: str, *, uid: int | None = None) -> QueueItem | None:
        """Return a request by its id (or its beginning, 4 digits or more), or the open one of a container's name.

        Args:
            text: Id or name.
            uid: Only of this user; a name needs it.
        """
        entry = await self._store.read(lambda transaction: find_entry(transaction, text, uid))
        if entry is None:
            return None
        outlook = await self._outlooks.look() if entry.state is QueueState.WAITING else None
        return QueueItem(entry, outlook.estimates.get(entry.id) if outlook is not None else None)

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
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> QueueEntry:
            entry = find_entry(transaction, text, caller.uid if uid is None else uid)
            if entry is None and caller.is_admin:
                entry = find_entry(transaction, text, None)
            if entry is None or (entry.uid != caller.uid and not caller.is_admin):
                raise request_not_found(text)
            if not entry.state.is_open:
                raise ConflictError(f"The request for {entry.waiting.container_name} is {entry.state} already.")
            reason = f"cancelled by {caller.user.name}"
            cancelled = end_entry(entry, QueueState.CANCELLED, reason, now)
            transaction.save_waiting(cancelled)
            facts = {"reason": reason}
            transaction.append_event(request_event("request.cancelled", cancelled, now, facts, actor_uid=caller.uid))
            return cancelled

        cancelled = await complete(self._store.write(decide))
        await self._starter.cancel(cancelled.id)
        self._bell.ring()
        self._starter.progress.conclude(cancelled.id)
        return cancelled

    async def move(
        self, caller: Caller, text: str, place: Place, *, before: str | None = None, reason: str = ""
    ) -> Moved:
        """Give a request another place; promises of those behind it end, with an event each.

        Args:
            caller: An administrator.
            text: Id of the request, or its beginning.
            place: Where to.
            before: Id of another request, with `Place.BEFORE`.
            reason: Why, for the events.

        Raises:
            ForbiddenError: Not an administrator.
            NotFoundError: No such request waits.
            InvalidRequestError: No such place.
        """
        if not caller.is_admin:
            raise ForbiddenError(
                "Only an administrator may move requests.", hint="`ds01 why` says what yours waits for."
            )
        granted = await self._store.read(granted_rows)
        observation = await self._observer.observe(granted)
        why = reason or f"an administrator ({caller.user.name}) changed the order"

        def decide(transaction: StoreTransaction, view: View) -> tuple[Round, QueueEntry, tuple[Affected, ...]]:
            entry = find_entry(transaction, text, None)
            if entry is None or entry.state is not QueueState.WAITING:
                raise request_not_found(text)
            target = find_entry(transaction, before, None) if before is not None else None
            moved = Move(entry, place, target.id if target is not None else before, why, caller.uid)
            served, affected = moved.carry_out(transaction, view)
            return served, transaction.find_waiting(entry.id) or entry, affected

        served, entry, affected = await self._scheduling.decide(decide, observation)
        self._starter.launch(served.granted)
        self._bell.ring()
        outlook = await self._outlooks.look()
        return Moved(QueueItem(entry, outlook.estimates.get(entry.id) if outlook else None), affected)

    async def outlook(self) -> Outlook | None:
        """Return the scheduler's world with everybody's estimate, a few seconds old at most; None: it is unknown."""
        return await self._outlooks.look()

    async def reservation_names(self) -> dict[str, str]:
        """Return the names of reservations by id, also of those that are over."""
        found = await self._store.read(lambda transaction: transaction.list_reservations(with_over=True))
        return {item.id: item.name for item in [*found, *policy_reservations(self._scheduling.policy)]}

    async def situation(self) -> tuple[Situation, Mapping[str, QueueEntry]]:
        """Return the scheduler's whole world now, and the requests that wait by id: what `why` explains.

        Raises:
            BackendError: Engine or devices are unknown.
        """
        return await self._scheduling.read_situation()


def _place_of(item: QueueItem) -> tuple[int, object, str]:
    place = item.estimate.place if item.estimate is not None else 1 << 30
    return (place, item.entry.waiting.queued_at, item.entry.id)


def _ended(entry: QueueEntry, story: Story) -> Ended:
    creation = story.result if isinstance(story.result, Creation) else None
    return Ended(entry, creation, story.failure)


def _require_valid_wait(length: timedelta | None) -> None:
    if length is not None and not timedelta(0) < length <= LONGEST_WAIT:
        raise InvalidRequestError(
            "A wait is longer than 0 and at most a year.", hint="Use --wait=30m, or --wait alone."
        )
