"""The user inside a container."""

import subprocess
from collections import Counter

import pytest
from hypothesis import given, strategies as st

from ds01.domain.containers.account import AccountFiles, InnerAccount, plan_account
from ds01.domain.user import Group, User

UBUNTU = AccountFiles(
    passwd="root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000:Ubuntu:/home/ubuntu:/bin/bash\n",
    group="root:x:0:\nsudo:x:27:ubuntu\nshadow:x:42:\nubuntu:x:1000:\n",
    shadow="root:*:19000:0:99999:7:::\nubuntu:!:19000:0:99999:7:::\n",
    has_sudoers_dir=True,
    has_bash=True,
)


def account(user: User, image: AccountFiles = UBUNTU, *, sudo: bool = True) -> InnerAccount:
    return plan_account(user, image, sudo=sudo, container_name="pt")


def text_of(planned: InnerAccount, path: str) -> str:
    (found,) = (item.content for item in planned.files if item.path == path)
    assert found is not None
    return found


def rows(planned: InnerAccount, path: str) -> list[list[str]]:
    text = text_of(planned, path)
    assert text.endswith("\n")
    return [line.split(":") for line in text.removesuffix("\n").split("\n")]


def require_consistent(user: User, planned: InnerAccount) -> None:
    """Exactly one account for the number, and no name twice among what was added."""
    passwd = [row for row in rows(planned, "/etc/passwd") if len(row) > 2]
    (mine,) = [row for row in passwd if row[2].isdigit() and int(row[2]) == user.uid]
    assert mine == [planned.name, "x", str(user.uid), str(user.gid), planned.name, planned.home, planned.shell]
    assert [row[0] for row in passwd].count(planned.name) == 1
    shadow = rows(planned, "/etc/shadow")
    assert [row for row in shadow if row[0] == planned.name] == [
        [planned.name, "*", *["19700", "0", "99999", "7", "", "", ""]]
    ]
    groups = rows(planned, "/etc/group")
    numbers = {int(row[2]) for row in groups if len(row) > 2 and row[2].isdigit()}
    assert {user.gid, *user.supplementary_gids} <= numbers


def test_the_user_is_there_beside_the_images_own() -> None:
    planned = account(User(1001, 1001, "alice", groups=(Group(1001, "alice"),)))
    require_consistent(User(1001, 1001, "alice"), planned)
    assert text_of(planned, "/etc/passwd").startswith(UBUNTU.passwd)
    assert text_of(planned, "/etc/group") == UBUNTU.group + "alice:x:1001:\n"
    assert text_of(planned, "/etc/shadow").startswith(UBUNTU.shadow)


def test_a_taken_number_gives_way_and_its_password_goes_too() -> None:
    planned = account(User(1000, 1000, "alice"))
    require_consistent(User(1000, 1000, "alice"), planned)
    assert "ubuntu" not in text_of(planned, "/etc/passwd")
    assert "ubuntu" not in text_of(planned, "/etc/shadow")
    assert "ubuntu:x:1000:" in text_of(planned, "/etc/group")  # the group keeps its name


@pytest.mark.parametrize("number", ["01000", " 1000", "1000 "])
def test_a_number_written_otherwise_is_the_same_number(number: str) -> None:
    image = AccountFiles(passwd=f"node:x:{number}:1000::/home/node:/bin/sh\n")
    assert "node" not in text_of(account(User(1000, 1000, "alice"), image), "/etc/passwd")


def test_a_taken_name_is_not_touched() -> None:
    user = User(1001, 1001, "ubuntu")
    planned = account(user)
    require_consistent(user, planned)
    assert planned.name == "u1001"
    assert "ubuntu:x:1000:1000" in text_of(planned, "/etc/passwd")


