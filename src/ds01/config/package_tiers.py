"""The table of package tiers: the one that ships with the package, or the one of a site."""

from functools import cache
from importlib import resources
from pathlib import Path

from ds01.config.catalogue import read_catalogue_text
from ds01.domain.images.package_tier import PackageTiers, parse_package_tiers

TIERS_FILE = "package_tiers.toml"


@cache
def read_shipped_package_tiers() -> PackageTiers:
    """Return the tiers that are shipped with the package."""
    text = (resources.files("ds01") / "data" / TIERS_FILE).read_text(encoding="utf-8")
    return parse_package_tiers(text, TIERS_FILE)


def read_package_tiers(folder: Path) -> PackageTiers:
    """Return a site's own tiers, which replace the shipped ones as a whole; without a file the shipped ones.

    Args:
        folder: The site's configuration.

    Raises:
        InvalidRequestError: The file cannot be read, everybody may change it, or it is no such table.
    """
    path = folder / TIERS_FILE
    if not path.exists():
        return read_shipped_package_tiers()
    return parse_package_tiers(read_catalogue_text(path), TIERS_FILE)
