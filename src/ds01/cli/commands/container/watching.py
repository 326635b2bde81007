"""`ds01 stats`, `logs` and `top`: looking into a running container."""

import json
import sys
import time
from collections.abc import Iterator, Sequence

from ds01.api.schema import GpuReading, StatsDocument, StatsList
from ds01.cli.call import Call
from ds01.cli.selection import is_active, naming, one_name
from ds01.cli.spec import JSON, NAME, NO_INPUT, Option, Spec
from ds01.cli.table import render
from ds01.cli.terminal import STDOUT_DESCRIPTOR, write_bytes
from ds01.errors import InvalidRequestError
from ds01.units import format_ratio, format_size, parse_duration

DEFAULT_INTERVAL = "2s"
LEAST_INTERVAL_S = 0.5
UNKNOWN = "-"
_UNKNOWN_ADDRESS = "?"
_DEVICE_MARK = "*"


def stats(call: Call) -> int:
    """Print one reading, or one after the other."""
    if not call.flag("watch"):
        _print_stats(call, _read_stats(call))
        return 0
    interval_s = parse_duration(call.text("interval") or DEFAULT_INTERVAL).total_seconds()
    if interval_s < LEAST_INTERVAL_S:
        raise InvalidRequestError("--interval is too short.", hint=f"Use {LEAST_INTERVAL_S}s or more, such as 2s.")
    while True:
        document = _read_stats(call)
        call.screen.clear()
        _print_stats(call, document, as_lines=True)
        sys.stdout.flush()
        time.sleep(interval_s)


def _read_stats(call: Call) -> StatsList:
    name = call.text("name")
    if name is None:
        return call.client.get_stats(everybody=call.flag("all"))
    with naming(call, name):
        return call.client.get_stats(name)


def _print_stats(call: Call, document: StatsList, *, as_lines: bool = False) -> None:
    if call.flag("json"):
        if as_lines:
            call.screen.data(json.dumps(document))
        else:
            call.screen.document(document)
        return
    rows = [_stats_row(container, with_owner=call.flag("all")) for container in document["containers"]]
    if not rows:
        call.screen.tell("No container is running.")
        return
    headings = ["NAME", "CPU", "MEMORY", "GPU", "GPU MEMORY", "NETWORK IN/OUT", "PROCESSES"]
    call.screen.data(render(call.screen, headings + (["OWNER"] if call.flag("all") else []), rows))
    for remark in _remarks(document["containers"]):
        call.screen.tell(remark)


def _remarks(containers: Sequence[StatsDocument]) -> Iterator[str]:
    """What the driver does not say is said once, below the table."""
    gpus = [gpu for container in containers for gpu in container["gpus"]]
    if any(_is_instance(gpu) and gpu["own_utilization_ratio"] is None for gpu in gpus):
        yield f"GPU {UNKNOWN}: how busy a MIG instance is, the driver does not say; memory is per instance."
    if any(gpu["address"] == _UNKNOWN_ADDRESS for gpu in gpus):
        yield "GPU unknown: the driver does not say which. `ds01 status` says whether it answers."
    is_shared = any(_busy(gpu).endswith(_DEVICE_MARK) for gpu in gpus)
    if is_shared or any(_of_devices(container) is not None for container in containers):
        yield f"{_DEVICE_MARK} of the whole device: the driver does not say it by program."


def _gpu(gpu: GpuReading) -> str:
    address = gpu["address"]
    return "unknown" if address == _UNKNOWN_ADDRESS else f"{address}: {_busy(gpu)}"


def _is_instance(gpu: GpuReading) -> bool:
    return gpu["address"].count(":") > 0


def _busy(gpu: GpuReading) -> str:
    """Return how busy the container keeps a device; marked, how busy the device is."""
    own, all_together = gpu["own_utilization_ratio"], gpu["utilization_ratio"]
    if own is None and all_together is not None:
        return format_ratio(all_together) + _DEVICE_MARK
    return _ratio(own)


def _of_devices(container: StatsDocument) -> int | None:
    """Return the memory in use on all of its devices, where it is not known by program; None: known, or no figure."""
    used = [gpu["memory_used_bytes"] for gpu in container["gpus"]]
    known = [figure for figure in used if figure is not None]
    if container["gpu_memory_used_bytes"] is not None or not used or len(known) < len(used):
        return None
    return sum(known)


