"""What the daemon knows of its machine and site beside the world's ports, the policy and the catalogue."""

from collections.abc import Callable
from dataclasses import dataclass

from ds01.config.package_tiers import read_shipped_package_tiers
from ds01.domain.images.build_site import BuildSite
from ds01.domain.images.package_tier import PackageTiers
from ds01.service.disk_room import ReadFreeBytes
from ds01.service.ports import HostCdi


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the machine and the files of its site say, beside policy and catalogue.

    Attributes:
        timezone: The machine's, for `TZ` inside containers; empty: unknown.
        boot: The kernel's name of the present boot; empty: unknown.
        tiers: Returns the table of packages that images are offered.
        build_site: Reads what the site gives to builds.
        free_bytes: Returns the room that is left in a folder.
        cdi: The host's CDI; None: no container is bound late.
    """

    timezone: str = ""
    boot: str = ""
    tiers: Callable[[], PackageTiers] = read_shipped_package_tiers
    build_site: Callable[[], BuildSite] = BuildSite
    free_bytes: ReadFreeBytes = lambda _: None
    cdi: HostCdi | None = None
