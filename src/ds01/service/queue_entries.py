"""Requests in the store: found by what people type, and moved to another place."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ds01.domain.scheduling.queue import QueueEntry
from ds01.domain.scheduling.queue_move import Affected, Place, plan_move
from ds01.domain.scheduling.queue_order import order_of
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import ConflictError
from ds01.service.granting import request_event
from ds01.service.ports import StoreTransaction
from ds01.service.scheduling import Round, serve
from ds01.service.situation import View, situation_in

SHORTEST_ID = 4


@dataclass(frozen=True, slots=True)
class Move:
    """One request on its way to another place.

    Attributes:
        entry: The request.
        place: Where to.
        before_id: Before which other one, with `Place.BEFORE`.
        reason: Why, for the events.
        actor_uid: The administrator.
    """

    entry: QueueEntry
    place: Place
    before_id: str | None
    reason: str
    actor_uid: int

    def carry_out(self, transaction: StoreTransaction, view: View) -> tuple[Round, tuple[Affected, ...]]:
        """Change the places, serve the queue, and return what became of the promises."""
        situation, entries = situation_in(transaction, view)
        changed = plan_move(order_of(situation), self.entry.id, self.place, before_id=self.before_id)
        for waiting in changed:
            self._save(transaction, entries[waiting.id], waiting, view)
        served = serve(transaction, view)
        return served, tuple(affected_by(transaction, entries.values()))

    def _save(self, transaction: StoreTransaction, entry: QueueEntry, waiting: Waiting, view: View) -> None:
        transaction.save_waiting(replace(entry, waiting=waiting))
        before = entry.waiting.promised_at
        if before is not None and waiting.promised_at is None:
            lost = {"promised_at": before.isoformat(), "reason": self.reason}
            transaction.append_event(request_event("promise.broken", entry, view.now, lost, actor_uid=self.actor_uid))
        if entry.id == self.entry.id:
            facts: dict[str, object] = {"place": waiting.moved_to, "reason": self.reason}
            transaction.append_event(request_event("request.moved", entry, view.now, facts, actor_uid=self.actor_uid))


def affected_by(transaction: StoreTransaction, before: Iterable[QueueEntry]) -> Iterator[Affected]:
    """Yield the promises that are not what they were.

    Args:
        transaction: As it is afterwards.
        before: The requests as they were.
    """
    for entry in before:
        promised_at = entry.waiting.promised_at
        after = transaction.find_waiting(entry.id)
        if promised_at is not None and after is not None and after.waiting.promised_at != promised_at:
            yield Affected(after.waiting, promised_at, after.waiting.promised_at)


def find_entry(transaction: StoreTransaction, text: str, uid: int | None) -> QueueEntry | None:
    """Return a request by its id or the beginning of it, or a user's open one by the container's name.

    Args:
        transaction: Where it is read.
        text: Id, at least 4 digits of one, or a name.
        uid: Only of this user; None: of everybody, and then by id only.

    Raises:
        ConflictError: Several requests begin like that.
    """
    exact = transaction.find_waiting(text)
    if exact is not None and uid in {None, exact.uid}:
        return exact
    entries = [entry for entry in transaction.list_waiting() if uid in {None, entry.uid}]
    if uid is not None:
        named = next((entry for entry in entries if entry.waiting.container_name == text), None)
        if named is not None:
            return named
    found = [entry for entry in entries if len(text) >= SHORTEST_ID and entry.id.startswith(text)]
    if len(found) > 1:
        raise ConflictError(f"Several requests begin with {text!r}.", hint="Type more of the id.")
    return found[0] if found else None
