"""The store when its process is killed at every durable step, and when the disk has no room."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from ds01.adapters.sqlite.migrations import read_migrations
from ds01.adapters.sqlite.store import SqliteStore
from ds01.errors import BackendError
from ds01.service.ports import StoreTransaction
from tests.integration.store_script import LATER_MIGRATIONS, NEWEST, TRANSACTIONS, grow
from tests.store_values import ALICE

MOST_STEPS = 100


def pass_every_checkpoint(step: str) -> None:
    assert step


def start_script(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.store_script", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def run_script(*arguments: object) -> tuple[int, list[str]]:
    with start_script(*arguments) as process:
        output, _ = process.communicate(timeout=60)
    return process.returncode, output.splitlines()


def count_parts(transaction: StoreTransaction, number: int) -> int:
    parts = (
        transaction.find_allocation(f"a{number}"),
        transaction.find_container(ALICE, f"c{number}"),
        next((event for event in transaction.list_events() if event.details["allocation"] == f"a{number}"), None),
        transaction.get_fact(f"f{number}"),
    )
    return sum(part is not None for part in parts)


async def read_numbers(path: Path) -> set[int]:
    """Return the transactions that are there, and require each to be there whole or not at all."""
    store = await SqliteStore.open(path, checkpoint=pass_every_checkpoint)
    found: set[int] = set()
    for number in range(TRANSACTIONS):
        parts = await store.read(partial(count_parts, number=number))
        assert parts in {0, 4}, f"transaction {number} is there with {parts} parts of 4"
        if parts:
            found.add(number)
    await store.close()
    return found


@pytest.mark.parametrize("clients", [1, 3])
async def test_killed_at_any_step_nothing_answered_is_lost_and_nothing_is_halved(tmp_path: Path, clients: int) -> None:
    lost_but_durable = 0
    for crash_at in range(1, MOST_STEPS):
        path = tmp_path / f"{crash_at}.db"
        status, answered = run_script("write", path, crash_at, clients)
        stored = await read_numbers(path)
        assert set(map(int, answered)) <= stored
        lost_but_durable += len(stored) > len(answered)
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert stored == set(range(TRANSACTIONS))
    assert crash_at > 2 * TRANSACTIONS // clients, "the script was killed at every step of every commit"
    assert lost_but_durable > 0, "some died between the commit and the answer"


async def test_killed_from_outside_nothing_answered_is_lost(tmp_path: Path) -> None:
    for wanted in range(1, TRANSACTIONS):
        path = tmp_path / f"{wanted}.db"
        with start_script("write", path, 0, 1) as process:
            assert process.stdout is not None
            answered = [int(process.stdout.readline()) for _ in range(wanted)]
            process.kill()
            rest, _ = process.communicate(timeout=60)
        assert {*answered, *map(int, rest.split())} <= await read_numbers(path)


def query_one(path: Path, statement: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute(statement).fetchone()
        return row and row[0]


async def test_a_migration_killed_at_any_step_leaves_the_old_or_the_new_version(tmp_path: Path) -> None:
    versions_seen: set[object] = set()
    steps = (*read_migrations(), *LATER_MIGRATIONS)
    for crash_at in range(1, MOST_STEPS):
        path = tmp_path / f"{crash_at}.db"
        store = await SqliteStore.open(path, checkpoint=pass_every_checkpoint)
        await store.write(lambda t: t.set_fact("key", "value"))
        await store.close()
        status, _ = run_script("migrate", path, crash_at)

        version = query_one(path, "PRAGMA user_version")
        versions_seen.add(version)
        assert query_one(path, "SELECT value FROM facts") == "value"
        assert query_one(path, "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'notes'") == int(
            version in {NEWEST + 1, NEWEST + 2}
        )
        backup = path.with_name(f"{path.name}.backup-v{NEWEST}")
        if backup.exists():
            assert query_one(backup, "PRAGMA user_version") == NEWEST
            assert query_one(backup, "SELECT value FROM facts") == "value"
            assert query_one(backup, "PRAGMA integrity_check") == "ok"
        assert backup.exists() or version == NEWEST, "nothing is changed before the backup is there"

        again = await SqliteStore.open(path, checkpoint=pass_every_checkpoint, migrations=steps)
        assert await again.read(lambda t: t.get_fact("key")) == "value"
        await again.close()
        assert query_one(path, "PRAGMA user_version") == NEWEST + 2
        if status == 0:
            break
    assert versions_seen == {NEWEST, NEWEST + 1, NEWEST + 2}


async def test_a_file_that_may_not_grow_is_an_error_with_a_hint_and_the_store_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ds01.db"
    status, [refusal, kept] = await asyncio.to_thread(run_script, "limited", path)
    assert status == 0
    number = int(refusal.split()[1].rstrip(":"))
    assert number > 0
    assert str(path) in refusal
    assert f"df -h {tmp_path}" in refusal
    assert kept.split() == [*map(str, range(number)), "after"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "small"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "ds01-test", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("a small disk can be mounted by root only, and CI must test it")
        pytest.skip("a small disk can be mounted by root only")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_a_full_disk_refuses_whole_transactions_and_works_again_with_room(small_disk: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 1024**2)
    store = await SqliteStore.open(small_disk / "ds01.db", checkpoint=pass_every_checkpoint)
    answered: list[str] = []
    refusals: list[BackendError] = []
    for number in range(100):
        try:
            await store.write(partial(grow, key=str(number)))
            answered.append(str(number))
        except BackendError as error:
            refusals.append(error)
    assert answered
    assert refusals
    assert "disk is full" in refusals[0].message
    assert refusals[0].hint is not None
    assert f"df -h {small_disk}" in refusals[0].hint

    filler.unlink()
    await store.write(partial(grow, key="after"))
    stored = await store.read(lambda t: [key for key in map(str, range(100)) if t.get_fact(key)])
    assert stored == answered
    await store.close()
