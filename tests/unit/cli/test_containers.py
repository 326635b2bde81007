"""The container commands without a terminal: what is asked of the daemon, and what is printed."""

import os

import pytest

from tests.unit.cli.conftest import CREATED, Ds01, container, containers, creation, details, gpu_reading, stats_reading
from tests.unit.scripted_daemon import (
    ScriptedDaemon,
    chunk,
    line,
    ok,
    problem,
    stream_head,
)


def body_of(daemon: ScriptedDaemon) -> dict[str, object]:
    return daemon.requests[-1].document()


def test_the_list_has_the_columns_that_were_agreed(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    mig = {
        "uuid": "MIG-1",
        "address": "1:0",
        "kind": "mig",
        "profile": "1g.5gb",
        "memory_bytes": 1,
        "gpu_equivalents": 0.1,
    }
    custom = container(
        "b", "exited", framework="custom-latest", image="ubuntu:24.04", gpus=[mig], origin="mlc", managed=False
    )
    daemon.answers["GET /v1/containers"] = containers(container("a"), custom)
    outcome = ds01("list")
    rows = [row.split() for row in outcome.out.splitlines()]
    assert rows[0] == ["NAME", "STATE", "GPU", "IMAGE", "CREATED"]
    assert rows[1][:4] == ["a", "running", "0", "Pytorch-2.8.0"]
    assert rows[2][:5] == ["b", "exited", "1:0", "1g.5gb", "ubuntu:24.04"]
    assert rows[1][-2:] == ["years", "ago"]
    everybody = ds01("list", "-a").out.splitlines()
    assert daemon.asked()[-1] == "GET /v1/containers?all=true"
    assert everybody[0].split()[-2:] == ["OWNER", "ORIGIN"]
    assert everybody[2].endswith("mlc (not managed)")


def test_a_detailed_list_has_folders_limits_and_uuids(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("a"), container("b"), container("gone"))
    daemon.answers["GET /v1/containers/a"] = ok(details("a", data="/sets"))
    daemon.answers["GET /v1/containers/b"] = ok(details("b", "exited", exit_code=3, managed=False, origin="docker"))
    first, second = ds01("list", "--detailed").out.split("\n\n")
    rows = dict(line.split("  ", 1) for line in first.splitlines())
    facts = {name.strip(): value.strip() for name, value in rows.items()}
    assert (facts["GPU UUID"], facts["data"], facts["CPUs"], facts["memory"]) == ("GPU-1", "/sets", "2", "1G")
    assert "exited (status 3)" in second
    assert "docker (not managed)" in second
    document = ds01("ls", "-d", "--json").document
    assert [item["limits"]["cpus"] for item in document["containers"]] == [2.0, 2.0]
    ds01("list", "-a", "-d")
    assert "GET /v1/containers/a?uid=1001" in daemon.asked()


def test_picking_from_the_list_needs_somebody_to_ask(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    assert ds01("list", "-i").status == 2
    assert daemon.asked() == []


def test_run_with_a_name_that_does_not_exist_says_how_to_create_it(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("thesis"))
    assert "ds01 run demo pytorch" in ds01("run", "demo").err
    assert "Did you mean thesis?" in ds01("run", "theses").err


def test_the_list_is_printed_for_programs(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("a"), container('b,"x"'))
    assert ds01("list", "-q").out == 'a\nb,"x"\n'
    assert ds01("list", "--format", "name").out == 'a\nb,"x"\n'
    assert ds01("list", "--json").document["schema_version"] == 1
    assert ds01("list", "--format=json").document == ds01("list", "--json").document
    rows = ds01("list", "--format", "csv").out.splitlines()
    assert rows[0] == "name,state,gpu,image,framework,created_at,owner,origin"
    assert rows[2].startswith('"b,""x""",running,GPU-1,')


def test_an_empty_list_is_said_on_stderr_only(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers"] = containers()
    outcome = ds01("list")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "You have no containers.\n")


def test_names_of_others_cannot_break_the_table(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("a\x1b[2J\nb"))
    outcome = ds01("list", "-a")
    assert len(outcome.out.splitlines()) == 2
    assert "\x1b" not in outcome.out


def test_every_option_of_create_reaches_the_daemon(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/containers"] = creation(CREATED)
    words = (
        "my-project PyTorch 2.8.0 -w /w -d /data/a,b:c -m rel --arch CUDA_ADA -g 2 --gpu-kind MIG --gpu-memory 20G "
        "--cpus 0.5 --memory 8G --memory-swap 9G --shm-size 512M --pids-limit 100 --cgroup-parent /x "
        "-e A=b=c -e HOME_TOWN -e UNSET -p 8888 -p 9000:80/udp"
    )
    outcome = ds01("create", *words.split(), HOME_TOWN="Ulm")
    assert (outcome.status, outcome.out, outcome.err) == (0, "my-project\n", "⚠ no network\n")
    assert body_of(daemon) == {
        "name": "my-project",
        "interface": "cli",
        "framework": "PyTorch",
        "version": "2.8.0",
        "workspace": "/w",
        "data": "/data/a,b:c",
        "models": f"{os.getcwd()}/rel",
        "architecture": "CUDA_ADA",
        "cgroup_parent": "/x",
        "cpus": 0.5,
        "memory_bytes": 8 * 1024**3,
        "memory_swap_bytes": 9 * 1024**3,
        "shm_size_bytes": 512 * 1024**2,
        "pids_limit": 100,
        "gpu": {"count": 2, "kind": "mig", "memory_bytes": 20 * 1024**3},
        "environment": {"A": "b=c", "HOME_TOWN": "Ulm"},
        "ports": [{"container_port": 8888}, {"container_port": 80, "host_port": 9000, "protocol": "udp"}],
    }


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["a", "pytorch"], {"framework": "pytorch"}),
        (["a", "ubuntu:24.04"], {"image": "ubuntu:24.04"}),
        (["a", "aimehub/pytorch"], {"image": "aimehub/pytorch"}),
        (["a", "--image", "mine"], {"image": "mine"}),
        (["a", "pytorch", "--image", "mine"], {"framework": "pytorch", "image": "mine"}),
        (["a", "pytorch", "--cpu-only"], {"framework": "pytorch", "gpu": {"count": 0}}),
    ],
)
def test_frameworks_and_images_are_told_apart(
    words: list[str], wanted: dict[str, object], daemon: ScriptedDaemon, ds01: Ds01
) -> None:
    daemon.answers["POST /v1/containers"] = creation(CREATED)
    assert ds01("create", *words).status == 0
    assert body_of(daemon) == {"name": "a", "interface": "cli", **wanted}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "NAME and FRAMEWORK"),
        (["a"], "FRAMEWORK (or --image REF) is missing"),
        (["--image", "x"], "NAME"),
        (["My Project", "pytorch"], "my-project"),
        (["a", "pytorch", "--memory", "8"], "8G"),
        (["a", "pytorch", "--memory", "8GB"], "8G"),
        (["a", "pytorch", "--cpus", "many"], "--cpus"),
        (["a", "pytorch", "--cpus", "nan"], "--cpus"),
        (["a", "pytorch", "--gpus", "all"], "--gpus"),
        (["a", "pytorch", "--gpus", "-1"], "--cpu-only"),
        (["a", "pytorch", "--cpu-only", "-g", "1"], "exclude"),
        (["a", "pytorch", "-p", "0.0.0.0:80:80"], "127.0.0.1"),
        (["a", "pytorch", "-p", "99999"], "65535"),
        (["a", "pytorch", "-e", "=x"], "names no variable"),
        (["a", "pytorch", "-w", ""], "empty"),
        (["a", "repo:tag", "1.0"], "version"),
        (["a", "pytorch", "2.8", "extra"], "extra"),
    ],
)
def test_what_cannot_be_created_is_refused_before_the_daemon_is_asked(
    words: list[str], said: str, daemon: ScriptedDaemon, ds01: Ds01
) -> None:
    outcome = ds01("create", *words)
    assert (outcome.status, outcome.out) == (2, "")
    assert said in outcome.err
    assert daemon.requests == []


