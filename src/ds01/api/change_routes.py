"""Routes of containers that exist: pausing, renaming, consoles, ports and files. A part of ds01.api.routes."""

from ds01.api import schema
from ds01.api.route import Parameter, Route

OWNER = Parameter("uid", "integer", "Owner of the container; administrators only. Without it: the caller.")
DRY_RUN = Parameter("dry_run", "boolean", "Only say what would be done.")
_PATH = Parameter("path", "string", "Absolute path inside the container; /workspace without it.")

CHANGE_ROUTES: tuple[Route, ...] = (
    Route(
        "restart_container",
        "POST",
        "/v1/containers/{name}/restart",
        "Stop a container if it runs, and start it; it keeps its GPUs all the while.",
        schema.RestartedContainer,
        body=schema.StopContainerBody,
        parameters=(OWNER,),
        errors=("not_found", "conflict", "no_capacity", "quota_exceeded"),
    ),
    Route(
        "pause_container",
        "POST",
        "/v1/containers/{name}/pause",
        "Freeze the programs of a running container; its GPUs stay its own.",
        schema.PausedContainer,
        parameters=(DRY_RUN, OWNER),
        errors=("not_found", "conflict"),
    ),
    Route(
        "unpause_container",
        "POST",
        "/v1/containers/{name}/unpause",
        "Let the programs of a paused container go on.",
        schema.PausedContainer,
        parameters=(DRY_RUN, OWNER),
        errors=("not_found", "conflict"),
    ),
    Route(
        "attach_container",
        "POST",
        "/v1/containers/{name}/attach",
        "The console of a container's main process: after 101 raw with a terminal, else in the engine's frames.",
        None,
        parameters=(Parameter("stdin", "boolean", "What the client sends reaches it."), OWNER),
        answer_kind="upgrade",
        errors=("not_found", "conflict", "forbidden"),
    ),
    Route(
        "resize_container",
        "POST",
        "/v1/containers/{name}/resize",
        "Set the size of the main process's terminal.",
        schema.ConsoleSize,
        body=schema.ResizeBody,
        parameters=(OWNER,),
        errors=("not_found",),
    ),
    Route(
        "list_ports",
        "GET",
        "/v1/containers/{name}/ports",
        "TCP ports of a running container on which something listens, or that are published.",
        schema.PortList,
        parameters=(OWNER,),
        errors=("not_found", "conflict"),
    ),
    Route(
        "find_path",
        "GET",
        "/v1/containers/{name}/path",
        "What a path inside a container is: a link itself, not its target.",
        schema.PathDocument,
        parameters=(_PATH, OWNER),
        errors=("not_found",),
    ),
    Route(
        "read_archive",
        "GET",
        "/v1/containers/{name}/archive",
        "A file or folder of a container as a tar.",
        None,
        parameters=(_PATH, OWNER),
        answer_kind="bytes",
        errors=("not_found",),
    ),
    Route(
        "write_archive",
        "POST",
        "/v1/containers/{name}/archive",
        "Unpack a tar below a folder of a container; what it holds belongs to the container's owner then.",
        schema.WrittenArchive,
        parameters=(_PATH, OWNER),
        takes_archive=True,
        errors=("not_found", "forbidden"),
    ),
    Route(
        "rename_container",
        "POST",
        "/v1/containers/{name}/rename",
        "Give a stopped container another name.",
        schema.RenamedContainer,
        body=schema.RenameBody,
        parameters=(OWNER,),
        errors=("not_found", "conflict"),
    ),
)
