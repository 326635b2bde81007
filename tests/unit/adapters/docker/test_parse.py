"""Documents of the engine as values of the domain."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ds01.adapters.docker.document import Document, parse_json
from ds01.adapters.docker.files import parse_path_stat
from ds01.adapters.docker.parse import (
    parse_details,
    parse_event,
    parse_exec,
    parse_image,
    parse_image_row,
    parse_info,
    parse_processes,
    parse_pull_progress,
    parse_summary,
)
from ds01.adapters.docker.stats import is_reading, parse_stats
from ds01.domain.containers.container import ContainerDetails, ContainerState, Mount, ResourceLimits
from ds01.domain.devices.attachment import DeviceRequest
from ds01.errors import BackendError
from tests.unit.adapters.docker.engine_documents import CONTAINER, EVENT, ID, IMAGE, IMAGE_ID, ROW, STATS, changed


def details(**changes: object) -> ContainerDetails:
    return parse_details(Document(changed(CONTAINER, **changes), "container"))


def test_a_running_container_is_read() -> None:
    found = details()
    assert (found.id, found.name, found.image_id, found.image) == (ID, "work._.1000", IMAGE_ID, "busybox")
    assert (found.state, found.pid, found.exit_code) == (ContainerState.RUNNING, 27811, None)
    assert found.created_at == datetime(2026, 11, 21, 23, 21, 3, 513365, UTC)
    assert found.started_at == datetime(2026, 11, 21, 23, 21, 3, 734641, UTC)
    assert found.finished_at is None
    assert (found.environment, found.labels, found.entrypoint, found.mounts) == ({}, {}, (), ())
    assert found.limits == ResourceLimits(shm_size_bytes=67108864)
    assert found.ip_address == "10.79.1.2"
    assert found.raw == CONTAINER


@pytest.mark.parametrize("state", list(ContainerState))
def test_every_state_of_the_engine_is_known_and_only_an_ended_program_has_a_status(state: ContainerState) -> None:
    found = details(State__Status=state.value, State__ExitCode=137)
    assert found.state is state
    assert found.exit_code == (None if state.has_processes else 137)


def test_a_container_that_could_not_start_says_why_and_never_ran() -> None:
    found = details(
        State__Status="created", State__ExitCode=128, State__Error="no device", State__StartedAt="0001-01-01T00:00:00Z"
    )
    assert (found.exit_code, found.error, found.started_at) == (None, "no device", None)


def test_an_unknown_state_is_an_error_and_never_none() -> None:
    with pytest.raises(BackendError, match="sleeping"):
        details(State__Status="sleeping")


def test_limits_are_read_as_the_engine_has_them() -> None:
    found = details(
        HostConfig__NanoCpus=1_500_000_000,
        HostConfig__Memory=1024,
        HostConfig__MemorySwap=-1,
        HostConfig__PidsLimit=-1,
        HostConfig__CgroupParent="ds01-1000.slice",
        HostConfig__Ulimits=[{"Name": "memlock", "Soft": -1, "Hard": -1}],
        HostConfig__StorageOpt={"size": "10000"},
    ).limits
    assert found == ResourceLimits(
        nano_cpus=1_500_000_000,
        memory_bytes=1024,
        shm_size_bytes=67108864,
        cgroup_parent="ds01-1000.slice",
        ulimits={"memlock": -1},
        storage_bytes=10_000,
    )


@pytest.mark.parametrize(
    ("quota", "period", "nano_cpus"), [(150_000, 100_000, 1_500_000_000), (50_000, 0, 500_000_000), (-1, 100_000, 0)]
)
def test_a_quota_is_a_number_of_cpus_too(quota: int, period: int, nano_cpus: int) -> None:
    found = details(HostConfig__CpuQuota=quota, HostConfig__CpuPeriod=period)
    assert found.limits.nano_cpus == nano_cpus


@pytest.mark.parametrize("size", ["120G", "²", ""])
def test_a_storage_limit_in_others_words_is_not_ours(size: str) -> None:
    assert details(HostConfig__StorageOpt={"size": size}).limits.storage_bytes == 0


def test_every_way_to_get_gpus_is_read() -> None:
    request = {
        "Driver": "",
        "Count": -1,
        "DeviceIDs": None,
        "Capabilities": [["gpu"], ["gpu", "utility"]],
        "Options": {},
    }
    cdi = {"Driver": "cdi", "Count": 0, "DeviceIDs": ["nvidia.com/gpu=0"], "Capabilities": None}
    found = details(
        HostConfig__DeviceRequests=[request, cdi],
        HostConfig__Runtime="nvidia",
        HostConfig__Privileged=True,
        HostConfig__Devices=[{"PathOnHost": "/dev/nvidia0", "PathInContainer": "/dev/nvidia0"}],
        Config__Env=["NVIDIA_VISIBLE_DEVICES=all"],
    ).attachment
    assert found.requests == (
        DeviceRequest("", -1, (), ("gpu", "utility")),
        DeviceRequest("cdi", 0, ("nvidia.com/gpu=0",), ()),
    )
    assert (found.runtime, found.visible_devices, found.is_privileged) == ("nvidia", "all", True)
    assert found.device_paths == ("/dev/nvidia0",)


def test_directories_of_the_host_are_mounts_and_volumes_are_not() -> None:
    mounts = [{**mount, "RW": False} for mount in ROW["Mounts"]]
    assert details(Mounts=mounts).mounts == (Mount("/home/alice", "/workspace", is_read_only=True),)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"Id": None}, "container.Id"),
        ({"Id": 5}, "container.Id"),
        ({"State": "running"}, "container.State"),
        ({"State__Status": None}, "container.State.Status"),
        ({"State__ExitCode": "0", "State__Status": "exited"}, "container.State.ExitCode"),
        ({"State__OOMKilled": "no"}, "container.State.OOMKilled"),
        ({"State__StartedAt": "yesterday"}, "container.State.StartedAt"),
        ({"Created": ""}, "container.Created"),
        ({"HostConfig__Memory": True}, "container.HostConfig.Memory"),
        ({"HostConfig__Memory": 1.5}, "container.HostConfig.Memory"),
        ({"HostConfig__Devices": [{}]}, r"container.HostConfig.Devices\[0\].PathOnHost"),
        ({"HostConfig__DeviceRequests": {"Count": -1}}, "container.HostConfig.DeviceRequests"),
        ({"Config__Env": ["A=b", 5]}, r"container.Config.Env\[1\]"),
        ({"Config__Labels": {"a": None}}, "container.Config.Labels.a"),
        ({"Mounts": [{"Type": "bind", "Source": "/a", "Destination": "/b"}]}, r"container.Mounts\[0\].RW"),
    ],
)
def test_a_field_of_another_shape_is_an_error_that_names_it(changes: dict[str, object], field: str) -> None:
    with pytest.raises(BackendError, match=rf"{field}, where"):
        details(**changes)


def test_a_row_of_the_list_is_read() -> None:
    row = parse_summary(Document(ROW, "row"))
    assert (row.id, row.name, row.image, row.state, row.status) == (
        ID,
        "work._.1000",
        "busybox",
        ContainerState.RUNNING,
        "Up 3 minutes",
    )
    assert row.created_at == datetime(2026, 11, 21, 23, 21, 3, 0, UTC)
    assert row.labels == {"aime.mlc": "alice"}
    assert row.mounts == {"/workspace": "/home/alice"}


@pytest.mark.parametrize(
    ("names", "name"), [(None, ""), ([], ""), (["/other/alias", "/own"], "own"), (["/own", "/other/alias"], "own")]
)
def test_the_name_is_the_containers_own_and_not_a_link(names: list[str] | None, name: str) -> None:
    assert parse_summary(Document(changed(ROW, Names=names), "row")).name == name


def test_a_time_outside_the_calendar_is_an_error() -> None:
    with pytest.raises(BackendError, match=r"row\.Created"):
        parse_summary(Document(changed(ROW, Created=10**20), "row"))
    with pytest.raises(BackendError, match="timeNano"):
        parse_event(Document(changed(EVENT, timeNano=10**30), "/events"))


def test_a_reading_is_read_as_docker_computes_it() -> None:
    stats = parse_stats(Document(STATS, "stats"))
    assert (stats.cpu_total_ns, stats.previous_cpu_total_ns) == (3000, 1000)
    assert (stats.system_cpu_ns, stats.previous_system_cpu_ns, stats.online_cpus) == (200_000, 100_000, 2)
    assert stats.cpu_ratio == pytest.approx(0.04)
    assert (stats.memory_used_bytes, stats.memory_limit_bytes) == (700, 5000)
    assert (stats.network_rx_bytes, stats.network_tx_bytes) == (843, 7)
    assert (stats.block_read_bytes, stats.block_write_bytes, stats.pids) == (101, 200, 3)


@pytest.mark.parametrize(
    ("details", "used"),
    [
        ({"total_inactive_file": 300, "inactive_file": 100}, 700),
        ({"inactive_file": 100}, 900),
        ({"inactive_file": 1000}, 1000),
        ({}, 1000),
    ],
)
def test_memory_is_counted_without_the_cache_on_both_cgroup_versions(details: dict[str, int], used: int) -> None:
    document = Document(changed(STATS, memory_stats__stats=details), "stats")
    assert parse_stats(document).memory_used_bytes == used


def test_the_hosts_network_has_no_figures() -> None:
    document = {key: value for key, value in STATS.items() if key != "networks"}
    stats = parse_stats(Document(document, "stats"))
    assert (stats.network_rx_bytes, stats.network_tx_bytes) == (None, None)


def test_an_older_engine_counts_the_cpus_one_by_one() -> None:
    assert parse_stats(Document(changed(STATS, cpu_stats__online_cpus=0), "stats")).online_cpus == 2


def test_the_zeros_of_a_stopped_container_are_no_reading() -> None:
    assert is_reading(Document(STATS, "stats"))
    assert not is_reading(Document({"read": "0001-01-01T00:00:00Z"}, "stats"))


def test_an_event_is_read_to_the_nanosecond() -> None:
    event = parse_event(Document(EVENT, "/events"))
    assert (event.kind, event.action, event.actor_id) == ("container", "die", ID)
    assert event.attributes["exitCode"] == "3"
    assert event.cursor == "1795303918.360598662"
    assert event.at == datetime(2026, 11, 21, 23, 31, 58, 360598, UTC)


def test_an_image_is_read() -> None:
    image = parse_image(Document(IMAGE, "image"))
    assert (image.id, image.tags, image.digests) == (IMAGE_ID, ("busybox:latest",), ("busybox@sha256:0123",))
    assert image.environment == {"PATH": "/bin", "A": "b=c"}
    assert (image.user, image.entrypoint, image.command) == ("1000", ("/init",), ("/bin/sh",))
    assert (image.stop_signal, image.working_dir, image.architecture) == ("SIGINT", "/w", "amd64")
    assert image.size_bytes == 1982422
    assert image.created_at == datetime(2026, 11, 21, 23, 21, 3, 495292, UTC)


@pytest.mark.parametrize("created", ["", None, "0001-01-01T00:00:00Z"])
def test_an_image_may_not_know_when_it_was_built(created: str | None) -> None:
    assert parse_image(Document(changed(IMAGE, Created=created), "image")).created_at is None


def test_an_image_without_a_name_has_no_tags() -> None:
    row = {"Id": IMAGE_ID, "RepoTags": ["<none>:<none>"], "RepoDigests": None, "Created": 0, "Size": 5, "Labels": None}
    image = parse_image_row(Document(row, "row"))
    assert (image.tags, image.digests, image.created_at, image.size_bytes) == ((), (), None, 5)


@pytest.mark.parametrize(
    ("is_running", "exit_code", "expected"), [(True, None, None), (True, 0, None), (False, 0, 0), (False, None, None)]
)
def test_a_program_has_a_status_only_when_it_has_ended(
    is_running: bool, exit_code: int | None, expected: int | None
) -> None:
    document = {"ID": "1", "ContainerID": "2", "Running": is_running, "ExitCode": exit_code, "Pid": 7}
    assert parse_exec(Document(document, "exec")).exit_code == expected


def test_progress_of_a_pull_is_read() -> None:
    line = {"status": "Downloading", "progressDetail": {"current": 5, "total": 10}, "id": "0123"}
    step = parse_pull_progress(Document(line, "pull"))
    assert (step.layer, step.status, step.current_bytes, step.total_bytes) == ("0123", "Downloading", 5, 10)
    assert parse_pull_progress(Document({"status": "Pulling from x"}, "pull")).layer == ""


def test_processes_are_read_by_column() -> None:
    document = {"Titles": ["PID", "CMD"], "Processes": [["1", "sh -c x"], ["2", ""]]}
    assert parse_processes(Document(document, "top")) == [{"PID": "1", "CMD": "sh -c x"}, {"PID": "2", "CMD": ""}]
    with pytest.raises(BackendError, match="2 columns"):
        parse_processes(Document({"Titles": ["PID", "CMD"], "Processes": [["1"]]}, "top"))


def test_the_engine_says_what_it_is() -> None:
    document: dict[str, object] = {
        "ID": "X",
        "Name": "host",
        "ServerVersion": "20.10.24",
        "NCPU": 2,
        "MemTotal": 5,
        "CgroupDriver": "systemd",
        "CgroupVersion": "2",
        "Driver": "overlay2",
        "Runtimes": {"runc": {}, "nvidia": {}},
    }
    info = parse_info(Document(document, "/info"), (1, 41))
    assert (info.cgroup_driver, info.cgroup_version, info.runtimes) == ("systemd", 2, ("nvidia", "runc"))
    assert (info.cpus, info.memory_bytes, info.api_version) == (2, 5, (1, 41))
    assert info.cdi_folders == (), "one that says nothing of CDI has none"
    for folders, found in ((None, ()), ([], ()), (["/etc/cdi", "/var/run/cdi"], ("/etc/cdi", "/var/run/cdi"))):
        document = {**document, "CDISpecDirs": folders}
        assert parse_info(Document(document, "/info"), (1, 45)).cdi_folders == found
    assert (info.data_root, info.has_containerd_store) == ("", False)
    facts = {"DockerRootDir": "/var/lib/docker", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
    info = parse_info(Document({**document, **facts}, "/info"), (1, 41))
    assert (info.data_root, info.has_containerd_store) == ("/var/lib/docker", True)
    overlay = {"DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]]}
    assert not parse_info(Document({**document, **overlay}, "/info"), (1, 41)).has_containerd_store


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"nul", b"[" * 100_000])
def test_what_is_not_json_is_an_error(data: bytes) -> None:
    with pytest.raises(BackendError, match="not JSON"):
        parse_json(data, "/info")


@pytest.mark.parametrize("header", ["", "no base64!", "bm8ganNvbg==", "e30="])
def test_a_broken_description_of_a_path_is_an_error(header: str) -> None:
    with pytest.raises(BackendError):
        parse_path_stat(header)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from(["Id", "State", "Config", "HostConfig", "Mounts", "NetworkSettings"]), value=JSON)
def test_no_document_breaks_the_parser(field: str, value: object) -> None:
    try:
        parse_details(Document(changed(CONTAINER, **{field: value}), "container"))
    except BackendError:
        return
