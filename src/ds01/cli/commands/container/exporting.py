"""`ds01 container export`."""

import os
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import cast

from ds01.api.schema import ExportPlan
from ds01.cli.call import Call
from ds01.cli.export_file import write_export
from ds01.cli.prompts import confirm
from ds01.cli.selection import naming, one_name
from ds01.cli.spec import ASKING, DRY_RUN, JSON, NAME, Argument, Option, Spec
from ds01.errors import ConflictError, InvalidRequestError
from ds01.units import format_size

ENDING = ".ds01.tar.zst"
_PAUSE_S = 0.2


def export(call: Call) -> int:
    """Write a container into one file."""
    name = one_name(call, "export")
    path = call.text("file") or f"./{name}{ENDING}"
    if path == "-":
        raise InvalidRequestError("A container is exported to a file.", hint="Name one, such as ./NAME.ds01.tar.zst")
    with naming(call, name):
        plan = call.client.plan_export(name, with_base=call.flag("with_base"))
    workspace = plan["workspace"] if call.flag("with_workspace") else None
    if call.flag("dry_run"):
        _print_plan(call, plan, path)
        return 0
    _require_free(call, path)
    for warning in plan["warnings"]:
        call.screen.warn(warning)
    call.screen.note(f"Exporting {_rounded(plan['size_bytes'])} before compression{_without(plan)}.")

    def ask() -> Generator[bytes, None, None]:
        pieces = call.client.export_container(name, with_base=call.flag("with_base"))
        return counted(call, pieces, plan["size_bytes"])

    try:
        with naming(call, name):
            write_export(path, ask, workspace=workspace, warn=call.screen.warn)
    finally:
        call.screen.end_update()
    size_bytes = os.path.getsize(path)
    if call.flag("json"):
        call.screen.document({**plan, "file": path, "file_bytes": size_bytes, "dry_run": False})
    call.done(f"Exported {name} to {path}, {_rounded(size_bytes)}.", path)
    call.screen.suggest(call.command("import", path, "--name", f"{name}-2"))
    return 0


def counted(call: Call, pieces: Iterator[bytes], whole: int) -> Generator[bytes, None, None]:
    """Pass pieces on and show how far it is.

    Args:
        call: The command.
        pieces: What is passed on.
        whole: About how many bytes they are together.
    """
    done, shown_at = 0, time.monotonic()
    with closing(cast("Generator[bytes, None, None]", pieces)):
        for piece in pieces:
            yield piece
            done += len(piece)
            if time.monotonic() - shown_at >= _PAUSE_S:
                shown_at = time.monotonic()
                call.screen.update(f"{_rounded(done)} of about {_rounded(max(done, whole))}")


def _require_free(call: Call, path: str) -> None:
    if not os.path.lexists(path) or (os.path.isfile(path) and call.flag("yes")):
        return
    if os.path.isfile(path) and call.must_confirm and confirm(f"{path} is there already. Replace it?"):
        return
    raise ConflictError(f"{path} is there already.", hint="Name another file, or use --yes to replace it.")


def _without(plan: ExportPlan) -> str:
    return f", without the layers of {plan['base']}" if plan["base"] else ""


def _print_plan(call: Call, plan: ExportPlan, path: str) -> None:
    if call.flag("json"):
        call.screen.document({**plan, "file": path, "dry_run": True})
        return
    size = _rounded(plan["size_bytes"])
    call.screen.tell(f"Would write {plan['name']} to {path}: {size} before compression{_without(plan)}.")
    for warning in plan["warnings"]:
        call.screen.tell(f"  note: {warning}")
    call.screen.data(plan["docker_command"])


def _rounded(size_bytes: int) -> str:
    return format_size(size_bytes if size_bytes < 1024 else size_bytes // 1024 * 1024) if size_bytes else "0"


EXPORT = Spec(
    export,
    examples=(
        "ds01 container export my-project  to ./my-project.ds01.tar.zst, without the layers of its base",
        "ds01 container export my-project /backup/p.ds01.tar.zst --with-workspace  with your files",
        "ds01 container export my-project --with-base  for a machine that cannot pull the base",
        "ds01 container export my-project --dry-run  only say how large it is",
    ),
    details=(
        "What you installed in the container goes into the file; data and models do not. A running container is frozen "
        "for a moment. The file is there whole or not at all."
    ),
    arguments=(NAME, Argument("file", shown="[FILE]")),
    options=(
        Option("--with-base", "With the layers of its base too."),
        Option("--with-workspace", "With the files of /workspace."),
        DRY_RUN,
        JSON,
        *ASKING,
    ),
)
