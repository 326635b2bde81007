"""Who may act on what."""

import pytest

from ds01.domain.rules.access import Caller, acting_uid, container_not_found, require_owner
from ds01.domain.user import User
from ds01.errors import ForbiddenError, NotFoundError

ALICE = Caller(User(1001, 1001, "alice"))
ADMIN = Caller(User(1002, 1002, "carol"), is_admin=True)


def test_everybody_acts_for_themselves() -> None:
    assert acting_uid(ALICE, None) == 1001
    assert acting_uid(ALICE, 1001) == 1001


def test_root_named_by_a_user_is_not_taken_for_nobody_named() -> None:
    with pytest.raises(ForbiddenError):
        acting_uid(ALICE, 0)


def test_only_an_administrator_acts_for_others() -> None:
    assert acting_uid(ADMIN, 1001) == 1001
    with pytest.raises(ForbiddenError):
        acting_uid(ALICE, 1002)


@pytest.mark.parametrize("owner", [1002, 0, None])
def test_a_container_of_somebody_else_does_not_exist(owner: int | None) -> None:
    with pytest.raises(NotFoundError) as hidden:
        require_owner(ALICE, owner, "pt")
    assert str(hidden.value) == str(container_not_found("pt"))


def test_owners_and_administrators_reach_a_container() -> None:
    require_owner(ALICE, 1001, "pt")
    require_owner(ADMIN, 1001, "pt")
    require_owner(ADMIN, None, "pt")
