"""Directories of real users, touched by a root daemon that becomes them."""

import asyncio
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ds01.adapters.linux.accounts import LinuxAccounts
from ds01.adapters.linux.directories import LinuxDirectories
from ds01.domain.user import User
from ds01.errors import ForbiddenError, InvalidRequestError, NotFoundError
from tests.integration.unix_accounts import GROUP, make_account, remove_account, require_root


@dataclass(frozen=True)
class People:
    alice: User
    bob: User
    shared: Path  # a directory that everybody may enter


@pytest.fixture(scope="module")
def accounts() -> Iterator[tuple[User, User]]:
    require_root()
    subprocess.run(["groupadd", GROUP], check=True, capture_output=True)
    alice, bob = make_account("alice", GROUP), make_account("bob")
    yield alice, bob
    remove_account(alice)
    remove_account(bob)
    subprocess.run(["groupdel", GROUP], check=True, capture_output=True)


@pytest.fixture
def people(accounts: tuple[User, User]) -> Iterator[People]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="ds01test-") as folder:
        os.chmod(folder, 0o755)
        yield People(*accounts, shared=Path(folder))


def make_directory(path: Path, owner: User, mode: int = 0o755) -> Path:
    path.mkdir()
    os.chown(path, owner.uid, owner.gid)
    path.chmod(mode)
    return path


def show(path: Path) -> tuple[int, int, str]:
    found = path.lstat()
    return found.st_uid, found.st_gid, stat.filemode(found.st_mode)


async def test_an_own_directory_is_found_and_writable(people: People) -> None:
    own = make_directory(people.shared / "data", people.alice, 0o700)
    found = await LinuxDirectories().resolve(people.alice, str(own), create=False)
    assert (found.path, found.was_created, found.is_writable) == (str(own), False, True)


async def test_a_directory_that_is_read_only_is_found_and_says_so(people: People) -> None:
    theirs = make_directory(people.shared / "data", people.bob, 0o755)
    found = await LinuxDirectories().resolve(people.alice, str(theirs), create=False)
    assert (found.path, found.is_writable) == (str(theirs), False)


async def test_every_group_of_the_user_counts(people: People) -> None:
    project = people.shared / "project"
    project.mkdir()
    os.chown(project, people.bob.uid, next(g.gid for g in people.alice.groups if g.name == GROUP))
    project.chmod(0o770)
    assert (await LinuxDirectories().resolve(people.alice, str(project), create=False)).is_writable
    without = replace(people.alice, groups=())
    with pytest.raises(ForbiddenError):
        await LinuxDirectories().resolve(without, str(project), create=False)


async def test_what_is_missing_is_made_as_the_user_with_its_parents(people: People) -> None:
    directories = LinuxDirectories()
    found = await directories.resolve(people.alice, "~/workspace/deep/train", create=True)
    home = Path(people.alice.home)
    assert (found.path, found.was_created, found.is_writable) == (str(home / "workspace/deep/train"), True, True)
    for made in ("workspace", "workspace/deep", "workspace/deep/train"):
        assert show(home / made) == (people.alice.uid, people.alice.gid, "drwx------")
    again = await directories.resolve(people.alice, "~/workspace/deep/train", create=True)
    assert not again.was_created

    await directories.discard(people.alice, found.path)
    assert not (home / "workspace").exists()


async def test_only_what_was_made_and_is_still_empty_is_discarded(people: People) -> None:
    directories = LinuxDirectories()
    old = make_directory(people.shared / "old", people.alice)
    await directories.resolve(people.alice, str(old), create=True)
    await directories.discard(people.alice, str(old))
    assert old.exists()

    found = await directories.resolve(people.alice, str(old / "new" / "used"), create=True)
    (old / "new" / "used" / "file").touch()
    await directories.discard(people.alice, found.path)
    assert (old / "new" / "used" / "file").exists()

    (old / "new" / "used" / "file").unlink()
    await directories.discard(people.alice, found.path)
    assert (old / "new" / "used").exists(), "it is discarded once, right after it was made"

    other = await directories.resolve(people.alice, str(old / "swapped"), create=True)
    (old / "swapped").rmdir()
    make_directory(old / "filler", people.alice)  # takes the inode number that has just become free
    keep = make_directory(old / "swapped", people.alice)
    await directories.discard(people.alice, other.path)
    assert keep.exists(), "it is another directory of the same name"

    third = await directories.resolve(people.alice, str(old / "third"), create=True)
    await directories.discard(people.bob, third.path)
    assert (old / "third").exists(), "what one user's call has made is not another one's to discard"


