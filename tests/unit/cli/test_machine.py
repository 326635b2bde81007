"""The commands about the machine: gpus, limits, status, version, help, completion."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ds01.cli.commands.topic import TOPICS, read_topic
from tests.unit.cli.conftest import Ds01, catalogue, container, containers
from tests.unit.cli.wizard_documents import image, images
from tests.unit.scripted_daemon import ScriptedDaemon, ok, problem

HOLDER = {
    "owner_uid": 1001,
    "owner": "alice",
    "container": "thesis",
    "state": "active",
    "since": "2020-01-01T00:00:00+00:00",
    "until": None,
}


def gpu(address: str, **more: object) -> dict[str, object]:
    return {
        "uuid": f"GPU-{address}",
        "address": address,
        "parent_uuid": "",
        "kind": "full",
        "profile": "",
        "model": "NVIDIA A100",
        "state": "whole",
        "free": True,
        "reason": "",
        "memory_bytes": 40 * 1024**3,
        "memory_used_bytes": 1024**3,
        "utilization_ratio": 0.5,
        "power_w": None,
        "temperature_c": None,
        "energy_j": None,
        "gpu_equivalents": 1.0,
        "holders": [],
        **more,
    }


@pytest.fixture
def gpus(daemon: ScriptedDaemon) -> None:
    held = gpu("0", free=False, holders=[HOLDER])
    blocked = gpu("1:0", kind="mig", profile="1g.5gb", free=False, reason="process 77 of bob", utilization_ratio=None)
    document = {"schema_version": 1, "driver_version": "560", "cuda_version": "12.6", "gpus": [held, blocked, gpu("2")]}
    daemon.answers["GET /v1/gpus"] = ok(document)


@pytest.mark.usefixtures("gpus")
def test_gpus_say_who_holds_them_and_why_they_are_not_free(ds01: Ds01) -> None:
    rows = ds01("gpus").out.splitlines()
    assert rows[0].split() == ["GPU", "KIND", "MODEL", "MEMORY", "USE", "STATE", "HELD", "BY", "SINCE", "UNTIL"]
    assert "alice: thesis" in rows[1]
    assert "years ago" in rows[1]
    assert "process 77 of bob" in rows[2]
    assert "1g.5gb" in rows[2]
    assert " free " in rows[3]
    assert ds01("gpu", "list").out == ds01("gpus").out


@pytest.mark.usefixtures("gpus")
def test_gpus_are_printed_for_programs(ds01: Ds01) -> None:
    assert ds01("gpus", "-q").out == "GPU-0\nGPU-1:0\nGPU-2\n"
    assert len(ds01("gpus", "--json").document["gpus"]) == 3
    assert ds01("gpus", "--format", "csv").out.splitlines()[1].endswith("alice:thesis,")
    for user in ("alice", "1001"):
        assert ds01("gpus", "--user", user, "-q").out == "GPU-0\n"
    assert ds01("gpus", "--user", "carol").err == "carol holds no GPU.\n"


def test_gpus_of_a_stopped_container_are_released(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["POST /v1/containers/a/release"] = ok({"schema_version": 1, "name": "a", "gpus_released": ["GPU-0"]})
    assert ds01("gpu", "release", "a").out == "a\n"
    assert ds01("gpu", "release", "a", "--json").document["gpus_released"] == ["GPU-0"]


@pytest.fixture
def limits(daemon: ScriptedDaemon) -> None:
    values: dict[str, object] = {
        "max_gpus": 2,
        "max_gpu_equivalents": None,
        "memory": 32 * 1024**3,
        "idle_timeout": 5400.0,
        "priority": 10,
        "sudo": True,
        "gpu_preference": "mig",
        "devices": ["video"],
        "ulimits": {"memlock": -1, "stack": 67108864},
        "mounts": {"data": None, "models": "/srv/models"},
    }
    document = {
        "schema_version": 1,
        "uid": 1001,
        "user": "alice",
        "group": "students",
        "mode": "server",
        "limits": {name: {"value": value, "origin": "limits.yaml:7"} for name, value in values.items()},
        "usage": {"gpus": 1, "gpu_equivalents": 0.43, "containers": 3},
        "cgroup_parent": "/ds01/alice",
        "docker_args": ["--cpus=4", "--memory=32g"],
        "not_enforced": ["storage"],
    }
    daemon.answers["GET /v1/limits"] = ok(document)


@pytest.mark.usefixtures("limits")
def test_limits_say_what_is_held_and_what_set_them(ds01: Ds01) -> None:
    outcome = ds01("limits")
    rows = {row.split()[0]: row.split()[1:] for row in outcome.out.splitlines()}
    assert rows["max_gpus"] == ["2", "1", "limits.yaml:7"]
    assert rows["max_gpu_equivalents"] == ["unlimited", "0.43", "limits.yaml:7"]
    assert rows["memory"][0] == "32G"
    assert rows["idle_timeout"][0] == "1h30m"
    assert rows["sudo"][0] == "yes"
    assert rows["devices"][0] == "video"
    assert rows["ulimits"][:2] == ["memlock=unlimited,", "stack=67108864"]
    assert rows["mounts"][:2] == ["data=-,", "models=/srv/models"]
    assert "students" in outcome.err
    assert "Not enforced here: storage." in outcome.err
    assert ds01("limits", "show").out == outcome.out


@pytest.mark.usefixtures("limits")
def test_single_limits_are_for_scripts(ds01: Ds01, daemon: ScriptedDaemon) -> None:
    assert ds01("limits", "--docker-args").out == "--cpus=4 --memory=32g\n"
    assert ds01("limits", "--max-gpus").out == "2\n"
    assert ds01("limits", "--priority").out == "10\n"
    assert ds01("limits", "show", "--group").out == "students\n"
    assert ds01("limits", "--user", "1002", "--group").status == 0
    assert daemon.asked()[-1] == "GET /v1/limits?uid=1002"
    assert ds01("limits", "--user", "root", "--group").status == 0
    assert daemon.asked()[-1] == "GET /v1/limits?uid=0"
    assert ds01("limits", "--user", "no-such-user-here").status == 3
    assert ds01("limits", "--group", "--priority").status == 2


def test_status_is_7_when_a_part_does_not_work(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    outcome = ds01("status")
    assert outcome.status == 0
    assert "2 to grant, 1 free" in outcome.out
    document = ds01("status", "--json").document
    document["engine"] = {**document["engine"], "ok": False, "message": "Docker does not answer."}
    daemon.answers["GET /v1/status"] = ok(document)
    broken = ds01("status")
    assert broken.status == 7
    assert "✗ Docker      Docker does not answer." in broken.out.splitlines()
    assert "✗ containers  unknown" in broken.out.splitlines()  # unknown is never none
    assert broken.out.splitlines()[-1].endswith(", by the grants alone")


def test_version_names_both_and_starts_nothing(ds01: Ds01, tmp_path: Path) -> None:
    assert ds01("version", "--json").document == {"schema_version": 1, "ds01": "0.1.0", "ds01d": "0.1.0"}
    alone = ds01("version", DS01_SOCKET=str(tmp_path / "none.sock"))
    assert (alone.status, alone.out.splitlines()[1]) == (0, "ds01d  does not answer")
    assert ds01("--version").out == "ds01 0.1.0\n"


def test_every_topic_has_a_text_with_commands_to_copy(ds01: Ds01) -> None:
    for topic in TOPICS:
        outcome = ds01("help", topic)
        assert outcome.status == 0
        assert "ds01 " in outcome.out
        assert max(map(len, read_topic(topic).splitlines())) <= 120
    assert "gpu" in ds01("help").out
    missing = ds01("help", "gpus")
    assert (missing.status, "ds01 help gpu" in missing.err) == (3, True)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["li"], {"limits", "list"}),
        (["container", "re"], {"remove", "rename", "restart", "retire"}),
        (["gpu", ""], {"list", "ls", "release", "why"}),
        (["open", "t"], {"thesis", "test"}),
        (["stop", "thesis", "te"], {"test"}),
        (["container", "start", "th"], {"thesis"}),
        (["list", "--format", ""], {"table", "json", "csv", "name"}),
        (["create", "new", "pyt"], {"pytorch"}),
        (["create", "--memory", "8G", "new", "tens"], {"tensorflow"}),
        (["create", "--memo"], {"--memory", "--memory-swap"}),
        (["create", "--gpu-kind", "1"], {"1g.5gb"}),
        (["create", "new", ""], {"pytorch", "tensorflow", "lab"}),
        (["create", "new", "pytorch", "2"], {"2.8.0", "2.16.1"}),
        (["create", "new", "--image", ""], {"lab", "ubuntu:24.04"}),
        (["create", "--arch", "CUDA_A"], {"CUDA_ADA", "CUDA_AMPERE"}),
        (["image", "pull", ""], {"pytorch", "tensorflow"}),
        (["image", "delete", ""], {"lab"}),
        (["image", "inspect", "l"], {"lab"}),
        (["events", "--name", "gpu.un"], {"gpu.unhealthy", "gpu.unmanaged"}),
        (["events", "--container", "the"], {"thesis"}),
        (["limits", "--gr"], {"--group"}),
        (["help", "w"], {"workspace"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
        (["exec", "thesis", "--", "l"], set()),
        (["nothing", ""], set()),
    ],
)
@pytest.mark.usefixtures("gpus")
def test_the_tab_key_offers_what_fits(words: list[str], wanted: set[str], daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("thesis"), container("test"))
    rows = catalogue(("Pytorch", "2.8.0"), ("Tensorflow", "2.16.1"))
    daemon.answers |= {f"GET /v1/catalogue{query}": rows for query in ("", "?framework=pytorch", "?all=true")}
    daemon.answers["GET /v1/images"] = images(image("lab"), image("ubuntu:24.04", own=False))
    outcome = ds01("__complete", *words)
    assert (outcome.status, set(outcome.out.split()), outcome.err) == (0, wanted, "")


@pytest.mark.usefixtures("gpus")
def test_one_source_that_fails_does_not_hide_the_others(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    daemon.answers["GET /v1/catalogue"] = catalogue(("Pytorch", "2.8.0"))
    daemon.answers["GET /v1/images"] = problem(502, "backend", "The engine is down.")
    assert ds01("__complete", "create", "new", "").out.split() == ["pytorch"]


def test_the_tab_key_is_silent_without_a_daemon_and_needs_no_click(tmp_path: Path, ds01: Ds01) -> None:
    nowhere = str(tmp_path / "none.sock")
    assert ds01("__complete", "open", "", DS01_SOCKET=nowhere).out == ""
    assert ds01("__complete", "create", "--gpu-kind", "", DS01_SOCKET=nowhere).out == "any\nfull\nmig\n"
    code = "import sys, os; from ds01.cli.main import run; run(sys.argv[1:], os.environ); print('click' in sys.modules)"
    argv = [sys.executable, "-c", code, "__complete", "create", "--mem"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"DS01_SOCKET": nowhere})
    assert done.stdout.splitlines() == ["--memory", "--memory-swap", "False"]


def test_bash_completes_through_the_printed_lines(daemon: ScriptedDaemon, ds01: Ds01, tmp_path: Path) -> None:
    daemon.answers["GET /v1/containers"] = containers(container("thesis"), container("other"))
    program = tmp_path / "ds01"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ds01 "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    script = ds01("completion", "bash").out + 'COMP_WORDS=(ds01 open th); COMP_CWORD=2; _ds01; echo "${COMPREPLY[@]}"\n'
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DS01_SOCKET": str(daemon.socket_path)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "thesis\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_asks_the_same_program(shell: str, ds01: Ds01) -> None:
    assert "ds01 __complete" in ds01("completion", shell).out


def test_an_unknown_shell_is_a_usage_error(ds01: Ds01) -> None:
    assert ds01("completion", "tcsh").status == 2
    assert ds01("completion").status == 2


CHECKED = {"schema_version": 1, "source": "new.yaml", "ok": True, "errors": [], "warnings": []}


def test_a_policy_file_is_sent_with_its_members_files(ds01: Ds01, daemon: ScriptedDaemon, tmp_path: Path) -> None:
    (tmp_path / "resource-limits.yaml").write_text("version: 2\n", encoding="utf-8")
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups" / "student.members").write_text("alice\n", encoding="utf-8")
    daemon.answers["POST /v1/config/check"] = ok(CHECKED)
    for path in (tmp_path, tmp_path / "resource-limits.yaml"):
        assert ds01("admin", "config", "check", str(path)).status == 0
        assert json.loads(daemon.requests[-1].body) == {
            "text": "version: 2\n",
            "name": "resource-limits.yaml",
            "members": {"student": "alice\n"},
        }
    assert ds01("admin", "config", "check").status == 0
    assert json.loads(daemon.requests[-1].body) == {}


def test_a_broken_policy_file_is_2_with_its_line_and_the_fix(
    ds01: Ds01, daemon: ScriptedDaemon, tmp_path: Path
) -> None:
    error = {"where": "new.yaml:3", "message": "the key 'max_gpu' is unknown.", "hint": "Did you mean 'max_gpus'?"}
    warning = {"where": "new.yaml:4", "message": "odd.", "hint": "Mend it."}
    daemon.answers["POST /v1/config/check"] = ok({**CHECKED, "ok": False, "errors": [error], "warnings": [warning]})
    outcome = ds01("admin", "config", "check")
    assert outcome.status == 2
    assert "new.yaml:3: the key 'max_gpu' is unknown." in outcome.err
    assert "Did you mean 'max_gpus'?" in outcome.err
    assert "new.yaml:4: odd. Mend it." in outcome.err
    assert ds01("admin", "config", "check", "--json").document["errors"] == [error]
    assert ds01("admin", "config", "check", str(tmp_path / "none.yaml")).status == 3
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xff\n")
    assert "latin.yaml:2" in ds01("admin", "config", "check", str(tmp_path / "latin.yaml")).err


def test_the_policy_in_force_is_shown_with_its_origins(ds01: Ds01, daemon: ScriptedDaemon) -> None:
    daemon.answers["GET /v1/config"] = ok(
        {
            "schema_version": 1,
            "source": "resource-limits.yaml",
            "version": 2,
            "ok": False,
            "message": "resource-limits.yaml:3: broken.",
            "values": [{"key": "defaults.max_gpus", "value": "2", "origin": "resource-limits.yaml:2"}],
            "warnings": [],
            "not_enforced": ["lifecycle"],
        }
    )
    shown = ds01("admin", "config", "show", "--origin")
    assert shown.out.splitlines()[1].split() == ["defaults.max_gpus", "2", "resource-limits.yaml:2"]
    assert "resource-limits.yaml:3: broken." in shown.err
    assert "not enforced by this version: lifecycle." in shown.err
    assert "SET" not in ds01("admin", "config", "show").out
    assert ds01("admin", "config", "show", "--json").document["version"] == 2


@pytest.mark.usefixtures("limits")
def test_the_user_of_the_limits_may_be_named_both_ways(ds01: Ds01, daemon: ScriptedDaemon) -> None:
    for words in (("limits", "show", "root"), ("limits", "root"), ("limits", "show", "--user", "root")):
        assert ds01(*words).status == 0
        assert daemon.asked()[-1] == "GET /v1/limits?uid=0"
    assert ds01("limits", "show", "root", "--user", "alice").status == 2


def test_an_administrator_takes_a_gpu_out_and_lets_it_in_again(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    answer = ok({"schema_version": 1, "gpus": [{"uuid": "GPU-0", "address": "0", "changed": True}]})
    daemon.answers["POST /v1/gpus/drain"] = daemon.answers["POST /v1/gpus/resume"] = answer
    drained = ds01("admin", "drain", "0", "--reason", "fan is loud")
    assert (drained.status, drained.out) == (0, "GPU-0\n")
    assert daemon.requests[-1].document() == {"gpu": "0", "reason": "fan is loud"}
    assert ds01("admin", "resume", "0").out == "GPU-0\n"


def test_drain_without_a_gpu_says_what_is_missing(ds01: Ds01) -> None:
    refused = ds01("admin", "drain")
    assert refused.status == 2
    assert "GPU is missing" in refused.err


def test_a_held_gpu_that_is_drained_says_both(daemon: ScriptedDaemon, ds01: Ds01) -> None:
    held = gpu("0", free=False, holders=[HOLDER], state="drained", reason="it is drained: fan")
    daemon.answers["GET /v1/gpus"] = ok(
        {"schema_version": 1, "driver_version": "560", "cuda_version": "12.6", "gpus": [held]}
    )
    assert "active; it is drained: fan" in ds01("gpus").out
