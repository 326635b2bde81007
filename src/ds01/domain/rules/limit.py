"""Limits: what a user may hold (quota) and what a container may use, each value with where it comes from.

None means unlimited, which is not 0 and not absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from types import MappingProxyType

from ds01.errors import InvalidRequestError, QuotaExceededError
from ds01.units import format_cpus, format_size, format_size_exact

UNLIMITED_TEXT = "unlimited"
BUILT_IN_ORIGIN = "built-in"
MACHINE_ORIGIN = "machine"
REQUEST_ORIGIN = "request"


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit that applies to a user and their containers. Names are those of the policy file.

    Attributes:
        max_gpus: Quota: devices of any size the user holds.
        max_gpu_equivalents: Quota: compute the user holds; a whole GPU is 1.0.
        max_gpus_per_container: Devices in one container.
        allow_full_gpu: False: MIG instances only.
        gpu_preference: Kind that is taken when the request says `any`: any, mig or full.
        max_cpus: CPUs of one container.
        memory: Memory of one container, bytes.
        memory_swap: Memory and swap together, bytes; equal to memory means no swap.
        shm_size: /dev/shm, bytes.
        pids_limit: Processes and threads of one container.
        max_containers: Quota: containers of the user.
        storage: Writable layer, bytes, where the storage driver can enforce it.
        time_limit: Running time of one grant.
        stop_on_last_exit: Leaving the last shell stops the container.
        sudo: Passwordless sudo inside.
        network: own or host.
        devices: What else may be shared: video, sound, render, and x11 for the display of whoever opens it.
        ulimits: Name to soft and hard value; -1 is unlimited.
        idle_timeout: Idle time after which a container is stopped.
        gpu_hold_after_stop: How long a stopped container keeps its GPUs. None: until it is removed.
        container_hold_after_stop: How long a stopped container stays. None: until its owner removes it.
        priority: 0 to 100.
        mounts: Site folders offered read-only at /data and /models.
    """

    max_gpus: int | None = None
    max_gpu_equivalents: float | None = None
    max_gpus_per_container: int | None = None
    allow_full_gpu: bool = True
    gpu_preference: str = "any"
    max_cpus: float | None = None
    memory: int | None = None
    memory_swap: int | None = None
    shm_size: int | None = None
    pids_limit: int | None = None
    max_containers: int | None = None
    storage: int | None = None
    time_limit: timedelta | None = None
    stop_on_last_exit: bool = False
    sudo: bool = True
    network: str = "own"
    devices: tuple[str, ...] = ()
    ulimits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({"memlock": -1, "stack": 64 * 1024**2}))
    idle_timeout: timedelta | None = None
    gpu_hold_after_stop: timedelta | None = None
    container_hold_after_stop: timedelta | None = None
    priority: int = 1
    mounts: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({"data": None, "models": None}))


LIMIT_NAMES = tuple(item.name for item in fields(Limits))
LEAST_MEMORY = 6 * 1024**2
"""Least memory of a container. Source: moby, daemon/daemon_unix.go, linuxMinMemory."""
LEAST_CPUS = 0.01
"""Least CPUs of a container. Source: moby, daemon/daemon_unix.go, verifyPlatformContainerResources."""
LOWERED_BY_REQUEST = ("max_cpus", "memory", "memory_swap", "shm_size", "pids_limit")


@dataclass(frozen=True, slots=True)
class EffectiveLimits:
    """Limits of one user with the origin of every value.

    Attributes:
        values: The limits.
        origins: Limit name to where its value comes from: `built-in`, `file:line`, `machine` or `request`.
        group: The user's group.
    """

    values: Limits
    origins: Mapping[str, str]
    group: str


@dataclass(frozen=True, slots=True)
class MachineBounds:
    """What the engine's machine has, so that no limit promises more.

    Attributes:
        cpus: CPUs of the engine's machine.
        memory_bytes: Memory of the engine's machine.
        ulimits: Ulimits that the engine cannot set as high as wished, name to the highest value it can.
    """

    cpus: float
    memory_bytes: int
    ulimits: Mapping[str, int] = field(default_factory=dict)


def lower_to_machine(limits: EffectiveLimits, bounds: MachineBounds) -> EffectiveLimits:
    """Return the limits no higher than the machine; what was lowered has the origin `machine`.

    A total of memory and swap below the memory (a group that raises only the memory) counts as the memory: no swap.
    """
    changed: dict[str, object] = {}
    values = limits.values
    if values.max_cpus is None or values.max_cpus > bounds.cpus:
        changed["max_cpus"] = bounds.cpus
    memory = values.memory
    if memory is None or memory > bounds.memory_bytes:
        memory = changed["memory"] = bounds.memory_bytes
    if values.memory_swap is None or values.memory_swap > bounds.memory_bytes:
        changed["memory_swap"] = bounds.memory_bytes
    if values.shm_size is None or values.shm_size > memory:
        changed["shm_size"] = memory if values.shm_size is not None else memory // 2
    ulimits = {name: _lower_ulimit(value, bounds.ulimits.get(name)) for name, value in values.ulimits.items()}
    if ulimits != dict(values.ulimits):
        changed["ulimits"] = MappingProxyType(ulimits)
    origins = {**limits.origins, **dict.fromkeys(changed, MACHINE_ORIGIN)}
    if values.memory_swap is not None and values.memory_swap < memory:
        changed["memory_swap"] = memory
        origins["memory_swap"] = origins.get("memory", BUILT_IN_ORIGIN)
    if not changed:
        return limits
    return replace(limits, values=replace(values, **changed), origins=origins)  # type: ignore[arg-type]  # keys are field names