def test_a_name_that_is_taken_twice_over_still_ends_in_a_free_one() -> None:
    passwd = "alice:x:5:5::/:/bin/sh\nu1001:x:6:6::/:/bin/sh\nu1001_:x:7:7::/:/bin/sh\n"
    group = "alice:x:5:\nu1001:x:6:\n"
    user = User(1001, 1001, "alice", groups=(Group(1001, "alice"),))
    planned = account(user, AccountFiles(passwd, group))
    require_consistent(user, planned)
    assert planned.name == "u1001__"
    assert "u1001_:x:1001:" in text_of(planned, "/etc/group")


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("alice.b@school.lan", "alice_b"),
        (r"SCHOOL\alice", "alice"),
        ("204214", "u204214"),
        ("9" * 40, "u" + "9" * 31),
        ("bob-c", "bob_c"),
        ("@", "u1001"),
        ("a:b\nroot:x:0:0::/:/bin/sh", "a_b_root_x_0_0_bin_sh"),
    ],
)
def test_every_login_name_gives_a_valid_one(name: str, inner: str) -> None:
    user = User(1001, 1001, name)
    planned = account(user)
    assert planned.name == inner
    assert planned.home == f"/home/{inner}"
    require_consistent(user, planned)
    assert len(rows(planned, "/etc/passwd")) == 3


def test_numbers_of_a_directory_service_work() -> None:
    user = User(1_700_012_034, 1_700_000_513, "alice", groups=(Group(1_700_000_513, "domain users"), Group(27, "sudo")))
    planned = account(user)
    require_consistent(user, planned)
    assert "domain_users:x:1700000513:" in text_of(planned, "/etc/group")


def test_supplementary_groups_get_a_name_and_a_taken_number_keeps_its_own() -> None:
    user = User(
        1001, 100, "alice", groups=(Group(100, "users"), Group(27, "wheel"), Group(50, "CS Staff"), Group(51, "51"))
    )
    groups = rows(account(user), "/etc/group")
    names = {int(row[2]): row[0] for row in groups}
    assert (names[27], names[50], names[51], names[100]) == ("sudo", "cs_staff", "u51", "users")


def test_two_groups_of_one_handle_get_two_names() -> None:
    user = User(1001, 1001, "alice", groups=(Group(60, "a-b"), Group(61, "a.b"), Group(62, "sudo")))
    names = Counter(row[0] for row in rows(account(user), "/etc/group"))
    assert max(names.values()) == 1


@pytest.mark.parametrize("name", ["x:0:\nroot", "a\nb:x:0:alice", "::", "\n"])
def test_a_group_name_injects_nothing(name: str) -> None:
    user = User(1001, 1001, "alice", groups=(Group(1001, "alice"), Group(50, name)))
    planned = rows(account(user), "/etc/group")
    assert len(planned) == 4 + 2
    assert all(len(row) == 4 for row in planned)


def test_root_stays_root() -> None:
    user = User(0, 0, "root", groups=(Group(0, "root"),))
    planned = account(user)
    require_consistent(user, planned)
    assert (planned.name, planned.home) == ("root", "/root")
    assert rows(planned, "/etc/passwd")[0][0] == "root"


def test_sudo_is_given_by_number_and_only_where_it_is_there_and_allowed() -> None:
    user = User(1001, 1001, "alice")
    assert text_of(account(user), "/etc/sudoers.d/ds01") == "#1001 ALL=(ALL) NOPASSWD:ALL\n"
    modes = {item.path: item.mode for item in account(user).files}
    assert (modes["/etc/sudoers.d/ds01"], modes["/etc/shadow"], modes["/etc/passwd"]) == (0o440, 0o640, 0o644)
    for planned in (account(user, sudo=False), account(user, AccountFiles(passwd=UBUNTU.passwd))):
        assert not planned.has_sudo
        assert not [item for item in planned.files if "sudoers" in item.path]


def test_the_shadow_file_keeps_the_images_group() -> None:
    gids = {item.path: item.gid for item in account(User(1001, 1001, "alice")).files}
    assert gids["/etc/shadow"] == 42
    bare = {item.path: item.gid for item in account(User(1001, 1001, "alice"), AccountFiles()).files}
    assert bare["/etc/shadow"] == 0


def test_the_home_belongs_to_the_user() -> None:
    planned = account(User(1001, 100, "alice"))
    inside = [item for item in planned.files if item.path.startswith("/home")]
    assert {(item.uid, item.gid) for item in inside} == {(1001, 100)}
    assert "[pt] alice@" in text_of(planned, "/home/alice/.bashrc")


def test_an_image_without_account_files_gets_some() -> None:
    user = User(1001, 1001, "alice")
    planned = account(user, AccountFiles())
    require_consistent(user, planned)
    assert planned.shell == "/bin/sh"


