"""The built test double of the NVIDIA Management Library, for contract tests."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from ds01.adapters.nvml.devices import NvmlDevices, Patience

SOURCE = Path(__file__).resolve().parents[2] / "dev" / "fake-nvml"

WHOLE = "GPU-5a1c2e9f-7b34-4d18-9c60-2f8e4a7d1b03"
CUT = "GPU-c7e08b42-19d5-4f6a-8e21-63b95d0fa47c"
MIG_3G = "MIG-3f2d8c61-0a97-5e4b-b8d2-91c7e6054af8"
MIG_1G = "MIG-84b1f07e-d35c-5a29-9e46-0c8f2ad71b65"
OTHER_MIG_1G = "MIG-d96a4e13-728f-5bc0-a1f7-4e3b85c02d9a"


def require(tool: str) -> None:
    """Skip without a tool, but fail in CI: there a missing tool is a mistake of the set-up."""
    if shutil.which(tool) is None:
        reason = f"{tool} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def build(folder: Path) -> Path:
    """Build library and nvidia-smi into `folder` and return it."""
    require("make")
    if not (SOURCE.parent / "cc").exists():
        require("cc")
    subprocess.run(["make", "-C", SOURCE, f"OUT={folder}"], check=True, stdout=subprocess.DEVNULL)
    return folder


@dataclass(frozen=True, slots=True)
class FakeMachine:
    """A machine described by a file, as the library sees it.

    Attributes:
        library: Folder with libnvidia-ml.so.1 and nvidia-smi.
        configuration: The file.
    """

    library: Path
    configuration: Path

    def write(self, text: str) -> None:
        """Replace the description the way it may be done while programs run."""
        new = self.configuration.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.configuration)

    def read(self) -> str:
        return self.configuration.read_text(encoding="utf-8")

    def append(self, line: str) -> None:
        self.write(f"{self.read()}\n{line}\n")

    def environment(self) -> Mapping[str, str]:
        """Return an environment in which programs meet this machine."""
        return {**os.environ, "LD_LIBRARY_PATH": str(self.library), "FAKE_NVML_CONF": str(self.configuration)}


def example_machine(library: Path, folder: Path) -> FakeMachine:
    """Return the machine of example.conf: one whole card, one with a 3g.20gb and two 1g.5gb."""
    machine = FakeMachine(library, folder / "gpus.conf")
    machine.write((SOURCE / "example.conf").read_text(encoding="utf-8"))
    return machine


class HandClock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class OpenDevices(Protocol):
    """Makes an adapter over the pretended library."""

    def __call__(self, patience: Patience | None = None, **changes: str) -> NvmlDevices:
        """Return one that is closed at the end of the test; `changes` are variables of its child."""
        ...


def plug(devices: Path, address: str, *, vendor: str, device_class: str) -> None:
    """Put a device on a pretended PCI bus."""
    (devices / address).mkdir(parents=True)
    (devices / address / "vendor").write_text(f"{vendor}\n")
    (devices / address / "class").write_text(f"{device_class}\n")
