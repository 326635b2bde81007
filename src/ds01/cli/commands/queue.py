"""`ds01 queue`: requests that wait for GPUs. list, show, cancel, move."""

from collections.abc import Iterator
from contextlib import contextmanager

from ds01.api.explanation import Clock, request_text, short_asked_text, start_text, why_lines
from ds01.api.schema import MoveBody, RequestDocument, WhyDocument
from ds01.cli.call import Call
from ds01.cli.moment import clock
from ds01.cli.prompts import Choice, cancelled, confirm, pick, pick_several
from ds01.cli.screen import clean
from ds01.cli.selection import for_each, naming_among
from ds01.cli.spec import ASKING, FORMAT, JSON, QUIET_NAMES, Argument, Option, Spec
from ds01.cli.table import Cell, csv_text, relative_time, render
from ds01.errors import InvalidRequestError, NotFoundError

CSV_COLUMNS = (
    *("place", "container", "id", "owner", "group", "gpus", "kind"),
    *("state", "start_at", "is_promise", "queued_at"),
)
HIDDEN = "-"
_STYLES = {"waiting": "yellow", "starting": "green", "failed": "red"}


def list_requests(call: Call) -> int:
    """Print the caller's requests, or everybody's."""
    everybody = call.flag("all")
    document = call.client.list_queue(everybody=everybody)
    requests, kind = document["requests"], call.output_format
    if kind == "json":
        call.screen.document(document)
    elif kind == "csv":
        call.screen.data(csv_text(CSV_COLUMNS, map(_csv_row, requests)))
    elif kind == "name":
        for request in requests:
            call.screen.data(request["container"] if request["mine"] else request["id"])
    elif requests:
        call.screen.data(_table(call, requests, clock(), everybody=everybody))
        if not everybody and document["waiting"] > len(requests):
            call.screen.note(f"{document['waiting']} wait in all: ds01 queue -a")
        call.screen.suggest("ds01 why")
    else:
        call.screen.tell(_nobody(document["waiting"], everybody=everybody))
    return 0


def _nobody(waiting: int, *, everybody: bool) -> str:
    if everybody or not waiting:
        return "Nobody waits for a GPU." if not waiting else "Nothing waits that you may see."
    return f"Nothing of yours waits; of others {waiting}: ds01 queue -a"


def _table(call: Call, requests: list[RequestDocument], said: Clock, *, everybody: bool) -> str:
    headings = ["PLACE", "NAME", *(["OWNER"] if everybody else []), "STATE", "GPUS", "STARTS", "SINCE", "WHY"]
    rows: list[list[Cell | str]] = []
    for request in requests:
        is_waiting = request["state"] == "waiting"
        rows.append(
            [
                str(request["estimate"]["place"]) if is_waiting else HIDDEN,
                request["container"] or request["id"],
                *([_owner(request)] if everybody else []),
                Cell(request["state"], _STYLES[request["state"]]),
                short_asked_text(request),
                start_text(request["estimate"], said) if is_waiting else HIDDEN,
                relative_time(request["queued_at"], said.now),
                request["reason"] or HIDDEN,
            ]
        )
    return render(call.screen, headings, rows)


def _owner(request: RequestDocument) -> str:
    return request["owner"] or (f"group {request['group']}" if request["group"] else HIDDEN)


def _csv_row(request: RequestDocument) -> list[str]:
    texts = {**request, **request["estimate"]}
    return ["" if texts[column] is None else str(texts[column]) for column in CSV_COLUMNS]


def show(call: Call) -> int:
    """Print one request with every cause."""
    name = _one(call, "show")
    with naming_request(call, name):
        document = call.client.explain_request(name)
    if call.flag("json"):
        call.screen.document(document)
    else:
        print_why(call, document)
    return 0


def print_why(call: Call, *documents: WhyDocument) -> None:
    """Print explanations as text, with an empty line between two."""
    said = clock()
    call.screen.data("\n\n".join("\n".join(map(clean, why_lines(document, said))) for document in documents))


def cancel(call: Call) -> int:
    """Give up places in the queue."""
    names = _several(call, "cancel")
    if call.must_confirm:
        what = names[0] if len(names) == 1 else f"these {len(names)} requests"
        if not confirm(f"Give up the place of {what} in the queue? Asking again begins at the end."):
            raise cancelled()
    return for_each(call, names, lambda name: _cancel_one(call, name), are_containers=False)


def _cancel_one(call: Call, name: str) -> dict[str, object]:
    with naming_request(call, name):
        outcome = call.client.cancel_request(name)
    call.done(f"{outcome['container'] or outcome['id']} has left the queue.", outcome["container"] or outcome["id"])
    return dict(outcome)


