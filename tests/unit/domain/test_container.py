"""What was asked for, compared with what the engine made."""

import dataclasses
from typing import Any

import pytest

from ds01.domain.containers.container import (
    ContainerDetails,
    ContainerSpec,
    ContainerState,
    ContainerStats,
    Mount,
    ResourceLimits,
    differences,
)
from ds01.domain.devices.attachment import AttachmentFacts, DeviceRequest
from ds01.domain.name import EngineName
from tests.unit.domain.machines import START

SPEC = ContainerSpec(
    engine_name=EngineName("pt", 1001),
    image="aimehub/pytorch:pt._.1001",
    uid=1001,
    gid=100,
    labels={"aime.mlc": "alice"},
    mounts=(Mount("/home/alice/workspace/pt", "/workspace"), Mount("/srv/data", "/data", is_read_only=True)),
    gpu_uuids=("GPU-2", "GPU-1"),
    limits=ResourceLimits(2 * 10**9, 2**30, 2**30, 2**29, 4096, "/ds01/u1001", {"memlock": -1}),
)
MADE = ContainerDetails(
    id="a" * 64,
    name="pt._.1001",
    image_id="sha256:1",
    image=SPEC.image,
    state=ContainerState.CREATED,
    exit_code=None,
    error="",
    is_oom_killed=False,
    pid=0,
    created_at=START,
    started_at=None,
    finished_at=None,
    labels={"aime.mlc": "alice", "inherited": "x"},
    environment={},
    user="1001:100",
    entrypoint=(),
    mounts=SPEC.mounts,
    limits=SPEC.limits,
    attachment=AttachmentFacts((DeviceRequest("", 0, ("GPU-1", "GPU-2"), ("gpu",)),)),
    ip_address="",
    raw={},
)


def test_what_was_made_as_asked_has_no_differences() -> None:
    assert differences(SPEC, MADE) == []


def limited(**values: Any) -> ContainerDetails:
    return dataclasses.replace(MADE, limits=dataclasses.replace(MADE.limits, **values))


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (limited(nano_cpus=0), "cpus"),
        (limited(memory_bytes=0), "memory"),
        (limited(memory_swap_bytes=0), "memory and swap"),
        (limited(shm_size_bytes=64 * 2**20), "shared memory"),
        (limited(pids_limit=0), "pids"),
        (limited(cgroup_parent=""), "cgroup parent"),
        (limited(ulimits={}), "ulimits"),
        (dataclasses.replace(MADE, user="0:0"), "user"),
        (dataclasses.replace(MADE, user=""), "root"),
        (dataclasses.replace(MADE, mounts=SPEC.mounts[:1]), "/data"),
        (dataclasses.replace(MADE, mounts=(SPEC.mounts[0], Mount("/srv/data", "/data"))), "/data"),
        (dataclasses.replace(MADE, labels={}), "aime.mlc"),
        (dataclasses.replace(MADE, attachment=AttachmentFacts()), "GPUs"),
        (dataclasses.replace(MADE, attachment=AttachmentFacts((DeviceRequest("", 0, ("GPU-1",)),))), "GPUs"),
        (dataclasses.replace(MADE, attachment=AttachmentFacts((DeviceRequest("", 0, ("GPU-1", "GPU-3")),))), "GPUs"),
    ],
)
def test_every_difference_is_said(made: ContainerDetails, word: str) -> None:
    (said,) = differences(SPEC, made)
    assert word in said


def test_devices_by_number_are_a_difference_for_a_container_without_gpus() -> None:
    spec = dataclasses.replace(SPEC, gpu_uuids=())
    everything = dataclasses.replace(MADE, attachment=AttachmentFacts((DeviceRequest("", -1, (), ("gpu",)),)))
    (said,) = differences(spec, everything)
    assert "GPUs: asked for none" in said


def test_processes_can_run_in_exactly_these_states() -> None:
    assert {state.value for state in ContainerState if state.has_processes} == {"running", "paused", "restarting"}


STATS = ContainerStats(
    cpu_total_ns=3_000,
    system_cpu_ns=20_000,
    online_cpus=4,
    previous_cpu_total_ns=1_000,
    previous_system_cpu_ns=12_000,
    memory_used_bytes=0,
    memory_limit_bytes=1,
    network_rx_bytes=None,
    network_tx_bytes=None,
    block_read_bytes=0,
    block_write_bytes=0,
    pids=1,
)


def test_cpus_in_use_are_computed_as_docker_does() -> None:
    assert STATS.cpu_ratio == 1.0


@pytest.mark.parametrize("values", [{"previous_system_cpu_ns": 0}, {"system_cpu_ns": 12_000}, {"cpu_total_ns": 0}])
def test_without_two_readings_the_figure_is_unknown_and_not_0(values: dict[str, int]) -> None:
    assert dataclasses.replace(STATS, **values).cpu_ratio is None
