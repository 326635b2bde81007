"""`ds01 deploy` and `ds01 retire`: one command for the morning and one for the evening, composed of the others."""

from ds01.cli.call import Call
from ds01.cli.commands.container.creation import VERBOSE, create_with_progress, say_creation_plan
from ds01.cli.commands.container.power import GRACE, grace_of, say_docker
from ds01.cli.commands.container.removal import question_before_removal, what_stays
from ds01.cli.commands.container.request import ARGUMENTS, GUIDED, OPTIONS, creation_body
from ds01.cli.commands.container.saving import NO_SAVE, SAVE_FIRST, offer_to_save
from ds01.cli.commands.container.shell import ensure_started, run_interactively
from ds01.cli.commands.container.wizard import completed
from ds01.cli.preference import with_preferences
from ds01.cli.prompts import confirm
from ds01.cli.selection import for_each, is_active, some_names
from ds01.cli.spec import ASKING, DRY_RUN, JSON, NAMES, Option, Spec


def deploy(call: Call) -> int:
    """Create a container, start it, and open a shell where there is a terminal."""
    call = completed(with_preferences(call, OPTIONS))
    body = creation_body(call)
    name = body["name"]
    if call.flag("dry_run"):
        say_creation_plan(call, body, f"Would create {name}, start it and open a shell in it:")
        return 0
    created = create_with_progress(call, body)
    container = ensure_started(call, name)
    if call.flag("background") or not call.can_ask:
        if call.flag("json"):
            call.screen.document({**created, "container": call.client.get_container(name)})
        call.done(f"{name} runs.", name)
        call.screen.suggest(call.command("open", name))
        return 0
    return run_interactively(call, name, (), container)


def retire(call: Call) -> int:
    """Stop containers and remove them; workspaces stay."""
    names = some_names(call, "retire")
    return for_each(call, names, lambda name: _retire_one(call, name))


def _retire_one(call: Call, name: str) -> dict[str, object] | None:
    is_dry = call.flag("dry_run")
    container = call.client.get_container(name)
    offer_to_save(call, name)
    if call.must_confirm and not is_dry and not confirm(question_before_removal(call, container)):
        call.screen.note(f"{name} was left as it is.")
        return None
    if is_dry:
        before = ["stop it", "remove it"] if is_active(container) else ["remove it"]
        call.screen.tell(f"Would retire {name}: {', '.join(before)}.")
    elif is_active(container):
        call.client.stop_container(name, grace_of(call))
    outcome = call.client.remove_container(name, force=is_dry, dry_run=is_dry)
    if is_dry:
        say_docker(call, outcome["docker_command"])
    else:
        call.done(f"Retired {name}. {what_stays(outcome)}".rstrip(), name)
    return dict(outcome)


DEPLOY = Spec(
    deploy,
    examples=(
        "ds01 deploy thesis pytorch  create it, start it, open a shell in it",
        "ds01 deploy thesis pytorch --background  the same without the shell",
    ),
    details="Takes the options of create. Without a terminal, and with --json, it opens no shell.",
    arguments=ARGUMENTS,
    options=(Option("--background", "Open no shell."), *OPTIONS, GUIDED, DRY_RUN, VERBOSE, JSON, *ASKING),
)
RETIRE = Spec(
    retire,
    examples=(
        "ds01 retire thesis  stop it and remove it; its workspace stays",
        "ds01 retire thesis --save --yes  save its packages to a Dockerfile first, and ask nothing",
        "ds01 retire thesis --dry-run  only say what would go",
    ),
    details=("On a terminal it says what is lost, offers to save packages, and asks. Workspaces are never touched."),
    arguments=(NAMES,),
    options=(GRACE, SAVE_FIRST, NO_SAVE, DRY_RUN, JSON, *ASKING),
)
