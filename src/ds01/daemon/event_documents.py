"""Events as documents: the same for an answer, a stream and a line of the exported file."""

from collections.abc import Iterable, Mapping

from ds01.api.event_schema import EventDocument
from ds01.daemon.identity import Identities
from ds01.domain.event import Event


async def names_of(identities: Identities, events: Iterable[Event]) -> dict[int, str]:
    """Return the names of everybody whom these events are about or who did them."""
    return await identities.names(uid for event in events for uid in (event.uid, event.actor_uid))


def event_document(event: Event, names: Mapping[int, str]) -> EventDocument:
    """Return the document of an event.

    Args:
        event: The event.
        names: Names of users by uid; the number stands in for one that is missing.
    """
    return EventDocument(
        id=event.id,
        at=event.at.isoformat(timespec="microseconds"),
        name=event.name,
        uid=event.uid,
        user=_name(event.uid, names),
        actor_uid=event.actor_uid,
        actor=_name(event.actor_uid, names),
        container=event.container,
        details=dict(event.details),
    )


def _name(uid: int | None, names: Mapping[int, str]) -> str | None:
    return None if uid is None else names.get(uid, str(uid))
