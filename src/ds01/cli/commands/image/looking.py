"""`ds01 image inspect` and `ds01 image packages`."""

from ds01.api.schema import OwnImageDocument
from ds01.cli.call import Call
from ds01.cli.commands.image.choosing import ANY_IMAGE, IMAGE, one_image
from ds01.cli.dockerfiles import find_dockerfile, read_text
from ds01.cli.spec import JSON, NO_INPUT, Spec
from ds01.cli.table import relative_time, render
from ds01.domain.recipe_edit import recipe_digest
from ds01.errors import InvalidRequestError, NotFoundError
from ds01.units import format_size


def inspect(call: Call) -> int:
    """Print one image."""
    document = call.client.get_image(one_image(call, "inspect"))
    path, state = _dockerfile(call, document)
    if call.flag("json"):
        call.screen.document({**document, "dockerfile": path, "dockerfile_state": state})
        return 0
    rows = [
        ("image", document["name"]),
        ("size", format_size(document["size_bytes"])),
        ("built", relative_time(document["created_at"])),
        ("framework", document["framework"]),
        ("use case", document["use_case"]),
        ("dockerfile", f"{path} ({state})" if path else ""),
        ("containers", ", ".join(name.rpartition("._.")[0] or name for name in document["containers"])),
        ("reference", document["reference"]),
        ("id", document["id"]),
        *(("built from", base.replace("=", " ", 1)) for base in document["bases"]),
    ]
    for key, value in rows:
        call.screen.data(f"{key:<12} {value or '-'}")
    if state == "newer than the image":
        call.screen.suggest(f"ds01 image build {document['name']}")
    return 0


def _dockerfile(call: Call, document: OwnImageDocument) -> tuple[str, str]:
    try:
        path = find_dockerfile(call.environment, document["name"])
    except (NotFoundError, InvalidRequestError):
        return "", "none"
    if not document["digest"]:
        return str(path), "unknown"
    is_same = recipe_digest(read_text(path)) == document["digest"]
    return str(path), "as built" if is_same else "newer than the image"


def packages(call: Call) -> int:
    """Print the packages of an image."""
    name = one_image(call, "packages", own_only=False)
    document = call.client.list_packages(name)
    if not document["is_here"]:
        raise NotFoundError(f"The engine has no image {name}.", hint=f"Fetch it: ds01 image pull {name}")
    if call.flag("json"):
        call.screen.document(document)
        return 0
    found = document["packages"]
    if found is None:
        call.screen.tell(f"{name} has no Python with pip.")
        return 0
    if call.screen.out_is_terminal:
        call.screen.data(render(call.screen, ["PACKAGE", "VERSION"], [[one["name"], one["version"]] for one in found]))
    else:
        for one in found:
            call.screen.data(f"{one['name']}=={one['version']}")
    return 0


INSPECT = Spec(
    inspect,
    examples=("ds01 image inspect thesis  its size, its Dockerfile, and the containers made from it",),
    details="Says whether the Dockerfile was changed after the image was built from it.",
    arguments=(IMAGE,),
    options=(JSON, NO_INPUT),
)
PACKAGES = Spec(
    packages,
    examples=(
        "ds01 image packages thesis  what pip says is installed",
        "ds01 image packages thesis > requirements.txt  in the form of pip freeze",
    ),
    details="Asks the pip of the image, in a container of its own without network. Any image that the engine has.",
    arguments=(ANY_IMAGE,),
    options=(JSON, NO_INPUT),
)