@pytest.mark.parametrize(
    "passwd",
    [
        "root:x:0:0:root:/root:/bin/sh",
        "\n\nroot:x:0:0:root:/root:/bin/sh\n\n",
        "root:x:0:0:root:/root:/bin/sh\nshort\n",
        "root:x:0:0:root:/root:/bin/sh\nalice\n",
        "root:x:0:0:root:/root:/bin/sh\nalice:x\n",
        "+::::::\nroot:x:0:0:root:/root:/bin/sh\n",
        "bad:x:number:0::/:\nroot:x:0:0:root:/root:/bin/sh\n",
    ],
)
def test_malformed_files_survive(passwd: str) -> None:
    user = User(1001, 1001, "alice")
    planned = account(user, AccountFiles(passwd, "root:x:0\n\nbroken", "root\n"))
    require_consistent(user, planned)
    assert "root:x:0:0:root:/root:/bin/sh\n" in text_of(planned, "/etc/passwd")


def test_a_form_feed_or_unicode_separator_in_a_comment_makes_no_new_line() -> None:
    passwd = "root:x:0:0:root:/root:/bin/sh\nx:x:5:5:a\x0cevil\u2028evil\x85evil:/:/bin/sh\n"
    planned = account(User(1001, 1001, "alice"), AccountFiles(passwd))
    assert text_of(planned, "/etc/passwd").startswith(passwd)


def test_bytes_that_are_not_utf8_survive() -> None:
    passwd = b"x:x:5:5:M\xfcller:/:/bin/sh\n".decode("utf-8", "surrogateescape")
    planned = account(User(1001, 1001, "alice"), AccountFiles(passwd))
    assert b"M\xfcller" in text_of(planned, "/etc/passwd").encode("utf-8", "surrogateescape")


FIELDS = st.sampled_from(["root", "alice", "u1001", "x", "0", "1001", "01001", "27", "", "/bin/sh", "1000", "é"])
LINES = st.lists(FIELDS, min_size=1, max_size=8).map(":".join)
FILES = st.lists(LINES, max_size=6).map("\n".join)
GROUPS = st.lists(
    st.builds(Group, st.integers(0, 2**31), st.text(max_size=10) | st.sampled_from(["alice", "root", "27"])), max_size=4
)


@given(
    FILES,
    FILES,
    FILES,
    st.sampled_from([0, 27, 1000, 1001, 2**31]),
    st.sampled_from([0, 27, 1001]),
    st.text(max_size=40),
    GROUPS,
)
def test_whatever_the_image_and_the_names_hold_the_account_is_consistent(
    passwd: str, group: str, shadow: str, uid: int, gid: int, name: str, groups: list[Group]
) -> None:
    user = User(uid, gid, name, groups=tuple(groups))
    planned = account(user, AccountFiles(passwd, group, shadow))
    require_consistent(user, planned)
    before = [line for line in group.split("\n") if line.strip()]
    after = text_of(planned, "/etc/group").split("\n")
    assert after[: len(before)] == before
    added = [line.split(":") for line in after[len(before) : -1]]
    names = Counter([line.split(":")[0] for line in before] + [row[0] for row in added])
    assert all(names[row[0]] == 1 and len(row) == 4 for row in added)
    passwd, group, shadow = (text_of(planned, f"/etc/{file}") for file in ("passwd", "group", "shadow"))
    again = account(user, AccountFiles(passwd, group, shadow))
    assert [item.content for item in again.files] == [item.content for item in planned.files]


def test_a_shell_that_is_not_bash_gets_the_prompt_in_words_that_it_knows() -> None:
    user = User(uid=1001, gid=1001, name="alice")
    plain = plan_account(user, AccountFiles(), sudo=True, container_name="demo")
    setup = next(item for item in plain.files if item.path == "/home/alice/.shrc")
    assert setup.content is not None
    script = f'hostname() {{ echo lab; }}; cd /tmp; {setup.content}eval "echo \\"$PS1\\""'
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown == "[demo] alice@lab:/tmp$ \n"
    with_bash = plan_account(user, AccountFiles(has_bash=True), sudo=True, container_name="demo")
    assert ".shrc" not in {item.path.rpartition("/")[2] for item in with_bash.files}
