"""Starting, stopping, removing, looking: every verb on a container that exists, and what PID 1 does."""

import json
import signal
import time

import pytest

from tests.e2e.site import BUSYBOX, GPUS, SMALL_INSTANCE, WHOLE_GPU, Site, require_stop_at_once, wait_until

SAVES_ON_TERM = (
    "trap 'sleep 2; echo saved > /workspace/saved; exit 0' TERM; "
    "echo ready > /workspace/ready; while :; do sleep 0.1; done"
)


def _start_saver(site: Site, name: str) -> None:
    """Run a program in a shell session that needs two seconds to save its work."""
    site.spawn("exec", name, "--", "sh", "-c", SAVES_ON_TERM)
    wait_until((site.accounts["alice"].home / "workspace" / name / "ready").exists, "the program's start")


def test_a_program_that_needs_two_seconds_to_save_gets_them_from_ds01_stop(site: Site, running: str) -> None:
    _start_saver(site, running)
    stopped = site.run("stop", running, "--yes", "--json").document["results"][0]
    assert stopped["container"]["state"] == "exited"
    assert stopped["container"]["exit_code"] == 143
    assert (site.accounts["alice"].home / "workspace" / running / "saved").read_text() == "saved\n"


def test_a_program_that_needs_two_seconds_to_save_gets_them_from_docker_stop(site: Site, running: str) -> None:
    _start_saver(site, running)
    site.engine.docker("stop", f"{running}._.{site.accounts['alice'].uid}")
    assert (site.accounts["alice"].home / "workspace" / running / "saved").read_text() == "saved\n"


