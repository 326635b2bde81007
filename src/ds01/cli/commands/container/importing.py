"""`ds01 container import`."""

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from ds01.api.schema import CreateContainerBody, CreatedContainer
from ds01.cli.call import Call
from ds01.cli.commands.container.displaying import X11
from ds01.cli.commands.container.exporting import ENDING, counted
from ds01.cli.commands.container.request import CPU_ONLY, DATA, GPU_MEMORY, MODELS, SETTINGS, put_settings
from ds01.cli.commands.container.waiting import EXCLUSIVE, NO_WAIT, RESERVATION, TIME
from ds01.cli.export_file import ReadFile, read_file, unpack_workspace, upload_of
from ds01.cli.lost_answer import tell_what_became
from ds01.cli.spec import ASKING, DRY_RUN, JSON, Argument, Option, Spec
from ds01.domain.name import parse_container_name, suggest_container_name
from ds01.errors import ConflictError, DaemonUnreachableError, Ds01Error, InvalidRequestError, NoCapacityError
from ds01.units import format_size

_ORDERED = ("framework", "version", "gpu", "environment", "ports")


def import_(call: Call) -> int:
    """Make a container of a file."""
    path = call.text("file")
    if path is None:
        raise InvalidRequestError("Which file? FILE is missing.", hint=f"Write {call.command('import', 'FILE')}.")
    put_settings(call, cast("CreateContainerBody", {}))  # a mistake in the options is said before a large file is read
    call.screen.note(f"Checking {path}")
    file = read_file(path, room_bytes=_room(call))
    body = _order(call, file)
    size = format_size(max(1024, file.size_bytes // 1024 * 1024))
    if call.flag("dry_run"):
        _print_plan(call, file, body["name"], size)
        return 0
    call.screen.note(f"Importing {body['name']}: {size} of {file.header.origin}.")
    with _hinting_at_ways(call, path), _workspace(call, file, body):
        outcome = _send(call, file, body)
    for warning in outcome["warnings"]:
        call.screen.warn(warning)
    if call.flag("json"):
        call.screen.document(outcome)
    call.done(f"Imported {body['name']}.", body["name"])
    call.screen.suggest(call.command("open", body["name"]))
    return 0


def _room(call: Call) -> int | None:
    """The most that an import can use: the layers on the engine's disk, the workspace on its own. None: unknown."""
    try:
        engine_bytes = call.client.get_status()["engine"].get("free_bytes")
    except DaemonUnreachableError:
        if not call.flag("dry_run"):
            raise
        engine_bytes = None  # a file can be checked anywhere
    if engine_bytes is None:
        return None
    folder = call.text("workspace") or os.path.expanduser("~")
    while not os.path.isdir(folder):
        folder = os.path.dirname(os.path.abspath(folder))
    return engine_bytes + shutil.disk_usage(folder).free


def _send(call: Call, file: ReadFile, body: CreateContainerBody) -> CreatedContainer:
    upload = counted(call, upload_of(file, body), file.size_bytes)
    try:
        return call.client.import_container(upload)
    except DaemonUnreachableError as lost:
        if isinstance(lost.__cause__, FileNotFoundError | ConnectionRefusedError):  # it was not there to begin with
            raise
        if tell_what_became(call, body["name"], lost) and file.has_workspace:
            lost.hint = f"{lost.hint}\nThe files of its workspace stay in {body['workspace']}."
        raise
    finally:
        call.screen.end_update()


@contextmanager
def _hinting_at_ways(call: Call, path: str) -> Iterator[None]:
    """An import has no place in the queue: its layers would lie on the engine's disk for as long as it waits."""
    try:
        yield
    except NoCapacityError as error:
        again = call.command("import", shlex.quote(path))
        hints = [
            "An import does not wait. See when a GPU is free, and import then: ds01 gpus",
            f"Or reserve one (ds01 reservation create), and then: {again} --reservation NAME",
            f"Or without a GPU: {again} --cpu-only",
        ]
        error.hint = "\n".join([*hints, *([error.hint] if error.hint else [])])
        raise


def _order(call: Call, file: ReadFile) -> CreateContainerBody:
    order: dict[str, object] = {key: file.header.order[key] for key in _ORDERED if key in file.header.order}
    order |= {"name": _name(call, file), "interface": "cli"}
    body = cast("CreateContainerBody", order)
    put_settings(call, body)
    return body


def _name(call: Call, file: ReadFile) -> str:
    typed = call.text("name")
    if typed is not None:
        return parse_container_name(typed)
    found = file.header.name or os.path.basename(file.path).removesuffix(ENDING).partition(".")[0]
    try:
        return parse_container_name(found)
    except InvalidRequestError as error:
        proposal = suggest_container_name(found)
        if not proposal:
            raise InvalidRequestError("What is its name to be?", hint="Give one: --name NAME") from error
        return proposal


@contextmanager
def _workspace(call: Call, file: ReadFile, body: CreateContainerBody) -> Iterator[None]:
    """Write the files of /workspace first; they go again if the container cannot be made."""
    if not file.has_workspace:
        yield
        return
    folder = body.get("workspace") or os.path.join(os.path.expanduser("~/workspace"), body["name"])
    was_there = os.path.isdir(folder)
    try:
        if os.path.lexists(folder) and (not was_there or os.listdir(folder)):
            raise ConflictError(
                f"The file has a workspace, and {folder} is not empty.",
                hint="Name an empty one: --workspace FOLDER, or clear it, if an import that was killed has left it.",
            )
        os.makedirs(folder, 0o700, exist_ok=True)
    except OSError as failure:
        raise ConflictError(f"{folder} cannot be used: {failure.strerror or failure}.") from failure
    body["workspace"] = folder
    try:
        unpack_workspace(file, folder, warn=call.screen.warn)
        yield
    except (Ds01Error, OSError, KeyboardInterrupt) as failure:
        is_needed = isinstance(failure, DaemonUnreachableError) and failure.details.get("was_made", False) is not False
        if not is_needed:
            _clear(folder, was_there=was_there)
        raise


def _clear(folder: str, *, was_there: bool) -> None:
    """It was empty or not there, so everything in it is ours."""
    if not was_there:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)


def _print_plan(call: Call, file: ReadFile, name: str, size: str) -> None:
    header, base = file.header, file.header.base
    if call.flag("json"):
        call.screen.document(
            {
                "schema_version": 1,
                "name": name,
                "origin": header.origin,
                "base": base.reference if base else "",
                "size_bytes": file.size_bytes,
                "has_workspace": file.has_workspace,
                "dry_run": True,
            }
        )
        return
    call.screen.tell(f"Every checksum is right. Would make {name} from {size} of {header.origin}:")
    if base is not None:
        call.screen.tell(f"  its base is {base.reference}, which is pulled where it is not here")
    if file.has_workspace:
        call.screen.tell("  with the files of its workspace")
    call.screen.data(f"docker load --input {file.path} && docker create --name {name}._.{os.getuid()} ...")


IMPORT = Spec(
    import_,
    examples=(
        "ds01 container import my-project.ds01.tar.zst  with the name, GPUs and settings that it had",
        "ds01 container import my-project.ds01.tar.zst --name copy --cpu-only  another name, no GPU",
        "ds01 container import image.tar --name my-project  a file of docker save or docker export",
        "ds01 container import my-project.ds01.tar.zst --dry-run  only check the file",
    ),
    details=(
        "Files that belonged to whoever exported it belong to you then; limits are yours and those of this machine. "
        "Every checksum is looked at before anything is made. Ctrl-C undoes what was made. It does not wait for a GPU: "
        "without a free one nothing is made, and nothing is loaded; --cpu-only needs none, --reservation has its own."
    ),
    arguments=(Argument("file", shown="FILE"),),
    options=(
        Option("--name", "Its name here.", kind="text", metavar="NAME"),
        Option("-w --workspace", "Your folder at /workspace.", kind="text", metavar="FOLDER"),
        DATA,
        MODELS,
        Option("-g --gpus", "How many GPUs; as it had if not given.", kind="number", metavar="COUNT"),
        Option("--gpu-kind", "full, mig, a MIG profile, or words of a model's name.", kind="text", metavar="KIND"),
        GPU_MEMORY,
        CPU_ONLY,
        *SETTINGS,
        X11,
        TIME,
        NO_WAIT,
        RESERVATION,
        EXCLUSIVE,
        DRY_RUN,
        JSON,
        *ASKING,
    ),
)
