"""Builds that are broken off, or cannot succeed: no half image stays, the reason is said, the next build works."""

import io
import os
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.site import BUSYBOX, PATIENCE_S, Site, wait_until
from tests.engine import DevEngine

PYTORCH = "aimehub/pytorch-2.8.0-aime-cuda12.6.3"
LONG = f"FROM {BUSYBOX}\nLABEL e2e.long=yes\nRUN echo begun; sleep 300\n"
SHORT = f"FROM {BUSYBOX}\nRUN echo made > /made\n"
FOREIGN = "ds01-dev/foreign"
WITHOUT_PIP = "ds01-dev/without-pip"


@pytest.fixture
def written(site: Site) -> Iterator[Path]:
    """A folder of alice's for Dockerfiles; the images built in the test go afterwards."""
    yield from _folder(site)


@pytest.fixture
def own_written(own_site: Site) -> Iterator[Path]:
    """The same on a site of the test's own."""
    yield from _folder(own_site)


def _folder(site: Site) -> Iterator[Path]:
    alice = site.accounts["alice"]
    with tempfile.TemporaryDirectory(dir=alice.home) as name:
        os.chown(name, alice.uid, alice.gid)
        yield Path(name)
    for tag in site.images():
        if tag.startswith("ds01.invalid/u"):
            site.engine.try_docker("rmi", "--force", tag)


def put(folder: Path, text: str) -> str:
    path = folder / "Dockerfile"
    path.write_text(text)
    return str(path)


def own_images(site: Site) -> list[str]:
    return [tag for tag in site.images() if tag.startswith("ds01.invalid/u")]


def begun(site: Site) -> bool:
    """Whether the long step runs."""
    return bool(site.engine.docker("ps", "--quiet", "--filter", "label=e2e.long").strip())


def start_long_build(site: Site, folder: Path) -> "subprocess.Popen[str]":
    client = site.spawn("image", "build", put(folder, LONG), "--tag", "long")
    wait_until(lambda: begun(site), "the long step")
    return client


def require_next_build(site: Site, folder: Path) -> None:
    """Nothing of the broken one is left, and the same name is built."""
    assert own_images(site) == []
    assert not site.engine.docker("ps", "--all", "--quiet", "--filter", "label=e2e.long").strip()
    site.run("image", "build", put(folder, SHORT), "--tag", "long")
    assert f"ds01.invalid/u{site.accounts['alice'].uid}/long:latest" in own_images(site)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_a_build_ends_with_its_client(site: Site, written: Path, number: int) -> None:
    client = start_long_build(site, written)
    second = site.run("image", "build", put(written, SHORT), "--tag", "long", check=False)
    assert (second.status, "being built already" in second.stderr) == (8, True)
    client.send_signal(number)
    wait_until(lambda: not begun(site), "the end of the step")
    wait_until(lambda: not site.engine.docker("ps", "--all", "--quiet", "--filter", "label=e2e.long"), "its removal")
    require_next_build(site, written)


def test_a_build_ends_with_the_daemon_and_the_client_says_so(own_site: Site, own_written: Path) -> None:
    own_site.start()
    client = start_long_build(own_site, own_written)
    own_site.stop(signal.SIGKILL)
    _, said = client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 7, said
    assert "Traceback" not in said
    wait_until(lambda: not own_site.engine.docker("ps", "--all", "--quiet", "--filter", "label=e2e.long"), "its end")
    own_site.start()
    require_next_build(own_site, own_written)


def test_an_engine_that_restarts_ends_the_build_and_the_next_one_works(own_site: Site, own_written: Path) -> None:
    with DevEngine("images") as engine:
        engine.bring_images("busybox")
        shared, own_site.engine = own_site.engine, engine
        try:
            own_site.start()
            client = start_long_build(own_site, own_written)
            engine.stop()
            _, said = client.communicate(timeout=PATIENCE_S)
            assert client.returncode == 7, said
            assert "Traceback" not in said
            engine.start()
            wait_until(lambda: own_site.run("status", check=False).status == 0, "the engine's return")
            for left in engine.docker("ps", "--all", "--quiet", "--filter", "label=e2e.long").split():
                engine.docker("rm", "--force", left)  # dockerd leaves the step of a build that it broke off
            require_next_build(own_site, own_written)
        finally:
            own_site.stop()
            own_site.engine = shared


