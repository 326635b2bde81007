"""Tables and times as people read them. No library: this is on the path of `ds01 list`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from ds01.cli.screen import Screen, clean

GAP = "  "
NOTHING = "-"
_SHORTEST = 8
_STEPS = ((60, "second"), (60, "minute"), (24, "hour"), (7, "day"), (52, "week"))


class Cell:
    """One cell: its text, and the style it has where colour is shown."""

    __slots__ = ("style", "text")

    def __init__(self, text: str, style: str = "") -> None:
        self.text = clean(text) or NOTHING
        self.style = style


def render(screen: Screen, headings: Sequence[str], rows: Iterable[Sequence[Cell | str]]) -> str:
    """Return a table; on a terminal its widest columns shrink until it fits."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    widths = [max([len(heading), *(_width(row[i].text) for row in cells)]) for i, heading in enumerate(headings)]
    limit = screen.width()
    if limit is not None:
        widths = shrink(widths, limit - len(GAP) * (len(widths) - 1))
    cut = screen.symbol("cut", on_out=True)
    lines = [_line(screen, [Cell(heading, "bold") for heading in headings], widths, cut)]
    lines += [_line(screen, row, widths, cut) for row in cells]
    return "\n".join(lines)


def shrink(widths: Sequence[int], limit: int) -> list[int]:
    """Return widths whose sum is at most `limit`, the widest made narrower first, none below a readable least."""
    found = list(widths)
    while sum(found) > limit:
        widest = max(range(len(found)), key=found.__getitem__)
        if found[widest] <= _SHORTEST:
            break
        found[widest] -= 1
    return found


def _line(screen: Screen, row: Sequence[Cell], widths: Sequence[int], cut: str) -> str:
    parts: list[str] = []
    for cell, width in zip(row, widths, strict=True):
        text = fit(cell.text, width, cut)
        padding = " " * (width - _width(text))
        parts.append((screen.styled(text, cell.style, on_out=True) if cell.style else text) + padding)
    return GAP.join(parts).rstrip()


def fit(text: str, width: int, cut: str) -> str:
    """Return text of at most `width` columns; what is too long ends with `cut`."""
    if _width(text) <= width:
        return text
    while _width(text) > width - len(cut):
        text = text[:-1]
    return text + cut


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def csv_text(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows as CSV without the last line end."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows(rows)
    return text.getvalue().removesuffix("\n")


def relative_time(moment: str | None, now: datetime | None = None) -> str:
    """Return how long ago an ISO 8601 moment was (`3 hours ago`); what is no moment is returned as it is."""
    if not moment:
        return NOTHING
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return clean(moment)
    if then.tzinfo is None:
        return clean(moment)
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    if seconds < 0:
        return "in the future" if seconds < -60 else "just now"
    if seconds < 5:
        return "just now"
    return _spoken(seconds) + " ago"


def _spoken(seconds: float) -> str:
    amount = seconds
    for size, unit in _STEPS:
        if amount < size:
            return _counted(int(amount), unit)
        amount /= size
    return _counted(int(amount), "year")


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
