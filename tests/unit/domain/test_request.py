"""Requests for GPUs."""

import pytest
from hypothesis import given, strategies as st

from ds01.domain.request import MAX_GPUS, GpuRequest, format_request
from ds01.errors import InvalidRequestError


@pytest.mark.parametrize(
    "values", [{"count": -1}, {"count": MAX_GPUS + 1}, {"kind": ""}, {"kind": "A100"}, {"kind": " mig"}]
)
def test_senseless_requests_are_refused_with_what_to_write(values: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        GpuRequest(**values)  # type: ignore[arg-type]  # wrong on purpose
    assert refused.value.hint


@pytest.mark.parametrize("memory", [0, -1])
def test_the_least_memory_is_above_0(memory: int) -> None:
    with pytest.raises(InvalidRequestError):
        GpuRequest(memory_bytes=memory)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (GpuRequest(0), "0"),
        (GpuRequest(), "1"),
        (GpuRequest(2, "full", 20 * 1024**3), "2 x full >= 20480 MiB"),
        (GpuRequest(1, "1g.5gb"), "1 x 1g.5gb"),
    ],
)
def test_a_request_is_said_in_one_line(request_: GpuRequest, text: str) -> None:
    assert format_request(request_) == text


@given(st.integers(0, MAX_GPUS), st.sampled_from(["any", "full", "mig", "a100"]), st.none() | st.integers(2**20, 2**40))
def test_the_text_of_a_request_can_be_a_label(count: int, kind: str, memory: int | None) -> None:
    text = format_request(GpuRequest(count, kind, memory))
    assert "," not in text
    assert "\n" not in text
