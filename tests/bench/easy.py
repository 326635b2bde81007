"""EASY backfilling with FIFO order and fragmentation-gradient placement, by the definition: the anchor of row 3.

Jobs start in the order of submission. The first that does not fit gets a reservation: the earliest time at which it
fits when every running job ends at its limit. Those behind it start, in the order of submission, if they fit now and
either end before that time or leave room for the first at it. A MIG slice goes where the number of placements that
stay possible on the card shrinks least.

Sources: D. Lifka, "The ANL/IBM SP scheduling system", 1995; A. Mu'alem and D. Feitelson, "Utilization, predictability,
workloads, and user runtime estimates in scheduling the IBM SP2 with backfilling", 2001 (EASY); B. Weng et al., "Beware
of Fragmentation", 2023 (the gradient). Nothing of the product is imported here.
"""

import csv
import heapq
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent / "data"
WHOLE = "7g"
FULL_MASK = 0xFF
SLICES: dict[str, tuple[tuple[int, ...], int]] = {
    "1g": ((0, 1, 2, 3, 4, 5, 6), 1),
    "2g": ((0, 2, 4), 2),
    "3g": ((0, 4), 4),
    "4g": ((0,), 4),
    WHOLE: ((0,), 8),
}
"""Starts and memory slices of the plain profiles of an A100 or H100."""
MASKS = {name: [((1 << size) - 1) << start for start in starts] for name, (starts, size) in SLICES.items()}
POSSIBLE = [sum(not mask & taken for masks in MASKS.values() for mask in masks) for taken in range(FULL_MASK + 1)]
"""Placements that are possible on a card, by what is taken of it."""

Place = tuple[int, int]
"""Card and mask."""


class EasyJob(NamedTuple):
    """One line of a list."""

    submit: float
    gpus: int
    profile: str
    duration: float


class Running(NamedTuple):
    """A job that runs."""

    end: float
    number: int
    places: list[Place]


def read_jobs(name: str, *, cap: float | None = None, cluster: str | None = None) -> list[EasyJob]:
    """Return the jobs of a list of `tests/bench/data` in the order of submission."""
    found = []
    with (DATA / name).open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if cluster is None or row["vc"] == cluster:
                duration = float(row["duration_s"])
                duration = duration if cap is None else min(duration, cap)
                found.append(EasyJob(float(row["submit_s"]), int(row["gpus"]), row.get("profile", WHOLE), duration))
    return sorted(found, key=lambda job: job.submit)


def place(state: Sequence[int], job: EasyJob) -> list[Place] | None:
    """Return where a job goes on cards of which this is taken; None: it does not fit."""
    taken = list(state)
    found: list[Place] = []
    for _ in range(job.gpus):
        ways = [
            (POSSIBLE[busy] - POSSIBLE[busy | mask], card, mask)
            for card, busy in enumerate(taken)
            for mask in MASKS[job.profile]
            if not mask & busy
        ]
        if not ways:
            return None
        _, card, mask = min(ways)
        taken[card] |= mask
        found.append((card, mask))
    return found


class Easy:
    """One run of the anchor."""

    def __init__(self, jobs: Sequence[EasyJob], cards: int) -> None:
        self.jobs = jobs
        self.state = [0] * cards
        self.running: list[Running] = []
        self.queue: list[int] = []
        self.waits = [0.0] * len(jobs)
        self.now = 0.0

    def run(self) -> list[float]:
        """Return the wait of every job in seconds."""
        coming = 0
        while coming < len(self.jobs) or self.queue:
            moments = [self.running[0].end] if self.running else []
            moments += [self.jobs[coming].submit] if coming < len(self.jobs) else []
            self.now = min(moments)
            while self.running and self.running[0].end <= self.now:
                for card, mask in heapq.heappop(self.running).places:
                    self.state[card] &= ~mask
            while coming < len(self.jobs) and self.jobs[coming].submit <= self.now:
                self.queue.append(coming)
                coming += 1
            self._pass()
        return self.waits

    def _pass(self) -> None:
        while self.queue and self._start(self.queue[0]):
            pass
        if not self.queue:
            return
        head = self.jobs[self.queue[0]]
        shadow, free_then = self._reservation(head)
        for number in self.queue[1:]:
            job = self.jobs[number]
            places = place(self.state, job)
            if places is None:
                continue
            if self.now + job.duration > shadow:
                later = list(free_then)
                for card, mask in places:
                    later[card] |= mask
                if place(later, head) is None:
                    continue
                free_then = later
            self._start(number)

    def _start(self, number: int) -> bool:
        job = self.jobs[number]
        places = place(self.state, job)
        if places is None:
            return False
        for card, mask in places:
            self.state[card] |= mask
        heapq.heappush(self.running, Running(self.now + job.duration, number, places))
        self.waits[number] = self.now - job.submit
        self.queue.remove(number)
        return True

    def _reservation(self, head: EasyJob) -> tuple[float, list[int]]:
        """Return the earliest time at which the first fits, and what is taken then."""
        state = list(self.state)
        moment = self.now
        for job in sorted(self.running):
            if job.end > moment and place(state, head) is not None:
                break
            for card, mask in job.places:
                state[card] &= ~mask
            moment = job.end
        assert place(state, head) is not None, "a job is larger than the machine"
        return moment, state


def easy_waits(jobs: Sequence[EasyJob], cards: int) -> list[float]:
    """Return the waits of EASY."""
    return Easy(jobs, cards).run()
