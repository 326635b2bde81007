"""The one translation of SQLite's errors into ours.

Source: https://www.sqlite.org/rescode.html (the primary result code is the low byte).
"""

import shlex
import sqlite3
from collections.abc import Callable
from pathlib import Path

from ds01.errors import BackendError

_PRIMARY_CODE = 0xFF


def list_backups(path: Path) -> list[Path]:
    """Return the backups beside a database, newest first."""
    found = [file for file in path.parent.glob(f"{path.name}.backup-v*") if file.suffix != ".partial"]
    return sorted(found, key=lambda file: file.stat().st_mtime_ns, reverse=True)


def describe_way_back(path: Path) -> str:
    """Return the commands that put a broken database aside and, where there is one, a backup in its place.

    The write-ahead log goes aside with its file: beside another file SQLite would apply it to that one.
    """
    folder = shlex.quote(f"{path}.broken")
    files = " ".join(shlex.quote(f"{path}{suffix}") for suffix in ("", "-wal", "-shm"))
    aside = f"Stop ds01d, then: mkdir {folder}; mv {files} {folder}"
    backups = list_backups(path)
    if backups:
        return f"{aside}; cp --preserve {shlex.quote(str(backups[0]))} {shlex.quote(str(path))}"
    return f"{aside} (there is no backup beside it: ds01d then starts with an empty store)"


def make_corrupt_error(path: Path, reason: str) -> BackendError:
    """Return the refusal of a file that cannot be trusted. The file is left as it is."""
    return BackendError(
        f"The store {path} is damaged and was left untouched: {reason}.",
        hint=describe_way_back(path),
        details={"path": str(path), "backups": [str(file) for file in list_backups(path)]},
    )


def _describe_full(path: Path, reason: str) -> BackendError:
    return BackendError(
        f"The store {path} cannot be written, the disk is full: {reason}. Nothing was changed.",
        hint=f"Make room, then try again: df -h {shlex.quote(str(path.parent))}",
    )


def _describe_busy(path: Path, reason: str) -> BackendError:
    return BackendError(
        f"Another process holds the store {path}: {reason}. Nothing was changed.",
        hint=f"See which one: fuser -v {shlex.quote(str(path))}",
    )


def _describe_access(path: Path, reason: str) -> BackendError:
    return BackendError(
        f"The store {path} cannot be opened or written: {reason}.",
        hint=f"Check its owner and mode: ls -la {shlex.quote(str(path.parent))}",
    )


def _describe_input_output(path: Path, reason: str) -> BackendError:
    return BackendError(
        f"The disk of the store {path} failed: {reason}.",
        hint=f"Look at the kernel's messages and the space left: dmesg | tail; df -h {shlex.quote(str(path.parent))}",
    )


_BY_CODE: dict[int, Callable[[Path, str], BackendError]] = {
    sqlite3.SQLITE_FULL: _describe_full,
    sqlite3.SQLITE_BUSY: _describe_busy,
    sqlite3.SQLITE_LOCKED: _describe_busy,
    sqlite3.SQLITE_READONLY: _describe_access,
    sqlite3.SQLITE_CANTOPEN: _describe_access,
    sqlite3.SQLITE_PERM: _describe_access,
    sqlite3.SQLITE_AUTH: _describe_access,
    sqlite3.SQLITE_IOERR: _describe_input_output,
    sqlite3.SQLITE_CORRUPT: make_corrupt_error,
    sqlite3.SQLITE_NOTADB: make_corrupt_error,
}


def translate(error: sqlite3.Error, path: Path) -> BackendError:
    """Return the BackendError that says what an SQLite error means for the store at `path`.

    The caller raises it `from` the original, or sets that as its cause.
    """
    # Errors of the binding itself (a closed connection, a wrong parameter) carry no code of SQLite.
    code: int = getattr(error, "sqlite_errorcode", 0)
    describe = _BY_CODE.get(code & _PRIMARY_CODE)
    if describe is not None:
        return describe(path, str(error))
    return BackendError(f"The store {path} failed: {error}.", details={"sqlite_errorcode": code})
