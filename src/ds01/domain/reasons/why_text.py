"""An explanation in plain words.

No clock times are in the words: the moments stand beside them, so that they can be shown in the reader's time zone.
Who may see the holders of GPUs is the site's choice (`access.show_holders`): their names, their groups, or nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ds01.domain.reasons.explanation import (
    Blocker,
    CapacityCause,
    Cause,
    Counterfactual,
    DeviceCause,
    FixedCause,
    GpuExplanation,
    NeverCause,
    NotBeforeCause,
    OrderCause,
    PromiseCause,
    QuotaCause,
    Rank,
    ReservationCause,
    Way,
)
from ds01.domain.request import ANY_KIND, FULL_KIND, MIG_KIND, GpuRequest
from ds01.domain.rules.site import SHOW_GROUPS, SHOW_USERS
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.waiting import Waiting
from ds01.units import format_duration, format_number, format_size, format_size_exact

KINDS: dict[type, str] = {
    NeverCause: "never",
    QuotaCause: "quota",
    NotBeforeCause: "not_before",
    FixedCause: "fixed_device",
    DeviceCause: "device",
    CapacityCause: "capacity",
    ReservationCause: "reservation",
    OrderCause: "order",
    PromiseCause: "promise",
}
"""Stable names of the causes, for programs."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who reads it.

    Attributes:
        uid: The user.
        is_admin: An administrator sees everything.
        show_holders: The site's `access.show_holders`: users, groups or none.
        name_of: Name of a user by uid.
    """

    uid: int
    is_admin: bool
    show_holders: str
    name_of: Callable[[int], str]

    def sees_user(self, uid: int | None) -> bool:
        """The name of this user, and of the user's containers, may be shown."""
        return self.is_admin or uid == self.uid or self.show_holders == SHOW_USERS

    def sees_group(self, uid: int | None) -> bool:
        """The group of this user may be shown."""
        return self.sees_user(uid) or self.show_holders == SHOW_GROUPS


def who(viewer: Viewer, uid: int | None, group: str) -> str:
    """Return how a user is called before a viewer."""
    if uid == viewer.uid:
        return "you"
    if uid is not None and viewer.sees_user(uid):
        return viewer.name_of(uid)
    if group and viewer.sees_group(uid):
        return f"somebody of {group}"
    return "somebody"


def kind_of(cause: Cause) -> str:
    """Return the stable name of a cause."""
    return KINDS[type(cause)]


def cause_text(cause: Cause, viewer: Viewer, *, with_holders: bool = True) -> str:
    """Return a cause as a sentence without its end.

    Args:
        cause: The cause.
        viewer: Who reads it.
        with_holders: Who holds the devices is said in the sentence; else they stand beside it, with their times.
    """
    match cause:
        case NeverCause():
            return cause.message.rstrip(".")
        case QuotaCause():
            return _quota_text(cause, viewer)
        case NotBeforeCause():
            return "it was asked for a later time"
        case CapacityCause() | FixedCause():
            return _taken_text(cause, viewer if with_holders else None)
        case DeviceCause():
            return f"GPU {cause.index} ({cause.model}) cannot be used: {cause.reason}"
        case ReservationCause():
            return _reservation_text(cause.reservation, viewer)
        case OrderCause():
            return _order_text(cause, viewer)
        case PromiseCause():
            return _promise_text(cause, viewer)


def cause_until(cause: Cause) -> datetime | None:
    """Return until when a cause lasts at the latest; None: nobody knows."""
    if isinstance(cause, NotBeforeCause):
        return cause.at
    if isinstance(cause, ReservationCause):
        return cause.reservation.end_at
    return cause.start_at if isinstance(cause, PromiseCause) else None


def cause_blockers(cause: Cause) -> tuple[Blocker, ...]:
    """Return who holds the devices, for a cause that has such."""
    return cause.blockers if isinstance(cause, CapacityCause | FixedCause) else ()