def _lower_ulimit(wished: int, highest: int | None) -> int:
    if highest is None or highest < 0:
        return wished
    return highest if wished < 0 else min(wished, highest)


def lower_to_request(limits: EffectiveLimits, wishes: Mapping[str, float | None]) -> EffectiveLimits:
    """Return the limits lowered by what the user asked for one container.

    Args:
        limits: What the policy gives.
        wishes: Some of `LOWERED_BY_REQUEST` to the wish; None wishes count for nothing.

    Raises:
        QuotaExceededError: A wish is above the policy's value; both figures are said.
        InvalidRequestError: A wish is below the least that an engine takes, or wishes contradict each other.
    """
    changed: dict[str, object] = {}
    for name, wish in wishes.items():
        if wish is None:
            continue
        _require_enough(name, wish)
        highest = getattr(limits.values, name)
        if highest is not None and wish > highest:
            raise QuotaExceededError(
                f"{_flag(name)} {_shown(name, wish)} is above your limit of {_shown(name, highest)} "
                f"(set by {limits.origins.get(name, BUILT_IN_ORIGIN)}).",
                hint=f"Ask for {_flag(name)} {_shown(name, highest)} or less; `ds01 limits` shows what you may use.",
                details={"limit": name, "requested": wish, "allowed": highest},
            )
        changed[name] = wish
    if "memory" in changed and "memory_swap" not in changed:
        changed["memory_swap"] = changed["memory"]  # no swap beyond the memory unless it is asked for
    if not changed:
        return limits
    origins = {**limits.origins, **dict.fromkeys(changed, REQUEST_ORIGIN)}
    lowered = replace(limits, values=replace(limits.values, **changed), origins=origins)  # type: ignore[arg-type]  # keys are field names
    return _consistent(lowered)


def _require_enough(name: str, wish: float) -> None:
    least = {"memory": LEAST_MEMORY, "memory_swap": LEAST_MEMORY, "max_cpus": LEAST_CPUS}.get(name, 1)
    if not least <= wish < float("inf"):  # also false for what is not a number
        raise InvalidRequestError(
            f"{_flag(name)} must be at least {_shown(name, least)}.",
            hint=f"Leave {_flag(name)} out to get the limit of your group.",
        )


def _consistent(limits: EffectiveLimits) -> EffectiveLimits:
    values = limits.values
    if values.memory is not None and values.memory_swap is not None and values.memory_swap < values.memory:
        raise InvalidRequestError(
            f"--memory-swap {format_size(values.memory_swap)} is below --memory {format_size(values.memory)}.",
            hint="--memory-swap is memory and swap together: make it at least as large as --memory.",
        )
    if values.memory is not None and values.shm_size is not None and values.shm_size > values.memory:
        if limits.origins.get("shm_size") == REQUEST_ORIGIN:
            raise InvalidRequestError(
                f"--shm-size {format_size(values.shm_size)} is above the memory of {format_size(values.memory)}.",
                hint="Shared memory counts as memory: ask for less of it.",
            )
        origins = {**limits.origins, "shm_size": REQUEST_ORIGIN}
        return replace(limits, values=replace(values, shm_size=values.memory), origins=origins)
    return limits


def _flag(name: str) -> str:
    return "--" + {"max_cpus": "cpus"}.get(name, name).replace("_", "-")


def _shown(name: str, value: float) -> str:
    return format_size(int(value)) if name in {"memory", "memory_swap", "shm_size"} else format_cpus(value)


def docker_args(limits: Limits, cgroup_parent: str) -> list[str]:
    """Return the limits as flags of `docker create`, in the predecessor's order and spelling.

    Args:
        limits: Effective limits; unlimited ones have no flag.
        cgroup_parent: The one really used; empty where the engine has no cgroup driver.
    """
    flags: list[str] = []
    if limits.max_cpus is not None:
        flags.append(f"--cpus={format_cpus(limits.max_cpus)}")
    for flag, value in (("memory", limits.memory), ("memory-swap", limits.memory_swap), ("shm-size", limits.shm_size)):
        if value is not None:
            flags.append(f"--{flag}={format_size_exact(value)}")
    if limits.pids_limit is not None:
        flags.append(f"--pids-limit={limits.pids_limit}")
    if cgroup_parent:
        flags.append(f"--cgroup-parent={cgroup_parent}")
    return flags
