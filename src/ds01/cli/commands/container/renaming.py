"""`ds01 container rename`."""

from ds01.api.schema import ContainerDocument, RenameBody
from ds01.cli.call import Call
from ds01.cli.commands.container.power import say_docker
from ds01.cli.prompts import ask_text
from ds01.cli.selection import is_active, naming, one_name
from ds01.cli.spec import ASKING, DRY_RUN, JSON, NAME, Argument, Spec
from ds01.errors import InvalidRequestError


def rename(call: Call) -> int:
    """Give a stopped container another name."""
    name = one_name(call, "rename", fits=_is_at_rest, kind="stopped")
    body: RenameBody = {"new_name": _new_name(call, name)}
    if call.flag("dry_run"):
        body["dry_run"] = True
    with naming(call, name):
        outcome = call.client.rename_container(name, body)
    if call.flag("json"):
        call.screen.document(outcome)
    if outcome["dry_run"]:
        call.screen.tell(f"Would rename {name} to {outcome['name']}.")
        say_docker(call, outcome["docker_command"])
        return 0
    call.done(f"Renamed {name} to {outcome['name']}.", outcome["name"])
    call.screen.suggest(call.command("start", outcome["name"]))
    return 0


def _new_name(call: Call, name: str) -> str:
    typed = call.text("new_name")
    if typed is not None:
        return typed
    if not call.can_ask:
        raise InvalidRequestError(
            f"The new name of {name} is missing.", hint=f"Write {call.command('rename', name, 'NEW_NAME')}."
        )
    return ask_text(f"New name of {name}?")


def _is_at_rest(container: ContainerDocument) -> bool:
    return not is_active(container)


RENAME = Spec(
    rename,
    examples=(
        "ds01 container rename my-project thesis  it keeps its files, mounts and GPUs",
        "ds01 container rename my-project thesis --dry-run  only say what would be done",
    ),
    details="The container must be stopped. Its workspace folder keeps its name, and so do its labels.",
    arguments=(NAME, Argument("new_name", shown="[NEW_NAME]")),
    options=(DRY_RUN, JSON, *ASKING),
)
