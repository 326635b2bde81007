"""`ds01 inspect`."""

from ds01.api.schema import ContainerDetailsDocument, LimitsOfContainer
from ds01.cli.call import Call
from ds01.cli.commands.container.listing import gpu_text
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
        call.screen.document(document)
        return 0
    rows = [*_facts(document), *_limits(document["limits"])]
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        call.screen.data(f"{call.screen.styled(label.ljust(width), 'dim', on_out=True)}  {clean(value)}")
    return 0


def _facts(document: ContainerDetailsDocument) -> list[tuple[str, str]]:
    state = document["state"]
    if document["exit_code"] is not None and state == "exited":
        # 129 and 137: AIME's shell as main process ends by a signal when its container is stopped
        is_stopped = document["origin"] == "mlc" and document["exit_code"] in {129, 137}
        state = "stopped" if is_stopped else f"{state} (status {document['exit_code']})"
    grant = document["allocation_state"]
    return [
        ("name", document["name"]),
        ("state", state),
        *([("error", document["error"])] if document["error"] else []),
        ("owner", f"{document['owner']} ({document['owner_uid']})"),
        ("image", document["image"]),
        ("framework", document["framework"] or "-"),
        ("GPUs", gpu_text(document["gpus"]) + (f" ({grant})" if grant and document["gpus"] else "")),
        ("created", relative_time(document["created_at"])),
        ("started", relative_time(document["started_at"])),
        ("workspace", document["workspace"] or "-"),
        ("data", document["data"] or "-"),
        ("models", document["models"] or "-"),
        ("address", document["ip_address"] or "-"),
        ("made by", document["origin"] + ("" if document["managed"] else " (not managed)")),
        ("engine name", document["engine_name"]),
        ("id", document["id"][:12]),
    ]


def _limits(limits: LimitsOfContainer) -> list[tuple[str, str]]:
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