def _gpu_memory(container: StatsDocument) -> str:
    gpus, used, of_devices = container["gpus"], container["gpu_memory_used_bytes"], _of_devices(container)
    if not gpus:
        return UNKNOWN
    mark = "" if all(_is_instance(gpu) for gpu in gpus) else _DEVICE_MARK
    text = _size(used) if of_devices is None else format_size(of_devices) + mark
    sizes = [gpu["memory_bytes"] for gpu in gpus]
    known = [size for size in sizes if size is not None]
    return f"{text} / {_size(sum(known) if len(known) == len(sizes) else None)}"


def _stats_row(container: StatsDocument, *, with_owner: bool) -> list[str]:
    gpus = container["gpus"]
    row = [
        container["name"],
        _ratio(container["cpu_ratio"]),
        f"{format_size(container['memory_used_bytes'])} / {format_size(container['memory_limit_bytes'])}",
        ", ".join(map(_gpu, gpus)) or UNKNOWN,
        _gpu_memory(container),
        f"{_size(container['network_rx_bytes'])} / {_size(container['network_tx_bytes'])}",
        str(container["pids"]),
    ]
    return [*row, container["owner"]] if with_owner else row


def _ratio(ratio: float | None) -> str:
    return UNKNOWN if ratio is None else format_ratio(ratio)


def _size(size_bytes: int | None) -> str:
    return UNKNOWN if size_bytes is None else format_size(size_bytes)


def logs(call: Call) -> int:
    """Pass on what the main process wrote, byte for byte."""
    name = one_name(call, "show the logs of")
    tail = call.number("tail")
    if tail is not None and tail < 0:
        raise InvalidRequestError(f"--tail {tail} is not a number of lines.", hint="Use 0 or more, such as --tail 100.")
    with naming(call, name):
        has_times = call.flag("timestamps") or call.flag("json")
        pieces = call.client.get_logs(name, follow=call.flag("follow"), tail=tail, timestamps=has_times)
    if call.flag("json"):
        for line in _lines(pieces):
            moment, _, text = line.partition(b" ")
            document = {"schema_version": 1, "time": moment.decode(), "text": text.decode(errors="replace")}
            call.screen.data(json.dumps(document))
            sys.stdout.flush()
        return 0
    for piece in pieces:
        write_bytes(STDOUT_DESCRIPTOR, piece)
    return 0


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Return lines without their ends, of which a terminal writes two signs."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in whole)
    if rest:
        yield rest


def top(call: Call) -> int:
    """Print the processes of a container."""
    name = one_name(call, "look into", fits=is_active, kind="running")
    with naming(call, name):
        document = call.client.list_processes(name)
    if call.flag("json"):
        call.screen.document(document)
        return 0
    rows = [[str(process["pid"]), process["user"], process["command"]] for process in document["processes"]]
    call.screen.data(render(call.screen, ["PID", "USER", "COMMAND"], rows))
    return 0


STATS = Spec(
    stats,
    examples=("ds01 stats  your running containers", "ds01 stats my-project --watch  again and again, Ctrl-C ends"),
    details="CPU is 100% for one busy core. With --watch and --json every reading is one line.",
    arguments=(NAME,),
    options=(
        Option("-a --all", "Everybody's containers, as far as you may see them."),
        Option("--watch", "Read again and again until Ctrl-C."),
        Option("--interval", "Time between two readings, 2s if not given.", kind="text", metavar="DURATION"),
        JSON,
    ),
)
LOGS = Spec(
    logs,
    examples=(
        "ds01 logs my-project --tail 100  the last 100 lines",
        "ds01 logs -f my-project  go on as it grows, Ctrl-C ends",
    ),
    details="With --json every line is a document of its own, with its time.",
    arguments=(NAME,),
    options=(
        Option("-f --follow", "Go on as it grows."),
        Option("-n --tail", "Only the last lines.", kind="number", metavar="LINES"),
        Option("-t --timestamps", "Each line begins with its time."),
        JSON,
        NO_INPUT,
    ),
)
TOP = Spec(
    top,
    examples=("ds01 top my-project  its processes, as the host counts them",),
    arguments=(NAME,),
    options=(JSON, NO_INPUT),
)
