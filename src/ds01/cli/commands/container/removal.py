"""`ds01 rm`."""

from ds01.api.schema import ContainerDocument, RemovedContainer
from ds01.cli.call import Call
from ds01.cli.commands.container.power import describe_programs, programs_of, say_docker
from ds01.cli.commands.container.saving import NO_SAVE, SAVE_FIRST, offer_to_save
from ds01.cli.prompts import confirm
from ds01.cli.selection import for_each, is_active, some_names
from ds01.cli.spec import ASKING, DRY_RUN, JSON, NAMES, Option, Spec


def remove(call: Call) -> int:
    """Remove containers."""
    names = some_names(call, "remove")
    if call.flag("all") and not names:
        call.screen.tell("You have no containers.")
    return for_each(call, names, lambda name: _remove_one(call, name))


def _remove_one(call: Call, name: str) -> dict[str, object] | None:
    force = call.flag("force")
    is_dry = call.flag("dry_run")
    offer_to_save(call, name)
    if call.must_confirm and not is_dry:
        container = call.client.get_container(name)
        if not confirm(question_before_removal(call, container)):
            call.screen.note(f"{name} was left as it is.")
            return None
        force = force or is_active(container)  # the question said that it runs
    outcome = call.client.remove_container(name, force=force, dry_run=is_dry)
    if outcome["dry_run"]:
        call.screen.tell(f"Would remove {name}. {what_stays(outcome)}".rstrip())
        say_docker(call, outcome["docker_command"])
    else:
        call.done(f"Removed {name}. {what_stays(outcome)}".rstrip(), name)
    return dict(outcome)


def question_before_removal(call: Call, container: ContainerDocument) -> str:
    """Return the question that names everything that is lost."""
    name = container["name"]
    lines = []
    if container.get("owner_doubt"):
        lines.append(f"It is not clear whose {name} is: {container['owner_doubt']}.")
    if is_active(container):
        programs = programs_of(call, name)
        lines.append(f"{name} is running" + (", and these programs end:" if programs else "."))
        if programs:
            lines.append(describe_programs(programs))
    lines.append(f"What was installed or written in {name} outside of its mounted folders is lost.")
    if container["workspace"]:
        lines.append(f"The workspace {container['workspace']} stays.")
    return "\n".join([*lines, f"Remove {name}?"])


def what_stays(outcome: RemovedContainer) -> str:
    """Return what a removal has left, and what it has given back."""
    parts = []
    if outcome["workspace"]:
        parts.append(f"The workspace {outcome['workspace']} stays.")
    count = len(outcome["gpus_released"])
    if count:
        parts.append("Its GPU is free again." if count == 1 else f"Its {count} GPUs are free again.")
    return " ".join(parts)


REMOVE = Spec(
    remove,
    examples=(
        "ds01 rm my-project  remove it; its workspace stays",
        "ds01 rm -f my-project  stop it first if it runs",
        "ds01 rm my-project --dry-run  only say what would go",
    ),
    details=("On a terminal it says what is lost, offers to save packages, and asks. Workspaces are never touched."),
    arguments=(NAMES,),
    options=(
        Option("-f --force", "Stop it first when it runs."),
        Option("-a --all", "All of your containers."),
        SAVE_FIRST,
        NO_SAVE,
        DRY_RUN,
        JSON,
        *ASKING,
    ),
)
