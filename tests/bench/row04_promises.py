"""Row 4: promises that were broken while limits hold, over all lists: jobs end at their limit, or at random before."""

import random
from collections.abc import Iterable
from dataclasses import replace

from ds01.domain.scheduling.job_list import Job
from ds01.domain.scheduling.simulation import simulate
from tests.bench.figure import Figure
from tests.bench.job_lists import LISTS, jobs_of, machine_of

SEED = 4


def measure() -> list[Figure]:
    """Return the broken promises of every list, played twice."""
    return [
        Figure(4, f"{jobs.name}: promises broken", broken, "", 0.0, "none", 0.0, 0.0)
        for jobs in LISTS
        for broken in [
            sum(
                simulate(played, machine_of(jobs)).promises_broken
                for played in (jobs_of(jobs), list(_ending_early(jobs_of(jobs))))
            )
        ]
    ]


def _ending_early(jobs: Iterable[Job]) -> Iterable[Job]:
    """Half of the jobs run to their limit, the others end anywhere before it."""
    chance = random.Random(SEED)
    for job in jobs:
        early = chance.random() < 0.5
        yield replace(job, duration_s=max(1.0, job.limit_s * chance.random())) if early else job
