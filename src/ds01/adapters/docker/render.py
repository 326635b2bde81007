"""Values of the domain -> bodies of the Engine API.

Source of all names: Engine API 1.41, ContainerCreate, ContainerExec, ExecStart.
"""

from collections.abc import Mapping

from ds01.domain.containers.container import ContainerSpec, PublishedPort, ResourceLimits
from ds01.service.ports import ExecSpec

LOOPBACK = "127.0.0.1"
_UNLIMITED = -1


# An exec cannot be attached again, so leaving it by keys would only lose it; and with docker's own keys, Ctrl-P waits
# for a second key in every shell. The keys that leave a console are the client's, who knows then that they were typed.
# Nobody types these.
NO_DETACH_KEYS = "ctrl-_,ctrl-_,ctrl-_,ctrl-_"


def render_container(spec: ContainerSpec) -> dict[str, object]:
    """Return the body of a creation. Whatever an engine's own configuration could default otherwise is said."""
    body: dict[str, object] = {
        "Hostname": spec.hostname,
        "User": f"{spec.uid}:{spec.gid}",
        "Tty": spec.has_terminal,
        "OpenStdin": spec.has_terminal,
        "StdinOnce": False,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Env": render_environment(spec.environment),
        # null, not []: the image's own is meant
        "Entrypoint": list(spec.entrypoint) or None,
        "Cmd": list(spec.command) or None,
        "Image": spec.image,
        "WorkingDir": spec.working_dir,
        "Labels": dict(spec.labels),
        "ExposedPorts": {_port(port): {} for port in spec.ports},
        "HostConfig": _host_config(spec),
    }
    if spec.stop_signal:
        body["StopSignal"] = spec.stop_signal
    return body


def _host_config(spec: ContainerSpec) -> dict[str, object]:
    body: dict[str, object] = {
        **_limits(spec.limits),
        "Mounts": [
            {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": mount.is_read_only}
            for mount in spec.mounts
        ],
        "DeviceRequests": _device_requests(spec),
        "GroupAdd": [str(gid) for gid in spec.supplementary_gids],
        "NetworkMode": spec.network or "bridge",
        "PortBindings": _port_bindings(spec.ports),
        "PublishAllPorts": False,
        "IpcMode": "private",
        "Privileged": False,
        "Init": spec.uses_init,
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no"},
    }
    return body


def _limits(limits: ResourceLimits) -> dict[str, object]:
    body: dict[str, object] = {
        "NanoCpus": limits.nano_cpus,
        "Memory": limits.memory_bytes,
        "MemorySwap": _memory_swap(limits),
        "PidsLimit": limits.pids_limit or _UNLIMITED,
        "CgroupParent": limits.cgroup_parent,
        "Ulimits": [{"Name": name, "Soft": value, "Hard": value} for name, value in sorted(limits.ulimits.items())],
    }
    if limits.shm_size_bytes:
        body["ShmSize"] = limits.shm_size_bytes
    if limits.storage_bytes:
        body["StorageOpt"] = {"size": str(limits.storage_bytes)}
    return body


def render_update(limits: ResourceLimits) -> dict[str, object]:
    """Return the body of an update; limits of 0 are left out, so that they stay. Source: API 1.41, ContainerUpdate."""
    body: dict[str, object] = {}
    if limits.nano_cpus:
        body["NanoCpus"] = limits.nano_cpus
    if limits.memory_bytes:
        # always both: the engine refuses a memory limit above the swap limit that is there
        body |= {"Memory": limits.memory_bytes, "MemorySwap": _memory_swap(limits)}
    if limits.pids_limit:
        body["PidsLimit"] = limits.pids_limit
    return body


def _memory_swap(limits: ResourceLimits) -> int:
    """The engine reads 0 beside a memory limit as "twice the memory"; unlimited is -1."""
    return _UNLIMITED if limits.memory_bytes and not limits.memory_swap_bytes else limits.memory_swap_bytes


def _device_requests(spec: ContainerSpec) -> list[dict[str, object]]:
    if spec.cdi_device:  # Source: Engine API 1.44, DeviceRequest
        return [{"Driver": "cdi", "Count": 0, "DeviceIDs": [spec.cdi_device]}]
    if not spec.gpu_uuids:
        return []
    return [{"Driver": "", "Count": 0, "DeviceIDs": list(spec.gpu_uuids), "Capabilities": [["gpu"]], "Options": {}}]


def _port_bindings(ports: tuple[PublishedPort, ...]) -> dict[str, list[dict[str, str]]]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        host_port = str(port.host_port) if port.host_port else ""
        bindings.setdefault(_port(port), []).append({"HostIp": LOOPBACK, "HostPort": host_port})
    return bindings


def _port(port: PublishedPort) -> str:
    return f"{port.container_port}/{port.protocol}"


def render_environment(environment: Mapping[str, str]) -> list[str]:
    """Return variables as `NAME=value`."""
    return [f"{name}={value}" for name, value in environment.items()]


def render_exec(spec: ExecSpec) -> dict[str, object]:
    """Return the body that prepares a program in a container."""
    return {
        "AttachStdin": spec.has_stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": spec.has_terminal,
        "Cmd": list(spec.command),
        "Env": render_environment(spec.environment),
        "User": spec.user,
        "WorkingDir": spec.working_dir,
        "Privileged": False,
        "DetachKeys": NO_DETACH_KEYS,
    }


def render_exec_start(*, has_terminal: bool) -> dict[str, object]:
    """Return the body that starts a prepared program. Never detached: the engine would keep speaking HTTP."""
    return {"Detach": False, "Tty": has_terminal}