def _quota_text(cause: QuotaCause, viewer: Viewer) -> str:
    text = cause.excess.reason
    if cause.own:
        text += f"; you have {', '.join(cause.own)}"
    seen = [
        f"{who(viewer, uid, '')} {format_number(used.gpu_equivalents)} on {_gpus(used.gpus)}"
        for uid, used in cause.members
        if viewer.sees_user(uid)
    ]
    hidden = len(cause.members) - len(seen)
    if hidden:
        seen.append(f"{hidden} other{'s' if hidden > 1 else ''} the rest" if seen else _users(hidden))
    if seen:
        text += f"; of {cause.group} hold: {', '.join(seen)}"
    return text + ("; this can never be granted" if cause.excess.is_for_good else "")


def _users(count: int) -> str:
    return f"{count} user{'s' if count != 1 else ''}"


def _gpus(count: int) -> str:
    return f"{count} GPU{'s' if count != 1 else ''}"


def _taken_text(cause: CapacityCause | FixedCause, viewer: Viewer | None) -> str:
    if isinstance(cause, FixedCause):
        gone = f"GPU {', '.join(cause.gone)} is gone or cannot be used" if cause.gone else ""
        taken = f"the container needs GPU {', '.join(cause.gpus)}, which is not free" if cause.gpus else ""
        text = "; ".join(part for part in (taken, gone) if part)
    else:
        text = f"{cause.free} of the {_gpus(cause.asked)} that would do {'are' if cause.free != 1 else 'is'} free"
        text = f"none of the {_gpus(cause.existing)} that would do is free" if not cause.free else text
        if cause.asked > 1:
            text = f"{_gpus(cause.asked)} of one size are asked for, {cause.free} of {cause.existing} are free"
    held = ", ".join(blocker_text(blocker, viewer) for blocker in cause.blockers) if viewer is not None else ""
    return f"{text} ({held})" if held else text


def blocker_text(blocker: Blocker, viewer: Viewer) -> str:
    """Return who holds a device, as one phrase without times."""
    name = who(viewer, blocker.uid, blocker.group)
    what = f"{blocker.address}: {name}"
    if viewer.sees_user(blocker.uid):
        what += f", {blocker.container_name}"
    notes = {"held": "stopped, within its hold", "claimed": "just being made", "foreign": "not granted by DS01"}
    return f"{what}, {notes[blocker.state]}" if blocker.state in notes else what


def _reservation_text(reservation: Reservation, viewer: Viewer) -> str:
    is_seen = viewer.is_admin or viewer.show_holders == SHOW_USERS or reservation.uid == viewer.uid
    if reservation.uid is None:
        owner = f" for the group {reservation.group}" if is_seen or viewer.show_holders == SHOW_GROUPS else ""
    else:
        owner = f" for {who(viewer, reservation.uid, reservation.group or '')}" if is_seen else ""
    name = f" {reservation.name}" if is_seen else ""
    verb = "are" if reservation.request.count > 1 else "is"
    return f"{request_text(reservation.request)} {verb} kept by the reservation{name}{owner}"


_RANKS = {
    Rank.PROMISE: "was promised a start",
    Rank.MOVED: "was put there by an administrator",
    Rank.PRIORITY: "has a higher priority",
    Rank.FAIR_SHARE: "has used less lately",
    Rank.AGE: "has waited longer",
}


def _order_text(cause: OrderCause, viewer: Viewer) -> str:
    text = f"{_request_of(cause.waiting, viewer)} is before it: it {_RANKS[cause.rank]}"
    return f"{text}, and starts now" if cause.starts_now else text


def _promise_text(cause: PromiseCause, viewer: Viewer) -> str:
    whose = _request_of(cause.waiting, viewer)
    if cause.is_promise:
        return f"it would fit now, and would delay the start that {whose} was promised"
    return f"it would fit now, and would delay {whose}, which is before it"


def _request_of(waiting: Waiting, viewer: Viewer) -> str:
    what = request_text(waiting.request)
    name = who(viewer, waiting.uid, waiting.group)
    if waiting.uid == viewer.uid:
        return f"your request for {waiting.container_name} ({what})"
    if viewer.sees_user(waiting.uid):
        return f"{name}'s request for {waiting.container_name} ({what})"
    return f"a request of {name} ({what})"


