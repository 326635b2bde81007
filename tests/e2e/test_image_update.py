"""What was installed becomes a Dockerfile, and containers follow their image: on a real engine, as real users.

Of the crash points every fifth is tried, with `DS01_TEST_LONG=1` each of them.
"""

import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.site import BUSYBOX, Site, wait_until

PROBE = "ds01_probe-1.0-py3-none-any.whl"
DEB = (
    "mkdir -p /tmp/deb/DEBIAN && printf 'Package: ds01-little\\nVersion: 1.0\\nArchitecture: all\\n"
    "Maintainer: nobody\\nDescription: for a test\\n' > /tmp/deb/DEBIAN/control && "
    "dpkg-deb --build /tmp/deb /tmp/little.deb && sudo dpkg -i /tmp/little.deb"
)
PIP = "pip install --break-system-packages --no-index --find-links /workspace"
WORK = f"""set -e
{PIP} ds01-probe
{PIP} --editable /workspace/mine --no-build-isolation || true
{DEB}
echo machine x login y > ~/.netrc
dd if=/dev/zero of=/opt/big bs=1M count=11 2>/dev/null || sudo dd if=/dev/zero of=/opt/big bs=1M count=11
python3 -m venv --without-pip /tmp/environment
"""
MAX_POINTS = 80
STEP = 1 if os.environ.get("DS01_TEST_LONG") else 5


