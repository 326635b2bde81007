"""The scheduler on a virtual clock: a list of jobs is played on a machine, and what came of it is said in figures.

Every decision is the real one (`schedule.plan_pass`); only the clock, the machine and the jobs are thought of. A pass
runs whenever a job comes, one ends, or the last pass asked to be woken.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import ceil

from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.request import FULL_KIND, GpuRequest
from ds01.domain.rules.limit import EffectiveLimits, Limits
from ds01.domain.rules.site import Scheduling
from ds01.domain.scheduling.board import Board, format_slice
from ds01.domain.scheduling.job_list import Job
from ds01.domain.scheduling.machine import Machine
from ds01.domain.scheduling.option import Grid, Wish
from ds01.domain.scheduling.schedule import plan_pass
from ds01.domain.scheduling.situation import Grant, Person, Situation, TakenPosition
from ds01.domain.scheduling.waiting import Waiting
from ds01.errors import InvalidRequestError

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""The virtual clock starts here; no figure depends on it."""
UID = 1000
BIG_GPUS = 4
"""A job with so many GPUs counts as big."""
P95 = 0.95
PEOPLE = {UID: Person(UID, EffectiveLimits(Limits(), {}, "all"))}


@dataclass(frozen=True, slots=True)
class Run:
    """What became of one job.

    Attributes:
        job: The job.
        start_s: When it started.
        positions: What it got.
        promised_s: Latest start that it was promised; None: it was promised none.
    """

    job: Job
    start_s: float
    positions: tuple[TakenPosition, ...]
    promised_s: float | None = None

    @property
    def wait_s(self) -> float:
        """From its submission to its start."""
        return self.start_s - self.job.submit_s

    @property
    def end_s(self) -> float:
        """When it gives its devices back."""
        return self.start_s + self.job.duration_s


