"""What was installed in a container, from the wire to the recipe."""

from ds01.api.schema import DriftDocument
from ds01.domain.images.installed import Drift, PackageChange, PackageTool


def drift_of(found: DriftDocument) -> Drift:
    """Return what was installed, as the recipe takes it."""
    changes = (
        PackageChange(PackageTool(one["tool"]), one["name"], one["before"], one["after"], one["line"])
        for one in found["changes"]
    )
    return Drift(tuple(changes))
