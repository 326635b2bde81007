"""Where the daemon and its client meet."""

import os
import stat
from pathlib import Path

import pytest

from ds01.api import place
from ds01.api.location import Location, find_location, prepare_folder
from ds01.api.place import MAX_SOCKET_PATH, machine_id
from ds01.errors import BackendError, ForbiddenError

UID = os.getuid()
LOCAL = Path(f"/var/tmp/ds01-{UID}")
AS_ROOT = UID == 0


def is_on_network(path: Path, *, mounts: Path = Path(place.MOUNTS)) -> bool:
    return place.is_on_network(str(path), mounts=str(mounts))


def table(folder: Path, *rows: tuple[str, str]) -> Path:
    """Write a mount table of mount points and file system types."""
    path = folder / "mountinfo"
    lines = [
        f"{number} 1 0:{number} / {point} rw,relatime shared:1 - {kind} source rw"
        for number, (point, kind) in enumerate([("/", "ext4"), *rows], start=20)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


def find(folder: Path, environment: dict[str, str], *rows: tuple[str, str], uid: int = UID) -> Location:
    return find_location(environment, uid, site_config=folder / "no-site", mounts=table(folder, *rows))


def test_a_user_without_anything_set_has_a_folder_of_the_machine_in_the_home(tmp_path: Path, home: Path) -> None:
    found = find(tmp_path, {"HOME": str(home)})
    assert found.is_personal
    assert found.state == home / ".local/state/ds01" / machine_id()
    assert found.config == home / ".config/ds01"
    assert found.socket in {found.state / "api.sock", LOCAL / "api.sock"}


def test_xdg_folders_are_used(tmp_path: Path, home: Path) -> None:
    environment = {"HOME": str(home), "XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": str(tmp_path)}
    found = find(tmp_path, environment)
    assert found.state == Path("/s/ds01") / machine_id()
    assert found.config == Path("/c/ds01")
    assert found.socket == tmp_path / "ds01/api.sock"


@pytest.mark.parametrize("value", ["relative", "", "./x", "~/x"])
def test_relative_folders_count_as_unset(tmp_path: Path, value: str) -> None:
    names = ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR")
    found = find(tmp_path, dict.fromkeys(names, value))
    assert found == Location(LOCAL / "api.sock", LOCAL, LOCAL / "config", is_personal=True)


def test_without_a_home_nothing_stands_below_a_folder_that_could_be_somebody_elses(tmp_path: Path) -> None:
    assert find(tmp_path, {}).state == LOCAL
    assert find(tmp_path, {}, uid=4711).state == Path("/var/tmp/ds01-4711")


def test_a_runtime_folder_of_somebody_else_or_none_is_not_used(tmp_path: Path, home: Path) -> None:
    environment = {"HOME": "/h", "XDG_RUNTIME_DIR": str(home)}
    assert find(tmp_path, environment).socket == home / "ds01/api.sock"
    assert find(tmp_path, environment, uid=UID + 1).socket == Path("/h/.local/state/ds01") / machine_id() / "api.sock"
    environment["XDG_RUNTIME_DIR"] = str(tmp_path / "missing")
    assert find(tmp_path, environment).socket.parent == Path("/h/.local/state/ds01") / machine_id()
    (tmp_path / "file").write_text("")
    environment["XDG_RUNTIME_DIR"] = str(tmp_path / "file")
    assert find(tmp_path, environment).socket.parent == Path("/h/.local/state/ds01") / machine_id()


def test_a_path_that_is_too_long_for_a_socket_is_replaced(tmp_path: Path) -> None:
    found = find(tmp_path, {"HOME": "/" + "h" * MAX_SOCKET_PATH})
    assert found.socket == LOCAL / "api.sock"
    assert len(os.fsencode(found.socket)) <= MAX_SOCKET_PATH
    assert found.state.is_relative_to("/" + "h" * MAX_SOCKET_PATH)
    wide = find(tmp_path, {"HOME": "/" + "ü" * (MAX_SOCKET_PATH // 2)})
    assert wide.socket == LOCAL / "api.sock"


def test_a_named_socket_is_somebody_elses_daemon(tmp_path: Path) -> None:
    found = find(tmp_path, {"DS01_SOCKET": "/x/api.sock", "HOME": "/h"})
    assert (found.socket, found.is_personal) == (Path("/x/api.sock"), False)
    assert find(tmp_path, {"DS01_SOCKET": "", "HOME": "/h"}).is_personal


def test_where_a_site_has_set_it_up_there_is_never_a_second_daemon(tmp_path: Path) -> None:
    site = tmp_path / "site"
    environment = {"HOME": "/h", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert find_location(environment, UID, site_config=site, mounts=table(tmp_path)).is_personal
    site.symlink_to(tmp_path / "nowhere")
    dangling = find_location(environment, UID, site_config=site, mounts=table(tmp_path))
    site.unlink()
    site.mkdir()
    there = find_location(environment, UID, site_config=site, mounts=table(tmp_path))
    assert dangling == there == Location(Path(place.SERVER_SOCKET), Path(place.SERVER_STATE), site, is_personal=False)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs", "ceph", "lustre", "beegfs"])
def test_the_state_of_a_home_on_a_network_is_local(tmp_path: Path, kind: str) -> None:
    found = find(tmp_path, {"HOME": "/home/alice"}, ("/home", kind))
    assert (found.state, found.socket) == (LOCAL, LOCAL / "api.sock")
    assert found.config == Path("/home/alice/.config/ds01")


def test_a_local_disk_below_a_network_and_a_network_below_a_disk_are_told_apart(tmp_path: Path) -> None:
    deep = tmp_path / "a/b"
    deep.mkdir(parents=True)
    over = table(tmp_path, (str(tmp_path), "nfs4"), (str(tmp_path / "a"), "ext4"))
    assert is_on_network(tmp_path, mounts=over)
    assert not is_on_network(deep, mounts=over)
    under = table(tmp_path, (str(tmp_path / "a/b"), "nfs4"))
    assert is_on_network(deep / "not/yet/there", mounts=under)
    assert not is_on_network(tmp_path / "a", mounts=under)


def test_a_mount_is_not_a_beginning_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "home2").mkdir()
    (tmp_path / "home").mkdir()
    assert not is_on_network(tmp_path / "home2", mounts=table(tmp_path, (str(tmp_path / "home"), "nfs")))


def test_of_two_mounts_on_one_place_the_later_is_seen(tmp_path: Path) -> None:
    point = str(tmp_path)
    assert not is_on_network(tmp_path, mounts=table(tmp_path, (point, "nfs"), (point, "ext4")))
    assert is_on_network(tmp_path, mounts=table(tmp_path, (point, "autofs"), (point, "nfs")))


@pytest.mark.parametrize("name", ["my home", "müller", "tab\there", "back\\slash"])
def test_mount_points_are_read_as_the_kernel_writes_them(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    escaped = str(folder).replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")
    assert is_on_network(folder / "x", mounts=table(tmp_path, (escaped, "nfs4")))
    assert not is_on_network(tmp_path, mounts=table(tmp_path, (escaped, "nfs4")))


def test_a_link_leads_to_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    assert is_on_network(tmp_path / "link/x", mounts=table(tmp_path, (str(tmp_path / "far"), "nfs")))


def test_what_cannot_be_known_counts_as_a_network(tmp_path: Path) -> None:
    assert is_on_network(tmp_path, mounts=tmp_path / "missing")
    assert not is_on_network(Path("/proc"))  # the real table


def test_strange_lines_of_the_table_are_no_crash(tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.write_bytes(b"\n20\nrubbish - x\n21 1 0:1 / /\\777 rw - ext4 x rw\n\xff\xfe\n")
    assert not is_on_network(tmp_path, mounts=odd)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a/b/ds01"
    prepare_folder(folder, UID)
    prepare_folder(folder, UID)
    assert mode_of(folder) == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o705, 0o711])
def test_a_folder_that_others_can_look_into_is_closed(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "ds01"
    folder.mkdir()
    folder.chmod(mode)
    prepare_folder(folder, UID)
    assert mode_of(folder) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_folder_that_others_can_write_into_is_refused_and_left_as_it_is(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "ds01"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ForbiddenError, match="Others can write") as refused:
        prepare_folder(folder, UID)
    assert refused.value.hint is not None
    assert "chmod 700" in refused.value.hint
    assert mode_of(folder) == mode


def test_a_link_is_refused_even_to_a_folder_of_ours(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ForbiddenError, match="link"):
        prepare_folder(tmp_path / "link", UID)


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "ds01"
    folder.mkdir(mode=0o700)
    with pytest.raises(ForbiddenError, match=f"not a folder of yours .uid {UID + 1}") as refused:
        prepare_folder(folder, UID + 1)
    assert refused.value.hint is not None
    assert f"uid {UID}" in refused.value.hint


def test_a_folder_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file/below", tmp_path / "dangling"):
        if folder.name == "dangling":
            folder.symlink_to(tmp_path / "nowhere")
        with pytest.raises(BackendError, match="cannot be made"):
            prepare_folder(folder, UID)
    if not AS_ROOT:
        with pytest.raises(BackendError, match="Permission denied"):
            prepare_folder(Path("/proc/ds01"), UID)
