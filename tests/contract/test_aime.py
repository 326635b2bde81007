"""Peace with AIME's `mlc`: it handles our containers, and we handle its, with its own docker command lines."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.aime import FRAMEWORK, Aime
from tests.e2e.site import (
    GPUS,
    REPOSITORY,
    WHOLE_GPU,
    Account,
    Program,
    Site,
    find_program,
    make_account,
    require_stop_at_once,
    wait_until,
)
from tests.engine import DevEngine, EngineUnavailableError
from tests.terminal import Terminal

BASE = "aimehub/pytorch-2.8.0-cuda12.6.3"
SAVES = (
    "trap 'sleep 2; echo saved > /workspace/saved; exit 0' TERM; echo > /workspace/ready; while :; do sleep 0.1; done"
)


@pytest.fixture(scope="module")
def engine() -> Iterator[DevEngine]:
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "this suite needs root"
        pytest.skip("this suite needs root")
    engine = DevEngine("aime")
    try:
        engine.start()
    except EngineUnavailableError as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no engine: {missing}")
    try:
        engine.bring_images("all")
        yield engine
    finally:
        engine.stop()


@pytest.fixture(scope="module")
def accounts() -> Iterator[dict[str, Account]]:
    made = {name: make_account(name, "ds01lab") for name in ("alice", "bob")}
    yield made
    for account in made.values():
        if account.was_made:
            subprocess.run(["userdel", "--remove", account.name], check=True, capture_output=True)


@pytest.fixture(scope="module")
def shared_site(engine: DevEngine, accounts: dict[str, Account]) -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="ds01-aime-", dir="/var/tmp"))
    folder.chmod(0o755)
    program = find_program(accounts["alice"], folder)
    if program.folder is None:
        program = Program(program.python, REPOSITORY / "src")  # this tree, whatever is installed
    site = Site(engine, folder, program, accounts)
    site.start()
    yield site
    site.stop()
    shutil.rmtree(folder)


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    shared_site.clear()
    yield shared_site
    shared_site.clear()


@pytest.fixture
def aime(site: Site, engine: DevEngine) -> Aime:
    """alice as a user of mlc."""
    alice = site.accounts["alice"]
    workspace = alice.home / "workspace"
    workspace.mkdir(exist_ok=True)
    os.chown(workspace, alice.uid, alice.gid)
    return Aime(engine, alice.name, alice.uid, alice.gid, workspace)


def stop_at_once(site: Site, name: str, engine_name: str) -> None:
    """`ds01 stop` of a container whose first process is AIME's shell, which ends when it is hung up."""
    require_stop_at_once(site, engine_name, lambda: site.run("stop", "--yes", name), signal.SIGHUP)
    assert json.loads(site.engine.docker("inspect", engine_name))[0]["State"]["ExitCode"] == 128 + signal.SIGHUP


def row_of(site: Site, name: str, user: str = "alice") -> dict[str, object]:
    rows = site.run("list", "--json", user=user).document["containers"]
    found: dict[str, object] = next(row for row in rows if row["name"] == name)
    return found


# --- mlc handles ours -------------------------------------------------------------------------------------------------


def test_mlc_lists_opens_stops_and_removes_ours_and_the_shared_base_stays(site: Site, aime: Aime) -> None:
    site.run("create", "demo", "--image", BASE, "--gpu-kind", "full")
    tag = aime.tag("demo")
    row = aime.list_()[0]
    assert row["Names"] == tag
    assert row["labels"]["aime.mlc.NAME"] == "demo"
    assert [row["Names"] for row in aime.list_(all_users=True)] == [tag]
    assert aime.names() == [tag]
    assert not aime.is_running(tag)
    shown = aime.open(tag, "echo uid-$(id -u)-is-here")
    assert f"uid-{aime.uid}-is-here" in shown
    assert aime.is_running(tag)
    assert not aime.is_active(tag)
    require_stop_at_once(site, tag, lambda: aime.stop(tag), signal.SIGTERM)
    assert not aime.is_running(tag)
    aime.start(tag)
    assert aime.is_running(tag)
    aime.stop(tag)
    aime.remove(tag)
    assert site.containers() == []
    assert site.private_tags() == []
    assert f"{BASE}:latest" in site.images()


def test_a_program_in_ours_is_an_active_session_for_mlc(site: Site, aime: Aime) -> None:
    site.run("create", "busy", "--image", BASE, "--cpu-only")
    site.run("start", "busy")
    site.engine.docker("exec", "--detach", aime.tag("busy"), "sleep", "1000")
    assert aime.is_active(aime.tag("busy"))


