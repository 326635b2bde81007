"""Waiting as people type it: create, run and start with --wait; what is said meanwhile; what is refused before."""

import socket

import pytest

from tests.unit.cli.conftest import CREATED, Ds01, container, containers, creation, details
from tests.unit.cli.waiting_documents import at, estimate, request, why
from tests.unit.scripted_daemon import Request, ScriptedDaemon, chunk, line, ok, problem, stream_head

CREATE = ("create", "my-project", "pytorch")


def waiting(place: int = 1, **more: object) -> bytes:
    found = {
        "id": "4f1c",
        "container": "my-project",
        "estimate": estimate(place, **more),
        "waiting": 3,
        "reason": "busy",
    }
    return line({"kind": "waiting", "waiting": found})


def waited(*lines: bytes) -> bytes:
    return stream_head() + b"".join(lines) + chunk(b"")


DONE = line({"kind": "step", "message": "Creating"}) + line({"kind": "result", "result": CREATED})


def test_waiting_says_place_promise_and_reason_and_ends_with_the_container(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/containers"] = waited(
        waiting(2, is_promise=False, assumption="a container without a time limit ends after 8h"),
        waiting(2, is_promise=False, assumption="a container without a time limit ends after 8h"),
        waiting(1),
        waiting(1, start_at=None, is_promise=False, assumption="your quota is used up"),
        DONE,
    )
    outcome = ds01(*CREATE, "--wait")
    assert (outcome.status, outcome.out) == (0, "my-project\n")
    first, second, third, *_ = outcome.err.splitlines()
    assert first.startswith("my-project waits: place 2 of 3; it starts about ")
    assert first.endswith("(a container without a time limit ends after 8h); busy")
    assert "place 1 of 3; it starts by " in second
    assert "at the latest: promised" in second
    assert "nobody can say when it starts (your quota is used up)" in third
    assert daemon.requests[-1].document() == {
        "name": "my-project",
        "interface": "cli",
        "framework": "pytorch",
        "wait": True,
    }


def test_a_wait_that_is_over_gives_the_place_up_and_says_so(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/containers"] = waited(waiting(), line({"kind": "gave_up"}))
    outcome = ds01(*CREATE, "--wait=30m")
    assert (outcome.status, outcome.out) == (6, "")
    assert "my-project has waited 30m and got no GPU. Its place in the queue is given up." in outcome.err
    assert daemon.requests[-1].document()["wait_s"] == 1800.0
    failed = ds01(*CREATE, "--wait=30m", "--json")
    assert (failed.status, '"code": "wait_timeout"' in failed.err) == (6, True)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--wait"], {"wait": True}),
        (["--wait=90m"], {"wait": True, "wait_s": 5400.0}),
        (["--wait", "90m"], {"wait": True, "wait_s": 5400.0}),
        (["--no-wait"], {}),
        (["--time", "8h"], {"time_limit_s": 28800.0}),
        (["--reservation", "exam", "--exclusive"], {"reservation": "exam", "exclusive": True}),
    ],
)
def test_every_way_to_wait_reaches_the_daemon(
    words: list[str], wanted: dict[str, object], daemon: ScriptedDaemon, ds01: Ds01
) -> None:
    daemon.answers["POST /v1/containers"] = creation(CREATED)
    assert ds01("create", *words, "my-project", "pytorch").status == 0
    sent = daemon.requests[-1].document()
    assert {key: value for key, value in sent.items() if key not in {"name", "interface", "framework"}} == wanted
    assert sent["name"] == "my-project"


