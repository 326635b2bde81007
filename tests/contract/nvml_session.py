"""A process that holds the pretended library with the vendor's binding, and its nvidia-smi."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.contract.nvml_double import FakeMachine

# Runs in the other process: one expression a line in, one JSON answer a line out.
PROGRAM = """
import json, sys
import pynvml
from ctypes import byref, c_uint
from pynvml import *

kept = {}

def keep(name, value):
    kept[name] = value

def gpu(index):
    return nvmlDeviceGetHandleByIndex(index)

def mig(index, slot):
    return nvmlDeviceGetMigDeviceHandleByIndex(gpu(index), slot)

def make(index, profile, start=None):
    # Make a GPU instance and return what it is.
    if start is None:
        instance = nvmlDeviceCreateGpuInstance(gpu(index), profile)
    else:
        place = byref(c_nvmlGpuInstancePlacement_t(start, 0))
        instance = nvmlDeviceCreateGpuInstanceWithPlacement(gpu(index), profile, place)
    kept["instance"] = instance
    info = nvmlGpuInstanceGetInfo(instance)
    return [info.id, info.placement.start, info.placement.size]

def places(index, profile):
    # Return the places of a profile, taken or not.
    count = c_uint(0)
    nvmlDeviceGetGpuInstancePossiblePlacements(gpu(index), profile, None, byref(count))
    found = (c_nvmlGpuInstancePlacement_t * count.value)()
    nvmlDeviceGetGpuInstancePossiblePlacements(gpu(index), profile, found, byref(count))
    return [place.start for place in found]

def action(index):
    # Return what the driver wants done with a card.
    (field,) = nvmlDeviceGetFieldValues(gpu(index), [NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    return [field.nvmlReturn, field.value.ullVal]

def event(milliseconds):
    data = nvmlEventSetWait_v2(kept["set"], milliseconds)
    return [nvmlDeviceGetIndex(data.device), data.eventType, data.eventData]

for line in sys.stdin:
    try:
        answer = {"value": eval(line)}
    except NVMLError as error:
        answer = {"code": error.value, "text": str(error)}
    print(json.dumps(answer), flush=True)
"""


class NvmlCallError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Session:
    """A process that holds the library, with the binding loaded."""

    def __init__(self, machine: FakeMachine) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=machine.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self, expression: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def ask(self, expression: str) -> Any:
        answer = self.answer(expression)
        if "code" in answer:
            raise NvmlCallError(answer["code"], answer["text"])
        return answer["value"]

    def code_of(self, expression: str) -> int:
        """Return the error code that the expression ends with."""
        with pytest.raises(NvmlCallError) as failure:
            self.ask(expression)
        return failure.value.code

    def close(self) -> None:
        self.process.communicate()


def smi(machine: FakeMachine, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [machine.library / "nvidia-smi", *arguments],
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