def test_a_full_disk_is_said_and_the_next_build_works(own_site: Site, own_written: Path) -> None:
    small = own_site.scratch / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)], check=True)
    try:
        with DevEngine("small", dockerd_args=[f"--data-root={small}"]) as engine:
            engine.bring_images("busybox")
            shared, own_site.engine = own_site.engine, engine
            try:
                own_site.start()
                fills = f"FROM {BUSYBOX}\nLABEL e2e.long=yes\nRUN dd if=/dev/zero of=/large bs=1M count=100\n"
                failed = own_site.run("image", "build", put(own_written, fills), "--tag", "long", check=False)
                assert failed.status == 1
                assert "the disk is full" in failed.stderr
                require_next_build(own_site, own_written)
            finally:
                own_site.stop()
                own_site.engine = shared
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_dockerfile_with_windows_line_ends_is_built_and_one_that_is_read_only_stays(
    site: Site, written: Path
) -> None:
    path = written / "Dockerfile"
    path.write_bytes(f"FROM {BUSYBOX}\r\nRUN echo a \\\r\n  b > /made\r\nENV X=y\r\n".encode())
    site.run("image", "build", str(path), "--tag", "windows")
    reference = f"ds01.invalid/u{site.accounts['alice'].uid}/windows:latest"
    assert site.engine.docker("run", "--rm", reference, "sh", "-c", "cat /made; echo $X") == "a b\ny\n"
    alice, before = site.accounts["alice"], path.read_bytes()
    os.chown(path, alice.uid, alice.gid)
    path.chmod(0o444)
    refused = site.run("image", "update", str(path), "--add", "rich", check=False)
    assert (refused.status, "is read-only" in refused.stderr) == (8, True)
    assert path.read_bytes() == before
    path.chmod(0o644)
    site.run("image", "update", str(path), "--add", "rich")
    assert b"rich\r\n" in path.read_bytes()
    barred = site.run("image", "build", "/root/Dockerfile", check=False)
    assert (barred.status, "Permission denied" in barred.stderr) == (1, True), barred.stderr


@pytest.fixture(scope="module")
def odd_bases(shared_site: Site) -> Iterator[None]:
    """A base for another processor, and one without pip."""
    engine = shared_site.engine
    with tempfile.NamedTemporaryFile(suffix=".tar") as packed:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            # an ELF head for AArch64: no other machine runs it
            program = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00\x01\x00\x00\x00" + bytes(104)
            entry = tarfile.TarInfo("bin/sh")
            entry.size, entry.mode = len(program), 0o755
            archive.addfile(entry, io.BytesIO(program))
        packed.flush()
        engine.docker("import", "--change", 'CMD ["/bin/sh"]', packed.name, FOREIGN)
    engine.docker("build", "--tag", WITHOUT_PIP, "-", stdin=f"FROM {PYTORCH}\nRUN apt-get -y remove python3-pip\n")
    yield
    for tag in (FOREIGN, WITHOUT_PIP):
        engine.try_docker("rmi", tag)


@pytest.mark.usefixtures("odd_bases")
@pytest.mark.parametrize(
    ("base", "text", "reason", "status"),
    [
        (
            "ds01.invalid/nothing:1",
            "RUN true",
            "Line 1 of the Dockerfile (FROM): There is no image ds01.invalid/nothing",
            3,
        ),
        (BUSYBOX, "RUN apt-get update", "the base image has no apt-get", 1),
        (WITHOUT_PIP, "RUN pip install --no-cache-dir six", "the base image has no pip", 1),
        (FOREIGN, "RUN true", "for another kind of processor", 1),
    ],
    ids=["missing", "no-apt", "no-pip", "other-processor"],
)
def test_a_base_that_cannot_be_used_is_named(
    site: Site, written: Path, base: str, text: str, reason: str, status: int
) -> None:
    refused = site.run("image", "build", put(written, f"FROM {base}\n{text}\n"), "--tag", "odd", check=False)
    assert refused.status == status, refused.stderr
    assert reason in refused.stderr
    assert "Traceback" not in refused.stderr
    assert own_images(site) == []


@pytest.mark.usefixtures("odd_bases")
def test_a_base_without_pip_is_said_before_anything_is_built(site: Site) -> None:
    made = site.run("image", "create", "odd", "--base", WITHOUT_PIP, "--dry-run")
    assert "has no Python with pip" in made.stderr
    added = site.run("image", "create", "odd", "--base", WITHOUT_PIP, "-s", "python3-pip", "--dry-run")
    assert "no Python with pip" not in added.stderr
