"""Images of people's own on a real engine, with packages of a real registry: questions, flags, what comes out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.online import online_base
from tests.e2e.site import Account, Site
from tests.terminal import Terminal

PYTORCH = "aimehub/pytorch-2.8.0-aime-cuda12.6.3"
PINS = {"six": "1.16.0", "tabulate": "0.9.0", "einops": "0.8.0"}
ENTER, DOWN, UP = "\r", "\x1b[B", "\x1b[A"
BUILD_TIMEOUT_S = 300


def dockerfile(account: Account, name: str) -> Path:
    return account.home / "dockerfiles" / f"{name}-{account.name}.Dockerfile"


def answer(terminal: Terminal, question: str, keys: str) -> None:
    terminal.wait_for(question)
    terminal.output = b""
    terminal.type(keys)


def remove_images(site: Site) -> None:
    for tag in site.images():
        if tag.startswith("ds01.invalid/u"):
            site.engine.try_docker("rmi", "--force", tag)


@pytest.fixture(scope="module")
def thesis(shared_site: Site) -> Iterator[Path]:
    """alice's image, made by the questions on a terminal and built from there; its Dockerfile."""
    shared_site.clear()
    alice = shared_site.accounts["alice"]
    with online_base(shared_site.engine, PYTORCH):
        argv, environment = shared_site.command("image", "create")
        with Terminal(argv, {**environment, "TERM": "xterm-256color"}, rows=24, columns=80) as terminal:
            answer(terminal, "Name of the image?", "thesis\r")
            answer(terminal, "Which framework?", "pytorch" + ENTER)
            answer(terminal, "Go on?", ENTER)
            answer(terminal, "Jupyter?", DOWN + DOWN + ENTER)
            answer(terminal, "Packages, with bounds", "ipykernel<7\r")
            answer(terminal, "Data science?", DOWN + DOWN + ENTER)
            answer(terminal, "Packages, with bounds", "tabulate==0.9.0\r")
            answer(terminal, "What is it for?", ENTER)
            answer(terminal, "More packages of Python", "'six>=1.15,<1.17' einops==0.8.0\r")
            answer(terminal, "by apt", "less\r")
            answer(terminal, "pyproject.toml?", "\r")
            answer(terminal, "Write the Dockerfile", ENTER)
            answer(terminal, "Build the image now (phase 2/2)?", "y\r")
            assert terminal.wait(BUILD_TIMEOUT_S) == 0, terminal.text()
            assert "ds01 create my-project --image thesis" in terminal.text()
        yield dockerfile(alice, "thesis")
    shared_site.clear()
    remove_images(shared_site)
    dockerfile(alice, "thesis").unlink(missing_ok=True)


def test_questions_and_flags_write_the_same_bytes(shared_site: Site, thesis: Path) -> None:
    words = ["image", "create", "thesis", "--framework", "pytorch", "--jupyter", "ipykernel<7"]
    words += ["--data-science", "tabulate==0.9.0", "--packages", "six>=1.15,<1.17 einops==0.8.0", "--system", "less"]
    other = thesis.with_name("flags.Dockerfile")
    shared_site.run(*words, "--dockerfile", str(other))
    assert other.read_bytes() == thesis.read_bytes()
    other.unlink()


def test_the_image_has_the_pins_of_its_dockerfile_and_its_kernel(shared_site: Site, thesis: Path) -> None:
    assert "'six<1.17,>=1.15'" in thesis.read_text()
    listed = shared_site.run("image", "packages", "thesis").stdout.split()
    assert {f"{name}=={version}" for name, version in PINS.items()} <= set(listed)
    reference = f"ds01.invalid/u{shared_site.accounts['alice'].uid}/thesis:latest"
    inside = shared_site.engine.docker(
        "run", "--rm", reference, "sh", "-c", "pip list --format freeze; command -v less"
    )
    assert set(listed) == {line for line in inside.splitlines() if "==" in line}
    assert inside.splitlines()[-1] == "/usr/bin/less"
    kernels = shared_site.engine.docker(
        "run", "--rm", reference, "cat", "/usr/share/jupyter/kernels/thesis/kernel.json"
    )
    assert '"display_name": "thesis (Pytorch-2.8.0-aime)"' in kernels
    assert shared_site.run("image", "inspect", "thesis", "--json").document["dockerfile_state"] == "as built"


def test_a_container_from_an_own_image_has_its_labels_limits_and_user(shared_site: Site, thesis: Path) -> None:
    assert thesis.exists()
    alice = shared_site.accounts["alice"]
    shared_site.run("container", "create", "chapter", "--image", "thesis", "--cpu-only")
    shared_site.run("start", "chapter")
    found = shared_site.inspect("chapter")
    labels, host = found["Config"]["Labels"], found["HostConfig"]
    assert labels["aime.mlc.CUSTOM_IMAGE"] == f"ds01.invalid/u{alice.uid}/thesis:latest"
    assert (labels["aime.mlc"], labels["aime.mlc.NAME"]) == ("alice", "chapter")
    assert labels["aime.mlc.MAINTAINER"] == "alice"
    limits = shared_site.run("limits", "--json").document["limits"]
    assert (host["Memory"], host["PidsLimit"]) == (limits["memory"]["value"], limits["pids_limit"]["value"])
    script = "id -u; id -un; pwd; python3 -c 'import einops; print(einops.__version__)'; pip install --user --quiet six"
    inside = shared_site.run("exec", "chapter", "--", "sh", "-c", script).stdout.split()
    assert inside == [str(alice.uid), "alice", "/workspace", "0.8.0"]
    used = shared_site.run("image", "inspect", "thesis", "--json").document["containers"]
    assert used == [f"chapter._.{alice.uid}"]
    refused = shared_site.run("image", "delete", "thesis", "--yes", check=False)
    assert (refused.status, "chapter" in refused.stderr) == (8, True)
    shared_site.run("rm", "chapter", "--force", "--yes")


def test_nobody_else_sees_uses_or_replaces_the_image(shared_site: Site, thesis: Path) -> None:
    assert thesis.exists()
    alice, bob = shared_site.accounts["alice"], shared_site.accounts["bob"]
    theirs = f"ds01.invalid/u{alice.uid}/thesis:latest"
    before = shared_site.engine.docker("image", "inspect", "--format", "{{.Id}}", theirs)
    for words in (["image", "inspect"], ["image", "delete", "--yes"], ["image", "packages"]):
        for name in ("thesis", theirs):
            refused = shared_site.run(*words, name, user="bob", check=False)
            assert refused.status == 3, (words, name, refused.stderr)
    assert shared_site.run("create", "x1", "--image", theirs, "--cpu-only", user="bob", check=False).status == 3
    mine = bob.home / "mine.Dockerfile"
    mine.write_text("FROM ds01-dev/busybox\n")
    shared_site.run("image", "build", str(mine), "--tag", "thesis", user="bob")
    assert shared_site.engine.docker("image", "inspect", "--format", "{{.Id}}", theirs) == before
    for name, status in (("Thesis", 2), ("pytorch", 2), ("a/b", 2), (theirs, 2)):
        refused = shared_site.run("image", "build", str(mine), "--tag", name, user="bob", check=False)
        assert refused.status == status, (name, refused.stderr)
    mine.unlink()


def test_a_dockerfile_that_is_there_is_not_replaced(shared_site: Site, thesis: Path) -> None:
    before = thesis.read_bytes()
    refused = shared_site.run("image", "create", "thesis", "--framework", "pytorch", check=False)
    assert refused.status == 8
    assert "ds01 image update thesis" in refused.stderr
    assert thesis.read_bytes() == before
