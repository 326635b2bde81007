"""Limits, lowered to the machine and to the request."""

import pytest
from hypothesis import given, strategies as st

from ds01.domain.rules.limit import (
    LEAST_MEMORY,
    LIMIT_NAMES,
    LOWERED_BY_REQUEST,
    MACHINE_ORIGIN,
    REQUEST_ORIGIN,
    EffectiveLimits,
    MachineBounds,
    docker_args,
    lower_to_machine,
    lower_to_request,
)
from ds01.domain.rules.policy import BUILT_IN_LIMITS
from ds01.errors import Ds01Error, InvalidRequestError, QuotaExceededError
from ds01.units import parse_size
from tests.unit.domain.machines import GIB, limits

SITE = limits(max_cpus=16.0, memory=32 * GIB, memory_swap=32 * GIB, shm_size=16 * GIB, pids_limit=4096)
BIG = MachineBounds(cpus=64.0, memory_bytes=512 * GIB)
SMALL = MachineBounds(cpus=2.0, memory_bytes=8 * GIB)


def test_a_big_machine_lowers_nothing() -> None:
    assert lower_to_machine(SITE, BIG) is SITE


def test_what_a_small_machine_lowers_has_the_origin_machine() -> None:
    lowered = lower_to_machine(SITE, SMALL)
    values = lowered.values
    assert (values.max_cpus, values.memory, values.memory_swap, values.shm_size) == (2.0, 8 * GIB, 8 * GIB, 8 * GIB)
    names = {name for name, origin in lowered.origins.items() if origin == MACHINE_ORIGIN}
    assert names == {"max_cpus", "memory", "memory_swap", "shm_size"}


def test_unlimited_becomes_what_the_machine_has() -> None:
    values = lower_to_machine(limits(), SMALL).values
    assert (values.max_cpus, values.memory, values.memory_swap, values.shm_size) == (2.0, 8 * GIB, 8 * GIB, 4 * GIB)
    assert values.pids_limit is None


def test_swap_on_top_of_the_memory_stays() -> None:
    assert lower_to_machine(limits(memory=4 * GIB, memory_swap=6 * GIB), SMALL).values.memory_swap == 6 * GIB
    assert lower_to_machine(limits(memory=4 * GIB, memory_swap=None), SMALL).values.memory_swap == 8 * GIB


def test_a_group_that_raises_only_the_memory_gets_no_swap_and_is_told_by_whom() -> None:
    site = limits(max_cpus=1.0, memory=64 * GIB, memory_swap=32 * GIB, shm_size=GIB)
    lowered = lower_to_machine(site, BIG)
    assert lowered.values.memory_swap == 64 * GIB
    assert lowered.origins["memory_swap"] == "policy.yaml:3"


def test_ulimits_are_lowered_to_what_the_engine_can_set() -> None:
    bounds = MachineBounds(64.0, 512 * GIB, {"memlock": 65536, "stack": -1, "nofile": 10})
    lowered = lower_to_machine(SITE, bounds)
    assert dict(lowered.values.ulimits) == {"memlock": 65536, "stack": 64 * 1024**2}
    assert lowered.origins["ulimits"] == MACHINE_ORIGIN


FIGURES = st.none() | st.integers(LEAST_MEMORY, 2**45)


@given(FIGURES, FIGURES, FIGURES, st.none() | st.floats(0.01, 256), st.integers(1, 256), st.integers(GIB, 2**42))
def test_an_engine_can_always_do_what_was_lowered_to_its_machine(
    memory: int | None, swap: int | None, shm: int | None, cpus: float | None, machine_cpus: int, machine_memory: int
) -> None:
    site = limits(memory=memory, memory_swap=swap, shm_size=shm, max_cpus=cpus)
    bounds = MachineBounds(float(machine_cpus), machine_memory)
    lowered = lower_to_machine(site, bounds)
    values = lowered.values
    assert values.memory is not None
    assert values.memory_swap is not None
    assert values.shm_size is not None
    assert values.max_cpus is not None
    assert 0 < values.memory <= values.memory_swap <= machine_memory
    assert 0 < values.shm_size <= values.memory
    assert values.max_cpus <= machine_cpus
    assert memory is None or values.memory <= memory
    assert cpus is None or values.max_cpus <= cpus
    assert lower_to_machine(lowered, bounds) == lowered


