"""The private engines that all other tests stand on: they work, and they leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.enginekit.commands import run
from dev.enginekit.engine import engine_tree
from dev.enginekit.folders import EngineFolders, engine_folders
from dev.enginekit.mounts import mounts_below
from dev.enginekit.processes import daemons_of, members_of
from tests.engine import DevEngine, EngineUnavailableError

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "dev" / "engine"
WHOLE = "GPU-11111111-aaaa-bbbb-cccc-000000000000"
MIG = "MIG-22222222-aaaa-bbbb-cccc-000000000002"
MIG_PARENT = "GPU-11111111-aaaa-bbbb-cccc-000000000001"

pytestmark = pytest.mark.engine


def unused_name(word: str) -> str:
    return f"t{os.getpid()}-{word}"


def started(engine: DevEngine) -> DevEngine:
    try:
        return engine.start()
    except EngineUnavailableError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def first() -> Iterator[DevEngine]:
    engine = started(DevEngine(unused_name("first"), registry=True))
    try:
        engine.bring_images("busybox")
        yield engine
    finally:
        engine.stop(purge=True)


def firewall_rules() -> list[str]:
    env = engine_tree().environment(dict(os.environ))
    tables = [run(["iptables", "-w", "-t", table, "-S"], env=env) for table in ("filter", "nat", "mangle")]
    return "".join(tables).splitlines()


def rules_of_others() -> list[str]:
    return [rule for rule in firewall_rules() if "ds01-dev-" not in rule]


def traces(folders: EngineFolders, containers: set[str]) -> list[str]:
    """Everything outside its home that an engine which was stopped still has."""
    found = [rule for rule in firewall_rules() if folders.rule_comment in rule]
    found += [str(path) for path in (folders.run, Path("/sys/class/net", folders.veth)) if path.exists()]
    found += [str(point) for point in mounts_below(folders.home, folders.run)]
    found += [f"process {pid}" for pid in [*daemons_of(folders.run), *members_of(containers)]]
    cgroups = [Path(where) for where, _, _ in os.walk("/sys/fs/cgroup") if Path(where).name in containers]
    return found + [str(path) for path in cgroups]


def container_ids(engine: DevEngine) -> set[str]:
    return set(engine.docker("ps", "--all", "--quiet", "--no-trunc").split())


def test_a_second_engine_leaves_the_first_ones_published_ports_and_network_alone(first: DevEngine) -> None:
    serve = "echo the first engine > /tmp/index.html && exec httpd -f -p 80 -h /tmp"
    server = first.docker("run", "--detach", "--publish", "8080:80", "ds01-dev/busybox", "sh", "-c", serve).strip()
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {first.address} 8080"
    fetch = ["run", "--rm", "ds01-dev/busybox", "sh", "-c", ask]
    try:
        with started(DevEngine(unused_name("second"))) as second:
            second.bring_images("busybox")
            assert second.address != first.address
            assert second.docker(*fetch).endswith("\n\nthe first engine\n")
            assert first.docker(*fetch).endswith("\n\nthe first engine\n")
    finally:
        first.docker("rm", "--force", server)


def test_a_stopped_engine_leaves_nothing_on_the_machine() -> None:
    before = rules_of_others()
    engine = started(DevEngine(unused_name("gone")))
    folders = engine_folders(engine.name)
    try:
        engine.bring_images("busybox")
        engine.docker("run", "--detach", "ds01-dev/busybox", "sleep", "600")
        paused = engine.docker("run", "--detach", "--restart", "always", "ds01-dev/busybox", "sleep", "600").strip()
        engine.docker("pause", paused)
        containers = container_ids(engine)
        assert len(traces(folders, containers)) > 8
    finally:
        engine.stop()
    assert traces(folders, containers) == []
    assert rules_of_others() == before
    engine.stop(purge=True)
    assert not folders.home.exists()


def test_an_engine_whose_daemons_were_killed_is_cleaned_up_and_starts_again() -> None:
    engine = started(DevEngine(unused_name("killed")))
    folders = engine_folders(engine.name)
    try:
        engine.bring_images("busybox")
        engine.docker("run", "--detach", "ds01-dev/busybox", "sleep", "600")
        paused = engine.docker("run", "--detach", "ds01-dev/busybox", "sleep", "600").strip()
        engine.docker("pause", paused)
        containers = container_ids(engine)
        for pid in daemons_of(folders.run):
            os.kill(pid, signal.SIGKILL)
        assert len(members_of(containers)) == 2, "the containers outlive their engine"
        engine.start()
        assert members_of(containers) == []
        assert engine.docker("run", "--rm", "ds01-dev/busybox", "echo", "again") == "again\n"
    finally:
        engine.stop(purge=True)
    assert traces(folders, containers) == []


@pytest.mark.parametrize("after_s", [0.1, 0.2, 0.3, 0.4, 0.5])
def test_a_start_that_is_killed_half_way_leaves_nothing_that_stop_does_not_find(after_s: float) -> None:
    engine = started(DevEngine(unused_name("half")))
    folders = engine_folders(engine.name)
    engine.stop()
    starter = subprocess.Popen([sys.executable, ENGINE, "start", engine.name], stdout=subprocess.DEVNULL)
    time.sleep(after_s)
    starter.kill()
    starter.wait()
    engine.stop(purge=True)
    assert traces(folders, set()) == []


def test_starting_a_running_engine_reports_it_and_refuses_other_options(first: DevEngine) -> None:
    again = DevEngine(first.name).start()
    assert again.dockerd_pid == first.dockerd_pid
    with pytest.raises(EngineUnavailableError, match="runs with other options; stop it first"):
        DevEngine(first.name, dockerd_args=["--icc=false"]).start()


def test_only_root_can_have_an_engine() -> None:
    become_nobody = "import os; os.geteuid() == 0 and os.setuid(65534)"
    program = f"from dev.enginekit.command_line import main; {become_nobody}; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "start"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert "needs root" in done.stderr


def test_a_container_is_refused_a_gpu_that_the_machine_does_not_have(first: DevEngine) -> None:
    done = first.try_docker("run", "--rm", "--gpus", "device=GPU-nope", "ds01-dev/busybox", "true")
    assert done.returncode == 125
    assert "nvidia-container-cli: device error: GPU-nope: unknown device: unknown" in done.stderr


def test_the_devices_are_read_anew_at_each_start(first: DevEngine) -> None:
    run_it = [
        "run",
        "--rm",
        "--gpus",
        f"device={WHOLE}",
        "ds01-dev/busybox",
        "grep",
        "-c",
        "^gpu",
        "/etc/fake_nvml.conf",
    ]
    assert first.docker(*run_it) == "1\n"
    before = first.gpus_conf.read_text()
    try:
        first.gpus_conf.write_text(before.replace(WHOLE, "GPU-another"))
        assert first.try_docker(*run_it).returncode == 125
    finally:
        first.gpus_conf.write_text(before)
    assert json.loads(first.hook_log.read_text().splitlines()[-1])["devices"] == [WHOLE]


def test_an_image_is_pulled_by_its_own_name_from_the_registry(first: DevEngine) -> None:
    first.docker("tag", "ds01-dev/busybox", "aimehub/little")
    first.publish("aimehub/little")
    first.docker("rmi", "aimehub/little", "ds01-dev/busybox")
    try:
        said = first.docker("pull", "aimehub/little")
        assert "Pull complete" in said
        digests = json.loads(first.docker("inspect", "--format", "{{json .RepoDigests}}", "aimehub/little"))
        assert digests[0].startswith("aimehub/little@sha256:")
    finally:
        first.bring_images("busybox")


@pytest.mark.slow
def test_nvidia_smi_in_a_container_lists_just_its_own_devices(first: DevEngine) -> None:
    image = first.bring_images("base", with_user_1000=True)[0]
    if not (first.nvml_folder / "nvidia-smi").exists():
        pytest.fail("build the pretended NVIDIA library first: make fake-nvml")

    def listed(devices: str) -> list[str]:
        lines = first.docker("run", "--rm", "--gpus", devices, image, "nvidia-smi", "-L").splitlines()
        return [line.partition("UUID: ")[2].rstrip(")") for line in lines]

    assert listed(f"device={WHOLE}") == [WHOLE]
    assert listed(f"device={MIG}") == [MIG_PARENT, MIG]
    assert first.docker("run", "--rm", "ds01-dev/uid1000", "id", "-un", "1000") == "ubuntu\n"
