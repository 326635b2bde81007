"""Restarting, what commands only plan, and what programs get from commands that people mostly type."""

import json

from tests.unit.cli.conftest import CREATED, Ds01, container, containers, creation, details
from tests.unit.scripted_daemon import ScriptedDaemon, chunk, ok, stream_head


def restarted(**more: object) -> bytes:
    facts = {"container": details("a"), "was_running": True, "dry_run": False, "docker_command": "docker restart a._.1"}
    return ok({"schema_version": 1, **facts, "warnings": ["GPU 1 is warm"], **more})


def test_restart_says_what_came_of_it_and_asks_for_one_act(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/containers/a/restart"] = restarted()
    done = ds01("restart", "a", "--time", "5s")
    assert (done.status, done.out) == (0, "a\n")
    assert "GPU 1 is warm" in done.err
    assert [asked for asked in daemon.asked() if "GET" not in asked] == ["POST /v1/containers/a/restart"]
    assert daemon.requests[-1].document() == {"grace_s": 5.0}
    assert ds01("restart", "a", "--force", "--json").document["results"][0]["was_running"] is True
    assert daemon.requests[-1].document() == {"grace_s": 0.0}


def test_restart_all_is_about_those_that_run(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("a"), container("b", "exited"))
    daemon.answers["POST /v1/containers/a/restart"] = restarted()
    assert ds01("restart", "--all").out == "a\n"
    daemon.answers["GET /v1/containers"] = containers(container("b", "exited"))
    assert "no running container" in ds01("restart", "--all").err


def test_plans_print_the_docker_command_and_act_on_nothing(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    plan = {"dry_run": True, "docker_command": "docker x a._.1"}
    started = {"schema_version": 1, "container": details("a"), "was_running": False, "warnings": [], **plan}
    daemon.answers["POST /v1/containers/a/start"] = ok(started)
    daemon.answers["POST /v1/containers/a/restart"] = restarted(**plan)
    paused = {"schema_version": 1, "name": "a", "state": "running", "was_so": False, **plan}
    daemon.answers["POST /v1/containers/a/pause"] = ok(paused)
    daemon.answers["POST /v1/containers/a/unpause"] = ok(paused)
    words = {"start": "start", "restart": "restart", "container pause": "pause", "container unpause": "unpause"}
    for typed, verb in words.items():
        outcome = ds01(*typed.split(), "a", "--dry-run")
        assert (outcome.status, outcome.out) == (0, "docker x a._.1\n"), verb
        assert f"Would {verb} a" in outcome.err
        assert ds01(*typed.split(), "a", "--dry-run", "--json").document["results"][0]["dry_run"] is True
    assert {request.document().get("dry_run") for request in daemon.requests if "start" in request.path} == {True}
    assert {request.target.partition("?")[2] for request in daemon.requests if "pause" in request.path} == {
        "dry_run=true"
    }


def test_run_only_says_what_it_would_start_or_create(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    plan = {"dry_run": True, "docker_command": "docker start a._.1"}
    started = {"schema_version": 1, "container": details("a"), "was_running": False, "warnings": [], **plan}
    daemon.answers["POST /v1/containers/a/start"] = ok(started)
    outcome = ds01("run", "a", "--dry-run", "--", "python", "my train.py")
    assert (outcome.status, outcome.out) == (0, "docker start a._.1\n")
    assert "Would start a and run python 'my train.py' in a." in outcome.err
    planned = {"schema_version": 1, "dry_run": True, "docker_command": "docker create", "reasons": [], "warnings": []}
    daemon.answers["POST /v1/containers"] = ok(planned)
    outcome = ds01("run", "b", "pytorch", "--dry-run")
    assert (outcome.status, outcome.out) == (0, "docker create\n")
    assert daemon.requests[-1].document()["dry_run"] is True
    assert [asked for asked in daemon.asked() if "GET" not in asked] == [
        "POST /v1/containers/a/start",
        "POST /v1/containers",
    ]


def test_deploy_gives_programs_the_running_container(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/containers"] = creation(CREATED)
    started = {"schema_version": 1, "container": details("my-project"), "was_running": False, "warnings": []}
    daemon.answers["POST /v1/containers/my-project/start"] = ok(started)
    daemon.answers["GET /v1/containers/my-project"] = ok(details("my-project"))
    outcome = ds01("deploy", "my-project", "pytorch", "--json")
    assert (outcome.status, outcome.document["container"]["state"]) == (0, "running")


def test_logs_gives_programs_every_line_with_its_time(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    moment = b"2026-03-01T12:00:00.000000001Z"
    pieces = chunk(moment + b" fir") + chunk(b"st \x1b[1m\xff\r\n" + moment + b" \n" + moment + b" last")
    daemon.answers["GET /v1/containers/a/logs"] = stream_head("application/octet-stream") + pieces + chunk(b"")
    outcome = ds01("logs", "a", "--json")
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert [line["text"] for line in lines] == ["first \x1b[1m\ufffd", "", "last"]
    assert {line["time"] for line in lines} == {moment.decode()}
    assert daemon.requests[-1].target.endswith("timestamps=true")
