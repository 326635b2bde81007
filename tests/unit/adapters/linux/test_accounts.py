import grp
import os
import pwd

import pytest

from ds01.adapters.linux.accounts import LinuxAccounts
from ds01.errors import NotFoundError


def test_an_account_comes_with_all_its_groups() -> None:
    uid = os.getuid()
    user = LinuxAccounts().get_user(uid)
    entry = pwd.getpwuid(uid)
    assert (user.uid, user.gid, user.name, user.home) == (uid, entry.pw_gid, entry.pw_name, entry.pw_dir)
    assert {group.gid for group in user.groups} == set(os.getgrouplist(entry.pw_name, entry.pw_gid))
    assert all(group.name == grp.getgrgid(group.gid).gr_name for group in user.groups)


@pytest.mark.parametrize("uid", [4_000_000_123, 2**32 - 2, 2**70])
def test_an_unknown_uid_is_not_found(uid: int) -> None:
    with pytest.raises(NotFoundError, match=str(uid)):
        LinuxAccounts().get_user(uid)


@pytest.mark.parametrize("name", ["0", "1000", "+0", "", "no such person", "alice\0", "\udce4", "alice@school.lan"])
def test_a_name_that_nobody_has_is_none_even_when_it_looks_like_a_number(name: str) -> None:
    assert LinuxAccounts().find_user_by_name(name) is None


def test_an_account_is_found_by_its_name() -> None:
    accounts = LinuxAccounts()
    assert accounts.find_user_by_name(pwd.getpwuid(os.getuid()).pw_name) == accounts.get_user(os.getuid())