def test_a_request_lowers_and_is_said_to_have() -> None:
    lowered = lower_to_request(SITE, {"max_cpus": 2.5, "memory": 4 * GIB, "pids_limit": None})
    assert lowered.values.max_cpus == 2.5
    assert lowered.values.memory == lowered.values.memory_swap == lowered.values.shm_size == 4 * GIB
    changed = {name for name, origin in lowered.origins.items() if origin == REQUEST_ORIGIN}
    assert changed == {"max_cpus", "memory", "memory_swap", "shm_size"}
    assert lowered.values.pids_limit == 4096


def test_no_wish_changes_nothing() -> None:
    assert lower_to_request(SITE, dict.fromkeys(LOWERED_BY_REQUEST)) is SITE


@pytest.mark.parametrize(
    ("wish", "figures"),
    [
        ({"memory": 64 * GIB}, ("--memory 64G", "32G")),
        ({"max_cpus": 16.5}, ("--cpus 16.5", "16")),
        ({"pids_limit": 5000}, ("--pids-limit 5000", "4096")),
        ({"shm_size": 17 * GIB}, ("--shm-size 17G", "16G")),
        ({"memory_swap": 40 * GIB}, ("--memory-swap 40G", "32G")),
    ],
)
def test_a_wish_above_the_limit_is_refused_with_both_figures(wish: dict[str, float], figures: tuple[str, str]) -> None:
    with pytest.raises(QuotaExceededError) as refused:
        lower_to_request(SITE, wish)
    assert all(figure in refused.value.message for figure in figures)
    assert "set by policy.yaml:3" in refused.value.message


@pytest.mark.parametrize("name", LOWERED_BY_REQUEST)
@pytest.mark.parametrize("wish", [0, -1, float("nan"), float("inf")])
def test_a_senseless_wish_is_refused_and_never_read_as_unlimited(name: str, wish: float) -> None:
    with pytest.raises(InvalidRequestError):
        lower_to_request(SITE, {name: wish})


def test_less_than_an_engine_takes_is_refused_before_the_engine_is_asked() -> None:
    with pytest.raises(InvalidRequestError, match="at least 6M"):
        lower_to_request(SITE, {"memory": LEAST_MEMORY - 1})
    with pytest.raises(InvalidRequestError, match=r"at least 0\.01"):
        lower_to_request(SITE, {"max_cpus": 0.001})


def test_wishes_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="--memory-swap 8G is below --memory 32G"):
        lower_to_request(SITE, {"memory_swap": 8 * GIB})
    with pytest.raises(InvalidRequestError, match="--shm-size 2G is above the memory of 1G"):
        lower_to_request(SITE, {"memory": GIB, "shm_size": 2 * GIB})


@given(st.dictionaries(st.sampled_from(LOWERED_BY_REQUEST), st.integers(-5, 2**36), max_size=5))
def test_a_request_never_gets_more_than_the_limit(wishes: dict[str, float]) -> None:
    try:
        lowered = lower_to_request(SITE, wishes)
    except Ds01Error:
        return
    for name in LOWERED_BY_REQUEST:
        assert getattr(lowered.values, name) <= getattr(SITE.values, name)


def test_the_flags_are_those_that_the_predecessor_printed() -> None:
    assert " ".join(docker_args(BUILT_IN_LIMITS, "ds01-u1001.slice")) == (
        "--cpus=16 --memory=32g --memory-swap=32g --shm-size=16g --pids-limit=4096 --cgroup-parent=ds01-u1001.slice"
    )


def test_unlimited_has_no_flag() -> None:
    assert docker_args(limits().values, "") == []


@given(st.integers(LEAST_MEMORY, 2**50), st.floats(0.01, 512))
def test_flags_lose_nothing(memory: int, cpus: float) -> None:
    flags = dict(flag.split("=") for flag in docker_args(limits(memory=memory, max_cpus=cpus).values, ""))
    assert parse_size(flags["--memory"]) == memory
    assert float(flags["--cpus"]) == pytest.approx(cpus, abs=1e-9)


def test_every_limit_has_an_origin() -> None:
    found: EffectiveLimits = lower_to_request(lower_to_machine(SITE, SMALL), {"memory": GIB})
    assert set(found.origins) == set(LIMIT_NAMES)
