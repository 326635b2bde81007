import pytest

from ds01.adapters.linux.mount_rules import expand, require_allowed, require_ordinary
from ds01.domain.user import User
from ds01.errors import InvalidRequestError

ALICE = User(1001, 1001, "alice", home="/home/alice")
ROOT = User(0, 0, "root", home="/root")


@pytest.mark.parametrize(
    ("path", "expanded"),
    [
        ("~", "/home/alice"),
        ("~/data", "/home/alice/data"),
        ("/data/a:b,c d", "/data/a:b,c d"),
        ("/data/größe/データ", "/data/größe/データ"),
        ("/data/~bob", "/data/~bob"),
    ],
)
def test_a_path_becomes_absolute(path: str, expanded: str) -> None:
    assert expand(ALICE, path) == expanded


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "not an absolute path"),
        ("data", "not an absolute path"),
        ("./data", "not an absolute path"),
        ("~bob/data", "only ~ for your own home"),
        ("/data\n/x", "control character"),
        ("/data\0", "control character"),
        ("/data\x7f", "control character"),
        ("/data\udce4", "not UTF-8"),
    ],
)
def test_a_path_that_cannot_be_mounted_safely_is_refused_with_the_reason(path: str, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said) as caught:
        expand(ALICE, path)
    assert caught.value.hint
    caught.value.message.encode()  # can be shown


@pytest.mark.parametrize(
    "path",
    [
        *("/", "//", "/home/..", "/proc", "/proc/1/root", "/sys/fs", "/dev/shm", "/run/user/1001"),
        *("/var/run/docker.sock", "/etc", "//etc/", "/home/../etc/ssh", "/boot", "/root", "/root/data"),
        *("/home", "/home/", "/home/alice/.."),
    ],
)
def test_what_belongs_to_the_host_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be mounted"):
        require_allowed(ALICE, path, ())


@pytest.mark.parametrize("path", ["/home/alice", "/data", "/etcetera", "/running", "/mnt/etc", "/var/tmp/x", "/srv"])
def test_what_only_looks_like_it_is_allowed(path: str) -> None:
    require_allowed(ALICE, path, ("/var/lib/ds01", "/srv-state"))


def test_root_may_mount_its_home() -> None:
    require_allowed(ROOT, "/root/workspace", ())
    require_allowed(ROOT, "/home", ())


@pytest.mark.parametrize("path", ["/var/lib/ds01", "/var/lib/ds01/x", "/var/lib", "/var", "/var/lib/ds01/../ds01"])
def test_in_and_around_forbidden_directories_nothing_is_mounted(path: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"/var/lib/ds01"):
        require_allowed(ALICE, path, ("/srv/docker", "/var/lib/ds01"))


def test_a_view_into_the_kernel_is_refused_wherever_it_is_mounted() -> None:
    require_ordinary("/home/alice", "ext4")
    with pytest.raises(InvalidRequestError, match="cgroup2"):
        require_ordinary("/home/alice/c", "cgroup2")
