"""Containers as files: written by alice, read by bob, on a real engine."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.site import BUSYBOX, Account, Site

NAME = "carried"


@pytest.fixture
def shelf(site: Site) -> Iterator[Path]:
    """A folder where alice and bob both may write."""
    folder = site.scratch / "shelf"
    folder.mkdir()
    folder.chmod(0o1777)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture
def exported(site: Site, shelf: Path) -> Path:
    """A file of a running container in which alice has installed something, with her workspace."""
    site.run("create", NAME, "--image", BUSYBOX, "--cpu-only", "-e", "KEPT=yes")
    site.run("start", NAME)
    script = (
        "mkdir -p /tmp/mine && echo installed > /tmp/mine/tool && ln -s tool /tmp/mine/link && "
        "ln /tmp/mine/tool /tmp/mine/hard && echo data > /workspace/file"
    )
    site.run("exec", NAME, "--", "sh", "-c", script)
    path = shelf / "carried.ds01.tar.zst"
    site.run("container", "export", NAME, str(path), "--with-workspace")
    os.chmod(path, 0o644)
    return path


def uid_of(site: Site, user: str) -> int:
    account: Account = site.accounts[user]
    return account.uid


def temporary(site: Site) -> list[str]:
    return [image for image in sorted(site.images()) if image.startswith("ds01.invalid/export-") or "/import-" in image]


def test_what_alice_exports_is_bobs_after_the_import(site: Site, exported: Path) -> None:
    assert temporary(site) == []
    assert exported.stat().st_size < 1_000_000, "the layers of the base are in the file"
    plan = site.run("container", "import", str(exported), "--dry-run", "--json", user="bob").document
    assert (plan["name"], plan["origin"], plan["has_workspace"]) == (NAME, "ds01", True)
    limits = ("--memory", "128M", "--memory-swap", "128M", "--cpus", "0.5")
    site.run("container", "import", str(exported), "--name", "mine", *limits, user="bob")
    host = site.inspect("mine", user="bob")["HostConfig"]
    assert (host["Memory"], host["NanoCpus"]) == (128 * 1024**2, 500_000_000)
    site.run("start", "mine", user="bob")
    bob = site.accounts["bob"]
    inside = site.run("exec", "mine", "--", "stat", "-c", "%u %g %n", "/tmp/mine/tool", "/tmp/mine/hard", user="bob")
    assert inside.stdout.split() == [
        str(bob.uid),
        str(bob.gid),
        "/tmp/mine/tool",
        str(bob.uid),
        str(bob.gid),
        "/tmp/mine/hard",
    ]
    assert site.run("exec", "mine", "--", "cat", "/tmp/mine/link", user="bob").stdout == "installed\n"
    assert site.run(
        "exec", "mine", "--", "sh", "-c", "id -u; echo $KEPT; cat /workspace/file", user="bob"
    ).stdout.split() == [str(bob.uid), "yes", "data"]
    assert (bob.home / "workspace" / "mine" / "file").stat().st_uid == bob.uid
    assert not [line for line in temporary(site) if not line.endswith(f"mine._.{bob.uid}")]
    site.run("remove", "mine", "--yes", "--force", user="bob")
    assert not [image for image in sorted(site.images()) if image.endswith(f"._.{bob.uid}")]


def test_a_file_that_is_damaged_cut_off_or_none_makes_nothing(site: Site, exported: Path, shelf: Path) -> None:
    before = (site.containers(), sorted(site.images()))
    whole = exported.read_bytes()
    middle = len(whole) // 2
    for content in (whole[:middle], whole[:-100], whole[:middle] + b"?" + whole[middle + 1 :], b"", os.urandom(5000)):
        broken = shelf / "broken"
        broken.write_bytes(content)
        outcome = site.run("container", "import", str(broken), "--name", "mine", user="bob", check=False)
        assert outcome.status == 2, outcome
        assert "Traceback" not in outcome.stderr
        assert not (site.accounts["bob"].home / "workspace" / "mine").exists()
    assert (site.containers(), sorted(site.images())) == before


def test_archives_of_docker_are_images_with_default_limits(site: Site, shelf: Path) -> None:
    saved, root = shelf / "saved.tar", shelf / "root.tar"
    site.engine.docker("save", "--output", str(saved), BUSYBOX)
    made = site.engine.docker("create", BUSYBOX, "true").strip()
    site.engine.docker("export", "--output", str(root), made)
    site.engine.docker("rm", made)
    for number, path in enumerate((saved, root)):
        path.chmod(0o644)
        name = f"from-{number}"
        site.run("container", "import", str(path), "--name", name, "--cpu-only", user="bob")
        site.run("start", name, user="bob")
        assert site.run("exec", name, "--", "id", "-u", user="bob").stdout.strip() == str(uid_of(site, "bob"))
        assert site.inspect(name, user="bob")["HostConfig"]["Memory"] == 512 * 1024**2
        site.run("remove", name, "--yes", "--force", user="bob")
    assert temporary(site) == []


def test_an_export_is_there_whole_or_not_at_all(site: Site, exported: Path, shelf: Path) -> None:
    again = site.run("container", "export", NAME, str(exported), check=False)
    assert again.status == 8
    assert "is there already" in again.stderr
    nowhere = site.run("container", "export", NAME, str(shelf / "no" / "where"), check=False)
    assert nowhere.status == 8
    site.run("container", "export", NAME, str(exported), "--yes", "--with-base")
    assert exported.stat().st_size > 100_000
    assert temporary(site) == []
    assert sorted(path.name for path in shelf.iterdir()) == [exported.name]
