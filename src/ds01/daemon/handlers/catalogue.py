"""What AIME's own list has other than the catalogue, and the file that takes its rows over."""

import asyncio

from ds01.api import schema
from ds01.config.catalogue import AIME_DROPIN, MAX_CATALOGUE_BYTES, read_catalogue_text
from ds01.daemon.call import Call
from ds01.daemon.catalogue_files import CatalogueFiles, Rows
from ds01.daemon.server import Handler
from ds01.domain.images.catalogue import format_aime_row, parse_catalogue_tolerantly
from ds01.domain.images.catalogue_diff import CatalogueChange, compare_catalogue, is_in_force, take_over
from ds01.errors import ForbiddenError, InvalidRequestError

MAX_NAME = 200
MAX_REMARKS = 20
DEFAULT_NAME = "list"
_HEADING = (
    "# Rows of AIME's own list, written by `ds01 admin catalogue update`. Another update adds to them.\n"
    "# Rows of your own belong into another file of this folder: they win over these.\n"
)


class CatalogueHandlers:
    """Answers about AIME's list. It shows the site's files, so it is for administrators."""

    def __init__(self, files: CatalogueFiles, *, is_personal: bool) -> None:
        self._files = files
        self._is_personal = is_personal

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {"compare_catalogue": self.compare_catalogue}

    async def compare_catalogue(self, call: Call) -> schema.CatalogueComparison:
        """Compare a list with the catalogue; changes nothing."""
        body = call.document(schema.CatalogueListBody)
        if not (self._is_personal or call.caller.is_admin):
            raise ForbiddenError(
                "Only an administrator may compare the catalogue with AIME's list.",
                hint="What it has: ds01 image catalogue",
            )
        self._files.reload_if_changed()  # not in the thread: the loop that watches the files does it here too
        catalogue, current = self._files.without_aime(), self._files.current
        written = self._files.rows_of_dropin(AIME_DROPIN)
        return await asyncio.to_thread(self._compare, body, catalogue, current, written)

    def _compare(
        self, body: schema.CatalogueListBody, catalogue: Rows, current: Rows, written: Rows
    ) -> schema.CatalogueComparison:
        name, source, text = self._list(body)
        listed, problems = parse_catalogue_tolerantly(text, name)
        if not listed:
            said = f" {problems[0].message}" if problems else ""
            raise InvalidRequestError(
                f"{source} has no row that can be read.{said}", hint="Is it AIME's ml_images.repo?"
            )
        changes = compare_catalogue(catalogue, listed, AIME_DROPIN)
        return schema.CatalogueComparison(
            schema_version=schema.SCHEMA_VERSION,
            source=source,
            changes=[_document(change, current) for change in changes],
            skipped=len(problems),
            remarks=[problem.message for problem in problems[:MAX_REMARKS]],
            path=str(self._files.dropin_path(AIME_DROPIN)),
            text=_file(written, changes),
        )

    def _list(self, body: schema.CatalogueListBody) -> tuple[str, str, str]:
        """Return the list's name for messages about lines, what it is called, and its text."""
        text = body.get("text")
        if text is not None:
            name = body.get("name", "")[:MAX_NAME] or DEFAULT_NAME
            return name, name, text.removeprefix("\ufeff")
        live = self._files.aime_list
        if live is None:
            raise InvalidRequestError(
                "No list of AIME is named: the policy has no catalogue.aime_dir.",
                hint="Name one: ds01 admin catalogue diff FOLDER_OF_AIME",
            )
        return live.name, str(live), read_catalogue_text(live)


def _file(written: Rows, changes: tuple[CatalogueChange, ...]) -> str:
    """Return the whole text of the file that an update writes; empty if there is nothing to take over."""
    if not any(change.is_taken_over for change in changes):
        return ""
    text = _HEADING + "".join(f"{format_aime_row(row)}\n" for row in take_over(written, changes))
    if len(text) > MAX_CATALOGUE_BYTES:
        raise InvalidRequestError(
            f"{AIME_DROPIN} would be larger than 1 MiB.",
            hint="A catalogue is a few hundred lines: is it the right list?",
        )
    return text


def _document(change: CatalogueChange, current: Rows) -> schema.CatalogueChangeDocument:
    return schema.CatalogueChangeDocument(
        kind=change.kind,
        framework=change.framework,
        version=change.version,
        architectures=list(change.architectures),
        image=change.image,
        before=change.before,
        origin=change.origin,
        in_force=is_in_force(change, current),
    )
