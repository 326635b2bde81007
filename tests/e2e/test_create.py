"""Creating a container: who the user is inside, what limits and devices it has, what is refused and why."""

import json
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

from tests.e2e.site import BUSYBOX, PATIENCE_S, SMALL_INSTANCE, WHOLE_GPU, Site, wait_until

PYTORCH = "aimehub/pytorch-2.8.0-aime-cuda12.6.3"
_ENDS = ("container.created", "container.removed")


def _inside(site: Site, name: str, script: str) -> str:
    return site.run("exec", name, "--", "sh", "-c", script).stdout.strip()


def test_the_user_inside_is_the_user_of_the_host(site: Site) -> None:
    alice = site.accounts["alice"]
    site.run("create", "thesis", "pytorch", "--gpus", "1")
    site.run("start", "thesis")
    assert _inside(site, "thesis", "id -u; id -g; id -un").split() == [str(alice.uid), str(alice.gid), "alice"]
    host_groups = set(os.getgrouplist("alice", alice.gid))
    assert set(map(int, _inside(site, "thesis", "id -G").split())) == host_groups
    assert "ds01lab" in _inside(site, "thesis", "id -Gn").split()
    assert _inside(site, "thesis", "sudo -n id -u") == "0"
    assert _inside(site, "thesis", "echo $HOME; pwd").split() == ["/home/alice", "/workspace"]
    assert _inside(site, "thesis", "echo $PATH").startswith("/home/alice/.local/bin:")
    _inside(site, "thesis", "echo hello > /workspace/note")
    note = alice.home / "workspace" / "thesis" / "note"
    assert note.read_text() == "hello\n"
    assert note.stat().st_uid == alice.uid
    workspace = note.parent.stat()
    assert (workspace.st_uid, stat.S_IMODE(workspace.st_mode)) == (alice.uid, 0o700)
    assert _inside(site, "thesis", "git --version").startswith("git version")


