"""The sections about the site, the files beside the policy, and who may change them."""

import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from ds01.config import POLICY_NAME, PolicyFiles, TextFile, parse_policy, read_policy
from ds01.domain.rules.policy import BUILT_IN_LIMITS, Policy, aggregate_of, limits_of
from ds01.domain.rules.site import Site, Weights
from ds01.domain.user import User
from ds01.errors import InvalidRequestError

ALICE = User(1001, 1001, "alice")


def read(text: str, **members: str) -> Policy:
    files = {group: TextFile(f"groups/{group}.members", content.encode()) for group, content in members.items()}
    return parse_policy(PolicyFiles(TextFile(POLICY_NAME, text.encode()), files), base=BUILT_IN_LIMITS)


def test_a_section_that_holds_only_comments_is_empty() -> None:
    names = ["access", "scheduling", "notices", "report", "cache", "catalogue", "sharing", "late_binding", "lifecycle"]
    assert read("version: 2\n" + "".join(f"{name}:\n  # nothing\n" for name in names)).site == Site()


@pytest.mark.parametrize("text", ["0600", "'0600'", "600"])
def test_the_mode_of_spec_files_is_read_as_people_write_it(text: str) -> None:
    late = read(f"version: 2\nlate_binding: {{enabled: true, file_mode: {text}}}\n").site.late_binding
    assert late.enabled
    assert int(late.file_mode, 8) == 0o600
    assert not Site().late_binding.enabled, "off unless the site says otherwise"


