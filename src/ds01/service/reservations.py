"""Reservations: GPUs kept for somebody in a window. Devices are chosen late; nobody is stopped for one."""

import re
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ds01.domain.event import Event
from ds01.domain.request import GpuRequest
from ds01.domain.rules.access import Caller
from ds01.domain.scheduling.booking import Span, require_keepable, require_reservable, require_valid_window, spans_of
from ds01.domain.scheduling.queue_move import Affected
from ds01.domain.scheduling.reservation import Reservation, ReservationState
from ds01.domain.scheduling.reservation_life import (
    POLICY_PREFIX,
    is_of_policy,
    merged,
    policy_reservations,
    reservation_not_found,
    window_of,
)
from ds01.domain.scheduling.situation import Situation
from ds01.errors import ConflictError, ForbiddenError, InvalidRequestError
from ds01.service.bell import Bell
from ds01.service.completion import complete
from ds01.service.limits import LimitService
from ds01.service.observation import Observer, granted_rows
from ds01.service.ports import StoreTransaction, World
from ds01.service.queue_entries import affected_by
from ds01.service.scheduling import Round, Scheduling, serve
from ds01.service.situation import View, situation_in
from ds01.service.starting import Starter

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
SHORTEST_ID = 4
USUAL_LENGTH = timedelta(days=7)
LONGEST_TIMELINE = timedelta(days=366)


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
class ReservationOutcome:
    """A reservation that was made, or would be.

    Attributes:
        reservation: It.
        promises: Promises of others that it has changed.
    """

    reservation: Reservation
    promises: tuple[Affected, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is taken from one moment to another.

    Attributes:
        start_at: Begin.
        end_at: End.
        situation: The scheduler's world, for the devices.
        spans: First what has its devices, then what is kept by kind.
    """

    start_at: datetime
    end_at: datetime
    situation: Situation
    spans: tuple[Span, ...]


class _DryRunError(Exception):
    """Carries the answer of a dry run out of a transaction that is then undone."""

    def __init__(self, outcome: ReservationOutcome) -> None:
        super().__init__("a dry run")
        self.outcome = outcome


class ReservationService:
    """Owns every change of a reservation."""

    def __init__(
        self,
        world: World,
        *,
        scheduling: Scheduling,
        starter: Starter,
        limits: LimitService,
        observer: Observer,
        bell: Bell,
    ) -> None:
        self._store = world.store
        self._clock = world.clock
        self._scheduling = scheduling
        self._starter = starter
        self._limits = limits
        self._observer = observer
        self._bell = bell

    async def create(self, caller: Caller, order: ReservationOrder, *, dry_run: bool = False) -> ReservationOutcome:
        """Make a reservation, if it can be kept beside everything that is held and reserved already.

        Promises stand in the way of a user's own; those that an administrator's displaces end with an event each.

        Raises:
            InvalidRequestError: The window is reversed, in the past or too long, the kind or the number cannot exist.
            ForbiddenError: It is for somebody else, and the caller is no administrator.
            QuotaExceededError: A user's own is over the allowance of their group.
            ConflictError: The name is taken, or it cannot be kept; then `details["conflicts"]` lists what stands in the
                way, each as `{"what", "name", "uid", "gpus", "gpu", "start_at", "end_at"}`.
        """
        now = self._clock.now()
        require_valid_window(order.start_at, order.end_at, now)
        wanted = self._wanted(caller, order, now)
        granted = await self._store.read(granted_rows)
        observation = await self._observer.observe(granted)

        def decide(transaction: StoreTransaction, view: View) -> tuple[Round, ReservationOutcome]:
            outcome, served = _make(transaction, view, wanted, caller)
            if dry_run:
                raise _DryRunError(outcome)
            return served, outcome

        uids = {caller.uid} | ({order.uid} if order.uid is not None else set())
        try:
            served, outcome = await complete(self._scheduling.decide(decide, observation, uids))
        except _DryRunError as answer:
            return answer.outcome
        self._starter.launch(served.granted)
        self._bell.ring()
        return outcome

    def _wanted(self, caller: Caller, order: ReservationOrder, now: datetime) -> Reservation:
        uid = order.uid if order.uid is not None or order.group is not None else caller.uid
        if order.uid is not None and order.group is not None:
            raise InvalidRequestError("A reservation is for a user or for a group, not for both.")
        if not caller.is_admin and (uid != caller.uid):
            raise ForbiddenError(
                "Only an administrator may reserve for others.", hint="Leave --for out to reserve for yourself."
            )
        if order.group is not None and all(group.name != order.group for group in self._limits.policy.groups):
            default = self._limits.policy.default_group
            if order.group != default:
                raise InvalidRequestError(f"The policy has no group {order.group[:60]!r}.")
        name = order.name or f"r-{order.start_at:%m%d-%H%M}-{secrets.token_hex(2)}"
        if not _NAME.fullmatch(name) or name.startswith(POLICY_PREFIX):
            raise InvalidRequestError(
                f"{name[:60]!r} cannot be the name of a reservation.",
                hint="Use up to 40 lower-case letters, digits, '-', '_' and '.', beginning with a letter or digit.",
            )
        return Reservation(
            id=secrets.token_hex(8),
            name=name,
            uid=uid,
            group=order.group,
            request=order.request,
            start_at=order.start_at,
            end_at=order.end_at,
            reason=order.reason,
            created_by_uid=caller.uid,
            created_at=now,
            state=ReservationState.ACTIVE if order.start_at <= now else ReservationState.PLANNED,
            changed_at=now,
        )

    async def list_(self, *, with_over: bool = False) -> list[Reservation]:
        """Return the reservations that are not over by their begin, the policy's among them.

        Args:
            with_over: Also those that ended.
        """
        stored = await self._store.read(lambda transaction: transaction.list_reservations(with_over=True))
        now = self._clock.now()
        found = [_at(item, now) for item in merged(stored, policy_reservations(self._limits.policy))]
        return [item for item in found if with_over or not item.state.is_over]

    async def get(self, text: str) -> Reservation:
        """Return one by name or id (or its beginning); of several of a name the one that is not over.

        Raises:
            NotFoundError: There is none.
        """
        every = await self.list_(with_over=True)
        found = [item for item in every if text in {item.name, item.id}]
        found = found or [item for item in every if len(text) >= SHORTEST_ID and item.id.startswith(text)]
        if not found:
            raise reservation_not_found(text)
        return min(found, key=lambda item: item.state.is_over)

    async def cancel(self, caller: Caller, text: str) -> Reservation:
        """End a reservation now. What was granted inside goes on until its end.

        Raises:
            NotFoundError: There is none.
            ForbiddenError: It is another's, or the policy file's.
            ConflictError: It is over.
        """
        wanted = await self.get(text)
        if is_of_policy(wanted):
            raise ForbiddenError(
                f"{wanted.name} stands in the policy file, and only there it can be taken out.",
                hint="`ds01 admin config show` says where.",
            )
        if not caller.is_admin and caller.uid not in {wanted.uid, wanted.created_by_uid}:
            raise ForbiddenError(f"The reservation {wanted.name} is not yours.", hint="Ask an administrator.")
        now = self._clock.now()

        def decide(transaction: StoreTransaction) -> Reservation:
            present = {item.id: item for item in transaction.list_reservations()}.get(wanted.id)
            if present is None or present.end_at <= now:
                raise ConflictError(f"The reservation {wanted.name} is over already.")
            cancelled = replace(present, state=ReservationState.CANCELLED, changed_at=now)
            transaction.save_reservation(cancelled)
            transaction.append_event(_event("reservation.cancelled", cancelled, caller, now))
            return cancelled

        cancelled = await complete(self._store.write(decide))
        self._bell.ring()
        return cancelled

    async def containers_in(self) -> dict[str, list[str]]:
        """Return the names of the containers that run in each reservation, by its id."""
        allocations = await self._store.read(lambda transaction: transaction.list_allocations())
        found: dict[str, list[str]] = {}
        for grant in allocations:
            if grant.reservation is not None:
                found.setdefault(grant.reservation, []).append(grant.container_name)
        return found

    async def timeline(self, start_at: datetime | None = None, length: timedelta = USUAL_LENGTH) -> Timeline:
        """Return what is taken from a moment on: grants, holds, foreign containers, reservations, promises.

        Args:
            start_at: Begin; None: now.
            length: How far.

        Raises:
            InvalidRequestError: It has no length, or is longer than a year.
            BackendError: Engine or devices are unknown.
        """
        if not timedelta(0) < length <= LONGEST_TIMELINE:
            raise InvalidRequestError("A timeline is longer than 0 and at most a year.", hint="Leave --to out.")
        situation, _ = await self._scheduling.read_situation()
        begin = start_at or situation.now
        spans = tuple(span for span in spans_of(situation) if span.touches(begin, begin + length))
        return Timeline(begin, begin + length, situation, spans)


def _make(
    transaction: StoreTransaction, view: View, wanted: Reservation, caller: Caller
) -> tuple[ReservationOutcome, Round]:
    situation, entries = situation_in(transaction, view)
    require_reservable(situation, wanted, is_admin=caller.is_admin)
    require_keepable(situation, wanted, may_break_promises=caller.is_admin)
    transaction.save_reservation(wanted)
    transaction.append_event(_event("reservation.created", wanted, caller, view.now))
    served = serve(transaction, view)
    return ReservationOutcome(wanted, tuple(affected_by(transaction, entries.values()))), served


def _at(item: Reservation, now: datetime) -> Reservation:
    """Return a reservation in the state that the clock says."""
    if item.state.is_over:
        return item
    if item.end_at <= now:
        return replace(item, state=ReservationState.ENDED)
    return replace(item, state=ReservationState.ACTIVE if item.start_at <= now else ReservationState.PLANNED)


def _event(name: str, reservation: Reservation, caller: Caller, now: datetime) -> Event:
    return Event(name, now, uid=reservation.uid, actor_uid=caller.uid, details=window_of(reservation))
