"""`ds01 image delete`."""

from ds01.cli.call import Call
from ds01.cli.commands.image.choosing import IMAGE, one_image
from ds01.cli.dockerfiles import find_dockerfile, image_name_of, move_to_trash
from ds01.cli.prompts import cancelled, confirm
from ds01.cli.spec import ASKING, JSON, Option, Spec
from ds01.errors import InvalidRequestError, NotFoundError


def delete(call: Call) -> int:
    """Delete an image, and move its Dockerfile to the trash."""
    name = one_image(call, "delete")
    plan = call.client.delete_image(name, dry_run=True)
    if call.flag("dry_run"):
        if call.flag("json"):
            call.screen.document(plan)
        for tag in plan["tags"] if not call.flag("json") else ():
            call.screen.data(tag)
        return 0
    if call.must_confirm and not confirm(f"Delete the image {plan['name']} and its {len(plan['tags'])} tags?"):
        raise cancelled()
    if not call.can_ask and not (call.flag("yes") or call.flag("script")):
        raise InvalidRequestError("Deleting needs a yes, and nobody can be asked.", hint="Add --yes.")
    outcome = call.client.delete_image(name)
    if not call.flag("keep_dockerfile"):
        _put_away(call, outcome["name"])
    if call.flag("json"):
        call.screen.document(outcome)
    else:
        call.done(f"Deleted {outcome['name']}.", outcome["name"])
    return 0


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
        "ds01 image delete thesis --keep-dockerfile --yes  only the image",
    ),
    details=(
        "All builds of the image go; layers that other images share stay. Its Dockerfile moves to "
        "~/dockerfiles/.trash; the Dockerfile of a project stays where it is. Nothing else is removed."
    ),
    arguments=(IMAGE,),
    options=(
        Option("--keep-dockerfile", "Leave the Dockerfile where it is."),
        Option("--dry-run", "Only print what would be deleted."),
        JSON,
        *ASKING,
    ),
)
