"""`ds01 inspect`."""

from collections.abc import Sequence

from ds01.api.schema import ContainerDetailsDocument, LimitsOfContainer
from ds01.cli.call import Call
from ds01.cli.container_text import gpu_text
from ds01.cli.home_path import short_home_path
from ds01.cli.screen import clean
from ds01.cli.selection import naming, one_name
from ds01.cli.spec import JSON, NAME, NO_INPUT, Option, Spec
from ds01.cli.table import relative_time
from ds01.units import format_number, format_size

UNLIMITED = "unlimited"


def inspect(call: Call) -> int:
    """Print everything about a container."""
    name = one_name(call, "inspect")
    with naming(call, name):
        document = call.client.get_container(name, inspect=call.flag("engine"))
    if call.flag("json") or call.flag("engine"):
        call.screen.document({"schema_version": 1, **document})
        return 0
    for line in fact_lines(call, [*_facts(call, document), *facts_of_limits(document["limits"])]):
        call.screen.data(line)
    return 0


def fact_lines(call: Call, rows: Sequence[tuple[str, str]]) -> list[str]:
    """Return labels and values as lines, the values in one column."""
    width = max(len(label) for label, _ in rows)
    return [f"{call.screen.styled(label.ljust(width), 'dim', on_out=True)}  {clean(value)}" for label, value in rows]


def state_text(document: ContainerDetailsDocument) -> str:
    """Return the state, with the exit status of one that has ended."""
    state = document["state"]
    if document["exit_code"] is None or state != "exited":
        return state
    # 129 and 137: AIME's shell as main process ends by a signal when its container is stopped
    is_stopped = document["origin"] == "mlc" and document["exit_code"] in {129, 137}
    return "stopped" if is_stopped else f"{state} (status {document['exit_code']})"


def origin_text(document: ContainerDetailsDocument) -> str:
    """Return what made it."""
    return document["origin"] + ("" if document["managed"] else " (not managed)")


def mount_facts(call: Call, document: ContainerDetailsDocument) -> list[tuple[str, str]]:
    """Return the folders of the machine that it sees."""
    folders = (
        ("workspace", document["workspace"]),
        ("data", document["data"]),
        ("models", document["models"]),
    )
    return [(label, short_home_path(path, call.environment) if path else "-") for label, path in folders]


def _facts(call: Call, document: ContainerDetailsDocument) -> list[tuple[str, str]]:
    grant = document["allocation_state"]
    return [
        ("name", document["name"]),
        ("state", state_text(document)),
        *([("error", document["error"])] if document["error"] else []),
        ("owner", f"{document['owner']} ({document['owner_uid']})"),
        ("image", document["image"]),
        ("framework", document["framework"] or "-"),
        ("GPUs", gpu_text(document["gpus"]) + (f" ({grant})" if grant and document["gpus"] else "")),
        ("created", relative_time(document["created_at"])),
        ("started", relative_time(document["started_at"])),
        *mount_facts(call, document),
        ("address", document["ip_address"] or "-"),
        ("made by", origin_text(document)),
        ("engine name", document["engine_name"]),
        ("id", document["id"][:12]),
    ]


def facts_of_limits(limits: LimitsOfContainer) -> list[tuple[str, str]]:
    """Return the limits as the engine enforces them."""
    cpus = limits["cpus"]
    pids = limits["pids"]
    return [
        ("CPUs", UNLIMITED if cpus is None else format_number(cpus)),
        ("memory", _size(limits["memory_bytes"])),
        ("memory and swap", _size(limits["memory_swap_bytes"])),
        ("shared memory", _size(limits["shm_size_bytes"])),
        ("processes", UNLIMITED if pids is None else str(pids)),
        ("cgroup parent", limits["cgroup_parent"] or "-"),
    ]


def _size(size_bytes: int | None) -> str:
    return UNLIMITED if size_bytes is None else format_size(size_bytes)


INSPECT = Spec(
    inspect,
    examples=(
        "ds01 inspect my-project  what it is and what it may use",
        "ds01 inspect my-project --json  everything, for programs",
        "ds01 inspect my-project --engine  with Docker's own document",
    ),
    arguments=(NAME,),
    options=(Option("--engine", "With the engine's own document, as JSON."), JSON, NO_INPUT),
)
