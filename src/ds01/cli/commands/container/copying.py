"""`ds01 container cp`: files into a container and out of it."""

import os
import posixpath
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ds01.api.schema import PathDocument
from ds01.cli.archive import PIECE_BYTES, Unpacker, pack
from ds01.cli.call import Call
from ds01.cli.commands.container.power import say_docker
from ds01.cli.selection import naming
from ds01.cli.spec import DRY_RUN, JSON, NO_INPUT, Argument, Spec
from ds01.cli.terminal import STDIN_DESCRIPTOR, STDOUT_DESCRIPTOR, write_bytes
from ds01.errors import ConflictError, InvalidRequestError, NotFoundError
from ds01.units import format_size

HOME_INSIDE = "/workspace"
PIPE = "-"
_INSIDE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.@+-]*):(?P<path>.*)", re.DOTALL)
_PROGRESS_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Inside:
    """A path of a container.

    Attributes:
        name: The container.
        path: Absolute and plain.
        is_content: The content of the folder is meant (`/.` at the end).
    """

    name: str
    path: str
    is_content: bool


def copy(call: Call) -> int:
    """Copy files into a container or out of it."""
    source_text, target_text = call.text("source"), call.text("target")
    if source_text is None or target_text is None:
        raise InvalidRequestError(
            "cp needs two paths.", hint=f"Write {call.command('cp', 'FILE', 'NAME:/workspace')} or the other way round."
        )
    if call.flag("json") and target_text == PIPE:
        raise InvalidRequestError("--json and - exclude each other: the tar is on stdout.", hint="Leave --json out.")
    source, target = parse_place(source_text), parse_place(target_text)
    if isinstance(source, Inside) and not isinstance(target, Inside):
        with naming(call, source.name):
            _fetch(call, source, target)
    elif isinstance(target, Inside) and not isinstance(source, Inside):
        with naming(call, target.name):
            _send(call, source, target)
    else:
        raise InvalidRequestError(
            "One of the two paths must be in a container, and one outside.",
            hint="Write a path in a container as NAME:/path; a file whose name holds a colon as ./a:b.",
        )
    return 0


def parse_place(text: str) -> Inside | str:
    """Return a path of a container, or a path of this machine as it was typed.

    Raises:
        InvalidRequestError: It is empty, or leads out of the container's root.
    """
    if not text:
        raise InvalidRequestError("A path is empty.")
    found = _INSIDE.fullmatch(text)
    if found is None:
        return text
    path = posixpath.join(HOME_INSIDE, found["path"])
    is_content = path.endswith("/.")
    plain = posixpath.normpath(path)
    return Inside(found["name"], "/" + plain.lstrip("/"), is_content)


def _fetch(call: Call, source: Inside, target: str) -> None:
    stat = call.client.find_path(source.name, source.path)
    if not stat["exists"]:
        raise NotFoundError(f"There is nothing at {source.path} in {source.name}.")
    if target == PIPE:
        if not _is_plan_only(call, source):
            for piece in _Counted(call, call.client.read_archive(source.name, source.path)):
                write_bytes(STDOUT_DESCRIPTOR, piece)
            call.screen.end_update()
        return
    own_name = posixpath.basename(source.path) or "/"
    folder, new_name = _place_here(target, own_name, is_folder=stat["is_directory"], is_content=source.is_content)
    if _is_plan_only(call, source):
        return
    old = own_name.strip("/")
    pieces = _Counted(call, call.client.read_archive(source.name, source.path))
    Unpacker(folder, rename=(old, new_name) if old else None, warn=call.screen.warn).unpack(iter(pieces))
    _say_done(call, f"Copied {source.path} of {source.name} to {target}.", pieces)


def _place_here(target: str, own_name: str, *, is_folder: bool, is_content: bool) -> tuple[str, str]:
    """Return the folder to write to, and the name of the copy in it; empty: its content alone. As docker cp has it."""
    if os.path.isdir(target):
        return target, "" if is_content else own_name.strip("/")
    parent, name = os.path.split(target.rstrip("/"))
    parent = parent or "."
    if not os.path.isdir(parent):
        raise NotFoundError(f"There is no folder {parent}.", hint=f"Make it first: mkdir -p {parent}")
    if os.path.lexists(target) and is_folder:
        raise ConflictError(f"{target} is a file, and a folder cannot take its place.")
    if target.endswith("/") and not is_folder:
        raise NotFoundError(f"There is no folder {target}.", hint=f"Make it first: mkdir -p {target}")
    return parent, name


