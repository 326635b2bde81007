"""What a new policy changes about a container that exists. Pure: three sets of limits in, one out."""

from dataclasses import dataclass

from ds01.domain.containers.container import ResourceLimits


@dataclass(frozen=True, slots=True)
class LimitChange:
    """What is to be done.

    Attributes:
        live: Limits to set while it exists; 0 leaves one as it is.
        later: Names of limits that only a new container gets.
    """

    live: ResourceLimits
    later: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing can be set."""
        return self.live == ResourceLimits()


def plan_limit_change(have: ResourceLimits, before: ResourceLimits, now: ResourceLimits) -> LimitChange:
    """Return what follows from a new policy for a container.

    A limit that was the policy's follows it up and down. One that its owner asked to be lower stays, unless it is above
    the new one. What the engine cannot change live is named. Nothing is ever made unlimited.

    Args:
        have: What the container has; 0 is unlimited.
        before: What the policy gave its owner until now.
        now: What it gives from now on.
    """
    memory = _next(have.memory_bytes, before.memory_bytes, now.memory_bytes)
    swap = _next(have.memory_swap_bytes, before.memory_swap_bytes, now.memory_swap_bytes)
    if memory or swap:  # the engine takes both together only, and swap counts the memory
        memory = memory or have.memory_bytes
        swap = max(swap or have.memory_swap_bytes, memory)
    live = ResourceLimits(
        nano_cpus=_next(have.nano_cpus, before.nano_cpus, now.nano_cpus),
        memory_bytes=memory,
        memory_swap_bytes=swap if memory else 0,
        pids_limit=_next(have.pids_limit, before.pids_limit, now.pids_limit),
    )
    is_shm_behind = have.shm_size_bytes == before.shm_size_bytes != now.shm_size_bytes
    return LimitChange(live, ("shm_size",) if is_shm_behind else ())


def _next(have: int, before: int, now: int) -> int:
    """Return the figure to set; 0: leave it."""
    if not now or have == now:
        return 0
    follows = have == before
    return now if follows or not have or have > now else 0