def test_what_a_section_leaves_out_keeps_its_default_and_every_value_its_line() -> None:
    site = read("version: 2\nscheduling:\n  weights: {priority: 7}\nlifecycle:\n  idle:\n    cpu: 3%\n").site
    assert site.scheduling.weights == Weights(priority=7.0)
    assert (site.lifecycle.idle.cpu, site.lifecycle.idle.window) == (0.03, 3)
    assert dict(site.origins) == {
        "scheduling.weights.priority": f"{POLICY_NAME}:3",
        "lifecycle.idle.cpu": f"{POLICY_NAME}:6",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("access: {port: 1-2}", "'port' is unknown"),
        ("access: {ports: 20000}", "ports: 20000 is not a range"),
        ("access: {ports: 30000-20000}", "not a range"),
        ("access: {ports: 80-90}", "not a range"),
        ("access: {registries: ghcr.io}", "not a list"),
        ("access: {registries: ['http://x']}", "not a registry"),
        ("access: {show_holders: all}", "not one of"),
        ("scheduling: {no_show: 30}", "Write 30h or 30m"),
        ("scheduling: {age_guard: 0}", "leaves no time"),
        ("scheduling: {weights: {age: 1}}", "'age' is unknown"),
        ("notices: {terminal: yes}", "neither true nor false"),
        ("notices: {sendmail: sendmail}", "whole path"),
        ("report: {co2_g_per_kwh: -1}", "not a number"),
        ("sharing: {max_containers_per_gpu: 0}", "not a count"),
        ("sharing: {max_containers_per_gpu: null}", "cannot be null"),
        ("late_binding: {enabled: yes}", "neither true nor false"),
        ("late_binding: {directory: cdi}", "not a folder for device specs"),
        ("late_binding: {directory: /home/alice/cdi}", "below /etc, /run or /var/run"),
        ("late_binding: {directory: /run/../home/cdi}", "not a folder for device specs"),
        ("late_binding: {directory: /run}", "not a folder for device specs"),
        ("late_binding: {directory: null}", "cannot be null"),
        ("late_binding: {file_mode: 0666}", "not a mode"),
        ("late_binding: {file_mode: '0444'}", "not a mode"),
        ("late_binding: {mode: 0600}", "'mode' is unknown"),
        ("lifecycle: {mode: enforced}", "Did you mean 'enforce'?"),
        ("lifecycle: {idle: {cpu: 2}}", "Write 2%"),
        ("lifecycle: {idle: {cpu: 200%}}", "not a percentage"),
        ("lifecycle: {steps: [warn at 95%, stop at 80%]}", "do not follow"),
        ("lifecycle: {steps: [stop at 80%, warn at 95%]}", "after the stop"),
        ("lifecycle: {steps: [kill at 80%]}", "not a step"),
        ("lifecycle: {quiet_hours: 22-7}", "not a time of day"),
        ("lifecycle: {high_demand: {idle_factor: 0}}", "not a factor"),
        ("lifecycle: {container_types: {vm: {}}}", "'vm' is unknown"),
        ("lifecycle: {container_types: {docker: {memory: 5}}}", "Write 5G or 5M"),
        ("defaults: {aggregate: {pids: 10}}", "4096 or more"),
        ("groups: {student: {group_quota: {gpu: 1}}}", "Did you mean 'gpus'?"),
        ("user_overrides: {bob: {reservation: {gpus: 1}}}", "start, end is missing"),
        (
            "user_overrides: {bob: {reservation: {gpus: 1, start: 2026-12-01T00:00:00, end: 2026-12-02T00:00:00Z}}}",
            "no time zone",
        ),
        (
            "user_overrides: {bob: {reservation: {gpus: 1, start: 2026-12-02T00:00:00Z, end: 2026-12-01T00:00:00Z}}}",
            "ends before it begins",
        ),
    ],
)
def test_every_wrong_value_of_a_section_is_refused_with_its_line_and_the_fix(text: str, said: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read(f"version: 2\n\n{text}\n")
    assert refused.value.message.startswith(f"{POLICY_NAME}:3: ")
    assert said in f"{refused.value.message} {refused.value.hint}"


PIDS = st.none() | st.integers(4096, 9999)
LAYER = st.dictionaries(st.sampled_from(["max_cpus", "pids"]), PIDS)


@given(LAYER, LAYER, LAYER)
def test_aggregates_are_merged_key_by_key_and_the_last_that_says_something_wins(
    defaults: dict[str, int | None], group: dict[str, int | None], user: dict[str, int | None]
) -> None:
    def text(layer: dict[str, int | None]) -> str:
        return ", ".join(f"{key}: {'null' if value is None else value}" for key, value in layer.items())

    policy = read(
        f"version: 2\ndefaults: {{aggregate: {{{text(defaults)}}}}}\ngroups:\n"
        f"  student: {{aggregate: {{{text(group)}}}}}\nuser_overrides:\n  alice: {{aggregate: {{{text(user)}}}}}\n"
    )
    found = aggregate_of(policy, ALICE)
    assert dict(found.values) == {**defaults, **group, **user}
    lines = {**dict.fromkeys(defaults, 2), **dict.fromkeys(group, 4), **dict.fromkeys(user, 6)}
    assert dict(found.origins) == {key: f"{POLICY_NAME}:{line}" for key, line in lines.items()}


def test_members_files_are_read_with_their_lines_and_comments() -> None:
    names = "\ufeff# people\n\nalice  # PhD\nSCHOOL\\bob\n204214\nuid:7\n@domain users\n"
    (group,) = read("version: 2\ngroups: {student: {members: [carol]}}\n", student=names).groups
    assert group.file_members == ("alice", "SCHOOL\\bob", "204214", "uid:7", "@domain users")
    assert group.member_origins["alice"] == "groups/student.members:3"
    assert group.member_origins["carol"] == f"{POLICY_NAME}:2"


def test_a_members_file_of_no_group_is_a_warning_and_a_broken_line_an_error() -> None:
    (warning,) = read("version: 2\ngroups: {student: {}}\n", studnt="alice\n").warnings
    assert (warning.where, "Did you mean 'student'?" in warning.hint) == ("groups/studnt.members:1", True)
    with pytest.raises(InvalidRequestError, match=r"groups/student.members:2: 'a:b' is nobody's name"):
        read("version: 2\ngroups: {student: {}}\n", student="alice\na:b\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize(
    ("mode", "uid", "gid", "is_good"),
    [
        (0o644, 0, 0, True),
        (0o664, 0, 0, True),
        (0o644, 7, 7, True),
        (0o664, 0, 50, False),
        (0o646, 0, 0, False),
        (0o666, 0, 0, False),
        (0o644, 1001, 0, False),
    ],
)
@pytest.mark.parametrize("name", [POLICY_NAME, "groups/student.members"])
def test_in_server_mode_only_root_and_the_daemon_may_be_able_to_write(
    name: str, mode: int, uid: int, gid: int, is_good: bool, tmp_path: Path
) -> None:
    (tmp_path / "groups").mkdir()
    (tmp_path / POLICY_NAME).write_text("version: 2\ngroups: {student: {max_gpus: 9}}\n", encoding="utf-8")
    (tmp_path / "groups" / "student.members").write_text("alice\n", encoding="utf-8")
    for path in (POLICY_NAME, "groups/student.members"):
        (tmp_path / path).chmod(0o644)
    os.chown(tmp_path / name, uid, gid)
    (tmp_path / name).chmod(mode)
    if is_good:
        policy = read_policy(tmp_path / POLICY_NAME, base=BUILT_IN_LIMITS, owner_uid=7)
        assert limits_of(policy, ALICE).values.max_gpus == 9
        return
    with pytest.raises(InvalidRequestError) as refused:
        read_policy(tmp_path / POLICY_NAME, base=BUILT_IN_LIMITS, owner_uid=7)
    assert refused.value.message.startswith(name)
    assert refused.value.hint is not None
    assert refused.value.hint.startswith("Run: ch")
    read_policy(tmp_path / POLICY_NAME, base=BUILT_IN_LIMITS)
