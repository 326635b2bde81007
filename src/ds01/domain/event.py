"""The registry of events: what is recorded, with which fields, and what it means.

An event is an audit record: who, what, which, when, why. docs/reference/events.md is checked against this registry.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches

from ds01.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class EventKind:
    """One kind of event.

    Attributes:
        name: `noun.verb`.
        fields: Names of its details.
        meaning: One sentence.
        is_public: Everybody may see it, not only the user it is about.
    """

    name: str
    fields: tuple[str, ...]
    meaning: str
    is_public: bool = False


def _kinds(*kinds: EventKind) -> dict[str, EventKind]:
    return {kind.name: kind for kind in kinds}


_WINDOW = ("reservation", "name", "gpus", "kind", "start_at", "end_at")

EVENTS: Mapping[str, EventKind] = _kinds(
    EventKind(
        "container.created",
        ("image", "digest", "gpus", "allocation"),
        "A container was created and verified; `digest`: which image its name meant at that moment.",
    ),
    EventKind("container.started", (), "A container runs."),
    EventKind("container.restarted", (), "A container was stopped and started; it kept its grant."),
    EventKind(
        "container.limited",
        ("cpus", "memory", "memory_swap", "pids", "later", "reason"),
        "Limits of a container follow a new policy; a new container gets those under `later`.",
    ),
    EventKind("container.stopped", ("exit_code", "reason"), "A container does not run any more."),
    EventKind(
        "container.overdue",
        ("allocation", "ends_at"),
        "A container runs past its time limit and was not stopped: the policy's lifecycle.mode is observe.",
    ),
    EventKind("container.removed", (), "A container and its private tag are gone; its workspace stays."),
    EventKind(
        "container.adopted",
        ("origin",),
        "A container without a row was taken under management, by reconcile or by somebody who asked for it.",
    ),
    EventKind("container.paused", (), "Its programs are frozen where they are; its GPUs stay its own."),
    EventKind("container.unpaused", (), "Its programs go on."),
    EventKind("container.renamed", ("old_name",), "A container has another name; its labels still say the old one."),
    EventKind(
        "container.moved",
        ("gpus", "old_gpus", "size_bytes"),
        "A container was made again with other devices, because its own were taken; its files were copied.",
    ),
    EventKind(
        "container.recreated",
        ("image", "size_bytes"),
        "A container was made again from another image; what it had written outside of its mounts is gone.",
    ),
    EventKind("container.exported", ("base",), "A container was written into a file, without the layers of its base."),
    EventKind("container.imported", ("origin",), "A container was made from a file."),
    EventKind("container.failed", ("step", "reason"), "A creation or start failed and was undone."),
    EventKind(
        "allocation.claimed",
        ("allocation", "gpus", "equivalents", "reason"),
        "Devices were granted, durably, before the engine was asked.",
    ),
    EventKind("allocation.activated", ("allocation", "gpus"), "The container of a grant exists."),
    EventKind(
        "allocation.held",
        ("allocation", "gpus", "until"),
        "The container stopped; its devices stay its own for the hold.",
    ),
    EventKind("allocation.released", ("allocation", "gpus", "reason"), "Devices are free again."),
    EventKind(
        "allocation.repaired",
        ("allocation", "reason"),
        "Reconcile corrected a grant after a crash or a change past us.",
    ),
    EventKind("request.queued", ("request", "gpus", "reason"), "A request waits for its GPUs."),
    EventKind(
        "request.promised", ("request", "start_at"), "A request was promised its latest start, or an earlier one."
    ),
    EventKind("request.granted", ("request", "allocation", "gpus"), "A request that waited got its GPUs."),
    EventKind("request.returned", ("request", "reason"), "A granted request waits again, at its old place."),
    EventKind("request.moved", ("request", "place", "reason"), "An administrator gave a request another place."),
    EventKind("request.failed", ("request", "reason"), "A request that was granted could not be carried out."),
    EventKind("request.cancelled", ("request", "reason"), "A request was taken out of the queue."),
    EventKind("request.expired", ("request",), "A request gave up waiting, as it was told."),
    EventKind("promise.broken", ("request", "promised_at", "reason"), "A promised start cannot be kept."),
    EventKind("reservation.created", _WINDOW, "GPUs are kept for somebody in a window.", is_public=True),
    EventKind("reservation.started", _WINDOW, "The window of a reservation began.", is_public=True),
    EventKind("reservation.ended", _WINDOW, "The window of a reservation is over.", is_public=True),
    EventKind("reservation.cancelled", _WINDOW, "A reservation was taken back.", is_public=True),
    EventKind("reservation.no_show", _WINDOW, "Nobody used a reservation in time: it was released.", is_public=True),
    EventKind(
        "allocation.lost",
        ("allocation", "gpus", "reason"),
        "A device of a grant is not on the machine any more; nothing was moved to another one.",
    ),
    EventKind(
        "image.built",
        ("image", "reference", "id", "bases"),
        "Somebody built an image of their own; `bases`: the images it was built from, with their digests.",
    ),
    EventKind("image.deleted", ("image", "tags"), "Somebody deleted an image of their own, with its earlier builds."),
    EventKind(
        "mig.changed",
        ("gpu", "layout", "steps", "needs_reset"),
        "A GPU was cut anew, or its instances are made by grants from now on.",
        is_public=True,
    ),
    EventKind(
        "mig.failed",
        ("gpu", "reason", "undone", "problem"),
        "A change of a GPU's MIG layout failed; `undone` says whether it is as before.",
        is_public=True,
    ),
    EventKind(
        "gpu.unmanaged",
        ("gpu", "holder"),
        "A device is held by a container, or used by a process of the host, that DS01 did not grant.",
        is_public=True,
    ),
    EventKind("gpu.lost", ("gpu", "index", "reason"), "The driver does not list a card any more.", is_public=True),
    EventKind("gpu.returned", ("gpu", "index"), "A card that was gone is listed again.", is_public=True),
    EventKind(
        "gpu.unhealthy",
        ("gpu", "index", "reason"),
        "A card has a fault: what runs on it goes on, and it gets no new grants.",
        is_public=True,
    ),
    EventKind("gpu.healthy", ("gpu", "index"), "A card has no fault any more.", is_public=True),
    EventKind(
        "gpu.repartitioned",
        ("gpu", "index", "added", "removed"),
        "MIG instances of a card were made or destroyed.",
        is_public=True,
    ),
    EventKind(
        "gpu.drained", ("gpu", "reason"), "An administrator took a device out: it gets no new grants.", is_public=True
    ),
    EventKind("gpu.resumed", ("gpu",), "An administrator lets a device be granted again.", is_public=True),
    EventKind("limit.reached", ("limit", "reason"), "A request was refused because of a limit."),
    EventKind("access.denied", ("reason",), "Somebody tried what they may not do."),
    EventKind("policy.changed", ("source",), "A new policy is in force.", is_public=True),
    EventKind(
        "policy.rejected",
        ("source", "reason"),
        "A broken policy was refused; the last good one stays in force.",
        is_public=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Event:
    """One audit record.

    Attributes:
        name: A name of the registry.
        at: When.
        uid: Whom it is about; None for the machine.
        actor_uid: Who did it; None for the daemon itself.
        container: Container's name; None without.
        details: Fields of the kind.
        id: Number in the store; 0 before it is stored.
    """

    name: str
    at: datetime
    uid: int | None = None
    actor_uid: int | None = None
    container: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    id: int = 0

    def __post_init__(self) -> None:
        kind = EVENTS[self.name]
        unknown = set(self.details) - set(kind.fields)
        if unknown:
            raise ValueError(f"{self.name} has no field {', '.join(sorted(unknown))}")


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted; what is None does not matter.

    Attributes:
        viewer_uid: Only what this user may see: events about them, and public ones. None sees everything.
        uid: Only about this user.
        since: Not before.
        until: Before.
        container: Only about containers of this name.
        names: Only these kinds.
    """

    viewer_uid: int | None = None
    uid: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    container: str | None = None
    names: frozenset[str] | None = None

    def matches(self, event: Event) -> bool:
        """Tell whether an event is wanted."""
        return (
            (self.viewer_uid is None or event.uid == self.viewer_uid or EVENTS[event.name].is_public)
            and (self.uid is None or event.uid == self.uid)
            and (self.since is None or event.at >= self.since)
            and (self.until is None or event.at < self.until)
            and (self.container is None or event.container == self.container)
            and (self.names is None or event.name in self.names)
        )


EVERY_EVENT = EventFilter()


def names_matching(pattern: str) -> frozenset[str]:
    """Return the kinds that a pattern means: a name, or its beginning and `*` (`container.*`, `*`).

    Raises:
        InvalidRequestError: It means none.
    """
    beginning = pattern.removesuffix("*")
    if beginning != pattern:
        found = frozenset(name for name in EVENTS if name.startswith(beginning))
    else:
        found = frozenset({pattern} & EVENTS.keys())
    if not found:
        nouns = sorted({f"{name.partition('.')[0]}.*" for name in EVENTS})
        near = get_close_matches(pattern, [*EVENTS, *nouns], n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Use a whole name, or one of {', '.join(nouns)}"
        raise InvalidRequestError(f"No event is called {pattern[:60]!r}.", hint=hint)
    return found
