"""What the demonstration shows, step by step."""

from typing import Any

from dev.demokit.stage import Stage, words_of

NAME = "thesis"
GIB = 1024**3


def play(stage: Stage) -> None:
    """Show everything, in the order of a first day.

    Raises:
        StepFailedError: A step did not do what it should.
    """
    _see_the_machine(stage)
    granted = _create(stage)
    _look_inside(stage, granted)
    _be_refused(stage)
    _stop_and_remove(stage, granted)


def _see_the_machine(stage: Stage) -> None:
    stage.say("1. The machine: two GPUs, one of them cut into MIG instances")
    stage.show("ds01", "gpus")
    gpus = stage.run("ds01", "gpus", "--json").document["gpus"]
    stage.check([gpu["address"] for gpu in gpus] == ["0", "1:0", "1:1", "1:2"], "the four devices are not listed")
    stage.check(all(gpu["free"] for gpu in gpus), "not every device is free at the start")
    stage.show("ds01", "limits")


def _create(stage: Stage) -> Any:  # noqa: ANN401 - JSON
    stage.say("2. A PyTorch container of the catalogue, with one GPU")
    stage.show(*words_of(f"ds01 create {NAME} pytorch --gpus 1"), "-w", str(stage.workspace))
    document = stage.run("ds01", "inspect", NAME, "--json").document
    stage.check(len(document["gpus"]) == 1, "it has not exactly one device")
    granted = document["gpus"][0]
    host = stage.docker("inspect", "--format", "{{json .HostConfig.DeviceRequests}}", document["engine_name"])
    stage.check(granted["uuid"] in host, "the engine was not given the granted device")
    stage.check(document["limits"]["memory_bytes"] == GIB, "the memory limit is not the policy's")
    stage.show("ds01", "start", NAME)
    return granted


def _look_inside(stage: Stage, granted: Any) -> None:  # noqa: ANN401 - JSON
    stage.say("3. Inside: the granted GPU and no other, oneself, the workspace, the limits")
    listed = stage.show("ds01", "exec", NAME, "--", "nvidia-smi", "-L").stdout
    stage.check(listed.count("MIG-") == 1 and granted["uuid"] in listed, "not exactly the granted device is visible")
    identity = stage.show("ds01", "exec", NAME, "--", "id").stdout
    stage.check("uid=0(root)" in identity, "the user inside is somebody else")
    stage.show("ds01", "exec", NAME, "--", "df", "-h", "/workspace", "/dev/shm")
    stage.show("ds01", "exec", NAME, "--", "sh", "-c", "echo kept > /workspace/note")
    note = stage.workspace / "note"
    stage.check(note.read_text() == "kept\n", "the workspace is not the host's directory")
    memory = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null | head -1"
    limit = stage.show("ds01", "exec", NAME, "--", "sh", "-c", memory).stdout.strip()
    stage.check(limit == str(GIB), "the kernel does not enforce the memory limit")
    pids = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null | head -1"
    stage.check(
        stage.show("ds01", "exec", NAME, "--", "sh", "-c", pids).stdout.strip() == "4096", "no limit of processes"
    )
    stage.show("ds01", "list")
    stage.show("ds01", "stats")


def _be_refused(stage: Stage) -> None:
    stage.say("4. A second GPU is over the quota: refused, with the reason")
    refused = stage.show(*words_of("ds01 create second pytorch --gpus 1"), "-w", str(stage.workspace), expect=4)
    stage.check("1 of 1 GPUs" in refused.stderr, "the reason does not say the figures")
    stage.check(
        "second" not in stage.docker("ps", "--all", "--format", "{{.Names}}"), "something was made all the same"
    )
    stage.show(*words_of("ds01 create second pytorch --cpu-only --dry-run"))


def _stop_and_remove(stage: Stage, granted: Any) -> None:  # noqa: ANN401 - JSON
    stage.say("5. Stop, remove: the GPU is free again, the workspace stays")
    stage.show("ds01", "stop", NAME)
    held = _device(stage, granted["uuid"])
    stage.check(held["holders"][0]["state"] == "held", "the stopped container does not hold its device")
    stage.show("ds01", "gpus")
    stage.show("ds01", "rm", NAME)
    stage.check(_device(stage, granted["uuid"])["free"], "the device is not free again")
    stage.check(not stage.docker("ps", "--all", "--quiet").strip(), "a container is left on the engine")
    tags = stage.docker("images", "--format", "{{.Tag}}").split()
    stage.check(not any("._." in tag for tag in tags), "a private tag is left on the engine")
    stage.check((stage.workspace / "note").exists(), "the workspace was touched")
    stage.show("ds01", "gpus")


def _device(stage: Stage, uuid: str) -> Any:  # noqa: ANN401 - JSON
    gpus = stage.run("ds01", "gpus", "--json").document["gpus"]
    return next(gpu for gpu in gpus if gpu["uuid"] == uuid)