def request_text(request: GpuRequest) -> str:
    """Return what is asked for, in words."""
    names = {ANY_KIND: "GPU", FULL_KIND: "whole GPU", MIG_KIND: "MIG instance"}
    noun = names.get(request.kind, f"{request.kind} GPU" if "g." not in request.kind else request.kind)
    text = f"{request.count} {noun}{'s' if request.count != 1 and noun[-1:] != 'b' else ''}"
    return f"{text} with {format_size(request.memory_bytes)}" if request.memory_bytes else text


def counterfactual_text(found: Counterfactual, asked: Waiting, viewer: Viewer) -> str:
    """Return what would help, as one phrase; its moment stands beside it.

    Args:
        found: What would help.
        asked: The request as it was asked.
        viewer: Who reads it.
    """
    request = found.waiting.request
    match found.way:
        case Way.FEWER_GPUS:
            return f"with {request_text(request)} instead of {asked.request.count}"
        case Way.OTHER_KIND:
            return f"{request_text(request)} {'is' if request.count == 1 else 'are'} free now"
        case Way.LESS_MEMORY:
            return f"with {request_text(request)}"
        case Way.SHORTER_TIME:
            return f"for {format_duration(found.waiting.time_limit or timedelta(0))} or less"
        case Way.SHARED:
            return "with a share of a GPU, without --exclusive"
        case Way.RESERVATION:
            return "in your reservation"
        case Way.GIVE_BACK:
            return _given_back(found, viewer)
        case Way.WAIT:
            ended = _containers(found, viewer)
            return f"when the time of {ended} ends" if ended else "at its promised start"


def _given_back(found: Counterfactual, viewer: Viewer) -> str:
    own = " and ".join(name for _, name in found.containers)
    names = own if found.waiting.uid == viewer.uid else _containers(found, viewer)
    return f"once {names} {'gives its' if len(found.containers) == 1 else 'give their'} GPUs back"


def _containers(found: Counterfactual, viewer: Viewer) -> str:
    shown = []
    for uid, name in found.containers:
        if uid == viewer.uid:
            shown.append(f"your {name}")
        else:
            shown.append(f"{who(viewer, uid, '')}'s {name}" if viewer.sees_user(uid) else "somebody's container")
    return " and ".join(dict.fromkeys(shown))


def counterfactual_options(found: Counterfactual, reservation: str = "") -> list[str]:
    """Return the options of `ds01 create` and `ds01 start` that ask for it; empty for what is no other request.

    Args:
        found: What would help.
        reservation: Name of the reservation in which it starts; needed for that way only.
    """
    if found.way in {Way.GIVE_BACK, Way.WAIT}:
        return []
    waiting = found.waiting
    options = ["--gpus", str(waiting.request.count)]
    if waiting.request.kind != ANY_KIND:
        options += ["--gpu-kind", waiting.request.kind]
    if waiting.request.memory_bytes:
        options += ["--gpu-memory", format_size_exact(waiting.request.memory_bytes)]
    if waiting.time_limit is not None:
        options += ["--time", format_duration(waiting.time_limit)]
    if waiting.is_exclusive:
        options.append("--exclusive")
    if found.way is Way.RESERVATION and reservation:
        options += ["--reservation", reservation]
    return options


def gpu_text(found: GpuExplanation, viewer: Viewer) -> list[str]:
    """Return why a device is not grantable, one phrase a cause; empty: it can be granted."""
    said = [f"it cannot be used: {found.unusable}"] if found.unusable else []
    said += [f"held by {blocker_text(blocker, viewer)}" for blocker in found.blockers]
    if found.shares > 1 and found.free_shares:
        said.append(f"shared by up to {found.shares} containers, {found.free_shares} more may come")
    return said + [_reservation_text(reservation, viewer) for reservation in found.reservations]
