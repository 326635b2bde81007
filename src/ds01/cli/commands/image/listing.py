"""`ds01 image list`: the images on this machine that one may create a container from."""

from ds01.api.schema import ImageDocument
from ds01.cli.call import Call
from ds01.cli.image_state import hint_if_newer
from ds01.cli.spec import FORMAT, JSON, QUIET_NAMES, Option, Spec
from ds01.cli.table import Cell, csv_text, relative_time, render
from ds01.units import format_size

CSV_COLUMNS = ("name", "reference", "id", "size_bytes", "created_at", "framework", "own")
_SHORT_ID = 12


def list_images(call: Call) -> int:
    """Print one's own images, or with --all also those that are nobody's."""
    document = call.client.list_images()
    images = document["images"]
    if not call.flag("all"):
        images = document["images"] = [image for image in images if image["own"]]
    kind = call.output_format
    if kind == "json":
        call.screen.document(document)
    elif kind == "csv":
        call.screen.data(csv_text(CSV_COLUMNS, map(_csv_row, images)))
    elif kind == "name":
        for image in images:
            call.screen.data(image["name"])
    elif images:
        headings = ["IMAGE", "FRAMEWORK", "SIZE", "BUILT", "ID"] + (["WHOSE"] if call.flag("all") else [])
        call.screen.data(render(call.screen, headings, [_row(image, call.flag("all")) for image in images]))
        for image in images:
            if image["own"] and ":" not in image["name"]:  # a dated name is an earlier build
                hint_if_newer(call, image["name"], image.get("digest", ""))
    else:
        call.screen.tell("There is no image here." if call.flag("all") else "You have no image of your own.")
        call.screen.suggest("ds01 image catalogue" if call.flag("all") else "ds01 image list --all")
    return 0


def _row(image: ImageDocument, shows_owner: bool) -> list[Cell | str]:
    row: list[Cell | str] = [
        image["name"],
        image["framework"],
        format_size(image["size_bytes"]),
        relative_time(image["created_at"]),
        Cell(short_id(image), "dim"),
    ]
    return [*row, Cell("yours", "green") if image["own"] else "everybody's"] if shows_owner else row


def short_id(image: ImageDocument) -> str:
    """Return the first digits of an image's id, as docker shows them."""
    return image["id"].removeprefix("sha256:")[:_SHORT_ID]


def _csv_row(image: ImageDocument) -> list[str]:
    texts = {**image}
    return ["" if texts[column] is None else str(texts[column]) for column in CSV_COLUMNS]


LIST = Spec(
    list_images,
    examples=(
        "ds01 image list  the images that you have built",
        "ds01 image list --all  also those that are here for everybody",
        "ds01 image list -q  names only, for scripts",
    ),
    details="A container from one: ds01 create NAME --image IMAGE. What a framework means: ds01 image catalogue.",
    options=(Option("-a --all", "Also images that are nobody's own."), QUIET_NAMES, FORMAT, JSON),
)
