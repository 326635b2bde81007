"""Names in a policy, matched to accounts by their number."""

import pytest

from ds01.domain.rules.membership import named_accounts, resolve
from ds01.domain.rules.policy import LimitLayer, Policy, PolicyGroup, UserOverride, group_of, limits_of
from ds01.domain.user import Group, User

KNOWN = {"alice": 1001, "alias": 1001, "204214": 1005, "bob.b@school.lan": 1006, "SCHOOL\\carol": 1700000000}


def policy(*groups: PolicyGroup, **overrides: UserOverride) -> Policy:
    found = Policy(default_group="student", groups=(PolicyGroup("student"), *groups), overrides=overrides)
    return resolve(found, KNOWN.get)


def group_name(site: Policy, user: User) -> str:
    found = group_of(site, user)
    assert found is not None
    return found.name


@pytest.mark.parametrize(
    ("text", "user", "is_member"),
    [
        ("alias", User(1001, 1, "alice"), True),
        ("alice", User(1001, 1, "alias"), True),
        ("alice", User(1002, 1, "alice"), False),
        ("204214", User(1005, 1, "204214"), True),
        ("204214", User(204214, 1, "x"), False),
        ("uid:1005", User(1005, 1, "x"), True),
        ("bob.b@school.lan", User(1006, 1, "bob.b@school.lan"), True),
        ("SCHOOL\\carol", User(1700000000, 1, "carol"), True),
        ("not-yet", User(1010, 1, "not-yet"), True),
    ],
)
def test_the_number_decides_and_a_name_without_one_is_compared(text: str, user: User, is_member: bool) -> None:
    assert group_name(policy(PolicyGroup("mine", (text,))), user) == ("mine" if is_member else "student")


def test_the_order_is_override_members_files_unix_groups_default() -> None:
    alice = User(1001, 1, "alice", groups=(Group(9, "staff"),))
    unix = PolicyGroup("unix", ("@staff",))
    listed = PolicyGroup("listed", file_members=("alice",))
    named = PolicyGroup("named", ("alias",))
    assert group_name(policy(), alice) == "student"
    assert group_name(policy(unix), alice) == "unix"
    assert group_name(policy(unix, listed), alice) == "listed"
    assert group_name(policy(unix, listed, named), alice) == "named"
    assert group_name(policy(unix, listed, named, alias=UserOverride("unix")), alice) == "unix"
    assert group_name(policy(PolicyGroup("unix", file_members=("@staff",))), alice) == "unix"


def test_a_name_that_is_nobodys_is_a_warning_with_its_line() -> None:
    site = policy(
        PolicyGroup("mine", ("ghost",), member_origins={"ghost": "p.yaml:7"}), gone=UserOverride(origin="p.yaml:9")
    )
    assert {(warning.where, "no account" in warning.message) for warning in site.warnings} == {
        ("p.yaml:7", True),
        ("p.yaml:9", True),
    }


def test_a_user_in_two_groups_is_in_the_first_and_both_lines_are_named() -> None:
    first = PolicyGroup("first", ("alice",), member_origins={"alice": "p.yaml:3"})
    second = PolicyGroup("second", ("alias",), member_origins={"alias": "p.yaml:8"})
    site = policy(first, second)
    assert group_name(site, User(1001, 1, "alias")) == "first"
    (warning,) = site.warnings
    assert warning.where == "p.yaml:8"
    assert "p.yaml:3" in warning.message


def test_an_override_by_another_name_of_the_same_number_counts() -> None:
    site = policy(alias=UserOverride(layer=LimitLayer({"priority": 7}, {"priority": "p.yaml:4"})))
    found = limits_of(site, User(1001, 1, "alice"))
    assert (found.values.priority, found.origins["priority"]) == (7, "p.yaml:4")


def test_groups_and_numbers_are_never_looked_up() -> None:
    site = Policy(groups=(PolicyGroup("a", ("@staff", "uid:5", "alice"), file_members=("bob",)),))
    assert named_accounts(site) == ("alice", "bob")