def move(call: Call) -> int:
    """Give a request another place."""
    name, before = call.text("name"), call.text("before")
    chosen = [option for option in ("first", "last") if call.flag(option)] + (["before"] if before is not None else [])
    if len(chosen) != 1:
        raise InvalidRequestError(
            "Where to? Say exactly one of --first, --last and --before REQUEST.",
            hint=f"Write ds01 queue move {name or 'NAME'} --first",
        )
    if name is None:
        name = _one(call, "move", everybody=True)
    body: MoveBody = {"place": "first" if chosen == ["first"] else "last" if chosen == ["last"] else "before"}
    if before is not None:
        body["before"] = before
    if (reason := call.text("reason")) is not None:
        body["reason"] = reason
    if call.must_confirm and not confirm(
        f"Move {name}? Promises to those whom it passes may end; they are told, with your name."
    ):
        raise cancelled()
    with naming_request(call, name, everybody=True):
        outcome = call.client.move_request(name, body)
    if call.flag("json"):
        call.screen.document(outcome)
    said = clock()
    moved = outcome["request"]
    for promise in outcome["promises"]:
        after = f"now {said.say(promise['start_at'])}" if promise["start_at"] is not None else "nothing is promised now"
        whose = f"{promise['container']} of {promise['owner']}" if promise["owner"] else promise["id"]
        call.screen.warn(f"{whose} was promised {said.say(promise['promised_at'])}: {after}.")
    call.done(request_text(moved, said), moved["container"] or moved["id"])
    return 0


@contextmanager
def naming_request(call: Call, name: str, *, everybody: bool = False) -> Iterator[None]:
    """Let an error about a request that does not exist propose the nearest one that does."""

    def known() -> list[str]:
        return [request["container"] for request in call.client.list_queue(everybody=everybody)["requests"]]

    with naming_among(name, known, "ds01 queue"):
        yield


def _one(call: Call, verb: str, *, everybody: bool = False) -> str:
    typed = call.text("name")
    if typed is not None:
        return typed
    found = _candidates(call, verb, everybody=everybody)
    if len(found) == 1:
        return _taken(call, found[0])
    return pick(call, f"Which request to {verb}?", [_choice(request) for request in found])


def _several(call: Call, verb: str) -> list[str]:
    typed = list(dict.fromkeys(call.texts("names")))
    if call.flag("all"):
        if typed:
            raise InvalidRequestError("--all and names exclude each other.", hint="Use ds01 queue cancel --all")
        return [request["id"] for request in call.client.list_queue()["requests"]]
    if typed:
        return typed
    found = _candidates(call, verb)
    if len(found) == 1:
        return [_taken(call, found[0])]
    return pick_several(call, f"Which requests to {verb}?", [_choice(request) for request in found])


def _taken(call: Call, request: RequestDocument) -> str:
    call.screen.note(f"Taking {request['container']}: it is the only one that waits.")
    return request["id"]


def _candidates(call: Call, verb: str, *, everybody: bool = False) -> list[RequestDocument]:
    if not call.can_ask:
        raise InvalidRequestError(
            f"Which request to {verb}? NAME is missing.",
            hint=f"Write ds01 queue {verb} NAME; ds01 queue shows yours.",
        )
    found = call.client.list_queue(everybody=everybody)["requests"]
    if not found:
        raise NotFoundError(f"Nothing waits that you could {verb}.", hint="See the queue: ds01 queue -a")
    return found


def _choice(request: RequestDocument) -> Choice:
    estimate = request["estimate"]
    facts = f"place {estimate['place']}, {short_asked_text(request)}, {start_text(estimate, clock())}"
    return Choice(request["id"], f"{request['container'] or request['id']}  ({facts})")


NAME = Argument("name", shown="[NAME|ID]", completes="request")
LIST = Spec(
    list_requests,
    examples=(
        "ds01 queue  your requests that wait, their place and start",
        "ds01 queue -a  everybody's, in the order in which they are served",
        "ds01 queue --json  everything, for programs",
    ),
    details=(
        "`by 16:30` is a promise: it starts then at the latest, whatever else comes. `about 16:30` is an estimate. "
        "Of others you see what the site shows."
    ),
    options=(
        Option("-a --all", "Everybody's requests, as far as you may see them."),
        QUIET_NAMES,
        FORMAT,
        JSON,
    ),
)
SHOW = Spec(
    show,
    examples=("ds01 queue show my-project  its place, its start, every cause, and what would help",),
    arguments=(NAME,),
    options=(JSON, *ASKING),
)
CANCEL = Spec(
    cancel,
    examples=(
        "ds01 queue cancel my-project  give up its place",
        "ds01 queue cancel  pick from those of yours that wait",
    ),
    details="A name means your own request; an id can be another's, for administrators.",
    arguments=(Argument("names", many=True, shown="[NAME|ID]...", completes="request"),),
    options=(Option("-a --all", "All of yours."), JSON, *ASKING),
)
MOVE = Spec(
    move,
    examples=(
        "ds01 queue move 4f1c9d2ab7e05836 --first  serve it first (administrators)",
        "ds01 queue move 4f1c --before 9b20 --reason 'exam tomorrow'  before another one",
        "ds01 queue move 4f1c --last  serve it last",
    ),
    details="For administrators. It says which promises change; those people are told, with your name and the reason.",
    arguments=(Argument("name", shown="[NAME|ID]", completes="queue"),),
    options=(
        Option("--first", "To the first place."),
        Option("--before", "Before this request.", kind="text", metavar="ID", completes="queue"),
        Option("--last", "To the last place."),
        Option("--reason", "Why, for those who are passed.", kind="text", metavar="TEXT"),
        JSON,
        *ASKING,
    ),
)