def test_every_limit_is_set_as_the_policy_says_by_inspect_and_from_inside(site: Site) -> None:
    site.run("create", "limited", "pytorch", "--cpu-only")
    site.run("start", "limited")
    limits = site.run("limits", "--json").document
    host = site.inspect("limited")["HostConfig"]
    assert host["NanoCpus"] == limits["limits"]["max_cpus"]["value"] * 1e9 == 1e9
    assert host["Memory"] == limits["limits"]["memory"]["value"] == 512 * 1024**2
    assert host["MemorySwap"] == limits["limits"]["memory_swap"]["value"] == 512 * 1024**2
    assert host["ShmSize"] == limits["limits"]["shm_size"]["value"] == 64 * 1024**2
    assert host["PidsLimit"] == limits["limits"]["pids_limit"]["value"] == 4096
    assert host["CgroupParent"] == limits["cgroup_parent"] == f"/ds01/u{site.accounts['alice'].uid}"
    ulimits = {item["Name"]: item["Hard"] for item in host["Ulimits"]}
    assert ulimits == limits["limits"]["ulimits"]["value"]
    assert _inside(site, "limited", "ulimit -H -s") == str(ulimits["stack"] // 1024)
    memlock = "unlimited" if ulimits["memlock"] < 0 else str(ulimits["memlock"] // 1024)
    assert _inside(site, "limited", "ulimit -H -l") == memlock
    assert _inside(site, "limited", "df -B1 --output=size /dev/shm | tail -1") == str(64 * 1024**2)
    pid = site.inspect("limited")["State"]["Pid"]
    assert f"/ds01/u{site.accounts['alice'].uid}/" in Path(f"/proc/{pid}/cgroup").read_text()
    enforced = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null | head -1"
    assert _inside(site, "limited", enforced) == str(512 * 1024**2)
    pids = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null | head -1"
    assert _inside(site, "limited", pids) == "4096"


def test_the_granted_gpu_and_no_other_reaches_the_container(site: Site) -> None:
    site.run("create", "slice", "pytorch", "--gpu-kind", "1g.5gb")
    site.run("start", "slice")
    listed = _inside(site, "slice", "nvidia-smi -L")
    assert SMALL_INSTANCE in listed
    assert listed.count("UUID: MIG-") == 1
    assert WHOLE_GPU not in listed
    request = site.inspect("slice")["HostConfig"]["DeviceRequests"][0]
    assert request["DeviceIDs"] == [SMALL_INSTANCE]
    assert site.held()["1:1"] == ["slice"]


def test_a_container_without_a_grant_sees_no_gpu(site: Site) -> None:
    site.run("create", "plain", "pytorch", "--cpu-only")
    site.run("start", "plain")
    host = site.inspect("plain")
    assert not host["HostConfig"]["DeviceRequests"]
    assert "NVIDIA_VISIBLE_DEVICES=void" in host["Config"]["Env"]
    assert site.run("exec", "plain", "--", "nvidia-smi", "-L", check=False).status != 0


def test_the_labels_are_ours_and_aimes_exactly(site: Site) -> None:
    alice = site.accounts["alice"]
    site.run("create", "labelled", "pytorch", "2.8.0", "--gpus", "1", "--gpu-kind", "full")
    config = site.inspect("labelled")["Config"]
    labels = config["Labels"]
    workspace = str(alice.home / "workspace" / "labelled")
    assert {key: labels[key] for key in labels if key.startswith("aime.") and "DS01" not in key} == {
        "aime.mlc": "alice",
        "aime.mlc.NAME": "labelled",
        "aime.mlc.USER": "alice",
        "aime.mlc.ARCH": "CUDA_ADA",
        "aime.mlc.MLC_VERSION": "4",
        "aime.mlc.WORK_MOUNT": workspace,
        "aime.mlc.DATA_MOUNT": "-",
        "aime.mlc.MODELS_MOUNT": "-",
        "aime.mlc.FRAMEWORK": "Pytorch-2.8.0",
        "aime.mlc.GPUS": "1",
        "aime.mlc.CUSTOM_IMAGE": "",
    }
    ours = {key.removeprefix("aime.mlc.DS01_") for key in labels if "DS01_" in key}
    assert ours == {
        "SCHEMA", "MANAGED", "UID", "ALLOCATION", "GPUS", "REQUEST", "SEAL", "NONCE", "INTERFACE", "GROUP", "CREATED",
    }  # fmt: skip
    assert labels["aime.mlc.DS01_GPUS"] == WHOLE_GPU
    assert labels["aime.mlc.DS01_UID"] == str(alice.uid)
    assert not any("," in value for value in labels.values())
    assert config["Image"] == f"aimehub/pytorch-2.8.0-cuda12.6.3:labelled._.{alice.uid}"
    assert config["User"] == f"{alice.uid}:{alice.gid}"


def test_a_request_over_the_quota_is_refused_with_the_figures(site: Site) -> None:
    site.run("create", "one", "--image", BUSYBOX, "--gpus", "1", user="bob")
    refused = site.run("create", "two", "--image", BUSYBOX, "--gpus", "1", user="bob", check=False)
    assert refused.status == 4
    assert "1 of 1 GPUs" in refused.stderr
    assert "(1/1: max_gpus of group limited" in refused.stderr
    assert "resource-limits.yaml:" in refused.stderr
    assert f"two._.{site.accounts['bob'].uid}" not in site.containers()
    assert not (site.accounts["bob"].home / "workspace" / "two").exists()


def test_a_request_that_only_has_to_wait_is_refused_as_such(site: Site) -> None:
    site.run("create", "holder", "--image", BUSYBOX, "--gpu-kind", "full")
    refused = site.run("create", "late", "--image", BUSYBOX, "--gpu-kind", "full", user="bob", check=False)
    assert refused.status == 5
    assert "held by holder" in refused.stderr
    site.run("rm", "--yes", "holder")
    site.run("create", "late", "--image", BUSYBOX, "--gpu-kind", "full", user="bob")


def test_a_limit_flag_above_the_policy_is_refused_with_both_figures(site: Site) -> None:
    refused = site.run("create", "greedy", "--image", BUSYBOX, "--cpu-only", "--memory", "2G", check=False)
    assert refused.status == 4
    assert "2G" in refused.stderr
    assert "512M" in refused.stderr
    site.run("create", "modest", "--image", BUSYBOX, "--cpu-only", "--memory", "128M", "--shm-size", "16M")
    host = site.inspect("modest")["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["ShmSize"]) == (128 * 1024**2, 128 * 1024**2, 16 * 1024**2)


def test_bad_names_and_taken_names_are_refused_and_change_nothing(site: Site) -> None:
    assert site.run("create", "a/b", "--image", BUSYBOX, "--cpu-only", check=False).status == 2
    assert site.run("create", "-x", "--image", BUSYBOX, "--cpu-only", check=False).status == 2
    assert site.run("create", "x" * 49, "--image", BUSYBOX, "--cpu-only", check=False).status == 2
    assert site.containers() == []
    site.run("create", "taken", "--image", BUSYBOX, "--cpu-only")
    again = site.run("create", "taken", "--image", BUSYBOX, "--cpu-only", check=False)
    assert again.status == 8
    assert "taken" in again.stderr
    site.run("create", "taken", "--image", BUSYBOX, "--cpu-only", user="bob")
    assert len(site.containers()) == 2


def test_a_name_that_a_container_without_labels_has_is_taken_too(site: Site) -> None:
    uid = site.accounts["alice"].uid
    site.engine.docker("create", "--name", f"old._.{uid}", BUSYBOX)
    assert site.run("create", "old", "--image", BUSYBOX, "--cpu-only", check=False).status == 8


def test_a_workspace_that_the_user_may_not_read_is_refused(site: Site) -> None:
    private = site.accounts["bob"].home / "private"
    private.mkdir(mode=0o700, exist_ok=True)
    os.chown(private, site.accounts["bob"].uid, site.accounts["bob"].gid)
    try:
        refused = site.run("create", "spy", "--image", BUSYBOX, "--cpu-only", "-w", str(private), check=False)
        assert refused.status == 4
        link = site.accounts["alice"].home / "link"
        link.symlink_to(private)
        assert site.run("create", "spy", "--image", BUSYBOX, "--cpu-only", "-w", str(link), check=False).status == 4
        link.unlink()
    finally:
        private.rmdir()
    assert site.containers() == []


def test_a_workspace_with_colon_comma_and_spaces_works(site: Site) -> None:
    odd = site.accounts["alice"].home / "workspace" / "a:b, c d"
    site.run("create", "odd", "--image", BUSYBOX, "--cpu-only", "-w", str(odd))
    site.run("start", "odd")
    _inside(site, "odd", "echo ok > /workspace/x")
    assert (odd / "x").read_text() == "ok\n"
    assert "," not in site.inspect("odd")["Config"]["Labels"]["aime.mlc.WORK_MOUNT"]
    missing = site.run("create", "odd2", "--image", BUSYBOX, "--cpu-only", "-d", "/nowhere/at all", check=False)
    assert missing.status == 3


def test_an_image_that_is_not_there_is_said_with_the_next_step(site: Site) -> None:
    missing = site.run("create", "x1", "--image", "ds01-dev/nothing:1", "--cpu-only", check=False)
    assert missing.status in {3, 7}  # 7: the registry cannot be asked
    assert "ds01-dev/nothing" in missing.stderr
    unknown = site.run("create", "x1", "pytorchh", check=False)
    assert unknown.status == 3
    assert "pytorch" in unknown.stderr
    assert site.containers() == []
    assert site.private_tags() == []
    assert not any(site.held().values())


def test_a_dry_run_prints_the_docker_command_and_changes_nothing(site: Site) -> None:
    planned = site.run("create", "plan", "pytorch", "--gpus", "1", "--dry-run", "--json").document
    assert planned["dry_run"] is True
    command = planned["docker_command"]
    assert command.startswith("docker create --name plan._.")
    assert "--memory=512m" in command
    assert "device=MIG-" in command
    assert site.containers() == []
    assert not any(site.held().values())
    assert not (site.accounts["alice"].home / "workspace" / "plan").exists()


def test_twenty_creations_at_once_for_few_gpus_never_share_one(site: Site) -> None:
    started = [
        site.spawn("create", f"c{number}", "--image", BUSYBOX, "--gpus", "1", user=("alice", "bob")[number % 2])
        for number in range(20)
    ]
    ended = [(process.communicate(timeout=120)[1], process.returncode) for process in started]
    statuses = [status for _, status in ended]
    assert set(statuses) <= {0, 4, 5}, [said for said, status in ended if status not in {0, 4, 5}]
    held = site.held()
    assert all(len(holders) <= 1 for holders in held.values())
    assert sum(len(holders) for holders in held.values()) == statuses.count(0) == 3  # alice 2, bob 1
    assert len(site.containers()) == 3


def test_of_two_creations_of_one_name_one_wins_and_the_other_is_told(site: Site) -> None:
    started = [site.spawn("create", "same", "--image", BUSYBOX, "--gpus", "1") for _ in range(2)]
    ended = sorted((process.wait(timeout=60), process.communicate()[1]) for process in started)
    assert [status for status, _ in ended] == [0, 8]
    assert "same" in ended[1][1]
    assert sum(len(holders) for holders in site.held().values()) == 1


def test_an_interrupted_creation_leaves_nothing(site: Site) -> None:
    for delay_s in (0.0, 0.1, 0.3):
        process = site.spawn("create", "gone", "pytorch", "--gpus", "1")
        wait_until(lambda: _asks(process) or process.poll() is not None, "its request", state=process.poll)  # noqa: B023
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        status = process.wait(timeout=PATIENCE_S)
        process.communicate()
        if status == 0:  # it was faster
            site.run("rm", "--yes", "gone")
            continue
        assert status in {130, -signal.SIGINT}
        wait_until(
            lambda: _is_made(site, "gone") or _is_nothing_left(site),
            f"one of two ends of what was broken off after {delay_s} s",
            state=lambda: (site.containers(), site.held(), site.private_tags(), site.log()[-3000:]),
        )
        again = ("create", "gone", "pytorch", "--gpus", "1")
        if _is_made(site, "gone"):
            assert site.run(*again, check=False).status == 8
        else:  # the one that was broken off may not be at its end yet: then it has the name until it is undone
            wait_until(
                lambda: site.run(*again, check=False).status == 0 or _is_made(site, "gone"),  # noqa: B023
                "a whole container",
            )
        site.run("start", "gone")  # whoever made it, it is whole
        site.run("rm", "--yes", "--force", "gone")
        wait_until(lambda: _is_nothing_left(site), "the removal of everything")


def _asks(process: "subprocess.Popen[str]") -> bool:
    """Tell whether a client is connected: before, an interruption would meet Python's start and not the program."""
    try:
        return any(os.readlink(entry).startswith("socket:") for entry in Path(f"/proc/{process.pid}/fd").iterdir())
    except OSError:  # a descriptor was closed meanwhile, or the process has ended
        return False


def _is_nothing_left(site: Site) -> bool:
    return site.containers() == [] and not any(site.held().values()) and site.private_tags() == []


def _is_made(site: Site, name: str) -> bool:
    """Tell whether a creation came to its end, as its event says."""
    events = site.run("events", "--json").document["events"]
    ends = [event for event in events if event["container"] == name and event["name"] in _ENDS]
    return bool(ends) and max(ends, key=lambda event: int(event["id"]))["name"] == "container.created"


def test_a_pulled_image_is_looked_up_locally_first(site: Site) -> None:
    created = site.run("create", "local", PYTORCH, "--cpu-only", "--json").document
    assert created["container"]["image"] == PYTORCH
    assert created["container"]["state"] == "created"


def test_the_engines_own_tools_still_work_on_our_containers(site: Site) -> None:
    alice = site.accounts["alice"]
    site.run("create", "both", "--image", BUSYBOX, "--cpu-only")
    name = f"both._.{alice.uid}"
    site.engine.docker("start", name)
    wait_until(lambda: site.run("list", "--json").document["containers"][0]["state"] == "running", "the start past us")
    assert site.engine.docker("exec", name, "id", "-u").strip() == str(alice.uid)
    site.engine.docker("rm", "--force", name)
    wait_until(lambda: site.run("list", "--json").document["containers"] == [], "the removal past us")


def test_errors_are_problem_documents_for_programs(site: Site) -> None:
    failed = site.run("stop", "nobody", "--json", check=False)
    assert failed.status == 3
    document = json.loads(failed.stderr)
    assert document["code"] == "not_found"
    assert document["status"] == 404


def test_no_terminal_and_no_name_is_a_usage_error(site: Site) -> None:
    for verb in ("create", "start", "stop", "open", "rm"):
        failed = site.run(verb, check=False)
        assert failed.status == 2, (verb, failed.stderr)
        assert "Traceback" not in failed.stderr


def test_the_socket_tells_the_users_apart(site: Site) -> None:
    site.run("create", "mine", "--image", BUSYBOX, "--cpu-only")
    assert site.run("list", "--json", user="bob").document["containers"] == []
    assert site.run("rm", "--yes", "mine", user="bob", check=False).status == 3
    assert [row["name"] for row in site.run("list", "--json").document["containers"]] == ["mine"]
