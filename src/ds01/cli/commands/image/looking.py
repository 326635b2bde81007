"""`ds01 image inspect` and `ds01 image packages`."""

from dataclasses import asdict

from ds01.cli.call import Call
from ds01.cli.commands.image.choosing import ANY_IMAGE, IMAGE, one_image
from ds01.cli.dockerfiles import old_facts_of
from ds01.cli.home_path import short_home_path
from ds01.cli.image_state import NEWER, dockerfile_state
from ds01.cli.spec import JSON, NO_INPUT, Spec
from ds01.cli.table import relative_time, render
from ds01.errors import NotFoundError
from ds01.units import format_size


def inspect(call: Call) -> int:
    """Print one image."""
    document = call.client.get_image(one_image(call, "inspect"))
    path, state = dockerfile_state(call, document["name"], document["digest"])
    noted = old_facts_of(call.environment, document["name"])
    if call.flag("json"):
        facts = {key: str(value) for key, value in asdict(noted).items()} if noted is not None else None
        call.screen.document({**document, "dockerfile": path, "dockerfile_state": state, "predecessor": facts})
        return 0
    rows = [
        ("image", document["name"]),
        ("size", format_size(document["size_bytes"])),
        ("built", relative_time(document["created_at"])),
        ("framework", document["framework"] or (noted.framework if noted else "")),
        ("use case", document["use_case"] or (noted.use_case if noted else "")),
        ("dockerfile", f"{short_home_path(path, call.environment)} ({state})" if path else ""),
        ("containers", ", ".join(name.rpartition("._.")[0] or name for name in document["containers"])),
        ("reference", document["reference"]),
        ("id", document["id"]),
        *(("built from", base.replace("=", " ", 1)) for base in document["bases"]),
    ]
    if noted is not None:
        rows += [
            ("noted in", short_home_path(str(noted.path), call.environment)),
            ("noted", f"made {noted.created or '?'} with {noted.packages or '?'}"),
        ]
    for key, value in rows:
        call.screen.data(f"{key:<12} {value or '-'}")
    if state == NEWER:
        call.screen.suggest(f"ds01 image build {document['name']}")
    return 0


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
