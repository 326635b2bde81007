"""Sizes, durations and ratios as people write and read them."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from ds01.errors import InvalidRequestError
from ds01.units import (
    MAX_DURATION,
    MAX_SIZE_BYTES,
    format_cpus,
    format_duration,
    format_number,
    format_ratio,
    format_size,
    format_size_exact,
    parse_duration,
    parse_ratio,
    parse_size,
)

SIZES = st.integers(0, MAX_SIZE_BYTES)


@given(SIZES)
def test_an_exact_size_reads_back_as_the_same_bytes(size: int) -> None:
    assert parse_size(format_size_exact(size)) == size


@given(st.integers(0, MAX_SIZE_BYTES // 2))
def test_a_shown_size_is_never_more_than_a_twentieth_of_a_unit_off(size: int) -> None:
    text = format_size(size)
    if size == 0:
        assert text == "0"
        return
    assert text.endswith("T") or not text.startswith("1024")
    assert abs(parse_size(text) - size) <= 0.05 * parse_size(f"1{text[-1]}") + 1


@pytest.mark.parametrize("text", ["8G", "8g", "8Gi", "8GiB", "8gib", " 8 G ", "8.0G"])
def test_all_spellings_of_one_size_are_powers_of_1024(text: str) -> None:
    assert parse_size(text) == 8 * 1024**3


@pytest.mark.parametrize(("text", "size"), [("1.5G", 1536 * 1024**2), ("512B", 512), ("1023b", 1023), ("0.5K", 512)])
def test_fractions_and_bytes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["8GB", "8gb", "8Gb", "8 MB"])
def test_gb_is_refused_because_it_has_two_meanings_and_the_fix_is_said(text: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_size(text)
    assert refused.value.hint is not None
    assert text.replace(" ", "")[:2].upper() in refused.value.hint


@pytest.mark.parametrize("text", ["8", "8.5", "0"])
def test_a_size_without_a_unit_is_refused_with_the_unit_to_write(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="no unit") as refused:
        parse_size(text)
    assert refused.value.hint == f"Write {text}G or {text}M."


@pytest.mark.parametrize(
    "text", ["", "G", "-1G", "1e3G", "8P", "8BiB", "1 2G", "٣G", "8G\n8G", "nan", "infG", "9" * 500 + "G"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_size(text)


def test_a_size_beyond_64_bits_is_refused() -> None:
    assert parse_size(f"{MAX_SIZE_BYTES}B") == MAX_SIZE_BYTES
    with pytest.raises(InvalidRequestError, match="larger than any machine"):
        parse_size(f"{MAX_SIZE_BYTES + 1}B")


@given(st.sampled_from([parse_size, parse_duration, parse_ratio]), st.text(max_size=80))
def test_whatever_is_refused_is_refused_in_a_short_message_with_the_fix(
    parse: Callable[[str], object], text: str
) -> None:
    try:
        parse(text)
    except InvalidRequestError as failure:
        refused = failure
    else:
        return
    assert len(refused.message) < 500
    assert refused.hint


@given(st.integers(0, int(MAX_DURATION.total_seconds())))
def test_a_duration_reads_back_as_the_same_seconds(seconds: int) -> None:
    length = timedelta(seconds=seconds)
    assert parse_duration(format_duration(length)) == length
    assert format_duration(-length) == ("-" if seconds else "") + format_duration(length)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("0.5h", 30), ("1h30m", 90), ("0.01h", 0.6), ("1d", 1440), ("1w", 10080), ("90s", 1.5), ("1H", 60)],
)
def test_durations_of_the_predecessors_incidents_are_read_right(text: str, minutes: float) -> None:
    assert parse_duration(text) == timedelta(minutes=minutes)


def test_a_duration_is_formatted_without_loss() -> None:
    assert format_duration(timedelta(seconds=5400)) == "1h30m"
    assert format_duration(timedelta(0)) == "0s"


@pytest.mark.parametrize("text", ["48", "0", "1.5"])
def test_a_duration_without_a_unit_is_refused_with_the_unit_to_write(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="no unit") as refused:
        parse_duration(text)
    assert refused.value.hint == f"Write {text}h or {text}m."


@pytest.mark.parametrize("text", ["", "-5h", "abc", "h", "1h30", "1x", "1 h 2", "٣h", "9" * 400 + "h", "4000d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_duration(text)


@given(st.integers(0, 100))
def test_a_percentage_reads_back_as_itself(percent: int) -> None:
    assert format_ratio(parse_ratio(f"{percent}%")) == f"{percent}%"


@pytest.mark.parametrize("text", ["5", "0.05", "101%", "-1%", "%", "", "9" * 400 + "%"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_ratio(text)


@pytest.mark.parametrize(("value", "text"), [(2.0, "2"), (3 / 7, "0.43"), (100.0, "100"), (0.0, "0"), (0.5, "0.5")])
def test_a_figure_has_no_needless_zeros(value: float, text: str) -> None:
    assert format_number(value) == text


@given(st.integers(10**7, 10**12))
def test_cpus_are_formatted_without_loss_of_a_billionth(nano: int) -> None:
    assert round(float(format_cpus(nano / 1e9)) * 1e9) == nano