def test_a_program_that_does_not_end_is_killed_after_the_grace(site: Site, running: str) -> None:
    site.spawn("exec", running, "--", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    wait_until(lambda: len(site.run("top", running, "--json").document["processes"]) > 1, "the program's start")
    began = time.monotonic()
    site.run("stop", running, "--yes", "--grace", "1s")
    assert time.monotonic() - began < 50, "the grace of the policy, a minute, was given"
    assert site.inspect(running)["State"]["ExitCode"] in {137, 143}


def test_an_idle_stop_takes_no_time(site: Site, running: str) -> None:
    name = f"{running}._.{site.accounts['alice'].uid}"
    require_stop_at_once(site, name, lambda: site.engine.docker("stop", name), signal.SIGTERM)
    assert site.inspect(running)["State"]["ExitCode"] == 143


def test_docker_top_shows_one_process(site: Site, running: str) -> None:
    shown = site.engine.docker("top", f"{running}._.{site.accounts['alice'].uid}", "-o", "pid").splitlines()
    assert len(shown) == 2  # the heading and PID 1


def test_orphans_are_reaped(site: Site, running: str) -> None:
    site.run("exec", running, "--", "sh", "-c", "for i in 1 2 3 4 5; do (sleep 0.2 &) ; done")
    states = ("exec", running, "--", "sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null | cut -d' ' -f3")
    wait_until(lambda: "Z" not in site.run(*states).stdout, "the end of every zombie")
    # PID 1 looks for more of them for a tenth of a second, with a process of its own
    wait_until(lambda: len(site.run("top", running, "--json").document["processes"]) == 1, "a single process")


def test_a_stopped_container_holds_its_gpu_as_the_policy_says(site: Site) -> None:
    site.run("create", "held", "--image", BUSYBOX, "--gpu-kind", "full", user="bob")
    site.run("start", "held", user="bob")
    site.run("stop", "--yes", "held", user="bob")
    gpu = next(gpu for gpu in site.run("gpus", "--json").document["gpus"] if gpu["uuid"] == WHOLE_GPU)
    assert gpu["holders"][0]["state"] == "held"
    assert gpu["holders"][0]["until"] is not None
    refused = site.run("create", "other", "--image", BUSYBOX, "--gpu-kind", "full", check=False)
    assert refused.status == 5
    site.run("gpu", "release", "held", user="bob")
    site.run("create", "other", "--image", BUSYBOX, "--gpu-kind", "full")
    blocked = site.run("start", "held", user="bob", check=False)
    assert blocked.status == 5
    assert "other" in blocked.stderr
    site.run("rm", "--yes", "other")
    site.run("start", "held", user="bob")


def test_a_stop_gives_the_gpu_back_where_nothing_is_held(site: Site) -> None:
    site.run("create", "brief", "--image", BUSYBOX, "--gpu-kind", "full")
    site.run("start", "brief")
    assert site.held()["0"] == ["brief"]
    site.run("stop", "--yes", "brief")
    assert site.held()["0"] == []
    site.run("start", "brief")
    assert site.held()["0"] == ["brief"]


def test_a_removed_container_leaves_its_workspace_and_no_tag(site: Site) -> None:
    site.run("create", "short", "--image", BUSYBOX, "--gpus", "1")
    workspace = site.accounts["alice"].home / "workspace" / "short"
    (workspace / "kept").write_text("x")
    removed = site.run("rm", "--yes", "short", "--json").document["results"][0]
    assert removed["workspace"] == str(workspace)
    assert removed["gpus_released"]
    assert site.containers() == []
    assert site.private_tags() == []
    assert (workspace / "kept").exists()
    assert f"{BUSYBOX}:latest" in site.images()


def test_a_running_container_is_not_removed_without_force(site: Site, running: str) -> None:
    refused = site.run("rm", "--yes", running, check=False)
    assert refused.status == 8
    assert "stop" in refused.stderr
    site.run("rm", "--yes", "--force", running)
    assert site.containers() == []


def test_verbs_are_idempotent_or_say_why_not(site: Site, running: str) -> None:
    assert "runs already" in site.run("start", running).stderr or site.run("start", running).status == 0
    site.run("stop", "--yes", running)
    assert site.run("stop", "--yes", running).status == 0
    assert site.run("exec", running, "--", "true", check=False).status == 125
    assert site.run("stats", running, check=False).status == 8
    assert site.run("logs", "nobody", check=False).status == 3


def test_exec_passes_the_status_and_both_streams_on(site: Site, running: str) -> None:
    done = site.run("exec", running, "--", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.status, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert site.run("exec", running, "--", "/no/such/program", check=False).status in {126, 127}


def test_exec_passes_stdin_on_to_its_end(site: Site, running: str) -> None:
    text = "line\n" * 50_000
    done = site.run("exec", running, "--", "cat", stdin=text)
    assert done.stdout == text


def test_a_large_output_arrives_whole(site: Site, running: str) -> None:
    done = site.run("exec", running, "--", "sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x")
    assert len(done.stdout) == 20_000_000


def test_stats_shows_what_the_containers_own_programs_do_on_its_gpu(site: Site) -> None:
    site.run("create", "mine", "--image", BUSYBOX, "--gpu-kind", "full")
    site.run("start", "mine")
    site.run("create", "small", "--image", BUSYBOX, "--gpu-kind", "1g.5gb")
    site.run("start", "small")
    pids = {name: site.inspect(name)["State"]["Pid"] for name in ("mine", "small")}
    [held] = site.run("inspect", "small", "--json").document["gpus"]
    instance = 7 if held["uuid"] == SMALL_INSTANCE else 8
    try:
        busy = f"proc gpu=0 pid={pids['mine']} mem=2048 sm=37\nproc gpu=0 pid=1 mem=512 sm=60\n"
        site.write_gpus(f"{GPUS}{busy}proc gpu=1 gi={instance} ci=0 pid={pids['small']} mem=1024 sm=50\n")
        [reading] = site.run("stats", "mine", "--json").document["containers"]
        [gpu] = reading["gpus"]
        assert (gpu["own_utilization_ratio"], gpu["own_memory_used_bytes"]) == (0.37, 2 * 1024**3)
        shown = site.run("stats")
        assert "0: 37%" in shown.stdout
        assert "memory is per instance" in shown.stderr
        [small] = site.run("stats", "small", "--json").document["containers"]
        assert small["gpus"][0]["own_utilization_ratio"] is None
        assert small["gpu_memory_used_bytes"] == 1024**3
        refused = site.run("stats", "mine", user="bob", check=False)
        assert refused.status == 3
    finally:
        site.write_gpus(GPUS)
    site.run("stop", "mine")
    stopped = site.run("stats", "mine", check=False)
    assert (stopped.status, stopped.stdout) == (8, "")
    assert "does not run (it is exited)" in stopped.stderr
    assert "ds01 start mine" in stopped.stderr


def test_logs_stats_top_and_inspect_show_the_container(site: Site, running: str) -> None:
    stats = site.run("stats", running, "--json").document["containers"][0]
    assert stats["memory_limit_bytes"] == 512 * 1024**2
    assert stats["pids"] >= 1
    details = site.run("inspect", running, "--json").document
    assert details["limits"]["memory_bytes"] == 512 * 1024**2
    assert details["state"] == "running"
    assert site.run("top", running).stdout
    site.run("logs", running)


def test_stats_show_the_gpu_memory_of_the_containers_own_processes(site: Site) -> None:
    site.run("create", "busy", "--image", BUSYBOX, "--gpu-kind", "full")
    site.run("start", "busy")
    pid = site.inspect("busy")["State"]["Pid"]
    text = site.gpus_conf.read_text()
    site.write_gpus(
        text.replace("used=400 cc=8.0 mig=0", "used=5400 util=73 cc=8.0 mig=0") + f"proc gpu=0 pid={pid} mem=5000\n"
    )
    try:
        reading = site.run("stats", "busy", "--json").document["containers"][0]
    finally:
        site.write_gpus(text)
    assert reading["gpu_memory_used_bytes"] == 5000 * 1024**2
    assert reading["gpus"][0]["utilization_ratio"] == pytest.approx(0.73)


def test_list_shows_name_state_and_gpu_and_every_format_agrees(site: Site) -> None:
    site.run("create", "first", "--image", BUSYBOX, "--gpu-kind", "full")
    site.run("create", "second", "--image", BUSYBOX, "--cpu-only")
    table = site.run("list").stdout
    assert "first" in table
    assert "second" in table
    assert site.run("list", "-q").stdout.split() == ["second", "first"]
    assert site.run("list", "--format", "name").stdout.split() == ["second", "first"]
    rows = json.loads(site.run("list", "--format", "json").stdout)["containers"]
    assert [row["name"] for row in rows] == ["second", "first"]
    assert rows[1]["gpus"][0]["address"] == "0"
    assert site.run("container", "list", "-q").stdout.split() == ["second", "first"]


def test_others_gpu_containers_are_seen_and_their_devices_are_not_granted(site: Site) -> None:
    site.engine.docker(
        "run", "--detach", "--name", "outsider", "--gpus", f"device={WHOLE_GPU}", BUSYBOX, "sleep", "1000"
    )
    gpu = next(gpu for gpu in site.run("gpus", "--json").document["gpus"] if gpu["uuid"] == WHOLE_GPU)
    assert gpu["holders"][0]["container"] == "outsider"
    refused = site.run("create", "mine", "--image", BUSYBOX, "--gpu-kind", "full", check=False)
    assert refused.status == 5
    assert "outsider" in refused.stderr


def test_limits_are_printed_as_the_predecessors_scripts_read_them(site: Site) -> None:
    uid = site.accounts["alice"].uid
    printed = site.run("limits", "--docker-args").stdout.strip()
    assert printed == (
        f"--cpus=1 --memory=512m --memory-swap=512m --shm-size=64m --pids-limit=4096 --cgroup-parent=/ds01/u{uid}"
    )
    assert site.run("limits", "--max-gpus").stdout.strip() == "2"
    assert site.run("limits", "--group").stdout.strip() == "student"
    assert site.run("limits", "--max-gpus", user="bob").stdout.strip() == "1"
    assert site.run("limits", "--user", "bob", check=False).status == 4
