"""`ds01 events`: the audit trail."""

import json
import sys

from ds01.api.schema import EventDocument
from ds01.cli.call import Call
from ds01.cli.moment import local_time, parse_moment
from ds01.cli.screen import clean
from ds01.cli.spec import JSON, Option, Spec
from ds01.cli.table import GAP, NOTHING, render
from ds01.domain.event import EVENTS as KINDS
from ds01.errors import DaemonUnreachableError, InvalidRequestError

HEADINGS = ("WHEN", "EVENT", "CONTAINER", "WHO", "DETAILS")
FOLLOWED_WIDTHS = (19, 20, 20, 12, 0)
"""Columns of lines that come one by one: nobody knows how wide the next ones will be."""
DEFAULT_TAIL = 50
MOST = 10_000
_MOMENTS = frozenset({"until"})
_UNSHOWN = frozenset({"allocation"})


def events(call: Call) -> int:
    """Print what was recorded, and with --follow what comes."""
    selection = _selection(call)
    return _follow(call, selection) if call.flag("follow") else _print(call, selection)


def _selection(call: Call) -> dict[str, str | int | None]:
    since, until, tail = call.text("since"), call.text("until"), call.number("tail")
    if tail is not None and not 0 <= tail <= MOST:
        raise InvalidRequestError(
            f"--tail {tail} is not a number of events.", hint=f"Use 0 to {MOST}, such as --tail 100."
        )
    if until is not None and call.flag("follow"):
        raise InvalidRequestError("--follow has no end, so it excludes --until.", hint="Leave one of them out.")
    if tail is None:
        tail = DEFAULT_TAIL if since is None and until is None else MOST
    return {
        "since": None if since is None else parse_moment(since, "--since").isoformat(),
        "until": None if until is None else parse_moment(until, "--until").isoformat(),
        "user": call.text("user"),
        "container": call.text("container"),
        "name": call.text("name"),
        "tail": tail,
    }


def _print(call: Call, selection: dict[str, str | int | None]) -> int:
    document = call.client.list_events(selection)
    if call.flag("json"):
        call.screen.document(document)
        return 0
    if document["events"]:
        call.screen.data(render(call.screen, HEADINGS, [_row(event) for event in document["events"]]))
    else:
        call.screen.tell("No such event.")
    if document["truncated"]:
        call.screen.note(f"There are older ones: --tail {MOST} or --since shows more.")
    return 0


def _follow(call: Call, selection: dict[str, str | int | None]) -> int:
    if not call.flag("json"):
        _say(call, _line(HEADINGS))
    for event in call.client.follow_events(selection):
        _say(call, json.dumps(event) if call.flag("json") else _line(_row(event)))
    raise DaemonUnreachableError("ds01d has left, so nothing more will come.", hint="Begin again: ds01 events --follow")


def _say(call: Call, text: str) -> None:
    call.screen.data(text)
    sys.stdout.flush()


def _line(row: tuple[str, ...]) -> str:
    cells = (clean(text) or NOTHING for text in row)
    return GAP.join(text.ljust(width) for text, width in zip(cells, FOLLOWED_WIDTHS, strict=True)).rstrip()


def _row(event: EventDocument) -> tuple[str, ...]:
    return (local_time(event["at"]), event["name"], event["container"] or "", _who(event), _details(event["details"]))


def _who(event: EventDocument) -> str:
    user, actor = event["user"], event["actor"]
    if user is None or actor is None:
        return user or actor or "ds01d"
    return user if user == actor else f"{actor} for {user}"


def _details(details: dict[str, object]) -> str:
    """Return details in words, the reason last; ids are for programs."""
    parts = [
        f"{key.replace('_', ' ')} {_words(key, value)}"
        for key, value in details.items()
        if key != "reason" and key not in _UNSHOWN and value not in (None, "", [])
    ]
    reason = details.get("reason")
    return ", ".join(parts) + (": " if parts and reason else "") + str(reason or "")


def _words(key: str, value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return local_time(str(value)) if key in _MOMENTS else str(value)


EVENTS = Spec(
    events,
    examples=(
        "ds01 events  the last 50 events about you, and those about the machine",
        "ds01 events --since 2h  of the last two hours",
        "ds01 events --container my-project --name 'container.*'  the life of a container",
        "ds01 events -f  go on as they come, Ctrl-C ends",
    ),
    details="You see events about yourself and public ones; administrators see all. Times are of your own zone.",
    options=(
        Option("--since", "Not before: 2h, 1d, or a time such as '2026-01-31 14:30'.", kind="text", metavar="WHEN"),
        Option("--until", "Before, written in the same way.", kind="text", metavar="WHEN"),
        Option("--user", "Only about this user; others than yourself for administrators.", kind="text", metavar="NAME"),
        Option(
            "--container", "Only about containers of this name.", kind="text", metavar="NAME", completes="container"
        ),
        Option(
            "--name",
            "Only this kind, or all that begin so: 'container.*'.",
            kind="text",
            metavar="PATTERN",
            choices=tuple(KINDS),
        ),
        Option("-n --tail", "Only the newest so many; 50 without it and without a time.", kind="number", metavar="N"),
        Option("-f --follow", "Go on as they come; with --json one event is one line."),
        JSON,
    ),
)
