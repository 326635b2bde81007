"""Real Unix accounts for a test: made, used, removed."""

import os
import pwd
import shutil
import subprocess

import pytest

from ds01.adapters.linux.accounts import LinuxAccounts
from ds01.domain.user import User

GROUP = "ds01test-project"


def require_root() -> None:
    """Skip where accounts cannot be made; in CI that is a failure."""
    if os.geteuid() == 0 and shutil.which("useradd"):
        return
    if os.environ.get("CI") == "true":
        pytest.fail("accounts can be made by root with useradd only, and CI must test them")
    pytest.skip("accounts can be made by root with useradd only")


def make_account(name: str, *groups: str) -> User:
    """Make an account with a home that is closed to others, under this name or a longer one if it is taken."""
    while _exists(name):
        name = f"{name}-ds01test"
    extra = ["--groups", ",".join(groups)] if groups else []
    subprocess.run(["useradd", "--create-home", *extra, name], check=True, capture_output=True)
    user = LinuxAccounts().find_user_by_name(name)
    assert user is not None
    os.chmod(user.home, 0o700)
    return user


def remove_account(user: User) -> None:
    """Remove the account and its home."""
    subprocess.run(["userdel", "--remove", user.name], check=False, capture_output=True)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