def _send(call: Call, source: str, target: Inside) -> None:
    target, stat = _followed(call, target)
    if source == PIPE:
        if not _is_plan_only(call, target):
            pieces = _Counted(call, _stdin())
            call.client.write_archive(target.name, target.path, iter(pieces))
            _say_done(call, f"Unpacked stdin to {target.path} of {target.name}.", pieces)
        return
    is_content = source.endswith("/.") or source == "."
    here = source.rstrip("/").removesuffix("/.") or "/"
    if not os.path.lexists(here):
        raise NotFoundError(f"There is nothing at {source}.")
    is_folder = os.path.isdir(here)
    if not (is_folder or os.path.isfile(here) or os.path.islink(here)):
        raise InvalidRequestError(f"{source} is a pipe, a socket or a device, and they are not copied.")
    name = os.path.basename(os.path.abspath(here))
    if stat["is_directory"]:
        folder, name = target.path, "" if is_content and is_folder else name
    elif stat["exists"] and is_folder:
        raise ConflictError(f"{target.path} of {target.name} is a file, and a folder cannot take its place.")
    else:
        folder, name = posixpath.split(target.path)
    if _is_plan_only(call, target):
        return
    pieces = _Counted(call, pack(here, name, warn=call.screen.warn))
    call.client.write_archive(target.name, folder, iter(pieces))
    _say_done(call, f"Copied {source} to {posixpath.join(folder, name)} of {target.name}.", pieces)


def _followed(call: Call, target: Inside) -> tuple[Inside, PathDocument]:
    """Return where a path leads and what is there: a link to a file is written through, as docker cp does."""
    stat = call.client.find_path(target.name, target.path)
    if not stat["link_target"]:
        return target, stat
    there = replace(target, path=stat["link_target"])
    return there, call.client.find_path(there.name, there.path)


def _stdin() -> Iterator[bytes]:
    while piece := os.read(STDIN_DESCRIPTOR, PIECE_BYTES):
        yield piece


class _Counted:
    """Passes pieces on and shows how far it is.

    Attributes:
        done_bytes: How much has gone through.
    """

    def __init__(self, call: Call, pieces: Iterator[bytes]) -> None:
        self._call = call
        self._pieces = pieces
        self.done_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        shown_at = time.monotonic()
        for piece in self._pieces:
            yield piece
            self.done_bytes += len(piece)
            if time.monotonic() - shown_at >= _PROGRESS_PAUSE_S:
                shown_at = time.monotonic()
                self._call.screen.update(f"Copied {format_size(self.done_bytes // 1024 * 1024)}")


def _is_plan_only(call: Call, inside: Inside) -> bool:
    """Tell whether nothing is to be copied, and say then what would be; every check has been made."""
    if not call.flag("dry_run"):
        return False
    container = call.client.get_container(inside.name)
    source, target = call.text("source") or "", call.text("target") or ""
    call.screen.tell(f"Would copy {source} to {target}.")
    typed = f"{inside.name}:"
    there = f"{container['engine_name']}:{inside.path}{'/.' if inside.is_content else ''}"
    words = [there if word.startswith(typed) else word for word in (source, target)]
    say_docker(call, shlex.join(["docker", "cp", *words]))
    _print_document(call, 0)
    return True


def _say_done(call: Call, text: str, pieces: _Counted) -> None:
    call.screen.end_update()
    call.screen.success(text)
    _print_document(call, pieces.done_bytes)


def _print_document(call: Call, archive_bytes: int) -> None:
    if call.flag("json"):
        call.screen.document(
            {
                "schema_version": 1,
                "source": call.text("source"),
                "target": call.text("target"),
                "archive_bytes": archive_bytes,
                "dry_run": call.flag("dry_run"),
            }
        )


COPY = Spec(
    copy,
    examples=(
        "ds01 cp model.pt my-project:/workspace  a file into a container",
        "ds01 cp my-project:results ./  a folder out of it; without / it begins at /workspace",
        "ds01 cp my-project:/workspace/data/. here  only what is in the folder",
        "tar c src | ds01 cp - my-project:/workspace  a tar from stdin",
    ),
    details=(
        "The container may be stopped. What is copied into it belongs to you there. Links are copied as links; pipes "
        "and devices are left out."
    ),
    arguments=(Argument("source", shown="SOURCE"), Argument("target", shown="TARGET")),
    options=(DRY_RUN, JSON, NO_INPUT),
)
