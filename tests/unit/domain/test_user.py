"""The person: handles are for people and files, numbers for everything else."""

import re

import pytest
from hypothesis import given, strategies as st

from ds01.domain.user import Group, User, handle


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("alice.b@school.lan", "alice_b"),
        ("bob-c", "bob_c"),
        ("204214@school.lan", "204214"),
        (r"SCHOOL\Alice", "alice"),
        ("@leading", "u1001"),
        ("", "u1001"),
        ("...", "u1001"),
        ("ÄÖÜ", "u1001"),
    ],
)
def test_handles_of_the_names_that_broke_the_predecessors(name: str, wanted: str) -> None:
    assert handle(1001, name) == wanted


@given(st.integers(0, 2**32 - 2), st.text(max_size=120))
def test_a_handle_is_one_to_32_letters_digits_and_underscores(uid: int, name: str) -> None:
    found = handle(uid, name)
    assert re.fullmatch(r"[a-z0-9_]{1,32}", found)
    assert "-" not in found  # a hyphen means nesting in a name of a slice
    assert handle(uid, name) == found


def test_the_primary_group_is_not_a_supplementary_one() -> None:
    user = User(
        1001, 100, "alice", groups=(Group(44, "video"), Group(100, "users"), Group(27, "sudo"), Group(44, "v2"))
    )
    assert user.supplementary_gids == (27, 44)


def test_only_uid_0_is_root_whatever_the_name() -> None:
    assert User(0, 0, "toor").is_root
    assert not User(1001, 0, "root").is_root
