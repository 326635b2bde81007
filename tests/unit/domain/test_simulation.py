"""The simulation: tiny lists that were worked out by hand, and what holds for every list."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings, strategies as st

from ds01.domain.scheduling.job_list import Job
from ds01.domain.scheduling.machine import parse_machine
from ds01.domain.scheduling.simulation import Simulation, figures_of, simulate
from ds01.errors import InvalidRequestError
from tests.unit.domain.test_machine import FACTS

TICK_S = 2e-6
"""The clock has whole microseconds."""
Asked = tuple[float, int, str, float]
"""Submission, GPUs, profile, duration."""


def jobs_of(*asked: Asked) -> list[Job]:
    return [Job(line, submit, gpus, size, length, length) for line, (submit, gpus, size, length) in enumerate(asked, 2)]


def play(devices: str, *asked: Asked) -> Simulation:
    return simulate(jobs_of(*asked), parse_machine(devices, FACTS), name="jobs.csv")


def starts(simulation: Simulation) -> list[float]:
    return [run.start_s for run in simulation.runs]


def test_a_free_machine_starts_everybody_at_once() -> None:
    played = play("2xA100-80GB", (0, 1, "", 100), (5, 1, "", 100))
    assert starts(played) == [0, 5]
    figures = figures_of(played)
    assert (figures.mean_wait_s, figures.mean_jct_s, figures.utilization_while_queued_ratio) == (0, 100, 1.0)


def test_one_gpu_serves_one_after_the_other() -> None:
    played = play("1xA100-80GB", (0, 1, "", 100), (10, 1, "", 50), (20, 1, "", 50))
    assert starts(played) == [0, 100, 150]
    figures = figures_of(played)
    assert figures.mean_wait_s == pytest.approx((0 + 90 + 130) / 3)
    assert (figures.max_wait_s, figures.p95_wait_s, figures.max_wait_big_s) == (130, 130, 0)
    assert figures.mean_jct_s == pytest.approx((100 + 140 + 180) / 3)


def test_who_passes_the_first_does_not_delay_it() -> None:
    # the second needs both GPUs and is promised 100; the third would end after that, the fourth ends before
    played = play("2xA100-80GB", (0, 1, "", 100), (10, 2, "", 50), (11, 1, "", 200), (12, 1, "", 80))
    assert starts(played) == [0, 100, 150, 12]
    assert played.runs[1].promised_s == 100
    assert played.promises_broken == 0
    # 10 to 12 one of two GPUs, 12 to 92 both, 92 to 100 one, 100 to 150 both
    assert played.utilization_while_queued_ratio == pytest.approx((1 + 80 + 4 + 50) / 140)


def test_a_card_is_whole_again_when_its_last_slice_ends() -> None:
    played = play("1xA100-80GB", (0, 1, "3g", 100), (0, 1, "4g", 50), (1, 1, "", 10), (2, 1, "2g", 40))
    # 4g and 3g fill the card; at 50 the 2g fits beside the 3g and ends at 90, before the whole card is promised
    assert starts(played) == [0, 0, 100, 50]


def test_slices_of_one_card_never_overlap() -> None:
    played = play("1xA100-80GB", *[(0, 1, "1g", 10)] * 8)
    assert sorted(starts(played)) == [0] * 7 + [10]


def test_while_many_wait_the_short_go_first_and_while_few_wait_the_order_of_arrival_counts() -> None:
    long, short = (1.0, 1, "", 1000.0), (1.0, 1, "", 10.0)
    found = starts(play("1xA100-80GB", (0, 1, "", 1000), long, *[short] * 20))
    passed = sum(start < found[1] for start in found[2:])
    assert 3 <= passed <= 18
    assert found[1] == 1000 + 10 * passed
    few = starts(play("1xA100-80GB", (0, 1, "", 1000), long, *[short] * 5))
    assert few[1] == 1000


def test_a_start_that_was_promised_while_few_waited_is_kept_when_many_come() -> None:
    long, short = (0.0, 1, "", 1000.0), (1.0, 1, "", 10.0)
    played = play("1xA100-80GB", long, long, *[short] * 20)
    assert starts(played)[1] == played.runs[1].promised_s == 1000


def test_a_job_that_ends_early_gives_its_gpu_back_early() -> None:
    first, second = jobs_of((0, 1, "", 100), (0, 1, "", 100))
    early = Job(first.line, first.submit_s, 1, "", 30, 100)
    played = simulate([early, second], parse_machine("1xA100-80GB", FACTS))
    assert starts(played) == [0, 30]
    assert played.runs[1].promised_s == 100


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ((0, 3, "", 5), "jobs.csv:3: the job asks for 3 whole GPUs; 2xA100-80GB has 2 of them."),
        ((0, 15, "1g", 5), "jobs.csv:3: the job asks for 15 1g instances; 2xA100-80GB has 14 of them."),
        ((0, 1, "5g", 5), "jobs.csv:3: 2xA100-80GB has no MIG instances '5g'; it has 1g, 2g, 3g, 4g or 7g."),
    ],
)
def test_a_job_that_the_machine_never_has_is_named_with_its_line(job: Asked, said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        play("2xA100-80GB", (0, 1, "", 5), job)
    assert caught.value.message == said


def overlaps(played: Simulation) -> Sequence[tuple[int, int]]:
    found = []
    for number, run in enumerate(played.runs):
        for other in played.runs[number + 1 :]:
            if run.start_s < other.end_s - TICK_S and other.start_s < run.end_s - TICK_S:
                found += [
                    (run.job.line, other.job.line)
                    for mine in run.positions
                    for theirs in other.positions
                    if mine.card_uuid == theirs.card_uuid and mine.position.mask & theirs.position.mask
                ]
    return found


SHAPES = st.sampled_from([(1, ""), (1, ""), (2, ""), (1, "1g"), (1, "2g"), (1, "3g"), (1, "4g"), (2, "1g")])
JOBS = st.lists(
    st.tuples(st.integers(0, 300), SHAPES, st.integers(1, 200), st.floats(0.1, 1.0)), min_size=1, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(JOBS)
def test_every_job_runs_once_alone_and_no_later_than_promised(
    asked: list[tuple[int, tuple[int, str], int, float]],
) -> None:
    jobs = [
        Job(line, float(submit), gpus, size, limit * part, float(limit))
        for line, (submit, (gpus, size), limit, part) in enumerate(sorted(asked), 2)
    ]
    played = simulate(jobs, parse_machine("2xA100-80GB", FACTS))
    assert [run.job for run in played.runs] == jobs
    assert all(run.wait_s >= 0 and len(run.positions) == run.job.gpus for run in played.runs)
    assert not overlaps(played)
    assert played.promises_broken == 0
    assert all(run.start_s <= run.promised_s for run in played.runs if run.promised_s is not None)
    assert 0 <= played.utilization_while_queued_ratio <= 1 + 1e-9
    figures = figures_of(played)
    assert 0 <= figures.mean_wait_s <= figures.max_wait_s
    assert figures.p95_wait_s <= figures.max_wait_s


@settings(max_examples=20, deadline=None)
@given(JOBS)
def test_the_same_list_gives_the_same_figures(asked: list[tuple[int, tuple[int, str], int, float]]) -> None:
    jobs = jobs_of(*[(float(submit), gpus, size, float(limit)) for submit, (gpus, size), limit, _ in sorted(asked)])
    machine = parse_machine("2xH100-80GB", FACTS)
    assert simulate(jobs, machine) == simulate(jobs, machine)
