"""Lists of jobs for the simulation: a CSV file with a line for each job, checked whole before anything is played."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from math import isfinite

from ds01.domain.request import MAX_GPUS
from ds01.errors import InvalidRequestError

COLUMNS = ("submit_s", "gpus", "duration_s")
"""Columns that every list has; `profile` and `vc` may be there, others are ignored."""
PROFILE_COLUMN = "profile"
CLUSTER_COLUMN = "vc"
WHOLE_PROFILES = frozenset({"", "7g", "full"})
MAX_JOBS = 100_000
MAX_TIME_S = 10 * 366 * 86_400
MAX_FIELD = 200
EXAMPLE = "The first line names the columns: submit_s,gpus,profile,duration_s"


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a list.

    Attributes:
        line: Line of the file, for messages.
        submit_s: When it is asked for, seconds after the start of the list.
        gpus: Devices.
        profile: Empty: whole GPUs; else a size of MIG instance such as `2g`.
        duration_s: How long it runs.
        limit_s: Time limit that it states; never shorter than it runs.
    """

    line: int
    submit_s: float
    gpus: int
    profile: str
    duration_s: float
    limit_s: float


def parse_jobs(text: str, *, name: str, cap: timedelta | None = None, cluster: str | None = None) -> tuple[Job, ...]:
    """Return the jobs of a list in the order in which they are asked for. The time limit of each is its duration.

    Args:
        text: The file.
        name: What messages call it.
        cap: No job runs longer; None: as the list says.
        cluster: Only jobs whose column `vc` has this value; None: all.

    Raises:
        InvalidRequestError: Something cannot be used; the message names file, line and reason.
    """
    rows = _rows(text, name)
    header = next(rows, None)
    if header is None:
        raise InvalidRequestError(f"{name} is empty.", hint=EXAMPLE)
    columns = _columns(header[1], name=name, cluster=cluster)
    found: list[Job] = []
    clusters: set[str] = set()
    for line, row in rows:
        values = _values(row, columns, f"{name}:{line}")
        if cluster is not None:
            clusters.add(values[CLUSTER_COLUMN])
            if values[CLUSTER_COLUMN] != cluster:
                continue
        found.append(_job(line, values, f"{name}:{line}", cap))
        if len(found) > MAX_JOBS:
            raise InvalidRequestError(
                f"{name}:{line}: there are more than {MAX_JOBS} jobs.", hint="Cut the list into parts."
            )
    if not found:
        raise _nothing_found(name, cluster, clusters)
    return tuple(sorted(found, key=lambda job: (job.submit_s, job.line)))


def _rows(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield lines that are not empty with their numbers."""
    reader = csv.reader(text.removeprefix("\ufeff").splitlines(), strict=True)
    try:
        for row in reader:
            if any(field.strip() for field in row):
                yield reader.line_num, row
    except csv.Error as failure:
        raise InvalidRequestError(f"{name}:{reader.line_num}: this is not CSV: {failure}.", hint=EXAMPLE) from failure


def _columns(header: Sequence[str], *, name: str, cluster: str | None) -> Mapping[str, int]:
    titles = [title.strip().lower() for title in header]
    columns = {title: place for place, title in enumerate(titles)}
    wanted = (*COLUMNS, CLUSTER_COLUMN) if cluster is not None else COLUMNS
    for title in wanted:
        if title not in columns:
            near = get_close_matches(title, titles, n=1)
            asked = " (--vc needs it)" if title == CLUSTER_COLUMN else ""
            raise InvalidRequestError(
                f"{name}:1: the column {title} is missing{asked}.",
                hint=f"Is it {_cut(near[0])!r}? Write {title}." if near else EXAMPLE,
            )
        if titles.count(title) > 1:
            raise InvalidRequestError(f"{name}:1: the column {title} is there twice.", hint=EXAMPLE)
    return {title: columns[title] for title in (*wanted, PROFILE_COLUMN) if title in columns}


def _values(row: Sequence[str], columns: Mapping[str, int], place: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for title, number in columns.items():
        if number >= len(row):
            if title == PROFILE_COLUMN:
                continue
            raise InvalidRequestError(
                f"{place}: the line ends before {title}.", hint="Every line has as many fields as the first."
            )
        values[title] = row[number].strip()
    return values


def _job(line: int, values: Mapping[str, str], place: str, cap: timedelta | None) -> Job:
    gpus = values["gpus"]
    if not gpus.isascii() or not gpus.isdigit() or not 1 <= int(gpus[:MAX_FIELD]) <= MAX_GPUS:
        raise InvalidRequestError(
            f"{place}: gpus is {_cut(gpus)!r}, which is no number of GPUs.",
            hint=f"Write a whole number from 1 to {MAX_GPUS}.",
        )
    duration = _seconds(values["duration_s"], "duration_s", place)
    if duration == 0:
        raise InvalidRequestError(f"{place}: duration_s is 0.", hint="Leave out jobs that never ran.")
    if cap is not None:
        duration = min(duration, cap.total_seconds())
    profile = values.get(PROFILE_COLUMN, "").lower()
    submit = _seconds(values["submit_s"], "submit_s", place)
    whole = "" if profile in WHOLE_PROFILES else profile
    return Job(line, submit, int(gpus), whole, duration, duration)


def _seconds(text: str, title: str, place: str) -> float:
    try:
        value = float(text) if len(text) <= MAX_FIELD else float("nan")
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise InvalidRequestError(
            f"{place}: {title} is {_cut(text)!r}, which is no number.", hint="Write seconds, such as 3600."
        )
    if not 0 <= value <= MAX_TIME_S:
        reason = "negative" if value < 0 else "longer than ten years"
        raise InvalidRequestError(f"{place}: {title} is {_cut(text)}, which is {reason}.", hint="Write seconds.")
    return value


def _nothing_found(name: str, cluster: str | None, clusters: set[str]) -> InvalidRequestError:
    if cluster is None or not clusters:
        return InvalidRequestError(f"{name} has no jobs, only the names of columns.", hint=EXAMPLE)
    near = get_close_matches(cluster, sorted(clusters), n=1)
    known = ", ".join(sorted(clusters)[:8]) + (", ..." if len(clusters) > 8 else "")
    return InvalidRequestError(
        f"{name} has no jobs with vc {_cut(cluster)!r}; there are: {known}.",
        hint=f"Did you mean --vc {near[0]}?" if near else None,
    )


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "..."