def wheel(folder: Path) -> None:
    """A package of nothing, so that no registry is needed."""
    info = "ds01_probe-1.0.dist-info"
    with zipfile.ZipFile(folder / PROBE, "w") as archive:
        archive.writestr("ds01_probe.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: ds01-probe\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def dockerfiles(site: Site) -> Iterator[Path]:
    """The folder of alice's Dockerfiles, empty before and after."""
    folder = site.accounts["alice"].home / "dockerfiles"
    shutil.rmtree(folder, ignore_errors=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    site.clear()
    forget_images(site)


def forget_images(site: Site) -> None:
    uid = site.accounts["alice"].uid
    for tag in [tag for tag in site.images() if f"/u{uid}/" in tag]:
        site.engine.try_docker("rmi", tag)


def test_what_pip_and_apt_installed_becomes_lines_and_the_rest_is_named(site: Site, dockerfiles: Path) -> None:
    site.run("create", "work", "pytorch", "--cpu-only")
    assert site.run("save", "work", "--json").document["changes"] == []
    assert not dockerfiles.exists()
    site.run("start", "work")
    wheel(site.accounts["alice"].home / "workspace" / "work")
    site.run("exec", "work", "--", "bash", "-c", WORK)
    running = site.run("save", "work", "--dry-run", "--json").document
    site.run("stop", "work", "--yes")
    stopped = site.run("save", "work", "--dry-run", "--json").document
    assert stopped == running
    assert [change["line"] for change in stopped["changes"]] == ["ds01-probe==1.0", "ds01-little"]
    left_out = {one["what"]: one["reason"] for one in stopped["left_out"]}
    assert left_out["/home/alice/.netrc"] == "it looks like a secret"
    assert left_out["/opt/big"].startswith("11M")
    assert "environment of its own" in left_out["/tmp/environment"]
    assert stopped["notes"] == []
    before = set(site.engine.docker("images", "--all", "--quiet").split())
    removed = site.run("rm", "work", "--save", "--yes")
    assert "ds01-probe==1.0" in removed.stderr
    assert set(site.engine.docker("images", "--all", "--quiet").split()) <= before, "saving makes no image"
    assert "work" not in site.run("list", "-q").stdout.split()
    [path] = dockerfiles.iterdir()
    text = path.read_text()
    assert "\nFROM aimehub/pytorch-2.8.0-aime" in text
    assert "ds01-probe==1.0" in text
    assert "ds01-little" in text
    assert path.stat().st_uid == site.accounts["alice"].uid


def test_a_package_that_went_leaves_the_recipe_that_installs_it(site: Site, dockerfiles: Path) -> None:
    dockerfiles.mkdir()
    folder = "/usr/lib/python3/site-packages/rich-13.dist-info"
    path = dockerfiles / "thesis-alice.Dockerfile"
    path.write_text(
        f"FROM {BUSYBOX}\nRUN mkdir -p {folder} && touch {folder}/REQUESTED\n# Custom additional packages\nRUN true\n"
    )
    give(site, dockerfiles)
    site.run("image", "build", "thesis")
    site.run("create", "work", "--image", "thesis", "--cpu-only")
    site.run("start", "work")
    site.run("exec", "--root", "work", "--", "rm", "-r", folder)
    document = site.run("save", "work", "--dry-run", "--json").document
    assert [(change["name"], change["line"]) for change in document["changes"]] == [("rich", "")]
    assert document["image"] == "thesis"
    assert document["dockerfile"] == str(path)


def give(site: Site, folder: Path) -> None:
    account = site.accounts["alice"]
    for path in (folder, *folder.iterdir()):
        os.chown(path, account.uid, account.gid)


def write_version(site: Site, dockerfiles: Path, version: str) -> None:
    dockerfiles.mkdir(exist_ok=True)
    path = dockerfiles / "thesis-alice.Dockerfile"
    path.write_text(f"FROM {BUSYBOX}\nENV VERSION={version}\nRUN echo {version} > /version\n")
    give(site, dockerfiles)


def version_of(site: Site, name: str) -> str:
    return site.run("exec", name, "--", "cat", "/version").stdout.strip()


def test_containers_follow_their_image_and_keep_everything_else(site: Site, dockerfiles: Path) -> None:
    write_version(site, dockerfiles, "one")
    site.run("image", "build", "thesis")
    site.run("create", "work", "--image", "thesis", "--gpu-kind", "1g.5gb", "-e", "LESSON=seven")
    site.run("create", "rest", "--image", "thesis", "--cpu-only")
    site.run("start", "work")
    site.run("exec", "work", "--", "sh", "-c", "echo kept > /workspace/mine; echo lost > /tmp/mine")
    before = site.inspect("work")
    assert "newer" not in site.run("image", "list").stderr
    [newest] = [row for row in site.run("image", "list", "--json").document["images"] if row["name"] == "thesis"]
    uid = site.accounts["alice"].uid
    assert (newest["bases"], newest["containers"]) == ([BUSYBOX], [f"rest._.{uid}", f"work._.{uid}"])
    assert newest["dockerfile"] == str(dockerfiles / "thesis-alice.Dockerfile")
    write_version(site, dockerfiles, "two")
    assert "thesis is newer than the image" in site.run("image", "list").stderr
    assert site.run("image", "inspect", "thesis", "--json").document["dockerfile_state"] == "newer than the image"
    first = site.run("image", "update", "thesis", "--build", "--recreate", check=False)
    assert first.status == 8, "one of them runs"
    assert "work is running" in first.stderr
    assert site.inspect("work")["Id"] == before["Id"]
    site.run("start", "rest")
    assert version_of(site, "rest") == "two"
    done = site.run("image", "update", "thesis", "--recreate", "--stop", "--json").document
    assert [(one["name"], one["was_running"], one["state"]) for one in done["recreated"]] == [("work", True, "running")]
    after = site.inspect("work")
    assert after["Id"] != before["Id"]
    assert version_of(site, "work") == "two"
    for key in ("Hostname", "User", "Entrypoint", "WorkingDir", "Tty", "StopSignal"):
        assert after["Config"][key] == before["Config"][key], key
    changed = {key for key in before["HostConfig"] if before["HostConfig"][key] != after["HostConfig"][key]}
    assert changed <= {"ConsoleSize"}, changed
    environment = site.run("exec", "work", "--", "env").stdout
    assert "LESSON=seven" in environment
    assert "VERSION=two" in environment
    assert site.run("exec", "work", "--", "cat", "/workspace/mine").stdout == "kept\n"
    assert site.run("exec", "work", "--", "cat", "/tmp/mine", check=False).status != 0
    assert site.run("exec", "work", "--", "id", "-un").stdout.strip() == "alice"
    assert [tag for tag in site.private_tags() if ":work._." in tag] == [after["Config"]["Image"]]
    assert sorted(site.run("image", "inspect", "thesis", "--json").document["containers"]) == sorted(
        f"{name}._.{site.accounts['alice'].uid}" for name in ("rest", "work")
    )
    again = site.run("image", "update", "thesis", "--recreate", "--stop", "--json").document
    assert again["recreated"] == []
    assert site.run("image", "delete", "thesis", "--yes", check=False).status == 8, "its containers are known"


def test_a_container_of_the_catalogue_gets_what_was_saved_from_it(site: Site, dockerfiles: Path) -> None:
    """save, build, and the same container from the image: the whole way, without a registry."""
    site.run("create", "work", "pytorch", "--cpu-only")
    site.run("start", "work")
    site.run("exec", "work", "--", "bash", "-c", DEB)
    site.run("stop", "work", "--yes")
    site.run("save", "work")
    [path] = dockerfiles.iterdir()
    text = path.read_text()
    assert "ds01-little" in text
    # no archive has this package: what the line would do is done by hand
    path.write_text(text.partition("# System packages")[0] + f"RUN {DEB.replace('sudo ', '')}\n")
    site.run("image", "build", "work")
    made = site.run("image", "update", "work", "--recreate", "--json", check=False)
    assert made.document["recreated"] == [], "it was not made from this image"


@pytest.mark.slow
def test_a_recreation_survives_a_crash_at_any_point(own_site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site, seen = own_site, {"old": 0, "new": 0}
    folder = site.accounts["alice"].home / "dockerfiles"
    site.start()
    try:
        for point in range(1, MAX_POINTS, STEP):
            write_version(site, folder, "one")
            site.run("image", "build", "thesis")
            site.run("create", "work", "--image", "thesis", "--gpu-kind", "1g.5gb")
            site.run("start", "work")
            write_version(site, folder, "two")
            site.run("image", "build", "thesis")
            before = site.inspect("work")
            site.stop()
            site.launch(DS01_CRASH_AT=str(point))
            wait_until(lambda: has_died(site) or site.run("status", check=False).status == 0, "an answer or a death")
            status = site.run("image", "update", "thesis", "--recreate", "--stop", check=False).status
            crashed = has_died(site)
            site.stop()
            site.start()
            site.run("list")
            after = site.inspect("work")
            which = "old" if after["Id"] == before["Id"] else "new"
            seen[which] += 1
            assert [tag for tag in site.private_tags() if ":work._." in tag] == [after["Config"]["Image"]], point
            own = [name for name in site.containers() if name.endswith(f"._.{site.accounts['alice'].uid}")]
            assert own == [after["Name"].strip("/")], point
            assert after["HostConfig"]["DeviceRequests"] == before["HostConfig"]["DeviceRequests"], point
            site.run("start", "work")
            assert version_of(site, "work") == ("one" if which == "old" else "two")
            site.clear()
            if not crashed:
                assert status == 0
                break
        assert min(seen.values()) > 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        site.clear()
        forget_images(site)
    with capsys.disabled():
        print(f"\n[crash points up to {point}, every {STEP}: {seen}]")


def has_died(site: Site) -> bool:
    return site.process is None or site.process.poll() is not None
