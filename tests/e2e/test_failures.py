"""What fails around us: engine, devices, disk, database. Nothing is granted twice, nothing stays half-made."""

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.e2e.deaf_engine import deaf_engine
from tests.e2e.site import BUSYBOX, GPUS, WHOLE_GPU, Site, wait_until
from tests.engine import DevEngine


def test_an_engine_that_is_down_is_exit_7_and_never_an_empty_list(own_site: Site) -> None:
    own_site.extra["DOCKER_HOST"] = "unix:///var/tmp/ds01-no-engine.sock"
    own_site.launch()
    wait_until(own_site.socket.exists, "the socket")
    for words in (["list"], ["create", "x1", "--image", BUSYBOX, "--cpu-only"], ["gpus"], ["limits"]):
        failed = own_site.run(*words, check=False)
        assert failed.status == 7, words
        assert "ds01-no-engine.sock" in failed.stderr
        assert "Traceback" not in failed.stderr
    said = own_site.run("status", "--json", check=False)
    assert said.status == 7
    status = said.document
    assert status["engine"]["ok"] is False
    assert status["devices"]["ok"] is False


def test_an_engine_elsewhere_is_refused_with_the_reason(own_site: Site) -> None:
    own_site.extra["DOCKER_HOST"] = "tcp://127.0.0.1:2375"
    own_site.launch()
    assert own_site.wait_for_end() == 7
    assert "tcp://" in own_site.log()


def test_devices_that_fail_are_unknown_and_block_grants_only(own_site: Site) -> None:
    own_site.start()
    own_site.write_gpus(GPUS + "fail func=nvmlDeviceGetCount_v2 ret=999\n")
    failed = own_site.run("create", "x1", "--image", BUSYBOX, "--gpus", "1", check=False)
    assert failed.status == 7
    assert own_site.run("list").status == 0
    assert own_site.run("gpus", check=False).status == 7
    assert own_site.containers() == []
    own_site.write_gpus(GPUS)
    wait_until(lambda: own_site.run("gpus", check=False).status == 0, "the devices' return")


def test_a_driver_that_hangs_is_given_up_within_seconds(own_site: Site) -> None:
    own_site.start()
    own_site.run("gpus")
    own_site.write_gpus(GPUS + "delay func=nvmlDeviceGetCount_v2 ms=60000\n")
    began = time.monotonic()
    failed = own_site.run("create", "x1", "--image", BUSYBOX, "--gpus", "1", check=False)
    assert failed.status == 7
    assert time.monotonic() - began < 50, "it waited for the driver, which takes a minute"
    assert own_site.run("list").status == 0
    own_site.write_gpus(GPUS)


def test_no_library_and_no_device_is_a_machine_without_gpus(own_site: Site) -> None:
    own_site.extra["LD_LIBRARY_PATH"] = ""
    own_site.start()
    assert own_site.run("gpus", "--json").document["gpus"] == []
    refused = own_site.run("create", "x1", "--image", BUSYBOX, "--gpus", "1", check=False)
    assert refused.status == 2
    assert "--cpu-only" in refused.stderr
    own_site.run("create", "x1", "--image", BUSYBOX, "--cpu-only")


def test_a_gpu_that_goes_between_claim_and_start_is_said(own_site: Site) -> None:
    own_site.start()
    own_site.run("create", "unlucky", "--image", BUSYBOX, "--gpu-kind", "full")
    own_site.write_gpus(GPUS.replace(WHOLE_GPU, "GPU-00000000-1111-4bbb-8ccc-000000000009"))
    failed = own_site.run("start", "unlucky", check=False)
    assert failed.status in {5, 7}
    assert "gone" in failed.stderr or "unknown device" in failed.stderr
    assert own_site.inspect("unlucky")["State"]["Status"] == "created"
    own_site.run("rm", "--yes", "unlucky")
    own_site.write_gpus(GPUS)


@pytest.fixture
def dying_site(own_site: Site) -> Iterator[Site]:
    """A site whose engine is its own, to be killed."""
    shared = own_site.engine
    with DevEngine("dying") as dying:
        dying.bring_images("busybox")
        own_site.engine = dying
        own_site.write_gpus(GPUS)
        try:
            yield own_site
        finally:
            own_site.stop()
            own_site.engine = shared
            own_site.write_gpus(GPUS)


def test_an_engine_that_dies_between_create_and_start_comes_back_whole(dying_site: Site) -> None:
    dying_site.start()
    dying_site.run("create", "patient", "--image", BUSYBOX, "--gpu-kind", "full")
    os.kill(dying_site.engine.dockerd_pid, signal.SIGKILL)
    failed = dying_site.run("start", "patient", check=False)
    assert failed.status == 7
    dying_site.engine.start()
    dying_site.write_gpus(GPUS)
    wait_until(lambda: dying_site.run("list", check=False).status == 0, "the engine's return")
    dying_site.run("start", "patient")
    assert dying_site.held()["0"] == ["patient"]


