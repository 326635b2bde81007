"""`ds01 image delete`."""

from ds01.cli.call import Call
from ds01.cli.commands.image.choosing import IMAGES, some_images
from ds01.cli.dockerfiles import find_dockerfile, image_name_of, move_to_trash
from ds01.cli.prompts import confirm
from ds01.cli.selection import for_each
from ds01.cli.spec import ASKING, JSON, Option, Spec
from ds01.errors import InvalidRequestError, NotFoundError


def delete(call: Call) -> int:
    """Delete images, and move their Dockerfiles to the trash."""
    names = some_images(call, "delete")
    return for_each(call, names, lambda name: _delete_one(call, name), are_containers=False)


def _delete_one(call: Call, name: str) -> dict[str, object] | None:
    force = call.flag("force")
    plan = call.client.delete_image(name, force=force, dry_run=True)
    if call.flag("dry_run"):
        for tag in plan["tags"] if not call.flag("json") else ():
            call.screen.data(tag)
        return dict(plan)
    if plan["containers"]:
        users = ", ".join(found.rpartition("._.")[0] or found for found in plan["containers"])
        call.screen.warn(f"{plan['name']} is used by {users}: they stay, and cannot be made again from it.")
    if call.must_confirm and not confirm(f"Delete the image {plan['name']} and its {len(plan['tags'])} tags?"):
        call.screen.note(f"{plan['name']} was left as it is.")
        return None
    if not call.can_ask and not (call.flag("yes") or call.flag("script")):
        raise InvalidRequestError("Deleting needs a yes, and nobody can be asked.", hint="Add --yes.")
    outcome = call.client.delete_image(name, force=force)
    if not call.flag("keep_dockerfile"):
        _put_away(call, outcome["name"])
    call.done(f"Deleted {outcome['name']}.", outcome["name"])
    return dict(outcome)


def _put_away(call: Call, name: str) -> None:
    try:
        path = find_dockerfile(call.environment, name)
    except (NotFoundError, InvalidRequestError):
        return
    if path.name == "Dockerfile" or image_name_of(path) != name:
        return  # it belongs to a project
    call.screen.note(f"Its Dockerfile is now {move_to_trash(path)}")


DELETE = Spec(
    delete,
    examples=(
        "ds01 image delete thesis  asks first; refused while a container was made from it",
        "ds01 image delete  pick one or several of yours",
        "ds01 image delete thesis --keep-dockerfile --yes  only the image",
    ),
    details=(
        "All builds of the image go; layers that other images share stay. Its Dockerfile moves to "
        "~/dockerfiles/.trash; the Dockerfile of a project stays where it is. Nothing else is removed."
    ),
    arguments=(IMAGES,),
    options=(
        Option("--force", "Also when containers were made from it: names them, and they stay."),
        Option("--keep-dockerfile", "Leave the Dockerfile where it is."),
        Option("--dry-run", "Only print what would be deleted."),
        JSON,
        *ASKING,
    ),
)
