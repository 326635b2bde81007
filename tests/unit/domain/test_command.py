"""The docker command that a dry run prints."""

import csv
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from ds01.domain.containers.command import docker_create_command
from ds01.domain.containers.container import ContainerSpec, Mount, PublishedPort, ResourceLimits
from ds01.domain.containers.pid1 import ENTRYPOINT
from ds01.domain.name import EngineName

SPEC = ContainerSpec(
    engine_name=EngineName("pt", 1001),
    image="aimehub/pytorch:pt._.1001",
    uid=1001,
    gid=100,
    supplementary_gids=(27, 44),
    hostname="pt",
    entrypoint=ENTRYPOINT,
    environment={"A": "b c", "EMPTY": "", "Q": 'it\'s "so"\n$HOME'},
    labels={"aime.mlc": "alice.b@school.lan"},
    mounts=(Mount('/home/a,"b/w', "/workspace"), Mount("/srv/my data", "/data", is_read_only=True)),
    gpu_uuids=("GPU-1", "MIG-2"),
    limits=ResourceLimits(2_500_000_001, 2**30, 2**30, 3 * 2**29, 4096, "/ds01/u1001", {"memlock": -1, "stack": 64}),
    network="host",
    ports=(PublishedPort(80), PublishedPort(53, 20053, "udp")),
)
SWITCHES = {"--tty", "--interactive", "--init"}


def read(command: str) -> tuple[list[tuple[str, str]], str, list[str]]:
    """Read a command as a POSIX shell and docker would: options, image, arguments."""
    words = shlex.split(command)
    assert words[:2] == ["docker", "create"]
    options: list[tuple[str, str]] = []
    position = 2
    while words[position].startswith("--"):
        word = words[position]
        if word in SWITCHES or "=" in word:
            name, _, value = word.partition("=")
            options.append((name, value))
            position += 1
        else:
            options.append((word, words[position + 1]))
            position += 2
    return options, words[position], words[position + 1 :]


def test_the_command_says_everything_that_the_engine_is_asked_for() -> None:
    options, image, arguments = read(docker_create_command(SPEC))
    assert image == SPEC.image
    assert ["sh", *arguments] == list(ENTRYPOINT)
    found = {name: [value for other, value in options if other == name] for name, _ in options}
    assert found["--name"] == ["pt._.1001"]
    assert found["--user"] == ["1001:100"]
    assert found["--group-add"] == ["27", "44"]
    assert found["--gpus"] == ['"device=GPU-1,MIG-2"']
    assert found["--cpus"] == ["2.500000001"]
    assert found["--memory"] == found["--memory-swap"] == ["1g"]
    assert found["--shm-size"] == ["1536m"]
    assert found["--pids-limit"] == ["4096"]
    assert found["--cgroup-parent"] == ["/ds01/u1001"]
    assert found["--ulimit"] == ["memlock=-1", "stack=64"]
    assert found["--network"] == ["host"]
    assert found["--publish"] == ["127.0.0.1::80/tcp", "127.0.0.1:20053:53/udp"]
    assert found["--env"] == [f"{name}={value}" for name, value in SPEC.environment.items()]
    assert found["--label"] == ["aime.mlc=alice.b@school.lan"]
    assert found["--entrypoint"] == ["sh"]
    assert found["--workdir"] == ["/workspace"]
    assert "--init" not in found


def test_gpus_that_a_name_stands_for_are_said_by_the_name() -> None:
    found = dict(read(docker_create_command(replace(SPEC, cdi_device="ds01.io/allocation=00ff")))[0])
    assert found["--device"] == "ds01.io/allocation=00ff"
    assert "--gpus" not in found


def test_memory_without_a_swap_limit_is_said_because_docker_would_take_twice_the_memory() -> None:
    spec = ContainerSpec(EngineName("pt", 1), "x", 1, 1, limits=ResourceLimits(memory_bytes=2**30))
    assert "--memory-swap=-1" in docker_create_command(spec)


def test_what_is_not_asked_for_is_not_said() -> None:
    spec = ContainerSpec(EngineName("pt", 1), "x", 1, 1, has_terminal=False, uses_init=True)
    assert docker_create_command(spec) == "docker create --name pt._.1 --init --user 1:1 --workdir /workspace x"


TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=30)


@given(
    st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,9}", fullmatch=True), TEXT, max_size=4), st.lists(TEXT, max_size=3)
)
def test_any_value_survives_the_shell(environment: dict[str, str], command: list[str]) -> None:
    spec = ContainerSpec(
        EngineName("pt", 1), "x", 1, 1, environment=environment, entrypoint=("sh",), command=tuple(command)
    )
    options, image, arguments = read(docker_create_command(spec))
    assert [value for name, value in options if name == "--env"] == [
        f"{key}={value}" for key, value in environment.items()
    ]
    assert (image, arguments) == ("x", command)


@given(TEXT, st.booleans())
def test_any_path_survives_dockers_csv(name: str, read_only: bool) -> None:
    mount = Mount(f"/srv/{name}", "/data", is_read_only=read_only)
    spec = ContainerSpec(EngineName("pt", 1), "x", 1, 1, mounts=(mount,))
    options, _, _ = read(docker_create_command(spec))
    (value,) = (value for name, value in options if name == "--mount")
    (fields,) = csv.reader([value], strict=True) if "\n" not in value else csv.reader(value.splitlines(keepends=True))
    assert fields == ["type=bind", f"source=/srv/{name}", "target=/data", *(["readonly"] if read_only else [])]


def test_a_real_docker_knows_every_option() -> None:
    docker = shutil.which("docker")
    if docker is None:
        assert os.environ.get("CI") != "true", "CI needs the docker command line"
        pytest.skip("no docker command line here")
    shown = subprocess.run([docker, "create", "--help"], capture_output=True, text=True, check=True, timeout=20).stdout
    known = set(re.findall(r"--[a-z][a-z-]*", shown))
    options, _, _ = read(docker_create_command(SPEC))
    assert {name for name, _ in options} | {"--init"} <= known
