"""Numbered steps from one version of the database to the next. `PRAGMA user_version` says how far a file has come.

A file that exists is copied first, to `<path>.backup-v<version>`. Each step is one transaction with its number in it: a
crash leaves the version before or the version after, never something between.
"""

import os
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ds01.errors import BackendError
from ds01.service.ports import Checkpoint

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step.

    Attributes:
        version: The version that the file has after it; 1 is the first.
        name: What it does.
        script: Its SQL, without BEGIN and COMMIT.
    """

    version: int
    name: str
    script: str


def read_migrations() -> tuple[Migration, ...]:
    """Return the steps that come with the program, in order."""
    found: list[Migration] = []
    for file in files("ds01.adapters.sqlite").joinpath("schema").iterdir():
        match = _FILE_NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    assert [migration.version for migration in found] == list(range(1, len(found) + 1)), "numbered without a gap"
    return tuple(found)


def get_version(connection: sqlite3.Connection) -> int:
    """Return how far the file has come; 0 for an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration], *, checkpoint: Checkpoint, is_new: bool
) -> None:
    """Bring the file to the last version.

    Args:
        connection: The writing one, outside of a transaction, foreign keys off (a table is rebuilt with them off).
            Source: https://www.sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes"
        path: The file.
        migrations: All steps, in order.
        checkpoint: Passed around every durable write.
        is_new: The file holds nothing yet, there is nothing to save.

    Raises:
        BackendError: A step leaves a reference to nothing; the file is then as before it.
    """
    version = get_version(connection)
    waiting = [migration for migration in migrations if migration.version > version]
    if waiting and not is_new:
        back_up(connection, path, version, checkpoint=checkpoint)
    for migration in waiting:
        try:
            _apply(connection, migration, checkpoint)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _apply(connection: sqlite3.Connection, migration: Migration, checkpoint: Checkpoint) -> None:
    # executescript() commits what is open before it begins, so BEGIN belongs into the script.
    connection.executescript(f"BEGIN IMMEDIATE;\n{migration.script}\n;PRAGMA user_version = {migration.version};")
    broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    if broken is not None:
        raise BackendError(
            f"Migration {migration.version} ({migration.name}) leaves table {broken[0]} with a broken reference."
        )
    checkpoint("migrate")
    connection.execute("COMMIT")
    checkpoint("migrated")


def back_up(connection: sqlite3.Connection, path: Path, version: int, *, checkpoint: Checkpoint) -> Path:
    """Copy the database, consistent and with what is still in its log, and return the copy once it is durable.

    A copy of the same version from an earlier try is replaced as a whole.

    Source: https://www.sqlite.org/backup.html
    """
    target = path.with_name(f"{path.name}.backup-v{version}")
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(partial)) as copy:
        connection.backup(copy)
    sync(partial)
    checkpoint("backup")
    partial.replace(target)
    sync(target.parent)
    checkpoint("backed up")
    return target


def sync(path: Path) -> None:
    """Make a file, or the names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
