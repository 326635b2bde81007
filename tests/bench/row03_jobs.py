"""Row 3: mean and longest wait of the job lists, against EASY with FIFO backfill. A virtual clock: the same every time.

The gate is the first list on 8 GPUs. The others are told, with the same goals, because what is tuned on one list alone
would show there; they fail only where they are worse than EASY.
"""

from collections.abc import Iterator

from ds01.domain.scheduling.simulation import figures_of, simulate
from tests.bench.easy import easy_waits, read_jobs
from tests.bench.figure import Figure
from tests.bench.job_lists import LISTS, OPENB, JobList, jobs_of, machine_of

ANCHOR = "EASY, FIFO backfill, fragmentation gradient"
MEAN_GATE, MEAN_STRETCH = 0.70, 0.5
MAX_GATE, MAX_STRETCH = 1.25, 1.1


def measure() -> list[Figure]:
    """Return mean and longest wait of every list."""
    return [figure for jobs in LISTS for figure in _figures(jobs)]


def _figures(jobs: JobList) -> Iterator[Figure]:
    waits = easy_waits(read_jobs(jobs.file, cap=jobs.cap_s, cluster=jobs.cluster), jobs.cards)
    ours = figures_of(simulate(jobs_of(jobs), machine_of(jobs)))
    is_gate = jobs == OPENB
    mean = sum(waits) / len(waits)
    mean_gate, max_gate = (MEAN_GATE, MAX_GATE) if is_gate else (1.0, 1.5)
    yield Figure(3, f"{jobs.name}: mean wait", ours.mean_wait_s, "s", mean, ANCHOR, mean_gate, MEAN_STRETCH)
    yield Figure(3, f"{jobs.name}: longest wait", ours.max_wait_s, "s", max(waits), ANCHOR, max_gate, MAX_STRETCH)
