"""Routes about what was installed in containers, and to make them again. A part of ds01.api.routes."""

from ds01.api import schema
from ds01.api.change_routes import OWNER
from ds01.api.route import Route

RENEWAL_ROUTES: tuple[Route, ...] = (
    Route(
        "get_drift",
        "GET",
        "/v1/containers/{name}/drift",
        "What was installed and removed in a container since it was made, and which of its files stay behind.",
        schema.DriftDocument,
        parameters=(OWNER,),
        errors=("not_found",),
    ),
    Route(
        "recreate_container",
        "POST",
        "/v1/containers/{name}/recreate",
        "Make a container again from another image: name, folders, options, limits and grant stay.",
        schema.RecreatedContainer,
        body=schema.RecreateContainerBody,
        parameters=(OWNER,),
        answer_kind="stream",
        errors=("not_found", "conflict"),
    ),
)
