"""`ds01 reservation`: GPUs kept for a window of time. create, list, show, cancel."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from ds01.api.explanation import Clock
from ds01.api.moment import parse_coming_moment
from ds01.api.schema import ReservationBody, ReservationDocument
from ds01.cli.call import Call
from ds01.cli.moment import SystemZone, clock, present
from ds01.cli.prompts import Choice, cancelled, confirm, pick, pick_several
from ds01.cli.selection import for_each, naming_among
from ds01.cli.spec import ASKING, FORMAT, JSON, QUIET_NAMES, Argument, Option, Spec
from ds01.cli.table import Cell, csv_text, render
from ds01.domain.request import ANY_KIND, GpuRequest
from ds01.errors import ConflictError, InvalidRequestError, NotFoundError
from ds01.units import format_duration, format_size, parse_size

CSV_COLUMNS = ("name", "id", "owner", "group", "gpus", "kind", "start_at", "end_at", "state", "origin", "reason")
HIDDEN = "-"
MOST_CONFLICTS = 8
_STYLES = {"active": "green", "planned": "yellow"}


def create(call: Call) -> int:
    """Keep GPUs for a window, or say whether that is possible."""
    body = _body(call)
    with _naming_conflicts():
        outcome = call.client.create_reservation(body)
    if call.flag("json"):
        call.screen.document(outcome)
    said, found = clock(), outcome["reservation"]
    for promise in outcome["promises"]:
        whose = f"{promise['container']} of {promise['owner']}" if promise["owner"] else promise["id"]
        after = f"now {said.say(promise['start_at'])}" if promise["start_at"] is not None else "nothing is promised now"
        call.screen.warn(f"{whose} was promised {said.say(promise['promised_at'])}: {after}.")
    text = f"{_what(found)} for {_whom(found)}, {_when(found, said)}"
    if outcome["dry_run"]:
        call.screen.tell(f"Nothing was reserved. This would be possible: {text}.")
        return 0
    call.done(f"Reserved as {found['name']}: {text}.", found["name"])
    if found["mine"]:
        call.screen.suggest(f"ds01 create my-project pytorch --reservation {found['name']} --wait")
    return 0


@contextmanager
def _naming_conflicts() -> Iterator[None]:
    """Let a refusal say what stands in the way and when, in the reader's own time."""
    try:
        yield
    except ConflictError as error:
        conflicts, said = error.details.get("conflicts"), clock()
        found = [item for item in conflicts if isinstance(item, dict)] if isinstance(conflicts, list) else []
        lines = [f"  {_conflict(item, said)}" for item in found[:MOST_CONFLICTS]]
        if lines:
            error.hint = "\n".join(["In the way:", *lines, *([error.hint] if error.hint else [])])
        raise


def _conflict(item: dict[str, object], said: Clock) -> str:
    end = said.say(str(item["end_at"])) if item.get("end_at") else "no end is known"
    name = f" {item['name']}" if item.get("name") else ""
    gpus = f"{item.get('gpus')} GPU{'s' if item.get('gpus') != 1 else ''}"
    return f"{item.get('what', '')}{name}, {gpus}: {said.say(str(item['start_at']))} to {end}"


def _body(call: Call) -> ReservationBody:
    start, end = _window(call)
    if call.text("for") is not None and call.text("group") is not None:
        raise InvalidRequestError("--for and --group exclude each other.", hint="Reserve for a user or for a group.")
    body: ReservationBody = {"start_at": start.isoformat(), "end_at": end.isoformat()}
    _put_devices(call, body)
    for option, field in (("for", "user"), ("group", "group"), ("name", "name"), ("reason", "reason")):
        if (text := call.text(option)) is not None:
            body[field] = text  # type: ignore[literal-required]  # keys of the document
    if call.flag("dry_run"):
        body["dry_run"] = True
    return body


def _put_devices(call: Call, body: ReservationBody) -> None:
    count, kind, memory = call.number("gpus"), call.text("kind"), call.text("gpu_memory")
    if count is not None:
        if count < 1:
            raise InvalidRequestError(f"--gpus {count} reserves nothing.", hint="Write 1 or more, such as --gpus 2.")
        body["gpus"] = count
    if kind is not None:
        body["kind"] = kind.strip().lower()
    if memory is not None:
        body["memory_bytes"] = parse_size(memory)
    GpuRequest(body.get("gpus", 1), body.get("kind", ANY_KIND), body.get("memory_bytes"))  # refuses what can never be


