"""What the site's administrator writes, as the daemon has read it."""

from dataclasses import dataclass

from ds01.daemon.catalogue_files import CatalogueFiles
from ds01.daemon.policy_file import PolicyFile


@dataclass(frozen=True, slots=True)
class SiteFiles:
    """Files of the site's administrator, each with its last good reading.

    Attributes:
        policy: resource-limits.yaml.
        catalogue: Shipped rows and drop-ins.
    """

    policy: PolicyFile
    catalogue: CatalogueFiles
