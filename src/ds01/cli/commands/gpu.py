"""`ds01 gpus` (`ds01 gpu list`) and `ds01 gpu release`."""

from ds01.api.explanation import SOMEBODY, Clock
from ds01.api.schema import GpuDocument, HolderDocument
from ds01.cli.call import Call
from ds01.cli.moment import clock
from ds01.cli.prompts import cancelled, confirm
from ds01.cli.selection import is_inactive, naming, one_name
from ds01.cli.spec import ASKING, FORMAT, JSON, NAME, Option, Spec
from ds01.cli.table import Cell, csv_text, relative_time, render
from ds01.units import format_ratio, format_size

CSV_COLUMNS = (
    "address",
    "uuid",
    "kind",
    "profile",
    "model",
    "state",
    "free",
    "memory_bytes",
    "memory_used_bytes",
    "holders",
    "until",
)
UNKNOWN = "-"
_OUT = frozenset({"drained", "unhealthy", "busy_unmanaged"})
"""Nobody new gets such a device, and whoever has it keeps it."""


def list_gpus(call: Call) -> int:
    """Print the devices and who holds them."""
    document = call.client.list_gpus()
    wanted = call.text("user")
    if wanted is not None:
        document["gpus"] = [gpu for gpu in document["gpus"] if _is_held_by(gpu, wanted)]
    kind, gpus = call.output_format, document["gpus"]
    if kind == "json":
        call.screen.document(document)
    elif kind == "csv":
        call.screen.data(csv_text(CSV_COLUMNS, map(_csv_row, gpus)))
    elif kind == "name":
        for gpu in gpus:
            call.screen.data(gpu["uuid"])
    elif gpus:
        headings = ["GPU", "KIND", "MODEL", "MEMORY", "USE", "STATE", "HELD BY", "SINCE", "UNTIL"]
        said = clock()
        call.screen.data(render(call.screen, headings, [_row(gpu, said) for gpu in gpus]))
    else:
        call.screen.tell(f"{wanted} holds no GPU." if wanted is not None else "This machine has no GPU.")
    return 0


def _is_held_by(gpu: GpuDocument, wanted: str) -> bool:
    return any(wanted in {holder["owner"], str(holder["owner_uid"])} for holder in gpu["holders"])


def _row(gpu: GpuDocument, said: Clock) -> list[Cell | str]:
    used, ratio = gpu["memory_used_bytes"], gpu["utilization_ratio"]
    holders = gpu["holders"]
    return [
        gpu["address"],
        gpu["profile"] or gpu["kind"],
        gpu["model"],
        f"{UNKNOWN if used is None else format_size(used)} / {format_size(gpu['memory_bytes'])}",
        UNKNOWN if ratio is None else format_ratio(ratio),
        _state(gpu),
        ", ".join(_holder(holder) for holder in holders),
        relative_time(holders[0]["since"], said.now) if holders else UNKNOWN,
        said.say(until) if (until := _until(gpu)) is not None else UNKNOWN,
    ]


def _holder(holder: HolderDocument) -> str:
    owner = holder["owner"] or (f"group {holder['group']}" if holder.get("group") else SOMEBODY)
    return f"{owner}: {holder['container']}" if holder["container"] else owner


def _until(gpu: GpuDocument) -> str | None:
    """When the whole of it is free again; None: nobody knows, or nobody holds it."""
    ends = [holder["until"] or holder.get("ends_at") for holder in gpu["holders"]]
    known = [end for end in ends if end is not None]
    return max(known) if known and len(known) == len(ends) else None


def _state(gpu: GpuDocument) -> Cell:
    if gpu["free"] and not gpu["holders"]:
        return Cell("free", "green")
    if gpu["holders"]:
        state, shares = gpu["holders"][0]["state"], gpu["holders"][0].get("shares", 1)
        if gpu["state"] in _OUT:
            return Cell(f"{state}; {gpu['reason']}", "red")
        return Cell(f"{state}, shared {len(gpu['holders'])}/{shares}" if shares > 1 else state, "yellow")
    return Cell(gpu["reason"] or gpu["state"], "red")


def _csv_row(gpu: GpuDocument) -> list[str]:
    holders = " ".join(f"{holder['owner']}:{holder['container']}" for holder in gpu["holders"])
    texts = {**gpu, "holders": holders, "until": _until(gpu)}
    return ["" if texts[column] is None else str(texts[column]) for column in CSV_COLUMNS]


def release(call: Call) -> int:
    """Give back the GPUs of a stopped container."""
    name = one_name(call, "release the GPUs of", fits=is_inactive, kind="stopped")
    if call.must_confirm and not confirm(
        f"Give back the GPUs of {name}? It gets others when it is started, if some are free."
    ):
        raise cancelled()
    with naming(call, name):
        outcome = call.client.release_gpus(name)
    if call.flag("json"):
        call.screen.document(outcome)
    count = len(outcome["gpus_released"])
    what = "held no GPU" if not count else "gave back its GPU" if count == 1 else f"gave back its {count} GPUs"
    call.done(f"{name} {what}.", name)
    if count:
        call.screen.suggest("ds01 gpus")
    return 0


LIST = Spec(
    list_gpus,
    examples=(
        "ds01 gpus  every GPU, who holds it, and what is free",
        "ds01 gpus --user alice  those that alice holds",
        "ds01 gpu list --json  everything, for programs",
    ),
    details="A MIG instance is shown as GPU:INSTANCE. Names (-q) are UUIDs: numbers change when a card goes away.",
    options=(
        Option("--user", "Only what this user holds.", kind="text", metavar="NAME"),
        Option("-q --quiet", "Print UUIDs only."),
        FORMAT,
        JSON,
    ),
)
RELEASE = Spec(
    release,
    examples=("ds01 gpu release my-project  others can have them; the container stays",),
    details="The container must be stopped. When it starts again it is granted GPUs anew.",
    arguments=(NAME,),
    options=(JSON, *ASKING),
)
