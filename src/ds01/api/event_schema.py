"""The documents about events. A part of ds01.api.schema."""

from typing import Literal, TypedDict


class EventDocument(TypedDict):
    """One event; also one line of the exported file. None: the machine, the daemon itself, no container."""

    id: int
    at: str
    name: str
    uid: int | None
    user: str | None
    actor_uid: int | None
    actor: str | None
    container: str | None
    details: dict[str, object]


class EventList(TypedDict):
    """Events in order, newest last; truncated: there are older ones that were left out."""

    schema_version: int
    events: list[EventDocument]
    truncated: bool


class EventMessage(TypedDict):
    """One line of a stream of events."""

    kind: Literal["event"]
    event: EventDocument


class EventsStatus(TypedDict):
    """The exported file of events; message says why it is not written."""

    ok: bool
    path: str
    message: str