# --- we handle mlc's --------------------------------------------------------------------------------------------------


def test_a_container_of_mlc_2_is_listed_opened_stopped_at_once_and_removed_with_its_own_image(
    site: Site, aime: Aime
) -> None:
    tag = aime.create("old", BASE)
    row = row_of(site, "old")
    assert (row["origin"], row["managed"], row["framework"], row["owner"]) == ("mlc", False, FRAMEWORK, "alice")
    assert "mlc (not managed)" in site.run("list", "-a", user="alice").stdout
    assert site.run("list", "-q", user="bob").stdout == ""
    site.run("start", "old")
    shown = site.run(
        "exec",
        "old",
        "--",
        "sh",
        "-c",
        'echo $(id -u):$(id -g) $USER; case $PATH in "$HOME/.local/bin:"*) echo path;; esac',
    )
    assert shown.stdout.splitlines() == [f"{aime.uid}:{aime.gid} alice", "path"]
    assert site.run("stats", "old", "--json").document["containers"][0]["name"] == "old"
    site.run("logs", "old")
    stop_at_once(site, "old", tag)
    assert "stopped" in site.run("inspect", "old").stdout
    assert f"{BASE}:{tag}" in site.images()
    site.run("rm", "--yes", "old")
    assert site.containers() == []
    assert f"{BASE}:{tag}" not in site.images()
    assert f"{BASE}:latest" in site.images()


def test_a_container_of_mlc_1_is_handled_alike(site: Site, aime: Aime) -> None:
    tag = aime.create_v1("tf1-15", BASE)
    assert row_of(site, "tf1-15")["origin"] == "mlc"
    site.run("start", "tf1-15")
    assert site.run("exec", "tf1-15", "--", "id", "-u").stdout.strip() == str(aime.uid)
    stop_at_once(site, "tf1-15", tag)
    site.run("rm", "--yes", "tf1-15")
    assert f"{BASE}:{tag}" not in site.images()
    assert f"{BASE}:latest" in site.images()


def test_the_oldest_layout_without_a_uid_belongs_to_the_login_in_its_label(site: Site, aime: Aime) -> None:
    aime.create_oldest("ancient", BASE)
    assert row_of(site, "ancient")["owner"] == "alice"
    assert site.run("start", "ancient", user="bob", check=False).status == 3
    site.run("start", "ancient")
    assert site.run("exec", "ancient", "--", "id", "-u").stdout.strip() == str(aime.uid)
    stop_at_once(site, "ancient", "ancient")
    site.run("rm", "--yes", "ancient")
    assert f"{BASE}:ancient" not in site.images()
    assert f"{BASE}:latest" in site.images()


def test_a_container_made_from_a_shared_image_is_removed_without_it(site: Site, aime: Aime) -> None:
    site.engine.docker(
        "create", "-it", "--name", aime.tag("direct"), "--label", "aime.mlc=alice", f"{BASE}:latest", "bash"
    )
    site.run("rm", "--yes", "direct")
    assert site.containers() == []
    assert f"{BASE}:latest" in site.images()


@pytest.mark.parametrize("way", ["ds01 stop", "docker stop", "mlc stop"])
def test_a_program_in_an_open_session_of_ours_gets_the_two_seconds_it_needs(site: Site, aime: Aime, way: str) -> None:
    site.run("create", "saver", "--image", BASE, "--cpu-only", "--workspace", str(aime.workspace))
    tag = aime.tag("saver")
    stops: dict[str, Callable[[], object]] = {
        "ds01 stop": lambda: site.run("stop", "--yes", "saver"),
        "docker stop": lambda: site.engine.docker("stop", tag),
        "mlc stop": lambda: aime.stop(tag),
    }
    with saving_in_a_session(site, aime):
        stops[way]()
    assert not aime.is_running(tag)
    assert (aime.workspace / "saved").read_text() == "saved\n"


def test_a_program_gets_its_time_to_save_before_mlcs_shell_is_hung_up(site: Site, aime: Aime) -> None:
    aime.create("saver", BASE)
    with saving_in_a_session(site, aime):
        site.run("stop", "--yes", "saver")
    assert (aime.workspace / "saved").read_text() == "saved\n"


@contextmanager
def saving_in_a_session(site: Site, aime: Aime) -> Iterator[None]:
    """alice has opened `saver` and started a program there that needs two seconds to save its work."""
    site.run("start", "saver")
    argv, environment = site.command("open", "saver")
    with Terminal(argv, {**environment, "TERM": "xterm"}) as shell:
        shell.type("echo in''side\n")
        shell.wait_for("inside")
        shell.type(f'sh -c "{SAVES}"\n')
        wait_until((aime.workspace / "ready").exists, "the program's start")
        yield


