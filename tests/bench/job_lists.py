"""The job lists of rows 3 and 4, and the product's simulation of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from typing import Any

from ds01.domain.scheduling.job_list import Job, parse_jobs
from ds01.domain.scheduling.machine import Machine, parse_machine
from tests.bench.easy import DATA

DAY_S = 86_400


@dataclass(frozen=True)
class JobList:
    """A list on a machine.

    Attributes:
        file: Below `tests/bench/data`.
        cards: GPUs of the machine, A100-80GB.
        cluster: Only jobs of this cluster; None: all.
        cap_s: No job runs longer.
    """

    file: str
    cards: int
    cluster: str | None = None
    cap_s: float | None = DAY_S

    @property
    def name(self) -> str:
        stem = self.file.partition("_")[0]
        return f"{stem}{'' if self.cluster is None else ' ' + self.cluster} on {self.cards}"


OPENB = JobList("openb_jobs_a.csv", 8)
PHILLY = JobList("philly_jobs_a.csv", 24)
LISTS = (
    OPENB,
    JobList("openb_jobs_a.csv", 10),
    PHILLY,
    JobList("philly_jobs_a.csv", 16, "103959"),
    JobList("philly_jobs_a.csv", 12, "ed69ec"),
)


def machine_of(jobs: JobList) -> Machine:
    profiles, values = (_shipped(name) for name in ("mig_profiles.json", "mig_values.json"))
    return parse_machine(f"{jobs.cards}xA100-80GB", profiles["devices"], values["geometries"])


def _shipped(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files("ds01") / "data" / name).read_text(encoding="utf-8"))
    return found


def jobs_of(jobs: JobList) -> Sequence[Job]:
    text = (DATA / jobs.file).read_text(encoding="utf-8")
    cap = None if jobs.cap_s is None else timedelta(seconds=jobs.cap_s)
    return parse_jobs(text, name=jobs.file, cap=cap, cluster=jobs.cluster)
