"""`ds01 admin catalogue`: what AIME's own list has other than the catalogue, and how a site takes it over."""

import os
import shlex
import stat
from pathlib import Path

from ds01.api.schema import CatalogueChangeDocument, CatalogueComparison, CatalogueListBody
from ds01.cli.call import Call
from ds01.cli.dropin import write_dropin
from ds01.cli.prompts import cancelled, confirm
from ds01.cli.spec import ASKING, JSON, Argument, Option, Spec
from ds01.cli.table import Cell, render
from ds01.domain.images.catalogue_diff import CHANGED, GONE, KEPT, NEW
from ds01.errors import EXIT_OK, ConflictError, InvalidRequestError, NotFoundError

LIST_NAME = "ml_images.repo"
MAX_BYTES = 256 * 1024
_STYLES = {NEW: "green", CHANGED: "yellow", KEPT: "dim", GONE: "dim"}


def diff(call: Call) -> int:
    """Show the differences."""
    document = call.client.compare_catalogue(_body(call))
    if call.flag("json"):
        call.screen.document(document)
        return EXIT_OK
    _tell(call, document)
    if document["text"]:
        call.screen.suggest(shlex.join(["ds01", "admin", "catalogue", "update", *filter(None, [call.text("path")])]))
    return EXIT_OK


def update(call: Call) -> int:
    """Write the new and changed rows as a drop-in, and look whether they count."""
    body = _body(call)
    document = call.client.compare_catalogue(body)
    if not call.flag("json"):
        _tell(call, document)
    if document["text"] and not call.flag("dry_run"):
        if call.must_confirm and not confirm(f"Write the new and changed rows to {document['path']}?"):
            raise cancelled()
        backup = write_dropin(document["path"], document["text"])
        _require_in_force(call.client.compare_catalogue(body))
        if not call.flag("json"):
            kept = f" The file before is {backup}." if backup else ""
            call.screen.success(f"Written to {document['path']}; the rows count now.{kept}")
    if call.flag("json"):
        call.screen.document(document)
    return EXIT_OK


def _require_in_force(document: CatalogueComparison) -> None:
    if document["text"]:
        raise ConflictError(
            f"{document['path']} is written, and its rows do not count.",
            hint="ds01 status says what is wrong with the catalogue.",
        )


def _tell(call: Call, document: CatalogueComparison) -> None:
    for remark in document["remarks"]:
        call.screen.warn(f"{remark} The row is skipped.")
    if document["skipped"] > len(document["remarks"]):
        call.screen.warn(f"{document['skipped'] - len(document['remarks'])} more rows are skipped.")
    changes = document["changes"]
    if changes:
        headings = ["CHANGE", "FRAMEWORK", "VERSION", "FOR", "IMAGE", "BEFORE"]
        call.screen.data(render(call.screen, headings, [_row(change) for change in changes]))
    if not document["text"]:
        call.screen.tell(f"The catalogue has every row of {document['source']} that it can take over.")
    elif all(change["in_force"] for change in changes if change["kind"] in {NEW, CHANGED}):
        call.screen.tell("They count already, because the policy names AIME's folder; an update makes them stay.")
    if any(change["kind"] == KEPT for change in changes):
        call.screen.note("Rows that the site wrote itself stay; what is kept is said with their file and line.")
    if any(change["kind"] == GONE for change in changes):
        call.screen.note("What AIME's list no longer has stays in the catalogue.")


def _row(change: CatalogueChangeDocument) -> list[Cell | str]:
    before = "" if change["kind"] == GONE else change["before"]
    if change["kind"] == KEPT:
        before += f" ({change['origin']})"
    texts = [change["framework"], change["version"], ", ".join(change["architectures"]), change["image"]]
    return [Cell(change["kind"], _STYLES.get(change["kind"], "")), *texts, Cell(before, "dim")]


def _body(call: Call) -> CatalogueListBody | None:
    named = call.text("path")
    if named is None:
        return None
    path = Path(named)
    if path.is_dir():
        path /= LIST_NAME
    return CatalogueListBody(text=_text(path), name=path.name)


def _text(path: Path) -> str:
    try:
        # without waiting: opening a pipe would last until somebody writes into it
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidRequestError(f"{path} is not a file.", hint=f"Name AIME's folder or its {LIST_NAME}.")
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError as failure:
        raise NotFoundError(f"There is no file {path}.", hint=f"Name AIME's folder or its {LIST_NAME}.") from failure
    except (OSError, ValueError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else failure
        raise InvalidRequestError(f"{path} cannot be read: {reason}.", hint=f"Look at it: ls -l {path}") from failure
    if len(raw) > MAX_BYTES:
        raise InvalidRequestError(f"{path} is larger than 256 KiB.", hint="AIME's list is a few hundred lines.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = raw[: failure.start].count(b"\n") + 1
        raise InvalidRequestError(f"{path.name}:{line}: the file is not UTF-8.", hint="Save it as UTF-8.") from failure


_LIST = Argument("path", shown="[FOLDER|FILE]")
DIFF = Spec(
    diff,
    examples=(
        "ds01 admin catalogue diff  against the AIME folder that the policy names (catalogue.aime_dir)",
        "ds01 admin catalogue diff ~/aime-ml-containers  against another copy, before its rows count",
        "ds01 admin catalogue diff ~/aime-ml-containers --json  for programs",
    ),
    details=(
        "new: the catalogue has no such framework, version and architecture. changed: it names another image. kept: "
        "likewise, but by a row that the site wrote itself, which stays. gone: AIME's list no longer has it."
    ),
    arguments=(_LIST,),
    options=(JSON,),
)
UPDATE = Spec(
    update,
    examples=(
        "sudo ds01 admin catalogue update  from the AIME folder that the policy names, after a question",
        "ds01 admin catalogue update ~/aime-ml-containers --dry-run  only show what would be written",
        "sudo ds01 admin catalogue update ~/aime-ml-containers -y  without the question",
    ),
    details=(
        "Rows that are new or changed go to the file 00-aime.repo in the folder catalogue.d of the site's "
        "configuration, beside those of earlier updates; the file before is kept with the ending .bak."
    ),
    arguments=(_LIST,),
    options=(Option("--dry-run", "Only show the changes."), *ASKING, JSON),
)
