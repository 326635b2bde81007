"""The user's X display for programs in a container, as long as a command runs.

A socket in the user's own workspace leads to the display: it needs no rights, no mount and no network, works for a
display of this machine and for one that came with `ssh -X`, and nobody else reaches it. The key lies beside it, in a
file that only the user reads.
"""

import os
import secrets
import shutil
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ds01.cli.display_address import DisplayAddress
from ds01.errors import ConflictError, Ds01Error

FOLDER_PREFIX = ".ds01-x11-"
SOCKET_NAME = "X"
KEY_NAME = "Xauthority"
PIECE_BYTES = 64 * 1024
_MOST_CLIENTS = 64


@dataclass(frozen=True, slots=True)
class SharedDisplay:
    """A display that is shared now.

    Attributes:
        folder: Name of its folder in the workspace.
        has_key: There is a key file.
    """

    folder: str
    has_key: bool


@contextmanager
def shared_display(workspace: str, display: DisplayAddress, key: bytes) -> Iterator[SharedDisplay]:
    """Share a display for the block.

    Args:
        workspace: The container's workspace on this machine.
        display: The display.
        key: Authority file for it; empty without.

    Raises:
        ConflictError: The display does not answer, or the workspace cannot hold a socket of ours.
    """
    display.connect().close()
    _remove_stale(workspace)
    name = FOLDER_PREFIX + secrets.token_hex(4)
    folder = os.path.join(workspace, name)
    try:
        os.mkdir(folder, 0o700)
    except OSError as failure:
        raise ConflictError(f"{workspace} cannot hold a socket of yours: {failure.strerror}.") from failure
    try:
        if key:
            descriptor = os.open(os.path.join(folder, KEY_NAME), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
        with _listening(folder) as listener:
            threading.Thread(target=_serve, args=(listener, display), daemon=True).start()
            yield SharedDisplay(name, bool(key))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _listening(folder: str) -> Iterator[socket.socket]:
    """Listen on a socket in a folder whose path may be longer than the address of a socket. Source: unix(7)."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            listener.bind(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}")
        finally:
            os.close(descriptor)
        listener.listen(_MOST_CLIENTS)
    except OSError as failure:
        listener.close()
        raise ConflictError(f"{folder} cannot hold a socket: {failure.strerror}.") from failure
    try:
        yield listener
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in accept
        listener.close()


def _remove_stale(workspace: str) -> None:
    """Remove what a command that was killed has left: a socket on which nobody listens."""
    with suppress(OSError):
        for entry in os.scandir(workspace):
            if entry.name.startswith(FOLDER_PREFIX) and stat.S_ISDIR(entry.stat(follow_symlinks=False).st_mode):
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                    try:
                        probe.connect(os.path.join(entry.path, SOCKET_NAME))
                    except (ConnectionRefusedError, FileNotFoundError):
                        shutil.rmtree(entry.path, ignore_errors=True)


def _serve(listener: socket.socket, display: DisplayAddress) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # the block has ended
        threading.Thread(target=_connect, args=(client, display), daemon=True).start()


def _connect(client: socket.socket, display: DisplayAddress) -> None:
    with client, suppress(Ds01Error), display.connect() as server:
        server.settimeout(None)
        upward = threading.Thread(target=_copy, args=(client, server), daemon=True)
        upward.start()
        _copy(server, client)
        upward.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Copy until one side ends; X has no half-open connections, so both end then."""
    with suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
    for side in (source, target):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
