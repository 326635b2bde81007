"""`ds01 queue` and `ds01 why` without a terminal: what is asked of the daemon, and what is printed."""

import pytest

from tests.unit.cli.conftest import Ds01, container, containers
from tests.unit.cli.waiting_documents import at, hidden, holder, queue, request, why
from tests.unit.scripted_daemon import ScriptedDaemon, ok, problem


def test_the_queue_says_place_start_and_reason(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/queue"] = queue(request(), waiting=4)
    outcome = ds01("queue")
    heading, row = outcome.out.splitlines()
    assert heading.split() == ["PLACE", "NAME", "STATE", "GPUS", "STARTS", "SINCE", "WHY"]
    assert row.startswith("1      my-project  waiting  2 x full >= 20G  by ")
    assert row.endswith("1 hour ago  none of the 2 GPUs that would do is free")
    assert ds01("queue", "list").out == outcome.out


def test_what_others_do_not_show_is_a_dash(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    of_group = hidden(group="researcher", id="77aa000000000000", state="starting")
    daemon.answers["GET /v1/queue"] = queue(request(), hidden(), of_group)
    rows = ds01("queue", "-a").out.splitlines()
    assert daemon.asked()[-1] == "GET /v1/queue?all=true"
    assert rows[2].split()[:3] == ["2", "9b20000000000000", "-"]
    assert "group researcher" in rows[3]
    assert ds01("queue", "-a", "-q").out.split() == ["my-project", "9b20000000000000", "77aa000000000000"]


def test_the_queue_is_printed_for_programs(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/queue"] = queue(request())
    assert ds01("queue", "--json").document["requests"][0]["estimate"]["is_promise"] is True
    heading, row = ds01("queue", "--format", "csv").out.splitlines()
    assert heading == "place,container,id,owner,group,gpus,kind,state,start_at,is_promise,queued_at"
    assert row.startswith("1,my-project,4f1c9d2ab7e05836,alice,student,2,full,waiting,")


def test_an_empty_queue_is_said_on_stderr_only(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/queue"] = queue()
    assert (ds01("queue").out, ds01("queue").err) == ("", "Nobody waits for a GPU.\n")
    daemon.answers["GET /v1/queue"] = queue(waiting=2)
    assert ds01("queue").err == "Nothing of yours waits; of others 2: ds01 queue -a\n"


def test_a_place_is_given_up_by_name_or_id_whatever_happens_to_the_others(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    gone = {"schema_version": 1, "id": "4f1c9d2ab7e05836", "container": "my-project", "owner": "alice"}
    daemon.answers["DELETE /v1/queue/my-project"] = ok(gone)
    daemon.answers["DELETE /v1/queue/theirs"] = problem(403, "forbidden", "It is a request of bob's.")
    daemon.answers["GET /v1/queue"] = queue(request())
    outcome = ds01("queue", "cancel", "theirs", "my-project")
    assert (outcome.status, outcome.out) == (4, "my-project\n")
    assert "It is a request of bob's." in outcome.err
    missing = ds01("queue", "cancel", "my-projet")
    assert (missing.status, "Did you mean my-project? ds01 queue shows yours." in missing.err) == (3, True)
    assert ds01("queue", "cancel").status == 2
    daemon.answers["DELETE /v1/queue/4f1c9d2ab7e05836"] = ok(gone)
    assert ds01("queue", "cancel", "--all", "--json").document["results"] == [gone]
    assert ds01("queue", "cancel", "--all", "x").status == 2


def test_a_move_says_which_promises_change(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    promises = [
        {"id": "1", "owner": "bob", "container": "train", "promised_at": at(hours=1), "start_at": at(hours=9)},
        {"id": "2", "owner": "", "container": "", "promised_at": at(hours=1), "start_at": None},
    ]
    daemon.answers["POST /v1/queue/4f1c/move"] = ok({"schema_version": 1, "request": request(), "promises": promises})
    outcome = ds01("queue", "move", "4f1c", "--before", "9b20", "--reason", "exam")
    assert (outcome.status, outcome.out) == (0, "my-project\n")
    assert "train of bob was promised " in outcome.err
    assert "2 was promised " in outcome.err
    assert "nothing is promised now" in outcome.err
    assert daemon.requests[-1].document() == {"place": "before", "before": "9b20", "reason": "exam"}
    assert ds01("queue", "move", "4f1c", "--first", "--json").document["promises"] == promises
    assert daemon.requests[-1].document() == {"place": "first"}


@pytest.mark.parametrize("words", [[], ["--first", "--last"], ["--first", "--before", "x"]])
def test_a_move_to_nowhere_or_two_places_is_refused(words: list[str], daemon: ScriptedDaemon, ds01: Ds01) -> None:
    outcome = ds01("queue", "move", "4f1c", *words)
    assert (outcome.status, "exactly one of" in outcome.err) == (2, True)
    assert daemon.requests == []


def test_why_says_every_cause_with_its_holders_and_what_would_help(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers/my-project/why"] = ok(why())
    said = ds01("why", "my-project").out
    lines = said.splitlines()
    assert lines[0] == "my-project waits for 2 whole GPUs."
    assert lines[1].startswith("  asked for   2 GPUs of kind full with 20G each, for 8h, ")
    assert lines[2] == "  place       1"
    assert lines[3].startswith("  start       it starts by ")
    assert "  - none of the 2 GPUs that would do is free." in lines
    assert any(row.startswith("      0 full: bob (train), since ") and ", until " in row for row in lines)
    assert any(row.startswith("      1 full: somebody of researcher, since ") for row in lines)
    assert any(row.endswith("no end is known, in use") for row in lines)
    assert any(row.startswith("      2 full: somebody, ") and "idle, stopped, kept" in row for row in lines)
    assert any(row.startswith("      3 full: you (mine)") for row in lines)
    assert any(row.startswith("  - 1 GPU kept by the reservation exam (until ") for row in lines)
    assert "  - 1 1g.10gb can be had: now." in lines
    assert "      ds01 queue cancel my-project -y && ds01 create my-project pytorch --gpu-kind 1g.10gb" in lines
    assert any(row.startswith("  - when the time of bob's train ends: ") for row in lines)
    assert ds01("why", "my-project", "--json").document == why()


def test_why_alone_explains_everything_of_mine_that_waits(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/queue"] = queue(request(), request("made", state="starting", id="22"))
    daemon.answers["GET /v1/queue/4f1c9d2ab7e05836"] = ok(why())
    assert ds01("why").out.startswith("my-project waits for 2 whole GPUs.")
    assert len(ds01("why", "--json").document["results"]) == 1
    daemon.answers["GET /v1/queue"] = queue()
    outcome = ds01("why")
    assert (outcome.status, outcome.out) == (0, "")
    assert "Nothing of yours waits" in outcome.err


def test_addresses_are_gpus_and_everything_else_a_container(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    device = why(subject="gpu", name="0:1", answer="GPU 0:1 cannot be granted now.", request=None, counterfactuals=[])
    daemon.answers["GET /v1/gpus/0%3A1/why"] = ok(device)
    daemon.answers["GET /v1/gpus/GPU-1/why"] = ok(device)
    assert ds01("why", "0:1").out.startswith("GPU 0:1 cannot be granted now.\n\nWhy:\n")
    assert ds01("gpu", "why", "0:1").out == ds01("why", "GPU-1").out
    assert ds01("gpu", "why").status == 2
    daemon.answers["GET /v1/containers"] = containers(container("thesis"))
    daemon.answers["GET /v1/queue"] = queue()
    missing = ds01("why", "thesi")
    assert (missing.status, "Did you mean thesis?" in missing.err) == (3, True)


def test_one_request_is_shown_like_why(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    moved = request(moved=True, not_before=at(hours=1), reservation="exam", gives_up_at=at(hours=3), time_limit_s=None)
    document = why(request=moved, causes=[], counterfactuals=[])
    daemon.answers["GET /v1/queue/my-project"] = ok(document)
    said = ds01("queue", "show", "my-project").out
    for part in (
        "without a time limit",
        "given by an administrator",
        "not before  ",
        "the reservation exam",
        "gives up",
    ):
        assert part in said
    assert ds01("queue", "show", "my-project", "--json").document == document


def test_texts_of_others_cannot_drive_the_terminal(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    evil = "\x1b[2Jx"
    daemon.answers["GET /v1/queue"] = queue(request(evil, reason=evil))
    causes = [{"kind": "capacity", "message": evil, "until": None, "holders": [holder(owner=evil, container=evil)]}]
    daemon.answers["GET /v1/containers/a/why"] = ok(why(answer=evil, causes=causes))
    for outcome in (ds01("queue"), ds01("why", "a")):
        assert "\x1b" not in outcome.out + outcome.err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["queue", "cancel", ""], {"my-project"}),
        (["queue", "move", ""], {"4f1c9d2ab7e05836"}),
        (["why", "my"], {"my-project"}),
        (["queue", ""], {"list", "ls", "show", "cancel", "move"}),
        (["create", "a", "--wait", "--ti"], {"--time"}),
    ],
)
def test_the_tab_key_knows_what_waits(words: list[str], wanted: set[str], daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/queue"] = queue(request())
    daemon.answers["GET /v1/containers"] = containers()
    daemon.answers["GET /v1/gpus"] = ok({"gpus": []})
    assert set(ds01("__complete", *words).out.split()) == wanted