def test_a_dry_run_prints_the_plan_and_the_docker_command(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/containers"] = ok({**CREATED, "dry_run": True})
    outcome = ds01("create", "a", "pytorch", "--dry-run")
    assert outcome.out == "docker create x\n"
    assert "GPU 0 is free" in outcome.err
    assert body_of(daemon)["dry_run"] is True
    assert ds01("create", "a", "pytorch", "--dry-run", "--json").document["docker_command"] == "docker create x"


def test_a_creation_that_fails_keeps_its_status_and_prints_no_name(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    bad = line({"kind": "problem", "problem": {"code": "no_capacity", "detail": "Too few free GPUs.", "hint": "Wait."}})
    daemon.answers["POST /v1/containers"] = stream_head() + bad + chunk(b"")
    outcome = ds01("create", "a", "pytorch")
    said = "✗ Too few free GPUs.\n→ Keep a place in the queue and wait: ds01 create a pytorch --wait\n→ Wait.\n"
    assert (outcome.status, outcome.out, outcome.err) == (5, "", said)
    assert ds01("create", "a", "pytorch", "--json").problem["code"] == "no_capacity"


def test_a_creation_tells_a_log_its_steps_when_asked(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/containers"] = creation(CREATED)
    assert "Pulling\n" in ds01("create", "a", "pytorch", "-v").err
    assert ds01("create", "a", "pytorch", "--json").document["container"]["name"] == "my-project"


def test_stop_does_not_ask_without_a_terminal(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    stopped = {
        "schema_version": 1,
        "container": details("a", "exited"),
        "was_running": True,
        "dry_run": False,
        "docker_command": "docker stop a",
    }
    daemon.answers["POST /v1/containers/a/stop"] = ok(stopped)
    daemon.answers["POST /v1/containers/b/stop"] = ok(stopped)
    assert ds01("stop", "a", "--grace", "2m").out == "a\n"
    assert body_of(daemon) == {"grace_s": 120.0}
    assert ds01("stop", "a", "b", "a").out == "a\nb\n"
    daemon.answers["POST /v1/containers/a/stop"] = ok({**stopped, "dry_run": True})
    assert ds01("stop", "a", "--dry-run").out == "docker stop a\n"
    assert ds01("stop", "a", "--grace", "2").status == 2


def test_stop_by_force_gives_no_time_and_excludes_a_time(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    stopped = {
        "schema_version": 1,
        "container": details("a", "exited"),
        "was_running": True,
        "dry_run": False,
        "docker_command": "",
    }
    daemon.answers["POST /v1/containers/a/stop"] = ok(stopped)
    assert ds01("stop", "a", "--force").out == "a\n"
    assert body_of(daemon) == {"grace_s": 0.0}
    assert ds01("stop", "a", "--time", "30s").out == "a\n"
    assert body_of(daemon) == {"grace_s": 30.0}
    assert ds01("stop", "a", "--time", "30s", "--force").status == 2
    assert ds01("stop", "a", "--time", "30").status == 2


def test_pause_unpause_and_rename_say_what_came_of_it(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    facts = {"was_so": False, "dry_run": False, "docker_command": "docker pause a"}
    paused = {"schema_version": 1, "name": "a", "state": "paused", **facts}
    daemon.answers["POST /v1/containers/a/pause"] = ok(paused)
    daemon.answers["POST /v1/containers/a/unpause"] = ok({**paused, "state": "running", "was_so": True})
    assert ds01("container", "pause", "a").out == "a\n"
    assert ds01("container", "unpause", "a").status == 0
    assert ds01("container", "pause", "a", "--json").document["results"] == [paused]
    renamed = {
        "schema_version": 1,
        "name": "b",
        "old_name": "a",
        "engine_name": "b._.1001",
        "dry_run": False,
        "docker_command": "docker rename a._.1001 b._.1001",
    }
    daemon.answers["POST /v1/containers/a/rename"] = ok(renamed)
    outcome = ds01("container", "rename", "a", "b")
    assert (outcome.out, body_of(daemon)) == ("b\n", {"new_name": "b"})
    assert ds01("container", "rename", "a").status == 2
    daemon.answers["POST /v1/containers/a/rename"] = ok({**renamed, "dry_run": True})
    assert ds01("container", "rename", "a", "b", "--dry-run").out == "docker rename a._.1001 b._.1001\n"
    assert body_of(daemon) == {"new_name": "b", "dry_run": True}


def test_retire_stops_and_removes(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers/a"] = ok(details("a", "running"))
    stopped = {"schema_version": 1, "container": details("a", "exited"), "was_running": True, "dry_run": False}
    daemon.answers["POST /v1/containers/a/stop"] = ok({**stopped, "docker_command": ""})
    removed = {
        "schema_version": 1,
        "name": "a",
        "workspace": "/home/alice/workspace/a",
        "gpus_released": ["GPU-1"],
        "dry_run": False,
        "docker_command": "docker rm --volumes a._.1001",
    }
    daemon.answers["DELETE /v1/containers/a"] = ok(removed)
    outcome = ds01("retire", "a")
    assert outcome.out == "a\n"
    assert daemon.asked()[-2:] == ["POST /v1/containers/a/stop", "DELETE /v1/containers/a"]
    daemon.answers["DELETE /v1/containers/a?force=true&dry_run=true"] = ok({**removed, "dry_run": True})
    outcome = ds01("retire", "a", "--dry-run")
    assert "stop it, remove it" in outcome.err
    assert outcome.out == "docker rm --volumes a._.1001\n"
    assert daemon.asked()[-1] == "DELETE /v1/containers/a?force=true&dry_run=true"


def test_stop_all_is_all_of_mine_that_run(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    stopped = {
        "schema_version": 1,
        "container": details("a", "exited"),
        "was_running": True,
        "dry_run": False,
        "docker_command": "",
    }
    daemon.answers["GET /v1/containers"] = containers(container("a"), container("b", "exited"))
    daemon.answers["POST /v1/containers/a/stop"] = ok(stopped)
    assert ds01("stop", "--all").out == "a\n"
    assert "GET /v1/containers" in daemon.asked()
    assert ds01("stop", "--all", "a").status == 2


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "rm", "open", "run", "logs", "inspect", "top", "exec"])
def test_a_missing_name_without_a_terminal_is_a_usage_error(verb: str, daemon: ScriptedDaemon, ds01: Ds01) -> None:
    outcome = ds01(verb)
    assert outcome.status == (125 if verb in {"run", "exec"} else 2)
    assert "NAME is missing" in outcome.err
    assert daemon.requests == []


def test_one_failure_does_not_keep_the_others(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    removed = {
        "schema_version": 1,
        "name": "b",
        "workspace": "/home/alice/workspace/b",
        "gpus_released": ["GPU-1"],
        "dry_run": False,
        "docker_command": "",
    }
    daemon.answers["DELETE /v1/containers/a"] = problem(409, "conflict", "a is running.", "ds01 rm -f a")
    daemon.answers["DELETE /v1/containers/b"] = ok(removed)
    outcome = ds01("rm", "a", "b")
    assert (outcome.status, outcome.out) == (8, "b\n")
    assert "a is running." in outcome.err
    as_json = ds01("rm", "a", "b", "--json")
    assert [result["name"] for result in as_json.document["results"]] == ["b"]
    assert as_json.problem["code"] == "conflict"
    assert ds01("rm", "-f", "b").status == 0
    assert daemon.asked()[-1] == "DELETE /v1/containers/b?force=true"


def test_start_says_what_was_there_already(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    started = {"schema_version": 1, "container": details("a"), "was_running": False, "warnings": ["GPU 1 instead of 0"]}
    daemon.answers["POST /v1/containers/a/start"] = ok(started)
    outcome = ds01("container", "start", "a")
    assert (outcome.status, outcome.out, outcome.err) == (0, "a\n", "⚠ GPU 1 instead of 0\n")


def test_stats_and_top_and_inspect_are_readable(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    gpu = gpu_reading("GPU-1", "0", 40 * 1024**3)
    reading = stats_reading(gpu, gpu_memory_used_bytes=1024**3)
    daemon.answers["GET /v1/stats"] = ok({"schema_version": 1, "containers": [reading]})
    row = ds01("stats", "-a").out.splitlines()[1]
    assert row.split() == ["a", "150%", "1G", "/", "2G", "0:", "-", "1G", "/", "40G", "-", "/", "0", "3", "alice"]
    instance = {**gpu, "address": "0:1", "memory_used_bytes": 3 * 1024**3, "memory_bytes": 5 * 1024**3}
    unknown = {**reading, "gpus": [instance], "gpu_memory_used_bytes": None}
    daemon.answers["GET /v1/stats"] = ok({"schema_version": 1, "containers": [unknown]})
    assert ds01("stats").out.splitlines()[1].split()[5:10] == ["0:1:", "-", "3G", "/", "5G"]
    assert "memory is per instance" in ds01("stats").err
    busy = {**gpu, "utilization_ratio": 0.9, "memory_used_bytes": 3 * 1024**3}
    for own, shown in ((0.25, "25%"), (None, "90%*")):
        shared = {**reading, "gpus": [{**busy, "own_utilization_ratio": own}]}
        daemon.answers["GET /v1/stats"] = ok({"schema_version": 1, "containers": [shared]})
        outcome = ds01("stats")
        assert outcome.out.splitlines()[1].split()[5:10] == ["0:", shown, "1G", "/", "40G"]
        assert ("* of the whole device" in outcome.err) == (own is None)
    processes = [{"pid": 7, "user": "alice", "command": "python train.py"}]
    daemon.answers["GET /v1/containers/a/processes"] = ok({"schema_version": 1, "name": "a", "processes": processes})
    assert ds01("top", "a").out.splitlines()[1].split() == ["7", "alice", "python", "train.py"]
    daemon.answers["GET /v1/containers/a"] = ok(details("a", "exited", exit_code=137))
    text = ds01("inspect", "a").out
    assert "exited (status 137)" in text
    assert "unlimited" in text
    assert ds01("inspect", "a", "--json").document.items() >= {"schema_version": 1, "engine_name": "a._.1001"}.items()


def test_ports_says_how_to_come_from_outside(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    rows = [
        {"port": 22, "listening": False, "local": False, "host_ports": [2222]},
        {"port": 6006, "listening": True, "local": True, "host_ports": []},
        {"port": 8888, "listening": True, "local": False, "host_ports": []},
    ]
    answer = {"schema_version": 1, "name": "a", "ip_address": "172.17.0.2", "ports": rows}
    daemon.answers["GET /v1/containers/a/ports"] = ok(answer)
    outcome = ds01("container", "ports", "a", COLUMNS="120")
    assert f"ssh -L 8888:172.17.0.2:8888 {os.uname().nodename}" in outcome.out
    assert "127.0.0.1:2222" in outcome.out
    assert "nothing listens" in outcome.out
    assert "0.0.0.0" in outcome.out
    assert ds01("container", "ports", "a", "--json").document == answer
    daemon.answers["GET /v1/containers/a/ports"] = ok({**answer, "ports": []})
    assert "Nothing listens in a" in ds01("container", "ports", "a").err
