"""Defaults, groups and overrides, merged for one user."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest
from hypothesis import given, strategies as st

from ds01.domain.rules.limit import BUILT_IN_ORIGIN, LIMIT_NAMES
from ds01.domain.rules.policy import (
    BUILT_IN_LIMITS,
    PERSONAL_LIMITS,
    LimitLayer,
    Policy,
    PolicyGroup,
    UserOverride,
    cgroup_parent,
    group_of,
    is_admin,
    limits_of,
    personal_policy,
)
from ds01.domain.user import Group, User

ALICE = User(1001, 1001, "alice", groups=(Group(1001, "alice"), Group(50, "cs-staff")))


def layer(values: Mapping[str, object], where: str) -> LimitLayer:
    return LimitLayer(values, {name: f"{where}:{number}" for number, name in enumerate(values, start=1)})


def policy(*groups: PolicyGroup, **overrides: UserOverride) -> Policy:
    return Policy(
        default_group="student", groups=(PolicyGroup("student"), *groups), overrides=overrides, source="p.yaml"
    )


def test_without_a_file_everything_is_built_in() -> None:
    found = limits_of(Policy(), ALICE)
    assert found.values == BUILT_IN_LIMITS
    assert set(found.origins.values()) == {BUILT_IN_ORIGIN}
    assert set(found.origins) == set(LIMIT_NAMES)


def test_personal_mode_has_no_quotas_no_time_limits_and_no_holds() -> None:
    values = limits_of(personal_policy(), ALICE).values
    assert values == PERSONAL_LIMITS
    for name in ("max_gpus", "max_gpu_equivalents", "max_gpus_per_container", "max_containers", "time_limit"):
        assert getattr(values, name) is None
    assert (values.idle_timeout, values.gpu_hold_after_stop, values.container_hold_after_stop) == (None, None, None)


def test_an_override_does_not_lose_the_groups_values() -> None:
    researcher = PolicyGroup("researcher", ("alice",), layer({"memory": 64, "max_cpus": 32.0}, "group"))
    found = limits_of(policy(researcher, alice=UserOverride(None, layer({"priority": 100}, "user"))), ALICE)
    assert (found.values.memory, found.values.max_cpus, found.values.priority) == (64, 32.0, 100)
    assert found.origins["memory"] == "group:1"
    assert found.origins["priority"] == "user:1"
    assert found.origins["shm_size"] == BUILT_IN_ORIGIN
    assert found.group == "researcher"


def test_mappings_are_merged_key_by_key() -> None:
    site = Policy(
        defaults=layer({"ulimits": {"nofile": 1000}, "mounts": {"data": "/srv/data"}}, "defaults"),
        overrides={"alice": UserOverride(None, layer({"ulimits": {"stack": 1}}, "user"))},
    )
    values = limits_of(site, ALICE).values
    assert dict(values.ulimits) == {"memlock": -1, "stack": 1, "nofile": 1000}
    assert dict(values.mounts) == {"data": "/srv/data", "models": None}
    assert isinstance(values.ulimits, MappingProxyType)


@pytest.mark.parametrize(("value", "wanted"), [(None, None), (0, 0), (5, 5)])
def test_null_0_and_absent_are_three_things(value: int | None, wanted: int | None) -> None:
    group = PolicyGroup("researcher", ("alice",), layer({"max_gpus": value}, "group"))
    assert limits_of(policy(group), ALICE).values.max_gpus == wanted
    assert limits_of(policy(PolicyGroup("researcher", ("alice",))), ALICE).values.max_gpus == BUILT_IN_LIMITS.max_gpus


NAMES = st.sampled_from(["max_gpus", "max_containers", "memory", "priority", "max_cpus"])
LAYERS = st.dictionaries(NAMES, st.integers(0, 100), max_size=5)


@given(LAYERS, LAYERS, LAYERS)
def test_the_last_layer_that_says_something_wins_and_is_the_origin(
    defaults: dict[str, object], group: dict[str, object], user: dict[str, object]
) -> None:
    site = Policy(
        defaults=layer(defaults, "defaults"),
        groups=(PolicyGroup("g", ("alice",), layer(group, "group")),),
        overrides={"alice": UserOverride(None, layer(user, "user"))},
    )
    found = limits_of(site, ALICE)
    for name in LIMIT_NAMES:
        layers = [("user", user), ("group", group), ("defaults", defaults)]
        said = next(((where, values[name]) for where, values in layers if name in values), None)
        if said is None:
            assert getattr(found.values, name) == getattr(BUILT_IN_LIMITS, name)
            assert found.origins[name] == BUILT_IN_ORIGIN
        else:
            assert getattr(found.values, name) == said[1]
            assert found.origins[name].startswith(said[0])


def test_the_order_of_groups_is_override_member_unix_group_default() -> None:
    staff = PolicyGroup("staff", ("@cs-staff",))
    named = PolicyGroup("named", ("alice",))
    numbered = PolicyGroup("numbered", ("uid:1001",))
    override = UserOverride("last")
    last = PolicyGroup("last")

    def name_of(site: Policy) -> str:
        found = group_of(site, ALICE)
        assert found is not None
        return found.name

    assert name_of(policy()) == "student"
    assert name_of(policy(staff)) == "staff"
    assert name_of(policy(staff, named)) == "named"
    assert name_of(policy(staff, numbered, named)) == "numbered"
    assert name_of(policy(staff, named, numbered)) == "named"
    assert name_of(policy(staff, named, last, alice=override)) == "last"


@pytest.mark.parametrize("name", ["204214", "alice.b@school.lan", r"SCHOOL\alice", "bob-c"])
def test_names_are_opaque_and_compared_as_a_whole(name: str) -> None:
    site = policy(PolicyGroup("mine", (name,)))
    found = group_of(site, User(7, 7, name))
    assert found is not None
    assert found.name == "mine"
    for other in (name[:-1], name + "x", name.replace(".", "x")):
        different = group_of(site, User(8, 8, other))
        assert different is not None
        assert (different.name == "mine") == (other == name)


def test_a_number_is_not_a_part_of_another() -> None:
    site = policy(PolicyGroup("mine", ("uid:100",)))
    for uid, wanted in ((100, "mine"), (1001, "student"), (10, "student")):
        found = group_of(site, User(uid, 1, "x"))
        assert found is not None
        assert found.name == wanted


@pytest.mark.parametrize("name", ["@admins", "uid:0", "uid:1001"])
def test_an_account_with_the_name_of_a_group_or_number_gains_nothing(name: str) -> None:
    site = Policy(
        default_group="student",
        groups=(PolicyGroup("admin", ("@admins", "uid:0", "uid:1001"), is_admin=True), PolicyGroup("student")),
        overrides={"uid:0": UserOverride("admin"), "uid:1001": UserOverride("admin")},
    )
    assert not is_admin(site, User(4242, 4242, name))


def test_an_override_by_number_wins_over_one_by_name() -> None:
    site = Policy(
        overrides={
            "alice": UserOverride(None, layer({"priority": 1}, "name")),
            "uid:1001": UserOverride(None, layer({"priority": 2}, "number")),
        }
    )
    assert limits_of(site, ALICE).values.priority == 2


def test_administrators_are_root_and_members_of_admin_groups() -> None:
    site = policy(PolicyGroup("admin", ("alice",), is_admin=True))
    assert is_admin(site, ALICE)
    assert is_admin(site, User(0, 0, "root"))
    assert not is_admin(site, User(1002, 1002, "bob"))


def test_the_cgroup_is_a_function_of_the_number_only() -> None:
    assert cgroup_parent(1001, "systemd") == "ds01-u1001.slice"
    assert cgroup_parent(1001, "cgroupfs") == "/ds01/u1001"
    assert cgroup_parent(1001, "none") == ""
