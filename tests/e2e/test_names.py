"""The user inside, whatever the user is called: names of directory services, digits only, huge uids, shared numbers."""

import pwd
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.e2e.people import PEOPLE, Person, account_of
from tests.e2e.site import Account, Site

SHARED_UID = 1_700_000_077


@pytest.fixture
def odd(request: pytest.FixtureRequest) -> Iterator[Account]:
    """A Unix user with a name that Debian would not give by itself."""
    with account_of(request.param) as account:
        yield account


@pytest.mark.parametrize("odd", PEOPLE, indirect=True, ids=lambda person: re.sub(r"\W", "_", person.name))
def test_everybody_is_themselves_inside(site: Site, odd: Account) -> None:
    everybody = {**site.accounts, "odd": odd}
    as_odd = replace(site, accounts=everybody, spawned=[])
    as_odd.run("create", "mine", "pytorch", "--cpu-only", user="odd")
    try:
        as_odd.run("start", "mine", user="odd")
        script = "id -u; id -g; id -un; sudo -n id -u; echo $HOME; touch $HOME/x /workspace/y && echo written"
        told = as_odd.run("exec", "mine", "--", "sh", "-c", script, user="odd").stdout.split("\n")
        assert told[:2] == [str(odd.uid), str(odd.gid)]
        assert re.fullmatch(r"[a-z_][a-z0-9_]{0,31}", told[2]), told
        assert told[3] == "0"
        assert told[4] == f"/home/{told[2]}"
        assert told[5] == "written"
        assert (odd.home / "workspace" / "mine" / "y").stat().st_uid == odd.uid
        listed = as_odd.run("list", "--json", user="odd").document["containers"]
        assert [(row["name"], row["owner_uid"]) for row in listed] == [("mine", odd.uid)]
        assert as_odd.inspect("mine", user="odd")["Config"]["Labels"]["aime.mlc.USER"] == pwd.getpwuid(odd.uid).pw_name
        assert as_odd.run("list", "--json", user="alice").document["containers"] == []
    finally:
        as_odd.run("rm", "--yes", "--force", "mine", user="odd", check=False)


@pytest.mark.parametrize(
    "odd", [Person("carol", SHARED_UID, None, "shared")], indirect=True, ids=["two_names_for_one_uid"]
)
def test_two_names_for_one_uid_are_one_person(site: Site, odd: Account) -> None:
    second = ["useradd", "--badname", "--no-log-init", "--no-create-home", "--non-unique", "--uid", str(odd.uid)]
    subprocess.run([*second, "--", "carol@lab"], check=True, capture_output=True)
    try:
        both = {**site.accounts, "odd": odd, "other": replace(odd, name="carol@lab")}
        as_odd = replace(site, accounts=both, spawned=[])
        as_odd.run("create", "mine", "pytorch", "--cpu-only", user="odd")
        assert as_odd.run("list", "-q", user="other").stdout.split() == ["mine"]
        as_odd.run("rm", "--yes", "mine", user="other")
    finally:
        subprocess.run(["userdel", "--force", "--", "carol@lab"], check=False, capture_output=True)
        subprocess.run(["groupdel", "--", "carol@lab"], check=False, capture_output=True)
