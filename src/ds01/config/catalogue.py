"""The catalogue's files: what ships with the package, a site's drop-ins, a live AIME installation's list."""

import os
import stat
from functools import cache
from importlib import resources
from pathlib import Path

from ds01.config.document import open_at_once
from ds01.domain.images.catalogue import CatalogueRow, parse_catalogue
from ds01.errors import InvalidRequestError

DROPIN_FOLDER = "catalogue.d"
AIME_LIST = "ml_images.repo"
AIME_DROPIN = "00-aime.repo"
"""What an update takes over from AIME's list. Its name comes first, so that the site's own rows win over it."""
MAX_CATALOGUE_BYTES = 1024**2
MAX_DROPINS = 100
_SUFFIXES = frozenset({".csv", ".repo"})
_SHIPPED_FILES = ("catalogue.csv", "catalogue_others.csv")
_ANYBODY_WRITES = stat.S_IWOTH


@cache
def read_shipped_catalogue() -> tuple[CatalogueRow, ...]:
    """Return the catalogue that is shipped with the package: AIME's public list, then what others offer."""
    folder = resources.files("ds01") / "data"
    texts = [(folder / name).read_text(encoding="utf-8") for name in _SHIPPED_FILES]
    return tuple(row for text in texts for row in parse_catalogue(text))


def find_dropins(folder: Path) -> tuple[Path, ...]:
    """Return a site's own lists in the order of their names; none where there is no folder.

    Raises:
        InvalidRequestError: The folder cannot be listed, or holds too many.
    """
    try:
        names = sorted(os.listdir(folder / DROPIN_FOLDER))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as failure:
        raise InvalidRequestError(
            f"{DROPIN_FOLDER} cannot be listed: {failure.strerror}.", hint=f"Look at it: ls -ld {folder}"
        ) from failure
    found = [name for name in names if os.path.splitext(name)[1] in _SUFFIXES and not name.startswith(".")]
    if len(found) > MAX_DROPINS:
        raise InvalidRequestError(f"{DROPIN_FOLDER} holds more than {MAX_DROPINS} files.", hint="Join some of them.")
    return tuple(folder / DROPIN_FOLDER / name for name in found)


def read_catalogue_text(path: Path) -> str:
    """Return the text of a list.

    Raises:
        InvalidRequestError: It cannot be read, is too large, no UTF-8, or everybody may change it: whoever names an
            image decides what others run.
    """
    try:
        with open(path, "rb", opener=open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise InvalidRequestError(f"{path.name} is not a file.", hint="Move it away.")
            if mode & _ANYBODY_WRITES:
                raise InvalidRequestError(f"{path.name} may be changed by everybody.", hint=f"chmod o-w {path}")
            raw = file.read(MAX_CATALOGUE_BYTES + 1)
    except OSError as failure:
        raise InvalidRequestError(
            f"{path.name} cannot be read: {failure.strerror}.", hint=f"Look at it: ls -l {path}"
        ) from failure
    if len(raw) > MAX_CATALOGUE_BYTES:
        raise InvalidRequestError(f"{path.name} is larger than 1 MiB.", hint="A catalogue is a few hundred lines.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = raw[: failure.start].count(b"\n") + 1
        raise InvalidRequestError(f"{path.name}:{line}: the file is not UTF-8.", hint="Save it as UTF-8.") from failure
