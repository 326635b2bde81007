"""The client's methods for images of people's own."""

from __future__ import annotations

from collections.abc import Iterator

from ds01.client.calls import LINES_TYPE, Calls, query_of
from ds01.client.transport import Request
from ds01.client.wire import segment

TYPE_CHECKING = False  # the name that checkers know, without the import of typing that costs 5 ms
if TYPE_CHECKING:
    from ds01.api import schema


class ImageCalls(Calls):
    """Asks about images, and builds them."""

    def build_image(
        self,
        name: str,
        pieces: Iterator[bytes],
        *,
        dockerfile: str | None = None,
        digest: str | None = None,
        no_cache: bool = False,
        buildkit: bool = False,
    ) -> schema.BuiltImage:
        """Build an image from a context and wait for its end; see `stream_build`."""
        query = query_of(name=name, dockerfile=dockerfile, digest=digest, no_cache=no_cache, buildkit=buildkit)
        request = Request("POST", "/v1/images/build" + query, timeout_s=None, pieces=pieces)
        answer: schema.BuiltImage = self._transport.read(request)
        return answer

    def stream_build(
        self,
        name: str,
        pieces: Iterator[bytes],
        *,
        dockerfile: str | None = None,
        digest: str | None = None,
        no_cache: bool = False,
        buildkit: bool = False,
    ) -> Iterator[schema.ProgressMessage]:
        """Build an image and yield its progress; the last message is the result.

        Closing the iterator before closes the connection, and the build ends.

        Args:
            name: Short name of the image.
            pieces: The context, a tar.
            dockerfile: Path of the Dockerfile in it.
            digest: SHA-256 of the Dockerfile.
            no_cache: Run every step anew.
            buildkit: BuildKit builds.

        Raises:
            Ds01Error: The build failed.
        """
        query = query_of(name=name, dockerfile=dockerfile, digest=digest, no_cache=no_cache, buildkit=buildkit)
        target = "/v1/images/build" + query
        return self._lines(Request("POST", target, timeout_s=None, accept=LINES_TYPE, pieces=pieces), "the build")

    def get_image(self, name: str) -> schema.OwnImageDocument:
        """Return an image of the caller's own."""
        answer: schema.OwnImageDocument = self._get(f"/v1/images/{segment(name, 'the image')}")
        return answer

    def delete_image(self, name: str, *, force: bool = False, dry_run: bool = False) -> schema.DeletedImage:
        """Delete an image of the caller's own, or with dry_run say what that would delete."""
        answer: schema.DeletedImage = self._act(
            "DELETE", f"/v1/images/{segment(name, 'the image')}" + query_of(force=force, dry_run=dry_run)
        )
        return answer

    def list_packages(self, image: str) -> schema.PackageList:
        """Return the packages of Python in an image."""
        answer: schema.PackageList = self._get("/v1/packages" + query_of(image=image))
        return answer

    def get_package_tiers(self) -> schema.PackageTierList:
        """Return the packages that are offered for an image."""
        answer: schema.PackageTierList = self._get("/v1/package_tiers")
        return answer

    def compare_catalogue(self, body: schema.CatalogueListBody | None = None) -> schema.CatalogueComparison:
        """Compare a list of AIME, or the one that the policy names, with the catalogue."""
        answer: schema.CatalogueComparison = self._act("POST", "/v1/catalogue/compare", body or {})
        return answer
