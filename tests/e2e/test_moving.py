"""`ds01 start --move` on a real engine: the same container with another GPU, whatever happens on the way."""

import json

import pytest

from tests.e2e.crashes import Trial, moves_under_way, rows, survive
from tests.e2e.site import BUSYBOX, Site

POLICY = """\
version: 2
defaults:
  max_gpus: 4
  max_containers: 8
  allow_full_gpu: true
  gpu_hold_after_stop: 0s
"""
MIB = 1024**2
REPAIRS = """SELECT details FROM events WHERE name = 'allocation.repaired' AND container = 'work' AND id > (
    SELECT max(id) FROM events WHERE name = 'container.created' AND container = 'work')"""


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
def test_a_move_survives_a_crash_at_any_point(own_site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    own_site.write_policy(POLICY)
    old_id, has_begun = [""], [False]

    def prepare() -> None:
        made(own_site)
        old_id[0] = own_site.inspect("work")["Id"]

    def act() -> int:
        status = own_site.run("start", "work", "--move", "--yes", check=False).status
        has_begun[0] = bool(moves_under_way(own_site))
        return status

    def settled(_crashed: bool, status: int) -> str:
        after = own_site.inspect("work")
        which = "old" if after["Id"] == old_id[0] else "new"
        assert which == "new" or status != 0
        assert after["State"]["Running"] is (which == "new")
        said = [json.loads(text)["reason"] for (text,) in rows(own_site, REPAIRS)]
        assert said == ([f"its move had not ended: the {which} container stays"] if has_begun[0] else [])
        own_site.run("start", "work", "--move", "--yes")
        assert own_site.run("exec", "work", "--", "wc", "-c", "/tmp/big").stdout.split()[0] == str(5 * MIB)
        assert [name for name in own_site.containers() if name.startswith("work")] == [after["Name"].lstrip("/")]
        return which

    outcome = survive(own_site, Trial(prepare, act, settled, every=5))
    with capsys.disabled():
        print(f"\ncrash points of a move: {outcome}")
    assert min(outcome.seen["old"], outcome.seen["new"]) > 0
