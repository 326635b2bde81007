"""The sentences about waiting, made from documents: the same in `why`, `list`, `queue` and while somebody waits.

Pure. Clock times are of the reader's zone, which is an argument, because documents have UTC.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

from ds01.units import format_duration, format_size

TYPE_CHECKING = False  # the name that checkers know, without the import of typing that costs 5 ms
if TYPE_CHECKING:
    from ds01.api.schema import (
        BlockerDocument,
        CauseDocument,
        CounterfactualDocument,
        EstimateDocument,
        RequestDocument,
        WaitingDocument,
        WhyDocument,
    )

SOMEBODY = "somebody"


class Clock:
    """How moments are said.

    Attributes:
        now: The present, aware.
        zone: The reader's.
    """

    __slots__ = ("now", "zone")

    def __init__(self, now: datetime, zone: tzinfo) -> None:
        self.now = now
        self.zone = zone

    def say(self, moment: str) -> str:
        """Return `16:30`, with the day if that is another one (`Tue 24 Nov 09:00`), or the text if it is no moment."""
        try:
            there = datetime.fromisoformat(moment).astimezone(self.zone)
        except (ValueError, OverflowError):
            return moment
        here = self.now.astimezone(self.zone)
        clock = f"{there:%H:%M}"
        if there.date() == here.date():
            return clock
        if abs(there.date() - here.date()) <= timedelta(days=1):
            return f"{'tomorrow' if there > here else 'yesterday'} {clock}"
        return f"{there:%a %d %b} {clock}" if abs(there - here) < timedelta(days=180) else f"{there:%Y-%m-%d} {clock}"


def asked_text(request: RequestDocument) -> str:
    """Return what was asked for (`1 GPU`, `2 GPUs of kind full with 20G each`)."""
    count = request["gpus"]
    text = "no GPU" if not count else "1 GPU" if count == 1 else f"{count} GPUs"
    if request["kind"] not in {"", "any"}:
        text += f" of kind {request['kind']}"
    if request["memory_bytes"]:
        text += f" with {format_size(request['memory_bytes'])}" + (" each" if count > 1 else "")
    return text


def short_asked_text(request: RequestDocument) -> str:
    """Return what was asked for in a table (`2 x full >= 20G`)."""
    text = str(request["gpus"])
    if request["kind"] not in {"", "any"}:
        text += f" x {request['kind']}"
    return text + (f" >= {format_size(request['memory_bytes'])}" if request["memory_bytes"] else "")


def start_text(estimate: EstimateDocument, clock: Clock) -> str:
    """Return when it starts, in a table (`by 16:30`, `about 16:30`, `unknown`)."""
    start = estimate["start_at"]
    if start is None:
        return "unknown"
    return f"{'by' if estimate['is_promise'] else 'about'} {clock.say(start)}"


def estimate_text(estimate: EstimateDocument, clock: Clock) -> str:
    """Return when it starts, as a sentence's part, with what that rests on."""
    start = estimate["start_at"]
    rests = f" ({estimate['assumption']})" if estimate["assumption"] else ""
    if start is None:
        return f"nobody can say when it starts{rests}"
    if estimate["is_promise"]:
        return f"it starts by {clock.say(start)} at the latest: promised"
    return f"it starts about {clock.say(start)}{rests or ' (estimated)'}"


def waiting_text(waiting: WaitingDocument, clock: Clock) -> str:
    """Return one line for somebody who watches a request."""
    estimate = waiting["estimate"]
    reason = f"; {waiting['reason']}" if waiting["reason"] else ""
    place = f"place {estimate['place']} of {max(waiting['waiting'], estimate['place'])}"
    return f"{waiting['container']} waits: {place}; {estimate_text(estimate, clock)}{reason}"


def request_text(request: RequestDocument, clock: Clock) -> str:
    """Return one line about a request, as it stands below a list."""
    if request["state"] == "starting":
        return f"{request['container']} has its GPUs and is being made."
    estimate = request["estimate"]
    reason = f"; {request['reason']}" if request["reason"] else ""
    return f"{request['container']} waits: place {estimate['place']}; {estimate_text(estimate, clock)}{reason}"


def why_lines(document: WhyDocument, clock: Clock) -> list[str]:
    """Return everything about why: what is so, every cause with its holders, and what would help."""
    lines = [document["answer"]]
    request = document["request"]
    if request is not None:
        lines += _request_lines(request, clock)
    if document["causes"]:
        lines += ["", "Why:"]
        for cause in document["causes"]:
            lines += cause_lines(cause, clock)
    if document["counterfactuals"]:
        lines += ["", "What would help:"]
        for counterfactual in document["counterfactuals"]:
            lines += counterfactual_lines(counterfactual, clock)
    return lines


def _request_lines(request: RequestDocument, clock: Clock) -> list[str]:
    if request["state"] != "waiting":
        return []
    limit = request["time_limit_s"]
    length = f"for {format_duration(timedelta(seconds=limit))}" if limit is not None else "without a time limit"
    estimate = request["estimate"]
    lines = [
        f"  asked for   {asked_text(request)}, {length}, {clock.say(request['queued_at'])}",
        f"  place       {estimate['place']}" + (" (given by an administrator)" if request["moved"] else ""),
        f"  start       {estimate_text(estimate, clock)}",
    ]
    if request["not_before"] is not None:
        lines.append(f"  not before  {clock.say(request['not_before'])}")
    if request["reservation"] is not None:
        lines.append(f"  inside      the reservation {request['reservation']}")
    if request["gives_up_at"] is not None:
        lines.append(f"  gives up    {clock.say(request['gives_up_at'])}")
    return lines


def cause_lines(cause: CauseDocument, clock: Clock) -> list[str]:
    """Return one cause, and a line for each of its holders."""
    until = f" (until {clock.say(cause['until'])})" if cause["until"] is not None else ""
    message = cause["message"].removesuffix(".")
    return [f"  - {message}{until}.", *(f"      {blocker_text(holder, clock)}" for holder in cause["holders"])]


def blocker_text(holder: BlockerDocument, clock: Clock) -> str:
    """Return who holds a device, since when, until when, idle or not."""
    device = " ".join(part for part in (holder["address"], holder["profile"]) if part)
    parts = [f"{device}: {holder_name(holder)}" if device else holder_name(holder)]
    if holder["since"] is not None:
        parts.append(f"since {clock.say(holder['since'])}")
    parts.append(f"until {clock.say(holder['until'])}" if holder["until"] is not None else "no end is known")
    if holder["idle"] is not None:
        parts.append("idle" if holder["idle"] else "in use")
    if holder["state"] == "held":
        parts.append("stopped, kept for its owner")
    return ", ".join(parts)


def holder_name(holder: BlockerDocument) -> str:
    """Return who holds something, as far as the reader may know it."""
    of_group = f"{SOMEBODY} of {holder['group']}" if holder["group"] else SOMEBODY
    owner = "you" if holder["mine"] else holder["owner"] or of_group
    return owner + (f" ({holder['container']})" if holder["container"] else "")


def counterfactual_lines(counterfactual: CounterfactualDocument, clock: Clock) -> list[str]:
    """Return what would help, and the command for it."""
    start = counterfactual["start_at"]
    message = counterfactual["message"].removesuffix(".")
    if start is not None:
        message += f": {clock.say(start)}"
    elif not message.endswith("now"):
        message += ": now"
    lines = [f"  - {message}."]
    return lines + ([f"      {counterfactual['command']}"] if counterfactual["command"] else [])
