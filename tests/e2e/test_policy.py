"""The site's policy while people work: edits, broken edits, members, and what is said about them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.site import BUSYBOX, POLICY, Site, wait_until

ADMIN = "\n  admin: {members: [alice], admin: true}\n"


@pytest.fixture
def edited(site: Site) -> Iterator[Site]:
    """The site; afterwards its policy is as before."""
    yield site
    for path in (site.config / "groups").glob("*"):
        path.unlink()
    site.write_policy(POLICY)
    wait_until(lambda: max_gpus(site, "bob") == "1" and is_fine(site), "the return of the old policy")


def max_gpus(site: Site, user: str) -> str:
    return site.run("limits", "--max-gpus", user=user).stdout.strip()


def is_fine(site: Site) -> bool:
    return bool(site.run("status", "--json", check=False).document["policy"]["ok"])


def test_a_broken_edit_while_containers_run_changes_nothing_and_is_explained(edited: Site, tmp_path: Path) -> None:
    site = edited
    site.run("create", "mine", "--image", BUSYBOX, "--gpus", "0")
    site.run("start", "mine")
    before = (site.inspect("mine")["HostConfig"], site.run("limits", "--json").document["limits"])
    site.write_policy(POLICY + ADMIN.replace("admin: true", "admin: true, max_gpu: 5"))
    wait_until(lambda: not is_fine(site), "the refusal of the broken edit")
    line = POLICY.count("\n") + 2
    status = site.run("status", check=False)
    assert f"resource-limits.yaml:{line}: the key 'max_gpu' is unknown. Did you mean 'max_gpus'?" in " ".join(
        (status.stdout + status.stderr).split()
    )
    assert site.inspect("mine")["State"]["Running"]
    assert (site.inspect("mine")["HostConfig"], site.run("limits", "--json").document["limits"]) == before
    refused = site.run("admin", "config", "check", check=False)
    assert (refused.status, "Only an administrator" in refused.stderr) == (4, True)
    site.write_policy(POLICY + ADMIN)
    wait_until(lambda: site.run("admin", "config", "check", check=False).status == 0, "alice's rights")
    broken = tmp_path / "new.yaml"
    broken.write_text("version: 2\ndefaults:\n  memory: 32\n", encoding="utf-8")
    os.chmod(tmp_path, 0o755)
    found = site.run("admin", "config", "check", str(_for_everybody(site, broken)), check=False)
    assert found.status == 2
    assert "new.yaml:3: memory: The size '32' has no unit." in found.stderr
    assert "Write 32G or 32M." in found.stderr
    assert site.run("stop", "mine").status == 0


def _for_everybody(site: Site, path: Path) -> Path:
    """Copy a file to where every user may read it."""
    copy = site.scratch / path.name
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o644)
    return copy


def test_an_edit_takes_effect_with_its_lines_as_origins(edited: Site) -> None:
    site = edited
    site.write_policy(POLICY.replace("members: [bob], max_gpus: 1", "members: [bob], max_gpus: 7") + ADMIN)
    wait_until(lambda: max_gpus(site, "bob") == "7", "the new limit")
    limits = site.run("limits", "show", "bob", "--json").document
    assert limits["group"] == "limited"
    assert limits["limits"]["max_gpus"] == {"value": 7, "origin": "resource-limits.yaml:7"}
    assert limits["limits"]["memory"]["origin"] == "resource-limits.yaml:2"
    shown = site.run("admin", "config", "show", "--origin").stdout
    assert ["groups.limited.max_gpus", "7", "resource-limits.yaml:7"] in [row.split() for row in shown.splitlines()]
    assert ["lifecycle.mode", "observe", "built-in"] in [row.split() for row in shown.splitlines()]
    assert site.run("limits", "show", "alice", user="bob", check=False).status == 4


def test_members_files_count_and_are_read_again(edited: Site) -> None:
    site = edited
    folder = site.config / "groups"
    folder.mkdir(exist_ok=True)
    site.write_policy(POLICY.replace("members: [bob], max_gpus: 1", "max_gpus: 1"))
    wait_until(lambda: max_gpus(site, "bob") == "2", "bob's leaving")
    (folder / "limited.members").write_text("# people\nbob  # until May\n", encoding="utf-8")
    (folder / "limited.members").chmod(0o644)
    wait_until(lambda: max_gpus(site, "bob") == "1", "bob's return")


def test_a_file_that_others_may_write_is_refused(edited: Site) -> None:
    site = edited
    site.write_policy(POLICY.replace("max_gpus: 1", "max_gpus: 9"))
    (site.config / "resource-limits.yaml").chmod(0o666)
    wait_until(lambda: not is_fine(site), "the refusal")
    assert "chmod go-w" in site.run("status", "--json", check=False).document["policy"]["message"]


def test_sighup_reads_the_policy_again_and_ends_nothing(edited: Site) -> None:
    site = edited
    assert site.process is not None
    count = site.run("status", "--json").document["pid"]
    os.kill(site.process.pid, signal.SIGHUP)
    site.write_policy(POLICY.replace("max_gpus: 1", "max_gpus: 3"))
    wait_until(lambda: max_gpus(site, "bob") == "3", "the new limit")
    assert site.run("status", "--json").document["pid"] == count


def test_the_sites_folders_are_offered_read_only_to_everybody(edited: Site) -> None:
    site = edited
    offered = site.scratch / "lab data"
    offered.mkdir(exist_ok=True)
    (offered / "set.csv").write_text("1,2\n", encoding="utf-8")
    site.write_policy(POLICY.replace("memory: 512M,", f"memory: 512M, mounts: {{data: '{offered}'}},", 1))
    mounts = {"data": str(offered), "models": None}
    wait_until(lambda: site.run("limits", "--json").document["limits"]["mounts"]["value"] == mounts, "the new policy")
    site.run("create", "mine", "--image", BUSYBOX, "--cpu-only")
    site.run("start", "mine")
    assert site.run("exec", "mine", "--", "cat", "/data/set.csv").stdout == "1,2\n"
    refused = site.run("exec", "--root", "mine", "--", "touch", "/data/mine", check=False)
    assert "Read-only file system" in refused.stderr


def test_a_new_policy_reaches_a_container_that_runs(edited: Site) -> None:
    site = edited
    site.run("create", "mine", "--image", BUSYBOX, "--cpu-only")
    site.run("create", "modest", "--image", BUSYBOX, "--cpu-only", "--memory", "64M", "--memory-swap", "64M")
    site.run("start", "mine")
    site.write_policy(
        POLICY.replace("memory: 512M,", "memory: 256M,", 1).replace("memory_swap: 512M", "memory_swap: 256M")
    )
    wait_until(lambda: site.inspect("mine")["HostConfig"]["Memory"] == 256 * 1024**2, "the new limit")
    assert site.inspect("mine")["HostConfig"]["MemorySwap"] == 256 * 1024**2
    assert site.inspect("modest")["HostConfig"]["Memory"] == 64 * 1024**2
    [event] = site.run("events", "--name", "container.limited", "--container", "mine", "--json").document["events"]
    assert event["details"]["memory"] == "256M"
    assert site.inspect("mine")["State"]["Running"]
