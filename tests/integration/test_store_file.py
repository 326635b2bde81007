"""The file of the store: its mode, what is refused and left untouched, backups before a migration."""

import asyncio
import hashlib
import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ds01.adapters.sqlite.migrations import Migration, read_migrations
from ds01.adapters.sqlite.store import SqliteStore
from ds01.domain.allocation import AllocationState
from ds01.errors import BackendError, ConflictError
from ds01.service.ports import StoreTransaction
from tests.store_values import allocation

PAGE = 4096


def pass_every_checkpoint(step: str) -> None:
    assert step


async def open_store(path: Path) -> SqliteStore:
    return await SqliteStore.open(path, checkpoint=pass_every_checkpoint)


def fill(transaction: StoreTransaction) -> None:
    for number in range(200):
        transaction.save_allocation(allocation(f"a{number}", f"GPU-{number}"))
        transaction.set_fact(f"key {number}", "value " * 40)


async def make_filled_file(path: Path) -> None:
    store = await open_store(path)
    await store.write(fill)
    await store.close()


def read_modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_the_files_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "ds01.db"
    umask = os.umask(0)
    try:
        store = await open_store(path)
        await store.write(fill)
        modes = read_modes(tmp_path)
    finally:
        os.umask(umask)
    await store.close()
    assert modes == {"ds01.db": 0o600, "ds01.db-wal": 0o600, "ds01.db-shm": 0o600}


