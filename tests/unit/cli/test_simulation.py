"""`ds01 admin simulate`: needs no daemon, and says what it cannot use with file and line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Ds01

JOBS = "vc,submit_s,gpus,profile,duration_s\na,0,1,7g,100\na,10,1,7g,50\nb,20,1,7g,50\n"


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.csv"
    path.write_text(JOBS, encoding="utf-8")
    return path


def test_a_program_gets_every_figure(ds01: Ds01, jobs: Path) -> None:
    outcome = ds01("admin", "simulate", str(jobs), "--devices", "1xA100-80GB", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.document == {
        "schema_version": 1,
        "jobs": 3,
        "mean_wait_s": pytest.approx(220 / 3),
        "p95_wait_s": 130.0,
        "max_wait_s": 130.0,
        "max_wait_big_s": 0.0,
        "mean_jct_s": pytest.approx(420 / 3),
        "utilization_while_queued_ratio": 1.0,
        "promises_broken": 0,
    }


def test_a_person_gets_a_table(ds01: Ds01, jobs: Path) -> None:
    rows = ds01("admin", "simulate", str(jobs), "--devices", "2xA100-80GB").out.splitlines()
    assert rows[0].split() == ["FIGURE", "VALUE"]
    assert rows[4].split() == ["longest", "wait", "40s"]


def test_the_cap_and_the_cluster_are_obeyed(ds01: Ds01, jobs: Path) -> None:
    words = ("admin", "simulate", str(jobs), "--devices", "1xH100-80GB", "--json")
    assert ds01(*words, "--cap", "1m").document["mean_jct_s"] == pytest.approx((60 + 100 + 140) / 3)
    assert ds01(*words, "--vc", "a").document["jobs"] == 2


def test_no_daemon_is_asked(jobs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ds01", "admin", "simulate", str(jobs), "--devices", "1xA100-80GB", "--json"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "DS01_SOCKET": str(tmp_path / "nobody.sock")}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[3] / "src")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["jobs"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Which jobs?"),
        (("JOBS",), "On which GPUs?"),
        (("JOBS", "--devices", "8xA10"), "No GPU model 'A10' is known"),
        (("JOBS", "--devices", "1xA100-80GB", "--cap", "0s"), "A cap of nothing leaves no jobs"),
        (("JOBS", "--devices", "1xA100-80GB", "--cap", "5"), "The duration '5' has no unit"),
        (("JOBS", "--devices", "1xA100-80GB", "--vc", "c"), "jobs.csv has no jobs with vc 'c'; there are: a, b"),
        (("/nowhere/jobs.csv", "--devices", "1xA100-80GB"), "There is no file /nowhere/jobs.csv"),
        (("/", "--devices", "1xA100-80GB"), "/ cannot be read: Is a directory"),
        (("a\0b", "--devices", "1xA100-80GB"), "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_said_and_exits_with_2(
    ds01: Ds01, jobs: Path, words: tuple[str, ...], said: str
) -> None:
    outcome = ds01("admin", "simulate", *(str(jobs) if word == "JOBS" else word for word in words))
    assert (outcome.status, outcome.out) == (2, "")
    assert said in outcome.err


def test_a_file_that_is_not_text_is_said_with_its_line(ds01: Ds01, jobs: Path) -> None:
    jobs.write_bytes(JOBS.encode() + b"a,0,1,\xff,5\n")
    outcome = ds01("admin", "simulate", str(jobs), "--devices", "1xA100-80GB")
    assert outcome.status == 2
    assert f"{jobs}:5: the file is not UTF-8" in outcome.err


def test_a_file_beyond_all_measure_is_refused_before_it_is_read_whole(ds01: Ds01) -> None:
    outcome = ds01("admin", "simulate", "/dev/zero", "--devices", "1xA100-80GB", "--json")
    assert outcome.status == 2
    assert "larger than 16 MiB" in outcome.problem["detail"]


def test_a_job_that_does_not_fit_is_named(ds01: Ds01, jobs: Path) -> None:
    jobs.write_text(JOBS + "a,30,2,7g,5\n", encoding="utf-8")
    outcome = ds01("admin", "simulate", str(jobs), "--devices", "1xA100-80GB")
    assert outcome.status == 2
    assert f"{jobs}:5: the job asks for 2 whole GPUs; 1xA100-80GB has 1 of them" in outcome.err