def test_a_privileged_container_with_all_gpus_holds_them_all_and_gpus_says_so(site: Site, aime: Aime) -> None:
    aime.create("greedy", BASE)
    site.run("start", "greedy")
    gpus = site.run("gpus", "--json").document["gpus"]
    assert len(gpus) == GPUS.count("\nmig ") + 1
    assert all(gpu["holders"][0]["container"] == aime.tag("greedy") for gpu in gpus)
    assert "privileged, with every GPU" in gpus[0]["reason"]
    refused = site.run("create", "mine", "--image", BASE, "--gpu-kind", "full", user="bob", check=False)
    assert refused.status == 5
    assert "greedy" in refused.stderr
    # alice herself holds more than her quota by it, however it was attached
    assert site.run("create", "mine", "--image", BASE, "--gpu-kind", "full", check=False).status == 4


def test_an_adopted_container_is_managed_limited_and_its_gpu_is_booked(site: Site, aime: Aime) -> None:
    tag = aime.create("mine", BASE, gpus=f"device={WHOLE_GPU}")
    site.run("start", "mine")
    planned = site.run("container", "adopt", "mine", "--dry-run")
    assert planned.stdout.strip() == f"docker update --cpus 1 --memory 512m --memory-swap 512m --pids-limit 4096 {tag}"
    assert row_of(site, "mine")["managed"] is False
    assert site.run("container", "adopt", "mine", user="bob", check=False).status == 3
    site.run("container", "adopt", "mine", "--yes")
    row = row_of(site, "mine")
    assert (row["managed"], row["origin"], row["allocation_state"]) == (True, "mlc", "active")
    host = site.inspect("mine")["HostConfig"]
    assert (host["NanoCpus"], host["Memory"], host["PidsLimit"]) == (10**9, 512 * 1024**2, 4096)
    assert site.held()["0"] == ["mine"]
    assert site.run("container", "adopt", "mine", "--yes", "--json").document["was_managed"] is True
    stop_at_once(site, "mine", tag)
    assert site.held()["0"] == []
    site.run("rm", "--yes", "mine")
    assert f"{BASE}:{tag}" not in site.images()
    assert f"{BASE}:latest" in site.images()


def test_a_container_whose_gpu_another_holds_is_not_adopted(site: Site, aime: Aime) -> None:
    aime.create("late", BASE, gpus=f"device={WHOLE_GPU}")
    site.run("create", "first", "--image", BASE, "--gpu-kind", "full", user="bob")
    site.run("start", "first", user="bob")
    site.engine.docker("start", aime.tag("late"))
    refused = site.run("container", "adopt", "late", "--yes", check=False)
    assert refused.status == 5
    assert "first" in refused.stderr
    assert row_of(site, "late")["managed"] is False


def test_a_nameless_owner_needs_an_administrator_to_adopt(site: Site) -> None:
    site.engine.docker("run", "--detach", "--name", "web", BASE, "sleep", "1000")
    assert site.run("container", "adopt", "web", "--yes", check=False).status == 3


def test_what_an_interrupted_mlc_create_leaves_is_offered_and_cleared(site: Site, aime: Aime) -> None:
    aime.begin_create("half", BASE)
    site.run("create", "kept", "--image", BASE, "--cpu-only")
    site.run("start", "kept")
    assert site.run("container", "cleanup", "--dry-run", "--json").document["leftovers"] == []
    found = site.run("container", "cleanup", "--dry-run", "--older-than", "0s", "--json").document["leftovers"]
    assert [(item["name"], item["kind"]) for item in found] == [("half", "half made")]
    unsure = site.run("container", "cleanup", "--older-than", "0s", check=False)
    assert unsure.status == 2
    assert "half" in unsure.stdout
    assert site.run("container", "cleanup", "--older-than", "0s", "-y", user="bob").stdout == ""
    site.run("container", "cleanup", "--older-than", "0s", "-y")
    assert site.containers() == [f"kept._.{aime.uid}"]
    site.engine.docker("tag", f"{BASE}:latest", f"{BASE}:{aime.tag('gone')}")
    site.run("container", "cleanup", "--older-than", "0s", "-y")
    assert f"{BASE}:{aime.tag('gone')}" not in site.images()
    assert f"{BASE}:latest" in site.images()
