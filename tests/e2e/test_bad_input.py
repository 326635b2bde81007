"""What people type and bring that cannot work: refused with the thing and the reason, and nothing is changed."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.site import BUSYBOX, Site

LABELLED = "ds01-dev/labelled"


@contextmanager
def small_disk(site: Site, options: str) -> Iterator[Path]:
    """A disk of alice's that is mounted with these options when the block begins."""
    account = site.accounts["alice"]
    folder = account.home / "small-disk"
    folder.mkdir()
    owned = f"uid={account.uid},gid={account.gid},mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", owned, "tmpfs", str(folder)], check=True)
    try:
        (folder / "there").mkdir()
        subprocess.run(["chown", "-R", f"{account.uid}:{account.gid}", str(folder)], check=True)
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


@pytest.mark.parametrize(
    ("options", "reason"), [("ro", "Read-only file system"), ("nr_inodes=3,size=4k", "No space left on device")]
)
def test_a_workspace_that_cannot_be_made_is_refused_with_the_disks_reason(
    options: str, reason: str, site: Site
) -> None:
    with small_disk(site, options) as disk:
        if "inodes" in options:
            (disk / "last").touch()  # the last file that fits
        wanted = disk / "new" / "workspace"
        refused = site.run("create", "full", "--image", BUSYBOX, "--cpu-only", "-w", str(wanted), check=False)
        assert refused.status not in {0, 1}, refused.stderr
        assert reason in refused.stderr
        assert str(disk) in refused.stderr
        assert "Traceback" not in refused.stderr
        assert site.containers() == []
        assert {path.name for path in disk.iterdir()} <= {"there", "last"}


def test_labels_of_an_image_with_commas_json_and_a_hundred_kilobytes_do_no_harm(site: Site) -> None:
    long, text = "x" * 100_000, json.dumps({"a": [1, 2], "b": "c,d"})
    words = ["--label", f"org.example.json={text}", "--label", f"org.example.long={long}"]
    words += ["--label", "org.example.comma=a,b=c,d", "--label", "aime.mlc=bob", "--label", "aime.mlc.DS01_UID=0"]
    site.engine.docker("build", "-q", "-t", LABELLED, *words, "-", stdin=f"FROM {BUSYBOX}\n")
    try:
        site.run("create", "labelled", "--image", LABELLED, "--cpu-only")
        site.run("start", "labelled")
        labels = site.inspect("labelled")["Config"]["Labels"]
        assert [name for name, value in labels.items() if "," in value] == []
        assert (labels["org.example.long"], labels["aime.mlc"]) == (long, "alice")
        assert labels["aime.mlc.DS01_UID"] == str(site.accounts["alice"].uid)
        assert [row["name"] for row in site.run("list", "--json").document["containers"]] == ["labelled"]
        assert site.run("list", "--json", user="bob").document["containers"] == []
        assert site.run("inspect", "labelled", "--json").document["labels"]["org.example.long"] == long
        site.run("rm", "--force", "--yes", "labelled")
    finally:
        site.clear()
        site.engine.try_docker("rmi", LABELLED)


def test_a_name_that_is_taken_is_not_given_again(site: Site) -> None:
    for name in ("one", "two"):
        site.run("create", name, "--image", BUSYBOX, "--cpu-only")
    ids = {name: site.inspect(name)["Id"] for name in ("one", "two")}
    refused = site.run("container", "rename", "one", "two", check=False)
    assert (refused.status, "two" in refused.stderr, "taken" in refused.stderr or "already" in refused.stderr) == (
        8,
        True,
        True,
    )
    assert {name: site.inspect(name)["Id"] for name in ("one", "two")} == ids
    bad = site.run("container", "rename", "one", "Not A Name", check=False)
    assert (bad.status, "not-a-name" in bad.stderr) == (2, True)


def test_what_runs_and_what_is_anothers_is_not_removed(site: Site, running: str) -> None:
    refused = site.run("rm", running, check=False)
    assert (refused.status, "is running" in refused.stderr) == (8, True)
    assert f"ds01 stop {running}" in refused.stderr
    foreign = site.run("rm", "--force", "--yes", running, user="bob", check=False)
    assert (foreign.status, "Traceback" in foreign.stderr) == (3, False)
    assert site.inspect(running)["State"]["Running"]


def test_a_paused_container_runs_nothing_and_says_how_to_go_on(site: Site, running: str) -> None:
    site.run("container", "pause", running)
    for words in (("exec", running, "--", "true"), ("open", running, "--", "true"), ("attach", "--no-stdin", running)):
        refused = site.run(*words, check=False)
        assert refused.status == 125, words
        assert f"{running} is paused" in refused.stderr
        assert f"ds01 container unpause {running}" in refused.stderr
    assert site.run("stats", running, "--json").document["containers"][0]["memory_used_bytes"] > 0
