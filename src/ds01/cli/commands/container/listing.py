"""`ds01 list`: answered without click, so this module imports nothing heavy."""

from __future__ import annotations

from datetime import UTC, datetime

from ds01.cli.call import Call
from ds01.cli.container_text import gpu_text, image_text
from ds01.cli.spec import FORMAT, JSON, QUIET_NAMES, Option, Spec
from ds01.cli.table import NOTHING, Cell, csv_text, relative_time, render

TYPE_CHECKING = False  # see client.session
if TYPE_CHECKING:
    from ds01.api.schema import ContainerDocument, ContainerList, RequestDocument

_STATE_STYLES = {"running": "green", "paused": "yellow", "restarting": "yellow", "removing": "yellow", "dead": "red"}
CSV_COLUMNS = ("name", "state", "gpu", "image", "framework", "created_at", "owner", "origin")


def list_containers(call: Call) -> int:
    """Print the caller's containers, or everybody's."""
    if call.flag("interactive"):
        from ds01.cli.commands.container.detail import act_on_one

        return act_on_one(call)
    everybody = call.flag("all")
    document = call.client.list_containers(everybody=everybody)
    kind = call.output_format
    if call.flag("detailed") and document["containers"] and kind in {"table", "json"}:
        _list_in_detail(call, document)
    elif kind == "json":
        call.screen.document(document)
    elif kind == "csv":
        call.screen.data(csv_text(CSV_COLUMNS, map(_csv_row, document["containers"])))
    elif kind == "name":
        for container in document["containers"]:
            call.screen.data(container["name"])
    else:
        _print(call, document, everybody=everybody)
    return 0


def _print(call: Call, document: ContainerList, *, everybody: bool) -> None:
    containers, waiting = document["containers"], document.get("waiting", [])
    if not containers and not waiting:
        call.screen.tell("There are no containers." if everybody else "You have no containers.")
        call.screen.suggest(call.command("create", "my-project", "pytorch"))
        return
    call.screen.data(_table(call, containers, waiting, everybody=everybody))
    if waiting:
        _say_waiting(call, waiting)
    for container in containers:
        if container.get("owner_doubt"):
            call.screen.warn(f"It is not clear whose {container['name']} is: {container['owner_doubt']}.")
        if container.get("gpu_doubt"):
            call.screen.warn(f"A GPU of {container['name']} is gone: {container['gpu_doubt']}.")


def _list_in_detail(call: Call, document: ContainerList) -> None:
    from ds01.cli.commands.container.detail import print_details, read_details

    details = read_details(call, document)
    if call.output_format == "json":
        call.screen.document({**document, "containers": details})
    else:
        print_details(call, details)
        if waiting := document.get("waiting", []):
            _say_waiting(call, waiting)


def _table(call: Call, containers: list[ContainerDocument], waiting: list[RequestDocument], *, everybody: bool) -> str:
    now = datetime.now(UTC)
    headings = ["NAME", "STATE", "GPU", "IMAGE", "CREATED"] + (["OWNER", "ORIGIN"] if everybody else [])
    rows = [_waiting_row(request, now, everybody=everybody) for request in waiting]
    for container in containers:
        state = container["state"]
        row: list[Cell | str] = [
            container["name"],
            Cell(state, _STATE_STYLES.get(state, "dim")),
            gpu_text(container["gpus"]),
            image_text(container),
            relative_time(container["created_at"], now),
        ]
        if everybody:
            row += [container["owner"], container["origin"] + ("" if container["managed"] else " (not managed)")]
        rows.append(row)
    return render(call.screen, headings, rows)


def _waiting_row(request: RequestDocument, now: datetime, *, everybody: bool) -> list[Cell | str]:
    from ds01.api.explanation import short_asked_text

    state, asked = request["state"], short_asked_text(request)
    row: list[Cell | str] = [request["container"], Cell(state, "yellow"), asked, NOTHING]
    row.append(relative_time(request["queued_at"], now))
    return [*row, request["owner"], "ds01"] if everybody else row


def _say_waiting(call: Call, waiting: list[RequestDocument]) -> None:
    from ds01.api.explanation import request_text
    from ds01.cli.moment import clock

    said = clock()
    for request in waiting:
        call.screen.tell(request_text(request, said))


def _csv_row(container: ContainerDocument) -> list[str]:
    gpus = " ".join(gpu["uuid"] for gpu in container["gpus"])
    texts = {**container, "gpu": gpus}
    return [str(texts[column]) for column in CSV_COLUMNS]


LIST = Spec(
    list_containers,
    examples=(
        "ds01 list  your containers",
        "ds01 list -a  everybody's, with owner and origin",
        "ds01 list --detailed  framework, folders, limits and GPUs of each",
        "ds01 list -i  pick one, and what to do with it",
        "ds01 list -q  names only, for scripts",
        "ds01 list --json  everything, for programs",
    ),
    details="`ds01 ls` is the same. ORIGIN says what made a container: ds01, mlc, docker, compose or devcontainer.",
    options=(
        Option("-a --all", "Everybody's containers, as far as you may see them."),
        Option("-d --detailed", "Everything about each: framework, folders, limits, UUIDs of GPUs, what made it."),
        Option("-i --interactive", "Pick one, and what to do with it: open, start, stop, logs, why."),
        QUIET_NAMES,
        FORMAT,
        JSON,
    ),
)
