"""`ds01 image catalogue`: the framework images, and which of them this machine gets."""

from ds01.api.schema import CatalogueDocument, CatalogueRowDocument
from ds01.cli.architecture import ARCH, wanted_architecture
from ds01.cli.call import Call
from ds01.cli.spec import FORMAT, JSON, Option, Spec
from ds01.cli.table import Cell, csv_text, render

CSV_COLUMNS = ("framework", "version", "architectures", "image", "origin", "usable", "chosen", "local")
_LOCAL = {True: "here", False: "", None: "unknown"}


def catalogue(call: Call) -> int:
    """Print the rows that this machine can run."""
    document = call.client.get_catalogue(
        framework=call.text("framework"), architecture=wanted_architecture(call), everything=call.flag("all")
    )
    kind, rows = call.output_format, document["rows"]
    if kind == "json":
        call.screen.document(document)
    elif kind == "csv":
        call.screen.data(csv_text(CSV_COLUMNS, map(_csv_row, rows)))
    elif kind == "name":
        for row in rows:
            call.screen.data(row["image"])
    else:
        _print_table(call, document)
    return 0


def _print_table(call: Call, document: CatalogueDocument) -> None:
    if document["rows"]:
        headings = ["FRAMEWORK", "VERSION", "FOR", "IMAGE", "ENGINE", "ORIGIN"]
        call.screen.data(render(call.screen, headings, [_row(row) for row in document["rows"]]))
    else:
        call.screen.tell("The catalogue has no image for this machine.")
    for choice in document["choices"]:
        name = choice["framework"].lower()
        meant = f"{name} is {choice['version']}: " if choice["image"] else f"{name}: "
        call.screen.note(meant + choice["reason"])
    if document["left_out"]:
        call.screen.note(f"{document['left_out']} more are for other machines or discontinued: --all")


def _row(row: CatalogueRowDocument) -> list[Cell | str]:
    style = "green" if row["chosen"] else "" if row["usable"] else "dim"
    texts = (row["framework"], row["version"], ", ".join(row["architectures"]), row["image"])
    return [*(Cell(text, style) for text in texts), _LOCAL[row["local"]], row["origin"]]


def _csv_row(row: CatalogueRowDocument) -> list[str]:
    texts = {**row, "architectures": ";".join(row["architectures"])}
    return ["" if texts[column] is None else str(texts[column]) for column in CSV_COLUMNS]


CATALOGUE = Spec(
    catalogue,
    examples=(
        "ds01 image catalogue  what this machine can run; green is what a framework without a version means",
        "ds01 image catalogue --framework pytorch  only PyTorch",
        "ds01 image catalogue --arch CUDA_BLACKWELL  for another generation",
        "ds01 image catalogue --all --json  every row, for programs",
    ),
    details=(
        "The images that fit are those whose CUDA the driver can run and whose framework holds what the GPUs compute. "
        "The first row of a framework is its newest. ORIGIN is the file and line of a site's own row."
    ),
    options=(
        Option("-f --framework", "Only this framework.", kind="text", metavar="NAME", completes="framework"),
        ARCH,
        Option("-a --all", "Also what this machine cannot run, and discontinued frameworks."),
        Option("-q --quiet", "Print images only."),
        FORMAT,
        JSON,
    ),
)
