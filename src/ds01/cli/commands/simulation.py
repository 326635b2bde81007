"""`ds01 admin simulate`: play a list of jobs on a machine that need not exist. It needs no daemon."""

from dataclasses import asdict
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import TypedDict, cast

from ds01.api.schema import SCHEMA_VERSION
from ds01.cli.call import Call
from ds01.cli.spec import JSON, Argument, Option, Spec
from ds01.cli.table import render
from ds01.domain.scheduling.job_list import parse_jobs
from ds01.domain.scheduling.machine import DeviceFacts, StateValues, parse_machine
from ds01.domain.scheduling.simulation import Figures, figures_of, simulate
from ds01.errors import EXIT_OK, InvalidRequestError
from ds01.units import format_duration, format_ratio, parse_duration

READ_BYTES = 16 * 1024**2
EXAMPLE = "ds01 admin simulate JOBS.csv --devices 8xA100-80GB"


class _Table(TypedDict):
    devices: dict[str, DeviceFacts]


def play(call: Call) -> int:
    """Print what came of a list of jobs."""
    path, devices = call.text("jobs"), call.text("devices")
    if path is None:
        raise InvalidRequestError("Which jobs? The name of a CSV file is missing.", hint=EXAMPLE)
    if devices is None:
        raise InvalidRequestError("On which GPUs? --devices is missing.", hint=EXAMPLE)
    machine = parse_machine(devices, _facts(), _values())
    jobs = parse_jobs(_text(Path(path)), name=path, cap=_cap(call.text("cap")), cluster=call.text("vc"))
    figures = figures_of(simulate(jobs, machine, name=path))
    if call.flag("json"):
        call.screen.document({"schema_version": SCHEMA_VERSION, **asdict(figures)})
        return EXIT_OK
    call.screen.tell(f"{path} on {machine.text}:")
    call.screen.data(render(call.screen, ["FIGURE", "VALUE"], _rows(figures)))
    return EXIT_OK


def _rows(figures: Figures) -> list[list[str]]:
    return [
        ["jobs", str(figures.jobs)],
        ["mean wait", _time(figures.mean_wait_s)],
        ["95 of 100 wait at most", _time(figures.p95_wait_s)],
        ["longest wait", _time(figures.max_wait_s)],
        ["longest wait with 4 or more GPUs", _time(figures.max_wait_big_s)],
        ["mean time from submission to end", _time(figures.mean_jct_s)],
        ["compute in use while somebody waits", format_ratio(figures.utilization_while_queued_ratio)],
        ["promises broken", str(figures.promises_broken)],
    ]


def _time(seconds: float) -> str:
    return format_duration(timedelta(seconds=seconds))


def _cap(text: str | None) -> timedelta | None:
    cap = None if text is None else parse_duration(text)
    if cap is not None and cap <= timedelta(0):
        raise InvalidRequestError("A cap of nothing leaves no jobs.", hint="Write --cap 1d, or leave it out.")
    return cap


def _facts() -> dict[str, DeviceFacts]:
    import json

    text = (files("ds01") / "data" / "mig_profiles.json").read_text(encoding="utf-8")
    return cast("_Table", json.loads(text))["devices"]


def _values() -> StateValues:
    import json

    text = (files("ds01") / "data" / "mig_values.json").read_text(encoding="utf-8")
    return cast("dict[str, StateValues]", json.loads(text))["geometries"]


def _text(path: Path) -> str:
    """Read the list as the user. A pipe is as good as a file."""
    try:
        with path.open("rb") as file:
            raw = file.read(READ_BYTES + 1)
    except FileNotFoundError as failure:
        raise InvalidRequestError(f"There is no file {path}.", hint=EXAMPLE) from failure
    except (OSError, ValueError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else str(failure)
        raise InvalidRequestError(f"{path} cannot be read: {reason}.", hint=f"Look at it: ls -l {path}") from failure
    if len(raw) > READ_BYTES:
        raise InvalidRequestError(
            f"{path} is larger than {READ_BYTES // 1024**2} MiB.", hint="Cut the list into parts, or use --vc."
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as failure:
        line = raw[: failure.start].count(b"\n") + 1
        raise InvalidRequestError(f"{path}:{line}: the file is not UTF-8.", hint="Save it as UTF-8.") from failure


SIMULATE = Spec(
    play,
    examples=(
        "ds01 admin simulate jobs.csv --devices 8xA100-80GB  how long everybody would wait",
        "ds01 admin simulate jobs.csv --devices 10xA100-80GB  what if we bought two more",
        "ds01 admin simulate jobs.csv --devices 8xA100-80GB,4xH100-80GB --cap 1d --json  for programs",
    ),
    details=(
        "JOBS is a CSV file with the columns submit_s, gpus, duration_s and perhaps profile (2g; 7g: whole GPUs). "
        "The scheduler is the real one; nothing is started and no daemon is asked."
    ),
    arguments=(Argument("jobs", shown="JOBS.csv"),),
    options=(
        Option("--devices", "GPUs of the machine, such as 8xA100-80GB.", kind="text", metavar="LIST"),
        Option("--cap", "No job runs longer, such as 1d.", kind="text", metavar="TIME"),
        Option("--vc", "Only jobs with this value in the column vc.", kind="text", metavar="NAME"),
        JSON,
    ),
)
