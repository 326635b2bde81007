"""The table of routes: what `ds01d` answers. Handlers, client and the OpenAPI document are checked against it."""

from dataclasses import dataclass
from typing import Literal

from ds01.api import schema

AnswerKind = Literal["json", "stream", "bytes", "upgrade"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter.

    Attributes:
        name: Its name.
        type: boolean, integer or string.
        meaning: One sentence.
    """

    name: str
    type: Literal["boolean", "integer", "string"]
    meaning: str


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        name: Name of the handler and OpenAPI operation id.
        method: HTTP method.
        path: Path with `{parameters}`.
        summary: One sentence.
        answer: Document of the answer; None for bytes.
        body: Document of the request; None without one.
        parameters: Query parameters.
        answer_kind: json; stream: also lines of `lines` when asked for; bytes; upgrade: raw bytes after 101.
        errors: Codes of the errors it answers with, beside `invalid_request` and `backend_failed`.
        lines: Document of one line of a stream.
        takes_archive: The body is a tar of any length, read as it comes.
    """

    name: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    summary: str
    answer: type | None
    body: type | None = None
    parameters: tuple[Parameter, ...] = ()
    answer_kind: AnswerKind = "json"
    errors: tuple[str, ...] = ()
    lines: type = schema.ProgressMessage
    takes_archive: bool = False


_OWNER = Parameter("uid", "integer", "Owner of the container; administrators only. Without it: the caller.")
_PATH = Parameter("path", "string", "Absolute path inside the container; /workspace without it.")
_FORCE = Parameter("force", "boolean", "Stop it first when it runs.")
_DRY_RUN = Parameter("dry_run", "boolean", "Only say what would be done.")

ROUTES: tuple[Route, ...] = (
    Route("get_status", "GET", "/v1/status", "The machine at a glance.", schema.StatusDocument),
    Route(
        "list_containers",
        "GET",
        "/v1/containers",
        "Containers of the caller, or all that the caller may see.",
        schema.ContainerList,
        parameters=(Parameter("all", "boolean", "Everybody's containers, as far as the caller may see them."), _OWNER),
        errors=("forbidden",),
    ),
    Route(
        "create_container",
        "POST",
        "/v1/containers",
        "Create a container: validate, grant, pull, create, verify, activate; undone as a whole on any failure.",
        schema.CreatedContainer,
        body=schema.CreateContainerBody,
        answer_kind="stream",
        errors=("forbidden", "quota_exceeded", "not_found", "conflict", "no_capacity"),
    ),
    Route(
        "get_container",
        "GET",
        "/v1/containers/{name}",
        "One container with its limits and labels.",
        schema.ContainerDetailsDocument,
        parameters=(Parameter("inspect", "boolean", "With the engine's own document."), _OWNER),
        errors=("not_found",),
    ),
    Route(
        "start_container",
        "POST",
        "/v1/containers/{name}/start",
        "Start a container; its GPUs are checked or granted anew.",
        schema.StartedContainer,
        parameters=(_OWNER,),
        errors=("not_found", "conflict", "no_capacity", "quota_exceeded"),
    ),
    Route(
        "stop_container",
        "POST",
        "/v1/containers/{name}/stop",
        "Stop a container: every process gets SIGTERM, and SIGKILL after the grace.",
        schema.StoppedContainer,
        body=schema.StopContainerBody,
        parameters=(_OWNER,),
        errors=("not_found", "conflict"),
    ),
    Route(
        "pause_container",
        "POST",
        "/v1/containers/{name}/pause",
        "Freeze the programs of a running container; its GPUs stay its own.",
        schema.PausedContainer,
        parameters=(_OWNER,),
        errors=("not_found", "conflict"),
    ),
    Route(
        "unpause_container",
        "POST",
        "/v1/containers/{name}/unpause",
        "Let the programs of a paused container go on.",
        schema.PausedContainer,
        parameters=(_OWNER,),
        errors=("not_found", "conflict"),
    ),
    Route(
        "list_ports",
        "GET",
        "/v1/containers/{name}/ports",
        "TCP ports of a running container on which something listens, or that are published.",
        schema.PortList,
        parameters=(_OWNER,),
        errors=("not_found", "conflict"),
    ),
    Route(
        "find_path",
        "GET",
        "/v1/containers/{name}/path",
        "What a path inside a container is: a link itself, not its target.",
        schema.PathDocument,
        parameters=(_PATH, _OWNER),
        errors=("not_found",),
    ),
    Route(
        "read_archive",
        "GET",
        "/v1/containers/{name}/archive",
        "A file or folder of a container as a tar.",
        None,
        parameters=(_PATH, _OWNER),
        answer_kind="bytes",
        errors=("not_found",),
    ),
    Route(
        "write_archive",
        "POST",
        "/v1/containers/{name}/archive",
        "Unpack a tar below a folder of a container; what it holds belongs to the container's owner then.",
        schema.WrittenArchive,
        parameters=(_PATH, _OWNER),
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
        parameters=(_OWNER,),
        errors=("not_found", "conflict"),
    ),
    Route(
        "remove_container",
        "DELETE",
        "/v1/containers/{name}",
        "Remove a container and its private tag; its workspace stays.",
        schema.RemovedContainer,
        parameters=(_FORCE, _DRY_RUN, _OWNER),
        errors=("not_found", "conflict"),
    ),
    Route(
        "release_gpus",
        "POST",
        "/v1/containers/{name}/release",
        "Give back the GPUs of a stopped container.",
        schema.ReleasedGpus,
        parameters=(_OWNER,),
        errors=("not_found", "conflict"),
    ),
    Route(
        "adopt_container",
        "POST",
        "/v1/containers/{name}/adopt",
        "Take a container that others made under management; administrators also for others.",
        schema.AdoptedContainer,
        body=schema.AdoptBody,
        parameters=(_OWNER,),
        errors=("not_found", "conflict", "forbidden", "no_capacity"),
    ),
    Route(
        "list_leftovers",
        "GET",
        "/v1/leftovers",
        "A user's stopped, never started and half-made containers, and images whose container is gone.",
        schema.LeftoverList,
        parameters=(Parameter("older_than_s", "integer", "Only what has been at rest for longer, seconds."), _OWNER),
        errors=("forbidden",),
    ),
    Route(
        "clear_leftovers",
        "POST",
        "/v1/leftovers/clear",
        "Remove leftovers; each is looked for again first, and one failure stops no other.",
        schema.ClearedList,
        body=schema.ClearBody,
        parameters=(_OWNER,),
        errors=("forbidden",),
    ),
    Route(
        "get_logs",
        "GET",
        "/v1/containers/{name}/logs",
        "Output of the container's main process.",
        None,
        parameters=(
            Parameter("follow", "boolean", "Go on as it grows."),
            Parameter("tail", "integer", "Only the last lines."),
            Parameter("timestamps", "boolean", "Each line begins with its time."),
            _OWNER,
        ),
        answer_kind="bytes",
        errors=("not_found",),
    ),
    Route(
        "get_stats",
        "GET",
        "/v1/stats",
        "One reading of running containers.",
        schema.StatsList,
        parameters=(
            Parameter("name", "string", "Only this container."),
            Parameter("all", "boolean", "Everybody's, as far as the caller may see them."),
            _OWNER,
        ),
        errors=("not_found", "conflict", "forbidden"),
    ),
    Route(
        "list_processes",
        "GET",
        "/v1/containers/{name}/processes",
        "Processes of a running container.",
        schema.ProcessList,
        parameters=(_OWNER,),
        errors=("not_found", "conflict"),
    ),
    Route(
        "create_exec",
        "POST",
        "/v1/containers/{name}/exec",
        "Prepare a program in a running container.",
        schema.ExecCreated,
        body=schema.ExecBody,
        parameters=(_OWNER,),
        errors=("not_found", "conflict", "forbidden"),
    ),
    Route(
        "start_exec",
        "POST",
        "/v1/exec/{exec_id}/start",
        "Start it: after 101 the connection carries its bytes, raw with a terminal, else in the engine's frames.",
        None,
        answer_kind="upgrade",
        errors=("not_found", "conflict"),
    ),
    Route(
        "resize_exec",
        "POST",
        "/v1/exec/{exec_id}/resize",
        "Set the size of its terminal.",
        schema.ExecStatus,
        body=schema.ResizeBody,
        errors=("not_found",),
    ),
    Route(
        "get_exec", "GET", "/v1/exec/{exec_id}", "Its state and exit status.", schema.ExecStatus, errors=("not_found",)
    ),
    Route(
        "get_catalogue",
        "GET",
        "/v1/catalogue",
        "Framework images that this machine can run, which one a framework means here, and why.",
        schema.CatalogueDocument,
        parameters=(
            Parameter("framework", "string", "Only this framework, in any case."),
            Parameter("architecture", "string", "Images for this generation instead of the machine's."),
            Parameter("all", "boolean", "Also what this machine cannot run, and discontinued frameworks."),
        ),
        errors=("not_found",),
    ),
    Route(
        "pull_image",
        "POST",
        "/v1/images/pull",
        "Fetch an image from its registry; layers that the engine has are not fetched again.",
        schema.PulledImage,
        body=schema.PullImageBody,
        answer_kind="stream",
        errors=("not_found",),
    ),
    Route("list_gpus", "GET", "/v1/gpus", "Devices of the machine and who holds them.", schema.GpuList),
    Route(
        "get_limits",
        "GET",
        "/v1/limits",
        "What a user may hold and use, with the origin of every value.",
        schema.LimitsDocument,
        parameters=(_OWNER,),
        errors=("forbidden", "not_found"),
    ),
    Route(
        "get_config",
        "GET",
        "/v1/config",
        "The policy in force with the origin of every value; administrators only.",
        schema.ConfigDocument,
        errors=("forbidden",),
    ),
    Route(
        "check_config",
        "POST",
        "/v1/config/check",
        "Look at a policy file without its taking effect; administrators only.",
        schema.ConfigCheck,
        body=schema.ConfigCheckBody,
        errors=("forbidden",),
    ),
    Route(
        "list_events",
        "GET",
        "/v1/events",
        "The audit trail, newest last: events about the caller and public ones; all for administrators.",
        schema.EventList,
        parameters=(
            Parameter("since", "string", "Not before this time, ISO 8601 with a zone."),
            Parameter("until", "string", "Before this time, ISO 8601 with a zone."),
            Parameter("container", "string", "Only about containers of this name."),
            Parameter("name", "string", "Only this kind, or with a star at its end all that begin so: `container.*`."),
            Parameter("user", "string", "Only about this user; others than oneself for administrators only."),
            Parameter("uid", "integer", "The same by number."),
            Parameter("tail", "integer", "Only the newest so many, 1000 without it, 10000 at most."),
            Parameter("follow", "boolean", "Send lines: what is there, then what comes, without an end."),
        ),
        answer_kind="stream",
        errors=("forbidden", "not_found"),
        lines=schema.EventMessage,
    ),
    Route("get_openapi", "GET", "/v1/openapi.json", "This table as an OpenAPI document.", schema.OpenApiDocument),
    Route(
        "shut_down",
        "POST",
        "/v1/shutdown",
        "A personal daemon leaves; containers go on.",
        schema.ShutdownDocument,
        errors=("forbidden",),
    ),
)
