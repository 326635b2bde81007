"""One request in one situation, tried in the real planner: what would happen if something were different."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from ds01.domain.rules.limit import EffectiveLimits
from ds01.domain.scheduling.option import Values
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.schedule import plan_grant, plan_pass
from ds01.domain.scheduling.situation import Grant, Person, Situation
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import Ds01Error


@dataclass(frozen=True, slots=True)
class Trial:
    """A request and everything around it.

    Attributes:
        situation: What there is; a request that waits is in it, a newcomer is not.
        waiting: The request.
        is_queued: It waits; else it is a newcomer who is judged at the end of the queue.
        values: What the states of cards are worth, where their instances are made on demand.
    """

    situation: Situation
    waiting: Waiting
    is_queued: bool
    values: Values = field(default_factory=dict)

    def grant(self) -> Grant | None:
        """Return what the request gets now, or None."""
        if self.is_queued:
            granted = plan_pass(self.situation, self.values).grants
            return next((found for found in granted if found.waiting.id == self.waiting.id), None)
        try:
            return plan_grant(self.situation, self.waiting, self.values)
        except Ds01Error:
            return None

    def reservation(self) -> Reservation | None:
        """Return the reservation in which the request starts; None: outside of any, or it is over."""
        wanted = self.waiting.reservation
        kept = (found for found in self.situation.reservations if not found.state.is_over)
        return next((found for found in kept if found.id == wanted), None) if wanted else None

    def joined(self) -> Situation:
        """Return the situation in which the request waits."""
        if self.is_queued:
            return self.situation
        return replace(self.situation, waiting=(*self.situation.waiting, self.waiting))

    def asked_anew(self, changed: Waiting) -> "Trial":
        """Return the trial in which the request is taken back and another one is made instead, as a newcomer."""
        others = tuple(other for other in self.situation.waiting if other.id != self.waiting.id)
        fresh = replace(
            changed,
            queued_at=self.situation.now,
            not_before=None,
            gives_up_at=None,
            promised_at=None,
            moved_to=None,
        )
        return replace(self, situation=replace(self.situation, waiting=others), waiting=fresh, is_queued=False)

    def with_only(self, ids: Collection[str]) -> "Trial":
        """Return the trial in which, beside the request, only these wait."""
        kept = tuple(other for other in self.situation.waiting if other.id in ids or other.id == self.waiting.id)
        return self._in(replace(self.situation, waiting=kept))

    def alone(self) -> "Trial":
        """Return the trial in which nobody else waits."""
        return self.with_only(())

    def without_grants(self, ids: Collection[str]) -> "Trial":
        """Return the trial in which these allocations are released."""
        left = tuple(grant for grant in self.situation.allocations if grant.id not in ids)
        return self._in(replace(self.situation, allocations=left))

    def without_holders(self) -> "Trial":
        """Return the trial in which nobody holds anything."""
        return self._in(replace(self.situation, allocations=(), foreign=()))

    def with_reservations(self, ids: Collection[str]) -> "Trial":
        """Return the trial in which, beside the one that the request starts in, only these reservations exist."""
        kept = tuple(
            found for found in self.situation.reservations if found.id in ids or found.id == self.waiting.reservation
        )
        return self._in(replace(self.situation, reservations=kept))

    def without_quota(self) -> "Trial":
        """Return the trial in which the request's owner, and the owner's group, may hold any number of GPUs."""
        people = dict(self.situation.people)
        person = people.get(self.waiting.uid)
        if person is not None:
            people[self.waiting.uid] = replace(person, limits=_unlimited(person))
        groups = {name: rules for name, rules in self.situation.groups.items() if name != self.waiting.group}
        return self._in(replace(self.situation, people=people, groups=groups))

    def at_any_time(self) -> "Trial":
        """Return the trial in which the request may start at any time, outside of a reservation that is not open."""
        reservation = self.reservation()
        is_open = reservation is not None and reservation.start_at <= self.situation.now < reservation.end_at
        free = replace(self.waiting, not_before=None, reservation=self.waiting.reservation if is_open else None)
        kept = tuple(free if other.id == free.id else other for other in self.situation.waiting)
        return replace(self, situation=replace(self.situation, waiting=kept), waiting=free)

    def _in(self, situation: Situation) -> "Trial":
        return replace(self, situation=situation)


def _unlimited(person: Person) -> EffectiveLimits:
    values = replace(person.limits.values, max_gpus=None, max_gpu_equivalents=None, max_containers=None)
    return replace(person.limits, values=values)
