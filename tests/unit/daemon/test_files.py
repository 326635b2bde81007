"""Small files of the daemon: policy, key, time zone; and the checkpoint by which tests kill it."""

import os
import stat
import subprocess
import sys
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from ds01.config import POLICY_NAME
from ds01.daemon.checkpoint import CRASH_STATUS, CRASH_VARIABLE, CountingCheckpoint, checkpoint_from
from ds01.daemon.clock import SystemClock
from ds01.daemon.key import KEY_BYTES, KEY_NAME, read_or_make_key
from ds01.daemon.policy_file import PolicyFile
from ds01.daemon.timezone import read_timezone
from ds01.domain.rules.policy import BUILT_IN_LIMITS, Policy
from ds01.errors import BackendError, InvalidRequestError

GOOD = "version: 2\ndefaults: {max_gpus: 3}\n"


def max_gpus(policy: PolicyFile) -> object:
    return policy.current.defaults.values.get("max_gpus", policy.current.base.max_gpus)


def test_without_a_file_the_built_in_policy_is_in_force(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        policy = PolicyFile(folder, Policy())
        assert max_gpus(policy) == BUILT_IN_LIMITS.max_gpus
        assert not policy.reload_if_changed()


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    policy = PolicyFile(tmp_path, Policy())
    (tmp_path / POLICY_NAME).write_text(GOOD)
    assert policy.reload_if_changed()
    assert max_gpus(policy) == 3
    assert not policy.reload_if_changed()


def test_a_broken_edit_never_takes_effect_and_is_said_until_it_is_mended(tmp_path: Path) -> None:
    file = tmp_path / POLICY_NAME
    file.write_text(GOOD)
    policy = PolicyFile(tmp_path, Policy())
    file.write_text("version: 2\ndefaults: {max_gpus: many}\n")
    assert not policy.reload_if_changed()
    assert max_gpus(policy) == 3
    assert policy.problem is not None
    assert f"{POLICY_NAME}:2" in policy.problem
    assert not policy.reload_if_changed()
    assert policy.problem is not None
    file.write_text(GOOD + "# mended\n")
    assert policy.reload_if_changed()
    assert policy.problem is None


def test_a_file_that_is_gone_changes_nobodys_limits(tmp_path: Path) -> None:
    file = tmp_path / POLICY_NAME
    file.write_text(GOOD)
    policy = PolicyFile(tmp_path, Policy())
    file.rename(tmp_path / "moved")
    assert not policy.reload_if_changed()
    assert not policy.reload_if_changed()
    assert max_gpus(policy) == 3
    assert "gone" in (policy.problem or "")
    (tmp_path / "moved").rename(file)
    assert policy.reload_if_changed()
    assert policy.problem is None


def test_a_daemon_does_not_start_with_a_broken_policy(tmp_path: Path) -> None:
    (tmp_path / POLICY_NAME).write_text("version: 2\nlimits: {}\n")
    with pytest.raises(InvalidRequestError):
        PolicyFile(tmp_path, Policy())


def test_a_policy_that_cannot_be_looked_at_is_not_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / POLICY_NAME).symlink_to(tmp_path / POLICY_NAME)
    with pytest.raises(InvalidRequestError):
        PolicyFile(tmp_path, Policy())


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    key = read_or_make_key(tmp_path)
    assert len(key) == KEY_BYTES
    assert read_or_make_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / KEY_NAME).stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [KEY_NAME]


def test_two_folders_have_two_keys(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert read_or_make_key(tmp_path) != read_or_make_key(tmp_path / "other")


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_damaged_key_is_refused_and_never_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_NAME).write_bytes(content)
    with pytest.raises(BackendError) as caught:
        read_or_make_key(tmp_path)
    assert "backup" in (caught.value.hint or "")
    assert (tmp_path / KEY_NAME).read_bytes() == content


def test_a_key_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError):
        read_or_make_key(tmp_path / "missing")
    (tmp_path / KEY_NAME).mkdir()
    with pytest.raises(BackendError):
        read_or_make_key(tmp_path)


@pytest.mark.parametrize(
    ("target", "name", "zone"),
    [
        ("/usr/share/zoneinfo/Europe/Berlin", None, "Europe/Berlin"),
        ("../usr/share/zoneinfo/America/Argentina/Salta", "Etc/UTC", "America/Argentina/Salta"),
        (None, "Europe/Berlin\n", "Europe/Berlin"),
        ("/somewhere/else", "Etc/GMT+3\n", "Etc/GMT+3"),
        ("/usr/share/zoneinfo/../../../etc/shadow", None, ""),
        (None, "a b", ""),
        (None, "A\nB", ""),
        (None, "ö", ""),
        (None, None, ""),
    ],
)
def test_the_time_zone_is_what_the_machine_says(
    tmp_path: Path, target: str | None, name: str | None, zone: str
) -> None:
    if target is not None:
        (tmp_path / "localtime").symlink_to(target)
    if name is not None:
        (tmp_path / "timezone").write_text(name)
    assert read_timezone(name=tmp_path / "timezone", link=tmp_path / "localtime") == zone


def test_steps_are_counted() -> None:
    checkpoint = CountingCheckpoint()
    for _ in range(3):
        checkpoint("a step")
    assert checkpoint.count == 3


@pytest.mark.parametrize("text", ["", "no", "-1", "1.5"])
def test_only_a_number_makes_the_checkpoint_deadly(text: str) -> None:
    checkpoint = checkpoint_from({CRASH_VARIABLE: text})
    for _ in range(5):
        checkpoint("a step")
    assert checkpoint.count == 5


def test_at_its_step_the_process_dies_without_a_last_word() -> None:
    script = (
        "import atexit, sys\n"
        "from ds01.daemon.checkpoint import checkpoint_from\n"
        "atexit.register(lambda: print('handler'))\n"
        "checkpoint = checkpoint_from({'DS01_CRASH_AT': '2'})\n"
        "print('first', flush=True); checkpoint('one')\n"
        "print('lost', end=''); checkpoint('two'); print('never')\n"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == CRASH_STATUS
    assert done.stdout == "first\n"
    assert "checkpoint 2: two" in done.stderr


async def test_the_clock_is_aware_and_in_utc() -> None:
    now = SystemClock().now()
    assert now.tzinfo is UTC
    await SystemClock().sleep(timedelta(0))