async def test_a_missing_directory_without_create_is_not_found(people: People) -> None:
    missing = people.shared / "missing"
    with pytest.raises(NotFoundError) as caught:
        await LinuxDirectories().resolve(people.alice, str(missing), create=False)
    assert str(missing) in caught.value.message
    assert caught.value.hint == f"Make it: mkdir -p {missing}"
    assert not missing.exists()


async def test_what_the_user_cannot_make_is_not_found_and_leaves_nothing_behind(people: People) -> None:
    theirs = make_directory(people.shared / "theirs", people.bob)
    with pytest.raises(NotFoundError, match=f"{people.alice.name} cannot make it: Permission denied"):
        await LinuxDirectories().resolve(people.alice, str(theirs / "new" / "deep"), create=True)
    assert list(theirs.iterdir()) == []

    own = make_directory(people.shared / "own", people.alice)
    with pytest.raises(InvalidRequestError, match="File name too long"):
        await LinuxDirectories().resolve(people.alice, str(own / "new" / ("x" * 300)), create=True)
    assert list(own.iterdir()) == [], "the parent that was made is removed again"


async def test_a_link_is_resolved_as_the_user(people: People) -> None:
    target = make_directory(people.shared / "target", people.alice)
    (people.shared / "link").symlink_to(target)
    found = await LinuxDirectories().resolve(people.alice, f"{people.shared}/link/../link/./", create=False)
    assert found.path == str(target)


