"""What the predecessors' documents promised to their users, kept end to end."""

import json
import os
from collections.abc import Iterator

import pytest

from tests.e2e.site import BUSYBOX, GPUS, Site
from tests.engine import DevEngine
from tests.terminal import Terminal

PYTORCH = "aimehub/pytorch-2.8.0-aime-cuda12.6.3"


def test_data_and_models_are_mounted_beside_the_workspace(site: Site) -> None:
    alice = site.accounts["alice"]
    for name in ("data", "models"):
        folder = alice.home / name
        folder.mkdir(exist_ok=True)
        os.chown(folder, alice.uid, alice.gid)
        (folder / "file").write_text(name)
    data, models = str(alice.home / "data"), str(alice.home / "models")
    site.run("create", "three", "--image", BUSYBOX, "--cpu-only", "-d", data, "-m", models)
    site.run("start", "three")
    assert site.run("exec", "three", "--", "cat", "/data/file", "/models/file").stdout == "datamodels"
    labels = site.inspect("three")["Config"]["Labels"]
    assert labels["aime.mlc.DATA_MOUNT"] == data
    assert labels["aime.mlc.MODELS_MOUNT"] == models


def test_no_container_is_privileged_or_shares_the_hosts_namespaces(site: Site, running: str) -> None:
    inspected = site.inspect(running)
    host = inspected["HostConfig"]
    assert host["Privileged"] is False
    assert host["IpcMode"] == "private"
    assert host["PidMode"] == ""
    assert host["NetworkMode"] == "bridge"
    assert host["PortBindings"] in ({}, None)
    assert not host["Devices"]
    assert not host["CapAdd"]
    assert host["Init"] in (False, None)
    sources = [mount["Source"] for mount in inspected["Mounts"]]
    assert sources == [str(site.accounts["alice"].home / "workspace" / running)]


def test_a_custom_image_is_labelled_as_one(site: Site) -> None:
    site.run("create", "own", "--image", f"{BUSYBOX}:latest", "--cpu-only")
    labels = site.inspect("own")["Config"]["Labels"]
    assert labels["aime.mlc.CUSTOM_IMAGE"] == f"{BUSYBOX}:latest"
    assert labels["aime.mlc.FRAMEWORK"] == "custom-latest"
    shown = site.run("inspect", "own", "--json").document
    assert shown["image"] == f"{BUSYBOX}:latest"


def test_a_framework_beside_an_image_only_names_it(site: Site) -> None:
    site.run("create", "mixed", "pytorch", "2.7.1", "--image", BUSYBOX, "--cpu-only")
    inspected = site.inspect("mixed")
    assert inspected["Config"]["Labels"]["aime.mlc.FRAMEWORK"].lower() == "pytorch-2.7.1"
    assert inspected["Config"]["Image"].startswith(BUSYBOX)


def test_the_cgroup_parent_is_accepted_only_as_it_is_anyway(site: Site) -> None:
    parent = f"/ds01/u{site.accounts['alice'].uid}"
    site.run("create", "same", "--image", BUSYBOX, "--cpu-only", f"--cgroup-parent={parent}")
    refused = site.run("create", "other", "--image", BUSYBOX, "--cpu-only", "--cgroup-parent=/", check=False)
    assert refused.status == 4
    assert parent in refused.stderr


def test_a_name_with_blanks_is_proposed_in_scripts(site: Site) -> None:
    refused = site.run("create", "My Project", "--image", BUSYBOX, "--cpu-only", "-s", check=False)
    assert refused.status == 2
    assert "my-project" in refused.stderr


def test_one_gpu_is_the_default(site: Site) -> None:
    created = site.run("create", "usual", "--image", BUSYBOX, "--json").document
    assert len(created["container"]["gpus"]) == 1


def test_a_port_is_published_on_loopback_only(site: Site) -> None:
    site.run("create", "web", "--image", BUSYBOX, "--cpu-only", "-p", "8888")
    site.run("start", "web")
    bindings = site.inspect("web")["NetworkSettings"]["Ports"]["8888/tcp"]
    assert [binding["HostIp"] for binding in bindings] == ["127.0.0.1"]


def test_a_port_that_is_taken_is_named(site: Site) -> None:
    for name in ("first", "second"):
        site.run("create", name, "--image", BUSYBOX, "--cpu-only", "-p", "18080:80")
    site.run("start", "first")
    refused = site.run("start", "second", check=False)
    assert refused.status == 8
    assert "Something else uses 127.0.0.1:18080 of this machine already." in refused.stderr
    site.run("stop", "first")
    site.run("start", "second")


def test_variables_reach_the_container_but_not_the_grants(site: Site) -> None:
    site.run("create", "env", "--image", BUSYBOX, "--cpu-only", "-e", "WANDB_MODE=offline")
    site.run("start", "env")
    assert site.run("exec", "env", "--", "sh", "-c", "echo $WANDB_MODE").stdout.strip() == "offline"
    refused = site.run(
        "create", "x1", "--image", BUSYBOX, "--cpu-only", "-e", "NVIDIA_VISIBLE_DEVICES=all", check=False
    )
    assert refused.status == 2


def test_open_gives_a_shell_with_the_prompt_and_starts_the_container(site: Site) -> None:
    site.run("create", "shell", "pytorch", "--cpu-only")
    argv, environment = site.command("open", "shell")
    with Terminal(argv, {**environment, "TERM": "xterm"}, rows=31, columns=117) as terminal:
        terminal.wait_for("[shell] alice@shell:/workspace$ ", timeout_s=30)
        terminal.type("echo $((6*7)); stty size\n")
        terminal.wait_for("31 117")
        assert "42" in terminal.text()
        terminal.type("exit 3\n")
        assert terminal.wait() == 0  # leaving a shell is no failure
    assert site.inspect("shell")["State"]["Running"] is True


@pytest.fixture(scope="module")
def registry_engine() -> Iterator[DevEngine]:
    """An engine that can pull the catalogue's names from a registry of its own."""
    with DevEngine("pulling", registry=True) as engine:
        engine.bring_images("busybox")
        engine.docker("tag", BUSYBOX, PYTORCH)
        engine.publish(PYTORCH)
        yield engine


def test_a_missing_image_is_pulled_with_its_progress(own_site: Site, registry_engine: DevEngine) -> None:
    shared, own_site.engine = own_site.engine, registry_engine
    try:
        own_site.write_gpus(GPUS)
        registry_engine.docker("rmi", "--force", PYTORCH, BUSYBOX)
        own_site.start()
        created = own_site.run("create", "pulled", "pytorch", "--cpu-only", "--json")
        assert json.loads(created.stdout)["container"]["image"] == PYTORCH
        assert registry_engine.docker("images", "--quiet", PYTORCH).strip()
    finally:
        own_site.stop()
        own_site.engine = shared
        own_site.write_gpus(GPUS)
