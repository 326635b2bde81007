"""One measured figure, and paired timing."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

PAIRS = 21
WARM_UPS = 2
GOAL_DIGITS = 4


@dataclass(frozen=True)
class Figure:
    """One row of the output.

    Attributes:
        row: Number in the table of figures.
        name: What was measured.
        value: Our median.
        unit: Its unit.
        anchor: The anchor's median, same unit.
        anchor_name: What the anchor is.
        gate: Highest ratio that passes; the lowest, where more is better.
        stretch: Ratio we would like.
        is_more_better: A higher ratio is better; both are compared as far as the table of figures writes them.
    """

    row: int
    name: str
    value: float
    unit: str
    anchor: float
    anchor_name: str
    gate: float
    stretch: float
    is_more_better: bool = False

    @property
    def ratio(self) -> float:
        if not self.anchor:  # nothing may happen at all
            return float("inf") if self.value else 0.0
        return self.value / self.anchor

    @property
    def verdict(self) -> str:
        if self._reaches(self.stretch):
            return "stretch"
        return "ok" if self._reaches(self.gate) else "FAILED"

    def _reaches(self, goal: float) -> bool:
        return round(self.ratio, GOAL_DIGITS) >= goal if self.is_more_better else self.ratio <= goal

    def line(self) -> str:
        """`name value unit anchor ratio goal verdict`, as one line."""
        digits, sign = (4, ">=") if self.is_more_better else (2, "<=")
        return (
            f"{self.row:>2} {self.name:<28} {self.value:9.{digits}f} {self.unit:<4} {self.anchor:9.{digits}f} "
            f"{self.ratio:6.{digits}f}x  "
            f"{sign} {self.gate}x (stretch {self.stretch}x)  {self.verdict}  [anchor: {self.anchor_name}]"
        )

    def json(self) -> str:
        return json.dumps({**asdict(self), "ratio": self.ratio, "verdict": self.verdict})


def paired_medians_ms(ours: Callable[[], None], anchor: Callable[[], None], pairs: int = PAIRS) -> tuple[float, float]:
    """Return the medians of interleaved runs in milliseconds; the first pairs warm up and are dropped."""
    taken = [(_time_ms(ours), _time_ms(anchor)) for _ in range(pairs + WARM_UPS)]
    kept = taken[WARM_UPS:]
    return statistics.median(first for first, _ in kept), statistics.median(second for _, second in kept)


def _time_ms(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000
