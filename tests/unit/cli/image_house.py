"""A home folder, and a daemon that knows the catalogue, the tiers and how to build."""

from pathlib import Path

from ds01.config.package_tiers import read_shipped_package_tiers
from ds01.domain.images.package_tier import PackageTier
from tests.unit.cli.conftest import catalogue
from tests.unit.scripted_daemon import ScriptedDaemon, chunk, line, ok, stream_head

NOON = "1769860800"
"""The day of what is written, so that it never differs because a day has ended."""
BUILT = {
    "schema_version": 1,
    "name": "thesis",
    "reference": "ds01.invalid/u1/thesis:latest",
    "dated": "ds01.invalid/u1/thesis:1",
    "id": "sha256:1",
    "size_bytes": 1024**2,
}


def _tier(found: PackageTier) -> dict[str, object]:
    return {"name": found.name, "about": found.about, "pip": list(found.pip), "apt": list(found.apt)}


def furnished_house(daemon: ScriptedDaemon, folder: Path) -> Path:
    """Make the home folder below a folder, and let the daemon know what commands about images ask."""
    tiers = read_shipped_package_tiers()
    daemon.answers["GET /v1/catalogue"] = catalogue(("Pytorch", "2.8.0"))
    daemon.answers["GET /v1/packages"] = ok({"schema_version": 1, "image": "x", "is_here": False, "packages": None})
    daemon.answers["GET /v1/package_tiers"] = ok(
        {
            "schema_version": 1,
            "base": _tier(tiers.base),
            "system": _tier(tiers.system),
            "jupyter": _tier(tiers.jupyter),
            "data_science": _tier(tiers.data_science),
            "use_cases": [_tier(case) for case in tiers.use_cases.values()],
        }
    )
    steps = line({"kind": "build", "message": "Step 1/1 : FROM x\n"}) + line({"kind": "build", "message": " done\n"})
    daemon.answers["POST /v1/images/build"] = (
        stream_head() + steps + line({"kind": "result", "built": BUILT}) + chunk(b"")
    )
    found = folder / "home"
    found.mkdir()
    return found
