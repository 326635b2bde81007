"""Opens the file: made if it is missing, checked before anything may write to it, brought to the present version."""

import os
import shlex
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from ds01.adapters.sqlite.failures import list_backups, make_corrupt_error, translate
from ds01.adapters.sqlite.migrations import Migration, get_version, migrate, sync
from ds01.errors import BackendError
from ds01.service.ports import Checkpoint

APPLICATION_ID = 0x44533031
BUSY_TIMEOUT_S = 5.0
_FILE_MODE = 0o600
_LOG_BYTES = 1100 * (4096 + 24)  # SQLite empties its log at 1000 pages


def open_connections(
    path: Path, migrations: Sequence[Migration], *, checkpoint: Checkpoint, readers: int
) -> tuple[sqlite3.Connection, list[sqlite3.Connection]]:
    """Return the writing connection and some reading ones of a file that is sound and has the present version.

    Args:
        path: The file; its directory exists.
        migrations: All steps, in order.
        checkpoint: Passed around every durable write.
        readers: How many reading connections.

    Raises:
        BackendError: The file is damaged, not ours, of a newer version, or cannot be opened. It is then untouched.
    """
    with ExitStack() as opened:
        try:
            is_new = _make_file(path)
            if not is_new:
                _require_sound(path, newest=len(migrations))
                path.chmod(_FILE_MODE)
            writer = opened.enter_context(closing(_connect(path, "rw")))
            _require_write_ahead_log(writer, path)
            writer.execute("PRAGMA synchronous = FULL")
            writer.execute("PRAGMA foreign_keys = OFF")
            migrate(writer, path, migrations, checkpoint=checkpoint, is_new=is_new)
            writer.execute("PRAGMA foreign_keys = ON")
            _extend_log(path)
            reading = [opened.enter_context(closing(_connect(path, "ro"))) for _ in range(readers)]
            for reader in reading:
                reader.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise translate(error, path) from error
        except OSError as error:
            raise BackendError(
                f"The store {path} cannot be opened: {error.strerror}.",
                hint=f"Check its directory: ls -la {shlex.quote(str(path.parent))}",
            ) from error
        opened.pop_all()  # from here on they are the caller's to close
    return writer, reading


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # isolation_level=None: the binding begins no transactions of its own.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _require_write_ahead_log(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise BackendError(
            f"The file system of {path} does not support SQLite's write-ahead log.",
            hint="Keep the state on a local disk; a network file system cannot hold it.",
        )


def _extend_log(path: Path) -> None:
    """Give the write-ahead log its blocks now, so that a commit need not.

    A flush of a file that grows waits for the file system's journal too: a commit took half as long again. Zeros behind
    the log's end are no frames: neither their salt nor their checksum is right. Source: https://www.sqlite.org/walformat.html
    """
    with path.with_name(f"{path.name}-wal").open("ab") as log:
        end = log.tell()
        try:
            log.write(bytes(max(0, _LOG_BYTES - end)))
            log.flush()
            os.fsync(log.fileno())
        except OSError:
            log.truncate(end)  # no room for it: slower, and just as right


def _make_file(path: Path) -> bool:
    """Make an empty file for its owner alone; return whether it holds nothing."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE))
    except FileExistsError:
        if path.stat().st_size > 0:
            return False
        _require_never_used(path)
        return True
    sync(path.parent)
    return True


def _require_never_used(path: Path) -> None:
    # An empty file is what a crash leaves at the very first start. With these beside it, it held grants once.
    log = path.with_name(f"{path.name}-wal")
    if list_backups(path) or (log.exists() and log.stat().st_size > 0):
        raise make_corrupt_error(path, "it is empty, although it held data before")


def _require_sound(path: Path, *, newest: int) -> None:
    # Read-only, so that a file that is refused keeps every byte: a writer would play back and remove its log.
    with closing(_connect(path, "ro")) as connection:
        # The header first: another program's file, or a newer version, may be sound in a way we cannot judge.
        version = get_version(connection)
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        has_tables = connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None
        if application != APPLICATION_ID and (application or version or has_tables):
            raise BackendError(
                f"{path} is a database, but not one of DS01; it was left untouched.",
                hint="Point the state directory elsewhere, or move the file away.",
            )
        if version > newest:
            raise BackendError(
                f"The store {path} has version {version}, this DS01 knows up to {newest}. It was left untouched.",
                hint="Install the newer DS01 again, or restore the backup that was made before its upgrade.",
            )
        verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if verdict != "ok":
        raise make_corrupt_error(path, verdict.replace("\n", " "))
