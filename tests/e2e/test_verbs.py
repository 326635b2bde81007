"""Copying, renaming, pausing, ports, and the tools that a bare base gets: on a real engine, as real users."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.site import BUSYBOX, WHOLE_GPU, Site, wait_until

BASE = "aimehub/pytorch-2.8.0-aime-cuda12.6.3"
BARE = "ds01-dev/bare:one"
WITHOUT_TOOLS = (
    f"FROM {BASE}\nRUN SUDO_FORCE_REMOVE=yes dpkg --purge --force-all sudo git >/dev/null 2>&1; rm -rf /etc/sudoers.d"
)


@pytest.fixture
def tree(site: Site, tmp_path: Path) -> Iterator[Path]:
    """A folder of alice's, where she can read it."""
    folder = site.accounts["alice"].home / "cp-tree"
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "large").write_bytes(os.urandom(3_000_000))
    (folder / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (folder / "run.sh").chmod(0o4755)
    (folder / "link").symlink_to("run.sh")
    subprocess.run(["chown", "-R", "alice:alice", str(folder)], check=True)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_a_folder_goes_in_and_comes_back(site: Site, running: str, tree: Path) -> None:
    alice = site.accounts["alice"]
    site.run("cp", str(tree), f"{running}:/workspace")
    copied = alice.home / "workspace" / running / "cp-tree"
    assert (copied / "sub" / "large").read_bytes() == (tree / "sub" / "large").read_bytes()
    assert copied.stat().st_uid == alice.uid
    assert (copied / "run.sh").stat().st_mode & 0o7777 == 0o755, "a set-user-id bit came through"
    assert os.readlink(copied / "link") == "run.sh"
    site.run("cp", f"{running}:cp-tree", str(alice.home / "cp-tree-back"))
    back = alice.home / "cp-tree-back"
    assert (back / "sub" / "large").read_bytes() == (tree / "sub" / "large").read_bytes()
    subprocess.run(["rm", "-rf", str(back)], check=True)


def test_files_of_the_container_itself_are_the_users_there(site: Site, running: str, tree: Path) -> None:
    site.run("cp", str(tree / "run.sh"), f"{running}:/tmp/mine.sh")
    assert site.run("exec", running, "--", "stat", "-c", "%u %a", "/tmp/mine.sh").stdout.split() == [
        str(site.accounts["alice"].uid),
        "755",
    ]
    assert site.run("exec", running, "--", "/tmp/mine.sh").stdout == "ran\n"


def test_a_copy_to_a_link_goes_where_the_link_leads(site: Site, running: str, tree: Path) -> None:
    site.run("exec", running, "--", "sh", "-c", "cd /tmp; echo old > file; ln -s file link")
    site.run("cp", str(tree / "run.sh"), f"{running}:/tmp/link")
    shown = site.run("exec", running, "--", "sh", "-c", "cat /tmp/file; readlink /tmp/link").stdout
    assert shown == "#!/bin/sh\necho ran\nfile\n"


def test_a_stopped_container_is_copied_from_too(site: Site, running: str) -> None:
    site.run("exec", running, "--", "sh", "-c", "echo kept > /tmp/kept")
    site.run("stop", running, "--yes")
    out = site.run("cp", f"{running}:/tmp/kept", "-")
    assert "kept" in out.stdout


def test_no_link_of_a_container_leads_out_of_it(site: Site, running: str) -> None:
    secret = site.scratch / "secret"
    secret.write_text("of the host")
    secret.chmod(0o600)
    site.run("exec", running, "--", "ln", "-s", str(site.scratch), "/tmp/way")
    refused = site.run("cp", f"{running}:/tmp/way/secret", "-", check=False)
    assert refused.status != 0
    assert "of the host" not in refused.stdout
    tar = subprocess.run(["tar", "c", "-C", "/etc", "hostname"], capture_output=True, check=True).stdout
    argv, environment = site.command("cp", "-", f"{running}:/tmp/way")
    subprocess.run(argv, env=environment, input=tar, capture_output=True, check=False, cwd="/", timeout=60)
    assert [path.name for path in site.scratch.glob("hostname")] == []


def test_nobody_copies_from_anothers_container(site: Site, running: str) -> None:
    refused = site.run("cp", f"{running}:/etc/passwd", "-", user="bob", check=False)
    assert refused.status == 3
    assert refused.stdout == ""


def test_a_renamed_container_keeps_its_gpu_its_files_and_its_name_everywhere(site: Site) -> None:
    site.run("create", "before", "--image", BUSYBOX, "--gpu-kind", "full", user="bob")
    site.run("start", "before", user="bob")
    running = site.run("container", "rename", "before", "after", user="bob", check=False)
    assert running.status == 8
    site.run("stop", "before", "--yes", user="bob")
    site.run("container", "rename", "before", "after", user="bob")
    names = site.run("list", "-q", user="bob").stdout.split()
    assert names == ["after"]
    gpu = next(gpu for gpu in site.run("gpus", "--json").document["gpus"] if gpu["uuid"] == WHOLE_GPU)
    assert [holder["container"] for holder in gpu["holders"]] == ["after"]
    site.run("start", "after", user="bob")
    assert site.run("exec", "after", "--", "id", "-u", user="bob").stdout.strip() == str(site.accounts["bob"].uid)
    site.run("rm", "--force", "--yes", "after", user="bob")
    assert site.private_tags() == []


def test_a_plain_docker_rename_is_followed(site: Site) -> None:
    uid = site.accounts["alice"].uid
    site.run("create", "mine", "--image", BUSYBOX, "--cpu-only")
    site.engine.docker("rename", f"mine._.{uid}", f"yours._.{uid}")
    wait_until(lambda: site.run("list", "-q").stdout.split() == ["yours"], "the new name")
    site.run("rm", "--yes", "yours")


def test_a_paused_container_does_nothing_and_goes_on(site: Site, running: str) -> None:
    site.run("container", "pause", running)
    assert site.inspect(running)["State"]["Status"] == "paused"
    assert site.run("exec", running, "--", "true", check=False).status == 125
    site.run("container", "unpause", running)
    assert site.run("exec", running, "--", "echo", "on").stdout == "on\n"
    site.run("container", "pause", running)
    site.run("stop", running, "--force")
    assert site.inspect(running)["State"]["Status"] == "exited"


def test_a_restart_keeps_its_gpu_while_somebody_waits_for_it(site: Site) -> None:
    site.run("create", "mine", "--image", BUSYBOX, "--gpu-kind", "full")
    assert "Would start mine" in site.run("start", "mine", "--dry-run").stderr
    assert site.inspect("mine")["State"]["Status"] == "created"
    site.run("start", "mine")
    begun = site.inspect("mine")["State"]["StartedAt"]
    waiting = site.spawn("create", "theirs", "--image", BUSYBOX, "--gpu-kind", "full", "--wait", user="bob")
    wait_until(lambda: "theirs" in site.run("queue", "list", user="bob").stdout, "bob's place in the queue")
    assert site.run("restart", "mine", "--json").document["results"][0]["container"]["gpus"][0]["uuid"] == WHOLE_GPU
    assert site.inspect("mine")["State"]["StartedAt"] != begun
    assert waiting.poll() is None
    assert site.run("restart", "mine", "--dry-run").stdout == f"docker restart mine._.{site.accounts['alice'].uid}\n"
    site.run("container", "pause", "mine", "--dry-run")
    assert site.inspect("mine")["State"]["Status"] == "running"
    site.run("stop", "mine")
    assert waiting.wait(timeout=60) == 0


def test_cleanup_frees_builds_without_a_name_and_gpus_that_are_kept(site: Site) -> None:
    words = ("--label", "aime.mlc.MAINTAINER=bob", "--label", "aime.mlc.CUSTOM_IMAGE=thesis")
    recipe = f"FROM {BUSYBOX}\nRUN dd if=/dev/zero of=/three bs=1M count=3\n"
    image = site.engine.docker("build", "-q", *words, "-", stdin=recipe).strip()
    try:
        site.run("create", "kept", "--image", BUSYBOX, "--gpu-kind", "full", user="bob")
        site.run("start", "kept", user="bob")
        site.run("stop", "kept", user="bob")
        everything = ("container", "cleanup", "--older-than", "0s")
        found = site.run(*everything, "--dry-run", "--json", user="bob").document["leftovers"]
        assert {item["kind"] for item in found} == {"stopped", "kept GPUs", "build without a name"}
        [build] = [item for item in found if item["kind"] == "build without a name"]
        assert 3_000_000 <= build["size_bytes"] < 4_000_000, "the layers of its base are not freed"
        assert site.run(*everything, "--dry-run", "--json").document["leftovers"] == [], "they are not alice's"
        freed = site.run(*everything, "-y", "--json", user="bob").document
        assert [result["removed"] for result in freed["results"]] == [True, True]
        assert site.containers() == []
        assert image not in site.engine.docker("images", "--quiet", "--no-trunc").split()
    finally:
        site.engine.try_docker("rmi", image)


def test_ports_shows_what_listens(site: Site, running: str) -> None:
    site.spawn("exec", running, "--", "nc", "-l", "-p", "8899")
    wait_until(lambda: site.run("container", "ports", running, "--json").document["ports"], "the listening port")
    row = site.run("container", "ports", running, "--json").document["ports"][0]
    assert (row["port"], row["listening"], row["local"]) == (8899, True, False)
    assert (
        f"ssh -L 8899:{site.inspect(running)['NetworkSettings']['IPAddress']}:8899"
        in site.run("container", "ports", running).stdout
    )


def test_deploy_and_retire_are_a_whole_day(site: Site) -> None:
    site.run("deploy", "today", "--image", BUSYBOX, "--cpu-only", "--background")
    assert site.inspect("today")["State"]["Status"] == "running"
    site.run("retire", "today", "--yes")
    assert site.containers() == []


def test_a_bare_base_gets_sudo_and_git_once_although_ten_create_at_the_same_moment(site: Site) -> None:
    site.engine.docker("build", "-q", "-t", BARE, "-", stdin=f"{WITHOUT_TOOLS}\n")
    since = f"{time.time():.9f}"
    try:
        everybody = [(f"c{number}", ("alice", "bob")[number % 2]) for number in range(10)]
        creating = [site.spawn("create", name, "--image", BARE, "--cpu-only", user=user) for name, user in everybody]
        for process in creating:
            _, said = process.communicate(timeout=300)
            assert process.returncode == 0, said
            assert "no sudo" not in said
        assert len({site.inspect(name, user=user)["Image"] for name, user in everybody}) == 1
        words = ("--filter", "type=image", "--filter", "event=tag", "--format", "{{.Actor.Attributes.name}}")
        tagged = site.engine.docker("events", "--since", since, "--until", f"{time.time():.9f}", *words).split()
        assert len([name for name in tagged if name.startswith("ds01.invalid/with-tools:")]) == 1, "built twice"
        site.run("start", "c1", user="bob")
        inside = "id -u; sudo -n id -u; git --version"
        shown = site.run("exec", "c1", "--", "sh", "-c", inside, user="bob").stdout.split("\n")
        assert shown[:2] == [str(site.accounts["bob"].uid), "0"]
        assert shown[2].startswith("git version")
    finally:
        _forget_bare(site)


def test_a_base_whose_tools_cannot_be_had_is_used_without_them_and_it_is_said(site: Site) -> None:
    broken = f"{WITHOUT_TOOLS}; printf '#!/bin/sh\\necho no packages today >&2; exit 100\\n' > /usr/bin/apt-get\n"
    site.engine.docker("build", "-q", "-t", BARE, "-", stdin=broken)
    try:
        made = site.run("create", "one", "--image", BARE, "--cpu-only")
        assert "no sudo and no git, and it could not be added" in made.stderr
        assert "no packages today" in made.stderr
        site.run("start", "one")
        told = site.run("exec", "one", "--", "sh", "-c", "id -u; command -v sudo git || echo none").stdout.split()
        assert told == [str(site.accounts["alice"].uid), "none"]
    finally:
        _forget_bare(site)


def _forget_bare(site: Site) -> None:
    site.clear()
    derived = [tag for tag in site.images() if tag.startswith("ds01.invalid/with-tools:")]
    for tag in [*derived, BARE]:
        site.engine.try_docker("rmi", tag)
