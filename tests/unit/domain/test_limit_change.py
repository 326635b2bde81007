"""What a new policy changes about a container that exists."""

from hypothesis import given, strategies as st

from ds01.domain.containers.container import ResourceLimits
from ds01.domain.containers.limit_change import plan_limit_change

GIB = 1024**3
OLD = ResourceLimits(nano_cpus=4 * 10**9, memory_bytes=8 * GIB, memory_swap_bytes=8 * GIB, pids_limit=4096)
NEW = ResourceLimits(nano_cpus=2 * 10**9, memory_bytes=16 * GIB, memory_swap_bytes=16 * GIB, pids_limit=8192)
figures = st.integers(min_value=0, max_value=64)
limits = st.builds(
    lambda cpus, memory, extra, pids: ResourceLimits(
        nano_cpus=cpus, memory_bytes=memory, memory_swap_bytes=memory + extra if memory else 0, pids_limit=pids
    ),
    figures, figures, figures, figures,
)  # fmt: skip


def test_what_was_the_policys_follows_it_up_and_down() -> None:
    assert plan_limit_change(OLD, OLD, NEW).live == NEW


def test_what_its_owner_asked_to_be_lower_stays_unless_it_is_above_the_new_limit() -> None:
    modest = ResourceLimits(nano_cpus=10**9, memory_bytes=GIB, memory_swap_bytes=GIB, pids_limit=4096)
    assert plan_limit_change(modest, OLD, NEW).live == ResourceLimits(pids_limit=8192)
    assert plan_limit_change(modest, NEW, OLD).is_empty
    low = ResourceLimits(nano_cpus=10**8, memory_bytes=GIB // 2, memory_swap_bytes=GIB // 2, pids_limit=4096)
    assert plan_limit_change(modest, OLD, low).live == ResourceLimits(10**8, GIB // 2, GIB // 2)


def test_swap_goes_with_the_memory_and_is_never_below_it() -> None:
    now = ResourceLimits(memory_bytes=4 * GIB, memory_swap_bytes=6 * GIB)
    assert plan_limit_change(OLD, OLD, now).live == ResourceLimits(memory_bytes=4 * GIB, memory_swap_bytes=6 * GIB)
    swap_only = ResourceLimits(memory_bytes=8 * GIB, memory_swap_bytes=12 * GIB)
    changed = plan_limit_change(OLD, OLD, swap_only).live
    assert (changed.memory_bytes, changed.memory_swap_bytes) == (8 * GIB, 12 * GIB)


def test_shared_memory_is_only_named() -> None:
    have, now = ResourceLimits(shm_size_bytes=GIB), ResourceLimits(shm_size_bytes=2 * GIB)
    assert plan_limit_change(have, have, now).later == ("shm_size",)
    assert plan_limit_change(have, have, now).is_empty
    assert plan_limit_change(ResourceLimits(shm_size_bytes=5), have, now).later == ()


@given(limits, limits, limits)
def test_nothing_gets_above_the_new_limit_and_a_second_time_changes_nothing(
    have: ResourceLimits, before: ResourceLimits, now: ResourceLimits
) -> None:
    live = plan_limit_change(have, before, now).live
    after = ResourceLimits(
        nano_cpus=live.nano_cpus or have.nano_cpus,
        memory_bytes=live.memory_bytes or have.memory_bytes,
        memory_swap_bytes=live.memory_swap_bytes or have.memory_swap_bytes,
        pids_limit=live.pids_limit or have.pids_limit,
    )
    for name in ("nano_cpus", "memory_bytes", "pids_limit"):
        most, found = getattr(now, name), getattr(after, name)
        assert not most or 0 < found <= most, name
    if live.memory_bytes:
        assert live.memory_swap_bytes >= live.memory_bytes
    assert plan_limit_change(after, before, now).is_empty or after.memory_swap_bytes > now.memory_swap_bytes
