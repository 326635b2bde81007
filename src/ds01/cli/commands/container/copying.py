"""`ds01 container cp`: files into a container and out of it."""

import os
import posixpath
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ds01.cli.archive import PIECE_BYTES, Unpacker, pack
from ds01.cli.call import Call
from ds01.cli.selection import naming
from ds01.cli.spec import NO_INPUT, Argument, Spec
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
    pieces = _counted(call, call.client.read_archive(source.name, source.path))
    if target == PIPE:
        for piece in pieces:
            write_bytes(STDOUT_DESCRIPTOR, piece)
        return
    own_name = posixpath.basename(source.path) or "/"
    folder, new_name = _place_here(target, own_name, is_folder=stat["is_directory"], is_content=source.is_content)
    old = own_name.strip("/")
    Unpacker(folder, rename=(old, new_name) if old else None, warn=call.screen.warn).unpack(pieces)
    call.screen.end_update()
    call.screen.success(f"Copied {source.path} of {source.name} to {target}.")


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
    stat = call.client.find_path(target.name, target.path)
    if source == PIPE:
        call.client.write_archive(target.name, target.path, _counted(call, _stdin()))
        call.screen.end_update()
        call.screen.success(f"Unpacked stdin to {target.path} of {target.name}.")
        return
    is_content = source.endswith("/.") or source == "."
    here = source.rstrip("/").removesuffix("/.") or "/"
    if not os.path.lexists(here):
        raise NotFoundError(f"There is nothing at {source}.")
    is_folder = os.path.isdir(here)
    name = os.path.basename(os.path.abspath(here))
    leads_to_folder = stat["is_directory"] or bool(stat["link_target"])
    if leads_to_folder:
        folder, name = target.path, "" if is_content and is_folder else name
    elif stat["exists"] and is_folder:
        raise ConflictError(f"{target.path} of {target.name} is a file, and a folder cannot take its place.")
    else:
        folder, name = posixpath.split(target.path)
    pieces = _counted(call, pack(here, name, warn=call.screen.warn))
    call.client.write_archive(target.name, folder, pieces)
    call.screen.end_update()
    call.screen.success(f"Copied {source} to {posixpath.join(folder, name)} of {target.name}.")


def _stdin() -> Iterator[bytes]:
    while piece := os.read(STDIN_DESCRIPTOR, PIECE_BYTES):
        yield piece


def _counted(call: Call, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Pass pieces on and show how far it is."""
    done, shown_at = 0, time.monotonic()
    for piece in pieces:
        yield piece
        done += len(piece)
        if time.monotonic() - shown_at >= _PROGRESS_PAUSE_S:
            shown_at = time.monotonic()
            call.screen.update(f"Copied {format_size(done // 1024 * 1024)}")


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
    options=(NO_INPUT,),
)
