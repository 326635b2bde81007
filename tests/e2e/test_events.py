"""The audit trail from end to end: who sees what, what comes while one follows, and the exported file."""

import json
import queue
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.site import BUSYBOX, PATIENCE_S, POLICY, Account, Site, wait_until


def names_of(site: Site, *words: str, user: str = "alice") -> list[str]:
    """Return the kinds that `ds01 events` shows."""
    return [event["name"] for event in read(site, *words, user=user)]


def read(site: Site, *words: str, user: str = "alice") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.run("events", "--json", *words, user=user).document["events"]
    return found


def exported(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()] if path.exists() else []


@pytest.fixture
def busy(own_site: Site) -> Site:
    """A site where alice has made, started and removed a container."""
    own_site.start()
    own_site.run("create", "demo", "--image", BUSYBOX, "--gpu-kind", "full")
    own_site.run("start", "demo")
    own_site.run("rm", "--force", "--yes", "demo")
    return own_site


def test_a_user_sees_own_and_public_events_and_nothing_of_others(busy: Site) -> None:
    refused = busy.run("create", "greedy", "--image", BUSYBOX, "--gpus", "9", check=False)
    assert refused.status == 4
    busy.write_policy(POLICY + "# seen by everybody\n")
    wait_until(lambda: "policy.changed" in names_of(busy, user="bob"), "the new policy")

    mine = read(busy)
    assert {"container.created", "container.started", "container.removed", "limit.reached"} <= {
        event["name"] for event in mine
    }
    assert [event["id"] for event in mine] == sorted(event["id"] for event in mine)
    [reached] = read(busy, "--name", "limit.reached")
    assert reached["user"] == "alice"
    assert "GPU" in reached["details"]["reason"]

    assert set(names_of(busy, user="bob")) == {"policy.changed"}
    assert read(busy, "--container", "demo", user="bob") == []
    denied = busy.run("events", "--user", "alice", user="bob", check=False)
    assert denied.status == 4
    assert names_of(busy, "--name", "access.denied", user="bob") == ["access.denied"]
    assert "access.denied" not in names_of(busy)


def test_filters_select_and_the_table_speaks_plainly(busy: Site) -> None:
    life = names_of(busy, "--container", "demo", "--name", "container.*")
    assert life[0] == "container.created"
    assert life[-1] == "container.removed"
    assert names_of(busy, "--container", "demo", "--name", "container.*", "-n", "1") == life[-1:]
    assert len(read(busy, "--since", "1h")) == len(read(busy))
    assert read(busy, "--until", "1h") == []
    table = busy.run("events", "--user", "alice").stdout
    assert table.splitlines()[0].split() == ["WHEN", "EVENT", "CONTAINER", "WHO", "DETAILS"]
    assert "container.removed" in table
    for words in (["--since", "soon"], ["--name", "container"], ["--tail", "-1"], ["-f", "--until", "1h"]):
        assert busy.run("events", *words, check=False).status == 2


def test_a_follower_is_told_as_it_happens_and_others_are_not(busy: Site) -> None:
    heard: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()
    following = busy.spawn("events", "--follow", "--json", "-n", "1")
    other = busy.spawn("events", "--follow", "--json", "-n", "0", user="bob")

    def listen() -> None:
        assert following.stdout is not None
        for line in following.stdout:
            heard.put((time.time(), json.loads(line)))

    listener = threading.Thread(target=listen)
    listener.start()
    before = heard.get(timeout=PATIENCE_S)[1]
    busy.run("create", "next", "--image", BUSYBOX, "--cpu-only")
    came: list[tuple[float, dict[str, Any]]] = []
    while "container.created" not in {event["name"] for _, event in came}:
        came.append(heard.get(timeout=PATIENCE_S))
    assert all(event["id"] > before["id"] for _, event in came)
    # far below any period at which somebody could look again, and far above what a busy machine needs
    assert all(when - datetime.fromisoformat(event["at"]).timestamp() < 20 for when, event in came)

    busy.stop()  # the daemon leaves at once although somebody follows
    assert following.wait(timeout=PATIENCE_S) == 7
    listener.join()
    following.communicate()
    assert other.communicate(timeout=PATIENCE_S)[0] == ""
    assert other.returncode == 7


def test_the_file_equals_the_store_through_rotations_kills_and_a_bad_folder(busy: Site) -> None:
    busy.accounts = {**busy.accounts, "root": Account("root", 0, 0, busy.scratch, was_made=False)}
    path = busy.state / "events.jsonl"
    rotated = busy.state / "events.jsonl.1"

    def catch_up() -> list[dict[str, Any]]:
        """Root's view of the store; what the file holds must come to the same."""
        everything = read(busy, "-n", "10000", user="root")
        wait_until(lambda: exported(rotated) + exported(path) == everything, "the export", 20)
        return everything

    first = catch_up()
    path.rename(rotated)
    busy.run("create", "after", "--image", BUSYBOX, "--cpu-only")
    second = catch_up()
    assert len(second) > len(first)
    busy.run("start", "after")
    busy.stop(9)
    with path.open("ab") as file:
        file.write(b'{"id": 1, "at": "20')  # as a crash in the middle of a line leaves it
    busy.start()
    busy.run("rm", "--force", "--yes", "after")
    catch_up()

    aside = busy.state / "aside"
    path.rename(aside)
    path.mkdir()
    busy.run("create", "later", "--image", BUSYBOX, "--cpu-only")
    wait_until(lambda: busy.run("status", check=False).status == 7, "the status")
    assert str(path) in busy.run("status", check=False).stdout
    path.rmdir()
    aside.rename(path)
    wait_until(lambda: busy.run("status", check=False).status == 0, "the recovery")
    catch_up()
