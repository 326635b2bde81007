"""What the site's administrator writes, as the daemon has read it."""

from collections.abc import Callable
from dataclasses import dataclass

from ds01.config.build_site import read_build_site
from ds01.daemon.catalogue_files import CatalogueFiles
from ds01.daemon.policy_file import PolicyFile
from ds01.daemon.tiers_file import TiersFile
from ds01.domain.images.build_site import BuildSite
from ds01.domain.rules.site import Builds


@dataclass(frozen=True, slots=True)
class SiteFiles:
    """Files of the site's administrator, each with its last good reading.

    Attributes:
        policy: resource-limits.yaml.
        catalogue: Shipped rows and drop-ins.
        tiers: package_tiers.toml.
        read_builds: Reads the files that builds get, which a policy names.
    """

    policy: PolicyFile
    catalogue: CatalogueFiles
    tiers: TiersFile
    read_builds: Callable[[Builds], BuildSite] = read_build_site

    def build_site(self) -> BuildSite:
        """Return what builds get by the policy in force.

        Raises:
            InvalidRequestError: A file cannot be used.
        """
        return self.read_builds(self.policy.current.site.builds)

    def image_problem(self) -> str | None:
        """Return what cannot be used of the lists that images are made from; None if all is well."""
        return " ".join(filter(None, [self.catalogue.problem, self.tiers.problem])) or None
