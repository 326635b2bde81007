"""`resource-limits.yaml`: what is read, and that everything else is refused with its line and the fix."""

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import ds01
from ds01.config import POLICY_NAME, read_policy
from ds01.config.document import MAX_FILE_BYTES
from ds01.config.values import READERS
from ds01.domain.rules.limit import LIMIT_NAMES, Limits
from ds01.domain.rules.policy import BUILT_IN_LIMITS, Policy, group_of, is_admin, limits_of
from ds01.domain.user import Group, User
from ds01.errors import InvalidRequestError

GIB = 1024**3
ALICE = User(1001, 1001, "alice")
BASIC = "version: 2\n"
NULLABLE = {name for name, kind in READERS.items() if kind.is_nullable}
EXAMPLE = Path(ds01.__file__).parents[2] / "docs/reference/config.md"


def policy_of(folder: Path, text: str | bytes) -> Policy:
    path = folder / POLICY_NAME
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_policy(path, base=BUILT_IN_LIMITS)


def limits(folder: Path, text: str) -> Limits:
    """Return what everybody gets when the defaults hold these lines."""
    indented = "\n".join(f"  {line}" for line in text.splitlines())
    return limits_of(policy_of(folder, f"{BASIC}defaults:\n{indented}\n"), ALICE).values


def refusal(folder: Path, text: str | bytes) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as refused:
        policy_of(folder, text)
    assert refused.value.hint
    assert refused.value.message.startswith(POLICY_NAME)
    assert len(refused.value.message) < 400
    return refused.value


