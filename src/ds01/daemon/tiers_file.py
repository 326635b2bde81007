"""The table of package tiers in force: the shipped one, or a site's. A broken edit never takes effect."""

import logging
import os
from pathlib import Path

from ds01.config.package_tiers import TIERS_FILE, read_package_tiers, read_shipped_package_tiers
from ds01.domain.images.package_tier import PackageTiers
from ds01.errors import InvalidRequestError

log = logging.getLogger(__name__)
Stamp = tuple[int, int, int, int] | None


class TiersFile:
    """Reads a site's table, and again when it changes.

    Attributes:
        current: The table in force.
        problem: Why the site's table is not in force; None if all is well.
    """

    def __init__(self, folder: Path) -> None:
        """Read the table for the first time; what is broken is said in `problem`, and the shipped table counts.

        Args:
            folder: The site's configuration.
        """
        self._folder = folder
        self._stamp: Stamp = None
        self._is_own = False
        self.current: PackageTiers = read_shipped_package_tiers()
        self.problem: str | None = None
        self.reload_if_changed()

    def reload_if_changed(self) -> bool:
        """Read the table if it is another; tell whether another one is in force. Without a file the shipped one is."""
        stamp = _stamp(self._folder / TIERS_FILE)
        if stamp == self._stamp:
            return False
        self._stamp, before = stamp, self.current
        try:
            self.current = self.check()
        except InvalidRequestError as failure:
            kept = "its last good content stays" if self._is_own else "the shipped table counts"
            self.problem = f"{failure.message} {failure.hint or ''} ({kept})"
            log.warning("package tiers: %s", self.problem)
            return False
        self.problem, self._is_own = None, stamp is not None
        return self.current != before

    def check(self) -> PackageTiers:
        """Return the table that is in the file now, without its taking effect.

        Raises:
            InvalidRequestError: It is broken; the message holds file and line.
        """
        return read_package_tiers(self._folder)


def _stamp(path: Path) -> Stamp:
    """Return what changes with the file; None without one. The mode counts too."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return (0, 0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)
