"""The daemon dies at its durable writes and engine calls, one after the other. Nothing is lost, nothing is doubled.

Exports and imports are in `test_crash_files`, `start --move` in `test_moving`.
"""

from collections.abc import Callable

import pytest

from tests.e2e.crashes import Outcome, Trial, events_of, survive
from tests.e2e.site import BUSYBOX, Site, wait_until

Report = Callable[[str, Outcome], None]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Say what was tried, whether the test passes or not."""

    def say(what: str, outcome: Outcome) -> None:
        with capsys.disabled():
            print(f"\ncrash points of {what}: {outcome}")

    return say


def _create(site: Site, name: str = "phoenix") -> int:
    return site.run("create", name, "--image", BUSYBOX, "--gpu-kind", "full", check=False).status


def _names(site: Site) -> list[str]:
    return site.run("list", "-q").stdout.split()


def _books_are_right(site: Site) -> None:
    """Each device has one holder at most, who exists and has that device on the engine too."""
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
        attached = [uuid for request in requests for uuid in request["DeviceIDs"]]
        # one that is stopped keeps what it was made with, and has nothing when its grant is released
        assert granted == attached or (not granted and row["state"] != "running")


@pytest.mark.slow
def test_a_creation_survives_a_crash_at_any_point(own_site: Site, report: Report) -> None:
    def settled(_crashed: bool, status: int) -> str:
        # a claim without a container is void after its deadline, or as soon as its owner asks for the name again
        assert all(len(holders) <= 1 for holders in own_site.held().values())
        was_there = "phoenix" in _names(own_site)
        assert was_there or status != 0, "it was said to be made, and is not there"
        assert _create(own_site) == (8 if was_there else 0)
        own_site.run("start", "phoenix")
        _books_are_right(own_site)
        assert own_site.held()["0"] == ["phoenix"]
        return "new" if was_there else "old"

    outcome = survive(own_site, Trial(lambda: None, lambda: _create(own_site), settled, every=2))
    report("a creation", outcome)
    assert outcome.points >= 10
    assert min(outcome.seen["old"], outcome.seen["new"]) > 0


@pytest.mark.slow
def test_start_stop_and_remove_survive_a_crash_at_any_point(own_site: Site, report: Report) -> None:
    def act() -> int:
        for words in (["start", "phoenix"], ["stop", "--yes", "phoenix"], ["rm", "--yes", "phoenix"]):
            status = own_site.run(*words, check=False).status
            if status:
                return status
        return 0

    def settled(_crashed: bool, status: int) -> str:
        _books_are_right(own_site)
        is_there = "phoenix" in _names(own_site)
        assert not is_there or status != 0
        if is_there:
            own_site.run("rm", "--yes", "--force", "phoenix")
        assert events_of(own_site, "phoenix")[-2:].count("container.removed") == 1
        wait_until(lambda: not any(own_site.held().values()), "the release")
        assert _create(own_site) == 0
        return "old" if is_there else "new"

    def prepare() -> None:
        own_site.run("create", "phoenix", "--image", BUSYBOX, "--gpu-kind", "full")

    outcome = survive(own_site, Trial(prepare, act, settled, every=3))
    report("start, stop and remove", outcome)
    assert outcome.points >= 10


@pytest.mark.slow
def test_the_removal_of_what_runs_survives_a_crash_at_any_point(own_site: Site, report: Report) -> None:
    def prepare() -> None:
        own_site.run("create", "phoenix", "--image", BUSYBOX, "--gpu-kind", "full")
        own_site.run("start", "phoenix")

    def act() -> int:
        return own_site.run("rm", "--yes", "--force", "phoenix", check=False).status

    def settled(_crashed: bool, status: int) -> str:
        is_there = "phoenix" in _names(own_site)
        assert not is_there or status != 0
        assert ("container.removed" in events_of(own_site, "phoenix")[-2:]) is not is_there
        _books_are_right(own_site)
        assert own_site.held()["0"] == (["phoenix"] if is_there else [])
        assert _create(own_site) == (8 if is_there else 0)
        return "old" if is_there else "new"

    outcome = survive(own_site, Trial(prepare, act, settled, every=4))
    report("a removal", outcome)
    assert min(outcome.seen["old"], outcome.seen["new"]) > 0


@pytest.mark.slow
def test_a_renaming_survives_a_crash_at_any_point(own_site: Site, report: Report) -> None:
    def act() -> int:
        return own_site.run("container", "rename", "phoenix", "ashes", check=False).status

    def settled(_crashed: bool, status: int) -> str:
        (name,) = _names(own_site)
        state = {"phoenix": "old", "ashes": "new"}[name]
        assert state == "new" or status != 0
        assert ("container.renamed" in events_of(own_site, "ashes")) is (state == "new")
        assert own_site.held()["0"] == [name]
        own_site.run("container", "rename", name, "third")
        own_site.run("start", "third")
        _books_are_right(own_site)
        return state

    def prepare() -> None:
        own_site.run("create", "phoenix", "--image", BUSYBOX, "--gpu-kind", "full")

    outcome = survive(own_site, Trial(prepare, act, settled, every=4))
    report("a renaming", outcome)
    assert min(outcome.seen["old"], outcome.seen["new"]) > 0


def test_a_crash_point_is_said_on_stderr(own_site: Site) -> None:
    own_site.launch(DS01_CRASH_AT="1")
    assert own_site.wait_for_end() == 137
    assert "DS01_CRASH_AT" in own_site.log()
