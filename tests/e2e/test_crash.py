"""The daemon dies at every durable write and engine call, one after the other. Nothing is lost, nothing is doubled."""

from collections.abc import Callable

import pytest

from tests.e2e.site import BUSYBOX, Site, wait_until

MAX_POINTS = 60


def _survive(site: Site, prepare: Callable[[], None], act: Callable[[], int], settled: Callable[[], None]) -> int:
    """Run an act with a crash at the first, second, ... step until one run ends without; return how many there are."""
    for point in range(1, MAX_POINTS):
        site.start()
        prepare()
        site.stop()
        site.launch(DS01_CRASH_AT=str(point))
        wait_until(lambda: _has_died(site) or site.run("status", check=False).status == 0, "an answer or a death")
        status = act()
        crashed = _has_died(site)
        site.stop()
        site.start()
        settled()
        site.clear()
        site.stop()
        if not crashed:
            assert status == 0
            return point - 1
    raise AssertionError(f"more than {MAX_POINTS} crash points")


def _has_died(site: Site) -> bool:
    return site.process is None or site.process.poll() is not None


def _books_are_right(site: Site) -> None:
    """Invariants from the engine's and the store's side: each device has one holder at most, and it exists."""
    held = site.held()
    assert all(len(holders) <= 1 for holders in held.values()), held
    rows = site.run("list", "--json").document["containers"]
    named = {row["name"] for row in rows}
    for holders in held.values():
        assert set(holders) <= named, (held, named)
    for row in rows:
        inspected = site.inspect(row["name"])
        granted = [gpu["uuid"] for gpu in row["gpus"]]
        requests = inspected["HostConfig"]["DeviceRequests"] or []
        assert [uuid for request in requests for uuid in request["DeviceIDs"]] == granted


@pytest.mark.slow
def test_a_creation_survives_a_crash_at_every_point(own_site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def act() -> int:
        return own_site.run("create", "phoenix", "--image", BUSYBOX, "--gpu-kind", "full", check=False).status

    def settled() -> None:
        # a claim without a container is void after its deadline, or as soon as its owner asks for the name again
        assert all(len(holders) <= 1 for holders in own_site.held().values())
        again = own_site.run("create", "phoenix", "--image", BUSYBOX, "--gpu-kind", "full", check=False)
        assert again.status in {0, 8}, again.stderr  # 8: the first was complete before the crash
        own_site.run("start", "phoenix")
        _books_are_right(own_site)
        assert own_site.held()["0"] == ["phoenix"]

    points = _survive(own_site, lambda: None, act, settled)
    with capsys.disabled():
        print(f"\ncrash points of a creation: {points}")
    assert points >= 10


@pytest.mark.slow
def test_start_stop_and_remove_survive_a_crash_at_every_point(
    own_site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepare() -> None:
        own_site.run("create", "phoenix", "--image", BUSYBOX, "--gpu-kind", "full")

    def act() -> int:
        for words in (["start", "phoenix"], ["stop", "--yes", "phoenix"], ["rm", "--yes", "phoenix"]):
            status = own_site.run(*words, check=False).status
            if status:
                return status
        return 0

    def settled() -> None:
        def agrees() -> bool:
            rows = own_site.run("list", "--json").document["containers"]
            there = [name for name in own_site.containers() if name.startswith("phoenix")]
            return len(rows) == len(there)

        wait_until(agrees, "the repair")
        _books_are_right(own_site)
        if own_site.run("list", "-q").stdout.split():
            own_site.run("rm", "--yes", "--force", "phoenix")
        wait_until(lambda: not any(own_site.held().values()), "the release")
        own_site.run("create", "phoenix", "--image", BUSYBOX, "--gpu-kind", "full")

    points = _survive(own_site, prepare, act, settled)
    with capsys.disabled():
        print(f"\ncrash points of start, stop and remove: {points}")
    assert points >= 10


def test_a_crash_point_is_said_on_stderr(own_site: Site) -> None:
    own_site.launch(DS01_CRASH_AT="1")
    assert own_site.wait_for_end() == 137
    assert "DS01_CRASH_AT" in own_site.log()