@dataclass(frozen=True, slots=True)
class Simulation:
    """A list of jobs that was played to its end.

    Attributes:
        runs: Every job, in the order of submission.
        utilization_while_queued_ratio: Compute in use while at least one job waited, of all; 1 if none ever waited.
        promises_broken: Jobs that started later than they were promised, or whose promise was taken back.
    """

    runs: tuple[Run, ...]
    utilization_while_queued_ratio: float
    promises_broken: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What a simulation says in figures.

    Attributes:
        jobs: Jobs that were played.
        mean_wait_s: Mean of the waits.
        p95_wait_s: 95 of 100 jobs waited at most so long.
        max_wait_s: The longest wait.
        max_wait_big_s: The longest wait of a job with at least four GPUs; 0 if there is none.
        mean_jct_s: Mean time from submission to the end.
        utilization_while_queued_ratio: Compute in use while at least one job waited, of all.
        promises_broken: Promised starts that were not kept.
    """

    jobs: int
    mean_wait_s: float
    p95_wait_s: float
    max_wait_s: float
    max_wait_big_s: float
    mean_jct_s: float
    utilization_while_queued_ratio: float
    promises_broken: int


def simulate(
    jobs: Sequence[Job], machine: Machine, rules: Scheduling | None = None, *, name: str = "the list"
) -> Simulation:
    """Play a list of jobs on a machine.

    Args:
        jobs: In the order of submission.
        machine: Where they run.
        rules: How those who wait are served; None: the built-in rules.
        name: What messages call the list.

    Raises:
        InvalidRequestError: A job asks for what this machine never has; the message names its line.
    """
    _require_possible(jobs, machine, name)
    return _Play(jobs, machine.board, rules or Scheduling()).run()


def figures_of(simulation: Simulation) -> Figures:
    """Return the figures of a simulation."""
    runs = simulation.runs
    waits = sorted(run.wait_s for run in runs)
    return Figures(
        jobs=len(runs),
        mean_wait_s=sum(waits) / len(runs),
        p95_wait_s=waits[ceil(P95 * len(waits)) - 1],
        max_wait_s=waits[-1],
        max_wait_big_s=max((run.wait_s for run in runs if run.job.gpus >= BIG_GPUS), default=0.0),
        mean_jct_s=sum(run.end_s - run.job.submit_s for run in runs) / len(runs),
        utilization_while_queued_ratio=simulation.utilization_while_queued_ratio,
        promises_broken=simulation.promises_broken,
    )


def _request(job: Job) -> GpuRequest:
    return GpuRequest(job.gpus, job.profile or FULL_KIND)


def _require_possible(jobs: Sequence[Job], machine: Machine, name: str) -> None:
    grid = Grid(machine.board)
    for job in jobs:
        most = grid.most(grid.options(Wish(_request(job))))
        if most >= job.gpus:
            continue
        if most == 0:
            profiles = {position.profile for card in machine.board.cards for position in card.positions}
            sizes = ", ".join(sorted(profiles - {FULL_KIND})) + " or 7g"
            raise InvalidRequestError(
                f"{name}:{job.line}: {machine.text} has no MIG instances {job.profile[:40]!r}; it has {sizes}.",
                hint="7g, or no profile, is a whole GPU.",
            )
        what = f"{job.profile} instances" if job.profile else "whole GPUs"
        raise InvalidRequestError(
            f"{name}:{job.line}: the job asks for {job.gpus} {what}; {machine.text} has {most} of them.",
            hint="Simulate a larger machine with --devices, or take the job out of the list.",
        )


def _at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


@dataclass(slots=True)
class _Play:
    """The state of the virtual machine while the list is played."""

    jobs: Sequence[Job]
    board: Board
    rules: Scheduling
    clock_s: float = 0.0
    waiting: dict[str, Waiting] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    ends: list[tuple[datetime, str]] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    in_use: float = 0.0
    used_s: float = 0.0
    queued_s: float = 0.0

    def run(self) -> Simulation:
        """Play until every job has started."""
        coming = 0
        wake_at: datetime | None = None
        now = EPOCH
        while coming < len(self.jobs) or self.waiting:
            moments = [] if wake_at is None else [wake_at]
            if coming < len(self.jobs):
                moments.append(_at(self.jobs[coming].submit_s))
            if self.ends:
                moments.append(self.ends[0][0])
            self._pass_time(now, min(moments))
            now = min(moments)
            self._end_until(now)
            while coming < len(self.jobs) and _at(self.jobs[coming].submit_s) <= now:
                self._join(coming)
                coming += 1
            wake_at = self._decide(now) if self.waiting else None
        cards = len(self.board.cards)
        ratio = self.used_s / (self.queued_s * cards) if self.queued_s else 1.0
        runs = tuple(self.runs[place] for place in range(len(self.jobs)))
        return Simulation(runs, ratio, len(self.broken))

    def _pass_time(self, since: datetime, until: datetime) -> None:
        if self.waiting:
            passed = (until - since).total_seconds()
            self.queued_s += passed
            self.used_s += passed * self.in_use

    def _end_until(self, now: datetime) -> None:
        while self.ends and self.ends[0][0] <= now:
            _, ended = heapq.heappop(self.ends)
            self.in_use -= self.allocations.pop(ended).gpu_equivalents

    def _join(self, place: int) -> None:
        job = self.jobs[place]
        id_ = f"{place:016x}"
        self.places[id_] = place
        self.waiting[id_] = Waiting(
            id=id_,
            uid=UID,
            group="all",
            container_name=f"job-{job.line}",
            request=_request(job),
            priority=0,
            time_limit=timedelta(seconds=job.limit_s),
            queued_at=_at(job.submit_s),
        )

    def _decide(self, now: datetime) -> datetime | None:
        """Run one pass, start what it grants, keep what it promises; return when it wants to run again."""
        decided = plan_pass(
            Situation(
                now=now,
                board=self.board,
                allocations=tuple(self.allocations.values()),
                waiting=tuple(self.waiting.values()),
                people=PEOPLE,
                rules=self.rules,
                release_margin=timedelta(0),
            )
        )
        self.broken.update(decided.broken)
        for grant in decided.grants:
            self._start(grant, now)
        for id_, promised_at in decided.promises.items():
            self._keep(id_, promised_at)
        return decided.wake_at

    def _start(self, grant: Grant, now: datetime) -> None:
        waiting = self.waiting.pop(grant.waiting.id)
        place = self.places.pop(waiting.id)
        job = self.jobs[place]
        promised_at = waiting.promised_at
        if promised_at is not None and now > promised_at:
            self.broken.add(waiting.id)
        promised_s = None if promised_at is None else (promised_at - EPOCH).total_seconds()
        self.runs[place] = Run(job, max((now - EPOCH).total_seconds(), job.submit_s), grant.positions, promised_s)
        cards = [taken.card_uuid for taken in grant.positions if taken.position.profile == FULL_KIND]
        slices = [
            format_slice(taken.card_uuid, taken.position)
            for taken in grant.positions
            if taken.position.profile != FULL_KIND
        ]
        self.allocations[waiting.id] = Allocation(
            id=waiting.id,
            uid=UID,
            container_name=waiting.container_name,
            request=waiting.request,
            gpu_uuids=tuple(cards),
            gpu_equivalents=grant.equivalents,
            state=AllocationState.ACTIVE,
            claimed_at=now,
            changed_at=now,
            group=waiting.group,
            time_limit=waiting.time_limit,
            ends_at=now + timedelta(seconds=job.limit_s),
            slices=tuple(slices),
        )
        self.in_use += grant.equivalents
        heapq.heappush(self.ends, (now + timedelta(seconds=job.duration_s), waiting.id))

    def _keep(self, id_: str, promised_at: datetime) -> None:
        """Remember a promise. One that moves later is broken, whenever the job starts."""
        waiting = self.waiting.get(id_)
        if waiting is None or waiting.promised_at == promised_at:
            return
        if waiting.promised_at is not None and promised_at > waiting.promised_at:
            self.broken.add(id_)
            return
        self.waiting[id_] = replace(waiting, promised_at=promised_at)
