"""`ds01 list --detailed` and `ds01 list -i`: more about each container, and what to do with one of them."""

from collections.abc import Mapping

from ds01.api.schema import ContainerDetailsDocument, ContainerList
from ds01.cli.call import Call
from ds01.cli.commands.container.inspection import fact_lines, facts_of_limits, mount_facts, origin_text, state_text
from ds01.cli.commands.container.power import START, STOP
from ds01.cli.commands.container.shell import OPEN
from ds01.cli.commands.container.watching import LOGS
from ds01.cli.commands.why import WHY
from ds01.cli.container_text import gpu_text
from ds01.cli.prompts import Choice, pick
from ds01.cli.selection import is_active, pick_one
from ds01.cli.spec import Spec, empty_values
from ds01.errors import InvalidRequestError, NotFoundError

_ACTIONS: Mapping[str, tuple[str, Spec]] = {
    "open": ("open a shell", OPEN),
    "start": ("start it", START),
    "stop": ("stop it", STOP),
    "logs": ("show its output", LOGS),
    "why": ("say which GPUs it has and why", WHY),
}
_NOTHING = "nothing"


def read_details(call: Call, document: ContainerList) -> list[ContainerDetailsDocument]:
    """Return everything about each container of a list; one that goes meanwhile is left out."""
    found: list[ContainerDetailsDocument] = []
    for row in document["containers"]:
        try:
            found.append(call.client.get_container(row["name"], uid=row["owner_uid"] if call.flag("all") else None))
        except NotFoundError:
            continue
    return found


def print_details(call: Call, details: list[ContainerDetailsDocument]) -> None:
    """Print a block for each container."""
    blocks = ["\n".join(fact_lines(call, _facts(call, document))) for document in details]
    call.screen.data("\n\n".join(blocks))


def _facts(call: Call, document: ContainerDetailsDocument) -> list[tuple[str, str]]:
    return [
        ("name", document["name"]),
        ("state", state_text(document)),
        ("owner", document["owner"]),
        ("framework", document["framework"] or "-"),
        ("image", document["image"]),
        ("GPUs", gpu_text(document["gpus"])),
        *(("GPU UUID", gpu["uuid"]) for gpu in document["gpus"]),
        *mount_facts(call, document),
        *facts_of_limits(document["limits"]),
        ("made by", origin_text(document)),
    ]


def act_on_one(call: Call) -> int:
    """Let a person pick a container and what to do with it.

    Raises:
        InvalidRequestError: Nobody can be asked.
        NotFoundError: There is no container.
    """
    if not call.can_ask:
        raise InvalidRequestError("-i asks, and there is nobody to ask.", hint=f"Write {call.command('list')}.")
    container = pick_one(call, "look at")
    name, running = container["name"], is_active(container)
    offered = [key for key in _ACTIONS if key != ("start" if running else "stop")]
    choices = [Choice(key, _ACTIONS[key][0]) for key in offered]
    chosen = pick(call, f"What shall be done with {name}?", [*choices, Choice(_NOTHING, "nothing")])
    if chosen == _NOTHING:
        return 0
    spec = _ACTIONS[chosen][1]
    values = {**empty_values(spec.options), **{item.key: [name] if item.many else name for item in spec.arguments}}
    call.screen.note(call.command(chosen, name) if chosen != "why" else f"ds01 why {name}")
    return spec.run(call.with_values(values))