def _window(call: Call) -> tuple[datetime, datetime]:
    """Return begin and end in UTC.

    Raises:
        InvalidRequestError: One is missing or malformed; the window is past, empty or reversed.
    """
    begin, end = call.text("from"), call.text("to")
    if begin is None or end is None:
        missing = " and ".join(name for name, text in (("--from", begin), ("--to", end)) if text is None)
        raise InvalidRequestError(
            f"From when to when? {missing} is missing.",
            hint="Write, for example: ds01 reservation create --gpus 1 --from 'tomorrow 09:00' --to 'tomorrow 17:00'",
        )
    now, zone = present(), SystemZone()
    start_at = parse_coming_moment(begin, "--from", now=now, zone=zone)
    # an end without a day is the next one after the begin: --from 'tomorrow 22:00' --to 06:00
    reference = max(start_at, now) if ":" in end and " " not in end.strip() and "-" not in end else now
    end_at = parse_coming_moment(end, "--to", now=reference, zone=zone)
    said = Clock(now, zone)
    if end_at <= now:
        raise InvalidRequestError(
            f"The window has passed: it ends {said.say(end_at.isoformat())}.", hint="Write a later --from and --to."
        )
    if end_at <= start_at:
        raise InvalidRequestError(
            f"The window is reversed: it begins {said.say(start_at.isoformat())} and ends "
            f"{said.say(end_at.isoformat())}.",
            hint="Exchange --from and --to, or write the day of --to.",
        )
    if start_at < now - timedelta(minutes=1):
        raise InvalidRequestError(
            f"The window begins in the past: {said.say(start_at.isoformat())}.", hint="Write --from now."
        )
    return start_at, end_at


def _what(found: ReservationDocument) -> str:
    kind = "" if found["kind"] in {"", ANY_KIND} else f" of kind {found['kind']}"
    memory = f" with {format_size(found['memory_bytes'])}" if found["memory_bytes"] else ""
    return f"{found['gpus']} GPU{'s' if found['gpus'] != 1 else ''}{kind}{memory}"


def _whom(found: ReservationDocument) -> str:
    if found["owner"]:
        return "you" if found["mine"] and not found["group"] else found["owner"]
    return f"group {found['group']}" if found["group"] else "somebody"


def list_reservations(call: Call) -> int:
    """Print the reservations that the caller may use, or everybody's."""
    everybody = call.flag("all")
    document = call.client.list_reservations(everybody=everybody, over=call.flag("over"))
    reservations, kind = document["reservations"], call.output_format
    if kind == "json":
        call.screen.document(document)
    elif kind == "csv":
        rows = (_csv_row(found) for found in reservations)
        call.screen.data(csv_text(CSV_COLUMNS, rows))
    elif kind == "name":
        for found in reservations:
            call.screen.data(found["name"] or found["id"])
    elif reservations:
        headings = ["NAME", "FOR", "GPUS", "FROM", "TO", "STATE", "REASON"]
        said = clock()
        call.screen.data(render(call.screen, headings, [_row(found, said) for found in reservations]))
    else:
        call.screen.tell(
            "There are no reservations." if everybody else "You have no reservation: ds01 reservation list -a"
        )
    return 0


def _csv_row(found: ReservationDocument) -> list[str]:
    texts = {**found}
    return ["" if texts[column] is None else str(texts[column]) for column in CSV_COLUMNS]


def _row(found: ReservationDocument, said: Clock) -> list[Cell | str]:
    kind = "" if found["kind"] in {"", ANY_KIND} else f" x {found['kind']}"
    return [
        found["name"] or found["id"],
        found["owner"] or (f"group {found['group']}" if found["group"] else HIDDEN),
        f"{found['gpus']}{kind}",
        said.say(found["start_at"]),
        said.say(found["end_at"]),
        Cell(found["state"].replace("_", " "), _STYLES.get(found["state"], "dim")),
        found["reason"] or HIDDEN,
    ]


def show(call: Call) -> int:
    """Print one reservation."""
    name = _one(call, "show")
    with naming_reservation(call, name):
        found = call.client.get_reservation(name)
    if call.flag("json"):
        call.screen.document(found)
        return 0
    said = clock()
    length = datetime.fromisoformat(found["end_at"]) - datetime.fromisoformat(found["start_at"])
    lines = [
        ("name", found["name"] or found["id"]),
        ("for", _whom(found)),
        ("keeps", _what(found)),
        ("from", said.say(found["start_at"])),
        ("to", f"{said.say(found['end_at'])} ({format_duration(length)})"),
        ("state", found["state"].replace("_", " ")),
        ("reason", found["reason"] or HIDDEN),
        ("made by", "the policy file" if found["origin"] == "policy" else found["created_by"] or HIDDEN),
        ("in use by", ", ".join(found["containers"]) or HIDDEN),
    ]
    call.screen.data("\n".join(f"{label:<10}  {text}" for label, text in lines))
    if found["mine"] and found["state"] in {"planned", "active"}:
        call.screen.suggest(f"ds01 create my-project pytorch --reservation {found['name']} --wait")
    return 0


