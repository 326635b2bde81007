"""A drop-in of the site's configuration, written as the one who calls: whole or not at all, the last one kept."""

import os
import stat
from contextlib import suppress

from ds01.cli.whole_file import whole_file
from ds01.errors import ConflictError, ForbiddenError

BACKUP_SUFFIX = ".bak"
"""No list ends in it, so a copy never counts."""
_FILE_MODE = 0o644
_FOLDER_MODE = 0o755


def write_dropin(path: str, text: str) -> str | None:
    """Write a drop-in; the one that was there before stays beside it.

    Args:
        path: The file; its folder is made if it is missing.
        text: Its content.

    Returns:
        Where the one before is; None if there was none.

    Raises:
        ForbiddenError: The caller may not write there.
        ConflictError: It cannot be written. In both cases the drop-in is as it was.
    """
    folder = os.path.dirname(path)
    is_new_folder = not os.path.lexists(folder)
    try:
        if is_new_folder:
            os.makedirs(folder, _FOLDER_MODE)
        previous = _read(path)
        if previous is not None:
            _write(path + BACKUP_SUFFIX, previous)
        _write(path, text.encode())
    except OSError as failure:
        if is_new_folder:
            with suppress(OSError):
                os.rmdir(folder)
        raise _refusal(path, failure) from failure
    return None if previous is None else path + BACKUP_SUFFIX


def _read(path: str) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is not a file")
        return file.read()


def _write(path: str, content: bytes) -> None:
    with whole_file(path) as target:
        os.fchmod(target.fileno(), _FILE_MODE)  # everybody may read what is in force, and only its owner write
        target.write(content)


def _refusal(path: str, failure: OSError) -> ForbiddenError | ConflictError:
    if isinstance(failure, PermissionError):
        return ForbiddenError(
            f"{path} cannot be written: {failure.strerror}. Nothing was changed.",
            hint="Do it as the owner of that folder, on a server root: sudo ds01 admin catalogue update",
        )
    if isinstance(failure, FileExistsError):
        there = failure.filename or path
        return ConflictError(f"{there} is there already.", hint=f"Remove it if nothing writes it: rm {there}")
    return ConflictError(
        f"{path} cannot be written: {failure.strerror or failure}.", hint=f"Look at it: ls -ld {os.path.dirname(path)}"
    )
