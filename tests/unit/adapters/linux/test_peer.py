import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ds01.adapters.linux.peer import PeerCredentials, is_in_container, is_peer_in_container, read_credentials

ID = "0123456789abcdef" * 4


def test_the_kernel_says_who_connected() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert read_credentials(ours) == PeerCredentials(os.getpid(), os.geteuid(), os.getegid())
        assert is_peer_in_container(ours) == is_in_container(os.getpid())


def test_a_peer_that_has_ended_is_unknown(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        program = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({path!r}); s.send(b'x')"
        peer = subprocess.Popen([sys.executable, "-c", program])
        connection, _ = listener.accept()
        peer.wait(timeout=30)
        with connection:
            assert read_credentials(connection).pid == peer.pid
            assert is_peer_in_container(connection) is None


def make_process(proc: Path, pid: str, *, cgroup: str = "0::/", user: str = "host", namespace: str = "host") -> None:
    folder = proc / pid / "ns"
    folder.mkdir(parents=True)
    (proc / pid / "cgroup").write_text(f"{cgroup}\n")
    for kind, name in (("user", user), ("pid", namespace)):
        target = proc / f"{kind}-{name}"
        target.touch()
        (folder / kind).symlink_to(target)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    make_process(tmp_path, "self")
    return tmp_path


def test_a_process_in_our_namespaces_and_no_container_cgroup_is_on_the_host(proc: Path) -> None:
    make_process(proc, "7", cgroup="0::/user.slice")
    assert is_in_container(7, proc=proc) is False


def test_a_container_shows_by_its_cgroup_or_by_its_namespaces(proc: Path) -> None:
    make_process(proc, "7", cgroup=f"0::/docker/{ID}/below")
    make_process(proc, "8", user="other")
    make_process(proc, "9", namespace="other")
    assert [is_in_container(pid, proc=proc) for pid in (7, 8, 9)] == [True, True, True]


def test_a_process_in_our_own_container_is_beside_us_and_not_inside_another(proc: Path) -> None:
    make_process(proc, str(os.getpid()), cgroup=f"0::/docker/{ID}")
    make_process(proc, "7", cgroup=f"0::/docker/{ID}")
    make_process(proc, "8", cgroup=f"0::/docker/{'f' * 64}")
    assert [is_in_container(pid, proc=proc) for pid in (7, 8)] == [False, True]


def test_what_cannot_be_seen_is_unknown_and_not_no(proc: Path) -> None:
    assert is_in_container(0, proc=proc) is None
    assert is_in_container(99, proc=proc) is None
