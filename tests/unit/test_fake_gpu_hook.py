"""The stand-in for NVIDIA's container hook, run as the engine runs it, on a container bundle made by hand."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

HOOK = Path(__file__).resolve().parents[2] / "dev" / "fake-gpu" / "container_hook.py"
MACHINE = """\
system driver=570.133.20 cuda=12080
gpu name="NVIDIA A100-SXM4-80GB" mem=81920 mig=0
gpu uuid=GPU-one name="NVIDIA A100-SXM4-80GB" mem=81920 mig=1  # cut
gpu uuid=GPU-two name="NVIDIA L40S" mem=46068
mig gpu=1 slot=0 gi=1 uuid=MIG-a profile=3g.40gb
mig gpu=1 slot=1 gi=7 uuid=MIG-b profile=1g.10gb
mig gpu=2 slot=0 uuid=MIG-of-a-gpu-without-mig-mode profile=1g.10gb
proc gpu=0 pid=4711 mem=500
fail func=nvmlDeviceGetUtilizationRates gpu=2 ret=999
fail func=nvmlDeviceGetTemperature gpu=0 ret=3
"""


@dataclass
class Bundle:
    """A container about to start."""

    folder: Path

    @property
    def rootfs(self) -> Path:
        return self.folder / "rootfs"

    @property
    def machine(self) -> Path:
        return self.folder / "machine.conf"

    def start(self, visible: str | None) -> "subprocess.CompletedProcess[str]":
        env = [] if visible is None else [f"NVIDIA_VISIBLE_DEVICES={visible}"]
        config = {"root": {"path": "rootfs"}, "process": {"env": ["PATH=/bin", *env]}}
        (self.folder / "config.json").write_text(json.dumps(config))
        state = json.dumps({"id": "c1", "bundle": str(self.folder)})
        command = [sys.executable, "-I", "-S", str(HOOK), str(self.folder / "settings.json"), "prestart"]
        return subprocess.run(command, input=state, capture_output=True, text=True, check=False, env={})

    def seen(self, visible: str) -> list[str]:
        done = self.start(visible)
        assert done.returncode == 0, done.stderr
        return (self.rootfs / "etc/fake_nvml.conf").read_text().splitlines()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    bundle = Bundle(tmp_path)
    (bundle.rootfs / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    bundle.machine.write_text(MACHINE)
    (tmp_path / "library").write_bytes(b"the library")
    (tmp_path / "smi").write_bytes(b"the command")
    settings = {"topology": str(bundle.machine), "library": str(tmp_path / "library"), "smi": str(tmp_path / "smi")}
    (tmp_path / "settings.json").write_text(json.dumps({**settings, "log": str(tmp_path / "hook.log")}))
    return bundle


def test_a_container_sees_only_the_gpu_it_was_given_and_no_processes(bundle: Bundle) -> None:
    assert bundle.seen("GPU-two") == [
        "system driver=570.133.20 cuda=12080",
        'gpu uuid=GPU-two name="NVIDIA L40S" mem=46068 minor=2 bus=00000000:03:00.0',
        "fail func=nvmlDeviceGetUtilizationRates gpu=0 ret=999",
    ]


def test_a_mig_device_brings_its_gpu_and_none_of_its_neighbours(bundle: Bundle) -> None:
    seen = bundle.seen("MIG-b")
    assert [line.split()[0] for line in seen] == ["system", "gpu", "mig"]
    assert "uuid=GPU-one" in seen[1]
    assert seen[2] == "mig gpu=0 slot=0 gi=7 uuid=MIG-b profile=1g.10gb"


def test_a_whole_gpu_brings_all_its_mig_devices(bundle: Bundle) -> None:
    assert [line.split()[0] for line in bundle.seen("1")] == ["system", "gpu", "mig", "mig"]


def test_a_gpu_without_a_uuid_keeps_the_one_it_has_by_its_place_on_the_machine(bundle: Bundle) -> None:
    bundle.machine.write_text("gpu uuid=GPU-first\ngpu mem=1000\n")
    assert bundle.seen("1") == [
        "gpu mem=1000 uuid=GPU-00000000-0000-0000-0000-000000000001 minor=1 bus=00000000:02:00.0"
    ]


@pytest.mark.parametrize("visible", ["all", "0,1,2"])
def test_everything_means_every_gpu(bundle: Bundle, visible: str) -> None:
    assert [line.split()[0] for line in bundle.seen(visible)].count("gpu") == 3


@pytest.mark.parametrize("device", ["GPU-nope", "3", "1:2", "2:0", "MIG-of-a-gpu-without-mig-mode"])
def test_an_unknown_device_refuses_the_start_with_nvidias_own_words(bundle: Bundle, device: str) -> None:
    done = bundle.start(f"0,{device}")
    assert done.returncode == 1
    assert done.stderr == f"nvidia-container-cli: device error: {device}: unknown device: unknown\n"
    assert not (bundle.rootfs / "etc").exists()


def test_a_device_that_left_the_machine_is_unknown_from_then_on(bundle: Bundle) -> None:
    assert bundle.start("GPU-two").returncode == 0
    bundle.machine.write_text("gpu uuid=GPU-one\n")
    assert bundle.start("GPU-two").returncode == 1


@pytest.mark.parametrize("visible", [None, "", "none", "void"])
def test_a_container_without_gpus_is_left_as_it_is(bundle: Bundle, visible: str | None) -> None:
    assert bundle.start(visible).returncode == 0
    assert not (bundle.rootfs / "etc").exists()


def test_library_and_command_lie_where_the_image_looks_for_them(bundle: Bundle) -> None:
    assert bundle.start("0").returncode == 0
    assert (bundle.rootfs / "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1").read_bytes() == b"the library"
    smi = bundle.rootfs / "usr/bin/nvidia-smi"
    assert (smi.read_bytes(), smi.stat().st_mode & 0o777) == (b"the command", 0o755)


def test_a_link_in_the_image_does_not_lead_a_write_out_of_it(bundle: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (bundle.rootfs / "etc").symlink_to(outside)
    done = bundle.start("0")
    assert done.returncode == 1
    assert "leads out of the container" in done.stderr
    assert list(outside.iterdir()) == []
