"""The daemon dies at its n-th durable write or engine call, for n = 1, 2, ...: one round for whatever is tried.

After each death a new daemon starts, and everything is compared from outside it: what the engine has, and what stands
in the database. `DS01_TEST_LONG=1` tries every point; else a test may say that every n-th is enough.
"""

import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.site import Site, wait_until

MAX_POINTS = 90
IS_LONG = bool(os.environ.get("DS01_TEST_LONG"))
DEATH = re.compile(r"^checkpoint (\d+: .*): ends here", re.MULTILINE)
QUIET_S = 0.4
CONFIRMATIONS = 1
"""What the daemon writes by itself can come before the act or after: one run that ends is not yet the last point."""
ORDER_TIMEOUT_S = 45.0
"""Reconcile looks at everything at least every 30 s."""


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        prepare: Makes the old state, under a daemon that lives.
        act: Asks for the new state; returns the command's exit status. It may start the daemon again, as a supervisor.
        require_settled: Looks at what is there after the restart, tries that one can go on from it, and returns which
            of the two states it was: `old` or `new`. It is told whether the daemon died, and the command's status.
        every: Try every n-th point unless all are wanted.
    """

    prepare: Callable[[], object]
    act: Callable[[], int]
    require_settled: Callable[[bool, int], str]
    every: int = 1


@dataclass
class Outcome:
    """What was tried.

    Attributes:
        points: Points before the first run that ended without a death; exact when each was tried.
        every: Distance of the points that were tried.
        seen: How often which state was found.
        steps: What the daemon was about to do at each death, as it said itself.
    """

    points: int
    every: int
    seen: "Counter[str]" = field(default_factory=Counter)
    steps: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        tried = "all tried" if self.every == 1 else f"one in {self.every} tried"
        found = f"{self.points} points, {tried}; found afterwards: {dict(self.seen)}"
        return "\n  ".join([found, *self.steps]) if IS_LONG else found


def survive(site: Site, trial: Trial) -> Outcome:
    """Let the daemon die at one point after the other until one run ends without; return what there was to see."""
    step = 1 if IS_LONG else trial.every
    outcome, survived = Outcome(0, step), 0
    site.start()
    for point in range(1, MAX_POINTS, step):
        trial.prepare()
        before = image_ids(site)
        site.stop()
        deaths = len(DEATH.findall(site.log()))
        site.launch(DS01_CRASH_AT=str(point))
        _wait_until_quiet(site)
        status = trial.act()
        has_crashed = len(DEATH.findall(site.log())) > deaths
        site.stop()
        site.start()
        require_order(site, before)
        state = trial.require_settled(has_crashed, status)
        outcome.seen[state] += 1
        require_order(site, before)
        site.clear()
        if not has_crashed:
            assert status == 0
            survived += 1
            if survived > CONFIRMATIONS * (step == 1):
                return outcome
            continue
        survived, outcome.points = 0, point
        outcome.steps.append(f"{DEATH.findall(site.log())[-1]} -> {state}")
    raise AssertionError(f"more than {MAX_POINTS} crash points")


def _wait_until_quiet(site: Site) -> None:
    """Wait until the daemon answers and has written what it writes by itself, so that the next points are the act's."""
    wait_until(lambda: has_died(site) or site.run("status", check=False).status == 0, "an answer or a death")
    with closing(_database(site)) as store:

        def version() -> int:
            return int(store.execute("PRAGMA data_version").fetchone()[0])

        last, since = version(), time.monotonic()
        while not has_died(site) and time.monotonic() - since < QUIET_S:
            time.sleep(0.02)
            if (now := version()) != last:
                last, since = now, time.monotonic()


def has_died(site: Site) -> bool:
    return site.process is None or site.process.poll() is not None


def image_ids(site: Site) -> frozenset[str]:
    """Return the ids of every image on the engine that has a name, or lost it; not of the steps below."""
    return frozenset(site.engine.docker("images", "--no-trunc", "--quiet").split())


def rows(site: Site, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask the database itself, past the daemon."""
    with closing(_database(site)) as store:
        return store.execute(query, values).fetchall()


def _database(site: Site) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{site.state}/ds01.sqlite?mode=ro", uri=True, timeout=10)


def events_of(site: Site, container: str) -> list[str]:
    """Return the names of the events of a container, oldest first."""
    return [name for (name,) in rows(site, "SELECT name FROM events WHERE container = ? ORDER BY id", container)]


def moves_under_way(site: Site) -> list[str]:
    """Return the moves that were begun and have not come to an end."""
    return [text for (text,) in rows(site, "SELECT value FROM facts WHERE key = 'container.moves'") if text != "{}"]


def require_order(site: Site, before: frozenset[str]) -> None:
    """Wait until engine and database say the same, and nothing lies about.

    Args:
        site: The site; its daemon runs.
        before: Images that were there before.
    """
    deadline = time.monotonic() + ORDER_TIMEOUT_S
    while found := disorder(site, before):
        assert time.monotonic() < deadline, f"still there after the restart: {found}\n{site.log()[-3000:]}"
        time.sleep(0.1)


def disorder(site: Site, before: frozenset[str]) -> list[str]:
    """Return what is half-made, left behind, lost or doubled; nothing if all is well."""
    listed = [
        line.split()
        for line in site.engine.docker("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}}").splitlines()
    ]
    containers = {name: full_id for full_id, name in listed}
    books = rows(site, "SELECT uid, name, engine_id, allocation_id, image FROM containers")
    return [
        *_about_containers(containers, books),
        *_about_images(site, {image for *_, image in books}, containers, before),
        *_about_grants(site, {allocation for *_, allocation, _ in books}),
    ]


def _about_containers(containers: dict[str, str], books: list[tuple[Any, ...]]) -> list[str]:
    known = {f"{name}._.{uid}": engine_id for uid, name, engine_id, *_ in books}
    found = [f"the container {name}, of which the database knows nothing" for name in containers.keys() - known.keys()]
    for name, engine_id in known.items():
        # a claim whose container was never made runs out by itself, or goes when its owner asks for the name again
        is_claim = engine_id is None and name not in containers
        if containers.get(name) != engine_id and not is_claim:
            found.append(f"{name}: the engine has {containers.get(name)}, the database {engine_id}")
    return found


def _about_images(site: Site, wanted: set[str], containers: dict[str, str], before: frozenset[str]) -> list[str]:
    lines = site.engine.docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
    ids = dict(line.split() for line in lines)
    tags = {*site.private_tags(), *(tag for tag in ids if tag.startswith("ds01.invalid/"))}
    found = [f"the tag {tag} of no container" for tag in tags - wanted]
    # one that reconcile has just removed is no error
    inspected = site.engine.try_docker("inspect", "--format", "{{.Image}}", *containers) if containers else None
    used = set(inspected.stdout.split()) if inspected is not None else set()
    used |= {ids[tag] for tag in wanted & ids.keys()}
    return [*found, *(f"the image {left}" for left in image_ids(site) - before - used)]


def _about_grants(site: Site, wanted: set[str]) -> list[str]:
    holding = rows(site, "SELECT id, container_name FROM allocations WHERE state <> 'released'")
    found = [f"the grant {one} of {name}, which has no container" for one, name in holding if one not in wanted]
    found += [f"no grant {one}" for one in wanted - {one for (one,) in rows(site, "SELECT id FROM allocations")}]
    held = [uuid for (uuid,) in rows(site, "SELECT gpu_uuid FROM held_gpus")]
    found += [f"{uuid} granted twice" for uuid in set(held) if held.count(uuid) > 1]
    return [*found, *(f"the move {move}" for move in moves_under_way(site))]
