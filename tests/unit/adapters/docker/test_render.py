"""Bodies for the engine."""

import json
from dataclasses import replace

from ds01.adapters.docker.render import NO_DETACH_KEYS, render_container, render_exec, render_exec_start
from ds01.domain.containers.container import ContainerSpec, Mount, PublishedPort, ResourceLimits
from ds01.domain.name import EngineName
from ds01.service.ports import ExecSpec

PLAIN = ContainerSpec(engine_name=EngineName("work", 1000), image="image", uid=1000, gid=1001)


WHOLE = replace(
    PLAIN,
    supplementary_gids=(27, 100),
    hostname="work",
    entrypoint=("sh", "-c", "loop"),
    command=("one",),
    environment={"A": "1", "B": "x=y, z"},
    labels={"aime.mlc": "alice"},
    mounts=(Mount("/home/alice/a:b,c", "/workspace"), Mount("/data", "/data", is_read_only=True)),
    gpu_uuids=("GPU-1", "MIG-2"),
    limits=ResourceLimits(
        nano_cpus=1_500_000_000,
        memory_bytes=1024,
        memory_swap_bytes=2048,
        shm_size_bytes=512,
        pids_limit=4096,
        cgroup_parent="ds01-1000.slice",
        ulimits={"nofile": 1024, "memlock": -1},
        storage_bytes=10_000,
    ),
    network="lab",
    ports=(PublishedPort(8080, 18080), PublishedPort(8080, 0), PublishedPort(53, 1053, "udp")),
    uses_init=True,
    working_dir="/workspace",
)


def test_a_whole_container_is_rendered_in_the_engines_words() -> None:
    body = render_container(WHOLE)
    assert json.loads(json.dumps(body)) == body
    del body["HostConfig"]
    assert body == {
        "Hostname": "work",
        "User": "1000:1001",
        "Tty": True,
        "OpenStdin": True,
        "StdinOnce": False,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Env": ["A=1", "B=x=y, z"],
        "Entrypoint": ["sh", "-c", "loop"],
        "Cmd": ["one"],
        "Image": "image",
        "WorkingDir": "/workspace",
        "Labels": {"aime.mlc": "alice"},
        "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
    }


def test_limits_mounts_devices_and_ports_are_rendered_in_the_engines_words() -> None:
    host = render_container(WHOLE)["HostConfig"]
    assert host == {
        "NanoCpus": 1_500_000_000,
        "Memory": 1024,
        "MemorySwap": 2048,
        "ShmSize": 512,
        "PidsLimit": 4096,
        "CgroupParent": "ds01-1000.slice",
        "Ulimits": [{"Name": "memlock", "Soft": -1, "Hard": -1}, {"Name": "nofile", "Soft": 1024, "Hard": 1024}],
        "StorageOpt": {"size": "10000"},
        "Mounts": [
            {"Type": "bind", "Source": "/home/alice/a:b,c", "Target": "/workspace", "ReadOnly": False},
            {"Type": "bind", "Source": "/data", "Target": "/data", "ReadOnly": True},
        ],
        "DeviceRequests": [
            {"Driver": "", "Count": 0, "DeviceIDs": ["GPU-1", "MIG-2"], "Capabilities": [["gpu"]], "Options": {}}
        ],
        "GroupAdd": ["27", "100"],
        "NetworkMode": "lab",
        "PortBindings": {
            "8080/tcp": [
                {"HostIp": "127.0.0.1", "HostPort": "18080"},
                {"HostIp": "127.0.0.1", "HostPort": ""},
            ],
            "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "1053"}],
        },
        "PublishAllPorts": False,
        "IpcMode": "private",
        "Privileged": False,
        "Init": True,
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no"},
    }


def test_a_name_that_stands_for_gpus_is_asked_for_instead_of_them() -> None:
    host = render_container(replace(PLAIN, gpu_uuids=("GPU-1",), cdi_device="ds01.io/allocation=00ff"))["HostConfig"]
    assert isinstance(host, dict)
    assert host["DeviceRequests"] == [{"Driver": "cdi", "Count": 0, "DeviceIDs": ["ds01.io/allocation=00ff"]}]


def test_a_container_without_gpus_asks_for_none() -> None:
    host = render_container(PLAIN)["HostConfig"]
    assert isinstance(host, dict)
    assert host["DeviceRequests"] == []
    assert host["Privileged"] is False
    assert host["NetworkMode"] == "bridge"
    assert host["Init"] is False


def test_what_is_not_asked_for_is_the_images_own() -> None:
    body = render_container(PLAIN)
    assert (body["Entrypoint"], body["Cmd"]) == (None, None)


def test_unlimited_is_said_so_that_the_engine_does_not_take_a_default() -> None:
    host = render_container(replace(PLAIN, limits=ResourceLimits(memory_bytes=1024)))["HostConfig"]
    assert isinstance(host, dict)
    assert host["MemorySwap"] == -1
    assert host["PidsLimit"] == -1
    assert "ShmSize" not in host
    assert "StorageOpt" not in host


def test_no_memory_limit_means_no_swap_limit_either() -> None:
    host = render_container(PLAIN)["HostConfig"]
    assert isinstance(host, dict)
    assert (host["Memory"], host["MemorySwap"]) == (0, 0)


def test_a_program_is_never_privileged_and_never_detached() -> None:
    spec = ExecSpec(
        ("bash", "-l"), user="1000:1001", environment={"A": "b"}, working_dir="/w", has_terminal=True, has_stdin=True
    )
    assert render_exec(spec) == {
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": True,
        "Cmd": ["bash", "-l"],
        "Env": ["A=b"],
        "User": "1000:1001",
        "WorkingDir": "/w",
        "Privileged": False,
        "DetachKeys": NO_DETACH_KEYS,
    }
    assert render_exec_start(has_terminal=True) == {"Detach": False, "Tty": True}