def test_the_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(version: 2.*?)```", EXAMPLE.read_text(encoding="utf-8"), re.DOTALL)
    policy = policy_of(tmp_path, text)
    assert [group.name for group in policy.groups] == ["student", "researcher", "admin"]
    assert limits_of(policy, User(7, 7, "bob")).values.max_gpu_equivalents == 2.0
    assert limits_of(policy, User(12034, 7, "x")).values.memory == 64 * GIB
    staff = group_of(policy, User(8, 8, "y", groups=(Group(9, "cs-staff"),)))
    assert staff is not None
    assert staff.name == "researcher"
    assert is_admin(policy, User(9, 9, "carol"))


def test_every_value_has_the_line_it_stands_in_as_its_origin(tmp_path: Path) -> None:
    text = "version: 2\n\ndefaults:\n  # a comment\n  max_gpus: 3\n  memory: 64G\n"
    text += "user_overrides:\n  alice: {priority: 5}\n"
    found = limits_of(policy_of(tmp_path, text), ALICE)
    assert found.origins["max_gpus"] == f"{POLICY_NAME}:5"
    assert found.origins["memory"] == f"{POLICY_NAME}:6"
    assert found.origins["priority"] == f"{POLICY_NAME}:8"
    assert found.origins["max_cpus"] == "built-in"


@pytest.mark.parametrize(
    "text",
    [
        "version: 2",
        "version: 2\ndefaults:\n  # only a comment\n",
        "version: 2\ndefaults:\ngroups:\nuser_overrides:\n",
        "version: 2\ngroups:\n  student:\n  # nothing yet\nuser_overrides:\n  alice:\n",
        "version: 2\ngroups:\n  student: {members: }\n",
        "\ufeffversion: 2\n",
        "version: 2\r\ndefaults:\r\n  max_gpus: 2\r\n",
    ],
)
def test_sections_that_hold_nothing_are_empty_and_no_crash(tmp_path: Path, text: str) -> None:
    assert limits_of(policy_of(tmp_path, text), ALICE).values == BUILT_IN_LIMITS


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "version: 1\n", "version: null\n", "defaults: {}\n", "defaults:\n  # none\n"]
)
def test_files_without_a_version_are_the_predecessors_and_read_with_a_warning(tmp_path: Path, text: str) -> None:
    policy = policy_of(tmp_path, text)
    assert policy.version == 1
    assert limits_of(policy, ALICE).values == BUILT_IN_LIMITS
    (warning,) = policy.warnings
    assert "version 1" in warning.message
    assert "version: 2" in warning.hint


@pytest.mark.parametrize("version", ["3", "2.0", "'2'", "true", "[2]", "{a: 1}", "9" * 4000])
def test_another_version_is_refused(tmp_path: Path, version: str) -> None:
    assert refusal(tmp_path, f"version: {version}\n").message.startswith(f"{POLICY_NAME}:1: version")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("version: 2\ndefaults:\n  max_gpu: 2\n", 3, ["'max_gpu' is unknown", "Did you mean 'max_gpus'?"]),
        ("version: 2\ngroup:\n  a: {}\n", 2, ["'group' is unknown", "Did you mean 'groups'?"]),
        ("version: 2\ngroups:\n  student:\n    member: [alice]\n", 4, ["Did you mean 'members'?"]),
        ("version: 2\nuser_overrides:\n  bob:\n    memry: 2G\n", 4, ["Did you mean 'memory'?"]),
        ("version: 2\ndefaults:\n  members: [alice]\n", 3, ["'members' is unknown"]),
        ("version: 2\ndefaults:\n  ~: 3\n", 3, ["the key null is unknown"]),
        ("version: 2\ndefaults:\n  5: 3\n", 3, ["the key 5 is unknown"]),
        ("version: 2\ndefaults:\n  max_gpus: 1\n  max_gpus: 2\n", 4, ["duplicate key"]),
        ("version: 2\ndefaults:\n\tmax_gpus: 1\n", 3, ["'\\t'", "Indent with spaces"]),
        ("version: 2\ndefaults: [1]\n", 2, ["'defaults' is a list, not a set of keys"]),
        ("version: 2\ndefaults: yes\n", 2, ["'defaults' is 'yes', not a set of keys"]),
        ("version: 2\ngroups:\n  student: 5\n", 3, ["'student' is 5, not a set of keys"]),
        ("version: 2\ngroups:\n  student: {}\n  student: {}\n", 4, ["duplicate key"]),
        ("version: 2\ngroups:\n  student: {}\n  7: {}\n  '7': {}\n", 5, ["'7' is there twice"]),
        ("version: 2\ngroups:\n  student: {}\n  0123: {}\n", 4, ["not a name", "in quotes"]),
        ("version: 2\ndefaults: {max_gpus: 1\n", 3, ["expected"]),
        ("version: 2\ngroups:\n  a: {}\ndefault_group: b\n", 4, ["there is no group 'b'", "Did you mean", "Known: a"]),
        ("version: 2\ngroups:\n  studnt: {}\n", 1, ["there is no group 'student'", "Did you mean 'studnt'?"]),
        ("version: 2\ndefault_group: [a]\n", 2, ["a list is not a name"]),
        ('version: 2\ndefault_group: "a b\\a"\n', 2, ["default_group: 'a b\\x07' is not the name of a group"]),
        (
            "version: 2\ngroups:\n  student: {}\nuser_overrides:\n  bob: {group: studnt}\n",
            5,
            ["bob: there is no group", "'student'"],
        ),
        ("version: 2\nuser_overrides:\n  '@staff': {}\n", 3, ["'@staff' is not a user"]),
        ("version: 2\ngroups:\n  student: {members: [@staff]}\n", 3, ['in quotes, such as "@staff"']),
        ("version: 2\ndefaults:\n  memory: 3G\n   max_gpus: 2\n", 4, ["Indent keys of one section alike"]),
        ("version: 2\n\n# \x07\n", 3, ["U+0007"]),
        ("version: 2\ngroups:\n  student: {}\n  'a,b': {}\n", 4, ["'a,b' is not the name of a group", "64 letters"]),
        ("version: 2\ngroups:\n  student: {}\n  '': {}\n", 4, ["'' is not the name of a group"]),
        ("defaults:\n  max_mig_instancs: 2\n", 2, ["Did you mean 'max_mig_instances'?"]),
        ("version: 2\n--- \nversion: 2\n", 2, ["another document"]),
        ("- version: 2\n", 1, ["not a set of keys"]),
        ("hello", 1, ["not a set of keys"]),
    ],
)
def test_every_mistake_is_refused_with_its_line_and_the_fix(
    tmp_path: Path, text: str, line: int, words: list[str]
) -> None:
    error = refusal(tmp_path, text)
    said = f"{error.message} {error.hint}"
    assert error.message.startswith(f"{POLICY_NAME}:{line}: ")
    assert any(word in said for word in words)
    assert all(word in said for word in words if not word.startswith(("Did you mean", "Known")))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("memory: 32", "Write 32G or 32M"),
        ("memory: 32GB", "Write 32G"),
        ("memory: 0", "too little"),
        ("memory: 5M", "6M or more"),
        ("memory: true", "not a size"),
        ("memory: [1G]", "a list is not a size"),
        ("memory: 2026-01-01", "not a size"),
        ("memory_swap: 0", "null means unlimited"),
        ("shm_size: 0", "too little"),
        ("max_cpus: 0", "too few"),
        ("max_cpus: '2'", "not a number"),
        ("max_cpus: .nan", "not a number"),
        ("max_cpus: .inf", "not a number"),
        ("max_cpus: -1", "not a number"),
        ("max_cpus: true", "not a number"),
        ("max_gpus: 1.5", "not a whole number"),
        ("max_gpus: -1", "not a whole number"),
        ("max_gpus: unlimited", "null means unlimited"),
        ("max_gpus: false", "not a whole number"),
        (f"max_gpus: {'9' * 1000}", "not a whole number"),
        ("pids_limit: 512", "4096 or more"),
        ("pids_limit: 0", "4096 or more"),
        ("priority: 101", "0 to 100"),
        ("priority: null", "cannot be null"),
        ("sudo: null", "cannot be null"),
        ("sudo: yes", "Write true or false"),
        ("idle_timeout: 48", "Write 48h or 48m"),
        ("idle_timeout: 0", "leaves no time"),
        ("idle_timeout: false", "not a duration"),
        ("time_limit: -5h", "not a duration"),
        ("gpu_hold_after_stop: 15", "Write 15h or 15m"),
        ("gpu_preference: mgi", "Did you mean 'mig'?"),
        ("gpu_preference: [mig]", "a list is not one of"),
        ("network: bridge", "own, host"),
        ("devices: video", "not a list"),
        ("devices: [vidoe]", "Did you mean 'video'?"),
        ("devices: [[video]]", "a list is not one of"),
        ("ulimits: 5", "not a set of keys"),
        ("ulimits: {nofil: 5}", "Did you mean 'nofile'?"),
        ("ulimits: {stack: 64}", "Write 64G or 64M"),
        ("ulimits: {nofile: 1K}", "not a whole number"),
        ("ulimits: {nofile: [1]}", "a list is not"),
        ("mounts: {dtaa: /x}", "Did you mean 'data'?"),
        ("mounts: {data: x}", "whole path"),
        ("mounts: {data: 5}", "whole path"),
        ("mounts: /srv", "not a set of keys"),
    ],
)
def test_every_wrong_value_is_refused_with_its_line_and_the_fix(tmp_path: Path, value: str, words: str) -> None:
    error = refusal(
        tmp_path,
        f"version: 2\ndefaults:\n  priority: 1\n  {value}\n"
        if "priority" not in value
        else f"version: 2\ndefaults:\n\n  {value}\n",
    )
    assert error.message.startswith(f"{POLICY_NAME}:4: {value.partition(':')[0]}")
    assert words in f"{error.message} {error.hint}"


@pytest.mark.parametrize(
    ("member", "is_good"),
    [
        ("alice", True),
        ("alice.b@school.lan", True),
        (r"SCHOOL\alice", True),
        ("'@cs-staff'", True),
        ("'@domain users'", True),
        ("'uid:12034'", True),
        ("204214", True),
        ("0204", False),
        ("1e5", False),
        ("true", False),
        ("null", False),
        ("''", False),
        ("'@'", False),
        ("'uid:abc'", False),
        ("'uid:'", False),
        ("'uid:01'", False),
        ("' alice'", False),
        ("'a:b'", False),
        ("[alice]", False),
        ("{a: b}", False),
    ],
)
def test_members_are_names_and_nothing_else(tmp_path: Path, member: str, is_good: bool) -> None:
    text = f"version: 2\ngroups:\n  student:\n    members:\n      - bob\n      - {member}\n"
    if is_good:
        assert policy_of(tmp_path, text).groups[0].members[1] == member.strip("'")
    else:
        assert refusal(tmp_path, text).message.startswith(f"{POLICY_NAME}:6: members:")


def test_users_whose_names_are_digits_may_stand_without_quotes(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, "version: 2\nuser_overrides:\n  204214: {priority: 7}\n")
    found = limits_of(policy, User(5, 5, "204214"))
    assert (found.values.priority, found.origins["priority"]) == (7, f"{POLICY_NAME}:3")
    assert limits_of(policy, User(204214, 5, "x")).values.priority == 1


@pytest.mark.parametrize("text", ["max_gpus: 0", "max_gpus: null", ""])
def test_null_0_and_absent_are_three_things(tmp_path: Path, text: str) -> None:
    wanted = {"max_gpus: 0": 0, "max_gpus: null": None, "": BUILT_IN_LIMITS.max_gpus}[text]
    assert limits(tmp_path, text or "# nothing").max_gpus == wanted


def test_values_are_what_they_say(tmp_path: Path) -> None:
    found = limits(
        tmp_path,
        "memory: 1.5G\nmax_cpus: 0.5\nidle_timeout: 0.5h\ngpu_hold_after_stop: 0\nstorage: null\n"
        "devices: [video, video]\nulimits: {memlock: unlimited, nofile: 4096, stack: null}\nmounts: {data: /srv/data}",
    )
    assert found.memory == 3 * GIB // 2
    assert found.max_cpus == 0.5
    assert found.idle_timeout == timedelta(minutes=30)
    assert found.gpu_hold_after_stop == timedelta(0)
    assert found.storage is None
    assert found.devices == ("video",)
    assert dict(found.ulimits) == {"memlock": -1, "stack": -1, "nofile": 4096}
    assert dict(found.mounts) == {"data": "/srv/data", "models": None}


def test_every_limit_can_be_written_and_null_is_allowed_where_it_has_a_meaning(tmp_path: Path) -> None:
    assert set(READERS) == set(LIMIT_NAMES)
    for name in NULLABLE:
        assert getattr(limits(tmp_path, f"{name}: null"), name) is None
    for name in set(LIMIT_NAMES) - NULLABLE:
        assert "cannot be null" in refusal(tmp_path, f"version: 2\ndefaults: {{{name}: null}}\n").message


def test_keys_may_be_shared_by_an_anchor(tmp_path: Path) -> None:
    text = "version: 2\ndefaults: &all {max_gpus: 3}\ngroups:\n  student:\n    <<: *all\n    members: [alice]\n"
    assert limits_of(policy_of(tmp_path, text), ALICE).values.max_gpus == 3


@pytest.mark.parametrize("section", ["memory", "max_gpus", "devices", "network", "sudo", "priority", "idle_timeout"])
def test_a_bomb_of_aliases_is_refused_at_once(tmp_path: Path, section: str) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + number)}: &{chr(98 + number)} [{','.join([f'*{chr(97 + number)}'] * 9)}]\n" for number in range(12)
    )
    assert "unknown" in refusal(tmp_path, f"version: 2\n{bomb}").message
    nested = f"version: 2\ndefaults:\n  {section}:\n" + "".join(f"    - {line}\n" for line in ["&a [x,x]"])
    refusal(tmp_path, nested.replace("&a [x,x]", "&a [*a]"))


@pytest.mark.parametrize(
    "text",
    [
        b"version: 2\ndefaults:\n  network: \xff\n",
        b"\x00\x01\x02",
        b"version: 2\n" + b"#" * (5 * 1024**2),
        b"version: 2\n" + b"[" * 5000,
        b"version: 2\na: 2026-13-45\n",
        b"version: 2\na: !!int x\n",
        b"version: 2\na: !!bool x\n",
        b"version: " + b"9" * 5000,
        b"version: 2\ndefaults: !!python/object:os.system {a: b}\n",
        b"version: 2\ndefaults: {? [a] : b}\n",
        b"version: 2\n? defaults: {priority: 1}\n",
        b"version: 2\n!!set defaults: {priority: 1}\n",
        b"!!omap version: 2\n",
        b"version: 2\n\x07",
        b"%YAML 9.9\n---\nversion: 2\n",
        b"version: 2\ndefaults: *nobody\n",
    ],
)
def test_rubbish_is_refused_and_nothing_breaks(tmp_path: Path, text: bytes) -> None:
    refusal(tmp_path, text)


def test_bytes_that_are_not_utf8_are_named_by_their_line(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"version: 2\n# M\xfcller\n").message == f"{POLICY_NAME}:2: the file is not UTF-8."


def test_a_file_is_read_up_to_its_highest_size(tmp_path: Path) -> None:
    policy_of(tmp_path, BASIC + "#" * (MAX_FILE_BYTES - len(BASIC)))
    assert "larger than 256 KiB" in refusal(tmp_path, BASIC + "#" * MAX_FILE_BYTES).message


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / POLICY_NAME
    with pytest.raises(InvalidRequestError, match="No such file"):
        read_policy(path, base=BUILT_IN_LIMITS)
    path.mkdir()
    with pytest.raises(InvalidRequestError, match=r"not a file|directory"):
        read_policy(path, base=BUILT_IN_LIMITS)


def test_a_pipe_in_its_place_does_not_hold_the_reader_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / POLICY_NAME)
    with pytest.raises(InvalidRequestError, match="not a file"):
        read_policy(tmp_path / POLICY_NAME, base=BUILT_IN_LIMITS)


PIECES = st.sampled_from(
    [
        *"{}[]:,-?&*!|>#%@'\"\n ",
        "  ",
        "version: 2\n",
        "defaults:",
        "groups:",
        "members",
        "memory: ",
        "8G",
        "null",
        "~",
        "0x1",
        "&a",
        "*a",
        "<<",
        "!!int",
        "2026-01-01",
        "1e3",
        "\t",
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECES, max_size=25), text=st.text(max_size=30))
def test_any_text_is_a_policy_or_is_refused(tmp_path: Path, pieces: list[str], text: str) -> None:
    try:
        found = policy_of(tmp_path, (BASIC + "".join(pieces) + text).encode("utf-8", "replace"))
    except InvalidRequestError:
        return
    limits_of(found, ALICE)
