"""Lists of jobs: what is read, and what is refused with file and line."""

from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from ds01.domain.scheduling.job_list import MAX_JOBS, Job, parse_jobs
from ds01.errors import InvalidRequestError

HEADER = "submit_s,gpus,profile,duration_s\n"


def read(text: str, **more: object) -> tuple[Job, ...]:
    return parse_jobs(text, name="jobs.csv", **more)  # type: ignore[arg-type]  # options as they come


def refused(text: str, **more: object) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        read(text, **more)
    return caught.value.message


def test_jobs_come_in_the_order_of_submission_with_their_line() -> None:
    jobs = read(HEADER + "50,1,7g,20\n10,2,,30.5\n\n10,1,2G,40\n")
    assert jobs == (Job(3, 10, 2, "", 30.5, 30.5), Job(5, 10, 1, "2g", 40, 40), Job(2, 50, 1, "", 20, 20))


def test_columns_may_be_in_any_order_and_others_are_ignored() -> None:
    assert read("who, Duration_s ,gpus,submit_s\nalice,5,1,0\n") == (Job(2, 0, 1, "", 5, 5),)


def test_a_list_without_profiles_asks_for_whole_gpus() -> None:
    assert [job.profile for job in read("submit_s,gpus,duration_s\n0,1,5\n")] == [""]


def test_a_cap_shortens_what_is_longer_and_nothing_else() -> None:
    jobs = read(HEADER + "0,1,7g,50\n0,1,7g,200\n", cap=timedelta(seconds=100))
    assert [(job.duration_s, job.limit_s) for job in jobs] == [(50, 50), (100, 100)]


def test_one_cluster_of_a_list_is_played_alone() -> None:
    text = "vc,submit_s,gpus,duration_s\na,0,1,5\nb,0,x,5\na,1,1,6\n"
    # a line of another cluster that is broken does not matter
    assert [job.duration_s for job in read(text, cluster="a")] == [5, 6]


def test_a_byte_order_mark_and_windows_line_ends_are_read() -> None:
    assert read("\ufeff" + HEADER.replace("\n", "\r\n") + "0,1,7g,5\r\n") == (Job(2, 0, 1, "", 5, 5),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "jobs.csv is empty"),
        ("\n \n", "jobs.csv is empty"),
        (HEADER, "jobs.csv has no jobs"),
        ("submit_s,gpus\n0,1\n", "jobs.csv:1: the column duration_s is missing"),
        ("submit_s,gpus,gpus,duration_s\n", "jobs.csv:1: the column gpus is there twice"),
        (HEADER + "0,1,7g\n", "jobs.csv:2: the line ends before duration_s"),
        (HEADER + "0,1,7g,5\nx,1,7g,5\n", "jobs.csv:3: submit_s is 'x', which is no number"),
        (HEADER + "-1,1,7g,5\n", "jobs.csv:2: submit_s is -1, which is negative"),
        (HEADER + "0,1,7g,-5\n", "jobs.csv:2: duration_s is -5, which is negative"),
        (HEADER + "0,1,7g,0\n", "jobs.csv:2: duration_s is 0"),
        (HEADER + "0,1,7g,nan\n", "jobs.csv:2: duration_s is 'nan', which is no number"),
        (HEADER + "0,1,7g,1e30\n", "jobs.csv:2: duration_s is 1e30, which is longer than ten years"),
        (HEADER + "0,0,7g,5\n", "jobs.csv:2: gpus is '0', which is no number of GPUs"),
        (HEADER + "0,1.5,7g,5\n", "jobs.csv:2: gpus is '1.5', which is no number of GPUs"),
        (HEADER + "0,²,7g,5\n", "jobs.csv:2: gpus is '²', which is no number of GPUs"),
        (HEADER + "0," + "9" * 5000 + ",7g,5\n", "jobs.csv:2: gpus is '9999"),
        (HEADER + '0,1,"7g,5\n', "jobs.csv:2: this is not CSV"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_line(text: str, said: str) -> None:
    assert refused(text).startswith(said)


def test_a_column_with_a_slip_is_recognized() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read("submit,gpus,duration_s\n")
    assert caught.value.hint == "Is it 'submit'? Write submit_s."


def test_an_unknown_cluster_is_answered_with_those_that_exist() -> None:
    text = "vc,submit_s,gpus,duration_s\nvision,0,1,5\nspeech,0,1,5\n"
    assert refused(text, cluster="visoin") == "jobs.csv has no jobs with vc 'visoin'; there are: speech, vision."
    assert refused(HEADER + "0,1,7g,5\n", cluster="a").startswith(
        "jobs.csv:1: the column vc is missing (--vc needs it)"
    )


def test_a_list_beyond_all_measure_is_refused_with_the_line() -> None:
    text = "submit_s,gpus,duration_s\n" + "0,1,5\n" * (MAX_JOBS + 1)
    assert refused(text).startswith(f"jobs.csv:{MAX_JOBS + 2}: there are more than")


@given(st.text(alphabet='0123456789,.-"\n\r\x00 aeg_²', max_size=80))
def test_whatever_a_line_holds_it_is_read_or_refused_with_the_name_of_the_file(line: str) -> None:
    said = ""
    jobs: tuple[Job, ...] = ()
    try:
        jobs = read(HEADER + line)
    except InvalidRequestError as refusal:
        said = refusal.message
    assert bool(jobs) != said.startswith("jobs.csv")
    assert all(job.duration_s > 0 and job.gpus > 0 and job.submit_s >= 0 for job in jobs)
