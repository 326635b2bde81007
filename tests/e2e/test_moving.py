"""`ds01 start --move` on a real engine: the same container with another GPU, whatever happens on the way.

Of the crash points every fifth is tried, with `DS01_TEST_LONG=1` each of them.
"""

import os

import pytest

from tests.e2e.site import BUSYBOX, Site, wait_until

POLICY = """\
version: 2
defaults:
  max_gpus: 4
  max_containers: 8
  allow_full_gpu: true
  gpu_hold_after_stop: 0s
"""
MIB = 1024**2
MAX_POINTS = 60
STEP = 1 if os.environ.get("DS01_TEST_LONG") else 5


@pytest.fixture
def site(own_site: Site) -> Site:
    """A site without a hold, so that a GPU is free at once when its container stops."""
    own_site.write_policy(POLICY)
    own_site.start()
    return own_site


def gpu_of(site: Site, name: str, user: str = "alice") -> str:
    inspected = site.inspect(name, user)
    requests = inspected["HostConfig"]["DeviceRequests"]
    return str(requests[0]["DeviceIDs"][0])


def made(site: Site) -> str:
    """alice's stopped `work`, with 5 MiB of its own; return its GPU, which bob has by now."""
    site.run("create", "work", "--image", BUSYBOX, "--gpu-kind", "1g.5gb", "-e", "LESSON=seven")
    site.run("start", "work")
    site.run("exec", "work", "--", "sh", "-c", "dd if=/dev/zero of=/tmp/big bs=1M count=5; echo kept > /workspace/mine")
    uuid = gpu_of(site, "work")
    site.run("stop", "work", "--yes")
    take(site, uuid)
    return uuid


def take(site: Site, uuid: str) -> None:
    """Let bob have a GPU, and no other."""
    made: list[str] = []
    for number in range(4):
        name = f"theirs{number}"
        site.run("create", name, "--image", BUSYBOX, "--gpu-kind", "1g.5gb", user="bob")
        if gpu_of(site, name, "bob") == uuid:
            break
        made.append(name)
    for name in made:
        site.run("rm", "--yes", name, user="bob")


def test_a_container_whose_gpu_is_taken_goes_on_with_another(site: Site) -> None:
    old = made(site)
    before = site.inspect("work")
    refused = site.run("start", "work", check=False)
    assert refused.status == 5
    assert "ds01 start work --move" in refused.stderr
    moved = site.run("start", "work", "--move", "--yes")
    assert "5" in moved.stderr
    assert "of its own files are copied, about" in moved.stderr
    after = site.inspect("work")
    assert after["Id"] != before["Id"]
    assert after["Name"] == before["Name"]
    assert after["State"]["Running"] is True
    assert gpu_of(site, "work") != old
    for key in ("Hostname", "User", "Entrypoint", "WorkingDir", "Tty", "StopSignal"):
        assert after["Config"][key] == before["Config"][key], key
    changed = {key for key in before["HostConfig"] if before["HostConfig"][key] != after["HostConfig"][key]}
    assert changed <= {"DeviceRequests", "ConsoleSize"}, changed
    assert site.run("exec", "work", "--", "wc", "-c", "/tmp/big").stdout.split()[0] == str(5 * MIB)
    assert site.run("exec", "work", "--", "cat", "/workspace/mine").stdout == "kept\n"
    assert "LESSON=seven" in site.run("exec", "work", "--", "env").stdout
    assert site.run("exec", "work", "--", "id", "-u").stdout.strip() == str(site.accounts["alice"].uid)
    assert site.run("list", "-q").stdout.split() == ["work"]
    assert [tag for tag in site.private_tags() if ":work._." in tag] == [after["Config"]["Image"]]
    site.run("stop", "work", "--yes")
    site.run("rm", "--yes", "work")
    assert [tag for tag in site.private_tags() if ":work._." in tag] == []


@pytest.mark.slow
def test_a_move_survives_a_crash_at_any_point(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    seen: dict[str, int] = {"old": 0, "new": 0}
    for point in range(1, MAX_POINTS, STEP):
        made(site)
        before = site.inspect("work")["Id"]
        site.stop()
        site.launch(DS01_CRASH_AT=str(point))
        wait_until(lambda: has_died(site) or site.run("status", check=False).status == 0, "an answer or a death")
        status = site.run("start", "work", "--move", "--yes", check=False).status
        crashed = has_died(site)
        site.stop()
        site.start()
        site.run("list")
        after = site.inspect("work")
        which = "old" if after["Id"] == before else "new"
        seen[which] += 1
        assert after["State"]["Running"] is (which == "new"), point
        assert [tag for tag in site.private_tags() if ":work._." in tag] == [after["Config"]["Image"]], point
        assert len([name for name in site.containers() if "helper" in name or "work" in name]) == 1, point
        site.run("start", "work", "--move", "--yes")
        assert site.run("exec", "work", "--", "wc", "-c", "/tmp/big").stdout.split()[0] == str(5 * MIB)
        site.clear()
        if not crashed:
            assert status == 0
            break
    assert min(seen.values()) > 0
    with capsys.disabled():
        print(f"\n[crash points up to {point}, every {STEP}: {seen}]")


def has_died(site: Site) -> bool:
    return site.process is None or site.process.poll() is not None
