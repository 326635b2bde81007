"""The routes about images of people's own and the lists they come from. A part of ds01.api.routes."""

from ds01.api import schema
from ds01.api.route import Parameter, Route

IMAGE_ROUTES: tuple[Route, ...] = (
    Route(
        "build_image",
        "POST",
        "/v1/images/build",
        "Build an image of the caller's own from a context that is sent as a tar.",
        schema.BuiltImage,
        parameters=(
            Parameter("name", "string", "Short name of the image."),
            Parameter("dockerfile", "string", "Path of the Dockerfile in the context; Dockerfile without it."),
            Parameter("digest", "string", "SHA-256 of the Dockerfile, for the image to remember."),
            Parameter("no_cache", "boolean", "Run every step anew."),
            Parameter("buildkit", "boolean", "BuildKit builds instead of the classic builder."),
        ),
        answer_kind="stream",
        takes_archive=True,
        errors=("forbidden", "not_found", "conflict"),
    ),
    Route(
        "get_image",
        "GET",
        "/v1/images/{name}",
        "One image of the caller's own, and which containers use it.",
        schema.OwnImageDocument,
        errors=("not_found",),
    ),
    Route(
        "delete_image",
        "DELETE",
        "/v1/images/{name}",
        "Delete an image of the caller's own with its earlier builds; nothing else is touched.",
        schema.DeletedImage,
        parameters=(
            Parameter("force", "boolean", "Also when containers use it: they stay as they are."),
            Parameter("dry_run", "boolean", "Only say what would be done."),
        ),
        errors=("not_found", "conflict"),
    ),
    Route(
        "list_packages",
        "GET",
        "/v1/packages",
        "Packages of Python in an image that the engine has.",
        schema.PackageList,
        parameters=(Parameter("image", "string", "A short name of the caller's own, or a reference."),),
        errors=("not_found",),
    ),
    Route(
        "get_package_tiers",
        "GET",
        "/v1/package_tiers",
        "The packages that are offered for an image, tier by tier.",
        schema.PackageTierList,
    ),
    Route(
        "compare_catalogue",
        "POST",
        "/v1/catalogue/compare",
        "Compare AIME's own list with the catalogue, and say what would take its rows over; administrators only.",
        schema.CatalogueComparison,
        body=schema.CatalogueListBody,
        errors=("forbidden",),
    ),
)
