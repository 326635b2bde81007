"""Exports and imports that end in the middle, because the daemon or the client dies: all or nothing."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.crashes import IS_LONG, Trial, events_of, has_died, image_ids, require_order, survive
from tests.e2e.site import BUSYBOX, Site, wait_until

MANY_BYTES = 40 * 1024**2


@pytest.fixture
def shelf(own_site: Site) -> Iterator[Path]:
    """A folder where alice and bob both may write."""
    folder = own_site.scratch / "shelf"
    folder.mkdir()
    folder.chmod(0o1777)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def make_carried(site: Site, size: int = 4096) -> None:
    """alice's running container with something of its own that does not compress, and a file in its workspace."""
    site.run("create", "carried", "--image", BUSYBOX, "--cpu-only")
    site.run("start", "carried")
    script = f"head -c {size} /dev/urandom >/tmp/mine; echo data >/workspace/file"
    site.run("exec", "carried", "--", "sh", "-c", script)


def export(site: Site, path: Path) -> int:
    status = site.run("container", "export", "carried", str(path), "--with-workspace", check=False).status
    if path.exists():
        path.chmod(0o644)
    return status


def names_of(site: Site, user: str) -> list[str]:
    return site.run("list", "-q", user=user).stdout.split()


def workspace_of(site: Site) -> Path:
    return site.accounts["bob"].home / "workspace" / "copy"


@pytest.mark.slow
def test_an_export_survives_a_crash_of_the_daemon_at_any_point(
    own_site: Site, shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shelf / "carried.ds01.tar.zst"

    def settled(crashed: bool, status: int) -> str:
        assert [each.name for each in shelf.iterdir()] == ([path.name] if status == 0 else [])
        assert crashed or status == 0
        assert own_site.inspect("carried")["State"]["Status"] == "running"
        if status == 0:
            assert "container.exported" in events_of(own_site, "carried")
            path.unlink()
        assert export(own_site, path) == 0
        own_site.run("container", "import", str(path), "--dry-run", user="bob")
        path.unlink()
        return "old" if status else "new"

    outcome = survive(own_site, Trial(lambda: make_carried(own_site), lambda: export(own_site, path), settled, every=4))
    with capsys.disabled():
        print(f"\ncrash points of an export: {outcome}")
    assert min(outcome.seen["old"], outcome.seen["new"]) > 0


@pytest.mark.slow
def test_an_import_survives_a_crash_of_the_daemon_at_any_point(
    own_site: Site, shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shelf / "carried.ds01.tar.zst"
    own_site.start()
    make_carried(own_site)
    assert export(own_site, path) == 0
    own_site.clear()
    own_site.stop()

    words = ("container", "import", str(path), "--name", "copy", "--gpus", "1", "--gpu-kind", "1g.5gb")
    said = [""]

    def act() -> int:
        """As under a supervisor: the client, which waits for the daemon's return, hears from it what there is."""
        client = own_site.spawn(*words, user="bob")
        while client.poll() is None:
            if has_died(own_site):
                own_site.start()
            time.sleep(0.05)
        said[0] = client.communicate()[1]
        return client.returncode

    def settled(_crashed: bool, status: int) -> str:
        is_there = names_of(own_site, "bob") == ["copy"]
        assert is_there or status != 0
        assert ("was made all the same" in said[0]) is (is_there and status != 0), said
        assert workspace_of(own_site).exists() is is_there
        assert own_site.run(*words, user="bob", check=False).status == (8 if is_there else 0)
        assert (workspace_of(own_site) / "file").read_text() == "data\n"
        own_site.run("start", "copy", user="bob")
        assert own_site.run("exec", "copy", "--", "wc", "-c", "/tmp/mine", user="bob").stdout.split()[0] == "4096"
        assert sum(len(holders) for holders in own_site.held().values()) == 1
        return "new" if is_there else "old"

    outcome = survive(own_site, Trial(lambda: None, act, settled, every=7))
    with capsys.disabled():
        print(f"\ncrash points of an import: {outcome}")
    assert min(outcome.seen["old"], outcome.seen["new"]) > 0


def passed(process: "subprocess.Popen[str]", key: str) -> int:
    """Return how many bytes a process has read (`rchar`) or written (`wchar`). Source: proc(5), /proc/pid/io."""
    facts = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
    return int(facts[key])


def has_temporary(site: Site) -> bool:
    return any(tag.startswith("ds01.invalid/") for tag in site.images())


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["while they are sent", *(["while its files are kept"] if IS_LONG else [])])
def test_a_client_that_is_killed_in_an_export_leaves_nothing(own_site: Site, shelf: Path, moment: str) -> None:
    own_site.start()
    make_carried(own_site, MANY_BYTES)
    before = image_ids(own_site)
    path = shelf / "carried.ds01.tar.zst"
    client = own_site.spawn("container", "export", "carried", str(path), "--with-workspace")
    waits: dict[str, Callable[[], bool]] = {
        "while its files are kept": lambda: has_temporary(own_site),
        "while they are sent": lambda: passed(client, "wchar") > MANY_BYTES / 10,
    }
    wait_until(waits[moment], moment)
    client.send_signal(signal.SIGKILL)
    client.communicate()
    assert client.returncode == -signal.SIGKILL
    require_order(own_site, before)
    assert list(shelf.iterdir()) == []
    assert own_site.inspect("carried")["State"]["Status"] == "running"
    assert export(own_site, path) == 0
    require_order(own_site, before)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["while it is sent", *(["while it is made"] if IS_LONG else [])])
def test_a_client_that_is_killed_in_an_import_leaves_nothing_or_the_container(
    own_site: Site, shelf: Path, moment: str
) -> None:
    own_site.start()
    make_carried(own_site, MANY_BYTES)
    path = shelf / "carried.ds01.tar.zst"
    assert export(own_site, path) == 0
    own_site.clear()
    before = image_ids(own_site)
    client = own_site.spawn("container", "import", str(path), "--name", "copy", user="bob")
    waits: dict[str, Callable[[], bool]] = {
        # before it reads the file to send it, it has read it for the checksum, to look through it, for the workspace
        "while it is sent": lambda: passed(client, "rchar") > 3.3 * MANY_BYTES,
        "while it is made": lambda: has_temporary(own_site),
    }
    wait_until(waits[moment], moment, 60)
    client.send_signal(signal.SIGKILL)
    client.communicate()
    assert client.returncode == -signal.SIGKILL
    require_order(own_site, before)
    is_there = names_of(own_site, "bob") == ["copy"]
    again = own_site.run("container", "import", str(path), "--name", "copy", user="bob", check=False)
    assert again.status == 8, "either the name is taken, or the workspace that was written is not empty"
    if not is_there:
        assert str(workspace_of(own_site)) in again.stderr
        subprocess.run(["rm", "-rf", str(workspace_of(own_site))], check=True)
        own_site.run("container", "import", str(path), "--name", "copy", user="bob")
    own_site.run("start", "copy", user="bob")
