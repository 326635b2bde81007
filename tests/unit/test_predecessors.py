"""The predecessors' files: each (user, key, value, origin) as their users knew it, with our names."""

from datetime import timedelta
from pathlib import Path

import pytest

from ds01.config import POLICY_NAME, PolicyFiles, TextFile, parse_policy
from ds01.domain.rules.policy import BUILT_IN_LIMITS, Policy, aggregate_of, idle_rule_of, limits_of
from ds01.domain.rules.site import Step
from ds01.domain.user import User
from ds01.errors import InvalidRequestError

GIB = 1024**3
SEEDS = """\
defaults:
  max_mig_instances: 2
  max_cpus: 16
  memory: 32g
  shm_size: 16g
  max_containers_per_user: 3
  idle_timeout: 48h
  priority: 1

groups:
  student:
    members: []
    max_mig_instances: 2
    priority: 10

  researcher:
    members: [alice]
    max_mig_instances: 8
    max_cpus: 32
    memory: 64g
    priority: 50

  admin:
    members: [datasciencelab]
    max_mig_instances: null  # unlimited
    priority: 90

user_overrides:
  # Temporary high-priority allocations
  bob:
    max_mig_instances: 1
    priority: 100
"""
PUBLIC = """\
defaults:
  max_gpu_equivalents: 1.0
  max_gpu_slots_per_container: 1
  allow_full_gpu: true
  max_cpus: 32
  memory: 32g
  memory_swap: 32g
  pids_limit: 4096
  max_containers_per_user: 3
  max_tasks: 32768
  idle_timeout_h: 0.5
  max_runtime_h: 24
  gpu_hold_after_stop_h: 0.25
  container_hold_after_stop_h: null
default_group: student
enforcement: {aggregate_limits: true, cgroup_driver: systemd}
groups:
  student:
    max_gpu_equivalents: 2.0
    aggregate: {cpu_quota: "9600%", memory_max: "96G", memory_high: "86G", tasks_max: 12288, gpu_limit: 2.0}
    policies: {gpu_idle_threshold: 5, cpu_idle_threshold: 2.5, network_idle_threshold: 1048576}
  researcher:
    members: [alice]
    max_gpu_equivalents: 4.0
    memory: 64g
    max_runtime_h: 48
  admin: {members: [datasciencelab], max_gpu_equivalents: null, max_tasks: null}
user_overrides:
  bob: {reserved_gpus: 1, reservation_start: 2026-12-01T00:00:00Z, reservation_end: 2026-12-02T00:00:00Z, reason: due}
gpu_allocation:
  # only comments
policies: {high_demand_threshold: 0.8, sigterm_grace_s: 90, grace_period_m: 45, keepalive_max_duration_h: 12}
container_types:
  devcontainer: {idle_timeout_h: null, max_runtime_h: 168, sigterm_grace_s: 20, default_mig_count: {student: 1}}
monitoring: {infrastructure_label: ds01.protected}
access_control: {admin_users: [datasciencelab]}
"""


def read(text: str) -> Policy:
    return parse_policy(PolicyFiles(TextFile(POLICY_NAME, text.encode())), base=BUILT_IN_LIMITS)


def account(name: str) -> User:
    return User(4000 + len(name), 100, name)


@pytest.mark.parametrize(
    ("text", "user", "key", "value", "line"),
    [
        (SEEDS, "carol", "max_gpus", 2, 13),
        (SEEDS, "carol", "max_cpus", 16.0, 3),
        (SEEDS, "carol", "memory", 32 * GIB, 4),
        (SEEDS, "carol", "shm_size", 16 * GIB, 5),
        (SEEDS, "carol", "max_containers", 3, 6),
        (SEEDS, "carol", "idle_timeout", timedelta(hours=48), 7),
        (SEEDS, "carol", "priority", 10, 14),
        (SEEDS, "carol", "pids_limit", 4096, None),
        (SEEDS, "carol", "max_gpu_equivalents", None, None),
        (SEEDS, "alice", "max_gpus", 8, 18),
        (SEEDS, "alice", "max_cpus", 32.0, 19),
        (SEEDS, "alice", "memory", 64 * GIB, 20),
        (SEEDS, "alice", "priority", 50, 21),
        (SEEDS, "alice", "shm_size", 16 * GIB, 5),
        (SEEDS, "datasciencelab", "max_gpus", None, 25),
        (SEEDS, "datasciencelab", "max_gpu_equivalents", None, None),
        (SEEDS, "datasciencelab", "priority", 90, 26),
        (SEEDS, "bob", "max_gpus", 1, 31),
        (SEEDS, "bob", "priority", 100, 32),
        (SEEDS, "bob", "max_containers", 3, 6),
        (PUBLIC, "carol", "max_gpu_equivalents", 2.0, 19),
        (PUBLIC, "carol", "max_gpus", None, None),
        (PUBLIC, "carol", "max_gpus_per_container", 1, 3),
        (PUBLIC, "carol", "idle_timeout", timedelta(minutes=30), 11),
        (PUBLIC, "carol", "time_limit", timedelta(hours=24), 12),
        (PUBLIC, "carol", "gpu_hold_after_stop", timedelta(minutes=15), 13),
        (PUBLIC, "carol", "container_hold_after_stop", None, 14),
        (PUBLIC, "alice", "max_gpu_equivalents", 4.0, 24),
        (PUBLIC, "alice", "memory", 64 * GIB, 25),
        (PUBLIC, "alice", "time_limit", timedelta(hours=48), 26),
        (PUBLIC, "alice", "idle_timeout", timedelta(minutes=30), 11),
        (PUBLIC, "datasciencelab", "max_gpu_equivalents", None, 27),
    ],
)
def test_every_value_is_what_the_predecessors_meant(
    text: str, user: str, key: str, value: object, line: int | None
) -> None:
    found = limits_of(read(text), account(user))
    assert getattr(found.values, key) == value
    assert found.origins[key] == (f"{POLICY_NAME}:{line}" if line else "built-in")


