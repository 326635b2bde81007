"""`ds01 image list`: the images on this machine that one may create a container from."""

from ds01.api.schema import ImageDocument
from ds01.cli.call import Call
from ds01.cli.image_state import NEWER, dockerfile_state, tell_newer
from ds01.cli.spec import FORMAT, JSON, QUIET_NAMES, Option, Spec
from ds01.cli.table import Cell, csv_text, relative_time, render
from ds01.errors import Ds01Error
from ds01.units import format_size

CSV_COLUMNS = (
    "name",
    "reference",
    "id",
    "size_bytes",
    "created_at",
    "framework",
    "own",
    "owner",
    "bases",
    "containers",
    "dockerfile",
    "dockerfile_state",
)
_SHORT_ID = 12


def list_images(call: Call) -> int:
    """Print one's own images, or with --all also those that are nobody's, and for administrators everybody's."""
    document = call.client.list_images(containers=True, everybody=call.flag("all"))
    images = document["images"]
    if not call.flag("all"):
        images = document["images"] = [image for image in images if image["own"]]
    kind = call.output_format
    if kind == "name":
        for image in images:
            call.screen.data(image["name"])
        return 0
    dockerfiles = [_dockerfile(call, image) for image in images]
    if kind == "json":
        places = [{"dockerfile": path, "dockerfile_state": state} for path, state in dockerfiles]
        call.screen.document({**document, "images": [{**one, **at} for one, at in zip(images, places, strict=True)]})
    elif kind == "csv":
        call.screen.data(csv_text(CSV_COLUMNS, map(_csv_row, images, dockerfiles)))
    elif images:
        headings = ["IMAGE", "BASE", "SIZE", "BUILT", "USED BY", "DOCKERFILE", "ID"]
        headings += ["WHOSE"] if call.flag("all") else []
        rows = [_row(image, state, call.flag("all")) for image, (_, state) in zip(images, dockerfiles, strict=True)]
        call.screen.data(render(call.screen, headings, rows))
        for image, (_, state) in zip(images, dockerfiles, strict=True):
            if state == NEWER:
                tell_newer(call, image["name"])
    else:
        call.screen.tell("There is no image here." if call.flag("all") else "You have no image of your own.")
        call.screen.suggest("ds01 image catalogue" if call.flag("all") else "ds01 image list --all")
    return 0


def _dockerfile(call: Call, image: ImageDocument) -> tuple[str, str]:
    """Return where an own image's Dockerfile is, and how they stand to each other; a dated name is an earlier build."""
    if not image["own"] or ":" in image["name"]:
        return "", "none"
    try:
        return dockerfile_state(call, image["name"], image.get("digest", ""))
    except Ds01Error:  # what cannot be read stops no list
        return "", "unknown"


def _row(image: ImageDocument, dockerfile: str, shows_owner: bool) -> list[Cell | str]:
    row: list[Cell | str] = [
        image["name"],
        image["framework"] or ", ".join(image.get("bases", ())),
        format_size(image["size_bytes"]),
        relative_time(image["created_at"]),
        ", ".join(name.rpartition("._.")[0] or name for name in image.get("containers", ())),
        Cell("newer", "yellow") if dockerfile == NEWER else dockerfile,
        Cell(short_id(image), "dim"),
    ]
    return [*row, _whose(image)] if shows_owner else row


def _whose(image: ImageDocument) -> Cell | str:
    if image["own"]:
        return Cell("yours", "green")
    return image.get("owner") or "everybody's"


def short_id(image: ImageDocument) -> str:
    """Return the first digits of an image's id, as docker shows them."""
    return image["id"].removeprefix("sha256:")[:_SHORT_ID]


def _csv_row(image: ImageDocument, dockerfile: tuple[str, str]) -> list[str]:
    lists = {"bases": " ".join(image.get("bases", ())), "containers": " ".join(image.get("containers", ()))}
    texts = {"owner": "", **image, **lists, "dockerfile": dockerfile[0], "dockerfile_state": dockerfile[1]}
    return ["" if texts[column] is None else str(texts[column]) for column in CSV_COLUMNS]


LIST = Spec(
    list_images,
    examples=(
        "ds01 image list  the images that you have built",
        "ds01 image list --all  also those that are here for everybody",
        "ds01 image list -q  names only, for scripts",
    ),
    details=(
        "BASE is the framework, else the image that it was built from; DOCKERFILE says whether it was changed since "
        "then. A container from one: ds01 create NAME --image IMAGE. What a framework means: ds01 image catalogue."
    ),
    options=(
        Option("-a --all", "Also images that are nobody's own; for administrators also those that others built."),
        QUIET_NAMES,
        FORMAT,
        JSON,
    ),
)