def test_until_is_a_length_of_time_from_now(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/containers"] = creation(CREATED)
    assert ds01(*CREATE, "--time", "until in 2h").status == 0
    limit = daemon.requests[-1].document()["time_limit_s"]
    assert limit == pytest.approx(7200, abs=60)


def test_a_later_start_keeps_a_place_and_does_not_keep_the_person(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    planned = {**CREATED, "request": request(not_before=at(hours=5)), "warnings": []}
    planned.pop("container")
    daemon.answers["POST /v1/containers"] = ok(planned)
    outcome = ds01(*CREATE, "--at", "in 5h")
    assert (outcome.status, outcome.out) == (0, "my-project\n")
    sent = daemon.requests[-1].document()
    assert sent["wait"] is True
    assert str(sent["not_before"]).endswith("+00:00")
    assert ds01(*CREATE, "--at", "in 5h", "--json").document["request"]["container"] == "my-project"


def test_a_plan_that_would_wait_has_no_docker_command(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    plan = {**CREATED, "dry_run": True, "docker_command": "", "reasons": ["it would wait: place 3"]}
    daemon.answers["POST /v1/containers"] = ok(plan)
    outcome = ds01(*CREATE, "--wait", "--dry-run")
    assert (outcome.status, outcome.out) == (0, "")
    assert "it would wait: place 3" in outcome.err
    assert "docker" not in outcome.err
    assert daemon.requests[-1].document()["dry_run"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--wait", "--no-wait"], "--wait and --no-wait exclude each other"),
        (["--at", "in 1h", "--no-wait"], "--at and --no-wait exclude each other"),
        (["--wait=30"], "30m"),
        (["--wait=soon"], "--wait"),
        (["--wait=0s"], "no time at all"),
        (["--time", "8"], "8h"),
        (["--time", "0h"], "no time at all"),
        (["--time", "until today 00:00"], "has passed"),
        (["--at", "yesterday 10:00"], "no moment"),
        (["--at", "2020-01-01 10:00"], "has passed"),
        (["--at", "9"], "no moment"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_daemon_is_asked(
    words: list[str], said: str, daemon: ScriptedDaemon, ds01: Ds01
) -> None:
    outcome = ds01(*CREATE, *words)
    assert (outcome.status, outcome.out) == (2, "")
    assert said in outcome.err
    assert daemon.requests == []


def test_a_refusal_that_waiting_would_end_has_the_command_for_it(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    refused = line({"kind": "problem", "problem": {"code": "no_capacity", "detail": "No GPU is free.", "hint": "x"}})
    daemon.answers["POST /v1/containers"] = waited(refused)
    typed = ds01("run", "--no-wait", "my-project", "pytorch", "-e", "A=b c", "--", "python", "train.py")
    assert "ds01 run my-project pytorch -e 'A=b c' --wait -- python train.py" in typed.err
    assert "--wait" not in ds01(*CREATE, "--wait").err
    daemon.answers["POST /v1/containers"] = waited(
        line({"kind": "problem", "problem": {"code": "quota_exceeded", "detail": "Never."}})
    )
    assert "--wait" not in ds01(*CREATE).err


def test_a_refusal_says_when_it_would_start_and_what_could_be_had_now(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    details = {"estimate": estimate(), "why": why()}
    refused = {"code": "no_capacity", "detail": "No GPU is free.", "hint": "x", "details": details}
    daemon.answers["POST /v1/containers"] = waited(line({"kind": "problem", "problem": refused}))
    lines = ds01(*CREATE).err.splitlines()
    assert lines[1].startswith("→ Keep a place in the queue and wait (it starts by ")
    assert lines[1].endswith("at the latest: promised): ds01 create my-project pytorch --wait")
    assert lines[2].startswith("→ Or now (1 1g.10gb can be had): ds01 queue cancel my-project -y && ds01 create ")
    assert lines[3:] == ["→ x"]


def test_start_waits_for_the_gpus_that_a_container_was_made_with(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    started = {"schema_version": 1, "container": details("my-project"), "was_running": False, "warnings": []}
    daemon.answers["POST /v1/containers/my-project/start"] = waited(
        waiting(), line({"kind": "result", "started": started})
    )
    outcome = ds01("start", "my-project", "--wait=1h")
    assert (outcome.status, outcome.out) == (0, "my-project\n")
    assert daemon.requests[-1].document() == {"wait": True, "wait_s": 3600.0}
    daemon.answers["POST /v1/containers/my-project/start"] = problem(409, "no_capacity", "GPU 0 is in use.")
    outcome = ds01("start", "my-project")
    assert (outcome.status, "ds01 start my-project --wait" in outcome.err) == (5, True)


PLANNED = {
    "schema_version": 1,
    "name": "my-project",
    "dry_run": True,
    "size_bytes": 3 * 1024**3,
    "expected_s": 32.0,
    "gpus": ["1:0"],
    "reason": "the emptiest",
    "warnings": [],
}


def taken(daemon: ScriptedDaemon) -> None:
    daemon.answers["POST /v1/containers/my-project/start"] = problem(409, "no_capacity", "GPU 0 is in use by bob.")


def test_start_with_move_says_size_and_time_and_goes_on_with_another_gpu(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    taken(daemon)
    asked: list[dict[str, object]] = []

    def answer(sent: Request, connection: socket.socket) -> None:
        asked.append(sent.document())
        moved = line({"kind": "result", "moved": {**PLANNED, "dry_run": False, "warnings": ["look out"]}})
        is_dry = sent.document().get("dry_run")
        connection.sendall(ok(PLANNED) if is_dry else waited(line({"kind": "step", "message": "Copying"}), moved))

    daemon.answers["POST /v1/containers/my-project/move"] = answer
    daemon.answers["GET /v1/containers/my-project"] = ok(details("my-project"))
    outcome = ds01("start", "my-project", "--move", "-y")
    assert (outcome.status, outcome.out) == (0, "my-project\n")
    assert "GPU 0 is in use by bob." in outcome.err
    assert "my-project can go on with GPU 1:0: 3G of its own files are copied, about 32s." in outcome.err
    assert "look out" in outcome.err
    assert asked == [{"dry_run": True}, {}]


def test_a_move_that_fails_has_the_daemons_words(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    taken(daemon)
    daemon.answers["POST /v1/containers/my-project/move"] = problem(409, "no_capacity", "No GPU is free.")
    outcome = ds01("start", "my-project", "--move", "-y")
    assert (outcome.status, outcome.out, "No GPU is free." in outcome.err) == (5, "", True)


def test_a_start_whose_gpu_is_taken_names_the_other_way(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    taken(daemon)
    outcome = ds01("start", "my-project")
    assert (outcome.status, "ds01 start my-project --move" in outcome.err) == (5, True)
    both = ds01("start", "my-project", "--move", "--wait")
    assert (both.status, "--move and --wait exclude each other" in both.err) == (2, True)


def test_the_list_has_a_row_and_a_line_for_what_waits(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    both = {"schema_version": 1, "containers": [container("a")], "waiting": [request("b")]}
    daemon.answers["GET /v1/containers"] = ok(both)
    outcome = ds01("list")
    rows = [row.split() for row in outcome.out.splitlines()]
    assert rows[1][:6] == ["b", "waiting", "2", "x", "full", ">="]
    assert rows[2][:2] == ["a", "running"]
    assert outcome.err.startswith("b waits: place 1; it starts by ")
    assert ds01("list", "-q").out == "a\n"
    assert ds01("list", "--json").document["waiting"][0]["container"] == "b"
    daemon.answers["GET /v1/containers"] = containers()
    assert ds01("list").out == ""