def test_the_public_forms_other_sections_are_kept_under_their_names_of_today() -> None:
    policy = read(PUBLIC)
    lifecycle = policy.site.lifecycle
    aggregate = aggregate_of(policy, account("carol"))
    assert dict(aggregate.values) == {"max_cpus": 96.0, "memory": 96 * GIB, "pids": 12288}
    assert aggregate.origins["pids"] == f"{POLICY_NAME}:20"
    assert idle_rule_of(policy, account("carol")).cpu == 0.025
    assert (lifecycle.high_demand.threshold, lifecycle.keep_max) == (0.8, timedelta(hours=12))
    assert (lifecycle.stop_grace.default, lifecycle.stop_grace.devcontainer) == (
        timedelta(seconds=90),
        timedelta(seconds=20),
    )
    assert lifecycle.steps[0] == Step("warn", 0.8)
    devcontainer = policy.container_types["devcontainer"]
    assert dict(devcontainer.values) == {"idle_timeout": None, "time_limit": timedelta(hours=168)}
    reservation = policy.overrides["bob"].reservation
    assert reservation is not None
    assert (reservation.gpus, reservation.reason) == (1, "due")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (SEEDS, 2, "max_mig_instances is the old name of max_gpus"),
        (SEEDS, 4, "memory: 32g is the old form"),
        (SEEDS, 6, "max_containers_per_user is the old name of max_containers"),
        (SEEDS, 31, "max_mig_instances"),
        (PUBLIC, 3, "max_gpu_slots_per_container is the old name of max_gpus_per_container"),
        (PUBLIC, 10, "max_tasks is not used any more"),
        (PUBLIC, 11, "idle_timeout_h is the old name of idle_timeout"),
        (PUBLIC, 16, "enforcement is not used any more"),
        (PUBLIC, 20, "cpu_quota is the old name of aggregate.max_cpus"),
        (PUBLIC, 20, "memory_high is not used any more"),
        (PUBLIC, 29, "reserved_gpus is the old name of reservation.gpus"),
        (PUBLIC, 32, "policies is the old name of lifecycle"),
        (PUBLIC, 34, "default_mig_count is not used any more"),
        (PUBLIC, 36, "access_control is not used any more"),
    ],
)
def test_every_key_that_has_changed_is_a_warning_with_its_line(text: str, line: int, words: str) -> None:
    found = [(warning.where, warning.message) for warning in read(text).warnings]
    assert any(where == f"{POLICY_NAME}:{line}" and words in message for where, message in found), found
    assert all(warning.hint for warning in read(text).warnings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defaults: {max_gpu: 1}\n", "1: the key 'max_gpu' is unknown"),
        ("defaults:\n  max_gpus: 1\n  max_mig_instances: 2\n", "3: max_gpus is there twice"),
        ("defaults:\n  max_gpu_slots: 1\n  max_mig_instances: 2\n", "3: max_gpus is there twice"),
        ("defaults:\n  memory: 32\n", "2: memory: The size '32' has no unit"),
        ("defaults:\n  idle_timeout_h: soon\n", "2: idle_timeout: 'soon' is not a duration"),
        ("defaults:\n  idle_timeout: 48\n", "2: idle_timeout: The duration '48' has no unit"),
        ("policies: {speed: 5}\n", "1: the key 'speed' is unknown"),
        ("policies: {gpu_idle_threshold: 500}\n", "1: gpu_utilization:"),
        ("container_types: {podman: {}}\n", "1: the key 'podman' is unknown"),
        ("version: 2\ndefaults:\n  max_tasks: 5\n", "3: the key 'max_tasks' is unknown"),
        ("version: 2\npolicies: {}\n", "2: the key 'policies' is unknown"),
        ("version: 2\nenforcement: {}\n", "2: the key 'enforcement' is unknown"),
        ("user_overrides:\n  bob: {reserved_gpus: 1}\n", "2: reservation: start, end is missing"),
    ],
)
def test_what_nobody_knows_or_means_two_things_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read(text)
    assert refused.value.message.startswith(f"{POLICY_NAME}:{said}")
    assert refused.value.hint
    assert refused.value.details["where"] == f"{POLICY_NAME}:{said.partition(':')[0]}"


def test_renamed_keys_are_read_in_version_2_too_with_their_warning() -> None:
    policy = read("version: 2\ndefaults:\n  max_mig_instances: 5\n")
    assert limits_of(policy, account("carol")).values.max_gpus == 5
    assert limits_of(policy, account("carol")).values.max_gpu_equivalents == 1.0
    assert [warning.where for warning in policy.warnings] == [f"{POLICY_NAME}:3"]


def test_a_folder_of_the_predecessors_keeps_its_members_files(tmp_path: Path) -> None:
    from ds01.config import read_policy

    (tmp_path / POLICY_NAME).write_text("groups: {student: {}, researcher: {max_gpu_slots: 6}}\n", encoding="utf-8")
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups" / "researcher.members").write_text("# staff\nalice.b@school.lan # PhD\n", encoding="utf-8")
    (tmp_path / "groups" / "archived.members").write_text("old one\n", encoding="utf-8")
    policy = read_policy(tmp_path / POLICY_NAME, base=BUILT_IN_LIMITS)
    assert limits_of(policy, account("alice.b@school.lan")).values.max_gpus == 6