def test_an_engine_that_does_not_answer_does_not_keep_the_daemon_and_the_next_one_cleans_up(own_site: Site) -> None:
    path = own_site.scratch / "engine.sock"
    with deaf_engine(path, own_site.engine.socket_path, deaf_to=b"/tag?") as engine:
        own_site.extra["DOCKER_HOST"] = f"unix://{path}"
        own_site.start()
        creation = own_site.spawn("create", "half", "--image", BUSYBOX, "--gpu-kind", "full")
        wait_until(engine.was_called.is_set, "the call that is not answered")
        assert own_site.process is not None
        own_site.process.send_signal(signal.SIGTERM)
        assert own_site.wait_for_end(timeout_s=60) == 0
        assert "did not answer in time" in own_site.log()
        assert "Traceback" not in own_site.log()
        _, said = creation.communicate(timeout=30)
        assert creation.returncode == 7, said
    del own_site.extra["DOCKER_HOST"]
    own_site.start()
    own_site.run("create", "half", "--image", BUSYBOX, "--gpu-kind", "full")
    own_site.run("start", "half")
    assert own_site.held()["0"] == ["half"]


def test_a_corrupted_store_is_refused_with_the_way_back_and_never_overwritten(own_site: Site) -> None:
    own_site.start()
    own_site.run("create", "x1", "--image", BUSYBOX, "--cpu-only")
    own_site.stop()
    database = own_site.state / "ds01.sqlite"
    broken = database.read_bytes()[:4096] + b"\xff" * 8192 + database.read_bytes()[12288:]
    database.write_bytes(broken)
    own_site.launch()
    assert own_site.wait_for_end() == 7
    assert "ds01.sqlite" in own_site.log()
    assert "Traceback" not in own_site.log()
    assert database.read_bytes() == broken


def test_a_lost_store_is_rebuilt_from_the_sealed_containers(own_site: Site) -> None:
    own_site.start()
    own_site.run("create", "x1", "--image", BUSYBOX, "--gpu-kind", "full")
    own_site.run("start", "x1")
    own_site.stop()
    (own_site.state / "ds01.sqlite").unlink()
    own_site.start()
    wait_until(lambda: own_site.run("list", "--json").document["containers"][0]["managed"], "the adoption")
    assert own_site.held()["0"] == ["x1"]
    assert own_site.run("create", "x2", "--image", BUSYBOX, "--gpu-kind", "full", check=False).status == 5


def test_without_the_key_a_container_of_a_lost_store_is_nobodys_and_keeps_its_device_busy(own_site: Site) -> None:
    own_site.start()
    own_site.run("create", "x1", "--image", BUSYBOX, "--gpu-kind", "full")
    own_site.run("start", "x1")
    own_site.stop()
    (own_site.state / "ds01.sqlite").unlink()
    (own_site.state / "seal.key").unlink()
    own_site.start()
    # another key: the labels prove nothing, so the container is nobody's, and its device is not granted again
    refused = own_site.run("create", "x2", "--image", BUSYBOX, "--gpu-kind", "full", check=False)
    assert refused.status == 5
    assert own_site.run("list", "--json").document["containers"][0]["managed"] is False


def test_a_disk_that_is_full_fails_the_creation_and_leaves_nothing(own_site: Site) -> None:
    own_site.state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(own_site.state)], check=True)
    try:
        own_site.start()
        filler = own_site.state / "filler"
        descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT, 0o600)
        with suppress(OSError):
            while os.write(descriptor, b"x" * 4096):
                pass
        os.close(descriptor)
        failed = own_site.run("create", "x1", "--image", BUSYBOX, "--gpu-kind", "full", check=False)
        assert failed.status == 7
        assert "space" in failed.stderr.lower() or "full" in failed.stderr.lower()
        assert own_site.containers() == []
        filler.unlink()
        own_site.run("create", "x1", "--image", BUSYBOX, "--gpu-kind", "full")
        assert own_site.held()["0"] == ["x1"]
        own_site.stop()
    finally:
        own_site.stop()
        subprocess.run(["umount", str(own_site.state)], check=True)


def test_a_broken_policy_edit_changes_nothing_and_is_said(own_site: Site) -> None:
    own_site.start()
    before = own_site.run("limits", "--json").document["limits"]
    own_site.write_policy("version: 2\ndefaults: {max_gpu: 3}\n")
    wait_until(lambda: own_site.run("status", check=False).status == 7, "the refusal")
    status = own_site.run("status", "--json", check=False).document["policy"]
    assert "resource-limits.yaml:2" in status["message"]
    assert "max_gpus" in status["message"]
    assert own_site.run("limits", "--json").document["limits"] == before
    own_site.write_policy("version: 2\ndefaults: {max_gpus: 7}\n")
    wait_until(lambda: own_site.run("limits", "--max-gpus").stdout.strip() == "7", "the new policy")


def test_a_second_daemon_for_one_state_is_refused(own_site: Site) -> None:
    own_site.start()
    first = own_site.process
    own_site.launch()
    assert own_site.wait_for_end() == 8
    own_site.process = first
    assert own_site.run("status").status == 0


def test_restarting_the_daemon_touches_no_container(own_site: Site) -> None:
    own_site.start()
    own_site.run("create", "steady", "--image", BUSYBOX, "--gpu-kind", "full")
    own_site.run("start", "steady")
    started = own_site.inspect("steady")["State"]["StartedAt"]
    own_site.stop(signal.SIGKILL)
    own_site.start()
    assert own_site.inspect("steady")["State"]["StartedAt"] == started
    assert own_site.held()["0"] == ["steady"]


def test_the_database_itself_refuses_a_second_grant(own_site: Site) -> None:
    own_site.start()
    own_site.run("create", "x1", "--image", BUSYBOX, "--gpu-kind", "full")
    own_site.stop()
    connection = sqlite3.connect(own_site.state / "ds01.sqlite")
    held = connection.execute("SELECT count(*) FROM allocations WHERE state != 'released'").fetchone()[0]
    connection.close()
    assert held == 1
