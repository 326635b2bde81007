"""The policy in force is the last good one."""

import os
from pathlib import Path

import pytest

from ds01.config import POLICY_NAME, PolicyFiles, TextFile
from ds01.daemon.policy_file import PolicyFile
from ds01.domain.rules.policy import Policy, limits_of, personal_policy
from ds01.domain.user import User
from ds01.errors import BackendError, InvalidRequestError

ALICE = User(1001, 1001, "alice")


def write(folder: Path, text: str) -> None:
    """Replace the file as an editor does: a new file under the old name."""
    fresh = folder / "new"
    fresh.write_text(text, encoding="utf-8")
    fresh.rename(folder / POLICY_NAME)


def highest(found: PolicyFile) -> int | None:
    return limits_of(found.current, ALICE).values.max_gpus


def test_without_a_file_or_a_folder_the_built_in_policy_is_in_force(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        found = PolicyFile(folder, personal_policy())
        assert found.current == personal_policy()
        assert not found.reload_if_changed()


def test_a_file_starts_from_the_built_in_policys_base(tmp_path: Path) -> None:
    write(tmp_path, "version: 2\ndefaults: {max_containers: 9}\n")
    values = limits_of(PolicyFile(tmp_path, personal_policy()).current, ALICE).values
    assert (values.max_containers, values.max_gpus) == (9, None)


def test_an_edit_takes_effect_once(tmp_path: Path) -> None:
    write(tmp_path, "version: 2\ndefaults: {max_gpus: 1}\n")
    found = PolicyFile(tmp_path, Policy())
    write(tmp_path, "version: 2\ndefaults: {max_gpus: 5}\n")
    assert found.reload_if_changed()
    assert highest(found) == 5
    assert not found.reload_if_changed()


def test_a_broken_edit_never_takes_effect_and_is_said_until_it_is_mended(tmp_path: Path) -> None:
    write(tmp_path, "version: 2\ndefaults: {max_gpus: 1}\n")
    found = PolicyFile(tmp_path, Policy())
    write(tmp_path, "version: 2\ndefaults: {max_gpu: 5}\n")
    assert not found.reload_if_changed()
    assert highest(found) == 1
    assert found.problem is not None
    assert f"{POLICY_NAME}:2" in found.problem
    assert "max_gpus" in found.problem
    assert not found.reload_if_changed()
    assert found.problem is not None
    write(tmp_path, "version: 2\ndefaults: {max_gpus: 2}\n")
    assert found.reload_if_changed()
    assert highest(found) == 2
    problem: str | None = found.problem
    assert problem is None


def test_a_file_that_is_gone_changes_nobodys_limits_and_is_said(tmp_path: Path) -> None:
    write(tmp_path, "version: 2\ndefaults: {max_gpus: 9}\n")
    found = PolicyFile(tmp_path, Policy())
    (tmp_path / POLICY_NAME).unlink()
    assert not found.reload_if_changed()
    assert highest(found) == 9
    assert found.problem is not None
    assert "is gone" in found.problem
    write(tmp_path, "version: 2\ndefaults: {max_gpus: 9}\n")
    assert found.reload_if_changed()
    assert found.problem is None


def test_a_file_that_has_just_been_emptied_to_be_written_changes_nobodys_limits(tmp_path: Path) -> None:
    write(tmp_path, "version: 2\ndefaults: {max_gpus: 9}\n")
    found = PolicyFile(tmp_path, Policy())
    with (tmp_path / POLICY_NAME).open("w", encoding="utf-8") as file:  # a shell's `cat >`, before anything is typed
        assert not found.reload_if_changed()
        assert highest(found) == 9
        assert "is empty" in str(found.problem)
        file.write("version: 2\ndefaults: {max_gpus: 8}\n")
    assert found.reload_if_changed()
    assert (highest(found), found.problem) == (8, None)


def test_an_empty_file_where_none_was_is_the_built_in_policy(tmp_path: Path) -> None:
    found = PolicyFile(tmp_path, Policy())
    write(tmp_path, "")
    assert found.reload_if_changed()
    assert (highest(found), found.problem) == (Policy().base.max_gpus, None)


def test_a_broken_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "version: 2\nnonsense: 1\n")
    with pytest.raises(InvalidRequestError, match="nonsense"):
        PolicyFile(tmp_path, Policy())


def test_a_file_that_cannot_be_looked_at_is_not_taken_for_none(tmp_path: Path) -> None:
    loop = tmp_path / POLICY_NAME
    os.symlink(loop, loop)
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        PolicyFile(tmp_path, Policy())


def test_a_members_file_and_a_request_make_it_read_again(tmp_path: Path) -> None:
    write(tmp_path, "version: 2\ngroups: {student: {}, lab: {max_gpus: 9}}\n")
    found = PolicyFile(tmp_path, Policy())
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups" / "lab.members").write_text("alice\n", encoding="utf-8")
    assert found.reload_if_changed()
    assert highest(found) == 9
    found.request_reload()
    assert found.reload_if_changed()
    assert not found.reload_if_changed()
    (tmp_path / "groups" / "lab.members").write_text("a:b\n", encoding="utf-8")
    assert not found.reload_if_changed()
    assert (highest(found), "groups/lab.members:1" in str(found.problem)) == (9, True)


def test_accounts_are_looked_up_again_after_a_while_and_a_silent_database_changes_nothing(tmp_path: Path) -> None:
    numbers: dict[str, int | None] = {"al": None}
    now = [0.0]
    is_silent = [False]

    def find_uid(name: str) -> int | None:
        if is_silent[0]:
            raise BackendError("The account database did not answer.")
        return numbers.get(name)

    write(tmp_path, "version: 2\ngroups: {student: {}, lab: {members: [al], max_gpus: 9}}\n")
    found = PolicyFile(tmp_path, Policy(), find_uid=find_uid, monotonic=lambda: now[0])
    assert (highest(found), len(found.current.warnings)) == (2, 1)
    numbers["al"] = ALICE.uid
    assert not found.reload_if_changed()
    assert highest(found) == 2
    now[0] = 301.0
    assert not found.reload_if_changed()
    assert (highest(found), found.current.warnings) == (9, ())
    now[0], is_silent[0] = 700.0, True
    assert not found.reload_if_changed()
    assert highest(found) == 9


def test_a_check_takes_no_effect(tmp_path: Path) -> None:
    write(tmp_path, "version: 2\ndefaults: {max_gpus: 1}\n")
    found = PolicyFile(tmp_path, Policy())
    other = PolicyFiles(TextFile("new.yaml", b"version: 2\ndefaults: {max_gpus: 7}\n"))
    assert limits_of(found.check(other), ALICE).origins["max_gpus"] == "new.yaml:2"
    assert highest(found) == 1
    with pytest.raises(InvalidRequestError, match=r"new.yaml:1"):
        found.check(PolicyFiles(TextFile("new.yaml", b"version: 3\n")))
    assert limits_of(found.check(None), ALICE).values.max_gpus == 1