def cancel(call: Call) -> int:
    """End reservations before their time."""
    names = list(dict.fromkeys(call.texts("names")))
    if not names:
        found = _candidates(call, "cancel")
        choices = [_choice(reservation) for reservation in found]
        names = [found[0]["id"]] if len(found) == 1 else pick_several(call, "Which reservations to cancel?", choices)
    if call.must_confirm and not confirm(
        f"Cancel {', '.join(names)}? The GPUs are free for others; containers that run in it go on."
    ):
        raise cancelled()
    return for_each(call, names, lambda name: _cancel_one(call, name), are_containers=False)


def _cancel_one(call: Call, name: str) -> dict[str, object]:
    with naming_reservation(call, name):
        outcome = call.client.cancel_reservation(name)
    shown = outcome["reservation"]["name"] or outcome["reservation"]["id"]
    call.done(f"The reservation {shown} is cancelled.", shown)
    return dict(outcome)


@contextmanager
def naming_reservation(call: Call, name: str) -> Iterator[None]:
    """Let an error about a reservation that does not exist propose the nearest one that does."""

    def known() -> list[str]:
        return [found["name"] for found in call.client.list_reservations(everybody=True)["reservations"]]

    with naming_among(name, known, "ds01 reservation list"):
        yield


def _one(call: Call, verb: str) -> str:
    typed = call.text("name")
    if typed is not None:
        return typed
    found = _candidates(call, verb)
    if len(found) == 1:
        return found[0]["id"]
    return pick(call, f"Which reservation to {verb}?", [_choice(reservation) for reservation in found])


def _candidates(call: Call, verb: str) -> list[ReservationDocument]:
    if not call.can_ask:
        raise InvalidRequestError(
            f"Which reservation to {verb}? NAME is missing.",
            hint=f"Write ds01 reservation {verb} NAME; ds01 reservation list shows yours.",
        )
    found = call.client.list_reservations()["reservations"]
    if not found:
        raise NotFoundError(f"You have no reservation to {verb}.", hint="See all: ds01 reservation list -a")
    return found


def _choice(found: ReservationDocument) -> Choice:
    return Choice(found["id"], f"{found['name']}  ({_what(found)}, {_when(found, clock())})")


def _when(found: ReservationDocument, said: Clock) -> str:
    return f"{said.say(found['start_at'])} to {said.say(found['end_at'])}"


NAME = Argument("name", shown="[NAME|ID]", completes="reservation")
CREATE = Spec(
    create,
    examples=(
        "ds01 reservation create --gpus 1 --kind full --from 'tomorrow 09:00' --to 'tomorrow 17:00'  for yourself",
        "ds01 reservation create --gpus 2 --from '2026-12-01 09:00' --to '2026-12-03 18:00' --name exam --for alice  "
        "for another user (administrators)",
        "ds01 reservation create --from 22:00 --to 06:00 --group researcher --dry-run  only say whether it is possible",
    ),
    details=(
        "Times are of your own zone. The device is chosen when the window begins; before it, only requests that end in "
        "time get it. A reservation that nobody uses is given back after a while. What stands in its way is named."
    ),
    options=(
        Option("-g --gpus", "How many GPUs; 1 if not given.", kind="number", metavar="COUNT"),
        Option(
            "--kind", "full, mig, a MIG profile such as 1g.5gb, or part of a model's name.", kind="text", metavar="KIND"
        ),
        Option("--gpu-memory", "Least memory of each GPU, such as 20G.", kind="text", metavar="SIZE"),
        Option("--from", "Begin: 'tomorrow 09:00', '18:00', '2026-12-01 09:00', now.", kind="text", metavar="WHEN"),
        Option("--to", "End, written in the same way, or as 'in 4h'.", kind="text", metavar="WHEN"),
        Option("--for", "For this user; others than yourself for administrators.", kind="text", metavar="USER"),
        Option("--group", "For everybody in this group.", kind="text", metavar="GROUP"),
        Option("--name", "Its name; one is made if it is not given.", kind="text", metavar="NAME"),
        Option("--reason", "Why, for people.", kind="text", metavar="TEXT"),
        Option("--dry-run", "Only say whether it is possible."),
        JSON,
        *ASKING,
    ),
)
LIST = Spec(
    list_reservations,
    examples=(
        "ds01 reservation list  those that you may use or have made",
        "ds01 reservation list -a  everybody's",
        "ds01 reservation list --over --json  also those that are over, for programs",
    ),
    options=(
        Option("-a --all", "Everybody's reservations, as far as you may see them."),
        Option("--over", "Also those that are over."),
        QUIET_NAMES,
        FORMAT,
        JSON,
    ),
)
SHOW = Spec(
    show,
    examples=("ds01 reservation show exam  window, devices, state, who uses it",),
    arguments=(NAME,),
    options=(JSON, *ASKING),
)
CANCEL = Spec(
    cancel,
    examples=("ds01 reservation cancel exam  the GPUs are free for others",),
    details="Your own; others' for administrators. What runs in it goes on, until the end that it had.",
    arguments=(Argument("names", many=True, shown="[NAME|ID]...", completes="reservation"),),
    options=(JSON, *ASKING),
)
