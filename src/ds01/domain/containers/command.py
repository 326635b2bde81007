"""The `docker` command that would have the same effect: what `--dry-run` prints."""

import shlex
from collections.abc import Iterable

from ds01.domain.containers.container import ContainerSpec, Mount
from ds01.units import format_cpus, format_size_exact


def docker_create_command(spec: ContainerSpec) -> str:
    """Return the exact `docker create` for a spec, quoted for a POSIX shell."""
    words = ["docker", "create", "--name", str(spec.engine_name)]
    if spec.has_terminal:
        words += ["--tty", "--interactive"]
    if spec.uses_init:
        words.append("--init")
    if spec.stop_signal:
        words += ["--stop-signal", spec.stop_signal]
    words += ["--user", f"{spec.uid}:{spec.gid}"]
    words += _each("--group-add", map(str, spec.supplementary_gids))
    if spec.hostname:
        words += ["--hostname", spec.hostname]
    words += ["--workdir", spec.working_dir]
    words += _limit_flags(spec)
    if spec.cdi_device:
        words += ["--device", spec.cdi_device]
    elif spec.gpu_uuids:
        words += ["--gpus", '"device=' + ",".join(spec.gpu_uuids) + '"']
    for mount in spec.mounts:
        words += ["--mount", _mount(mount)]
    if spec.network:
        words += ["--network", spec.network]
    words += _each(
        "--publish", (f"127.0.0.1:{port.host_port or ''}:{port.container_port}/{port.protocol}" for port in spec.ports)
    )
    words += _each("--env", (f"{name}={value}" for name, value in spec.environment.items()))
    words += _each("--label", (f"{name}={value}" for name, value in spec.labels.items()))
    if spec.entrypoint:
        words += ["--entrypoint", spec.entrypoint[0]]
    words.append(spec.image)
    words += [*spec.entrypoint[1:], *spec.command]
    return shlex.join(words)


def _each(flag: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _limit_flags(spec: ContainerSpec) -> list[str]:
    limits = spec.limits
    flags: list[str] = []
    if limits.nano_cpus:
        flags.append(f"--cpus={format_cpus(limits.nano_cpus / 1e9)}")
    sizes = (
        ("memory", limits.memory_bytes),
        ("memory-swap", limits.memory_swap_bytes),
        ("shm-size", limits.shm_size_bytes),
    )
    flags += [f"--{flag}={format_size_exact(value)}" for flag, value in sizes if value]
    if limits.memory_bytes and not limits.memory_swap_bytes:
        flags.append("--memory-swap=-1")  # without it, docker takes twice the memory
    if limits.pids_limit:
        flags.append(f"--pids-limit={limits.pids_limit}")
    if limits.cgroup_parent:
        flags.append(f"--cgroup-parent={limits.cgroup_parent}")
    flags += [f"--ulimit={name}={value}" for name, value in limits.ulimits.items()]
    return flags


def _mount(mount: Mount) -> str:
    """Docker reads --mount as CSV: a field with a comma, a quote or a line break is quoted, quotes doubled."""
    fields = ["type=bind", f"source={mount.source}", f"target={mount.target}"]
    if mount.is_read_only:
        fields.append("readonly")
    return ",".join('"' + text.replace('"', '""') + '"' if set(',"\r\n') & set(text) else text for text in fields)
