"""The catalogue in force: shipped rows, a live AIME list, a site's drop-ins. A broken edit never takes effect."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from ds01.config.catalogue import (
    AIME_LIST,
    DROPIN_FOLDER,
    find_dropins,
    read_catalogue_text,
    read_shipped_catalogue,
)
from ds01.domain.images.catalogue import CatalogueRow, merge_catalogue, parse_catalogue, parse_catalogue_tolerantly
from ds01.errors import Ds01Error, InvalidRequestError

log = logging.getLogger(__name__)
Rows = tuple[CatalogueRow, ...]
Stamp = tuple[int, int, int, int] | None


class CatalogueFiles:
    """Reads the lists, and again when one of them changes.

    Each drop-in stands for itself: while one cannot be read, its last good rows stay, and the others count.

    Attributes:
        current: The rows in force.
        aime_list: AIME's own list, if the policy named a folder for it at the last look.
        problem: What cannot be used, and why; None if all is well.
    """

    def __init__(self, folder: Path, find_aime_dir: Callable[[], str | None] | None = None) -> None:
        """Read the lists for the first time; what is broken is said in `problem`.

        Args:
            folder: The site's configuration; drop-ins are in `catalogue.d` below it.
            find_aime_dir: Returns the folder of a live AIME installation whose list is read too; asked at each look,
                because a new policy can name another. None: there is none.
        """
        self._folder = folder
        self._find_aime_dir = find_aime_dir
        self.aime_list: Path | None = None
        self._good: dict[Path, Rows] = {}
        self._problems: dict[Path, str] = {}
        self._stamps: dict[Path, Stamp] = {}
        self.current: Rows = read_shipped_catalogue()
        self.problem: str | None = None
        self.reload_if_changed()

    def reload_if_changed(self) -> bool:
        """Read the lists that are other ones than before; tell whether other rows are in force."""
        folder_problem: str | None = None
        aime_list_before, self.aime_list = self.aime_list, self._find_aime_list()
        try:
            paths = find_dropins(self._folder)
        except Ds01Error as failure:
            folder_problem = failure.message
            paths = tuple(path for path in self._good if path not in {aime_list_before, self.aime_list})
        if self.aime_list is not None:
            paths = (self.aime_list, *paths)  # the site's own rows win over those of a program it also runs
        stamps = {path: _stamp(path) for path in paths}
        for path in paths:
            if path not in self._stamps or stamps[path] != self._stamps[path]:
                self._read(path)
        self._good = {path: self._good[path] for path in paths if path in self._good}
        self._problems = {path: self._problems[path] for path in paths if path in self._problems}
        self._stamps = stamps
        self.problem = " ".join(filter(None, [folder_problem, *self._problems.values()])) or None
        return self._merge()

    def _find_aime_list(self) -> Path | None:
        folder = None if self._find_aime_dir is None else self._find_aime_dir()
        return Path(folder) / AIME_LIST if folder else None

    def without_aime(self) -> Rows:
        """Return the rows that would be in force without AIME's own list."""
        return _merged(rows for path, rows in self._good.items() if path != self.aime_list)

    def dropin_path(self, name: str) -> Path:
        """Return where a drop-in of that name is."""
        return self._folder / DROPIN_FOLDER / name

    def rows_of_dropin(self, name: str) -> Rows:
        """Return the rows of a drop-in; none where there is no such file.

        Raises:
            InvalidRequestError: It is there and cannot be used.
        """
        path = self.dropin_path(name)
        if path in self._problems:
            raise InvalidRequestError(self._problems[path], hint=f"Mend {path}, or move it away.")
        return self._good.get(path, ())

    def _merge(self) -> bool:
        rows = _merged(self._good.values())
        has_changed = rows != self.current
        self.current = rows
        return has_changed

    def _read(self, path: Path) -> None:
        try:
            self._good[path] = self._rows(path)
        except Ds01Error as failure:
            kept = "its last good rows stay" if path in self._good else "none of its rows count"
            self._problems[path] = f"{failure.message} ({kept})"
            log.warning("catalogue: %s", self._problems[path])
        else:
            self._problems.pop(path, None)

    def _rows(self, path: Path) -> Rows:
        text = read_catalogue_text(path)
        if path != self.aime_list:
            return parse_catalogue(text, path.name)
        rows, problems = parse_catalogue_tolerantly(text, path.name)  # not the site's to mend
        for problem in problems:
            log.warning("catalogue: %s The row is skipped.", problem.message)
        return rows


def _merged(layers: Iterable[Rows]) -> Rows:
    rows = read_shipped_catalogue()
    for layer in layers:
        rows = merge_catalogue(rows, layer)
    return rows


def _stamp(path: Path) -> Stamp:
    """Return what changes with the file; None where it cannot be looked at. The mode counts too."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)
