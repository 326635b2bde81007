"""Parse and format sizes, durations and ratios. The only place with 1024.

K M G T are powers of 1024, as docker reads them: `8G`, `8Gi`, `8GiB` and `8g` are the same. `GB` is refused, because
half of its readers mean 1000. A bare number is refused: a number without a unit has cost people their work.
"""

import re
from datetime import timedelta
from fractions import Fraction

from ds01.errors import InvalidRequestError

_SIZE_POWERS = {"B": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<prefix>[bkmgtBKMGT])(?P<suffix>i|iB|ib|B|b)?")
_BARE = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_DURATION_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[smhdw])+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])")
_RATIO = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")
MAX_TEXT = 60
"""Longest text that is read as a number; a longer one is nobody's size."""
MAX_SIZE_BYTES = 2**63 - 1
MAX_DURATION = timedelta(days=3650)


def parse_size(text: str) -> int:
    """Return the bytes that `text` says.

    Args:
        text: A number with K, M, G or T (`8G`, `512M`, `1.5Gi`), or bytes with B (`512B`).

    Raises:
        InvalidRequestError: No unit, the ambiguous `GB`, or not a size; the message holds the fix.
    """
    cleaned = text.strip()
    match = _SIZE.fullmatch(cleaned) if len(cleaned) <= MAX_TEXT else None
    if match is None or (match["prefix"] in "bB" and match["suffix"]):
        if len(cleaned) <= MAX_TEXT and _BARE.fullmatch(cleaned):
            raise InvalidRequestError(f"The size {text!r} has no unit.", hint=f"Write {cleaned}G or {cleaned}M.")
        raise InvalidRequestError(
            f"{_cut(text)!r} is not a size.", hint="Write a number with K, M, G or T, such as 8G or 512M."
        )
    suffix = match["suffix"] or ""
    if suffix.lower() == "b":
        good = f"{match['number']}{match['prefix'].upper()}"
        raise InvalidRequestError(
            f"The unit in {text!r} can be read two ways (powers of 1000 or of 1024).",
            hint=f"Write {good}: K, M, G and T are powers of 1024 here, as in docker.",
        )
    # exact: a float would lose bytes of large sizes
    value = int(Fraction(match["number"]) * 1024 ** _SIZE_POWERS[match["prefix"].upper()])
    if value > MAX_SIZE_BYTES:
        raise InvalidRequestError(
            f"The size {text!r} is larger than any machine.", hint="Write a smaller size, such as 64G."
        )
    return value


def format_size(size_bytes: int) -> str:
    """Return `size_bytes` in the largest unit that loses nothing, else with one decimal (`8G`, `1.5G`, `0`)."""
    if size_bytes == 0:
        return "0"
    for prefix in "TGMK":
        unit = 1024 ** _SIZE_POWERS[prefix]
        # what would round to 1024.0 of the smaller unit is said in this one
        if size_bytes >= unit - unit // 1024 // 20:
            whole, rest = divmod(size_bytes, unit)
            return f"{whole}{prefix}" if rest == 0 else f"{size_bytes / unit:.1f}{prefix}"
    return f"{size_bytes}B"


def format_size_exact(size_bytes: int) -> str:
    """Return `size_bytes` as docker's flags take it, in lower case and without loss (`32g`, `1536m`, `1023b`)."""
    for prefix in "TGMK":
        unit = 1024 ** _SIZE_POWERS[prefix]
        if size_bytes and size_bytes % unit == 0:
            return f"{size_bytes // unit}{prefix.lower()}"
    return f"{size_bytes}b"


def parse_duration(text: str) -> timedelta:
    """Return the length of time that `text` says.

    Args:
        text: Numbers with s, m, h, d or w, largest first or not (`30m`, `1h30m`, `1d`).

    Raises:
        InvalidRequestError: A bare number, a negative one, or not a duration; the message holds the fix.
    """
    cleaned = text.strip().lower()
    if len(cleaned) <= MAX_TEXT and _BARE.fullmatch(cleaned):
        raise InvalidRequestError(f"The duration {text!r} has no unit.", hint=f"Write {cleaned}h or {cleaned}m.")
    if len(cleaned) > MAX_TEXT or not _DURATION.fullmatch(cleaned):
        raise InvalidRequestError(
            f"{_cut(text)!r} is not a duration.", hint="Write numbers with s, m, h, d or w, such as 30m, 2h or 1d12h."
        )
    seconds = float(sum(Fraction(number) * _DURATION_S[unit] for number, unit in _DURATION_PART.findall(cleaned)))
    if seconds > MAX_DURATION.total_seconds():
        raise InvalidRequestError(
            f"The duration {text!r} is longer than ten years.", hint="Write a shorter one, such as 7d."
        )
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Return `duration` without loss down to a second (`1h30m`, `2d`, `0s`); a negative one with a minus."""
    seconds = round(duration.total_seconds())
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, _DURATION_S[unit])
        if count:
            parts.append(f"{count}{unit}")
    return sign + ("".join(parts) or "0s")


def parse_ratio(text: str) -> float:
    """Return 0 to 1 for a percentage (`5%`).

    Raises:
        InvalidRequestError: Not a percentage between 0% and 100%.
    """
    match = _RATIO.fullmatch(text.strip())
    value = float(match[1]) / 100 if match else -1.0
    if not 0 <= value <= 1:
        raise InvalidRequestError(
            f"{_cut(text)!r} is not a percentage.", hint="Write one between 0% and 100%, such as 5%."
        )
    return value


def format_ratio(ratio: float) -> str:
    """Return a ratio of 0 to 1 as a whole percentage (`87%`)."""
    return f"{ratio * 100:.0f}%"


def format_number(value: float) -> str:
    """Return a figure without a needless `.0` (`2`, `0.43`): gpu-equivalents and cpus are shown so."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def format_cpus(cpus: float) -> str:
    """Return CPUs as docker's `--cpus` takes them, in its precision of 10^-9 (`16`, `0.125`)."""
    return f"{cpus:.9f}".rstrip("0").rstrip(".")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."