async def test_a_file_with_a_lax_mode_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "ds01.db"
    await make_filled_file(path)
    path.chmod(0o644)
    await (await open_store(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_names_with_special_characters_are_names(tmp_path: Path) -> None:
    path = tmp_path / "what? 100% #1 größe" / "ds01 &mode=ro.db"
    path.parent.mkdir()
    await make_filled_file(path)
    store = await open_store(path)
    assert await store.read(lambda t: t.get_fact("key 7")) == "value " * 40
    await store.close()


async def test_every_commit_is_flushed_and_references_are_enforced(tmp_path: Path) -> None:
    steps: list[str] = []

    def note(step: str) -> None:
        steps.append(step)

    store = await SqliteStore.open(tmp_path / "ds01.db", checkpoint=note)
    migrating = ["migrate", "migrated"] * len(read_migrations())
    assert steps == migrating
    connection = store._writer._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    await store.write(fill)
    assert steps[len(migrating) :] == ["commit", "committed"]
    await store.close()


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def destroy_header(path: Path) -> None:
    overwrite(path, 0, b"\xff" * 100)


def destroy_middle(path: Path) -> None:
    overwrite(path, path.stat().st_size // PAGE // 2 * PAGE, b"\xa5" * PAGE)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace_by_text(path: Path) -> None:
    path.write_text("groceries: milk\n")


@pytest.mark.parametrize("damage", [destroy_header, destroy_middle, cut, replace_by_text])
async def test_a_damaged_file_is_refused_with_the_way_back_and_keeps_every_byte(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "ds01.db"
    await make_filled_file(path)
    backup = tmp_path / "ds01.db.backup-v0"
    shutil.copy(path, backup)
    damage(path)
    before = digest(path)

    with pytest.raises(BackendError) as caught:
        await open_store(path)

    assert digest(path) == before
    assert str(path) in caught.value.message
    assert caught.value.hint is not None
    assert f"cp --preserve {backup} {path}" in caught.value.hint
    assert caught.value.details["backups"] == [str(backup)]


async def test_the_way_back_works_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "my ds01.db"
    await make_filled_file(path)
    shutil.copy(path, tmp_path / "my ds01.db.backup-v1")
    destroy_header(path)
    with pytest.raises(BackendError) as caught:
        await open_store(path)
    assert caught.value.hint is not None
    commands = caught.value.hint.removeprefix("Stop ds01d, then: ")
    await asyncio.to_thread(subprocess.run, commands, shell=True, check=True)
    assert (tmp_path / "my ds01.db.broken" / "my ds01.db").exists()
    store = await open_store(path)
    assert len(await store.read(lambda t: t.list_allocations())) == 200
    await store.close()


async def test_a_damaged_file_with_a_log_beside_it_keeps_both(tmp_path: Path) -> None:
    path = tmp_path / "ds01.db"
    await make_filled_file(path)
    copy = tmp_path / "copy.db"
    store = await open_store(path)
    await store.write(lambda t: t.set_fact("in the log", "value"))
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    await store.close()
    overwrite(copy, 2 * PAGE, b"\xa5" * (copy.stat().st_size - 2 * PAGE))  # more than the log holds anew
    log = Path(f"{copy}-wal")
    before = (digest(copy), digest(log))
    with pytest.raises(BackendError):
        await open_store(copy)
    assert (digest(copy), digest(log)) == before


async def test_a_log_that_a_killed_process_left_is_played_back(tmp_path: Path) -> None:
    path, copy = tmp_path / "ds01.db", tmp_path / "copy.db"
    store = await open_store(path)
    await store.write(lambda t: t.set_fact("in the log", "value"))
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    await store.close()
    again = await open_store(copy)
    assert await again.read(lambda t: t.get_fact("in the log")) == "value"
    await again.close()


async def test_an_empty_file_is_new_unless_something_shows_that_it_held_data(tmp_path: Path) -> None:
    path = tmp_path / "ds01.db"
    path.touch()
    await make_filled_file(path)
    shutil.copy(path, tmp_path / "ds01.db.backup-v1")
    os.truncate(path, 0)
    with pytest.raises(BackendError, match="it is empty, although it held data"):
        await open_store(path)
    assert path.stat().st_size == 0


async def test_another_programs_database_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "ds01.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE groceries (name TEXT)")
        connection.commit()
    before = digest(path)
    with pytest.raises(BackendError, match="not one of DS01"):
        await open_store(path)
    assert digest(path) == before


async def test_a_newer_database_is_refused_with_the_reason_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "ds01.db"
    await make_filled_file(path)
    newest = len(read_migrations())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {newest + 1}")
    before = digest(path)
    with pytest.raises(BackendError, match=f"has version {newest + 1}, this DS01 knows up to {newest}"):
        await open_store(path)
    assert digest(path) == before


async def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "ds01.db"
    with pytest.raises(BackendError, match=str(path)):
        await open_store(path)


async def test_a_file_without_tables_is_saved_as_version_0_before_it_gets_version_1(tmp_path: Path) -> None:
    path = tmp_path / "ds01.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # writes the header: the file exists, with version 0
    await make_filled_file(path)
    backup = tmp_path / "ds01.db.backup-v0"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)
        assert connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone() == (0,)


async def test_a_new_file_has_no_backup(tmp_path: Path) -> None:
    await make_filled_file(tmp_path / "ds01.db")
    assert list(read_modes(tmp_path)) == ["ds01.db"]


@pytest.mark.parametrize(
    "script",
    ["CREATE TABLE half (a); SELECT nonsense FROM nowhere;", "CREATE TABLE half (a); DELETE FROM allocations;"],
    ids=["a wrong statement", "a broken reference"],
)
async def test_a_migration_that_fails_changes_nothing(tmp_path: Path, script: str) -> None:
    path = tmp_path / "ds01.db"
    await make_filled_file(path)
    steps = (*read_migrations(), Migration(len(read_migrations()) + 1, "wrong", script))
    with pytest.raises(BackendError):
        await SqliteStore.open(path, checkpoint=pass_every_checkpoint, migrations=steps)
    store = await open_store(path)
    assert len(await store.read(lambda t: t.list_allocations())) == 200
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'half'").fetchone() == (0,)


async def test_another_process_that_holds_the_file_is_named_in_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "ds01.db"
    store = await open_store(path)
    store._writer._connection.execute("PRAGMA busy_timeout = 10")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendError) as caught:
            await store.write(lambda t: t.set_fact("key", "value"))
        other.execute("ROLLBACK")
    assert caught.value.hint == f"See which one: fuser -v {path}"
    await store.write(lambda t: t.set_fact("key", "value"))
    await store.close()


async def test_the_database_itself_refuses_a_device_granted_twice(tmp_path: Path) -> None:
    path = tmp_path / "ds01.db"
    await make_filled_file(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in (
            "UPDATE allocations SET gpu_uuids = '[\"GPU-1\", \"GPU-0\"]' WHERE id = 'a1'",
            "UPDATE allocations SET state = 'forgotten' WHERE id = 'a1'",
            "UPDATE allocations SET state = 'released' WHERE id = 'a1'",  # and is_holding still says that it is held
            "INSERT INTO held_gpus VALUES ('GPU-0', 0, 'a1', 1)",
            "INSERT INTO held_gpus VALUES ('GPU-0', 1, 'a1', 1)",
            "INSERT INTO held_gpus VALUES ('GPU-0', 1, 'a1', 2)",  # shared beside somebody who has it alone
        ):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(statement)
        connection.execute("UPDATE allocations SET state = 'released', is_holding = 0 WHERE id = 'a0'")
        connection.execute("UPDATE allocations SET gpu_uuids = '[\"GPU-1\", \"GPU-0\"]' WHERE id = 'a1'")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("UPDATE allocations SET state = 'held', is_holding = 1 WHERE id = 'a0'")


async def test_a_query_sees_one_moment_while_others_write(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "ds01.db")
    await store.write(lambda t: t.set_fact("key", "before"))

    def write_beside(transaction: StoreTransaction) -> tuple[str | None, str | None]:
        first = transaction.get_fact("key")
        with closing(sqlite3.connect(tmp_path / "ds01.db", timeout=5)) as other:
            other.execute("UPDATE facts SET value = 'after'")
            other.commit()
        return first, transaction.get_fact("key")

    assert await store.read(write_beside) == ("before", "before")
    assert await store.read(lambda t: t.get_fact("key")) == "after"
    await store.close()


FIRST_VERSION = """
    INSERT INTO allocations VALUES ('a1', 1001, 'train', 1, 'any', NULL, 1.0, 'active', 5, NULL, 4, '["GPU-0"]', 1);
    INSERT INTO allocations VALUES ('a2', 1002, 'old', 2, 'full', 7, 2.0, 'released', 9, 8, 3, '["GPU-1", "GPU-2"]', 0);
    INSERT INTO containers VALUES (1001, 'train', 'n1', 'id', 'a1', 'image', 4, '{}');
    INSERT INTO events (name, at_us, details) VALUES ('container.started', 6, '{}');
    INSERT INTO facts VALUES ('key', 'value');
"""


async def test_a_database_of_the_first_version_keeps_everything_that_it_held(tmp_path: Path) -> None:
    path = tmp_path / "ds01.db"
    old = await SqliteStore.open(path, checkpoint=pass_every_checkpoint, migrations=read_migrations()[:1])
    await old.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_VERSION)

    store = await open_store(path)
    [grant] = await store.read(lambda t: t.list_allocations())
    assert (grant.id, grant.gpu_uuids, grant.group, grant.shares, grant.slices) == ("a1", ("GPU-0",), "", 1, ())
    assert (grant.time_limit, grant.ends_at, grant.reservation) == (None, None, None)
    released = await store.read(lambda t: t.find_allocation("a2"))
    assert released is not None
    assert released.gpu_uuids == ("GPU-1", "GPU-2")
    assert [row.nonce for row in await store.read(lambda t: t.list_containers())] == ["n1"]
    assert len(await store.read(lambda t: t.list_events())) == 1
    assert await store.read(lambda t: t.list_waiting()) == []
    with pytest.raises(ConflictError, match="GPU-0 is held by the allocation a1"):
        await store.write(lambda t: t.save_allocation(allocation("a3", "GPU-0")))
    await store.write(lambda t: t.save_allocation(allocation("a3", "GPU-1")))
    await store.write(lambda t: t.save_allocation(replace(grant, state=AllocationState.RELEASED)))
    await store.write(lambda t: t.save_allocation(allocation("a4", "GPU-0")))
    await store.close()
    with closing(sqlite3.connect(tmp_path / "ds01.db.backup-v1")) as connection:
        assert connection.execute("SELECT count(*) FROM held_gpus").fetchone() == (1,)


async def test_what_somebody_else_wrote_into_the_file_is_seen_by_the_next_transaction(tmp_path: Path) -> None:
    path = tmp_path / "ds01.db"
    store = await open_store(path)
    await store.write(lambda transaction: transaction.set_fact("key", "ours"))
    assert await store.write(lambda transaction: transaction.get_fact("key")) == "ours"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE facts SET value = 'theirs' WHERE key = 'key'")
        connection.commit()
    assert await store.write(lambda transaction: transaction.get_fact("key")) == "theirs"
    await store.close()