async def test_a_link_into_a_private_directory_of_somebody_else_is_forbidden(people: People) -> None:
    private = make_directory(people.shared / "private", people.bob, 0o700)
    make_directory(private / "inner", people.bob, 0o777)
    link = people.shared / "link"
    for target in (private, private / "inner"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with pytest.raises(ForbiddenError) as caught:
            await LinuxDirectories().resolve(people.alice, str(link), create=True)
        assert people.alice.name in caught.value.message
        assert str(link) in caught.value.message
        assert (await LinuxDirectories().resolve(people.bob, str(link), create=False)).path == str(target)


async def test_a_closed_parent_and_a_directory_that_can_be_entered_but_not_read_are_forbidden(people: People) -> None:
    closed = make_directory(people.shared / "closed", people.bob, 0o700)
    make_directory(closed / "open", people.alice)
    unreadable = make_directory(people.shared / "unreadable", people.bob, 0o711)
    unenterable = make_directory(people.shared / "unenterable", people.bob, 0o744)
    for path, said in (
        (closed / "open", "may not enter"),
        (unreadable, "may not read"),
        (unenterable, "may not enter"),
    ):
        with pytest.raises(ForbiddenError, match=said) as caught:
            await LinuxDirectories().resolve(people.alice, str(path), create=True)
        assert str(path) in caught.value.message


async def test_root_itself_is_not_used_for_a_user(people: People) -> None:
    with pytest.raises(ForbiddenError):
        await LinuxDirectories().resolve(people.alice, people.bob.home, create=False)


async def test_what_is_not_a_directory_is_refused(people: People) -> None:
    file = people.shared / "file"
    file.touch()
    pipe = people.shared / "pipe"
    os.mkfifo(pipe, 0o666)
    for path in (file, file / "below", pipe):
        with pytest.raises(InvalidRequestError, match="not a directory"):
            await LinuxDirectories().resolve(people.alice, str(path), create=True)


async def test_a_dangling_link_and_a_ring_of_links_are_refused(people: People) -> None:
    dangling = people.shared / "dangling"
    dangling.symlink_to(people.shared / "nowhere")
    with pytest.raises(InvalidRequestError, match="does not exist"):
        await LinuxDirectories().resolve(people.alice, str(dangling / "x"), create=True)
    ring = people.shared / "ring"
    ring.symlink_to(ring)
    with pytest.raises(InvalidRequestError, match="symbolic links"):
        await LinuxDirectories().resolve(people.alice, str(ring), create=True)
    assert not (people.shared / "nowhere").exists()


@pytest.mark.parametrize("name", ["a:b", "a,b", "a b", " ", "größe", "データ", "-rf", "$HOME", "'\"", "*", "a\\b"])
async def test_any_printable_name_works(people: People, name: str) -> None:
    own = make_directory(people.shared / "own", people.alice)
    found = await LinuxDirectories().resolve(people.alice, f"{own}/{name}", create=True)
    assert (found.path, found.was_created) == (f"{own}/{name}", True)
    assert (own / name).is_dir()


async def test_a_link_to_a_name_that_is_not_utf8_or_has_a_line_break_is_refused(people: People) -> None:
    for raw in (b"caf\xe9", b"line\nbreak"):
        target = os.path.join(os.fsencode(people.shared), raw)
        os.mkdir(target, 0o777)
        link = people.shared / "link"
        link.unlink(missing_ok=True)
        os.symlink(target, os.fsencode(link))
        with pytest.raises(InvalidRequestError) as caught:
            await LinuxDirectories().resolve(people.alice, str(link), create=False)
        caught.value.message.encode()


@pytest.mark.parametrize("target", ["/", "/etc", "/proc/self", "/dev/shm", "/run"])
async def test_a_link_to_what_belongs_to_the_host_is_refused(people: People, target: str) -> None:
    link = people.shared / "link"
    link.symlink_to(target)
    with pytest.raises(InvalidRequestError, match="cannot be mounted"):
        await LinuxDirectories().resolve(people.alice, str(link), create=False)


async def test_what_was_made_in_a_refused_place_is_removed_again(people: People) -> None:
    state = make_directory(people.shared / "state", people.alice, 0o777)
    (people.shared / "link").symlink_to(state)
    directories = LinuxDirectories(forbidden=[str(state)])
    with pytest.raises(InvalidRequestError, match="what runs the containers"):
        await directories.resolve(people.alice, str(people.shared / "link" / "new"), create=True)
    assert list(state.iterdir()) == []
    with pytest.raises(InvalidRequestError, match="what runs the containers"):
        await directories.resolve(people.alice, str(people.shared), create=False)


async def test_two_that_make_the_same_directory_at_once_both_get_it(people: People) -> None:
    own = make_directory(people.shared / "own", people.alice)
    directories = LinuxDirectories()
    wanted = f"{own}/a/b/c"
    found = await asyncio.gather(*(directories.resolve(people.alice, wanted, create=True) for _ in range(4)))
    assert {directory.path for directory in found} == {wanted}


async def test_a_daemon_of_one_user_acts_for_that_user_without_switching(people: People) -> None:
    root = LinuxAccounts().get_user(0)
    found = await LinuxDirectories().resolve(root, f"{people.shared}/new", create=True)
    assert found.was_created
    assert show(people.shared / "new") == (0, 0, "drwx------")


async def test_a_daemon_of_one_user_does_not_act_for_another(people: People) -> None:
    script = f"""
import asyncio, os
from ds01.adapters.linux.directories import LinuxDirectories
from ds01.domain.user import User
from ds01.errors import ForbiddenError
os.setresuid({people.bob.uid}, {people.bob.uid}, {people.bob.uid})
try:
    asyncio.run(LinuxDirectories().resolve(User({people.alice.uid}, 1, "alice"), "/tmp", create=False))
except ForbiddenError as error:
    print(error)
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True)
    assert "cannot act for alice" in done.stdout, done.stderr


async def test_the_helper_keeps_nothing_of_root_and_cannot_be_traced(people: People) -> None:
    script = f"""
import ctypes, os
from ds01.adapters.linux.user_helper import become_user, read_capabilities
assert read_capabilities() != 0
become_user({people.alice.uid}, {people.alice.gid}, {list(people.alice.supplementary_gids)})
PR_GET_DUMPABLE = 3
can_be_traced = ctypes.CDLL(None).prctl(PR_GET_DUMPABLE) == 1
print(os.getresuid(), os.getresgid(), sorted(os.getgroups()), read_capabilities(), can_be_traced)
try:
    os.setresuid(0, 0, 0)
except PermissionError:
    print("no way back")
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True)
    uid, gid = people.alice.uid, people.alice.gid
    groups = list(people.alice.supplementary_gids)
    assert done.stdout == f"{(uid, uid, uid)} {(gid, gid, gid)} {groups} 0 False\nno way back\n", done.stderr


def test_names_of_directory_services_are_opaque(accounts: tuple[User, User]) -> None:
    subprocess.run(["useradd", "--badname", "--no-create-home", "204214"], check=True, capture_output=True)
    try:
        found = LinuxAccounts().find_user_by_name("204214")
        assert found is not None
        assert found.uid != 204214
        assert LinuxAccounts().get_user(found.uid) == found
        assert LinuxAccounts().find_user_by_name(str(found.uid)) is None
    finally:
        subprocess.run(["userdel", "204214"], check=True, capture_output=True)
    assert GROUP in {group.name for group in accounts[0].groups}
